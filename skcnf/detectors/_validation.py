"""Checks of what users pass: the only module that touches scikit-learn's less public helpers."""

from __future__ import annotations

import os
import sys
import warnings
from collections.abc import Iterator, Mapping, Set
from contextlib import contextmanager
from types import FrameType
from typing import Any

import numpy as np
import scipy.sparse
import torch
from sklearn.base import BaseEstimator
from sklearn.utils import assert_all_finite, check_array
from sklearn.utils.validation import _get_feature_names, validate_data
from torch import Tensor
from torch.utils.data import Dataset

from skcnf._core.rows import DatasetRows, LazyRows, ShardedRows
from skcnf.detectors._extremes import feature_ranges, find_extreme

__all__ = [
    "all_or_nothing",
    "check_aux",
    "check_rows",
    "inlier_mask",
    "split_y_and_aux",
    "warn_of_extremes",
    "warn_user",
]

_IMAGE_HINT = "put a MocoFeaturizer before the detector, e.g. make_pipeline(MocoFeaturizer(), {}())."
_SECOND, _Y_OR_X_AUX = "the second argument of fit", "y of shape (n,) or X_aux of shape (n_aux, n_features)"
_LARGEST = 1e150  # its square, and the sum of ten million such squares, is finite in float64


@contextmanager
def all_or_nothing(estimator: BaseEstimator) -> Iterator[None]:
    """Leave the estimator as it was if what follows fails or is interrupted: never a half-fitted one."""
    before = dict(estimator.__dict__)
    try:
        yield
    except BaseException:
        estimator.__dict__.clear()
        estimator.__dict__.update(before)
        raise


def split_y_and_aux(y: Any, X_aux: Any) -> tuple[np.ndarray | None, Any]:
    """Tell labels from auxiliary rows in ``fit(X, second)`` by their shape; returns (y, X_aux).

    ``y`` comes back with shape (n,).

    Raises
    ------
    TypeError
        If the second argument is no array.
    ValueError
        If it is neither labels nor rows, or auxiliary rows come twice.
    """
    if y is None:
        return None, X_aux
    y = _off_torch(y)
    if not (_is_dataset(y) or _are_shards(y)):
        _refuse_what_is_no_array(y, _SECOND, _Y_OR_X_AUX)
        array = np.asarray(y)
        if array.ndim == 1 or (array.ndim == 2 and array.shape[1] == 1):
            return array.ravel(), X_aux
        if array.ndim != 2:
            raise ValueError(f"{_SECOND} has shape {array.shape}; it must be {_Y_OR_X_AUX}.")
    if X_aux is not None:
        raise ValueError("X_aux was given twice, as the second positional argument and by keyword.")
    return None, y


def _are_shards(parts: Any) -> bool:
    """Whether it is a tuple or list of parts of ``X_aux``: of arrays with two dimensions, or Datasets."""
    if not (isinstance(parts, (tuple, list)) and parts):
        return False
    if isinstance(parts, list):  # a list of lists is one array
        return all(len(getattr(part, "shape", ())) == 2 or _is_dataset(part) for part in parts)
    return all(_is_dataset(part) or _n_dimensions(part) == 2 for part in parts)


def _is_lazy_frame(X: Any) -> bool:
    """Whether it is a query of polars, which has no rows yet."""
    return type(X).__name__ == "LazyFrame"


def _is_dataset(part: Any) -> bool:
    return isinstance(part, Dataset)


def _n_dimensions(part: Any) -> int:
    return getattr(part, "ndim", None) or np.ndim(part)


_FEW_LABELS = 10  # with more y is a target of something else


def inlier_mask(estimator: BaseEstimator, y: np.ndarray | None, n_rows: int) -> np.ndarray | None:
    """The rows (n,) a detector may learn from, where ``y`` holds both +1 and -1 and nothing else; None for every row.

    ``y`` may be of any type: numbers, objects, or text such as "-1". Two other values, and these two with some others,
    look like labels and have no effect, so that they warn.
    """
    if y is None:
        return None
    values = {_as_number(label): label for label in y.tolist()}
    if values.keys() != {-1.0, 1.0}:
        if {-1.0, 1.0} < values.keys() and len(values) <= _FEW_LABELS:
            other = next(label for number, label in values.items() if number not in (-1.0, 1.0))
            warn_user(
                estimator,
                f"y holds +1, -1 and other values, such as {other!r}, and is ignored: every row of X counts as an "
                "inlier. To leave anomalies out, give +1 for inliers and -1 for anomalies alone.",
            )
        elif len(values) == 2:
            warn_user(
                estimator,
                "y holds two values, {!r} and {!r}, and is ignored: every row of X counts as an inlier. To leave "
                "anomalies out, give +1 for inliers and -1 for anomalies, e.g. "
                "np.where(is_inlier, 1, -1).".format(*values.values()),
            )
        return None
    if len(y) != n_rows:
        raise ValueError(f"y marks {len(y)} rows as inlier or anomaly, but X has {n_rows}.")
    return y.astype(np.float64) == 1


def _as_number(label: Any) -> Any:
    try:
        return float(label)
    except (TypeError, ValueError):  # text, None, a date
        return str(label)


def check_rows(estimator: BaseEstimator, X: Any, *, reset: bool, min_samples: int = 1, min_features: int = 1) -> Any:
    """X as a finite float array (n, d) in float32 or float64; sets or checks ``n_features_in_``."""
    X = _off_torch(X)
    _refuse_what_is_no_array(X, "X")
    _refuse_images(estimator, X, "X")
    try:
        return validate_data(
            estimator,
            X,
            reset=reset,
            dtype=[np.float64, np.float32],
            # Sums over a row depend on the order in memory, in their last digit. A memory map may be too large to copy.
            order=None if isinstance(X, np.memmap) else "C",
            ensure_min_samples=min_samples,
            ensure_min_features=min_features,
        )
    except ValueError as error:
        if " features, but " in str(error):
            raise ValueError(f"{error} The features must come from the transformer that made those of fit.") from error
        raise


def check_aux(estimator: BaseEstimator, X_aux: Any) -> np.ndarray | LazyRows | None:
    """X_aux, its parts one after the other, as finite float rows (m, d) of the width of X.

    Parts of floats are not copied: they may be memory maps larger than memory. Datasets are read item by item.
    """
    if X_aux is None:
        return None
    if isinstance(X_aux, (tuple, list)) and not X_aux:
        raise ValueError(f"X_aux is an empty {type(X_aux).__name__}; give it at least one array, or None.")
    parts = X_aux if isinstance(X_aux, tuple) or _are_shards(X_aux) else (X_aux,)
    names = ["X_aux"] if len(parts) == 1 else [f"X_aux[{number}]" for number in range(len(parts))]
    checked = [_check_aux_part(estimator, *named) for named in zip(parts, names, strict=True)]
    return checked[0] if len(checked) == 1 else ShardedRows(checked)


def _check_aux_part(estimator: BaseEstimator, part: Any, name: str) -> np.ndarray | LazyRows:
    if _is_dataset(part):
        part = _rows_of_dataset(part, name)
    else:
        part = _off_torch(part)
        _refuse_what_is_no_array(part, name)
        _refuse_images(estimator, part, name)
        _check_feature_names(estimator, part, name)
        # finite or not is told by warn_of_extremes, so that a memory map is read through once and not twice
        kinds = [np.float64, np.float32]
        part = check_array(part, dtype=kinds, input_name=name, ensure_min_samples=0, ensure_all_finite=False)
        if len(part) < 2:
            raise ValueError(f"{name} holds {len(part)} rows; at least 2 are needed.")
    if part.shape[1] != estimator.n_features_in_:
        raise ValueError(
            f"{name} has {part.shape[1]} features, but X has {estimator.n_features_in_}. Both must pass the same "
            'transformers; in a Pipeline set transform_input=["X_aux"] with metadata routing enabled, or pass '
            "features already transformed as <step>__X_aux."
        )
    warn_of_extremes(estimator, part, name)
    return part


def _rows_of_dataset(part: Any, name: str) -> LazyRows:
    try:
        n_rows = len(part)
    except (TypeError, NotImplementedError):
        n_rows = None
    kind = f"{name} is a {type(part).__name__}"
    if n_rows is None:
        raise TypeError(
            f"{kind}, whose length is unknown; give a Dataset with a length, or an array: numpy.stack(list(...))."
        )
    if n_rows < 2:
        raise ValueError(f"{kind} of {n_rows} items; at least 2 are needed.")
    try:
        return DatasetRows(part, name)
    except (TypeError, ValueError) as error:
        raise ValueError(f"{kind} that cannot be used as rows of features: {error}") from error


def _check_feature_names(estimator: BaseEstimator, part: Any, name: str) -> None:
    """The columns of frames must be those of X in their order, as scikit-learn demands of rows to score."""
    names, expected = _get_feature_names(part), getattr(estimator, "feature_names_in_", None)
    if names is None or expected is None:
        if (names is None) != (expected is None):
            named, unnamed = ("X", name) if names is None else (name, "X")
            warn_user(
                estimator,
                f"{named} has feature names and {unnamed} has none: columns are matched by position. Give both as "
                "frames, or both as arrays.",
            )
    elif list(names) != list(expected):
        remedy = f"pass {name}[X.columns]" if set(names) == set(expected) else "give both the same features"
        raise ValueError(
            f"{name} must have the columns of X in their order, {_few(expected)}; got {_few(names)}: {remedy}."
        )


def _few(names: Any) -> str:
    shown = ", ".join(repr(str(name)) for name in names[:6])
    return f"[{shown}{', ...' if len(names) > 6 else ''}]"


def warn_of_extremes(
    estimator: BaseEstimator, X: np.ndarray | LazyRows, name: str, row_numbers: np.ndarray | None = None
) -> None:
    """Warn of the value furthest from the rest of its feature, where it decides the feature's statistics.

    ``row_numbers`` are those of the rows of X as the user counts them.

    Raises
    ------
    ValueError
        If a value is not finite, or too large to be squared.
    """
    lowest, highest = feature_ranges(X)
    largest = np.maximum(highest, -lowest)
    if not np.isfinite(largest).all():
        assert_all_finite(X, input_name=name)
        return  # where scikit-learn is told to assume that all is finite
    names = getattr(estimator, "feature_names_in_", range(X.shape[1]))

    def place(row: int, feature: int) -> str:
        number = row if row_numbers is None else row_numbers[row]
        return f"row {number} of {name} holds {X[row, feature]:.3g} in feature {names[feature]!s}"

    if largest.max() > _LARGEST:
        feature = int(largest.argmax())
        where = place(int(np.abs(X[:, feature]).argmax()), feature)
        raise ValueError(f"{where}; values beyond {_LARGEST:g} are too large to be squared.")
    extreme = find_extreme(X, lowest, highest)
    if extreme is not None:
        warn_user(estimator, f"{place(extreme.row, extreme.feature)}, {extreme.describe()}.")


def _refuse_what_is_no_array(X: Any, name: str, wanted: str = "an array of shape (n, n_features)") -> None:
    if X is None or isinstance(X, (Mapping, Set, Iterator, Dataset)) or _is_lazy_frame(X) or scipy.sparse.issparse(X):
        got = "None" if X is None else f"a {type(X).__name__}"
        raise TypeError(f"{name} must be {wanted}; got {got}{_remedy(X)}.")
    if np.ma.is_masked(X):
        raise ValueError(
            f"{name} has {np.ma.count_masked(X)} masked values; no detector takes missing values. Impute them, or drop "
            "the mask with .filled(value)."
        )


def _off_torch(X: Any) -> Any:
    """A tensor on any device, with a gradient or without, as an array; anything else as it is."""
    if not isinstance(X, Tensor):
        return X
    X = X.detach().cpu()
    return (X.float() if X.dtype == torch.bfloat16 else X).numpy()  # NumPy has no bfloat16


def _remedy(X: Any) -> str:
    if _is_lazy_frame(X):
        return ". Call its .collect() first"
    if scipy.sparse.issparse(X):  # asked first: some formats are mappings
        return ". Sparse rows are not supported; pass its .toarray()"
    if _is_dataset(X):
        return ". X_aux alone may be a Dataset; make an array of it with numpy.stack([row for row in ...])"
    if isinstance(X, Mapping):
        return ". Make a frame of it with pandas.DataFrame(...)"
    if isinstance(X, Iterator):
        return ", which can be read only once. Make an array of it with numpy.array(list(...))"
    return ""


def _refuse_images(estimator: BaseEstimator, X: Any, name: str) -> None:
    hint = _IMAGE_HINT.format(type(estimator).__name__)
    if isinstance(X, (str, os.PathLike)):
        raise TypeError(f"{name} must be features of shape (n, n_features); got the path {str(X)!r}. For images {hint}")
    if getattr(X, "ndim", 2) > 2:
        raise ValueError(
            f"{name} must be features of shape (n, n_features); found array with dim {X.ndim}, shape {X.shape}. "
            f"Reshape your data, or featurise it. They look like images: {hint}"
        )
    if isinstance(X, list) and X and (hasattr(X[0], "convert") or isinstance(X[0], str) or hasattr(X[0], "__fspath__")):
        raise ValueError(
            f"{name} must be features of shape (n, n_features); got a list of {type(X[0]).__name__}. They look "
            f"like images: {hint}"
        )


_BETWEEN = ("skcnf", "sklearn", "joblib", "concurrent", "threading", "contextlib")


def warn_user(estimator: BaseEstimator, message: str) -> None:
    """A UserWarning that points at the first caller outside this package, scikit-learn and what they run in."""
    frame: FrameType | None = sys._getframe(1)
    level = 2
    while frame is not None and frame.f_globals.get("__name__", "").split(".")[0] in _BETWEEN:
        frame, level = frame.f_back, level + 1
    warnings.warn(f"{type(estimator).__name__}: {message}", UserWarning, stacklevel=level)
