"""A detector of images that sees them tile by tile."""

from __future__ import annotations

from numbers import Integral, Real
from typing import Any, ClassVar

import numpy as np
from sklearn.base import OutlierMixin, _fit_context, clone
from sklearn.utils._param_validation import HasMethods, Interval
from sklearn.utils.validation import check_is_fitted

from skcnf.detectors import BaseOutlierDetector
from skcnf.detectors._calibration import Calibration
from skcnf.detectors._decisions import DecisionMixin
from skcnf.detectors._validation import all_or_nothing, inlier_mask, split_y_and_aux
from skcnf.images import TileGrid, image_source, iter_decoded
from skcnf.tiling._encoder import TileEncoder
from skcnf.tiling._map import TileMap

__all__ = ["TiledDetector"]

_OF_TEMPLATE = ("contamination", "false_alarm_rate", "validation_fraction", "random_state")
_OF_FITTED = (
    "offset_",
    "group_offsets_",
    "calibration_scores_",
    "calibration_groups_",
    "false_alarm_rate_",
    "recalibrated_",
)


class TiledDetector(OutlierMixin, DecisionMixin):
    """Judge an image by its least normal tile: for defects that are small beside the image.

    Images are resized to one size and cut into overlapping tiles, which a featurizer and a detector see as images of
    their own. The detector learns from the tiles of the training images. Images are split into training, stopping and
    calibration, never tiles: neighbouring tiles overlap, and one image's tiles are alike. The score of an image is that
    of its lowest tile, and this score is calibrated, so that threshold, p-values and selection hold for images. Tiles
    have scores, which make a heat map, and no verdict.

    Parameters
    ----------
    featurizer : transformer
        From uint8 images (n, h, w, 3) to features, such as `MocoFeaturizer`. It must not learn from the images.
    detector : detector of this package
        Scores tiles. Here its ``contamination``, ``false_alarm_rate`` and ``validation_fraction`` are shares of images.
    tile : int
        Side of the tiles, in pixels of the resized image. The featurizer resizes tiles to the encoder's own size.
    overlap : float in [0, 1), default=0.5
        The share of a side that neighbouring tiles have in common. The last row and column end at the border.
    image_size : int, tuple (height, width) or None, default=None
        All images are resized to it with antialiasing; an int stands for a square. Nothing is cropped, so that a defect
        at the border counts; sides of another ratio are stretched. None demands that the images of ``fit`` have one
        size, which new and auxiliary images are resized to.

    Attributes
    ----------
    featurizer_ : transformer
        The fitted featurizer.
    detector_ : detector
        The fitted detector of tiles. Its threshold and calibration are those of images.
    size_ : tuple of int
        Height and width that images are resized to, in pixels.
    offset_, group_offsets_, calibration_scores_, calibration_groups_, false_alarm_rate_, recalibrated_
        Those of ``detector_``: an image's score is compared with the lowest tiles' scores of calibration images.

    Notes
    -----
    X may be whatever `MocoFeaturizer` takes; images of different sizes come as a list or as files. The features of all
    tiles of the images of ``fit`` are in memory: 128 numbers for each tile with the bundled encoder. The lowest of k
    scores is the lower, the larger k is; one size gives all images one k.

    Examples
    --------
    >>> import numpy as np
    >>> from skcnf import MocoFeaturizer, MSEDetector, TiledDetector
    >>> rng = np.random.default_rng(0)
    >>> images = rng.integers(0, 60, (30, 64, 64, 3), dtype=np.uint8)
    >>> new = images[:2].copy()
    >>> new[0, 8:24, 40:56] += 150  # a bright spot
    >>> tiled = TiledDetector(MocoFeaturizer(), MSEDetector(false_alarm_rate=0.4, random_state=0), tile=32)
    >>> tiled.fit(images[2:]).heat_map(new[0]).lowest()
    (0, 32, 32, 64)
    >>> bool(np.diff(tiled.score_samples(new)) > 0)
    True
    """

    # Pipelines route X_aux to fit without a call of set_fit_request.
    __metadata_request__fit: ClassVar[dict[str, bool]] = {"X_aux": True}
    _parameter_constraints: ClassVar[dict[str, list[Any]]] = {
        "featurizer": [HasMethods(["fit", "transform"])],
        "detector": [BaseOutlierDetector],
        "tile": [Interval(Integral, 1, None, closed="left")],
        "overlap": [Interval(Real, 0, 1, closed="left")],
        "image_size": [None, Interval(Integral, 1, None, closed="left"), tuple, list],
    }

    featurizer_: Any
    detector_: BaseOutlierDetector
    size_: tuple[int, int]

    def __init__(
        self,
        featurizer: Any,
        detector: BaseOutlierDetector,
        *,
        tile: int,
        overlap: float = 0.5,
        image_size: int | tuple[int, int] | None = None,
    ) -> None:
        self.featurizer = featurizer
        self.detector = detector
        self.tile = tile
        self.overlap = overlap
        self.image_size = image_size

    def __getattr__(self, name: str) -> Any:
        """Take what decisions need from the detector, so that there is one truth of it."""
        holder = {**dict.fromkeys(_OF_TEMPLATE, "detector"), **dict.fromkeys(_OF_FITTED, "detector_")}.get(name)
        if holder not in self.__dict__:  # of an attribute that nothing has, or of a detector that is not fitted
            raise AttributeError(f"'{type(self).__name__}' object has no attribute {name!r}")
        return getattr(self.__dict__[holder], name)

    @_fit_context(prefer_skip_nested_validation=False)
    def fit(self, X: Any, y: Any = None, X_aux: Any = None) -> TiledDetector:
        """Learn what is normal from whole images.

        Parameters
        ----------
        X : images
            Inliers, whatever `MocoFeaturizer` takes but iterators.
        y : array-like of shape (n_images,), optional
            Ignored, unless it holds both +1 (inlier) and -1 (anomaly) and nothing else: then images of -1 are left out
            of training and calibration.
        X_aux : images, array-like of shape (n_aux, n_features), or tuple of such, optional
            Broad unlabelled images, of which each tile is an auxiliary row; or rows of features that the featurizer
            made of images.

        Returns
        -------
        self : object

        Raises
        ------
        ValueError
            If an argument is malformed, an image cannot be read (naming it), the tile does not fit, or images differ in
            size and ``image_size`` is None; ``self`` is then left as it was.
        FloatingPointError
            If training diverges; ``self`` is then left as it was.
        """
        with all_or_nothing(self):
            y, X_aux = split_y_and_aux(y, X_aux)
            rows = self._prepare(X).transform(X)
            mask = inlier_mask(self, y, len(rows))
            self._fit_rows(rows if mask is None else rows[mask], self._auxiliary(X_aux))
        return self

    def score_samples(self, X: Any) -> np.ndarray:
        """Return the score of each image, that of its lowest tile; higher = more normal.

        Parameters
        ----------
        X : images
            Of any size: they are resized. An iterator is read to its end.

        Returns
        -------
        ndarray of shape (n_images,), dtype float64
            In the unit of the detector.

        Raises
        ------
        sklearn.exceptions.NotFittedError
            Before ``fit``.
        ValueError
            If X is malformed, or an image cannot be read (naming it).
        """
        check_is_fitted(self)
        return self._score_rows(self._encoder.transform(X))

    def heat_map(self, image: Any) -> TileMap:
        """Return the scores of an image's tiles, and where they lie.

        Parameters
        ----------
        image : ndarray of shape (h, w, 3), PIL image or path

        Returns
        -------
        TileMap
        """
        check_is_fitted(self)
        scores = self._tile_scores(self._encoder.transform([image]))[0]
        grid = self._grid(self.size_)
        return TileMap(scores.reshape(len(grid.tops), len(grid.lefts)), grid, self._shape_of([image]))

    # Images to rows, one for each image: the features of its tiles. The command line keeps these rows on disk.

    def _prepare(self, X: Any) -> TileEncoder:
        """Fit the featurizer and find the size of images; returns what makes rows of the images of ``fit``."""
        self.featurizer_ = clone(self.featurizer)
        verbose = bool(getattr(self.featurizer_, "verbose", False))
        if verbose:  # a bar for all images, and none for each batch of tiles
            self.featurizer_.set_params(verbose=False)
        self.size_ = self._shape_of(X) if self.image_size is None else self._wanted_size()
        grid = self._grid(self.size_)
        self.featurizer_.fit(np.zeros((1, grid.side, grid.side, 3), np.uint8))
        return TileEncoder(self.featurizer_, grid, one_size=self.image_size is None, verbose=verbose)

    def _wanted_size(self) -> tuple[int, int]:
        given: Any = self.image_size
        sides = (given, given) if isinstance(given, Integral) else tuple(given)
        if len(sides) != 2 or not all(isinstance(side, Integral) and int(side) > 0 for side in sides):
            raise ValueError(
                f"image_size={self.image_size!r} must be a number of pixels, or (height, width) in pixels."
            )
        return int(sides[0]), int(sides[1])

    def _shape_of(self, X: Any) -> tuple[int, int]:
        """Height and width of the first image that can be read."""
        intensity = getattr(self.featurizer, "intensity", None)
        error = None
        for decoded in iter_decoded(image_source(X, intensity), lambda image: image, intensity=intensity):
            if decoded.image is not None:
                return int(decoded.image.shape[-2]), int(decoded.image.shape[-1])
            error = error or decoded.error
        raise ValueError(error)

    def _grid(self, size: tuple[int, int]) -> TileGrid:
        if self.tile > min(size):
            raise ValueError(
                f"tile={self.tile} exceeds the shorter side of images of {size[0]} x {size[1]} pixels (height x width)."
            )
        return TileGrid.over(size, self.tile, max(1, round(self.tile * (1 - self.overlap))))

    @property
    def _encoder(self) -> TileEncoder:
        """What makes rows of new and auxiliary images."""
        return TileEncoder(self.featurizer_, self._grid(self.size_))

    def _auxiliary(self, X_aux: Any) -> tuple[np.ndarray, ...] | None:
        """Rows (m, d) of each part: the tiles of images, or features as they are."""
        if X_aux is None:
            return None
        parts = X_aux if isinstance(X_aux, tuple) else (X_aux,)
        return tuple(part if getattr(part, "ndim", None) == 2 else self._tiles_of(part) for part in parts)

    def _tiles_of(self, images: Any) -> np.ndarray:
        return self._as_tiles(self._encoder.transform(images))

    def _as_tiles(self, rows: np.ndarray) -> np.ndarray:
        """Turn rows (n, k * d) of images into rows (n * k, d) of tiles."""
        return rows.reshape(len(rows) * len(self._grid(self.size_)), -1)

    def _fit_rows(self, rows: np.ndarray, X_aux: Any) -> None:
        """Fit the detector to rows (n, k * d) of images and auxiliary rows (m, d) of tiles."""
        if len(rows) < 2:
            raise ValueError(f"X holds {len(rows)} inlier image(s); at least 2 are needed.")
        detector = clone(self.detector)
        detector._validate_params()
        tiles = self._as_tiles(rows)
        self.detector_ = detector._fit_units(tiles, len(tiles) // len(rows), X_aux)

    def _tile_scores(self, rows: np.ndarray) -> np.ndarray:
        """Scores (n, k) of the tiles of rows (n, k * d)."""
        return self.detector_.score_samples(self._as_tiles(rows)).reshape(len(rows), -1)

    def _score_rows(self, rows: np.ndarray) -> np.ndarray:
        """Scores (n,) of rows (n, k * d) of images."""
        return self._tile_scores(rows).min(axis=1)

    def _apply(self, calibration: Calibration, rate: float, recalibrated: bool) -> None:
        self.detector_._apply(calibration, rate, recalibrated)

    def __sklearn_tags__(self) -> Any:
        tags = super().__sklearn_tags__()
        tags.input_tags.two_d_array = False
        tags.input_tags.string = True
        return tags
