"""
The optimum of the objective, exactly
=====================================

What the contrastive objective asks for can be computed on a grid, without training anything. Inliers come from
p = N(0, 1), auxiliary rows from q = N(1, 2). A low clamp sets a high floor and leaves most of p; a high clamp sets a
low floor and comes near the normalised positive difference. Below the floor the optimum follows p, shrunk, and is not
zero. `skcnf.flows.optimal_density` computes it; the derivation is in the user guide. Takes a second::

    python examples/plot_optimum.py --output optimum.png
"""

from __future__ import annotations

import argparse

import numpy as np
from scipy.stats import norm

from skcnf.display import DifferenceDensityDisplay


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--clamps", type=float, nargs="+", default=[1.0, 2.0, 5.0], help="in nats")
    parser.add_argument("--aux-weight", type=float, default=1.0)
    parser.add_argument("--output", default="optimum.png")
    args = parser.parse_args()

    x = np.linspace(-5, 7, 2001)
    p, q = norm(0, 1).pdf(x), norm(1, 2).pdf(x)
    display = DifferenceDensityDisplay.from_densities(x, p, q, clamps=args.clamps, aux_weight=args.aux_weight)
    display.figure_.savefig(args.output, dpi=150)
    cell = x[1] - x[0]
    difference = display.normalizer * np.maximum(p - args.aux_weight * q, 0)
    print(f"C = {display.normalizer:.4f}; total variation between the optimum and the difference C (p - q):")
    for clamp, optimum in display.optima.items():
        print(f"  clamp {clamp:g}: {0.5 * np.abs(optimum - difference).sum() * cell:.3f}")
    print(f"written: {args.output}")


if __name__ == "__main__":
    main()
