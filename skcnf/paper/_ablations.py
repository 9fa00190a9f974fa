"""Ablations: one choice varied at a time, of the method or of the data; each is a table and a figure."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import replace
from typing import Any

from skcnf.datasets import CIFAR10_CLASSES
from skcnf.paper._catalogue import OTHER_FIVE, TABLES
from skcnf.paper._layouts import Layout, Study

__all__ = ["ABLATIONS"]

_METHODS = ("CF", "OE", "Flow", "KNN", "MSE")
_WITH_AUX = ("CF", "OE", "Flow-ratio", "MSE-ratio", "Flow", "KNN")  # the last two do without, for comparison
_N_AUX_OF_A_KIND = 8_000  # as many as the smallest set, CelebA's training images, has


def _ablation(
    title: str, axis: str, lines: Mapping[str, Mapping[Any, str]], studies: Iterable[Study] | None = None
) -> Layout:
    """A table of classes whose rows are the points of a figure's lines."""
    rows = tuple(dict.fromkeys(row for points in lines.values() for row in points.values()))
    return Layout(
        f"Ablation: {title}; AUROC in %, CIFAR-10 one-vs-rest",
        (_study(rows),) if studies is None else tuple(studies),
        rows,
        CIFAR10_CLASSES,
        row="{detector}{variant}",
        mean="columns",
        groups=OTHER_FIVE,
        lines=lines,
        axis=axis,
    )


def _study(detectors: tuple[str, ...], **options: Any) -> Study:
    return Study("cifar10", "one-vs-rest", detectors, **options)


def _of_data(title: str, axis: str, detectors: tuple[str, ...], studies: Mapping[Any, Mapping[str, Any]]) -> Layout:
    """An ablation of the data: from each value of the axis to what the study of it changes."""
    made = {value: _study(detectors, **options) for value, options in studies.items()}
    lines = {name: {value: f"{name}{study.variant}" for value, study in made.items()} for name in detectors}
    return _ablation(title, axis, lines, made.values())


def _contaminated(kind: str, what: str) -> Layout:
    return _of_data(
        f"anomalies among the inliers, {what}",
        "share of anomalies among the inliers in %",
        _METHODS,
        {
            percent: {"anomaly_share": percent / 100, "anomaly_kind": kind, "variant": f", {percent} % anomalies"}
            for percent in (0, 1, 2, 5, 10, 20)
        },
    )


ABLATIONS: dict[str, Layout] = {
    "noise": _ablation(
        "noise",
        "standard deviation of the noise on unit-norm features",
        {
            "CF": {
                0.0: "CF, noise 0",
                0.003: "CF, noise 0.003",
                0.01: "CF",
                0.03: "CF, noise 0.03",
                0.1: "CF, noise 0.1",
            }
        },
    ),
    "clamp": _ablation(
        "clamp",
        "clamp in nats",
        {
            "CF": {
                "auto": "CF",
                "0, not standardised": "CF (Table 6)",
                **{f"{c:+d}": f"CF, clamp {c:+d}" for c in (-300, -200, -100, 0, 100)},
            }
        },
    ),
    "aux-weight": _ablation(
        "weight of the auxiliary term",
        "weight of the auxiliary term",
        {"CF": {**{w: f"CF, aux_weight {w:g}" for w in (0.1, 0.3, 0.5)}, 1.0: "CF", 2.0: "CF, aux_weight 2"}},
    ),
    "aux-size": _of_data(
        "number of auxiliary rows",
        "auxiliary rows",
        ("CF", "OE", "MSE-ratio"),
        {n: {"n_aux": n, "variant": f", {n:,} auxiliary rows"} for n in (100, 300, 1_000, 3_000, 10_000, 30_000)},
    ),
    "epochs": _ablation(
        "epochs, without early stopping", "epochs", {"CF": {n: f"CF, {n} epochs" for n in (2, 5, 10, 20, 40)}}
    ),
    "warmup": _ablation(
        "likelihood first (CF-FT)",
        "epochs of likelihood first",
        {"CF": {0: "CF", **{n: f"CF-FT, {n} epochs first" for n in (1, 2, 5)}}},
    ),
    "flow-ratio": _ablation(
        "start of Flow-ratio's inlier flow",
        "start of the inlier flow",
        {
            "Flow-ratio": {"scratch": "Flow-ratio", "auxiliary flow": "Flow-ratio, fine-tuned"},
            "Flow": {"no ratio": "Flow"},
        },
    ),
    "whitening": _ablation(
        "whitening of the features by the auxiliary rows",
        "whitened",
        {
            "Gaussian": {"yes": "Gaussian (whitened)", "no": "Gaussian"},
            "Gaussian-ratio": {"yes": "Gaussian-ratio (whitened)", "no": "Gaussian-ratio"},
        },
    ),
    "normalisation": replace(TABLES[11], number=None),
    "ensemble": _ablation(
        "flows of different seeds, log-densities averaged",
        "flows",
        {name: {1: name, 3: f"{name}, 3 flows"} for name in ("CF", "Flow")},
    ),
    "contamination": _contaminated("test", "of the other classes"),
    "contamination-aux": _contaminated("auxiliary", "of the auxiliary kind"),
    "aux-kind": _of_data(
        f"what the auxiliary images are ({_N_AUX_OF_A_KIND:,} of each kind)",
        "auxiliary images",
        _WITH_AUX,
        {
            name: {"aux": kind, "n_aux": _N_AUX_OF_A_KIND, "variant": f", {name}"}
            for kind, name in (
                ("noise", "pixel noise"),
                ("celeba", "CelebA"),
                ("tiny-imagenet", "Tiny ImageNet"),
                ("other classes", "other CIFAR classes"),
            )
        },
    ),
    "inliers": _of_data(
        "number of inliers",
        "inliers",
        _METHODS,
        {n: {"n_inliers": n, "variant": f", {n:,} inliers"} for n in (50, 150, 500, 1_500, 5_000)},
    ),
}
