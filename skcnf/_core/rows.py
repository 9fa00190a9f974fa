"""Rows in batches, and rows that stay where they are, on disk for instance, until a batch asks for them."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import numpy as np
import torch
from torch import Tensor

__all__ = ["StreamedRows", "row_batches"]

_READING_BATCH = 8192


class StreamedRows:
    """Some rows of an array, transformed and sent to a device batch by batch; indexed as a tensor would be.

    Parameters
    ----------
    X : ndarray of shape (m, d)
        May be a memory map.
    rows : ndarray of int of shape (n,)
        Which rows, in which order.
    transform : callable
        From rows (b, d) of X to float32 ones of that shape.
    device : torch.device
    """

    def __init__(
        self, X: np.ndarray, rows: np.ndarray, transform: Callable[[np.ndarray], np.ndarray], device: torch.device
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
