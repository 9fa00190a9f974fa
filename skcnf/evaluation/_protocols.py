"""Protocols: which rows a detector is fitted on and which it is judged by."""

from __future__ import annotations

import hashlib
import math
import os
import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
from joblib import Parallel, delayed
from sklearn.base import BaseEstimator, clone
from sklearn.utils.validation import has_fit_parameter
from tqdm import tqdm

from skcnf.datasets import LabelledFeatures
from skcnf.evaluation._metrics import evaluate_scores
from skcnf.evaluation._results import ResultLog

__all__ = ["one_vs_rest"]


@dataclass(frozen=True)
class _Task:
    key: dict[str, Any]
    estimator: BaseEstimator
    class_index: int
    is_first_class: bool


def one_vs_rest(
    detectors: Mapping[str, BaseEstimator],
    data: LabelledFeatures,
    *,
    seeds: Sequence[int] = (0,),
    classes: Iterable[str] | None = None,
    n_jobs: int | None = None,
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
    seeds : sequence of int, default=(0,)
        One run each.
    classes : iterable of str, optional
        Names of ``data.class_names``; all by default.
    n_jobs : int, optional
        Of joblib; every (detector, class, seed) is one task, so that any joblib backend serves.
    output : path, optional
        A CSV file that rows are appended to as they come. Rows it already holds for the same data, detector parameters,
        class and seed are not computed again.
    verbose : bool, default=False
        A progress bar where standard error is a terminal.

    Returns
    -------
    DataFrame
        A row per (detector, class, seed): ``dataset, protocol, features, detector, config`` (a digest of parameters and
        data), ``inlier_class, seed, engine, auroc, aupr, fpr95, fit_seconds, score_seconds, n_epochs`` (NaN where a
        detector has none). Metrics lie in [0, 1].

    Raises
    ------
    ValueError
        If a class is unknown, or ``output`` is a file of other columns.
    """
    chosen = list(data.class_names) if classes is None else list(classes)
    unknown = [name for name in chosen if name not in data.class_names]
    if unknown:
        raise ValueError(f"classes: {unknown} not in {data.name}; choose from {list(data.class_names)}.")
    log = ResultLog(output)
    tasks = list(_tasks(detectors, data, seeds, chosen))
    missing = sorted((task for task in tasks if task.key not in log), key=_turn)
    parallel = Parallel(n_jobs=n_jobs, return_as="generator_unordered")
    rows = parallel(delayed(_run)(task, *_rows_of(data, task.class_index)) for task in missing)
    bar = tqdm(rows, total=len(missing), desc="one-vs-rest", unit="fit", leave=False, disable=None if verbose else True)
    for row in bar:
        log.append(row)
    return log.table([task.key for task in tasks])


def _tasks(
    detectors: Mapping[str, BaseEstimator], data: LabelledFeatures, seeds: Sequence[int], classes: Sequence[str]
) -> Iterator[_Task]:
    fingerprint = data.fingerprint()
    for seed in seeds:
        for class_name in classes:
            for name, detector in detectors.items():
                config = hashlib.sha256(f"{_signature(detector)}{fingerprint}".encode()).hexdigest()[:8]
                estimator = clone(detector)
                if "random_state" in estimator.get_params():
                    estimator.set_params(random_state=seed)
                key = {
                    "dataset": data.name,
                    "protocol": "one-vs-rest",
                    "features": data.features,
                    "detector": name,
                    "config": config,
                    "inlier_class": class_name,
                    "seed": seed,
                    "engine": "single",
                }
                yield _Task(key, estimator, list(data.class_names).index(class_name), class_name == classes[0])


def _turn(task: _Task) -> tuple[int, int]:
    """When to start a task: a fit that others will find cached first, those others last, so that it is done once."""
    shares = getattr(task.estimator, "memory", None) is not None
    return task.key["seed"], 1 if not shares else 0 if task.is_first_class else 2


def _signature(detector: BaseEstimator) -> str:
    """What decides a detector's results: its class and parameters, but not where it computes and caches."""
    params = detector.get_params(deep=False)
    decisive = {name: value for name, value in params.items() if name not in ("device", "memory", "verbose")}
    return repr((type(detector).__name__, decisive))


def _rows_of(data: LabelledFeatures, index: int) -> tuple[np.ndarray, np.ndarray | None, np.ndarray, np.ndarray]:
    y = np.where(data.y_test == index, 1, -1)
    return data.X_train[data.y_train == index], data.X_aux, data.X_test, y


def _fit(estimator: BaseEstimator, X: np.ndarray, X_aux: np.ndarray | None) -> None:
    """Fit any outlier detector, with auxiliary rows where it takes them."""
    if has_fit_parameter(estimator, "X_aux") or getattr(estimator, "transform_input", None):
        estimator.fit(X, X_aux=X_aux)
    else:
        estimator.fit(X)


def _run(
    task: _Task, X: np.ndarray, X_aux: np.ndarray | None, X_test: np.ndarray, y_test: np.ndarray
) -> dict[str, Any]:
    estimator = clone(task.estimator)
    start = time.perf_counter()
    _fit(estimator, X, X_aux)
    fitted = time.perf_counter()
    scores = estimator.score_samples(X_test)
    scored = time.perf_counter()
    return {
        **task.key,
        **evaluate_scores(y_test, scores),
        "fit_seconds": fitted - start,
        "score_seconds": scored - fitted,
        "n_epochs": float(getattr(estimator, "n_epochs_", math.nan)),
    }
