"""Runs the studies of a layout on the data at hand."""

from __future__ import annotations

import dataclasses
import os
import tempfile
from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

import pandas as pd

from skcnf.datasets import (
    DataNotFoundError,
    LabelledFeatures,
    featurize_images,
    flatten_images,
    load_cifar10_features,
    load_image_dataset,
)
from skcnf.evaluation import COLUMNS, class_vs_class, dataset_vs_dataset, one_vs_rest
from skcnf.paper._layouts import Layout, Study, lay_out
from skcnf.paper._lineup import is_deterministic, make_detectors
from skcnf.paper._report import ReportTable

__all__ = ["BenchmarkData", "run_layout"]

_EXTRA = ("class_number", "aux_rows")
_ENCODER_NOTE = (
    "paper: as printed there; its encoder, a ResNet-50, saw all of ImageNet; the bundled one, a narrow ResNet-18, saw "
    "50,000 images of 32 px."
)


class BenchmarkData:
    """The data sets of the tables under the bundled encoder, or as pixels.

    CIFAR-10's features are bundled, and the auxiliary rows are. Everything else comes from images below ``root``.

    Parameters
    ----------
    root : path or None
        See `skcnf.datasets.load_image_dataset`.
    device : str
        Of the encoder.
    cache : path or None
        Keeps features of images from run to run.
    """

    def __init__(self, root: str | os.PathLike[str] | None, device: str = "auto", cache: Any = None) -> None:
        self.root, self.device, self.cache = root, device, cache
        self._loaded: dict[tuple[str, str], LabelledFeatures] = {}

    def load(self, dataset: str, features: str) -> LabelledFeatures:
        """Rows of a data set, with the bundled auxiliary rows but for pixels; loaded once.

        Raises
        ------
        DataNotFoundError
            If its images are not at hand.
        """
        key = (dataset, features)
        if key not in self._loaded:
            self._loaded[key] = self._load(dataset, features)
        return self._loaded[key]

    def _load(self, dataset: str, features: str) -> LabelledFeatures:
        if dataset == "cifar10" and features != "pixels":
            return load_cifar10_features(normalize=features == "moco")
        if self.root is None:
            raise DataNotFoundError(f"the images of {dataset} are wanted; name their folder")
        images = load_image_dataset(dataset, self.root)
        if features == "pixels":
            return flatten_images(images)
        from skcnf.moco import MocoFeaturizer

        featurizer = MocoFeaturizer(normalize=features == "moco", device=self.device, memory=self.cache)
        X_aux = load_cifar10_features(normalize=features == "moco").X_aux
        return dataclasses.replace(featurize_images(images, featurizer, features=features), X_aux=X_aux)


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
    """Run what ``output`` does not hold yet; the table, and the tidy results of all its studies.

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
        As in `one_vs_rest`.
    device : str
        Of the flows.

    Raises
    ------
    ValueError
        If a class or detector is unknown.
    """
    wanted = None if detectors is None else set(make_detectors(detectors))
    notes = [_ENCODER_NOTE] if layout.number is not None else []
    frames = []
    options = {"n_jobs": n_jobs, "engine": engine, "output": output, "verbose": verbose}
    with tempfile.TemporaryDirectory() as memory:
        for study in layout.studies:
            try:
                protocol, columns = _protocol(study, data, classes, notes)
            except DataNotFoundError as error:
                notes.append(_not_at_hand(study, error))
                continue
            names = [name for name in study.detectors if wanted is None or name in wanted]
            parts = _by_determinism(make_detectors(names, device, memory), seeds)
            frames += [columns(protocol(part, seeds=part_seeds, **options)) for part, part_seeds in parts if part]
    table = pd.concat(frames, ignore_index=True) if frames else pd.DataFrame(columns=[*COLUMNS, *_EXTRA])
    return lay_out(layout, table, dict.fromkeys([*notes, *_failures(table)])), table


def _by_determinism(detectors: dict[str, Any], seeds: Sequence[int]) -> list[tuple[dict[str, Any], Sequence[int]]]:
    fixed = {name: detector for name, detector in detectors.items() if is_deterministic(detector)}
    drawn = {name: detector for name, detector in detectors.items() if name not in fixed}
    return [(drawn, list(seeds)), (fixed, list(seeds)[:1])]


def _protocol(
    study: Study, data: BenchmarkData, classes: Sequence[str] | None, notes: list[str]
) -> tuple[Callable[..., pd.DataFrame], Callable[[pd.DataFrame], pd.DataFrame]]:
    """The protocol's function with its data, and what adds the study's columns to its results."""
    rows = data.load(study.dataset, study.features)
    if len(rows.X_train) == 0 or len(rows.X_test) == 0:
        raise DataNotFoundError(f"{rows.name}: of its images only one split is there")
    if study.n_aux is not None:
        rows = dataclasses.replace(rows, X_aux=rows.X_aux[: study.n_aux])
    aux_rows = "" if study.n_aux is None else f", {study.n_aux:,} auxiliary rows"

    def add_columns(results: pd.DataFrame) -> pd.DataFrame:
        numbers = {name: str(number) for number, name in enumerate(rows.class_names)}
        return results.assign(class_number=results["inlier_class"].map(numbers).fillna(""), aux_rows=aux_rows)

    if study.protocol == "one-vs-rest":
        return partial(one_vs_rest, data=rows, classes=classes, pairs=study.pairs), add_columns
    if study.protocol == "class-vs-class":
        return partial(class_vs_class, data=rows, classes=classes), add_columns
    anomalies = {}
    for name in study.anomalies:
        try:
            other = data.load(name, study.features)
        except DataNotFoundError as error:
            notes.append(_not_at_hand(study, error))
        else:
            anomalies[other.name] = other.X_test
    return partial(dataset_vs_dataset, data=rows, anomalies=anomalies), add_columns


def _not_at_hand(study: Study, error: Exception) -> str:
    return f"data not at hand ({study.protocol}, {study.features}): {error}"


def _failures(results: pd.DataFrame) -> list[str]:
    failed = results[results["error"].fillna("") != ""]
    return [
        f"failed: {detector}, {features}, {len(rows)} of {(results['detector'] == detector).sum()} rows: "
        f"{rows['error'].iloc[0]}"
        for (detector, features), rows in failed.groupby(["detector", "features"], sort=False)
    ]
