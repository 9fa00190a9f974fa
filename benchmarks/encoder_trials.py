"""Short trials of the recipe of the bundled encoder (tools/build_bundle.py), one line each.

Each trial trains on ``--images`` for about the same time on one core: the number of steps follows from a measured
throughput. Given are the last epoch's InfoNCE loss and, for the query and the key encoder, the mean AUROC of KNN and of
CF under the protocol of the defaults (docs/defaults.rst): CIFAR-10's training images of five classes alone. No CIFAR
image is trained on. Losses compare within one temperature only.

    python benchmarks/encoder_trials.py --images tinyimagenet32-full.zip --cifar10 cifar10.zip --minutes 8
"""

from __future__ import annotations

import argparse
import tempfile
import time
import warnings
from pathlib import Path

import numpy as np
import torch
from choose_defaults import CLASSES, fold
from joblib import Parallel, delayed

from skcnf import ContrastiveFlowDetector, MocoFeaturizer
from skcnf.datasets import CIFAR10_CLASSES, LabelledFeatures, read_sheets
from skcnf.evaluation import auroc
from skcnf.images import Augmentation
from skcnf.moco import EncoderSpec, PretrainConfig, checkpoint_encoders, pretrain
from skcnf.paper import make_detectors

N_AUX = 30_000
BATCH = 256
# name to what differs from BASE_SPEC and BASE_RECIPE
BASE_SPEC = {"arch": "resnet18", "width": 32, "stem": "strided", "image_size": 32}
BASE_RECIPE = {"batch_size": BATCH, "learning_rate": 0.12, "precision": "bfloat16"}
TRIALS = {
    "base": ({}, {}),
    "width 48": ({"width": 48}, {}),
    "width 64": ({"width": 64}, {}),
    "small stem": ({"stem": "small"}, {}),
    "small stem, 24 px": ({"stem": "small"}, {"early_size": 24}),
    "24 px": ({}, {"early_size": 24}),
    "mlp": ({"head": "mlp"}, {}),
    "tau 0.2": ({}, {"temperature": 0.2}),
    "mlp, tau 0.2": ({"head": "mlp"}, {"temperature": 0.2}),
    "symmetric": ({}, {"symmetric": True}),
    "key momentum 0.996": ({}, {"key_momentum": 0.996}),
    "float32": ({}, {"precision": "float32"}),
    "crops from 0.08": ({}, {"augmentation": Augmentation(crop_scale=(0.08, 1.0))}),
    "batch 512, rate 0.24": ({}, {"batch_size": 512, "n_splits": 8, "learning_rate": 0.24}),
}
EPOCHS = 3  # of the cosine; early_size holds in the first two


def trial_of(name):
    """The spec and, but for its epochs, the recipe of a trial."""
    spec, recipe = TRIALS[name]
    early = {"early_epochs": EPOCHS - 1} if "early_size" in recipe else {}
    config = PretrainConfig(epochs=EPOCHS, **{**BASE_RECIPE, **recipe, **early})
    return EncoderSpec(**{**BASE_SPEC, **spec}), config


def images_per_second(name, images):
    """Of one core's own time, whatever else the machine does; the better of two bursts of four steps, warmed up."""
    spec, config = trial_of(name)
    rates = []
    for early_epochs in sorted({config.early_epochs, 0}):
        recipe = {**vars(config), "epochs": 3, "early_epochs": 3 if early_epochs else 0}
        marks = []
        pretrain(
            images[: 4 * config.batch_size],
            spec,
            PretrainConfig(**recipe),
            device="cpu",
            on_epoch=lambda _, marks=marks: marks.append(time.process_time()),
        )
        rates.append(4 * config.batch_size / np.diff(marks).min())
    shares = [1] if len(rates) == 1 else [1 / EPOCHS, 1 - 1 / EPOCHS]  # sorted: without early_size first
    return 1 / sum(share / rate for share, rate in zip(shares, rates, strict=True))


def features_of(encoder, cifar10, labels, aux):
    """What the detectors see of the five classes and of auxiliary images; test rows are not read."""
    featurizer = MocoFeaturizer(encoder, device="cpu")
    X = featurizer.fit_transform(cifar10)
    aux = None if aux is None else featurizer.transform(aux)
    return LabelledFeatures(X, labels, X[:0], labels[:0], aux, CIFAR10_CLASSES, "CIFAR-10", "trial")


def mean_auroc(detector, data):
    values = []
    for k in CLASSES:
        X, X_test, y = fold(data, k, 0)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", UserWarning)
            values.append(auroc(y, detector.fit(X, X_aux=data.X_aux).score_samples(X_test)))
    return 100 * np.mean(values)


def run(name, args):
    torch.set_num_threads(1)
    images, _ = read_sheets(args.images, "train")
    spec, config = trial_of(name)
    rate = images_per_second(name, images)
    total = args.n_images or int(60 * args.minutes * rate)
    order = np.random.default_rng(0).permutation(len(images))
    part = images[np.sort(order[: total // EPOCHS])]
    with tempfile.TemporaryDirectory() as folder:
        checkpoint = Path(folder) / "checkpoint"
        history = pretrain(part, spec, config, device="cpu", checkpoint=checkpoint)[1]
        encoders = dict(zip(("query", "key"), checkpoint_encoders(checkpoint), strict=True))
    cifar10, labels = read_sheets(args.cifar10, "train")
    labels = np.unique(labels, return_inverse=True)[1]  # folder names sort as CIFAR-10's indices
    keep = np.isin(labels, CLASSES)
    aux = None if args.skip_cf else images[np.sort(order[:N_AUX])]  # KNN takes none
    found = []
    for role, encoder in encoders.items():
        data = features_of(encoder, cifar10[keep], labels[keep], aux)
        knn = mean_auroc(make_detectors(["KNN"])["KNN"], data)
        found.append(f"{role}: KNN {knn:.2f}")
        if not args.skip_cf:
            cf = mean_auroc(ContrastiveFlowDetector(device="cpu", random_state=0), data)
            found[-1] += f" CF {cf:.2f}"
    steps = EPOCHS * (len(part) // config.batch_size)
    return f"{name:22s} {rate:5.0f} images/s {steps:6d} steps  loss {history[-1]['loss']:.3f}  {'  '.join(found)}"


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--images", required=True, help="zip of sheets of the unlabelled images")
    parser.add_argument("--cifar10", required=True, help="zip of sheets of CIFAR-10")
    parser.add_argument("--trials", nargs="+", default=list(TRIALS), choices=TRIALS, metavar="NAME")
    parser.add_argument("--minutes", type=float, default=8, help="of one core, for each trial (default: 8)")
    parser.add_argument("--n-images", type=int, help="seen by each trial, instead of --minutes")
    parser.add_argument("--skip-cf", action="store_true", help="KNN alone")
    parser.add_argument("--n-jobs", type=int, default=-1)
    args = parser.parse_args()
    tasks = [delayed(run)(name, args) for name in args.trials]
    for line in Parallel(n_jobs=args.n_jobs, return_as="generator_unordered")(tasks):
        print(line, flush=True)


if __name__ == "__main__":
    main()
