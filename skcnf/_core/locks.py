"""One run at a time on an output: a lock that dies with its process, and that says who holds it."""

from __future__ import annotations

import json
import logging
import os
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import IO

from skcnf._core.files import check_output, naming, remove_abandoned

__all__ = ["OutputInUseError", "output_lock"]

_log = logging.getLogger(__name__)
_held: set[str] = set()  # POSIX locks exclude other processes alone; this excludes other threads
_guard = threading.Lock()
_LOCKED_BYTE = 1 << 30  # beyond the text, which Windows would not let others read


class OutputInUseError(OSError):
    """Another run is writing this output."""


@contextmanager
def output_lock(path: str | os.PathLike[str]) -> Iterator[None]:
    """Hold ``path`` as the output of this run alone; checks first that it can be written at all.

    The lock is one of the operating system on ``PATH.lock``, so the end of the process, a kill too, releases it. The
    file holds the process and its start, and is deleted at the end; one that a kill left behind does no harm. Forked
    workers do not hold the lock. Leftovers of killed runs are deleted as the scope begins. On a file system without
    locks a warning is logged and the run goes on.

    Raises
    ------
    OutputInUseError
        If another run holds it (naming its process and start).
    OSError
        If ``path`` cannot be written (see `check_output`).
    """
    check_output(path)
    path = Path(path)
    key = os.path.realpath(path)
    with _guard:
        if key in _held:
            raise OutputInUseError(_in_use(path, {"process": os.getpid()}))
        file = _acquire(path)
        _held.add(key)
    try:
        remove_abandoned(path)
        yield
    finally:
        with _guard:
            _release(path, file)
            _held.discard(key)


def _acquire(path: Path) -> IO[str]:
    lock = path.with_name(f"{path.name}.lock")
    with naming(path):
        while True:
            file = os.fdopen(os.open(lock, os.O_RDWR | os.O_CREAT, 0o666), "r+")
            if not _try_lock(file):
                with file:
                    raise OutputInUseError(_in_use(path, _holder(file)))
            if _is_at(file, lock):
                break
            file.close()  # its last holder deleted it between our opening and our locking it
        try:
            file.truncate()
            json.dump({"process": os.getpid(), "started": time.time()}, file)
            file.flush()
        except OSError:  # a full disk
            _release(path, file)
            raise
    return file


def _release(path: Path, file: IO[str]) -> None:
    lock = path.with_name(f"{path.name}.lock")
    if sys.platform == "win32":
        file.close()
    with suppress(OSError):
        lock.unlink()  # before closing: who locks it afterwards sees that it is gone
    with suppress(OSError):
        file.close()


def _try_lock(file: IO[str]) -> bool:
    try:
        _lock(file.fileno())
    except (BlockingIOError, PermissionError):
        return False
    except OSError as error:
        _log.warning("'%s' cannot be locked (%s): do not start another run on this output", file.name, error)
    return True


if sys.platform == "win32":
    import msvcrt

    def _lock(descriptor: int) -> None:
        os.lseek(descriptor, _LOCKED_BYTE, os.SEEK_SET)
        msvcrt.locking(descriptor, msvcrt.LK_NBLCK, 1)
        os.lseek(descriptor, 0, os.SEEK_SET)

else:
    import fcntl

    def _lock(descriptor: int) -> None:
        # lockf and not flock: forked workers that outlive a killed run must not hold its lock
        fcntl.lockf(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)


def _is_at(file: IO[str], path: Path) -> bool:
    try:
        return os.path.samestat(os.fstat(file.fileno()), os.stat(path))
    except FileNotFoundError:
        return False


def _holder(file: IO[str]) -> dict[str, float]:
    try:
        return {key: float(value) for key, value in json.load(file).items()}
    except (OSError, ValueError, TypeError, AttributeError):
        return {}  # it has locked the file and not yet written


def _in_use(path: Path, holder: dict[str, float]) -> str:
    process = f"process {holder['process']:.0f}" if "process" in holder else "another process"
    since = ""
    if "started" in holder:
        with suppress(OSError, ValueError, OverflowError):
            since = f", which began at {time.strftime('%Y-%m-%d %H:%M:%S UTC', time.gmtime(holder['started']))}"
    return (
        f"'{path}' is being written by {process}{since}; wait until it ends, stop it, or choose another name for "
        "the output."
    )
