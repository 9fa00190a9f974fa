"""How many epochs the inlier flow of Flow-ratio takes, by the protocol of `choose_defaults.py`: one seed.

The auxiliary flow is trained once and shared.

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
    "at most 20 epochs, plain weights": {"max_epochs": 20, "weight_averaging": 0.0},
}


class FlowRatio(FlowRatioDetector):
    """The auxiliary flow always has 20 epochs, so that the settings differ in the inlier flow alone."""

    def _auxiliary_parameters(self, seed):
        return {**super()._auxiliary_parameters(seed), "max_epochs": 20}


def measure(data, normal, parameters, memory):
    """AUROC in per cent and the epoch that was kept."""
    torch.set_num_threads(1)
    warnings.simplefilter("ignore", UserWarning)
    X, X_test, y = fold(data, normal, 0)
    detector = FlowRatio(random_state=0, device="cpu", memory=memory, **parameters).fit(X, X_aux=data.X_aux)
    return 100 * auroc(y, detector.score_samples(X_test)), detector.best_epoch_


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.parse_args()
    data = load_cifar10_features()
    print("mean AUROC in %, five classes of training images; epoch that was kept, mean")
    with tempfile.TemporaryDirectory() as memory:
        for name, parameters in SETTINGS.items():
            results = Parallel(2)(delayed(measure)(data, normal, parameters, memory) for normal in CLASSES)
            auroc_mean, epoch = np.mean(results, axis=0)
            print(f"  {name:38}{auroc_mean:6.2f}  {epoch:5.1f}", flush=True)
    print(f"\n{environment()}")


if __name__ == "__main__":
    main()
