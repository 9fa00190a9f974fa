"""Does training stand products in bfloat16? CIFAR-10 one-vs-rest by CF, with float32 products and with rounded ones.

Hardware with bfloat16 products (`torch.set_float32_matmul_precision("medium")`) rounds their inputs to 8 bits of
mantissa and sums in float32. Here the same rounding is done by hand, so that the effect on AUROC shows on any machine;
the speed does not.

    python benchmarks/bfloat16.py > docs/results/bfloat16.txt
"""

from __future__ import annotations

from contextlib import contextmanager
from unittest import mock

import numpy as np
import torch

from skcnf import ContrastiveFlowDetector, one_vs_rest
from skcnf.cli._benchmark import environment
from skcnf.datasets import load_cifar10_features
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


def mean_aurocs():
    """In %, one for each seed."""
    results = one_vs_rest({"CF": ContrastiveFlowDetector()}, load_cifar10_features(), seeds=SEEDS, engine="single")
    return 100 * results.groupby("seed")["auroc"].mean().to_numpy()


def main():
    exact = mean_aurocs()
    with rounded_products():
        coarse = mean_aurocs()
    print(f"CF, CIFAR-10 one-vs-rest, mean AUROC of ten classes in %, seeds {list(SEEDS)}")
    for name, values in (("float32 products", exact), ("rounded to bfloat16", coarse)):
        print(f"  {name:<22}{values.mean():>7.2f}  ({', '.join(f'{value:.2f}' for value in values)})")
    print(f"  difference            {np.mean(coarse - exact):>+7.2f}")
    print(f"\n{environment()}")


if __name__ == "__main__":
    main()
