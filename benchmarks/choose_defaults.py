"""How the defaults were chosen: training images of five classes alone, no test image, no other class.

Each of plane, bird, deer, frog and ship in turn is normal. 4,000 of its training rows are fitted on; 1,000 held-out
training rows of each of the five classes are scored. The number is the mean AUROC. Labels serve to judge a setting,
never within a fit.

    python benchmarks/choose_defaults.py > docs/results/defaults.txt
"""

from __future__ import annotations

import argparse
import time
import warnings

import numpy as np
import torch
from joblib import Parallel, delayed

from skcnf import ContrastiveFlowDetector, FlowDetector, OutlierExposureDetector
from skcnf.datasets import load_cifar10_features
from skcnf.evaluation import auroc

CLASSES = (0, 2, 4, 6, 8)  # plane, bird, deer, frog, ship
# What every setting departs from.
BASE = {"max_epochs": 50, "patience": 3, "noise_std": 0.01, "device": "cpu"}
# name, detector, parameters, nats a feature above the inliers' normal at which the clamp acts (CF alone)
SETTINGS = [
    ("CF, clamp 0.25", ContrastiveFlowDetector, {}, 0.25),
    ("CF, clamp 0.5", ContrastiveFlowDetector, {}, 0.5),
    ("CF, clamp 1", ContrastiveFlowDetector, {}, 1.0),
    ("CF, clamp 2", ContrastiveFlowDetector, {}, 2.0),
    ("CF, clamp 4", ContrastiveFlowDetector, {}, 4.0),
    ("CF, clamp 1, aux_weight 0.5", ContrastiveFlowDetector, {"aux_weight": 0.5}, 1.0),
    ("CF, clamp 1, warmup_epochs 2", ContrastiveFlowDetector, {"warmup_epochs": 2}, 1.0),
    ("CF, clamp 2, noise 0", ContrastiveFlowDetector, {"noise_std": 0.0}, 2.0),
    ("CF, clamp 2, noise 0.03", ContrastiveFlowDetector, {"noise_std": 0.03}, 2.0),
    ("CF, clamp 2, hidden_units 256", ContrastiveFlowDetector, {"hidden_units": 256}, 2.0),
    ("CF, clamp 2, learning_rate 5e-4", ContrastiveFlowDetector, {"learning_rate": 5e-4}, 2.0),
    ("CF, clamp 2, patience 5", ContrastiveFlowDetector, {"patience": 5}, 2.0),
    ("CF, Table 6 (clamp 0, no scaling)", ContrastiveFlowDetector, {"nll_clamp": 0.0, "standardize": False}, None),
    ("OE, margin 0.5 a feature", OutlierExposureDetector, {"margin": 64.0}, None),
    ("OE, margin 1 a feature", OutlierExposureDetector, {"margin": 128.0}, None),
    ("OE, margin 2 a feature", OutlierExposureDetector, {"margin": 256.0}, None),
    ("Flow, stopped by AUROC", FlowDetector, {}, None),
    ("Flow, stopped by likelihood, 20", FlowDetector, {"stopping": "likelihood", "max_epochs": 20}, None),
]


def fold(data, normal, seed):
    """Rows of one class to fit on, and held-out training rows of all five with their labels."""
    rng = np.random.default_rng(seed)
    train, test, y = None, [], []
    for k in CLASSES:
        order = rng.permutation(np.flatnonzero(data.y_train == k))
        test.append(data.X_train[order[:1000]])
        y.append(np.full(1000, 1 if k == normal else -1))
        if k == normal:
            train = data.X_train[order[1000:]]
    return train, np.concatenate(test), np.concatenate(y)


def clamp_of(X, per_feature):
    """The numeric clamp that lies ``per_feature`` nats a feature above an independent normal of X's moments.

    Of all rows of X, where "auto" takes those that a fit trains on: the difference is below a nat in 128 features.
    """
    return float(np.log(X.std(axis=0, dtype=np.float64)).sum() + X.shape[1] * (0.5 + per_feature))


def run(name, cls, params, per_feature, seed):
    torch.set_num_threads(1)
    data = load_cifar10_features()
    values, epochs, start = [], [], time.perf_counter()
    for k in CLASSES:
        X, X_test, y = fold(data, k, seed)
        clamp = {} if per_feature is None else {"nll_clamp": clamp_of(X, per_feature)}
        detector = cls(**{**BASE, **clamp, **params}, random_state=seed)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", UserWarning)
            detector.fit(X, X_aux=data.X_aux)
        values.append(auroc(y, detector.score_samples(X_test)))
        epochs.append(detector.best_epoch_)
    each = " ".join(f"{100 * value:.1f}" for value in values)
    took = time.perf_counter() - start
    return f"{name:36s} seed {seed}  {100 * np.mean(values):.2f}  ({each})  epochs {epochs}  {took:.0f} s"


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seeds", type=int, default=1)
    parser.add_argument("--n-jobs", type=int, default=-1)
    args = parser.parse_args()
    tasks = [(*setting, seed) for setting in SETTINGS for seed in range(args.seeds)]
    for line in Parallel(n_jobs=args.n_jobs, return_as="generator")(delayed(run)(*task) for task in tasks):
        print(line, flush=True)


if __name__ == "__main__":
    main()
