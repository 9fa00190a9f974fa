"""Arrays written row by row, to a file so that a run that was cut goes on, or to memory."""

from __future__ import annotations

import io
import json
import math
import os
import zlib
from contextlib import ExitStack
from errno import EINVAL, ENOSYS, EOPNOTSUPP
from pathlib import Path
from typing import IO

import numpy as np

from skcnf._core.files import naming, rename_durably, write_atomically
from skcnf._core.locks import output_lock

__all__ = ["RowArray", "RowFile"]

_READ_BYTES = 2**24
_MAX_LOG_BYTES = 2**16
_CANNOT_RESERVE = (EINVAL, ENOSYS, EOPNOTSUPP)


class RowFile:
    """Write an ``.npy`` file batch by batch, so that a run that was cut goes on where it stopped.

    A context: inside it this run alone writes ``PATH`` (see `skcnf._core.locks.output_lock`). Rows go to ``PATH.part``,
    whose space is reserved first; ``PATH.part.json`` tells how many are done, and their checksum, and is renamed into
    place after every batch, so a kill at any moment loses at most the batch in progress. `finish` renames the whole
    array to ``PATH``. Rows that another ``identity`` wrote, or that differ from their checksum, are discarded.

    Parameters
    ----------
    path : path
        The file to write.
    shape : tuple of int
        Of the whole array.
    dtype : str
    identity : str
        Names the content; the same identity promises the same rows.

    Attributes
    ----------
    n_done : int
        Rows that are written.

    Raises
    ------
    OSError
        On entering, if the file cannot be written, another run writes it, or the disk has no space for it (naming it).
    """

    def __init__(self, path: str | os.PathLike[str], shape: tuple[int, ...], dtype: str, identity: str) -> None:
        self.path = Path(path)
        self._part = self.path.with_name(f"{self.path.name}.part")
        self._log = self.path.with_name(f"{self.path.name}.part.json")
        self._shape, self._dtype, self._identity = shape, np.dtype(dtype), identity
        self.n_done = self._checksum = 0
        self._open = ExitStack()

    def __enter__(self) -> RowFile:
        with self._open as scope:
            scope.enter_context(output_lock(self.path))
            self.n_done, self._checksum = self._rows_done() or (0, 0)
            with naming(self.path):
                self._file = scope.enter_context(self._part.open("r+b") if self.n_done else self._new_file())
            self._open = scope.pop_all()
        return self

    def __exit__(self, *_: object) -> None:
        self._open.close()

    @property
    def _row_bytes(self) -> int:
        return self._dtype.itemsize * math.prod(self._shape[1:])

    def _rows_done(self) -> tuple[int, int] | None:
        """How many rows of this identity are there, and their checksum."""
        try:
            if self._log.stat().st_size > _MAX_LOG_BYTES:
                return None
            log = json.loads(self._log.read_bytes())
            n_rows, checksum = log["rows"], log["checksum"]
            same = log["identity"] == self._identity and type(n_rows) is int and 0 < n_rows <= self._shape[0]
            return (n_rows, checksum) if same and checksum == self._checksum_of(n_rows) else None
        except (OSError, ValueError, KeyError, TypeError, RecursionError):  # nothing there, or nothing to use
            return None

    def _checksum_of(self, n_rows: int) -> int | None:
        """Of the first rows in the file; None where it is of another shape."""
        with self._part.open("rb") as file:
            header = self._header
            size = os.fstat(file.fileno()).st_size
            if file.read(len(header)) != header or size != len(header) + self._shape[0] * self._row_bytes:
                return None
            checksum, left = 0, n_rows * self._row_bytes
            while left and (block := file.read(min(left, _READ_BYTES))):
                checksum, left = zlib.crc32(block, checksum), left - len(block)
            return checksum

    @property
    def _header(self) -> bytes:
        """What an ``.npy`` file of our shape and type begins with."""
        header = io.BytesIO()
        fields = {"descr": self._dtype.str, "fortran_order": False, "shape": self._shape}
        np.lib.format.write_array_header_1_0(header, fields)
        return header.getvalue()

    def _new_file(self) -> IO[bytes]:
        self._log.unlink(missing_ok=True)  # first: it tells of the file that now goes
        try:
            with self._part.open("wb") as file:
                file.write(self._header)
                file.flush()
                _reserve(file.fileno(), file.tell() + self._shape[0] * self._row_bytes)
        except OSError:
            self._part.unlink(missing_ok=True)
            raise
        return self._part.open("r+b")

    def append(self, rows: np.ndarray) -> None:
        """Write the next rows.

        Raises
        ------
        OSError
            If that fails (naming the file); the rows before them are kept.
        ValueError
            If they are of another shape, or more than are left.
        """
        if rows.shape[1:] != self._shape[1:] or self.n_done + len(rows) > self._shape[0]:
            raise ValueError(f"rows {rows.shape} after {self.n_done} of an array {self._shape}.")
        data = np.ascontiguousarray(rows, self._dtype).data.cast("B")
        with naming(self.path):
            self._file.seek(len(self._header) + self.n_done * self._row_bytes)
            self._file.write(data)
            self._file.flush()
            os.fsync(self._file.fileno())
        self._checksum = zlib.crc32(data, self._checksum)
        self.n_done += len(rows)
        log = {"identity": self._identity, "rows": self.n_done, "checksum": self._checksum}
        with naming(self.path):
            write_atomically(self._log, json.dumps(log).encode())

    def finish(self) -> np.ndarray:
        """Rename the array into place; returns it as a read-only memory map.

        Raises
        ------
        ValueError
            If rows are missing.
        """
        if self.n_done != self._shape[0]:
            raise ValueError(f"'{self.path}': {self.n_done} of {self._shape[0]} rows are written.")
        with naming(self.path):
            self._file.close()
            rename_durably(self._part, self.path)
            self._log.unlink(missing_ok=True)
        return np.load(self.path, mmap_mode="r", allow_pickle=False)


def _reserve(descriptor: int, n_bytes: int) -> None:
    """Take the space of a file at once where the system can, so that a full disk shows before the work."""
    if hasattr(os, "posix_fallocate"):
        try:
            os.posix_fallocate(descriptor, 0, n_bytes)
        except OSError as error:
            if error.errno not in _CANNOT_RESERVE:
                raise
    os.truncate(descriptor, n_bytes)


class RowArray:
    """The same in memory, where nothing is resumed."""

    def __init__(self, shape: tuple[int, ...], dtype: str) -> None:
        self._array = np.empty(shape, dtype)
        self.n_done = 0

    def append(self, rows: np.ndarray) -> None:
        """Write the next rows."""
        self._array[self.n_done : self.n_done + len(rows)] = rows
        self.n_done += len(rows)

    def finish(self) -> np.ndarray:
        """The array."""
        return self._array
