"""Runs the fits of a protocol: one joblib task each, rows of results as they come, failures on record."""

from __future__ import annotations

import hashlib
import math
import time
import warnings
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from numbers import Integral
from typing import Any

import numpy as np
import pandas as pd
from joblib import Parallel, delayed
from sklearn.base import BaseEstimator, clone
from sklearn.utils.validation import has_fit_parameter
from tqdm import tqdm

from skcnf._core.devices import resolve_device
from skcnf.detectors import BaseFlowDetector, fit_many
from skcnf.evaluation._metrics import METRICS, evaluate_scores
from skcnf.evaluation._results import ResultLog

__all__ = ["Problem", "run_protocol"]


@dataclass(frozen=True)
class Problem:
    """Rows to fit on, and inliers and anomalies to judge by.

    The arrays are shared by all problems of a protocol, so that joblib sends each of them once.

    Parameters
    ----------
    inlier_class : str
        What is normal.
    X_train : ndarray of shape (n, d)
    train_rows : ndarray of int or None
        The rows of ``X_train`` to fit on; None for all.
    X_aux : ndarray of shape (m, d) or None
    X_test : ndarray of shape (t, d)
    judged : mapping of str to ndarray of shape (t,)
        For each kind of anomalies: +1 marks inliers, -1 these anomalies, 0 rows that have no part.
    """

    inlier_class: str
    X_train: np.ndarray
    train_rows: np.ndarray | None
    X_aux: np.ndarray | None
    X_test: np.ndarray
    judged: Mapping[str, np.ndarray]

    def inliers(self) -> np.ndarray:
        """The rows to fit on."""
        return self.X_train if self.train_rows is None else self.X_train[self.train_rows]


@dataclass(frozen=True)
class _Task:
    key: dict[str, Any]
    estimator: BaseEstimator
    problem: Problem
    is_first_problem: bool

    def keys(self) -> list[dict[str, Any]]:
        """A key for every row that the task yields."""
        return [{**self.key, "anomalies": anomalies} for anomalies in self.problem.judged]


def run_protocol(
    header: Mapping[str, str],
    fingerprint: str,
    problems: Sequence[Problem],
    detectors: Mapping[str, BaseEstimator],
    *,
    seeds: Iterable[int],
    n_jobs: int | None,
    log: ResultLog,
    verbose: bool,
    engine: str = "auto",
) -> pd.DataFrame:
    """Fit every detector to every problem with every seed, but for rows that ``log`` holds; the rows asked for.

    ``header`` names the ``dataset``, ``protocol`` and ``features``; ``fingerprint`` is a digest of the data. A task
    that fails gives rows without numbers and with its error; the others go on, and a later run tries it again. Tasks
    of the engine "batched" run, and fail, together with the others of their detector.
    """
    tasks = list(make_tasks(header, fingerprint, problems, detectors, check_seeds(seeds), engine))
    with log:
        missing = sorted((task for task in tasks if not all(key in log for key in task.keys())), key=turn)
        units: dict[Any, list[_Task]] = {}
        for number, task in enumerate(missing):
            alone = task.key["engine"] == "single"
            units.setdefault(number if alone else (task.key["config"], id(task.problem.X_aux)), []).append(task)
        _run_units(list(units.values()), n_jobs, log, bar=header["protocol"] if verbose else None)
    return log.table([key for task in tasks for key in task.keys()])


def check_seeds(seeds: Iterable[int]) -> list[int]:
    """The seeds as a list of int.

    Raises
    ------
    ValueError
        If one is no whole number from 0 to 2**32 - 1.
    """
    seeds = list(seeds)
    for seed in seeds:
        if isinstance(seed, bool) or not isinstance(seed, Integral) or not 0 <= seed < 2**32:
            raise ValueError(f"seeds: {seed!r} is no whole number from 0 to 2**32 - 1.")
    return [int(seed) for seed in seeds]


def _run_units(units: list[list[_Task]], n_jobs: int | None, log: ResultLog, bar: str | None) -> None:
    """Run tasks that belong together, and log their rows as they come."""
    results = Parallel(n_jobs=n_jobs, return_as="generator_unordered")(delayed(_run)(unit) for unit in units)
    hidden = True if bar is None else None
    with warnings.catch_warnings():
        # joblib's process pool replaces workers that have grown; no task is lost
        warnings.filterwarnings("ignore", "A worker stopped while some jobs were given", UserWarning)
        for rows in tqdm(results, total=len(units), desc=bar, unit="fit", leave=False, disable=hidden):
            log.extend(rows)


def make_tasks(
    header: Mapping[str, str],
    fingerprint: str,
    problems: Sequence[Problem],
    detectors: Mapping[str, BaseEstimator],
    seeds: Iterable[int],
    engine: str = "auto",
) -> Iterator[_Task]:
    """Seed by seed, problem by problem, detector by detector."""
    if engine not in ("auto", "single", "batched"):
        raise ValueError(f"engine={engine!r} must be 'auto', 'single' or 'batched'.")
    for seed in seeds:
        for problem in problems:
            for name, detector in detectors.items():
                config = hashlib.sha256(f"{_signature(detector)}{fingerprint}".encode()).hexdigest()[:8]
                estimator = clone(detector)
                if "random_state" in estimator.get_params():
                    estimator.set_params(random_state=seed)
                key = {
                    **header,
                    "detector": name,
                    "config": config,
                    "inlier_class": problem.inlier_class,
                    "seed": seed,
                    "engine": _engine_of(detector, engine),
                }
                yield _Task(key, estimator, problem, problem is problems[0])


def _engine_of(detector: BaseEstimator, wanted: str) -> str:
    """Whether a detector's fits are made one by one or, as flows' can be, together."""
    if wanted == "single" or not isinstance(detector, BaseFlowDetector):
        return "single"
    return "batched" if wanted == "batched" or resolve_device(detector.device).type == "cuda" else "single"


def turn(task: _Task) -> tuple[int, int]:
    """When to start a task: a fit that others will find cached first, those others last, so that it is done once."""
    shares = getattr(task.estimator, "memory", None) is not None
    return task.key["seed"], 1 if not shares else 0 if task.is_first_problem else 2


def _signature(detector: BaseEstimator) -> str:
    """What decides a detector's results: its class and parameters, but not where it computes and caches."""
    params = detector.get_params(deep=False)
    decisive = {name: value for name, value in params.items() if name not in ("device", "memory", "verbose")}
    return repr((type(detector).__name__, decisive))


def _fit(estimator: BaseEstimator, X: np.ndarray, X_aux: np.ndarray | None) -> None:
    """Fit any outlier detector, with auxiliary rows where it takes them."""
    if has_fit_parameter(estimator, "X_aux") or getattr(estimator, "transform_input", None):
        estimator.fit(X, X_aux=X_aux)
    else:
        estimator.fit(X)


def _run(tasks: Sequence[_Task]) -> list[dict[str, Any]]:
    """The rows of one task of the engine "single", or of some that are fitted together."""
    estimators = [clone(task.estimator) for task in tasks]
    blank = {"fit_seconds": math.nan, "score_seconds": math.nan, "n_epochs": math.nan, "error": ""}
    rows = [{**task.key, **blank} for task in tasks]
    try:
        start = time.perf_counter()
        if tasks[0].key["engine"] == "batched":
            fit_many(estimators, [task.problem.inliers() for task in tasks], tasks[0].problem.X_aux, batched=True)
        else:
            _fit(estimators[0], tasks[0].problem.inliers(), tasks[0].problem.X_aux)
        fit_seconds = (time.perf_counter() - start) / len(tasks)
        judged = []
        for task, estimator, row in zip(tasks, estimators, rows, strict=True):
            row["fit_seconds"] = fit_seconds
            row["n_epochs"] = float(getattr(estimator, "n_epochs_", math.nan))
            start = time.perf_counter()
            scores = np.asarray(estimator.score_samples(task.problem.X_test))
            row["score_seconds"] = time.perf_counter() - start
            judged += [{**row, "anomalies": name, **_metrics(y, scores)} for name, y in task.problem.judged.items()]
        return judged
    except Exception as error:  # whatever a detector raises: on record, and the others go on
        text = " ".join(f"{type(error).__name__}: {error}".split())
        blank = {"error": text, **dict.fromkeys(METRICS, math.nan)}
        return [
            {**row, "anomalies": name, **blank}
            for task, row in zip(tasks, rows, strict=True)
            for name in task.problem.judged
        ]


def _metrics(y: np.ndarray, scores: np.ndarray) -> dict[str, float]:
    return evaluate_scores(y[y != 0], scores[y != 0])
