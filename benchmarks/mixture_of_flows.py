"""Several flows: the mean of their log-densities against the log-density of their mixture.

The protocol is that of ``choose_defaults.py``: training images of plane, bird, deer, frog and ship alone. Both scores
are taken of the same fitted flows.

    python benchmarks/mixture_of_flows.py > docs/results/mixture-of-flows.txt
"""

from __future__ import annotations

import argparse

import numpy as np
import torch
from choose_defaults import CLASSES, fold
from joblib import Parallel, delayed
from scipy.special import logsumexp

from skcnf import ContrastiveFlowDetector
from skcnf.cli._benchmark import environment
from skcnf.datasets import load_cifar10_features
from skcnf.evaluation import auroc

N_FLOWS = 3


def run(normal, seed):
    """AUROC in %: the flows' own, on average, that of the mean of log-densities, and that of the mixture."""
    torch.set_num_threads(1)
    data = load_cifar10_features()
    X, X_test, y = fold(data, normal, seed)
    detector = ContrastiveFlowDetector(n_flows=N_FLOWS, random_state=seed, device="cpu").fit(X, X_aux=data.X_aux)
    each = np.array([detector._log_density([flow], X_test) for flow in detector.flows_])
    scores = [*each, each.mean(axis=0), logsumexp(each, axis=0) - np.log(N_FLOWS)]
    values = [100 * auroc(y, score) for score in scores]
    return seed, normal, np.array([np.mean(values[:-2]), *values[-2:]])


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seeds", type=int, default=2)
    parser.add_argument("--n-jobs", type=int, default=-1)
    args = parser.parse_args()
    print(environment())
    print(f"CF, {N_FLOWS} flows, AUROC in %")
    print(f"{'seed':>4s}  {'class':>5s}  {'one flow':>8s}  {'mean of logs':>12s}  {'log of mean':>11s}")
    tasks = [delayed(run)(k, seed) for seed in range(args.seeds) for k in CLASSES]
    rows = []
    for seed, normal, values in Parallel(n_jobs=args.n_jobs, return_as="generator")(tasks):
        rows.append(values)
        print(f"{seed:4d}  {normal:5d}  {values[0]:8.2f}  {values[1]:12.2f}  {values[2]:11.2f}", flush=True)
    one, mean, mixture = np.mean(rows, axis=0)
    print(f"{'mean':>4s}  {'':5s}  {one:8.2f}  {mean:12.2f}  {mixture:11.2f}")


if __name__ == "__main__":
    main()
