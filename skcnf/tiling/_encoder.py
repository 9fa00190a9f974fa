"""Features of the tiles of images."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
from torch import Tensor

from skcnf._core.progress import progress_bar
from skcnf.images import (
    DecodedImage,
    TileGrid,
    count_threads,
    decoded_batches,
    image_source,
    is_stream,
    resize_image,
    stack_images,
)
from skcnf.moco import ImageFeatures

__all__ = ["TileEncoder"]

_BATCH = 256  # tiles that are encoded together, where the featurizer does not tell


class _OtherSizeError(Exception):
    """The size that was expected, and an image's own. It is no ValueError, which would make the image unreadable."""


class TileEncoder:
    """Features of the tiles of images, all of an image's in one row: what a featurizer is to whole images.

    Parameters
    ----------
    featurizer : fitted transformer
        From uint8 images (n, h, w, 3) to features (n, d).
    grid : TileGrid
        Images are resized to its shape, without a crop, and cut along it.
    one_size : bool, default=False
        Refuse images of another size in place of resizing them.
    verbose : bool, default=False
        A progress bar where standard error is a terminal.

    Attributes
    ----------
    n_features_ : int
        Of a tile: d.
    n_features_out_ : int
        Of an image: k * d for k tiles.
    """

    def __init__(self, featurizer: Any, grid: TileGrid, *, one_size: bool = False, verbose: bool = False) -> None:
        self.featurizer, self.grid, self.one_size, self.verbose = featurizer, grid, one_size, verbose
        self.intensity = getattr(featurizer, "intensity", None)
        probe = np.zeros((1, grid.side, grid.side, 3), np.uint8)
        self.n_features_ = getattr(featurizer, "n_features_out_", None) or featurizer.transform(probe).shape[1]
        self.n_features_out_ = len(grid) * self.n_features_

    def stream(self, X: Any, *, start: int = 0, stop: int | None = None) -> Iterator[list[ImageFeatures]]:
        """Featurise images as they come, in bounded memory; see `MocoFeaturizer.stream`.

        Raises
        ------
        ValueError
            If X is malformed, or ``one_size`` and an image has another one (naming it).
        """
        for batch in self._decoded(X, start, stop):
            images = [decoded for decoded in batch if decoded.image is not None]
            rows = iter(self._encode(images) if images else ())
            yield [
                ImageFeatures(decoded.index, decoded.name, None if decoded.image is None else next(rows), decoded.error)
                for decoded in batch
            ]

    def transform(self, X: Any) -> np.ndarray:
        """Return features (n, k * d) of images, float32.

        Raises
        ------
        ValueError
            If X is malformed, holds no image or one that cannot be read, or ``one_size`` and an image has another one.
        """
        n_images = None if is_stream(X) else len(image_source(X, self.intensity))
        parts = []
        with progress_bar(total=n_images, unit="image", verbose=self.verbose) as bar:
            for batch in self._decoded(X):
                parts.append(self._encode(batch))
                bar.update(len(batch))
        if not parts:
            raise ValueError("X holds no image; at least 1 is needed.")
        return np.concatenate(parts)

    @property
    def batch_size(self) -> int:
        """How many images have as many tiles as the featurizer encodes together."""
        return max(1, getattr(self.featurizer, "batch_size", _BATCH) // len(self.grid))

    def _decoded(self, X: Any, start: int = 0, stop: int | None = None) -> Iterator[list[DecodedImage]]:
        n_threads = count_threads(getattr(self.featurizer, "n_jobs", None))
        try:
            yield from decoded_batches(
                X, self._resize, self.batch_size, n_threads=n_threads, start=start, stop=stop, intensity=self.intensity
            )
        except _OtherSizeError as error:
            (name,), (wanted, found) = error.__notes__, error.args
            raise ValueError(
                f"image '{name}' has {found} pixels (height x width), but the first one has {wanted}; give image_size, "
                "to which all are resized (on the command line: --set image_size=SIZE)."
            ) from None

    def _resize(self, image: Tensor) -> Tensor:
        shape = tuple(image.shape[-2:])
        if self.one_size and shape != self.grid.shape:
            raise _OtherSizeError(*(f"{height} x {width}" for height, width in (self.grid.shape, shape)))
        return resize_image(image, self.grid.shape)

    def _encode(self, batch: list[DecodedImage]) -> np.ndarray:
        images = stack_images(batch).permute(0, 2, 3, 1).numpy()
        tiles = self.grid.cut(images).reshape(-1, self.grid.side, self.grid.side, 3)
        return np.asarray(self.featurizer.transform(tiles), dtype=np.float32).reshape(len(images), -1)

    @property
    def _identity(self) -> str:
        """Return a name for all that features depend on, but the images."""
        grid = self.grid
        return f"{self.featurizer._identity} tiles {grid.shape} {grid.side} {grid.tops} {grid.lefts} {self.one_size}"
