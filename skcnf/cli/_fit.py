"""The command ``fit``: from normal images or features to a model in one file."""

from __future__ import annotations

import argparse
from pathlib import Path

from skcnf.cli._arguments import (
    FEATURES,
    IMAGES,
    add_computing,
    add_encoder,
    add_groups,
    add_quiet,
    count,
    rate,
    seed,
    setting,
)
from skcnf.cli._names import DETECTORS, GO_ON

__all__ = ["add_fit"]

_CALIBRATION = """\
The threshold is set on normal inputs that took no part in training, so that at most the share --false-alarm-rate
of new normal inputs is flagged. That needs at least 1 / rate - 1 of them: 19 for 5 %, 99 for 1 %. Selecting k
anomalies among m inputs by `skcnf score --fdr F` needs more, m / (k F) - 1. Two ways to more: --set
validation_fraction=0.3, and --calibration with other normal inputs."""


def add_fit(commands: argparse._SubParsersAction) -> None:
    """Add the command to ``commands``."""
    command = commands.add_parser(
        "fit",
        help="learn what is normal, from images or features",
        description="Learn what is normal and write it to one file, which `skcnf score` uses. A run that was cut "
        "goes on where it stopped.",
        epilog=_CALIBRATION,
    )
    _add_inputs(command)
    _add_detector(command)
    command.add_argument(
        "--tiles",
        type=count,
        metavar="SIZE",
        help="judge each image by its least normal tile of SIZE pixels, for small defects; tiles overlap by half ("
        "--set overlap=0.75: more), and images of different sizes need --set image_size=512 or (384,512), height first",
    )
    command.add_argument("--strict", action="store_true", help="stop at the first unreadable input")
    add_encoder(command)
    add_groups(command)
    add_computing(command)
    add_quiet(command)
    command.set_defaults(run=_fit, kept=f"features that are done are kept beside MODEL; {GO_ON}")


def _add_inputs(command: argparse.ArgumentParser) -> None:
    command.add_argument("normal", metavar="NORMAL", help=f"normal inputs: {IMAGES}; or {FEATURES}")
    command.add_argument("-o", "--output", type=Path, required=True, metavar="MODEL", help="the file to write")
    command.add_argument(
        "--aux",
        metavar="AUX",
        action="append",
        help="broad, unlabelled inputs of the same kind; may be repeated (default, for the bundled encoder alone: its "
        "bundled auxiliary features)",
    )
    command.add_argument(
        "--calibration", metavar="FOLDER", help="other normal inputs of the same kind: they set the threshold"
    )
    command.add_argument(
        "--keep-thumbnails",
        action="store_true",
        help="keep up to 1,000 small normal images in MODEL, so that reports can show the nearest ones",
    )


def _add_detector(command: argparse.ArgumentParser) -> None:
    names = ", ".join([*DETECTORS, "knn"])
    command.add_argument("--detector", default="cf", metavar="D", help=f"{names} (default: cf)")
    command.add_argument(
        "--false-alarm-rate",
        type=rate,
        metavar="R",
        help="share of new normal inputs that may be flagged (default: 0.05)",
    )
    command.add_argument(
        "--set",
        type=setting,
        action="append",
        default=[],
        metavar="NAME=VALUE",
        help="any parameter of the detector or the featurizer, e.g. --set max_epochs=30",
    )
    command.add_argument("--seed", type=seed, default=0, help="default: 0")


def _fit(args: argparse.Namespace) -> int:
    from skcnf.cli._fitting import run_fit

    return run_fit(args)
