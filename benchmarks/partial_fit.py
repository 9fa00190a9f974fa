"""Updates: CF fitted on half of the inliers, then updated by the other half, against one fit on all of them.

The protocol is that of ``choose_defaults.py``: training images of plane, bird, deer, frog and ship alone. False alarms
are counted among the held-out rows of the normal class, at the default rate of 5 %.

The promise after updates: small flows on synthetic rows, 200 seeds, each with a fit and two updates. The mean share of
new inliers that are flagged must keep its bounds up to 3 standard errors.

    python benchmarks/partial_fit.py > docs/results/partial-fit.txt
"""

from __future__ import annotations

import argparse
import copy
import sys

import numpy as np
import torch
from _promises import FLOW, lowest_rate, mean_and_error, quiet
from choose_defaults import CLASSES, fold
from joblib import Parallel, delayed

from skcnf import ContrastiveFlowDetector
from skcnf.cli._benchmark import environment
from skcnf.datasets import load_cifar10_features
from skcnf.evaluation import auroc

HEADER = ("half", "updated", "all", "half", "updated", "all")


def run(normal, seed):
    """AUROC in % of the three, then their false alarms in %."""
    torch.set_num_threads(1)
    data = load_cifar10_features()
    X, X_test, y = fold(data, normal, seed)
    first, second = np.array_split(X, 2)
    half = ContrastiveFlowDetector(random_state=seed, device="cpu").partial_fit(first, X_aux=data.X_aux)
    updated = copy.deepcopy(half).partial_fit(second, X_aux=data.X_aux)
    whole = ContrastiveFlowDetector(random_state=seed, device="cpu").fit(X, X_aux=data.X_aux)
    scores = [detector.score_samples(X_test) for detector in (half, updated, whole)]
    alarms = [
        (score[y == 1] < detector.offset_).mean()
        for detector, score in zip((half, updated, whole), scores, strict=True)
    ]
    return seed, normal, 100 * np.array([*[auroc(y, score) for score in scores], *alarms])


def flagged(seed):
    """The share of new inliers that is flagged at 5 % after each of three calls, and its lowest value."""
    torch.set_num_threads(1)
    rng = np.random.default_rng(seed)
    mixing, X_aux = rng.normal(size=(8, 8)), 4 * rng.normal(size=(600, 8))
    flow = ContrastiveFlowDetector(**FLOW, validation_fraction=0.4, random_state=seed)
    shares, lowest = [], []
    for n_rows in (200, 100, 300):
        quiet(flow.partial_fit, rng.normal(size=(n_rows, 8)) @ mixing, X_aux=X_aux)
        shares.append((flow.predict(rng.normal(size=(200, 8)) @ mixing) == -1).mean())
        lowest.append(lowest_rate(len(flow.calibration_scores_), 0.05))
    return shares, lowest


def promise(n_seeds, n_jobs):
    """Print what is flagged after each call; whether every bound holds."""
    shares, lowest = zip(*Parallel(n_jobs=n_jobs)(delayed(flagged)(seed) for seed in range(n_seeds)), strict=True)
    print(f"\nsmall flows, inliers flagged at 5 %, in %, means over {n_seeds} seeds")
    holds = True
    for name, own, low in zip(("fit", "one update", "two updates"), np.transpose(shares), lowest[0], strict=True):
        mean, error = mean_and_error(own)
        kept = low - 3 * error <= mean <= 0.05 + 3 * error
        holds &= bool(kept)
        print(f"{name:12s}  {100 * mean:5.2f} +- {100 * error:4.2f}  {'holds' if kept else 'BROKEN'}")
    return holds


def main():
    """Status 0 if the promise holds, else 1."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--promise-seeds", type=int, default=200)
    parser.add_argument("--n-jobs", type=int, default=-1)
    args = parser.parse_args()
    print(environment())
    if args.seeds:
        compare(args)
    return 0 if promise(args.promise_seeds, args.n_jobs) else 1


def compare(args):
    """Print a line for each seed and class, and the means."""
    print("CF in %: AUROC (three columns), false alarms at 5 % (three columns)")
    print(f"{'seed':>4s}  {'class':>5s}  " + "  ".join(f"{name:>7s}" for name in HEADER))
    tasks = [delayed(run)(k, seed) for seed in range(args.seeds) for k in CLASSES]
    rows = []
    for seed, normal, values in Parallel(n_jobs=args.n_jobs, return_as="generator")(tasks):
        rows.append(values)
        print(f"{seed:4d}  {normal:5d}  " + "  ".join(f"{value:7.2f}" for value in values), flush=True)
    print(f"{'mean':>4s}  {'':5s}  " + "  ".join(f"{value:7.2f}" for value in np.mean(rows, axis=0)))


if __name__ == "__main__":
    sys.exit(main())
