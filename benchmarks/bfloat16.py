"""Do flows stand products in bfloat16, and detectors features of an encoder in bfloat16? CIFAR-10 one-vs-rest.

Flows: CF with float32 products and with rounded ones. Hardware with bfloat16 products
(`torch.set_float32_matmul_precision("medium")`) rounds their inputs to 8 bits of mantissa and sums in float32. Here the
same rounding is done by hand, so that the effect on AUROC shows on any machine; the speed does not.

Features: those of ``MocoFeaturizer(precision="bfloat16")`` beside those in float32, for training and test images; the
auxiliary rows are the bundled ones, in float32, either way, as on the command line.

    python benchmarks/bfloat16.py --data DIR > docs/results/bfloat16.txt
"""

from __future__ import annotations

import argparse
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from unittest import mock

import numpy as np
import torch
from pyod.models.knn import KNN

from skcnf import ContrastiveFlowDetector, MocoFeaturizer, PyODDetector, one_vs_rest
from skcnf.cli._benchmark import environment
from skcnf.datasets import LabelledFeatures, featurize_images, load_cifar10_features, load_image_dataset
from skcnf.flows import _coupling as coupling

SEEDS = range(3)


def rounded(x):
    return x.bfloat16().float() if x.dtype == torch.float32 else x


@contextmanager
def rounded_products():
    """Round the inputs of every product that a flow takes in float32: all that a flow's training has."""
    bmm, baddbmm, in_place = torch.bmm, torch.baddbmm, torch.Tensor.baddbmm_
    taken = []

    def product(a, b, out):
        taken.append(a.dtype)
        return bmm(rounded(a), rounded(b), out=out)

    with (
        mock.patch.object(torch, "bmm", product),
        mock.patch.object(torch, "baddbmm", lambda c, a, b, **how: baddbmm(c, rounded(a), rounded(b), **how)),
        mock.patch.object(torch.Tensor, "baddbmm_", lambda c, a, b: in_place(c, rounded(a), rounded(b))),
    ):
        yield
    if torch.float32 not in taken:
        raise RuntimeError(f"{coupling.__name__} takes its products otherwise: nothing was rounded.")


def mean_aurocs(data: LabelledFeatures, detector, seeds=SEEDS):
    """In %, one for each seed."""
    results = one_vs_rest({"detector": detector}, data, seeds=seeds, engine="single")
    return 100 * results.groupby("seed")["auroc"].mean().to_numpy()


def compare(title, rows):
    """Print the means of two settings, and the second less the first."""
    print(title)
    for name, values in rows.items():
        print(f"  {name:<22}{values.mean():>7.2f}  ({', '.join(f'{value:.2f}' for value in values)})")
    exact, coarse = rows.values()
    print(f"  difference            {np.mean(coarse - exact):>+7.2f}", flush=True)


def featurized(images, precision):
    """Features of that precision, with the bundled auxiliary ones."""
    features = featurize_images(images, MocoFeaturizer(precision=precision))
    return replace(features, X_aux=load_cifar10_features().X_aux)


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, required=True, help="the folder that holds CIFAR-10's images")
    images = load_image_dataset("cifar10", parser.parse_args().data)
    print("CIFAR-10 one-vs-rest, mean AUROC of ten classes in %; in brackets each seed\n")
    data, cf = load_cifar10_features(), ContrastiveFlowDetector()
    exact = mean_aurocs(data, cf)
    with rounded_products():
        compare("CF, products of the flow", {"float32 products": exact, "rounded to bfloat16": mean_aurocs(data, cf)})
    by_precision = [featurized(images, precision) for precision in ("float32", "bfloat16")]
    for name, detector, seeds in (("CF", cf, SEEDS), ("KNN", PyODDetector(KNN()), [0])):
        values = [mean_aurocs(features, detector, seeds) for features in by_precision]
        compare(f"\n{name}, features", dict(zip(("float32 encoder", "bfloat16 encoder"), values, strict=True)))
    print(f"\n{environment()}")


if __name__ == "__main__":
    main()
