"""
Scores of all classes (figure 1)
================================

Scores of every CIFAR-10 class under detectors that were trained on one of them.

The bars are the inlier class, each line is another class of the test set. What overlaps the bars is mistaken for it:
with deer as inliers mostly horses, which look most like them. The contrastive flow (CF) spreads the other classes over
a longer tail than a flow of the inliers alone; the two rank deer about equally well. Scores of different detectors are
in different units: only the overlaps compare. The lowest per cent of the scores is gathered at the left end. The
threshold is the detector's own, for 5 % false alarms. The features come with the package; takes a few minutes on one
core::

    python examples/plot_figure1_histograms.py --inlier deer --output figure1.png
"""

from __future__ import annotations

import argparse

import numpy as np

from skcnf import ContrastiveFlowDetector, FlowDetector, FlowRatioDetector, MSEDetector
from skcnf.datasets import CIFAR10_CLASSES, load_cifar10_features
from skcnf.display import ScorePanelsDisplay


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--inlier", default="deer", choices=CIFAR10_CLASSES)
    parser.add_argument("--max-epochs", type=int, default=20, help="of the flows, which stop by themselves earlier")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--output", default="figure1.png")
    args = parser.parse_args()

    data = load_cifar10_features()
    labels = np.asarray(data.class_names)[data.y_test]
    X = data.X_train[data.y_train == data.class_names.index(args.inlier)]
    settings = {"max_epochs": args.max_epochs, "random_state": args.seed, "verbose": True}
    detectors = {
        "CF": ContrastiveFlowDetector(**settings),
        "Flow": FlowDetector(**settings),
        "Flow-ratio": FlowRatioDetector(**settings),
        "MSE": MSEDetector(random_state=args.seed),
    }
    for detector in detectors.values():
        detector.fit(X, X_aux=data.X_aux)
    y = np.where(labels == args.inlier, 1, -1)
    display = ScorePanelsDisplay.from_estimators(detectors, data.X_test, y, labels=labels, n_columns=2)
    display.figure_.savefig(args.output, dpi=150)
    print(f"written: {args.output}")


if __name__ == "__main__":
    main()

# %%
# .. if-measured:: figures/figure1.png
#
#    .. image:: ../results/figures/figure1.png
#       :alt: Histograms of the scores of ten classes under four detectors.
