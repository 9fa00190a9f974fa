"""Where in an image the score comes from: a map of its tiles' scores."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from skcnf.images import TileGrid

__all__ = ["TileMap"]


@dataclass(frozen=True, eq=False)
class TileMap:
    """The scores of an image's tiles. A tile has no verdict: threshold and p-value are those of whole images.

    Parameters
    ----------
    scores : ndarray of shape (n_rows, n_columns)
        Of the tiles, in the unit of the detector; lower is more anomalous. The lowest is the score of the image.
    grid : TileGrid
        Where they lie, in the image as it was resized.
    shape : tuple of int
        Height and width of the image itself, in pixels.
    """

    scores: np.ndarray
    grid: TileGrid
    shape: tuple[int, int]

    @property
    def heat(self) -> np.ndarray:
        """The mean score (h, w) of the tiles that cover each pixel of the image; lower is more anomalous."""
        heat = self.grid.heat(self.scores)
        rows, columns = (
            (np.arange(own) + 0.5) * resized // own for own, resized in zip(self.shape, heat.shape, strict=True)
        )
        return heat[np.ix_(rows.astype(int), columns.astype(int))]

    def lowest(self) -> tuple[int, int, int, int]:
        """The tile of the lowest score: top, left, bottom, right, in pixels of the image."""
        top, left = self.grid.places[int(self.scores.argmin())]
        vertical, horizontal = (own / resized for own, resized in zip(self.shape, self.grid.shape, strict=True))
        side = self.grid.side
        return (
            round(top * vertical),
            round(left * horizontal),
            round((top + side) * vertical),
            round((left + side) * horizontal),
        )
