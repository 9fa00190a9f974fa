"""The command ``features``: images to an array of features."""

from __future__ import annotations

import argparse
from pathlib import Path

from skcnf.cli._arguments import IMAGES, add_cluster, add_computing, add_encoder, add_quiet
from skcnf.cli._names import GO_ON

__all__ = ["add_features"]


def add_features(commands: argparse._SubParsersAction) -> None:
    """Add the command to ``commands``."""
    command = commands.add_parser(
        "features",
        help="MoCo features of images, as .npy",
        description="Featurise images and write an array (n_images, n_features), in the order of the sorted paths. An "
        "unreadable image stops the run, since a row would be missing. A run that was cut goes on where it stopped.",
    )
    command.add_argument("images", metavar="IMAGES", help=IMAGES)
    command.add_argument("-o", "--output", type=Path, required=True, metavar="OUTPUT", help="the .npy file to write")
    add_encoder(command)
    add_computing(command)
    add_cluster(command)
    add_quiet(command)
    command.set_defaults(run=_features, kept=f"finished rows are kept in OUTPUT.part; {GO_ON}")


def _features(args: argparse.Namespace) -> int:
    from skcnf.cli._features_job import run_features

    return run_features(args)
