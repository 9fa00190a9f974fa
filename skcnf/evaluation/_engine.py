"""Runs the fits of a protocol: one joblib task each, rows of results as they come, failures on record."""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import pandas as pd
from sklearn.base import BaseEstimator

from skcnf._core.progress import progress_bar
from skcnf._core.workers import run_all
from skcnf.evaluation._results import ResultLog
from skcnf.evaluation._tasks import Problem, Seeds, Task, failed_rows, make_tasks, run_tasks, start_order

__all__ = ["run_protocol"]

_KILLED = "its process was killed twice, perhaps because memory ran out: fewer jobs at once need less"


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
    results = run_all(run_tasks, units, n_jobs)
    for unit, rows in progress_bar(results, total=len(units), desc=bar, unit="fit", verbose=bar is not None):
        log.extend(failed_rows(unit, _KILLED) if rows is None else rows)


def _units(tasks: Iterable[Task]) -> list[list[Task]]:
    """Tasks in the order of starting, each alone, or with those that it is fitted together with."""
    units: dict[Any, list[Task]] = {}
    for number, task in enumerate(sorted(tasks, key=start_order)):
        alone = task.key["engine"] == "single"
        units.setdefault(number if alone else (task.key["config"], id(task.problem.X_aux)), []).append(task)
    return list(units.values())
