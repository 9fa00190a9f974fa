"""What ``report`` and ``score --report`` do: rows, a model and images to a page."""

from __future__ import annotations

import argparse
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from sklearn.base import BaseEstimator
from sklearn.pipeline import Pipeline

from skcnf._core.files import check_output
from skcnf.cli._console import Console
from skcnf.cli._explaining import explain
from skcnf.cli._inputs import FeatureInput, ImageInput, Input
from skcnf.cli._paths import check_file, check_not_overwritten
from skcnf.images import Intensity, iter_decoded, read_image
from skcnf.moco import MocoFeaturizer
from skcnf.reporting import Decision, ScoredRow, read_scores, write_report
from skcnf.saving import load, load_thumbnails
from skcnf.tiling import TiledDetector

__all__ = ["report_scores", "run_report"]


def run_report(args: argparse.Namespace) -> int:
    """Run what ``args`` of the command line ask for; returns the exit status."""
    console = Console("report", args.quiet)
    for path, role in ((args.scores, "SCORES"), (args.model, "--model")):
        if path is not None:
            check_file(path, role)
    check_not_overwritten([args.output], [args.scores, args.model])
    check_output(args.output)
    with console.plain_warnings():
        model = thumbnails = None
        if args.model is not None:
            model, thumbnails = load(args.model), load_thumbnails(args.model)
        if args.false_alarm_rate is not None:
            _set_threshold(_ends(model)[1], args.false_alarm_rate)
        report_scores(args.scores, args.output, model, fdr=args.fdr, title=args.title, thumbnails=thumbnails)
    console.result(f"{args.output}: the report of '{args.scores}'")
    return 0


def report_scores(
    scores: Path,
    output: Path,
    model: BaseEstimator | None,
    *,
    fdr: float | None = None,
    inputs: Input | None = None,
    title: str = "Anomaly report",
    thumbnails: np.ndarray | None = None,
) -> None:
    """Write the page of the rows in the file ``scores``.

    Parameters
    ----------
    scores, output : Path
    model : estimator or None
        What scored: its promise and calibration scores are shown.
    fdr : float, optional
        The rate that the rows were selected at.
    inputs : ImageInput, optional
        Where the images are; otherwise they are sought by their names.
    title : str
    thumbnails : ndarray of shape (n, h, w, 3), optional
        Normal images, to show the nearest of.

    Raises
    ------
    ValueError
        If ``scores`` holds no rows of `skcnf score`.
    """
    rows = read_scores(scores)
    if not rows:
        raise ValueError(f"'{scores}' holds no row.")
    first, last = _ends(model)
    decision = Decision(fdr=fdr) if model is None else _decision(last, fdr, rows)
    opener = _opener(getattr(first, "intensity", None), inputs)
    pictures = None
    if opener is not None and isinstance(first, MocoFeaturizer):
        pictures = explain(rows, model, first, opener, thumbnails)
    write_report(rows, output, decision=decision, open_image=opener, title=title, pictures=pictures)


def _ends(model: Any) -> tuple[Any, Any]:
    """What takes the inputs, and what judges them."""
    if isinstance(model, TiledDetector):
        return model.featurizer_, model
    return (model[0], model[-1]) if isinstance(model, Pipeline) else (model, model)


def _decision(detector: Any, fdr: float | None, rows: Sequence[ScoredRow]) -> Decision:
    scores = getattr(detector, "calibration_scores_", None)
    if scores is None:
        return Decision(detector=_name(detector))
    return Decision(
        false_alarm_rate=None if fdr is not None else detector.false_alarm_rate_,
        fdr=fdr,
        n_calibration=len(scores),
        calibration_scores=scores,
        detector=_name(detector),
        foreign=fdr is None and _are_foreign(rows, detector),
    )


def _are_foreign(rows: Sequence[ScoredRow], detector: Any) -> bool:
    """Whether a row has a threshold that is not the detector's."""
    of_group = {str(name): offset for name, offset in (getattr(detector, "group_offsets_", None) or {}).items()}
    return any(row.status == "ok" and row.threshold != of_group.get(row.group, detector.offset_) for row in rows)


def _set_threshold(detector: Any, rate: float) -> None:
    if not hasattr(detector, "calibration_scores_"):
        raise ValueError("--false-alarm-rate needs a --model with calibration rows.")
    detector.set_threshold(false_alarm_rate=rate)


def _name(detector: Any) -> str:
    of = f" of {type(detector.detector).__name__}" if isinstance(detector, TiledDetector) else ""
    return f"{type(detector).__name__}{of}"


def _opener(intensity: Intensity | None, inputs: Input | None) -> Callable[[str], np.ndarray] | None:
    """What finds an image, uint8 (h, w, 3), by the name that its row gives it; None where there are none."""
    if isinstance(inputs, FeatureInput):
        return None
    if isinstance(inputs, ImageInput) and isinstance(inputs.source, np.ndarray) and inputs.names is not None:
        return partial(
            _from_array, inputs.source, dict(zip(inputs.names, range(len(inputs.names)), strict=True)), intensity
        )
    return partial(read_image, intensity=intensity)


def _from_array(images: np.ndarray, places: dict[str, int], intensity: Intensity | None, name: str) -> np.ndarray:
    decoded = next(iter_decoded([images[places[name]]], lambda image: image, intensity=intensity))
    if decoded.image is None:
        raise ValueError(decoded.error)
    return decoded.image.permute(1, 2, 0).numpy()
