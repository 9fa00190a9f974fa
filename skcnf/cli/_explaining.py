"""Why the least normal images were flagged: where covering them helps, and which normal images are nearest."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from skcnf.explanations import ReferenceImages, occlusion_map
from skcnf.images import as_tensor, resize_and_crop
from skcnf.moco import MocoFeaturizer
from skcnf.reporting import ScoredRow
from skcnf.tiling import TiledDetector

__all__ = ["explain"]

_N_EXPLAINED = 12  # each takes 50 passes of the encoder
_N_NEIGHBOURS = 2
_SIDE = 96
_LARGEST = 192
_STRONGEST = 0.7  # how much of a pixel the heat may cover

Pictures = dict[str, list[tuple[str, np.ndarray]]]


def explain(
    rows: Sequence[ScoredRow],
    model: Any,
    featurizer: MocoFeaturizer,
    open_image: Callable[[str], np.ndarray],
    thumbnails: np.ndarray | None,
) -> Pictures:
    """Pictures with captions for the least normal images.

    Parameters
    ----------
    rows : sequence of ScoredRow
    model : Pipeline or TiledDetector
        Of a `MocoFeaturizer` and a detector.
    featurizer : MocoFeaturizer
        The fitted one in ``model``.
    open_image : callable
        From the name of an input to its image.
    thumbnails : ndarray of shape (n, h, w, 3), dtype uint8, or None
        Normal images to find the nearest among.

    Returns
    -------
    dict
        For each input a heat map, and its nearest normal images where ``thumbnails`` are given.
    """
    reference = None
    if thumbnails is not None and len(thumbnails):
        reference = ReferenceImages(featurizer.transform(thumbnails), thumbnails=thumbnails)
    explained = sorted((row for row in rows if row.status == "ok"), key=lambda row: row.score)
    pictures: Pictures = {}
    for row in explained[:_N_EXPLAINED]:
        try:
            image = open_image(row.input)
        except (OSError, ValueError):  # moved or deleted since it was scored
            continue
        pictures[row.input] = [_map_of(image, model)]
        if reference is not None:
            nearest = reference.nearest(featurizer.transform(_small(image)[None]), _N_NEIGHBOURS)[0]
            pictures[row.input] += [
                (f"normal, at distance {near.distance:.2f}", near.thumbnail)
                for near in nearest
                if near.thumbnail is not None
            ]
    return pictures


def _map_of(image: np.ndarray, model: Any) -> tuple[str, np.ndarray]:
    """A caption, and the image with its heat."""
    if isinstance(model, TiledDetector):
        heat = -model.heat_map(image).heat
        step = max(1, max(heat.shape) // _LARGEST)  # the page shows it small
        return "yellow: the least normal tiles", _painted(
            image[::step, ::step], (heat - np.median(heat))[::step, ::step]
        )
    image = _small(image)
    return "yellow, coarsely: what lowers the score", _painted(image, occlusion_map(model.score_samples, image).heat)


def _small(image: np.ndarray) -> np.ndarray:
    """The central square, no larger than a thumbnail: 49 covered copies of it are scored."""
    side = min(_SIDE, *image.shape[:2])
    return resize_and_crop(as_tensor(image).permute(2, 0, 1), side).permute(1, 2, 0).contiguous().numpy()


def _painted(image: np.ndarray, heat: np.ndarray) -> np.ndarray:
    """The image, the more yellow the higher the heat above 0; dark elsewhere."""
    heat = heat.clip(0)
    share = (heat / max(float(heat.max()), 1e-12))[..., None]
    colour = np.array([255.0, 220.0, 0.0])
    return (image * (0.35 + 0.65 * share) * (1 - _STRONGEST * share) + colour * _STRONGEST * share).astype(np.uint8)
