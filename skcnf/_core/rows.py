"""Rows in batches, and rows that stay where they are, on disk for instance, until a batch asks for them."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Sequence
from typing import Any, Literal

import numpy as np
import torch
from torch import Tensor

__all__ = ["DatasetRows", "LazyRows", "ShardedRows", "StreamedRows", "row_batches"]

_READING_BATCH = 8192


class LazyRows(ABC):
    """Rows that are read when they are asked for; indexed as an array (m, d) would be.

    Parameters
    ----------
    shape : tuple of int
    dtype : dtype
        What rows are returned in: float32 or float64.
    """

    ndim = 2

    def __init__(self, shape: tuple[int, int], dtype: Any) -> None:
        self.shape, self.dtype = shape, np.dtype(dtype)

    @abstractmethod
    def take(self, rows: np.ndarray) -> np.ndarray:
        """Read the rows of these numbers, in this order."""

    @property
    def size(self) -> int:
        """How many numbers there are."""
        return self.shape[0] * self.shape[1]

    def __len__(self) -> int:
        return self.shape[0]

    def __getitem__(self, index: Any) -> Any:
        """Rows by number, slice or array of numbers; with a second index, one feature of them."""
        if isinstance(index, tuple):
            rows, feature = index
            if not isinstance(rows, slice):
                return self[rows][..., feature]
            numbers = np.arange(len(self))[rows]  # in parts: all their features may be more than memory
            parts = [self.take(numbers[part])[:, feature] for part in row_batches(len(numbers), _READING_BATCH)]
            return np.concatenate(parts)
        numbers = np.arange(len(self))[index]
        return self.take(numbers) if numbers.ndim else self.take(numbers[None])[0]

    def __array__(self, dtype: Any = None, copy: bool | None = None) -> np.ndarray:
        return self.take(np.arange(len(self))).astype(dtype or self.dtype, copy=False)

    def mean(self, axis: Literal[0], dtype: Any) -> np.ndarray:
        """Mean (d,) of the rows."""
        parts = [self[part].sum(axis=axis, dtype=dtype) for part in row_batches(len(self), _READING_BATCH)]
        return sum(parts) / len(self)


class ShardedRows(LazyRows):
    """Arrays one after the other, without a copy of them all.

    Parameters
    ----------
    shards : sequence of ndarray or LazyRows of shape (m_i, d)
        They may be memory maps.
    """

    def __init__(self, shards: Sequence[Any]) -> None:
        self._shards, self._ends = list(shards), np.cumsum([len(shard) for shard in shards])
        dtype = np.result_type(*[shard.dtype for shard in shards])
        super().__init__((int(self._ends[-1]), shards[0].shape[1]), dtype)

    def take(self, rows: np.ndarray) -> np.ndarray:
        """Read from each shard what lies in it."""
        out = np.empty((len(rows), self.shape[1]), self.dtype)
        origin = np.searchsorted(self._ends, rows, side="right")
        for number in np.unique(origin).tolist():
            own, shard = origin == number, self._shards[number]
            out[own] = shard[rows[own] - (self._ends[number] - len(shard))]
        return out


class DatasetRows(LazyRows):
    """The items of a torch Dataset, read one by one when a batch asks for them.

    Parameters
    ----------
    dataset : object with a length and items
        An item is a row of d numbers, or a tuple that begins with one.
    name : str
        What errors call it.
    """

    def __init__(self, dataset: Any, name: str) -> None:
        self._dataset, self._name = dataset, name
        first = _row_of(dataset[0])
        if first.ndim != 1:
            raise ValueError(f"its items must be rows of numbers; the first has shape {first.shape}.")
        super().__init__((len(dataset), len(first)), np.float64 if first.dtype == np.float64 else np.float32)

    def take(self, rows: np.ndarray) -> np.ndarray:
        """Ask for the items.

        Raises
        ------
        ValueError
            If one has another shape than the first (naming it).
        """
        out = np.empty((len(rows), self.shape[1]), self.dtype)
        for place, number in enumerate(rows.tolist()):
            row = _row_of(self._dataset[number])
            if row.shape != self.shape[1:]:
                raise ValueError(
                    f"item {number} of {self._name} has shape {row.shape}; the first one has {self.shape[1:]}."
                )
            out[place] = row
        return out


def _row_of(item: Any) -> np.ndarray:
    return np.asarray(item[0] if isinstance(item, (tuple, list)) else item)


class StreamedRows:
    """Some rows of an array, transformed and sent to a device batch by batch; indexed as a tensor would be.

    Parameters
    ----------
    X : ndarray or LazyRows of shape (m, d)
        May be a memory map.
    rows : ndarray of int of shape (n,)
        Which rows, in which order.
    transform : callable
        From rows (b, d) of X to float32 ones of that shape.
    device : torch.device
    """

    def __init__(
        self,
        X: np.ndarray | LazyRows,
        rows: np.ndarray,
        transform: Callable[[np.ndarray], np.ndarray],
        device: torch.device,
    ) -> None:
        self.X, self.rows, self.transform, self.device = X, rows, transform, device

    def __len__(self) -> int:
        return len(self.rows)

    def __getitem__(self, index: Tensor | slice) -> Tensor:
        rows = self.rows[index.cpu().numpy() if isinstance(index, Tensor) else index]
        return torch.as_tensor(self.transform(self.X[rows]), device=self.device)

    def read(self) -> Tensor:
        """All of them, in memory."""
        out = torch.empty(len(self), self.X.shape[1], device=self.device)
        for part in row_batches(len(self), _READING_BATCH):
            out[part] = self[part]
        return out


def row_batches(n_rows: int, batch_size: int) -> Iterator[slice]:
    """Slices that cover ``range(n_rows)`` in order, each at most ``batch_size`` long."""
    for start in range(0, n_rows, batch_size):
        yield slice(start, min(start + batch_size, n_rows))
