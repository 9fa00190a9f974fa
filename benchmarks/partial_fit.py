"""Updates: CF fitted on half of the inliers, then updated by the other half, against one fit on all of them.

The protocol is that of ``choose_defaults.py``: training images of plane, bird, deer, frog and ship alone. False alarms
are counted among the held-out rows of the normal class, at the default rate of 5 %.

    python benchmarks/partial_fit.py > docs/results/partial-fit.txt
"""

from __future__ import annotations

import argparse
import copy

import numpy as np
import torch
from choose_defaults import CLASSES, fold
from joblib import Parallel, delayed

from skcnf import ContrastiveFlowDetector
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


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--n-jobs", type=int, default=-1)
    args = parser.parse_args()
    print("CF in %: AUROC (three columns), false alarms at 5 % (three columns)")
    print(f"{'seed':>4s}  {'class':>5s}  " + "  ".join(f"{name:>7s}" for name in HEADER))
    tasks = [delayed(run)(k, seed) for seed in range(args.seeds) for k in CLASSES]
    rows = []
    for seed, normal, values in Parallel(n_jobs=args.n_jobs, return_as="generator")(tasks):
        rows.append(values)
        print(f"{seed:4d}  {normal:5d}  " + "  ".join(f"{value:7.2f}" for value in values), flush=True)
    print(f"{'mean':>4s}  {'':5s}  " + "  ".join(f"{value:7.2f}" for value in np.mean(rows, axis=0)))


if __name__ == "__main__":
    main()
