"""Make what the package bundles: ``encoder`` trains the MoCo encoder, ``features`` featurises CIFAR-10 under it.

Both recipes below see the training images of Tiny ImageNet (all 100,000, shrunk to 32 px) alone: no label and no CIFAR
image. Short trials (benchmarks/encoder_trials.py) chose the head and the temperature; cost decided the rest. Two
processes of one thread each train faster on 2 cores than one process of two threads, above all where other work shares
them. The bundled encoder is the work of two runs: the first, planned for 240 epochs, was ended after 48, at nearly its
full rate; the second starts from the first one's key encoder and lets the rate fall to 0 within 33 epochs.

    torchrun --nproc-per-node 2 tools/build_bundle.py encoder --images tinyimagenet.zip --folder first
    torchrun --nproc-per-node 2 tools/build_bundle.py encoder --images tinyimagenet.zip --folder second --after first
    python tools/build_bundle.py features --cifar10 cifar10.zip --images tinyimagenet.zip

A run that was cut goes on from the checkpoint in its folder: repeat the command.
"""

from __future__ import annotations

import argparse
import json
import logging
from dataclasses import replace
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
    load_encoder,
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
ENDING = replace(RECIPE, epochs=33, learning_rate=0.1, early_epochs=22, seed=1)


def build_encoder_file(args: argparse.Namespace) -> None:
    images, _ = read_sheets(args.images, "train")
    args.folder.mkdir(parents=True, exist_ok=True)
    start, recipe = SPEC, RECIPE
    if args.after is not None:
        start, recipe = load_encoder(args.after / "key.safetensors"), ENDING
    with process_group(args.device) as device:
        encoder, history = pretrain(
            images,
            start,
            recipe,
            device=device,
            checkpoint=args.folder / "checkpoint.pt",
            on_epoch=partial(keep_epoch, args.folder),
            result="key",
        )
        if World.current().rank == 0:
            BUNDLE.mkdir(parents=True, exist_ok=True)
            save_encoder(encoder, BUNDLE / "encoder.safetensors", dtype=torch.float16)
            before = json.loads((args.after / "history.json").read_text()) if args.after is not None else []
            (BUNDLE / "encoder-history.json").write_text(json.dumps(before + history, indent=1) + "\n")


def keep_epoch(folder: Path, record: dict[str, float]) -> None:
    """Write both encoders of the epoch that ended as small files, and add its record to the history."""
    for role, encoder in zip(("query", "key"), checkpoint_encoders(folder / "checkpoint.pt"), strict=True):
        save_encoder(encoder, folder / f"{role}.safetensors", dtype=torch.float16)
    history = folder / "history.json"
    records = json.loads(history.read_text()) if history.exists() else []
    history.write_text(json.dumps([*records, record], indent=1) + "\n")


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
    encoder.add_argument("--folder", type=Path, required=True, help="for checkpoint, encoders and history")
    encoder.add_argument("--after", type=Path, help="folder of the run to end; without it a first run is begun")
    encoder.add_argument("--device", default="auto")
    encoder.set_defaults(command=build_encoder_file)
    features = commands.add_parser("features", help="featurise CIFAR-10 and auxiliary images")
    features.add_argument("--cifar10", required=True, help="zip of sheets of CIFAR-10")
    features.add_argument("--images", required=True, help="zip of sheets of the unlabelled images")
    features.add_argument("--weights", default="tinyimagenet32")
    features.add_argument("--device", default="auto")
    features.add_argument("--output", default=BUNDLE / "cifar10-features.npz")
    features.set_defaults(command=build_feature_file)
    args = parser.parse_args()
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(message)s")
    args.command(args)


if __name__ == "__main__":
    main()
