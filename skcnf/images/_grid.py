"""Squares that cover an image in rows and columns, and maps of values that belong to squares."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

__all__ = ["TileGrid"]


@dataclass(frozen=True, eq=False)
class TileGrid:
    """Squares of one size that reach every pixel of an image.

    Parameters
    ----------
    shape : tuple of int
        Height and width of the image, in pixels.
    side : int
        Side of the squares, in pixels.
    tops, lefts : ndarray of int of shape (n_rows,), (n_columns,)
        Where rows and columns of squares begin, in pixels.
    """

    shape: tuple[int, int]
    side: int
    tops: np.ndarray
    lefts: np.ndarray

    @classmethod
    def over(cls, shape: tuple[int, int], side: int, stride: int) -> TileGrid:
        """Lay squares over an image at distances of ``stride`` pixels; the last ones end at the border."""
        return cls(shape, side, _starts(shape[0], side, stride), _starts(shape[1], side, stride))

    def __len__(self) -> int:
        return len(self.tops) * len(self.lefts)

    @property
    def places(self) -> list[tuple[int, int]]:
        """The top and left of each square, row by row."""
        return [(int(top), int(left)) for top in self.tops for left in self.lefts]

    def cut(self, images: np.ndarray) -> np.ndarray:
        """Return the squares (n, k, side, side, c) of images (n, h, w, c), row by row."""
        side = self.side
        return np.stack([images[:, top : top + side, left : left + side] for top, left in self.places], axis=1)

    def heat(self, values: np.ndarray) -> np.ndarray:
        """Return a map (h, w): the mean of the values (n_rows, n_columns) of the squares that cover each pixel."""
        total, count = np.zeros(self.shape), np.zeros(self.shape)
        for (top, left), value in zip(self.places, values.ravel().tolist(), strict=True):
            square = np.s_[top : top + self.side, left : left + self.side]
            total[square] += value
            count[square] += 1
        return total / count


def _starts(extent: int, side: int, stride: int) -> np.ndarray:
    starts = np.arange(0, extent - side + 1, stride)
    return starts if starts[-1] == extent - side else np.append(starts, extent - side)
