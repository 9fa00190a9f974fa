"""Files that appear whole or not at all, and failures that name the file."""

from __future__ import annotations

import functools
import hashlib
import itertools
import os
import platform
import re
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

__all__ = [
    "check_output",
    "naming",
    "remove_abandoned",
    "rename_durably",
    "replacing",
    "write_atomically",
]

_numbers = itertools.count()


@contextmanager
def naming(path: str | os.PathLike[str]) -> Iterator[None]:
    """Add ``path`` to an OSError that names no file, as "No space left on device" does not when it comes from a write.

    Names of temporary files are replaced too, because the user knows ``path`` alone.
    """
    try:
        yield
    except OSError as error:
        if error.errno is None:
            raise
        raise OSError(error.errno, error.strerror, os.fspath(path)) from error


def check_output(path: str | os.PathLike[str]) -> None:
    """Find out whether a file of that name can be written, before the work that it is for.

    Raises
    ------
    OSError
        If ``path`` is a folder or a device, its own folder is missing or read-only, or the name is too long.
    """
    path = Path(path)
    if path.is_dir():
        raise IsADirectoryError(f"'{path}' is a folder; give the name of a file to write.")
    if path.exists() and not path.is_file():
        raise OSError(f"'{path}' is no regular file, and would be replaced by one; give the name of a file to write.")
    if not path.parent.is_dir():
        raise FileNotFoundError(f"'{path}' cannot be written: the folder '{path.parent}' does not exist; create it.")
    probe = _partial(path.with_name(f"{path.name}.part.json"))  # the longest name that a run writes beside it
    with naming(path):
        probe.touch(exist_ok=False)
        probe.unlink()


def write_atomically(path: str | os.PathLike[str], data: bytes) -> None:
    """Write ``data`` beside ``path``, bring it to the disk, and rename it into place.

    Raises
    ------
    OSError
        If that fails (naming ``path``); nothing half-written stays behind, and an older file stays as it was.
    """
    with replacing(path) as partial:
        partial.write_bytes(data)


@contextmanager
def replacing(path: str | os.PathLike[str]) -> Iterator[Path]:
    """Give a new name beside ``path``; what is written there comes to the disk and is renamed into place.

    Where the scope fails, or the disk does, it is deleted.
    """
    partial = _partial(Path(path))
    try:
        with naming(path):
            yield partial
            with partial.open("r+b") as file:
                os.fsync(file.fileno())
            rename_durably(partial, path)
    except BaseException:
        partial.unlink(missing_ok=True)
        raise


def rename_durably(source: str | os.PathLike[str], target: str | os.PathLike[str]) -> None:
    """Rename a file that is on the disk already, and bring the new name to the disk."""
    os.replace(source, target)
    with suppress(OSError):  # Windows opens no folders, and some network file systems sync none
        folder = os.open(Path(target).parent, os.O_RDONLY)
        try:
            os.fsync(folder)
        finally:
            os.close(folder)


def remove_abandoned(path: str | os.PathLike[str]) -> None:
    """Delete what killed processes left beside ``path``: temporary files of its name, and of names that begin so.

    Those of other machines, which may share the folder, are left: their processes cannot be seen from here.
    """
    path = Path(path)
    pattern = re.compile(re.escape(path.name) + rf".*\.{_machine()}-(\d+)-\d+\.part")
    with suppress(OSError):
        for other in path.parent.iterdir():
            match = pattern.fullmatch(other.name)
            if match and not _is_running(int(match[1])):
                other.unlink(missing_ok=True)


def _partial(path: Path) -> Path:
    """A new name beside ``path``; it tells machine and process, and differs from thread to thread."""
    return path.with_name(f"{path.name}.{_machine()}-{os.getpid()}-{next(_numbers)}.part")


@functools.cache
def _machine() -> str:
    """A short name of this machine or container, whose processes have numbers of their own."""
    return hashlib.blake2b(platform.node().encode(), digest_size=4).hexdigest()


def _is_running(process: int) -> bool:
    if os.name == "nt":  # os.kill would end it; files that are open cannot be deleted there anyway
        return process == os.getpid()
    try:
        os.kill(process, 0)
    except (ProcessLookupError, OverflowError):
        return False
    except OSError:  # it belongs to another user
        return True
    return True
