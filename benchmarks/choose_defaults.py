"""How the defaults were chosen: training images of five classes alone, no test image, no other class.

Each of plane, bird, deer, frog and ship in turn is normal. 4,000 of its training rows are fitted on; 1,000 held-out
training rows of each of the five classes are scored. The number is the mean AUROC in %, over classes and seeds. Labels
serve to judge a setting, never within a fit. A clamp of a name is in nats a feature above the inliers' normal.

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
from skcnf.cli._benchmark import environment
from skcnf.datasets import load_cifar10_features
from skcnf.evaluation import auroc
from skcnf.paper import PAPER_SETTINGS

CLASSES = (0, 2, 4, 6, 8)  # plane, bird, deer, frog, ship
LONG = {"max_epochs": 50}  # so that patience ends the training
# name, detector, parameters, nats a feature above the inliers' normal at which the clamp acts (CF alone)
SETTINGS = [
    ("CF, clamp 0.25", ContrastiveFlowDetector, {}, 0.25),
    ("CF, clamp 0.5", ContrastiveFlowDetector, {}, 0.5),
    ("CF, clamp 1", ContrastiveFlowDetector, {}, 1.0),
    ("CF, clamp 2", ContrastiveFlowDetector, {}, 2.0),
    ("CF, clamp 4", ContrastiveFlowDetector, {}, 4.0),
    ("CF, the default", ContrastiveFlowDetector, {}, None),
    ("CF, aux_weight 0.5", ContrastiveFlowDetector, {"aux_weight": 0.5}, None),
    ("CF, warmup_epochs 2", ContrastiveFlowDetector, {"warmup_epochs": 2}, None),
    ("CF, noise 0", ContrastiveFlowDetector, {"noise_std": 0.0}, None),
    ("CF, noise 0.03", ContrastiveFlowDetector, {"noise_std": 0.03}, None),
    ("CF, hidden_units 256", ContrastiveFlowDetector, {"hidden_units": 256}, None),
    ("CF, learning_rate 5e-4", ContrastiveFlowDetector, {"learning_rate": 5e-4, **LONG}, None),
    ("CF, patience 3", ContrastiveFlowDetector, LONG, None),
    ("CF, patience 5", ContrastiveFlowDetector, {"patience": 5, **LONG}, None),
    ("CF, Table 6 (clamp 0, no scaling)", ContrastiveFlowDetector, PAPER_SETTINGS, None),
    ("OE, margin 0.5 a feature", OutlierExposureDetector, {"margin": 64.0}, None),
    ("OE, margin 1 a feature", OutlierExposureDetector, {"margin": 128.0}, None),
    ("OE, margin 2 a feature", OutlierExposureDetector, {"margin": 256.0}, None),
    ("Flow, stopped by AUROC", FlowDetector, {}, None),
    ("Flow, stopped by likelihood", FlowDetector, {"stopping": "likelihood"}, None),
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


def values_of(detector, seed, per_feature=None):
    """AUROC and kept epoch in each of the five classes; ``per_feature`` sets CF's clamp."""
    data = load_cifar10_features()
    values, epochs = [], []
    for k in CLASSES:
        X, X_test, y = fold(data, k, seed)
        if per_feature is not None:
            detector.set_params(nll_clamp=clamp_of(X, per_feature))
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", UserWarning)
            detector.fit(X, X_aux=data.X_aux)
        values.append(auroc(y, detector.score_samples(X_test)))
        epochs.append(detector.best_epoch_)
    return values, epochs


def run(name, cls, params, per_feature, n_seeds):
    torch.set_num_threads(1)
    start = time.perf_counter()
    runs = [values_of(cls(**params, device="cpu", random_state=seed), seed, per_feature) for seed in range(n_seeds)]
    values, epochs = (np.array(part) for part in zip(*runs, strict=True))
    seeds = " ".join(f"{100 * value:.2f}" for value in values.mean(axis=1))
    each = " ".join(f"{100 * value:.1f}" for value in values.mean(axis=0))
    took = (time.perf_counter() - start) / n_seeds
    kept = f"kept epoch {epochs.mean():.1f}  {took:.0f} s"
    return f"{name:36s} {100 * values.mean():.2f}  seeds {seeds}  classes {each}  {kept}"


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seeds", type=int, default=2)
    parser.add_argument("--n-jobs", type=int, default=-1)
    args = parser.parse_args()
    print(environment())
    tasks = [delayed(run)(*setting, args.seeds) for setting in SETTINGS]
    for line in Parallel(n_jobs=args.n_jobs, return_as="generator")(tasks):
        print(line, flush=True)


if __name__ == "__main__":
    main()
