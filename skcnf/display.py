"""Figures, as scikit-learn's displays: computed by ``from_...``, drawn by ``plot``."""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd
from sklearn.base import BaseEstimator

__all__ = ["BenchmarkDisplay", "ScoreHistogramDisplay"]

_ACCENT, _GREY, _ANOMALY = "#0072B2", "#8C8C8C", "#D55E00"


def _axes(ax: Any, figsize: tuple[float, float]) -> Any:
    if ax is not None:
        return ax
    from matplotlib.figure import Figure

    # Not pyplot: a figure that nothing global keeps alive, and no display is needed.
    return Figure(figsize=figsize, layout="constrained").subplots()


class BenchmarkDisplay:
    """AUROC of each detector: a dot a class, a bar for their mean.

    Parameters
    ----------
    auroc : DataFrame
        Detectors down, classes across, and ``mean``; in per cent.
    """

    def __init__(self, auroc: pd.DataFrame) -> None:
        self.auroc = auroc

    @classmethod
    def from_results(cls, results: pd.DataFrame, *, ax: Any = None) -> BenchmarkDisplay:
        """Draw the tidy table of `skcnf.one_vs_rest`."""
        from skcnf.evaluation import auroc_table

        return cls(auroc_table(results)[0]).plot(ax=ax)

    def plot(self, *, ax: Any = None) -> BenchmarkDisplay:
        """Draw on ``ax``, or on a new figure; sets ``ax_`` and ``figure_``."""
        table = self.auroc.sort_values("mean")
        self.ax_ = _axes(ax, (7, 0.42 * len(table) + 1.2))
        self.figure_ = self.ax_.figure
        for position, (_, row) in enumerate(table.iterrows()):
            classes = row.drop("mean")
            best = round(row["mean"], 1) == round(table["mean"].max(), 1)  # ties share the mark, as in the table
            self.ax_.plot(classes, np.full(len(classes), position), "o", color=_GREY, alpha=0.55, markersize=5)
            self.ax_.plot(row["mean"], position, "|", color=_ACCENT if best else "black", markersize=18, mew=3)
            self.ax_.annotate(
                f"{row['mean']:.1f}",
                (1.01, position),
                xycoords=("axes fraction", "data"),
                va="center",
                weight="bold" if best else "normal",
                color=_ACCENT if best else "black",
            )
        self.ax_.set_yticks(range(len(table)), table.index)
        self.ax_.set_xlabel("AUROC in % (dot: one class as the inliers; bar and number: mean)")
        self.ax_.grid(axis="x", alpha=0.3)
        self.ax_.spines[["top", "right"]].set_visible(False)
        return self


class ScoreHistogramDisplay:
    """Histograms of scores, a colour for inliers and one for anomalies, with the threshold (as the paper's figure 1).

    Parameters
    ----------
    scores : ndarray of shape (n,)
        Higher = more normal.
    y : ndarray of shape (n,)
        +1 for inliers, -1 for anomalies.
    threshold : float or None, default=None
        Below it rows are flagged.
    """

    def __init__(self, scores: np.ndarray, y: np.ndarray, threshold: float | None = None) -> None:
        self.scores, self.y, self.threshold = np.asarray(scores), np.asarray(y), threshold

    @classmethod
    def from_estimator(cls, estimator: BaseEstimator, X: Any, y: Any, *, ax: Any = None) -> ScoreHistogramDisplay:
        """Score X by a fitted detector or pipeline, and draw."""
        last = estimator[-1] if hasattr(estimator, "steps") else estimator
        return cls(estimator.score_samples(X), y, getattr(last, "offset_", None)).plot(ax=ax)

    @classmethod
    def from_scores(
        cls, scores: Any, y: Any, *, threshold: float | None = None, ax: Any = None
    ) -> ScoreHistogramDisplay:
        """Draw scores already at hand."""
        return cls(scores, y, threshold).plot(ax=ax)

    def plot(self, *, ax: Any = None, bins: int = 50) -> ScoreHistogramDisplay:
        """Draw on ``ax``, or on a new figure; sets ``ax_`` and ``figure_``.

        The lowest per cent of the scores is gathered in the first bin: a flow's scores of anomalies have no end.
        """
        self.ax_ = _axes(ax, (6, 3.2))
        self.figure_ = self.ax_.figure
        low, high = np.quantile(self.scores, [0.01, 1.0])
        edges = np.linspace(low, high, bins + 1)
        for label, name, colour in ((1, "inliers", _ACCENT), (-1, "anomalies", _ANOMALY)):
            scores = np.clip(self.scores[self.y == label], low, high)
            self.ax_.hist(scores, edges, density=True, alpha=0.6, color=colour, label=name)
        if self.threshold is not None:
            self.ax_.axvline(self.threshold, color="black", linestyle="--", label="threshold")
        self.ax_.set_xlabel("score (higher = more normal)")
        self.ax_.set_ylabel("density")
        self.ax_.legend(frameon=False)
        self.ax_.spines[["top", "right"]].set_visible(False)
        return self
