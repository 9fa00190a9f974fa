"""Whether the closed-form detectors should whiten, by the protocol of the defaults, and what their fits cost.

Each of plane, bird, deer, frog and ship in turn is normal, as in ``choose_defaults.py``: training images alone, no test
image, no other class. The number is the mean AUROC of held-out training rows in %, by the number of auxiliary rows.
Then a fit and 10,000 scores of each are timed beside the contrastive flow, in one process, on one thread.

    OMP_NUM_THREADS=1 python benchmarks/gaussians.py > docs/results/gaussians.txt
"""

from __future__ import annotations

import argparse
import statistics
import time
import warnings

import numpy as np
import torch
from choose_defaults import CLASSES, fold

from skcnf import ContrastiveFlowDetector, GaussianDetector, GaussianRatioDetector
from skcnf.cli._benchmark import environment
from skcnf.datasets import load_cifar10_features
from skcnf.evaluation import auroc

ON_ALL_ROWS = {"contamination": 0.1, "random_state": 0}
SETTINGS = {
    "Gaussian, not whitened": GaussianDetector(whiten=False, **ON_ALL_ROWS),
    "Gaussian, whitened": GaussianDetector(whiten=True, **ON_ALL_ROWS),
    "Gaussian, auto": GaussianDetector(whiten="auto", **ON_ALL_ROWS),
    "Gaussian-ratio, not whitened": GaussianRatioDetector(whiten=False, **ON_ALL_ROWS),
    "Gaussian-ratio, whitened": GaussianRatioDetector(whiten=True, **ON_ALL_ROWS),
}


def accuracy(detector, data, n_aux, seeds):
    """Mean AUROC in % over the five classes, for each seed."""
    X_aux = data.X_aux[np.random.default_rng(0).permutation(len(data.X_aux))[:n_aux]]
    means = []
    for seed in range(seeds):
        values = []
        for k in CLASSES:
            X, X_test, y = fold(data, k, seed)
            values.append(auroc(y, detector.fit(X, X_aux=X_aux).score_samples(X_test)))
        means.append(100 * np.mean(values))
    return means


def seconds(detector, data, repeats):
    """Medians of the time of a fit to 5,000 rows beside 30,000, and of 10,000 scores."""
    X = data.X_train[data.y_train == CLASSES[0]]
    fits, scores = [], []
    for _ in range(repeats):
        start = time.perf_counter()
        detector.fit(X, X_aux=data.X_aux)
        fits.append(time.perf_counter() - start)
        start = time.perf_counter()
        detector.score_samples(data.X_test)
        scores.append(time.perf_counter() - start)
    return statistics.median(fits), statistics.median(scores)


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--repeats", type=int, default=3, help="of what is timed")
    args = parser.parse_args()
    torch.set_num_threads(1)
    warnings.simplefilter("ignore", UserWarning)
    data = load_cifar10_features()
    sizes = [n for n in (300, 600, 1_280, 3_000, 10_000, 30_000) if n <= len(data.X_aux)]
    print(environment())
    print(f"mean AUROC in %, seeds 0 to {args.seeds - 1}, by auxiliary rows")
    print(f"{'':30s}" + "".join(f"{n:>8,}" for n in sizes) + "   spread over seeds")
    for name, detector in SETTINGS.items():
        values = np.array([accuracy(detector, data, n, args.seeds) for n in sizes])
        means = "".join(f"{value:8.1f}" for value in values.mean(axis=1))
        print(f"{name:30s}{means}{np.ptp(values[-1]):8.2f}", flush=True)
    print("\nmedian seconds, and as a share of the contrastive flow's")
    flow = seconds(ContrastiveFlowDetector(random_state=0, device="cpu"), data, args.repeats)
    print(f"{'CF':30s} fit {flow[0]:7.2f}   10,000 scores {flow[1]:6.2f}", flush=True)
    for name, detector in SETTINGS.items():
        fit, score = seconds(detector, data, args.repeats)
        shares = flow[0] / fit, flow[1] / score
        print(f"{name:30s} fit {fit:7.2f} (1/{shares[0]:.0f})   10,000 scores {score:6.2f} (1/{shares[1]:.0f})")


if __name__ == "__main__":
    main()
