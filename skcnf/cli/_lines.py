"""Text that grows line by line: a file that appears whole and goes on after a cut, or standard output."""

from __future__ import annotations

import hashlib
import io
import json
import os
import sys
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path
from typing import IO, Any

from skcnf._core.files import naming, rename_durably, write_atomically
from skcnf._core.locks import output_lock

__all__ = ["LineFile", "LineStream"]

_ENCODING: dict[str, Any] = {"encoding": "utf-8", "errors": "surrogateescape", "newline": ""}


class LineStream:
    """Lines that are seen at once, on standard output."""

    n_done = 0

    def __init__(self) -> None:
        if isinstance(sys.stdout, io.TextIOWrapper):  # a terminal shows what it can, a pipe gets the bytes of a file
            shown = {"errors": "backslashreplace"} if sys.stdout.isatty() else _ENCODING
            sys.stdout.reconfigure(**shown)

    def append(self, text: str, n_rows: int) -> None:
        """Print and flush."""
        sys.stdout.write(text)
        sys.stdout.flush()


class LineFile:
    """Lines that go to ``PATH.part`` and appear as ``PATH`` when all are there.

    A context: inside it this run alone writes ``PATH``. ``PATH.part.json`` tells how much of the ``.part`` is done,
    with a digest of it, and is renamed into place after every `append`: a run of the same ``identity`` that was killed
    at any moment goes on, and ends in the same bytes. What another identity wrote is discarded.

    Parameters
    ----------
    path : path
        The file to write.
    identity : str or None
        Names all that the lines depend on; None starts anew every time.

    Attributes
    ----------
    n_done : int
        Rows that are written.

    Raises
    ------
    OSError
        On entering, if the file cannot be written or another run writes it.
    """

    def __init__(self, path: str | os.PathLike[str], identity: str | None) -> None:
        self.path, self._identity = Path(path), identity
        self._part = self.path.with_name(f"{self.path.name}.part")
        self._log = self.path.with_name(f"{self.path.name}.part.json")
        self._open = ExitStack()
        self.n_done, self._n_bytes, self._hasher = 0, 0, hashlib.blake2b(digest_size=16)

    def __enter__(self) -> LineFile:
        with self._open as scope, naming(self.path):
            scope.enter_context(output_lock(self.path))
            if not self._resume():
                self._log.unlink(missing_ok=True)  # first: it tells of the file that now goes
                self.n_done, self._n_bytes, self._hasher = 0, 0, hashlib.blake2b(digest_size=16)
            self._file = scope.enter_context(self._part.open("r+b" if self.n_done else "wb"))
            self._file.truncate(self._n_bytes)
            self._file.seek(self._n_bytes)
            self._open = scope.pop_all()
        return self

    def __exit__(self, *_: object) -> None:
        self._open.close()
        if self.n_done == 0 or self._identity is None:  # nothing to go on from
            with suppress(OSError):
                self._part.unlink(missing_ok=True)
                self._log.unlink(missing_ok=True)

    def _resume(self) -> bool:
        """Whether the ``.part`` is one of this identity; then ``n_done`` tells how far it is."""
        try:
            log = json.loads(self._log.read_bytes())
            self.n_done, self._n_bytes = log["rows"], log["bytes"]
            with self._part.open("rb") as file:
                self._read_again(file)
            same = log["identity"] == self._identity and log["digest"] == self._digest()
            return same and self._identity is not None and self.n_done > 0
        except (OSError, ValueError, KeyError, TypeError, RecursionError):  # nothing there, or nothing to use
            return False

    def _read_again(self, file: IO[bytes]) -> None:
        left = self._n_bytes
        while left > 0 and (block := file.read(min(left, 2**20))):
            self._hasher.update(block)
            left -= len(block)

    def _digest(self) -> str:
        """Of the bytes and the number of rows."""
        hasher = self._hasher.copy()
        hasher.update(f" {self.n_done}".encode())
        return hasher.hexdigest()

    def append(self, text: str, n_rows: int) -> None:
        """Write lines that hold ``n_rows`` rows.

        Raises
        ------
        OSError
            If that fails (naming the file); what is there already is kept.
        """
        data = text.encode(_ENCODING["encoding"], _ENCODING["errors"])
        with naming(self.path):
            self._file.write(data)
            self._file.flush()
            self._hasher.update(data)
            self.n_done, self._n_bytes = self.n_done + n_rows, self._n_bytes + len(data)
            if self._identity is not None:
                os.fsync(self._file.fileno())
                state = {"identity": self._identity, "rows": self.n_done, "bytes": self._n_bytes}
                write_atomically(self._log, json.dumps({**state, "digest": self._digest()}).encode())

    @contextmanager
    def read(self) -> Iterator[IO[str]]:
        """What is written so far."""
        with self._part.open(**_ENCODING) as file:
            yield file

    def finish(self, lines: Iterator[str] | None = None) -> None:
        """Let the file appear; with ``lines``, those in place of what was written.

        Raises
        ------
        OSError
            If that fails (naming the file).
        """
        with naming(self.path):
            os.fsync(self._file.fileno())
            source = self._part if lines is None else self._rewritten(lines)
            rename_durably(source, self.path)
            self._log.unlink(missing_ok=True)
            self._part.unlink(missing_ok=True)

    def _rewritten(self, lines: Iterator[str]) -> Path:
        path = self.path.with_name(f"{self.path.name}.part.new")
        with path.open("w", **_ENCODING) as file:
            file.writelines(lines)
            file.flush()
            os.fsync(file.fileno())
        return path
