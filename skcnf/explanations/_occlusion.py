"""A heat map of an image by occlusion: how the score changes as patches are covered."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np

from skcnf.images import TileGrid

__all__ = ["OcclusionMap", "occlusion_map"]

_BATCH = 64  # covered copies of the image that are in memory at a time


@dataclass(frozen=True, eq=False)
class OcclusionMap:
    """How much more normal an image becomes as each of its patches is covered.

    Attributes
    ----------
    changes : ndarray of shape (n_rows, n_columns)
        Score with the patch covered less the score of the whole image. A high change marks a patch that made the image
        anomalous.
    tops, lefts : ndarray of int of shape (n_rows,), (n_columns,)
        Where the patches begin, in pixels.
    patch : int
        Side of the patches, in pixels.
    heat : ndarray of shape (h, w)
        The mean change of the patches that cover each pixel.
    """

    changes: np.ndarray
    tops: np.ndarray
    lefts: np.ndarray
    patch: int
    heat: np.ndarray

    def strongest(self) -> tuple[int, int, int, int]:
        """The patch of the highest change: top, left, bottom, right, in pixels."""
        row, column = np.unravel_index(self.changes.argmax(), self.changes.shape)
        top, left = int(self.tops[row]), int(self.lefts[column])
        return top, left, top + self.patch, left + self.patch


def occlusion_map(
    score_images: Callable[[np.ndarray], np.ndarray], image: Any, *, patch: int | None = None, stride: int | None = None
) -> OcclusionMap:
    """Cover the image patch by patch and score each copy.

    It needs no other model and works for any encoder and detector. It is coarse: it tells patches apart, not pixels,
    and an anomaly that is larger than a patch is only partly covered.

    Parameters
    ----------
    score_images : callable
        From images (n, h, w, 3), uint8, to scores (n,): ``score_samples`` of a Pipeline that begins with a
        `MocoFeaturizer`.
    image : array-like of shape (h, w, 3), dtype uint8
    patch : int, optional
        Side of the patches in pixels; a quarter of the shorter side if left out.
    stride : int, optional
        Distance of neighbouring patches in pixels; half a patch if left out.

    Returns
    -------
    OcclusionMap

    Raises
    ------
    ValueError
        If the image is no uint8 RGB array, or ``patch`` or ``stride`` does not suit its size.

    References
    ----------
    Zeiler and Fergus, "Visualizing and Understanding Convolutional Networks", ECCV 2014, section 4.2.
    """
    image = np.asarray(image)
    if image.dtype != np.uint8 or image.ndim != 3 or image.shape[2] != 3:
        raise ValueError(f"image must be a uint8 array (h, w, 3); got {image.dtype} of shape {image.shape}.")
    patch = max(1, min(image.shape[:2]) // 4) if patch is None else patch
    stride = max(1, patch // 2) if stride is None else stride
    if not 1 <= patch <= min(image.shape[:2]):
        raise ValueError(f"patch={patch} must lie between 1 and the shorter side, {min(image.shape[:2])}.")
    if not 1 <= stride <= patch:
        raise ValueError(f"stride={stride} must lie between 1 and patch={patch}, so that no pixel is left out.")
    grid = TileGrid.over((image.shape[0], image.shape[1]), patch, stride)
    whole = float(score_images(image[None])[0])
    scores = [np.asarray(score_images(batch)) for batch in _covered(image, grid)]
    changes = np.concatenate(scores).reshape(len(grid.tops), len(grid.lefts)) - whole
    return OcclusionMap(changes, grid.tops, grid.lefts, patch, grid.heat(changes))


def _covered(image: np.ndarray, grid: TileGrid) -> Iterator[np.ndarray]:
    """Copies of the image, each with one patch in the image's mean colour, batch by batch."""
    colour = image.mean(axis=(0, 1)).round().astype(np.uint8)
    for start in range(0, len(grid), _BATCH):
        places = grid.places[start : start + _BATCH]
        batch = np.repeat(image[None], len(places), axis=0)
        for copy, (top, left) in zip(batch, places, strict=True):
            copy[top : top + grid.side, left : left + grid.side] = colour
        yield batch
