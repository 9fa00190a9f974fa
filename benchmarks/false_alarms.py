"""Check that the false-alarm rate that every detector promises holds on new inliers.

Each seed draws inliers, auxiliary rows and new inliers, fits, and counts the new inliers flagged. The mean over seeds
must be at most the rate plus 3 standard errors, and at least floor((n + 1) rate) / (n + 1) less 3, where n rows
calibrate. The errors come from the spread between seeds: the rows of one seed share their calibration rows.

    python benchmarks/false_alarms.py > docs/results/false-alarms.txt
"""

from __future__ import annotations

import argparse
import sys

import numpy as np
import torch
from _promises import detectors, lowest_rate, mean_and_error, quiet
from joblib import Parallel, delayed

from skcnf.cli._benchmark import environment

N_FEATURES, N_NEW = 4, 1000
# inliers, validation_fraction, rates
SETTINGS = [(2000, 0.2, (0.01,)), (400, 0.4, (0.05, 0.2))]


def rates_of(name, n_inliers, fraction, rates, seed):
    """The number of calibration rows, and the share of new inliers flagged at each rate."""
    torch.set_num_threads(1)
    np.random.seed(seed)
    rng = np.random.default_rng([seed, n_inliers])
    X, X_new, X_aux = (rng.normal(size=(n, N_FEATURES)) for n in (n_inliers, N_NEW, 500))
    detector = detectors()[name](validation_fraction=fraction, random_state=seed)
    quiet(detector.fit, X, X_aux=3 * X_aux)
    scores = detector.score_samples(X_new)
    flagged = [quiet(detector.set_threshold, false_alarm_rate=rate) and (scores < detector.offset_) for rate in rates]
    return len(detector.calibration_scores_), [share.mean() for share in flagged]


def check(name, setting, results):
    """A line for each rate, and whether all bounds hold."""
    n_inliers, _, rates = setting
    n = results[0][0]
    holds = True
    for number, rate in enumerate(rates):
        mean, error = mean_and_error([flagged[number] for _, flagged in results])
        low, high = lowest_rate(n, rate) - 3 * error, rate + 3 * error
        inside = low <= mean <= high
        holds &= inside
        print(
            f"{name:24s}  {n_inliers:7d}  {n:11d}  {rate:5.0%}  {mean:7.2%}  {error:6.2%}  {low:7.2%} to {high:6.2%}  "
            f"{'holds' if inside else 'BROKEN'}",
            flush=True,
        )
    return holds


def main(arguments=None):
    """Status 0 if every bound holds, else 1."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seeds", type=int, default=200)
    parser.add_argument("--n-jobs", type=int, default=-1)
    parser.add_argument("--detectors", default=",".join(detectors()), help="names, separated by commas")
    args = parser.parse_args(arguments)
    print(environment())
    print(f"new inliers flagged, {args.seeds} seeds of {N_NEW} rows each in {N_FEATURES} dimensions")
    header = ("detector", "inliers", "calibration", "rate", "flagged", "error")
    print("{:24s}  {:>7s}  {:>11s}  {:>5s}  {:>7s}  {:>6s}  bounds".format(*header))
    holds = True
    with Parallel(n_jobs=args.n_jobs) as parallel:
        for name in args.detectors.split(","):
            for setting in SETTINGS:
                tasks = (delayed(rates_of)(name, *setting, seed) for seed in range(args.seeds))
                holds &= check(name, setting, parallel(tasks))
    print("every bound holds" if holds else "a bound is broken")
    return 0 if holds else 1


if __name__ == "__main__":
    sys.exit(main())
