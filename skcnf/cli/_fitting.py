"""What ``fit`` does: inputs to features, rows split before anything learns from them, a detector, one file."""

from __future__ import annotations

import argparse
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np
import torch
from sklearn.base import BaseEstimator
from sklearn.pipeline import Pipeline

from skcnf._core.devices import resolve_device
from skcnf._core.locks import output_lock
from skcnf.cli._console import Console
from skcnf.cli._estimators import apply_settings, make_detector, validate
from skcnf.cli._featurizing import Features, features_of, make_featurizer, stored_features
from skcnf.cli._groups import GroupOf, group_lookup
from skcnf.cli._inputs import Featurizer, ImageInput, Input, open_input
from skcnf.cli._paths import check_not_overwritten
from skcnf.images import iter_decoded, resize_and_crop
from skcnf.moco import OFFICIAL_CHECKPOINTS, MocoFeaturizer, resolve_weights
from skcnf.saving import check_savable, save
from skcnf.tiling import TiledDetector

__all__ = ["run_fit"]

_BUNDLED = "tinyimagenet32"
_MAX_THUMBNAILS, _THUMBNAIL_SIDE = 1000, 64


@dataclass(frozen=True, eq=False)
class _Task:
    """Everything that a fit needs, checked before any work."""

    detector: BaseEstimator
    featurizer: MocoFeaturizer | None
    tiled: TiledDetector | None
    normal: Input
    aux: list[Input]
    bundled_aux: bool
    calibration: Input | None
    group_of: GroupOf | None
    seed: int

    @property
    def model(self) -> BaseEstimator:
        """What is saved."""
        return _model(self.detector, self.featurizer, self.tiled)

    @property
    def fitted(self) -> list[BaseEstimator]:
        """The detector and, for images, the featurizer, once both are fitted."""
        if self.tiled is not None:
            return [self.tiled.detector_, self.tiled.featurizer_]
        return [self.detector] if self.featurizer is None else [self.detector, self.featurizer]

    def encoders(self) -> tuple[Featurizer | None, Featurizer | None]:
        """What makes features of normal images, and of all others; None where inputs are features."""
        if self.tiled is not None:
            assert isinstance(self.normal, ImageInput)  # `_check_kinds`
            return self.tiled._prepare(self.normal.source), self.tiled._encoder
        if self.featurizer is not None:
            self.featurizer.fit(iter(()))  # it looks at the weights alone
        return self.featurizer, self.featurizer

    def learn(self, X: Any, X_aux: Any) -> None:
        """Fit the detector; of tiles, X and each part of X_aux hold a row for each image."""
        if self.tiled is None:
            self.detector.fit(X, X_aux=X_aux)
        else:
            self.tiled._fit_rows(X, X_aux)

    def recalibrate(self, X: Any, groups: Any) -> None:
        """Calibrate by rows of other inputs."""
        if self.tiled is None:
            self.detector.recalibrate(X, groups=groups)
        else:
            self.tiled._recalibrate_by(self.tiled._score_rows(X), groups)


def _model(detector: BaseEstimator, featurizer: MocoFeaturizer | None, tiled: TiledDetector | None) -> BaseEstimator:
    if tiled is not None:
        return tiled
    return detector if featurizer is None else Pipeline([("moco", featurizer), ("detector", detector)])


def run_fit(args: argparse.Namespace) -> int:
    """Run what ``args`` of the command line ask for; returns the exit status."""
    console = Console("fit", args.quiet)
    inputs = [args.normal, *(args.aux or ()), args.calibration, args.groups, args.weights]
    check_not_overwritten([args.output], inputs)
    with console.plain_warnings(), output_lock(args.output):
        task = _prepare(args, console)
        counts = _fit(task, args, console)
        thumbnails = _thumbnails(task.normal, args.intensity) if args.keep_thumbnails else None
        for part in task.fitted:
            part.set_params(**_neutral(part))
        save(task.model, args.output, thumbnails=thumbnails, about=counts)
        for leftover in stored_features(args.output):
            leftover.unlink(missing_ok=True)
    console.result(f"{args.output}: {_summary(task)}")
    return 0


def _neutral(part: BaseEstimator) -> dict[str, Any]:
    """Parameters of how a fit was run, which the model need not know: another machine may lack the device."""
    known = part.get_params(deep=False)
    neutral = {"device": "auto", "verbose": False, "n_jobs": None}
    return {name: value for name, value in neutral.items() if name in known}


def _prepare(args: argparse.Namespace, console: Console) -> _Task:
    resolve_device(args.device)
    normal = open_input([args.normal], "NORMAL", args.intensity)
    if isinstance(normal, ImageInput):
        normal = normal.listed()
    aux = [open_input([text], "--aux", args.intensity) for text in args.aux or ()]
    calibration = None
    if args.calibration is not None:
        calibration = open_input([args.calibration], "--calibration", args.intensity)
    _check_kinds(args, normal, aux, calibration)
    detector = make_detector(
        args.detector, random_state=args.seed, device=args.device, verbose=not args.quiet, **_rate(args)
    )
    featurizer = make_featurizer(args) if isinstance(normal, ImageInput) else None
    tiled = None if args.tiles is None else TiledDetector(featurizer, detector, tile=args.tiles)
    model = _model(detector, featurizer, tiled)
    apply_settings(model, args.set)
    validate(model)
    check_savable(model)
    bundled_aux = _takes_bundled_aux(args, detector, featurizer, console)
    if not detector._takes_aux:
        aux = []
    roots = [args.normal, *([] if args.calibration is None else [args.calibration])]
    group_of = group_lookup(args, roots)
    return _Task(detector, featurizer, tiled, normal, aux, bundled_aux, calibration, group_of, args.seed)


def _rate(args: argparse.Namespace) -> dict[str, float]:
    return {} if args.false_alarm_rate is None else {"false_alarm_rate": args.false_alarm_rate}


def _check_kinds(args: argparse.Namespace, normal: Input, aux: list[Input], calibration: Input | None) -> None:
    is_images = isinstance(normal, ImageInput)
    kinds = {True: "images", False: "features"}
    others = [("--aux", other) for other in aux] + ([("--calibration", calibration)] if calibration else [])
    for role, other in others:
        if isinstance(other, ImageInput) != is_images:
            raise ValueError(
                f"NORMAL holds {kinds[is_images]}, but {role} holds {kinds[not is_images]}; all must be of one kind. "
                "`skcnf features` makes features of images."
            )
    if [args.normal, *(args.aux or ()), args.calibration].count("-") > 1:
        raise ValueError("'-' (paths on standard input) can be given once.")
    image_options = ("weights", "low_res", "precision", "intensity", "group_by_folder", "keep_thumbnails", "tiles")
    names = [name for name in image_options if getattr(args, name)]
    if names and not is_images:
        raise ValueError(f"--{names[0].replace('_', '-')} is for images, but NORMAL holds features.")


def _takes_bundled_aux(
    args: argparse.Namespace, detector: BaseEstimator, featurizer: MocoFeaturizer | None, console: Console
) -> bool:
    """Whether the bundled auxiliary features stand in for --aux.

    Raises
    ------
    ValueError
        If the detector needs auxiliary rows, and these are of another encoder.
    """
    uses_aux = detector._takes_aux
    if args.aux:
        if not uses_aux:
            console.warn(f"warning: --detector {args.detector} does not learn from --aux; it is left unread.")
        return False
    reason = _why_not_bundled(featurizer)
    if reason is None and uses_aux:
        console.note("without --aux: the 30,000 auxiliary features that come with the bundled encoder are used")
    if reason is not None and detector._uses_aux:
        if args.weights is not None and args.weights not in OFFICIAL_CHECKPOINTS:
            resolve_weights(args.weights)  # a wrong name is the first thing to know
        raise ValueError(
            f"--aux is needed: {reason}. Give broad, unlabelled inputs, or a detector that needs none, such as "
            "--detector flow."
        )
    return reason is None and uses_aux


def _why_not_bundled(featurizer: MocoFeaturizer | None) -> str | None:
    """Why the bundled auxiliary features are not those that the featurizer would make; None if they are."""
    if featurizer is None:
        return (
            "the bundled auxiliary features are of the bundled encoder, and which one made those of NORMAL is unknown"
        )
    wanted = {"weights": _BUNDLED, "low_res_size": None, "image_size": None, "normalize": True, "noise_std": 0.0}
    for name, value in wanted.items():
        if getattr(featurizer, name) != value:
            return f"the bundled auxiliary features were made with {name}={value!r}, not {getattr(featurizer, name)!r}"
    return None


def _fit(task: _Task, args: argparse.Namespace, console: Console) -> dict[str, int]:
    """Fit and calibrate the detector; returns the number of inputs of each role."""
    encoder, other_encoder = task.encoders()
    normal = features_of(task.normal, encoder, "NORMAL", args, console)
    aux = [features_of(aux, other_encoder, "--aux", args, console) for aux in task.aux]
    other = None
    if task.calibration is not None:
        other = features_of(task.calibration, other_encoder, "--calibration", args, console)
    for role, rows in [("--aux", rows) for rows in aux] + ([] if other is None else [("--calibration", other)]):
        if rows.X.shape[1] != normal.X.shape[1]:
            raise ValueError(
                f"{role} has {rows.X.shape[1]} features in each row, but NORMAL has {normal.X.shape[1]}; the same "
                "encoder must make both."
            )
    X_aux: Any = _bundled_aux() if task.bundled_aux else tuple(_of_tiles(task, rows.X) for rows in aux) or None
    _fit_detector(task, normal, X_aux, other)
    n_aux = len(X_aux[0]) if task.bundled_aux else sum(len(rows.X) for rows in aux)
    parts = {"normal_inputs": len(normal.X), "auxiliary_inputs": n_aux}
    return {**parts, "calibration_inputs": 0 if other is None else len(other.X)}


def _of_tiles(task: _Task, X: Any) -> Any:
    """Return auxiliary rows as the detector takes them: those of an image's tiles stand side by side in ``X``."""
    return X if task.tiled is None else task.tiled._as_tiles(X)


def _bundled_aux() -> tuple[np.ndarray]:
    from skcnf.datasets import load_cifar10_features

    X_aux = load_cifar10_features().X_aux
    assert X_aux is not None  # the bundled file has them
    return (X_aux,)


def _fit_detector(task: _Task, normal: Features, X_aux: Any, other: Features | None) -> None:
    """Rows that calibrate are set apart before anything learns from a row."""
    rows, held_out = normal, other
    if other is None and task.group_of is not None:
        rows, held_out = _split(task, normal)
    task.learn(rows.X, X_aux)
    if held_out is not None:
        groups = None if task.group_of is None else [task.group_of(name) for name in held_out.names]
        task.recalibrate(held_out.X, groups)


def _split(task: _Task, normal: Features) -> tuple[Features, Features]:
    """Inputs to fit on and to calibrate with, which are a share of every group."""
    assert task.group_of is not None  # only groups need this; else the detector splits
    groups = np.array([task.group_of(name) for name in normal.names])
    names, counts = np.unique(groups, return_counts=True)
    if counts.max() < 2:
        shown = ", ".join(repr(str(name)) for name in names[:5])
        raise ValueError(f"every group has one input alone ({shown}, ...): none is left to fit on. Give larger groups.")
    draw, share = np.random.default_rng(task.seed), task.detector.validation_fraction
    held_out = np.zeros(len(groups), bool)
    for group in names:
        rows = np.flatnonzero(groups == group)
        held_out[draw.choice(rows, max(1, round(share * len(rows))), replace=False)] = True
    return Features(normal.names[~held_out], normal.X[~held_out]), Features(normal.names[held_out], normal.X[held_out])


def _thumbnails(normal: Input, intensity: Any) -> np.ndarray:
    """Small squares of up to 1,000 readable images, evenly spread over NORMAL."""
    assert isinstance(normal, ImageInput)  # `_check_kinds`
    n_images = len(normal.names or ())
    places = np.unique(np.linspace(0, n_images - 1, min(n_images, _MAX_THUMBNAILS)).astype(int))
    items = [normal.source[place] for place in places.tolist()]
    decoded = iter_decoded(items, partial(resize_and_crop, size=_THUMBNAIL_SIDE), intensity=intensity)
    images = [image.image for image in decoded if image.image is not None]
    return torch.stack(images).permute(0, 2, 3, 1).contiguous().numpy()


def _summary(task: _Task) -> str:
    detector, tiled = task.fitted[0], task.tiled
    scores = getattr(detector, "calibration_scores_", None)
    text = f"{type(detector).__name__} of {detector.n_features_in_} features"
    if tiled is not None:
        text += f" for each of {len(tiled._grid(tiled.size_))} tiles"
    text += f", threshold {detector.offset_:.6g}"
    if scores is None:
        rows = "rows" if tiled is None else "images"
        return f"{text} for {detector.contamination:g} of the training {rows}; no calibration {rows}, so no p-values"
    groups = f" in {len(detector.group_offsets_)} groups" if detector.group_offsets_ else ""
    rate = f"for a false-alarm rate of {detector.false_alarm_rate_:g}"
    return f"{text} {rate}, set by {len(scores):,} calibration {'rows' if tiled is None else 'images'}{groups}"
