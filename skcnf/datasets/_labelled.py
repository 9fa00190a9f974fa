"""Labelled images, and what becomes of them: features under an encoder, or pixels."""

from __future__ import annotations

import os
from dataclasses import dataclass
from numbers import Integral
from typing import Any

import numpy as np

from skcnf.datasets._features import LabelledFeatures, check_labels
from skcnf.images import load_images

__all__ = ["LabelledImages", "featurize_images", "flatten_images", "stack_labelled_images"]


@dataclass(frozen=True)
class LabelledImages:
    """Images of a labelled data set.

    Attributes
    ----------
    X_train, X_test : images or None
        Whatever `MocoFeaturizer` takes: a uint8 array (n, h, w, 3), a list of paths, a torch Dataset. None where only
        the other split is at hand.
    y_train, y_test : ndarray of shape (n,) or None
        Indices into ``class_names``.
    class_names : tuple of str
    name : str
    note : str, default=""
        How they differ from the published data set, where they do; tables print it.

    Raises
    ------
    ValueError
        If both splits are None, images and labels differ in number, or a label is no index into ``class_names``.
    """

    X_train: Any
    y_train: np.ndarray | None
    X_test: Any
    y_test: np.ndarray | None
    class_names: tuple[str, ...]
    name: str
    note: str = ""

    def __post_init__(self) -> None:
        if self.X_train is None and self.X_test is None:
            raise ValueError("X_train and X_test are both None; at least one must be images.")
        for split, X, y in (("train", self.X_train, self.y_train), ("test", self.X_test, self.y_test)):
            if (X is None) != (y is None):
                raise ValueError(f"X_{split} and y_{split} must be None together; got {type(X)} and {type(y)}.")
            if y is not None:
                check_labels(split, _count(X), y, len(self.class_names))

    @classmethod
    def from_datasets(cls, train: Any, test: Any, name: str = "images") -> LabelledImages:
        """Make it from two torch Datasets of (image, label).

        Labels are read from ``targets`` or ``labels`` where a Dataset has them, as most of torchvision's do; else
        from its items, which decodes every image once.

        Parameters
        ----------
        train, test : torch Dataset
            Their ``classes`` are the classes' names; without it the labels themselves are.
        name : str, default="images"

        Returns
        -------
        LabelledImages

        Raises
        ------
        ValueError
            If one has no labels, or their ``classes`` differ.
        """
        y_train, y_test = _targets("train", train), _targets("test", test)
        names, others = (_class_names(dataset) for dataset in (train, test))
        if names != others:
            shown = [names and names[:10], others and others[:10]]
            raise ValueError(f"train and test must have the same classes; got {shown[0]} and {shown[1]}.")
        if names is None:
            names = np.unique(np.concatenate([y_train, y_test]))
            y_train, y_test = np.searchsorted(names, y_train), np.searchsorted(names, y_test)
        return cls(train, y_train, test, y_test, tuple(map(str, names)), name)


def _class_names(dataset: Any) -> Any:
    classes = getattr(dataset, "classes", None)
    return None if classes is None else list(classes)


def _count(images: Any) -> int | None:
    """Return how many images there are, where that is known without reading a folder or a zip file."""
    return len(images) if hasattr(images, "__len__") and not isinstance(images, (str, os.PathLike)) else None


def _targets(argument: str, dataset: Any) -> np.ndarray:
    for attribute in ("targets", "labels"):
        if hasattr(dataset, attribute):
            return np.asarray(getattr(dataset, attribute), dtype=np.int64)
    try:
        return np.array([int(dataset[row][1]) for row in range(len(dataset))], dtype=np.int64)
    except (TypeError, IndexError, KeyError) as error:
        raise ValueError(
            f"{argument} must have targets, or items (image, label) with an integer label; got a "
            f"{type(dataset).__name__}."
        ) from error


def featurize_images(
    images: LabelledImages, featurizer: Any, X_aux: Any = None, *, features: str = "moco"
) -> LabelledFeatures:
    """Compute the features of all images with one featurizer.

    Parameters
    ----------
    images : LabelledImages
    featurizer : MocoFeaturizer, or another transformer of images
        It is fitted on the training images, or on the test images where there are none. `MocoFeaturizer` learns
        nothing from them.
    X_aux : images, optional
        Auxiliary ones.
    features : str, default="moco"
        What to call them in tables.

    Returns
    -------
    LabelledFeatures
        With no rows for a split that is None.

    Raises
    ------
    ValueError
        If an image cannot be read (naming it).

    Examples
    --------
    >>> import numpy as np
    >>> from skcnf import MocoFeaturizer
    >>> from skcnf.datasets import LabelledImages, featurize_images
    >>> X = np.random.default_rng(0).integers(0, 256, (4, 32, 32, 3), dtype=np.uint8)
    >>> images = LabelledImages(X, np.array([0, 0, 1, 1]), X[:2], np.array([0, 1]), ("cat", "dog"), "pets")
    >>> featurize_images(images, MocoFeaturizer()).X_train.shape
    (4, 128)
    """
    featurizer.fit(images.X_test if images.X_train is None else images.X_train)
    parts = (images.X_train, images.X_test, X_aux)
    return _assemble(images, features, *(None if part is None else featurizer.transform(part) for part in parts))


def flatten_images(
    images: LabelledImages, X_aux: Any = None, size: int = 32, *, n_jobs: int | None = None, verbose: bool = False
) -> LabelledFeatures:
    """Take raw pixels as features: float32 in [0, 1], of shape (n, 3 * size * size), a pixel's channels side by side.

    Parameters
    ----------
    images : LabelledImages
    X_aux : images, optional
        Auxiliary ones.
    size : int, default=32
        The short side is resized to this many pixels, with antialiasing, and the rest is cropped off evenly.
    n_jobs : int, optional
        Processes that decode files; -1 takes all cores.
    verbose : bool, default=False
        A progress bar where standard error is a terminal.

    Returns
    -------
    LabelledFeatures
        With ``features="pixels"``, and no rows for a split that is None.

    Raises
    ------
    ValueError
        If ``size`` is not a positive integer, or an image cannot be read (naming it).

    Examples
    --------
    >>> import numpy as np
    >>> from skcnf.datasets import LabelledImages, flatten_images
    >>> X = np.full((4, 64, 48, 3), 255, dtype=np.uint8)
    >>> white = LabelledImages(X, np.zeros(4, int), X[:2], np.zeros(2, int), ("white",), "walls")
    >>> pixels = flatten_images(white, size=8).X_test
    >>> pixels.shape, float(pixels.min())
    ((2, 192), 1.0)
    """
    _check_size(size)

    def flatten(part: Any) -> np.ndarray | None:
        if part is None:
            return None
        pixels = load_images(part, size, n_jobs=n_jobs, verbose=verbose)
        return np.divide(pixels.reshape(len(pixels), -1), 255, dtype=np.float32)

    return _assemble(images, "pixels", *(flatten(part) for part in (images.X_train, images.X_test, X_aux)))


def stack_labelled_images(
    images: LabelledImages, size: int = 32, *, n_jobs: int | None = None, verbose: bool = False
) -> LabelledFeatures:
    """Take the images themselves, as arrays of one size, so that protocols can run detectors of images on them.

    Parameters
    ----------
    images : LabelledImages
    size : int, default=32
        The short side is resized to this many pixels, with antialiasing, and the rest is cropped off evenly.
    n_jobs : int, optional
        Processes that decode files; -1 takes all cores.
    verbose : bool, default=False
        A progress bar where standard error is a terminal.

    Returns
    -------
    LabelledFeatures
        With ``features="images"``, images (n, size, size, 3) of uint8 in place of rows, no auxiliary ones, and none for
        a split that is None.

    Raises
    ------
    ValueError
        If ``size`` is not a positive integer, or an image cannot be read (naming it).

    Examples
    --------
    >>> import numpy as np
    >>> from skcnf.datasets import LabelledImages, stack_labelled_images
    >>> X = np.full((4, 64, 48, 3), 255, dtype=np.uint8)
    >>> white = LabelledImages(X, np.zeros(4, int), X[:2], np.zeros(2, int), ("white",), "walls")
    >>> stack_labelled_images(white, size=8).X_test.shape
    (2, 8, 8, 3)
    """
    _check_size(size)
    splits = (images.X_train, images.X_test)
    train, test = (None if X is None else load_images(X, size, n_jobs=n_jobs, verbose=verbose) for X in splits)
    return _assemble(images, "images", train, test, None)


def _check_size(size: Any) -> None:
    if not isinstance(size, Integral) or size < 1:
        raise ValueError(f"size must be a positive integer; got {size!r}.")


def _assemble(
    images: LabelledImages, features: str, X_train: np.ndarray | None, X_test: np.ndarray | None, X_aux: Any
) -> LabelledFeatures:
    like = next(rows for rows in (X_train, X_test) if rows is not None)
    no_rows, no_labels = like[:0], np.empty(0, np.int64)
    return LabelledFeatures(
        no_rows if X_train is None else X_train,
        no_labels if images.y_train is None else images.y_train,
        no_rows if X_test is None else X_test,
        no_labels if images.y_test is None else images.y_test,
        X_aux,
        images.class_names,
        images.name,
        features,
        images.note,
    )
