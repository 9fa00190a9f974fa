"""Where the inlier flow of Flow-ratio starts and how many epochs it takes, by the protocol of `choose_defaults.py`.

Two seeds; for each the auxiliary flow is trained once and shared.

    python benchmarks/ratio_epochs.py > docs/results/ratio-epochs.txt

Nothing within a fit sees a label.
"""

from __future__ import annotations

import argparse
import tempfile
import warnings

import numpy as np
import torch
from choose_defaults import CLASSES, fold
from joblib import Parallel, delayed

from skcnf import FlowRatioDetector
from skcnf.cli._benchmark import environment
from skcnf.datasets import load_cifar10_features
from skcnf.evaluation import auroc

SETTINGS = {
    "at most 7 epochs, averaged weights": {"max_epochs": 7},
    "at most 20 epochs, averaged weights": {"max_epochs": 20},
    "at most 40 epochs, averaged weights": {"max_epochs": 40},
    "at most 20 epochs, plain weights": {"max_epochs": 20, "weight_averaging": 0.0},
    "from scratch, at most 7 epochs": {"max_epochs": 7, "fine_tune": False},
    "from scratch, at most 20 epochs": {"max_epochs": 20, "fine_tune": False},
}


class FlowRatio(FlowRatioDetector):
    """The auxiliary flow always has 20 epochs, so that the settings differ in the inlier flow alone."""

    def _auxiliary_parameters(self, seed):
        return {**super()._auxiliary_parameters(seed), "max_epochs": 20}


def measure(data, normal, seed, parameters, memory):
    """AUROC in per cent and the epoch that was kept."""
    torch.set_num_threads(1)
    warnings.simplefilter("ignore", UserWarning)
    X, X_test, y = fold(data, normal, seed)
    detector = FlowRatio(random_state=seed, device="cpu", memory=memory, **parameters).fit(X, X_aux=data.X_aux)
    return 100 * auroc(y, detector.score_samples(X_test)), detector.best_epoch_


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.parse_args()
    data = load_cifar10_features()
    print("mean AUROC in %, five classes of training images; of seeds 0 and 1; epoch that was kept, mean")
    with tempfile.TemporaryDirectory() as memory:
        for name, parameters in SETTINGS.items():
            runs = (delayed(measure)(data, normal, seed, parameters, memory) for seed in (0, 1) for normal in CLASSES)
            results = np.array(Parallel(2)(runs)).reshape(2, len(CLASSES), 2)
            by_seed, epoch = results[..., 0].mean(1), results[..., 1].mean()
            seeds = " ".join(f"{value:.2f}" for value in by_seed)
            print(f"  {name:38}{by_seed.mean():6.2f}  ({seeds})  {epoch:5.1f}", flush=True)
    print(f"\n{environment()}")


if __name__ == "__main__":
    main()
