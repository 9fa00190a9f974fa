"""The command ``features``: images to an array of features."""

from __future__ import annotations

import argparse
from pathlib import Path

from skcnf.cli._arguments import count

__all__ = ["add_features"]


def add_features(commands: argparse._SubParsersAction) -> None:
    """Add the command to ``commands``."""
    command = commands.add_parser(
        "features",
        help="MoCo features of a folder or zip of images, as .npy",
        description="Featurise a folder or zip of images and write an array (n_images, n_features), in the order of "
        "the sorted paths. A run that was cut goes on where it stopped.",
    )
    command.add_argument("images", type=Path, help="a folder of images, searched through, or a zip")
    command.add_argument("-o", "--output", type=Path, required=True, help="the .npy file to write")
    command.add_argument("--weights", default="tinyimagenet32", help="bundled or official name, or an encoder file")
    command.add_argument("--low-res", type=count, metavar="PX", help="shrink images to this size first")
    command.add_argument("--n-jobs", type=int, metavar="N", help="threads that decode (default: one)")
    command.add_argument("--device", default="auto", help="auto, cpu, cuda (default: auto)")
    command.set_defaults(run=_features)


def _features(args: argparse.Namespace) -> int:
    from skcnf._core.files import check_output
    from skcnf.images import image_source
    from skcnf.moco import MocoFeaturizer

    check_output(args.output)
    featurizer = MocoFeaturizer(
        args.weights, low_res_size=args.low_res, device=args.device, n_jobs=args.n_jobs, verbose=True
    )
    source = image_source(args.images)
    features = featurizer.fit(source).transform_to_file(source, args.output)
    print(f"{args.output}: {features.shape[0]} images, {features.shape[1]} features")
    return 0
