"""Protocols: which rows a detector is fitted on, and which rows its scores are measured on."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Callable, Iterable, Mapping
from typing import Any, ParamSpec, TypeVar

import numpy as np
import pandas as pd
from sklearn.base import BaseEstimator

from skcnf.datasets import LabelledFeatures
from skcnf.evaluation._engine import run_protocol
from skcnf.evaluation._tasks import Problem, Seeds

__all__ = ["class_vs_class", "dataset_vs_dataset", "one_vs_rest"]

_P = ParamSpec("_P")
_T = TypeVar("_T")
_SHARED = """\
seeds : sequence of int, default=(0,)
        Every fit is made once with each seed. A mapping from detector name to such a sequence gives each detector its
        own seeds.
    n_jobs : int, optional
        The number of joblib workers; every (detector, inlier class, seed) is one task, and any joblib backend serves.
    engine : {"auto", "single", "batched"}, default="auto"
        "batched" trains the flows of one detector, all classes and seeds, as one model (`skcnf.fit_many`), and reports
        seconds per flow; "auto" does so for flow detectors whose device is CUDA, and else makes one fit after another.
    output : path, optional
        A CSV file that rows are appended to as they come. Rows it already holds for the same data, detector parameters,
        inlier class, anomalies and seed are not computed again, unless they record an error.
    verbose : bool, default=False
        Whether to show a progress bar; it appears where standard error is a terminal.

    Returns
    -------
    DataFrame
        A row per (detector, inlier class, anomalies, seed): ``dataset, protocol, features, detector, config`` (a digest
        of parameters and data), ``inlier_class, anomalies, seed, engine, auroc, aupr, fpr95, fit_seconds,
        score_seconds, n_epochs`` (NaN where a detector has none), ``error``. Metrics lie in [0, 1]; where a detector
        failed they are NaN, and ``error`` says why."""


def _documented(function: Callable[_P, _T]) -> Callable[_P, _T]:
    """Fill the shared part of a protocol's docstring in."""
    function.__doc__ = (function.__doc__ or "").replace("{shared}", _SHARED)
    return function


@_documented
def one_vs_rest(
    detectors: Mapping[str, BaseEstimator],
    data: LabelledFeatures,
    *,
    seeds: Seeds = (0,),
    classes: Iterable[str] | None = None,
    pairs: bool = False,
    n_jobs: int | None = None,
    engine: str = "auto",
    output: str | os.PathLike[str] | None = None,
    verbose: bool = False,
) -> pd.DataFrame:
    """Take each class in turn as normal: fit on its training rows, and measure on all test rows.

    No test row, no anomaly and no label reaches a fit. Auxiliary rows go to every detector whose ``fit`` takes them,
    and to searches over such. A Pipeline passes them on with ``transform_input=["X_aux"]`` and metadata routing; where
    one would leave out rows that make a difference, its results are an error.

    Parameters
    ----------
    detectors : mapping of str to estimator
        The rows of the table: this package's, scikit-learn's, or pipelines that end in one. A ``random_state``
        parameter is set to each seed; where an estimator has none of its own, those of its parts are, e.g. of a
        pipeline's steps.
    data : LabelledFeatures
        Training, test and auxiliary rows.
    classes : iterable of str, optional
        The names of ``data.class_names`` to take as normal in turn; all by default.
    pairs : bool, default=False
        Whether to measure against every other class alone as well (Table 2 of the paper). These are further rows from
        the same fits; their ``anomalies`` name the class. Rows against all others have ``anomalies="rest"``.
    {shared}

    Raises
    ------
    ValueError
        If a class is unknown, or ``output`` is a file of other columns.
    """
    y = {name: _rest(data, name) | (_others(data, name) if pairs else {}) for name in _chosen(data, classes)}
    return _run_classes("one-vs-rest", detectors, data, y, output, **_options(seeds, n_jobs, engine, verbose))


@_documented
def class_vs_class(
    detectors: Mapping[str, BaseEstimator],
    data: LabelledFeatures,
    *,
    seeds: Seeds = (0,),
    classes: Iterable[str] | None = None,
    n_jobs: int | None = None,
    engine: str = "auto",
    output: str | os.PathLike[str] | None = None,
    verbose: bool = False,
) -> pd.DataFrame:
    """Take each class in turn as normal, and each other class alone as the anomaly (the paper's CelebA by attribute).

    Parameters
    ----------
    detectors : mapping of str to estimator
        The same as in `one_vs_rest`.
    data : LabelledFeatures
        Training, test and auxiliary rows.
    classes : iterable of str, optional
        The names of ``data.class_names`` to take as normal in turn; all by default.
    {shared}

    Raises
    ------
    ValueError
        If a class is unknown, or ``output`` is a file of other columns.
    """
    y = {name: _others(data, name) for name in _chosen(data, classes)}
    return _run_classes("class-vs-class", detectors, data, y, output, **_options(seeds, n_jobs, engine, verbose))


@_documented
def dataset_vs_dataset(
    detectors: Mapping[str, BaseEstimator],
    data: LabelledFeatures,
    anomalies: Mapping[str, np.ndarray],
    *,
    seeds: Seeds = (0,),
    n_jobs: int | None = None,
    engine: str = "auto",
    output: str | os.PathLike[str] | None = None,
    verbose: bool = False,
) -> pd.DataFrame:
    """Take a whole data set as normal, without its labels, and other data sets as the anomalies.

    Parameters
    ----------
    detectors : mapping of str to estimator
        The same as in `one_vs_rest`.
    data : LabelledFeatures
        Detectors are fitted on all its training rows; its test rows are the inliers of the metrics.
    anomalies : mapping of str to ndarray of shape (n, d)
        Rows of other data sets under the same features, by name.
    {shared}

    Raises
    ------
    ValueError
        If anomalies have another width than the data, or ``output`` is a file of other columns.
    """
    problem = _dataset_problem(data, anomalies)
    digest = hashlib.sha256(data.fingerprint().encode())
    digest.update(np.ascontiguousarray(problem.X_test).data)
    digest.update(repr([(name, len(rows)) for name, rows in anomalies.items()]).encode())
    return run_protocol(
        {"dataset": data.name, "protocol": "dataset-vs-dataset", "features": data.features},
        digest.hexdigest(),
        [problem] if anomalies else [],
        detectors,
        output=output,
        **_options(seeds, n_jobs, engine, verbose),
    )


def _options(seeds: Seeds, n_jobs: int | None, engine: str, verbose: bool) -> dict[str, Any]:
    return {"seeds": seeds, "n_jobs": n_jobs, "engine": engine, "verbose": verbose}


def _run_classes(
    protocol: str,
    detectors: Mapping[str, BaseEstimator],
    data: LabelledFeatures,
    labels: Mapping[str, Mapping[str, np.ndarray]],
    output: str | os.PathLike[str] | None,
    **options: Any,
) -> pd.DataFrame:
    """Run a protocol whose problems are classes of one data set; ``labels`` holds those of each inlier class."""
    problems = [_class_problem(data, name, by_anomalies) for name, by_anomalies in labels.items()]
    header = {"dataset": data.name, "protocol": protocol, "features": data.features}
    return run_protocol(header, data.fingerprint(), problems, detectors, output=output, **options)


def _dataset_problem(data: LabelledFeatures, anomalies: Mapping[str, np.ndarray]) -> Problem:
    """All training rows as inliers; the test rows of all data sets, with labels against each other data set alone."""
    _check_width(data, anomalies)
    parts = [data.X_test, *anomalies.values()]
    owner = np.repeat(np.arange(len(parts)), [len(part) for part in parts])
    labels = {name: _labels(owner == 0, owner == number) for number, name in enumerate(anomalies, start=1)}
    return Problem(data.name, data.X_train, None, data.X_aux, np.concatenate(parts), labels)


def _check_width(data: LabelledFeatures, anomalies: Mapping[str, np.ndarray]) -> None:
    width = data.X_test.shape[1]
    for name, rows in anomalies.items():
        if np.ndim(rows) != 2 or np.shape(rows)[1] != width or len(rows) == 0:
            raise ValueError(f"anomalies[{name!r}] must be of shape (n, {width}) as the data; got {np.shape(rows)}.")


def _chosen(data: LabelledFeatures, classes: Iterable[str] | None) -> list[str]:
    chosen = list(data.class_names) if classes is None else list(dict.fromkeys(classes))
    unknown = [name for name in chosen if name not in data.class_names]
    if unknown:
        raise ValueError(f"classes: {unknown} not in {data.name}; choose from {list(data.class_names)}.")
    return chosen


def _class_problem(data: LabelledFeatures, inlier: str, labels: Mapping[str, np.ndarray]) -> Problem:
    rows = np.flatnonzero(data.y_train == data.class_names.index(inlier))
    return Problem(inlier, data.X_train, rows, data.X_aux, data.X_test, labels)


def _rest(data: LabelledFeatures, inlier: str) -> dict[str, np.ndarray]:
    """Labels against all other classes at once."""
    is_inlier = data.y_test == data.class_names.index(inlier)
    return {"rest": _labels(is_inlier, ~is_inlier)}


def _others(data: LabelledFeatures, inlier: str) -> dict[str, np.ndarray]:
    """Labels against each other class alone."""
    is_inlier = data.y_test == data.class_names.index(inlier)
    return {
        name: _labels(is_inlier, data.y_test == number)
        for number, name in enumerate(data.class_names)
        if name != inlier
    }


def _labels(is_inlier: np.ndarray, is_anomaly: np.ndarray) -> np.ndarray:
    """+1 for inliers, -1 for anomalies, 0 for rows that are left out."""
    return np.select([is_inlier, is_anomaly], [1, -1], 0).astype(np.int8)
