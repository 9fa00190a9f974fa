"""The training images nearest to a new one."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from sklearn.neighbors import NearestNeighbors
from sklearn.utils import check_array

__all__ = ["Neighbour", "ReferenceImages"]


@dataclass(frozen=True, eq=False)
class Neighbour:
    """A reference image near a new one.

    Attributes
    ----------
    index : int
        Its number among the reference images.
    name : str
    distance : float
        Euclidean, between features.
    thumbnail : ndarray of shape (h, w, 3), dtype uint8, or None
    """

    index: int
    name: str
    distance: float
    thumbnail: np.ndarray | None = field(default=None, repr=False)


class ReferenceImages:
    """Images to compare new ones with: inliers, or auxiliary images.

    Parameters
    ----------
    features : array-like of shape (n, d)
        Under the encoder that the new images pass.
    names : sequence of str, optional
        Paths, for instance; numbers if left out.
    thumbnails : ndarray of shape (n, h, w, 3), dtype uint8, optional

    Raises
    ------
    ValueError
        If the three differ in number.

    Examples
    --------
    >>> import numpy as np
    >>> from skcnf.explanations import ReferenceImages
    >>> inliers = ReferenceImages(np.eye(3), names=["a.png", "b.png", "c.png"])
    >>> inliers.nearest([[0.1, 0.9, 0.0]])[0][0].name
    'b.png'
    """

    def __init__(self, features: Any, names: Sequence[str] | None = None, thumbnails: np.ndarray | None = None) -> None:
        self.features = check_array(features, dtype=[np.float32, np.float64], input_name="features")
        n_images = len(self.features)
        self.names = [str(number) for number in range(n_images)] if names is None else list(names)
        self.thumbnails = thumbnails
        for name, values in (("names", self.names), ("thumbnails", thumbnails)):
            if values is not None and len(values) != n_images:
                raise ValueError(f"{name} holds {len(values)} items, but features holds {n_images} rows.")
        self._index = NearestNeighbors(algorithm="brute").fit(self.features)

    def __len__(self) -> int:
        return len(self.features)

    def nearest(self, X: Any, n_neighbours: int = 1) -> list[list[Neighbour]]:
        """Find the nearest reference images of each row of X, nearest first.

        Parameters
        ----------
        X : array-like of shape (n, d)
            Features of new images.
        n_neighbours : int, default=1
            At most as many as there are reference images.

        Returns
        -------
        list of list of Neighbour
            One list for each row.
        """
        distances, indices = self._index.kneighbors(X, min(n_neighbours, len(self)))
        return [
            [self._neighbour(int(index), float(distance)) for index, distance in zip(*row, strict=True)]
            for row in zip(indices, distances, strict=True)
        ]

    def _neighbour(self, index: int, distance: float) -> Neighbour:
        thumbnail = None if self.thumbnails is None else self.thumbnails[index]
        return Neighbour(index, self.names[index], distance, thumbnail)
