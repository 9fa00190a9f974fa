"""Protocols: which rows a detector is fitted on and which it is judged by."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Iterable, Mapping, Sequence

import numpy as np
import pandas as pd
from sklearn.base import BaseEstimator

from skcnf.datasets import LabelledFeatures
from skcnf.evaluation._engine import Problem, run_protocol
from skcnf.evaluation._results import ResultLog

__all__ = ["class_vs_class", "dataset_vs_dataset", "one_vs_rest"]

_SHARED = """\
seeds : sequence of int, default=(0,)
        One run each.
    n_jobs : int, optional
        Of joblib; every (detector, inlier class, seed) is one task, so that any joblib backend serves.
    engine : {"auto", "single", "batched"}, default="auto"
        "batched" trains the flows of one detector, all classes and seeds, as one model (`skcnf.fit_many`), and reports
        seconds per flow; "auto" is that where a flow detector's device is CUDA, else one fit after the other.
    output : path, optional
        A CSV file that rows are appended to as they come. Rows it already holds for the same data, detector parameters,
        inlier class, anomalies and seed are not computed again, unless they record an error.
    verbose : bool, default=False
        A progress bar where standard error is a terminal.

    Returns
    -------
    DataFrame
        A row per (detector, inlier class, anomalies, seed): ``dataset, protocol, features, detector, config`` (a digest
        of parameters and data), ``inlier_class, anomalies, seed, engine, auroc, aupr, fpr95, fit_seconds,
        score_seconds, n_epochs`` (NaN where a detector has none), ``error``. Metrics lie in [0, 1]; where a detector
        failed they are NaN, and ``error`` says why."""


def _documented(function):
    function.__doc__ = function.__doc__.replace("{shared}", _SHARED)
    return function


@_documented
def one_vs_rest(
    detectors: Mapping[str, BaseEstimator],
    data: LabelledFeatures,
    *,
    seeds: Sequence[int] = (0,),
    classes: Iterable[str] | None = None,
    pairs: bool = False,
    n_jobs: int | None = None,
    engine: str = "auto",
    output: str | os.PathLike[str] | None = None,
    verbose: bool = False,
) -> pd.DataFrame:
    """Each class in turn is normal: fit on its training rows, judge by all test rows.

    No test row, no anomaly and no label reaches a fit. Auxiliary rows go to every detector whose ``fit`` takes them.

    Parameters
    ----------
    detectors : mapping of str to estimator
        The rows of the table: this package's, scikit-learn's, or pipelines that end in one. A ``random_state``
        parameter is set to each seed.
    data : LabelledFeatures
        Training, test and auxiliary rows.
    classes : iterable of str, optional
        Names of ``data.class_names`` that are normal in turn; all by default.
    pairs : bool, default=False
        Also judge by every other class alone (Table 2 of the paper): further rows, from the same fits, whose
        ``anomalies`` name the class. Rows against all others have ``anomalies="rest"``.
    {shared}

    Raises
    ------
    ValueError
        If a class is unknown, or ``output`` is a file of other columns.
    """
    names = data.class_names

    def judged(inlier: str) -> dict[str, np.ndarray]:
        y = np.where(data.y_test == names.index(inlier), 1, -1).astype(np.int8)
        return {"rest": y} | (_by_class(data, inlier) if pairs else {})

    problems = [_class_problem(data, name, judged(name)) for name in _chosen(data, classes)]
    header = {"dataset": data.name, "protocol": "one-vs-rest", "features": data.features}
    return run_protocol(
        header,
        data.fingerprint(),
        problems,
        detectors,
        seeds=seeds,
        n_jobs=n_jobs,
        engine=engine,
        log=ResultLog(output),
        verbose=verbose,
    )


@_documented
def class_vs_class(
    detectors: Mapping[str, BaseEstimator],
    data: LabelledFeatures,
    *,
    seeds: Sequence[int] = (0,),
    classes: Iterable[str] | None = None,
    n_jobs: int | None = None,
    engine: str = "auto",
    output: str | os.PathLike[str] | None = None,
    verbose: bool = False,
) -> pd.DataFrame:
    """Each class in turn is normal, and each other class alone is the anomaly (CelebA by attribute in the paper).

    Parameters
    ----------
    detectors : mapping of str to estimator
        As in `one_vs_rest`.
    data : LabelledFeatures
        Training, test and auxiliary rows.
    classes : iterable of str, optional
        Names of ``data.class_names`` that are normal in turn; all by default.
    {shared}

    Raises
    ------
    ValueError
        If a class is unknown, or ``output`` is a file of other columns.
    """
    problems = [_class_problem(data, name, _by_class(data, name)) for name in _chosen(data, classes)]
    header = {"dataset": data.name, "protocol": "class-vs-class", "features": data.features}
    return run_protocol(
        header,
        data.fingerprint(),
        problems,
        detectors,
        seeds=seeds,
        n_jobs=n_jobs,
        engine=engine,
        log=ResultLog(output),
        verbose=verbose,
    )


@_documented
def dataset_vs_dataset(
    detectors: Mapping[str, BaseEstimator],
    data: LabelledFeatures,
    anomalies: Mapping[str, np.ndarray],
    *,
    seeds: Sequence[int] = (0,),
    n_jobs: int | None = None,
    engine: str = "auto",
    output: str | os.PathLike[str] | None = None,
    verbose: bool = False,
) -> pd.DataFrame:
    """A whole data set is normal, its labels unused; other data sets are the anomalies.

    Parameters
    ----------
    detectors : mapping of str to estimator
        As in `one_vs_rest`.
    data : LabelledFeatures
        Fitted on all its training rows; its test rows are the inliers to judge by.
    anomalies : mapping of str to ndarray of shape (n, d)
        Rows of other data sets under the same features, by name.
    {shared}

    Raises
    ------
    ValueError
        If anomalies have another width than the data, or ``output`` is a file of other columns.
    """
    width = data.X_test.shape[1]
    for name, rows in anomalies.items():
        if np.ndim(rows) != 2 or np.shape(rows)[1] != width or len(rows) == 0:
            raise ValueError(f"anomalies[{name!r}] must be of shape (n, {width}) as the data; got {np.shape(rows)}.")
    parts = [data.X_test, *anomalies.values()]
    owner = np.repeat(np.arange(len(parts)), [len(part) for part in parts])
    judged = {
        name: np.select([owner == 0, owner == i], [1, -1], 0).astype(np.int8)
        for i, name in enumerate(anomalies, start=1)
    }
    problem = Problem(data.name, data.X_train, None, data.X_aux, np.concatenate(parts), judged)
    digest = hashlib.sha256(data.fingerprint().encode())
    digest.update(np.ascontiguousarray(problem.X_test).data)
    return run_protocol(
        {"dataset": data.name, "protocol": "dataset-vs-dataset", "features": data.features},
        digest.hexdigest(),
        [problem] if anomalies else [],
        detectors,
        seeds=seeds,
        n_jobs=n_jobs,
        engine=engine,
        log=ResultLog(output),
        verbose=verbose,
    )


def _chosen(data: LabelledFeatures, classes: Iterable[str] | None) -> list[str]:
    chosen = list(data.class_names) if classes is None else list(classes)
    unknown = [name for name in chosen if name not in data.class_names]
    if unknown:
        raise ValueError(f"classes: {unknown} not in {data.name}; choose from {list(data.class_names)}.")
    return chosen


def _class_problem(data: LabelledFeatures, inlier: str, judged: Mapping[str, np.ndarray]) -> Problem:
    rows = np.flatnonzero(data.y_train == data.class_names.index(inlier))
    return Problem(inlier, data.X_train, rows, data.X_aux, data.X_test, judged)


def _by_class(data: LabelledFeatures, inlier: str) -> dict[str, np.ndarray]:
    """For every other class: +1 on the inlier class, -1 on it, 0 elsewhere."""
    y = data.y_test
    index = data.class_names.index(inlier)
    return {
        name: np.select([y == index, y == other], [1, -1], 0).astype(np.int8)
        for other, name in enumerate(data.class_names)
        if other != index
    }
