"""pyod's INNE with the distances to all centres from one matrix product: the same scores, many times faster."""

from __future__ import annotations

from typing import Any

import numpy as np
from pyod.models.inne import INNE as SetBySet
from sklearn.metrics import euclidean_distances
from sklearn.utils import check_array

from skcnf._core.rows import row_batches

__all__ = ["INNE"]

_BATCH = 512  # rows whose distances to all centres are in memory at once


class INNE(SetBySet):
    """Isolation by nearest-neighbour hyperspheres, with pyod's parameters.

    pyod goes through all rows once for each set of spheres; here a batch of rows meets all sets at once.
    """

    def _score_samples(self, X: Any) -> np.ndarray:
        X = check_array(X)
        return -np.concatenate([self._isolation(X[part]) for part in row_batches(len(X), _BATCH)])

    def _isolation(self, X: np.ndarray) -> np.ndarray:
        """The mean over all sets of the ratio of the smallest sphere that holds a row, or of 1 where none does."""
        centres = self._centroids.reshape(-1, X.shape[1])
        distances = euclidean_distances(X, centres, squared=True).reshape(len(X), *self._ratio.shape)
        radii = np.where(distances <= self._centroids_radius, self._centroids_radius, np.inf)
        smallest = radii.argmin(axis=2)
        ratios = self._ratio[np.arange(len(self._ratio)), smallest]
        ratios[np.isinf(radii.min(axis=2))] = 1
        return ratios.mean(axis=1)
