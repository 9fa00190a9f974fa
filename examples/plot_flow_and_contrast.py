"""
Likelihood and contrast at a glance
===================================

A flow that learns from inliers alone (auxiliary images tell it when to stop), and one that also learns from auxiliary
images what is not wanted: the scores of test images under both, one class of CIFAR-10 as the inliers and the other nine
as anomalies. Where the two colours overlap, anomalies are mistaken for inliers. The dots are the paper's table 1 on the
bundled features: for each detector a dot for each class as the inliers. Takes about a minute on one core::

    python examples/plot_flow_and_contrast.py --output start.png
"""

from __future__ import annotations

import argparse
from pathlib import Path

import numpy as np
import pandas as pd
from matplotlib.figure import Figure

from skcnf import ContrastiveFlowDetector, FlowDetector
from skcnf.datasets import CIFAR10_CLASSES, load_cifar10_features
from skcnf.display import BenchmarkDisplay, ScoreHistogramDisplay
from skcnf.evaluation import auroc

TABLE = Path("docs/results/paper/table1.csv")


def read_auroc(path):
    """Detectors down, classes and their mean across; settings and what the paper alone has are left out."""
    table = pd.read_csv(path).dropna(subset=["mean"])
    table = table[~table["row"].str.contains("(", regex=False)]
    return table.pivot(index="row", columns="column", values="mean")[[*CIFAR10_CLASSES, "mean"]]


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--inlier", default="bird", choices=CIFAR10_CLASSES)
    parser.add_argument("--table", default=TABLE, help="the CSV file of `skcnf benchmark --table 1`")
    parser.add_argument("--max-epochs", default="auto", type=lambda text: text if text == "auto" else int(text))
    parser.add_argument("--output", default="start.png")
    args = parser.parse_args()

    data = load_cifar10_features()
    inlier = data.class_names.index(args.inlier)
    X, y = data.X_train[data.y_train == inlier], np.where(data.y_test == inlier, 1, -1)
    figure = Figure(figsize=(12, 3.6), layout="constrained")
    left, middle, right = figure.subplots(1, 3, width_ratios=[1, 1, 1.25])
    settings = {"max_epochs": args.max_epochs, "random_state": 0}
    for ax, detector, name in (
        (left, FlowDetector(**settings), "likelihood (Flow)"),
        (middle, ContrastiveFlowDetector(**settings), "with contrast (CF)"),
    ):
        detector.fit(X, X_aux=data.X_aux)
        scores = detector.score_samples(data.X_test)
        ScoreHistogramDisplay.from_scores(scores, y, threshold=detector.offset_, ax=ax)
        ax.set_title(f"{name}: AUROC {100 * auroc(y, scores):.1f} %", fontsize="medium")
        print(f"{name}: AUROC {100 * auroc(y, scores):.1f} %")
    left.get_legend().remove()  # it would cover bars, and the middle one is the same
    BenchmarkDisplay(read_auroc(args.table)).plot(ax=right)
    right.set_xlabel("AUROC in % (dot: a class; bar and number: mean)")
    figure.savefig(args.output, dpi=150)
    print(f"written: {args.output}")


if __name__ == "__main__":
    main()

# %%
# .. if-measured:: figures/start.png
#
#    .. image:: ../results/figures/start.png
#       :alt: Two histograms of scores, and the AUROC of each detector as dots.
