"""
From scores to decisions
========================

Three ways to decide from the same scores. ``predict`` flags at most a stated share of new inliers. ``p_values`` says
how seldom an inlier scores as low. ``select`` picks anomalies so that at most a stated share of the picked rows is
normal. Each bar of the histogram is a range of p-values: inliers spread evenly, anomalies gather at the left. Takes a
few seconds::

    python examples/plot_decisions.py --output decisions.png
"""

from __future__ import annotations

import argparse

import numpy as np
from matplotlib.figure import Figure

from skcnf import GaussianDetector


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--share", type=float, default=0.1, help="of anomalies among the new rows")
    parser.add_argument("--fdr", type=float, default=0.1, help="share of normal rows among those selected")
    parser.add_argument("--output", default="decisions.png")
    args = parser.parse_args()

    rng = np.random.default_rng(0)
    n_new, d = 2000, 8
    n_anomalies = round(args.share * n_new)
    detector = GaussianDetector(validation_fraction=0.4, random_state=0).fit(rng.normal(size=(5000, d)))
    inliers, anomalies = rng.normal(size=(n_new - n_anomalies, d)), rng.normal(2.0, 1.0, size=(n_anomalies, d))
    X, y = np.concatenate([inliers, anomalies]), np.repeat([1, -1], [n_new - n_anomalies, n_anomalies])

    p_values, alarms, selected = detector.p_values(X), detector.predict(X) == -1, detector.select(X, fdr=args.fdr)
    for name, flagged in (("predict", alarms), (f"select(fdr={args.fdr:g})", selected)):
        print(
            f"{name}: {flagged.sum()} rows, {(y[flagged] == 1).mean():.1%} of them normal; "
            f"{flagged[y == 1].mean():.1%} of all inliers, {flagged[y == -1].mean():.1%} of all anomalies"
        )

    figure = Figure(figsize=(7, 3.2), layout="constrained")
    ax = figure.subplots()
    bins = np.linspace(0, 1, 21)
    ax.hist([p_values[y == 1], p_values[y == -1]], bins, stacked=True, color=["#0072B2", "#D55E00"])
    ax.legend(["inliers", "anomalies"], frameon=False)
    ax.set(xlabel="p-value", ylabel="rows", xlim=(0, 1))
    ax.spines[["top", "right"]].set_visible(False)
    figure.savefig(args.output, dpi=150)
    print(f"written: {args.output}")


if __name__ == "__main__":
    main()
