"""Checks of what users pass: the only module that touches scikit-learn's less public helpers."""

from __future__ import annotations

import sys
import warnings
from typing import Any

import numpy as np
from sklearn.base import BaseEstimator
from sklearn.utils import check_array
from sklearn.utils.validation import validate_data

__all__ = ["check_aux", "check_rows", "inlier_mask", "split_y_and_aux", "warn_user"]

_IMAGE_HINT = (
    "They look like images: put a MocoFeaturizer before the detector, e.g. make_pipeline(MocoFeaturizer(), {})."
)


def split_y_and_aux(y: Any, X_aux: Any) -> tuple[np.ndarray | None, Any]:
    """Tell labels from auxiliary rows in ``fit(X, second)`` by their shape; returns (y, X_aux).

    Raises
    ------
    ValueError
        If the second argument is neither, or auxiliary rows come twice.
    """
    if y is None:
        return None, X_aux
    if isinstance(y, tuple) and y and all(np.ndim(part) == 2 for part in y):
        labels, positional = None, y
    else:
        array = np.asarray(y)
        if array.ndim == 1 or (array.ndim == 2 and array.shape[1] == 1):
            return array, X_aux
        if array.ndim != 2:
            raise ValueError(
                f"the second argument of fit has shape {array.shape}; it must be y of shape (n,) or X_aux of shape "
                "(n_aux, n_features)."
            )
        labels, positional = None, y
    if X_aux is not None:
        raise ValueError("X_aux was given twice, as the second positional argument and by keyword.")
    return labels, positional


def inlier_mask(y: np.ndarray | None, n_rows: int) -> np.ndarray | None:
    """The rows a detector may learn from, where ``y`` holds both +1 and -1 and nothing else; None for every row."""
    if y is None or y.ndim != 1:
        return None
    values = set(np.unique(y).tolist()) if y.dtype.kind in "iuf" else set()
    if values != {-1, 1}:
        return None
    if len(y) != n_rows:
        raise ValueError(f"y marks {len(y)} rows as inlier or anomaly, but X has {n_rows}.")
    return y == 1


def check_rows(estimator: BaseEstimator, X: Any, *, reset: bool, min_samples: int = 1, min_features: int = 1) -> Any:
    """X as a finite float array (n, d) in float32 or float64; sets or checks ``n_features_in_``."""
    _reject_images(estimator, X, "X")
    try:
        return validate_data(
            estimator,
            X,
            reset=reset,
            dtype=[np.float64, np.float32],
            ensure_min_samples=min_samples,
            ensure_min_features=min_features,
        )
    except ValueError as error:
        if " features, but " in str(error):
            raise ValueError(f"{error} The features must come from the transformer that made those of fit.") from error
        raise


def check_aux(estimator: BaseEstimator, X_aux: Any) -> np.ndarray | None:
    """X_aux, a tuple of parts concatenated, as a finite float array (m, d) of the width of X.

    A single part of floats is not copied: it may be a memory map larger than memory.
    """
    if X_aux is None:
        return None
    parts = X_aux if isinstance(X_aux, tuple) else (X_aux,)
    if not parts:
        raise ValueError("X_aux is an empty tuple; give it at least one array, or None.")
    parts = [_check_aux_part(estimator, part) for part in parts]
    return parts[0] if len(parts) == 1 else np.concatenate(parts)


def _check_aux_part(estimator: BaseEstimator, part: Any) -> np.ndarray:
    _reject_images(estimator, part, "X_aux")
    part = check_array(part, dtype=[np.float64, np.float32], input_name="X_aux", ensure_min_samples=2)
    if part.shape[1] != estimator.n_features_in_:
        raise ValueError(
            f"X_aux has {part.shape[1]} features, but X has {estimator.n_features_in_}. Both must pass the same "
            'transformers; in a Pipeline set transform_input=["X_aux"] with metadata routing enabled, or pass '
            "features already transformed as <step>__X_aux."
        )
    return part


def _reject_images(estimator: BaseEstimator, X: Any, name: str) -> None:
    hint = _IMAGE_HINT.format(type(estimator).__name__ + "()")
    if getattr(X, "ndim", 2) > 2:
        raise ValueError(
            f"{name} must be features of shape (n, n_features); found array with dim {X.ndim}, shape {X.shape}. "
            f"Reshape your data, or featurise it. {hint}"
        )
    if isinstance(X, list) and X and (hasattr(X[0], "convert") or isinstance(X[0], str) or hasattr(X[0], "__fspath__")):
        raise ValueError(
            f"{name} must be features of shape (n, n_features); got a list of {type(X[0]).__name__}. {hint}"
        )


def warn_user(estimator: BaseEstimator, message: str) -> None:
    """A UserWarning that points at the first caller outside this package and scikit-learn."""
    frame, level = sys._getframe(1), 2
    while frame is not None and frame.f_globals.get("__name__", "").split(".")[0] in ("skcnf", "sklearn"):
        frame, level = frame.f_back, level + 1
    warnings.warn(f"{type(estimator).__name__}: {message}", UserWarning, stacklevel=level)
