"""The fits of a protocol: what each is fitted on, what its scores are measured on, and the rows that it yields."""

from __future__ import annotations

import hashlib
import math
import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from numbers import Integral
from typing import Any

import numpy as np
from sklearn.base import BaseEstimator, clone
from sklearn.model_selection._search import BaseSearchCV
from sklearn.pipeline import Pipeline
from sklearn.utils.validation import has_fit_parameter

from skcnf._core.devices import resolve_device
from skcnf.detectors import BaseFlowDetector, fit_many
from skcnf.evaluation._metrics import METRICS, evaluate_scores
from skcnf.evaluation._signatures import signature

__all__ = ["Problem", "Seeds", "Task", "failed_rows", "make_tasks", "run_tasks", "start_order"]

Seeds = Sequence[int] | Mapping[str, Sequence[int]]
_ERROR_LENGTH = 2000  # a field of a CSV file has at most 131,072 characters
_ENGINES = ("auto", "single", "batched")


@dataclass(frozen=True)
class Problem:
    """Rows to fit on, and test rows with labels.

    The arrays are shared by all problems of a protocol, so that joblib sends each of them once.

    Parameters
    ----------
    inlier_class : str
        The name of what is normal.
    X_train : ndarray of shape (n, d)
    train_rows : ndarray of int or None
        The rows of ``X_train`` to fit on; None for all.
    X_aux : ndarray of shape (m, d) or None
    X_test : ndarray of shape (t, d)
    labels : mapping of str to ndarray of shape (t,)
        For each kind of anomalies: +1 marks inliers, -1 these anomalies, 0 rows that are left out.
    """

    inlier_class: str
    X_train: np.ndarray
    train_rows: np.ndarray | None
    X_aux: np.ndarray | None
    X_test: np.ndarray
    labels: Mapping[str, np.ndarray]

    def inliers(self) -> np.ndarray:
        """The rows to fit on."""
        return self.X_train if self.train_rows is None else self.X_train[self.train_rows]


@dataclass(frozen=True)
class Task:
    """One fit: a detector, a problem and a seed."""

    key: dict[str, Any]
    detector: BaseEstimator
    problem: Problem
    is_first_problem: bool

    def keys(self) -> list[dict[str, Any]]:
        """The key of every row that the task yields."""
        return [{**self.key, "anomalies": anomalies} for anomalies in self.problem.labels]

    def estimator(self) -> BaseEstimator:
        """A clone of the detector, seeded; the detector itself is never fitted, so that no model outlives its task.

        A ``random_state`` of its own decides over those of its parts; without one each part gets the seed.
        """
        estimator = clone(self.detector)
        names = estimator.get_params()
        seeded = ["random_state"] if "random_state" in names else [n for n in names if n.endswith("__random_state")]
        return estimator.set_params(**dict.fromkeys(seeded, self.key["seed"]))


def make_tasks(
    header: Mapping[str, str],
    fingerprint: str,
    problems: Sequence[Problem],
    detectors: Mapping[str, BaseEstimator],
    seeds: Seeds,
    engine: str = "auto",
) -> Iterator[Task]:
    """Yield the tasks seed by seed, problem by problem, detector by detector.

    Raises
    ------
    ValueError
        If ``engine`` is unknown, or ``seeds`` are malformed.
    """
    if engine not in _ENGINES:
        raise ValueError(f"engine={engine!r} must be one of {_ENGINES}.")
    seeds_of = _seeds_of(detectors, seeds)
    columns = {name: _columns(name, detector, fingerprint, engine) for name, detector in detectors.items()}
    for seed in dict.fromkeys(seed for seeds in seeds_of.values() for seed in seeds):
        for problem in problems:
            for name in (name for name in detectors if seed in seeds_of[name]):
                key = {**header, **columns[name], "inlier_class": problem.inlier_class, "seed": seed}
                yield Task(key, detectors[name], problem, problem is problems[0])


def _seeds_of(detectors: Iterable[str], seeds: Seeds) -> dict[str, list[int]]:
    """The seeds of each detector, as plain integers."""
    if not isinstance(seeds, Mapping):
        return dict.fromkeys(detectors, _checked_seeds(seeds))
    missing = [name for name in detectors if name not in seeds]
    if missing:
        raise ValueError(f"seeds must have a sequence for every detector; {missing} have none.")
    return {name: _checked_seeds(seeds[name]) for name in detectors}


def _checked_seeds(seeds: Iterable[int]) -> list[int]:
    seeds = list(seeds)
    for seed in seeds:
        if not isinstance(seed, Integral) or isinstance(seed, bool) or not 0 <= seed < 2**32:
            raise ValueError(f"seeds: {seed!r} is no whole number from 0 to 2**32 - 1.")
    if len(set(seeds)) < len(seeds):
        raise ValueError(f"seeds must differ from each other; got {seeds}.")
    return [int(seed) for seed in seeds]


def _columns(name: str, detector: BaseEstimator, fingerprint: str, engine: str) -> dict[str, str]:
    """The columns of results that tell one detector from another."""
    config = hashlib.sha256(f"{signature(detector)}{fingerprint}".encode()).hexdigest()[:8]
    return {"detector": name, "config": config, "engine": _engine_of(detector, engine)}


def _engine_of(detector: BaseEstimator, wanted: str) -> str:
    """Whether a detector's fits are made one by one or, which flows alone can, together."""
    if wanted == "single" or not isinstance(detector, BaseFlowDetector):
        return "single"
    return "batched" if wanted == "batched" or resolve_device(detector.device).type == "cuda" else "single"


def start_order(task: Task) -> tuple[int, int]:
    """The place of a task in the order of starting.

    Seeds come one after the other. Within a seed flows come first, because their fits are the longest: short ones at
    the end keep all workers busy. A fit whose cache others share is the first of all, and the others are the last
    flows, so that it is done once.
    """
    if getattr(task.detector, "memory", None) is not None:
        return task.key["seed"], 0 if task.is_first_problem else 2
    return task.key["seed"], 1 if isinstance(task.detector, BaseFlowDetector) else 3


def run_tasks(tasks: Sequence[Task]) -> list[dict[str, Any]]:
    """Fit and score; the rows of one task of the engine "single", or of several that are fitted together.

    A detector may raise whatever it likes: the rows then hold the error and no numbers.
    """
    try:
        estimators = [task.estimator() for task in tasks]
        start = time.perf_counter()
        _fit(estimators, tasks)
        fit_seconds = (time.perf_counter() - start) / len(tasks)
        pairs = zip(tasks, estimators, strict=True)
        return [row for task, estimator in pairs for row in _measure(task, estimator, fit_seconds)]
    except Exception as error:
        return failed_rows(tasks, f"{type(error).__name__}: {error}")


def failed_rows(tasks: Iterable[Task], error: str) -> list[dict[str, Any]]:
    """The rows of tasks that failed: no numbers, and the error on one line."""
    missing = dict.fromkeys((*METRICS, "fit_seconds", "score_seconds", "n_epochs"), math.nan)
    text = " ".join(error.split())[:_ERROR_LENGTH]
    return [{**key, **missing, "error": text} for task in tasks for key in task.keys()]


def _fit(estimators: Sequence[BaseEstimator], tasks: Sequence[Task]) -> None:
    """Fit any outlier detector, with auxiliary rows if it takes them."""
    estimator, problem = estimators[0], tasks[0].problem
    if tasks[0].key["engine"] == "batched":
        fit_many(estimators, [task.problem.inliers() for task in tasks], problem.X_aux, batched=True)
    else:
        estimator.fit(problem.inliers(), **_auxiliary(estimator, problem.X_aux))


def _auxiliary(estimator: BaseEstimator, X_aux: np.ndarray | None) -> dict[str, Any]:
    """The argument by which ``fit`` gets auxiliary rows, where it takes any.

    Raises
    ------
    ValueError
        If they would make a difference, and a Pipeline does not pass them on: it would be another detector.
    """
    if isinstance(estimator, BaseSearchCV):  # which leaves a tuple whole, where it would divide an array as it does X
        return {name: (rows,) for name, rows in _auxiliary(estimator.estimator, X_aux).items() if rows is not None}
    if has_fit_parameter(estimator, "X_aux") or getattr(estimator, "transform_input", None):
        return {"X_aux": X_aux}
    last = estimator[-1] if isinstance(estimator, Pipeline) else estimator
    if last is not estimator and X_aux is not None and _auxiliary(last, X_aux) and getattr(last, "_takes_aux", True):
        raise ValueError(
            f"the pipeline passes X_aux on to {type(last).__name__} only with transform_input=['X_aux'] and metadata "
            "routing enabled; without X_aux it would be another detector."
        )
    return {}


def _measure(task: Task, estimator: BaseEstimator, fit_seconds: float) -> Iterator[dict[str, Any]]:
    """A row for each kind of anomalies, all from the same scores."""
    start = time.perf_counter()
    scores = np.asarray(estimator.score_samples(task.problem.X_test))
    seconds = {"fit_seconds": fit_seconds, "score_seconds": time.perf_counter() - start}
    n_epochs = float(getattr(estimator, "best_epoch_", math.nan))
    for key, labels in zip(task.keys(), task.problem.labels.values(), strict=True):
        metrics = evaluate_scores(labels[labels != 0], scores[labels != 0])
        yield {**key, **metrics, **seconds, "n_epochs": n_epochs, "error": ""}
