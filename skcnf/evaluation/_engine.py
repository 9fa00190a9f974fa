"""Runs the fits of a protocol: one joblib task each, rows of results as they come, failures on record."""

from __future__ import annotations

import os
import warnings
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import pandas as pd
from joblib import Parallel, delayed
from sklearn.base import BaseEstimator
from tqdm import tqdm

from skcnf.evaluation._results import ResultLog
from skcnf.evaluation._tasks import Problem, Seeds, Task, make_tasks, run_tasks, start_order

__all__ = ["run_protocol"]


def run_protocol(
    header: Mapping[str, str],
    fingerprint: str,
    problems: Sequence[Problem],
    detectors: Mapping[str, BaseEstimator],
    *,
    seeds: Seeds,
    n_jobs: int | None,
    output: str | os.PathLike[str] | None,
    verbose: bool,
    engine: str = "auto",
) -> pd.DataFrame:
    """Fit every detector to every problem with every seed, unless ``output`` holds the rows; returns all of them.

    ``header`` names the ``dataset``, ``protocol`` and ``features``; ``fingerprint`` is a digest of the data. A task
    that fails gives rows without numbers and with its error; the others go on, and a later run tries it again. Tasks
    of the engine "batched" run, and fail, together with the others of their detector.
    """
    tasks = list(make_tasks(header, fingerprint, problems, detectors, seeds, engine))
    with ResultLog(output) as log:
        units = _units(task for task in tasks if not all(key in log for key in task.keys()))
        _run_units(units, n_jobs, log, bar=header["protocol"] if verbose else None)
    return log.table([key for task in tasks for key in task.keys()])


def _run_units(units: list[list[Task]], n_jobs: int | None, log: ResultLog, bar: str | None) -> None:
    """Run tasks that belong together, and log their rows as they come."""
    results = Parallel(n_jobs=n_jobs, return_as="generator_unordered")(delayed(run_tasks)(unit) for unit in units)
    hidden = True if bar is None else None
    with warnings.catch_warnings():
        # joblib's process pool replaces workers that have grown; no task is lost
        warnings.filterwarnings("ignore", "A worker stopped while some jobs were given", UserWarning)
        for rows in tqdm(results, total=len(units), desc=bar, unit="fit", leave=False, disable=hidden):
            log.extend(rows)


def _units(tasks: Iterable[Task]) -> list[list[Task]]:
    """Tasks in the order of starting, each alone, or with those that it is fitted together with."""
    units: dict[Any, list[Task]] = {}
    for number, task in enumerate(sorted(tasks, key=start_order)):
        alone = task.key["engine"] == "single"
        units.setdefault(number if alone else (task.key["config"], id(task.problem.X_aux)), []).append(task)
    return list(units.values())
