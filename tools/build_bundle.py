"""Make what the package bundles: ``encoder`` trains the MoCo encoder, ``features`` featurises CIFAR-10 under it.

The recipe below sees the training images of Tiny ImageNet (all 100,000, shrunk to 32 px) alone: no label and no CIFAR
image. Short trials (benchmarks/encoder_trials.py) chose the head and the temperature; cost decided the rest. Two
processes of one thread each train faster on 2 cores than one process of two threads, above all where other work shares
them:

    torchrun --nproc-per-node 2 tools/build_bundle.py encoder --images tinyimagenet32-full.zip --checkpoint run.pt
    python tools/build_bundle.py features --cifar10 cifar10.zip --images tinyimagenet32-full.zip

A run that was cut goes on from its checkpoint: repeat the command. The run takes about twelve hours of 2 cores. Until
it has been made, the bundled encoder is that of an earlier recipe, which docs/defaults.rst describes.
"""

from __future__ import annotations

import argparse
import json
import logging
from functools import partial
from pathlib import Path

import numpy as np
import torch

from skcnf.datasets import read_sheets, save_features
from skcnf.moco import (
    EncoderSpec,
    MocoFeaturizer,
    PretrainConfig,
    World,
    checkpoint_encoders,
    pretrain,
    process_group,
    save_encoder,
)

N_AUX = 30_000
BUNDLE = Path(__file__).resolve().parents[1] / "skcnf" / "datasets" / "bundled"
SPEC = EncoderSpec("resnet18", width=32, stem="small", head="mlp", out_features=128, image_size=32)
RECIPE = PretrainConfig(
    epochs=240,
    batch_size=256,
    learning_rate=0.12,
    n_splits=4,
    temperature=0.1,
    early_size=24,
    early_epochs=160,
    precision="bfloat16",
    seed=0,
)


def build_encoder_file(args: argparse.Namespace) -> None:
    images, _ = read_sheets(args.images, "train")
    with process_group(args.device) as device:
        encoder, history = pretrain(
            images, SPEC, RECIPE, device=device, checkpoint=args.checkpoint, on_epoch=partial(keep_newest, args)
        )
        if World.current().rank == 0:
            BUNDLE.mkdir(parents=True, exist_ok=True)
            save_encoder(encoder, BUNDLE / "encoder.safetensors", dtype=torch.float16)
            (BUNDLE / "encoder-history.json").write_text(json.dumps(history, indent=1) + "\n")


def keep_newest(args: argparse.Namespace, record: dict[str, float]) -> None:
    """Write both encoders of the epoch that ended as small files, should the checkpoint be lost."""
    if args.newest is not None and args.checkpoint is not None:
        for role, encoder in zip(("query", "key"), checkpoint_encoders(args.checkpoint), strict=True):
            save_encoder(encoder, args.newest / f"newest-{role}.safetensors", dtype=torch.float16)


def build_feature_file(args: argparse.Namespace) -> None:
    featurizer = MocoFeaturizer(args.weights, normalize=False, device=args.device, verbose=True)
    parts = {}
    for split in ("train", "test"):
        images, labels = read_sheets(args.cifar10, split)
        parts[split] = featurizer.fit_transform(images)
        parts[f"y_{split}"] = np.unique(labels, return_inverse=True)[1]  # folder names sort as CIFAR-10's indices
    images, _ = read_sheets(args.images, "train")
    rows = np.random.default_rng(0).choice(len(images), N_AUX, replace=False)
    parts["aux"] = featurizer.transform(images[np.sort(rows)])
    save_features(args.output, **parts)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    commands = parser.add_subparsers(required=True)
    encoder = commands.add_parser("encoder", help="train the encoder")
    encoder.add_argument("--images", required=True, help="zip of sheets of the unlabelled images")
    encoder.add_argument("--checkpoint", help="resume from, and write after every epoch")
    encoder.add_argument("--newest", type=Path, help="folder for both encoders of the newest epoch; needs --checkpoint")
    encoder.add_argument("--device", default="auto")
    encoder.set_defaults(run=build_encoder_file)
    features = commands.add_parser("features", help="featurise CIFAR-10 and auxiliary images")
    features.add_argument("--cifar10", required=True, help="zip of sheets of CIFAR-10")
    features.add_argument("--images", required=True, help="zip of sheets of the unlabelled images")
    features.add_argument("--weights", default="tinyimagenet32")
    features.add_argument("--device", default="auto")
    features.add_argument("--output", default=BUNDLE / "cifar10-features.npz")
    features.set_defaults(run=build_feature_file)
    args = parser.parse_args()
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(message)s")
    args.run(args)


if __name__ == "__main__":
    main()
