"""Arrays written row by row, to a file so that a run that was cut goes on, or to memory."""

from __future__ import annotations

import json
import os
from pathlib import Path

import numpy as np

from skcnf._core.files import write_atomically

__all__ = ["RowArray", "RowFile"]


class RowFile:
    """Write an ``.npy`` file batch by batch, so that a run that was cut goes on where it stopped.

    Rows go to ``PATH.part``, a memory map; ``PATH.part.json`` tells how many are done and is renamed into place after
    every batch, so a kill at any moment loses at most the batch in progress. `finish` renames the whole array to
    ``PATH``. Rows of a run of another ``identity`` are discarded.

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
    """

    def __init__(self, path: str | os.PathLike[str], shape: tuple[int, ...], dtype: str, identity: str) -> None:
        self.path = Path(path)
        self._part = self.path.with_name(f"{self.path.name}.part")
        self._log = self.path.with_name(f"{self.path.name}.part.json")
        self._identity = identity
        self.n_done = self._rows_done(shape, dtype)
        if self.n_done:
            self._array = np.lib.format.open_memmap(self._part, mode="r+")
        else:
            self._array = np.lib.format.open_memmap(self._part, mode="w+", dtype=dtype, shape=shape)

    def _rows_done(self, shape: tuple[int, ...], dtype: str) -> int:
        try:
            log = json.loads(self._log.read_text())
            array = np.load(self._part, mmap_mode="r", allow_pickle=False)
            same = log["identity"] == self._identity and array.shape == shape and array.dtype == np.dtype(dtype)
            return min(int(log["rows"]), len(array)) if same else 0
        except (OSError, ValueError, KeyError, TypeError):  # nothing there, or nothing that can be used
            return 0

    def append(self, rows: np.ndarray) -> None:
        """Write the next rows."""
        self._array[self.n_done : self.n_done + len(rows)] = rows
        self._array.flush()
        self.n_done += len(rows)
        write_atomically(self._log, json.dumps({"identity": self._identity, "rows": self.n_done}).encode())

    def finish(self) -> np.ndarray:
        """Rename the array into place; returns it as a read-only memory map."""
        del self._array
        self._part.replace(self.path)
        self._log.unlink(missing_ok=True)
        return np.load(self.path, mmap_mode="r", allow_pickle=False)


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
