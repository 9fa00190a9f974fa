"""Runs the studies of a layout on the data at hand."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import Any

import numpy as np
import pandas as pd
from sklearn.base import BaseEstimator

from skcnf._core.scratch import scratch_folder
from skcnf.datasets import DataNotFoundError, LabelledFeatures
from skcnf.detectors import CSIDetector
from skcnf.evaluation import COLUMNS, ReportTable, class_vs_class, dataset_vs_dataset, one_vs_rest
from skcnf.paper._data import BenchmarkData
from skcnf.paper._layouts import Layout, Study, lay_out
from skcnf.paper._lineup import is_deterministic, make_detectors

__all__ = ["run_layout"]

_EXTRA = ("class_number", "variant")
_ENCODER_NOTE = (
    "paper: as printed there; its encoder, a ResNet-50, saw all of ImageNet; the bundled one, a narrow ResNet-18, saw "
    "100,000 images of 32 px."
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
    image_detectors: bool = False,
    verbose: bool = False,
) -> tuple[ReportTable, pd.DataFrame]:
    """Run what ``output`` does not hold yet; returns the table, and the tidy results of all its studies.

    Parameters
    ----------
    layout : Layout
    data : BenchmarkData
    seeds : sequence of int
        Detectors whose scores no seed changes run with the first alone, and so does CSI.
    output : path
        The CSV file of results.
    classes, detectors : sequence of str, optional
        Only these inlier classes and detectors.
    n_jobs, engine, verbose
        The same as in `one_vs_rest`.
    device : str, default="auto"
        Where the flows are trained and score.
    image_detectors : bool, default=False
        Whether detectors that train an encoder, for many minutes a class, run too, where ``detectors`` does not name
        them.

    Raises
    ------
    ValueError
        If a class or detector is unknown.
    """
    wanted = None if detectors is None else set(make_detectors(detectors))
    notes = [] if layout.number is None else [_ENCODER_NOTE]
    options = {"n_jobs": n_jobs, "engine": engine, "output": output, "verbose": verbose}
    frames = []
    with scratch_folder() as memory:
        for study in layout.studies:
            names = [name for name in study.detectors if wanted is None or name in wanted]
            if study.features == "images" and wanted is None and not image_detectors:
                notes.append(f"{', '.join(names)}: not run, since training takes long; --image-detectors runs it")
                continue
            made = make_detectors(names, device, memory)
            if made:
                frames += _run_study(study, made, data, classes, notes, seeds=_seeds(made, seeds), **options)
    table = pd.concat(frames, ignore_index=True) if frames else pd.DataFrame(columns=[*COLUMNS, *_EXTRA])
    return lay_out(layout, table, dict.fromkeys([*notes, *_failures(table)])), table


def _run_study(
    study: Study,
    detectors: Mapping[str, BaseEstimator],
    data: BenchmarkData,
    classes: Sequence[str] | None,
    notes: list[str],
    **options: Any,
) -> list[pd.DataFrame]:
    """The results of a study with its columns; a note in place of them where its data are not at hand."""
    results = []
    try:
        for rows, chosen in data.parts(study, classes):
            notes += [rows.note] if rows.note else []
            protocol = _protocol(study, rows, chosen, data, notes)
            results.append(_with_columns(study, rows, protocol(detectors, **options)))
    except DataNotFoundError as error:
        notes.append(_not_at_hand(study, error))
    return results


def _seeds(detectors: Mapping[str, BaseEstimator], seeds: Sequence[int]) -> dict[str, list[int]]:
    """The first seed alone for detectors whose scores no seed changes, and for CSI, which takes longest."""
    return {
        name: list(seeds)[:1] if is_deterministic(detector) or isinstance(detector, CSIDetector) else list(seeds)
        for name, detector in detectors.items()
    }


def _protocol(
    study: Study, rows: LabelledFeatures, classes: Sequence[str] | None, data: BenchmarkData, notes: list[str]
) -> Callable[..., pd.DataFrame]:
    """The protocol's function with its data."""
    if study.protocol == "one-vs-rest":
        return partial(one_vs_rest, data=rows, classes=classes, pairs=study.pairs)
    if study.protocol == "class-vs-class":
        return partial(class_vs_class, data=rows, classes=classes)
    return partial(dataset_vs_dataset, data=rows, anomalies=_anomalies(study, data, notes))


def _with_columns(study: Study, rows: LabelledFeatures, results: pd.DataFrame) -> pd.DataFrame:
    numbers = {name: str(number) for number, name in enumerate(rows.class_names)}
    return results.assign(class_number=results["inlier_class"].map(numbers).fillna(""), variant=study.variant)


def _anomalies(study: Study, data: BenchmarkData, notes: list[str]) -> dict[str, np.ndarray]:
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
