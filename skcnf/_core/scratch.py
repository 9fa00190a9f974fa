"""Folders for the length of a run, which the next run deletes where a kill has left one behind."""

from __future__ import annotations

import os
import shutil
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from skcnf._core.locks import output_lock

__all__ = ["scratch_folder"]

_PREFIX = "skcnf-"
_SHARED_MEMORY = Path("/dev/shm")
_ROOM = 2 * 2**30  # bytes that shared memory must have free; joblib asks for the same
_YOUNG = 60.0  # seconds in which a folder may not be locked yet


@contextmanager
def scratch_folder(root: str | os.PathLike[str] | None = None) -> Iterator[str]:
    """A new folder, deleted at the end of the scope, with the folders that killed runs have left.

    A lock in it tells that its run is alive.

    Parameters
    ----------
    root : path, optional
        Where to make it; by default in ``JOBLIB_TEMP_FOLDER``, in shared memory, or among the temporary files.
    """
    root = _default_root() if root is None else Path(root)
    _delete_abandoned(root)
    folder = Path(tempfile.mkdtemp(prefix=_PREFIX, dir=root))
    try:
        with output_lock(folder / "owner"):
            yield str(folder)
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def _default_root() -> Path:
    if "JOBLIB_TEMP_FOLDER" in os.environ:
        return Path(os.environ["JOBLIB_TEMP_FOLDER"])
    if os.access(_SHARED_MEMORY, os.W_OK) and shutil.disk_usage(_SHARED_MEMORY).free > _ROOM:
        return _SHARED_MEMORY
    return Path(tempfile.gettempdir())


def _delete_abandoned(root: Path) -> None:
    for folder in root.glob(f"{_PREFIX}*"):
        with suppress(OSError):  # a run holds it, it belongs to another user, or another run deletes it too
            if time.time() - folder.stat().st_mtime > _YOUNG:
                with output_lock(folder / "owner"):
                    shutil.rmtree(folder, ignore_errors=True)
