"""The command ``features``: images to an array of features."""

from __future__ import annotations

import argparse
from pathlib import Path

from skcnf.cli._arguments import IMAGES, add_computing, add_encoder, add_quiet

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
    add_quiet(command)
    command.set_defaults(run=_features, kept="finished rows are kept in OUTPUT.part")


def _features(args: argparse.Namespace) -> int:
    from skcnf._core.files import check_output
    from skcnf.cli._console import Console
    from skcnf.cli._inputs import ImageInput, open_input
    from skcnf.moco import MocoFeaturizer

    console = Console("features", args.quiet)
    check_output(args.output)
    given = {} if args.weights is None else {"weights": args.weights}
    featurizer = MocoFeaturizer(
        **given,
        low_res_size=args.low_res,
        intensity=args.intensity,
        device=args.device,
        n_jobs=args.n_jobs,
        verbose=not args.quiet,
    )
    with console.plain_warnings():
        images = open_input([args.images], "IMAGES", args.intensity)
        if not isinstance(images, ImageInput):
            raise ValueError(f"IMAGES '{args.images}' holds features already.")
        source = images.listed().source
        features = featurizer.fit(source).transform_to_file(source, args.output)
    console.result(f"{args.output}: {features.shape[0]} images, {features.shape[1]} features")
    return 0
