"""Bundled features: all of CIFAR-10 and auxiliary images under the bundled encoder, as int8."""

from __future__ import annotations

import hashlib
import os
from dataclasses import dataclass
from pathlib import Path

import numpy as np

__all__ = [
    "CIFAR10_CLASSES",
    "LabelledFeatures",
    "load_cifar10_features",
    "quantize",
    "round_as_bundled",
    "save_features",
]

CIFAR10_CLASSES = ("plane", "car", "bird", "cat", "deer", "dog", "frog", "horse", "ship", "truck")
_BUNDLED = Path(__file__).parent / "bundled" / "cifar10-features.npz"


@dataclass(frozen=True)
class LabelledFeatures:
    """Features of a labelled data set and of auxiliary images.

    Attributes
    ----------
    X_train, X_test, X_aux : ndarray of shape (n, d), dtype float32
        Or images of shape (n, s, s, 3), dtype uint8, for detectors of images; see `stack_labelled_images`.
    y_train, y_test : ndarray of shape (n,)
        Indices into ``class_names``.
    class_names : tuple of str
    name, features : str
        What the images are, and what the features are.
    note : str, default=""
        How the images differ from the published data set, where they do; tables print it.

    Raises
    ------
    ValueError
        If rows are neither two-dimensional nor images, or differ in width, rows and labels differ in number, or a label
        is no index into ``class_names``.
    """

    X_train: np.ndarray
    y_train: np.ndarray
    X_test: np.ndarray
    y_test: np.ndarray
    X_aux: np.ndarray | None
    class_names: tuple[str, ...]
    name: str
    features: str
    note: str = ""

    def __post_init__(self) -> None:
        parts = {"X_train": self.X_train, "X_test": self.X_test}
        if self.X_aux is not None:
            parts["X_aux"] = self.X_aux
        shapes = {name: np.shape(X) for name, X in parts.items()}
        images = all(len(shape) == 4 and shape[3] == 3 for shape in shapes.values())
        rows = all(len(shape) == 2 for shape in shapes.values())
        if not (rows or images) or len({shape[1:] for shape in shapes.values()}) > 1:
            shown = ", ".join(f"{name} {shape}" for name, shape in shapes.items())
            raise ValueError(
                "features must be images (n, s, s, 3) of one size, or arrays of shape (n, d) with one d for all; got "
                f"the shapes {shown}."
            )
        for split, y in (("train", self.y_train), ("test", self.y_test)):
            check_labels(split, len(parts[f"X_{split}"]), y, len(self.class_names))

    def fingerprint(self) -> str:
        """Return a digest of every row and label. Results with equal fingerprints can be compared."""
        digest = hashlib.sha256(repr((self.class_names, self.name, self.features)).encode())
        for array in (self.X_train, self.y_train, self.X_test, self.y_test, self.X_aux):
            if array is not None:
                digest.update(str(array.shape).encode())
                digest.update(np.ascontiguousarray(array).data)
        return digest.hexdigest()


def check_labels(split: str, n_rows: int | None, y: np.ndarray, n_classes: int) -> None:
    """Check that a split has a label for each row (where ``n_rows`` is known), and that labels are indices of classes.

    Raises
    ------
    ValueError
        Naming ``y_SPLIT``, what came and what is allowed.
    """
    if np.ndim(y) != 1 or np.asarray(y).dtype.kind not in "iub":
        raise ValueError(
            f"y_{split} must be a one-dimensional array of integers; got shape {np.shape(y)} of {np.asarray(y).dtype}."
        )
    if n_rows is not None and n_rows != len(y):
        raise ValueError(f"X_{split} holds {n_rows} rows and y_{split} {len(y)} labels; they must be as many.")
    if len(y) and not (np.min(y) >= 0 and np.max(y) < n_classes):
        raise ValueError(f"y_{split} must be in 0 to {n_classes - 1}; it goes from {np.min(y)} to {np.max(y)}.")


def load_cifar10_features(normalize: bool = True, path: str | os.PathLike[str] | None = None) -> LabelledFeatures:
    """Load features of all CIFAR-10 images and of 30,000 Tiny ImageNet images (32 px) under the bundled encoder.

    Parameters
    ----------
    normalize : bool, default=True
        Scale rows to unit norm, after dequantising. False gives the head's raw outputs.
    path : path, optional
        Another file written by `save_features`.

    Returns
    -------
    LabelledFeatures
        50,000 training, 10,000 test and 30,000 auxiliary rows of 128 features.

    Notes
    -----
    Both data sets are images for research use. The encoder saw no CIFAR image and no label. The auxiliary rows lie
    class by class: draw at random if you want fewer.

    The file holds one byte a feature. `MocoFeaturizer` gives the same features unrounded, and detectors that divide by
    small variances, such as `GaussianDetector` and pyod's MCD, see the difference: fit and score them on rows of one
    kind. `round_as_bundled` makes features of other images comparable with these.

    Examples
    --------
    >>> from skcnf.datasets import load_cifar10_features
    >>> load_cifar10_features().X_train.shape
    (50000, 128)
    """
    with np.load(_BUNDLED if path is None else path, allow_pickle=False) as file:
        arrays = {name: file[name] for name in file.files}
    scale = arrays["scale"].astype(np.float32)
    rows = {name: arrays[name].astype(np.float32) * scale for name in ("train", "test", "aux")}
    if normalize:
        rows = {name: _unit(X) for name, X in rows.items()}
    return LabelledFeatures(
        rows["train"],
        arrays["y_train"].astype(np.int64),
        rows["test"],
        arrays["y_test"].astype(np.int64),
        rows["aux"],
        CIFAR10_CLASSES,
        "CIFAR-10",
        "moco" if normalize else "moco-raw",
    )


def round_as_bundled(X: np.ndarray, normalize: bool = True) -> np.ndarray:
    """Round features of other images as those of `load_cifar10_features` were, so that the two can be compared.

    Parameters
    ----------
    X : ndarray of shape (n, 128)
        The bundled encoder's outputs, not normalised: of ``MocoFeaturizer(normalize=False)``.
    normalize : bool, default=True
        Scale the rounded rows to unit norm.

    Returns
    -------
    ndarray of shape (n, 128), dtype float32
    """
    with np.load(_BUNDLED, allow_pickle=False) as file:
        scale = file["scale"].astype(np.float32)
    rounded = np.rint(X / scale).astype(np.float32) * scale
    return _unit(rounded) if normalize else rounded


def _unit(X: np.ndarray) -> np.ndarray:
    return X / np.maximum(np.linalg.norm(X, axis=1, keepdims=True), 1e-12)


def quantize(X: np.ndarray, scale: np.ndarray) -> np.ndarray:
    """Round X (n, d) in units of ``scale`` (d,) to int8. Values beyond 127 units are clipped."""
    return np.clip(np.rint(X / scale), -127, 127).astype(np.int8)


def save_features(
    path: str | os.PathLike[str],
    train: np.ndarray,
    y_train: np.ndarray,
    test: np.ndarray,
    y_test: np.ndarray,
    aux: np.ndarray,
) -> None:
    """Write raw features (n, d) as int8 with one scale per feature: its largest absolute value is 127."""
    scale = np.max([np.abs(X).max(axis=0) for X in (train, test, aux)], axis=0) / 127
    scale = np.where(scale > 0, scale, 1).astype(np.float32)
    train, test, aux = (quantize(X, scale) for X in (train, test, aux))
    np.savez_compressed(
        path,
        train=train,
        test=test,
        aux=aux,
        scale=scale,
        y_train=y_train.astype(np.uint8),
        y_test=y_test.astype(np.uint8),
    )
