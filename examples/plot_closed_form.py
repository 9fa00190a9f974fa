"""
A first look with a closed form
===============================

`GaussianDetector` fits in a fraction of a second: it measures the Mahalanobis distance to the inliers. That makes it
the first thing to try on new data, and what a flow must beat. Here one class of CIFAR-10 is normal; each line is
another class of the test set. Takes a few seconds::

    python examples/plot_closed_form.py --inlier ship --output closed_form.png
"""

from __future__ import annotations

import argparse

import numpy as np

from skcnf import GaussianDetector, MSEDetector
from skcnf.datasets import CIFAR10_CLASSES, load_cifar10_features
from skcnf.display import ScorePanelsDisplay
from skcnf.evaluation import auroc


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--inlier", default="ship", choices=CIFAR10_CLASSES)
    parser.add_argument("--output", default="closed_form.png")
    args = parser.parse_args()

    data = load_cifar10_features()
    labels = np.asarray(data.class_names)[data.y_test]
    y = np.where(labels == args.inlier, 1, -1)
    X = data.X_train[data.y_train == data.class_names.index(args.inlier)]
    detectors = {"Gaussian": GaussianDetector(random_state=0), "MSE": MSEDetector(random_state=0)}
    for name, detector in detectors.items():
        detector.fit(X)
        alarms = detector.predict(data.X_test) == -1
        print(
            f"{name}: AUROC {100 * auroc(y, detector.score_samples(data.X_test)):.1f} %, "
            f"flagged {alarms[y == 1].mean():.1%} of inliers and {alarms[y == -1].mean():.1%} of anomalies"
        )
    display = ScorePanelsDisplay.from_estimators(detectors, data.X_test, y, labels=labels, n_columns=2)
    display.figure_.savefig(args.output, dpi=150)
    print(f"written: {args.output}")


if __name__ == "__main__":
    main()
