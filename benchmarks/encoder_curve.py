"""What encoders are worth by the protocol of the defaults: CIFAR-10's training images of five classes alone.

For each file of an encoder (`skcnf.moco.save_encoder`, "bundled" for the bundled one) it prints the mean AUROC of KNN
and, with ``--images``, that of CF, whose auxiliary rows are drawn from there. The test split is not read, so it may
choose between encoders; `probe_encoder.py` reports on the one that was chosen.

    python benchmarks/encoder_curve.py --cifar10 cifar10.zip --images tinyimagenet.zip bundled second/key.safetensors
"""

from __future__ import annotations

import argparse

import numpy as np
from encoder_trials import CLASSES, N_AUX, features_of, mean_auroc

from skcnf import ContrastiveFlowDetector
from skcnf.cli._benchmark import environment
from skcnf.datasets import read_sheets
from skcnf.paper import make_detectors


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("encoders", nargs="+", metavar="FILE", help="files of encoders, or 'bundled'")
    parser.add_argument("--cifar10", required=True, help="zip of sheets of CIFAR-10")
    parser.add_argument("--images", help="zip of sheets of auxiliary images; without it CF is left out")
    args = parser.parse_args()
    cifar10, labels = read_sheets(args.cifar10, "train")
    labels = np.unique(labels, return_inverse=True)[1]  # folder names sort as CIFAR-10's indices
    keep = np.isin(labels, CLASSES)
    aux = None
    if args.images is not None:
        images, _ = read_sheets(args.images, "train")
        aux = images[np.sort(np.random.default_rng(0).choice(len(images), N_AUX, replace=False))]
    print(environment())
    for name in args.encoders:
        data = features_of("tinyimagenet32" if name == "bundled" else name, cifar10[keep], labels[keep], aux)
        detectors = {"KNN": make_detectors(["KNN"])["KNN"]}
        if aux is not None:
            detectors["CF"] = ContrastiveFlowDetector(device="cpu", random_state=0)
        found = [f"{label} {mean_auroc(detector, data):.2f}" for label, detector in detectors.items()]
        print(f"{name}: {'  '.join(found)}", flush=True)


if __name__ == "__main__":
    main()
