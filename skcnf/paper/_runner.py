"""Runs the studies of a layout on the data at hand."""

from __future__ import annotations

import dataclasses
import os
from collections.abc import Callable, Mapping, Sequence
from functools import partial

import pandas as pd
from sklearn.base import BaseEstimator

from skcnf._core.scratch import scratch_folder
from skcnf.datasets import DataNotFoundError, LabelledFeatures
from skcnf.evaluation import COLUMNS, ReportTable, class_vs_class, dataset_vs_dataset, one_vs_rest
from skcnf.paper._data import BenchmarkData
from skcnf.paper._layouts import Layout, Study, lay_out
from skcnf.paper._lineup import is_deterministic, make_detectors

__all__ = ["run_layout"]

_EXTRA = ("class_number", "aux_rows")
_ENCODER_NOTE = (
    "paper: as printed there; its encoder, a ResNet-50, saw all of ImageNet; the bundled one, a narrow ResNet-18, saw "
    "50,000 images of 32 px."
)


def run_layout(
    layout: Layout,
    data: BenchmarkData,
    *,
    seeds: Sequence[int],
    output: str | os.PathLike[str],
    classes: Sequence[str] | None = None,
    detectors: Sequence[str] | None = None,
    n_jobs: int | None = None,
    engine: str = "auto",
    device: str = "auto",
    verbose: bool = False,
) -> tuple[ReportTable, pd.DataFrame]:
    """Run what ``output`` does not hold yet; returns the table, and the tidy results of all its studies.

    Parameters
    ----------
    layout : Layout
    data : BenchmarkData
    seeds : sequence of int
        Detectors whose scores no seed changes run with the first alone.
    output : path
        The CSV file of results.
    classes, detectors : sequence of str, optional
        Only these inlier classes and detectors.
    n_jobs, engine, verbose
        The same as in `one_vs_rest`.
    device : str, default="auto"
        Where the flows are trained and score.

    Raises
    ------
    ValueError
        If a class or detector is unknown.
    """
    wanted = None if detectors is None else set(make_detectors(detectors))
    notes = [] if layout.number is None else [_ENCODER_NOTE]
    frames = []
    with scratch_folder() as memory:
        for study in layout.studies:
            names = [name for name in study.detectors if wanted is None or name in wanted]
            try:
                run, add_columns = _protocol(study, data, classes, notes)
            except DataNotFoundError as error:
                notes.append(_not_at_hand(study, error))
                continue
            if names:
                made = make_detectors(names, device, memory)
                options = {"n_jobs": n_jobs, "engine": engine, "output": output, "verbose": verbose}
                frames.append(add_columns(run(made, seeds=_seeds(made, seeds), **options)))
    table = pd.concat(frames, ignore_index=True) if frames else pd.DataFrame(columns=[*COLUMNS, *_EXTRA])
    return lay_out(layout, table, dict.fromkeys([*notes, *_failures(table)])), table


def _seeds(detectors: Mapping[str, BaseEstimator], seeds: Sequence[int]) -> dict[str, list[int]]:
    """The first seed alone for detectors whose scores no seed changes."""
    return {
        name: list(seeds)[:1] if is_deterministic(detector) else list(seeds) for name, detector in detectors.items()
    }


def _protocol(
    study: Study, data: BenchmarkData, classes: Sequence[str] | None, notes: list[str]
) -> tuple[Callable[..., pd.DataFrame], Callable[[pd.DataFrame], pd.DataFrame]]:
    """The protocol's function with its data, and what adds the study's columns to its results."""
    rows = _rows(study, data)
    notes += [rows.note] if rows.note else []
    columns = partial(_with_columns, study, rows)
    if study.protocol == "one-vs-rest":
        return partial(one_vs_rest, data=rows, classes=classes, pairs=study.pairs), columns
    if study.protocol == "class-vs-class":
        return partial(class_vs_class, data=rows, classes=classes), columns
    return partial(dataset_vs_dataset, data=rows, anomalies=_anomalies(study, data, notes)), columns


def _rows(study: Study, data: BenchmarkData) -> LabelledFeatures:
    rows = data.load(study.dataset, study.features)
    if len(rows.X_train) == 0 or len(rows.X_test) == 0:
        raise DataNotFoundError(f"{rows.name}: of its images only one split is there")
    if study.n_aux is not None and rows.X_aux is not None:
        rows = dataclasses.replace(rows, X_aux=rows.X_aux[: study.n_aux])
    return rows


def _with_columns(study: Study, rows: LabelledFeatures, results: pd.DataFrame) -> pd.DataFrame:
    numbers = {name: str(number) for number, name in enumerate(rows.class_names)}
    aux_rows = "" if study.n_aux is None else f", {study.n_aux:,} auxiliary rows"
    return results.assign(class_number=results["inlier_class"].map(numbers).fillna(""), aux_rows=aux_rows)


def _anomalies(study: Study, data: BenchmarkData, notes: list[str]) -> dict[str, pd.DataFrame]:
    """Test rows of the data sets that are at hand; a note for each that is not."""
    anomalies = {}
    for name in study.anomalies:
        try:
            other = data.load(name, study.features)
        except DataNotFoundError as error:
            notes.append(_not_at_hand(study, error))
        else:
            anomalies[other.name] = other.X_test
            notes += [other.note] if other.note else []
    return anomalies


def _not_at_hand(study: Study, error: Exception) -> str:
    return f"data not at hand ({study.protocol}, {study.features}): {error}"


def _failures(results: pd.DataFrame) -> list[str]:
    failed = results[results["error"].fillna("") != ""]
    return [
        f"failed: {detector}, {features}, {len(rows)} of {(results['detector'] == detector).sum()} rows: "
        f"{rows['error'].iloc[0]}"
        for (detector, features), rows in failed.groupby(["detector", "features"], sort=False)
    ]
