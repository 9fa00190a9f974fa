"""Figures, as scikit-learn's displays: computed by ``from_...``, drawn by ``plot``."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import pandas as pd
from sklearn.base import BaseEstimator

__all__ = ["BenchmarkDisplay", "FeatureCorrelationDisplay", "ScoreHistogramDisplay"]

_ACCENT, _GREY, _ANOMALY = "#0072B2", "#8C8C8C", "#D55E00"


def _axes(ax: Any, figsize: tuple[float, float], n_columns: int = 1) -> Any:
    if ax is not None:
        return ax
    from matplotlib.figure import Figure

    # Not pyplot: a figure that nothing global keeps alive, and no display is needed.
    return Figure(figsize=figsize, layout="constrained").subplots(1, n_columns)


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


class FeatureCorrelationDisplay:
    """Correlation between the feature vectors of images, a panel for each encoder (as the paper's figure 5).

    An encoder that sees little but artefacts of upsampling gives all images like features: its panel is all one colour.
    Under one that tells images apart only the diagonal stands out, and blocks where images are sorted by class.

    Parameters
    ----------
    correlations : dict of str to ndarray of shape (n_images, n_images)
        Pearson's correlation between the rows of the features.
    """

    def __init__(self, correlations: Mapping[str, np.ndarray]) -> None:
        self.correlations = dict(correlations)

    @classmethod
    def from_features(cls, features: Mapping[str, np.ndarray], *, ax: Any = None) -> FeatureCorrelationDisplay:
        """Draw for several encoders' features (n_images, n_features) of the same images, in the same order.

        Raises
        ------
        ValueError
            If the numbers of images differ.
        """
        sizes = {name: np.shape(values) for name, values in features.items()}
        if len({shape[0] for shape in sizes.values()}) != 1 or any(len(shape) != 2 for shape in sizes.values()):
            raise ValueError(f"features must be of shape (n_images, n_features) for the same images; got {sizes}.")
        return cls({name: np.corrcoef(values) for name, values in features.items()}).plot(ax=ax)

    @property
    def mean_correlation(self) -> dict[str, float]:
        """Mean correlation of two different images, for each encoder."""
        return {
            name: float((matrix.sum() - np.trace(matrix)) / (len(matrix) * (len(matrix) - 1)))
            for name, matrix in self.correlations.items()
        }

    def plot(self, *, ax: Any = None) -> FeatureCorrelationDisplay:
        """Draw on ``ax``, an array of as many axes, or on a new figure; sets ``ax_`` and ``figure_``."""
        n_panels = len(self.correlations)
        self.ax_ = np.atleast_1d(_axes(ax, (3.4 * n_panels + 0.8, 3.6), n_panels))
        self.figure_ = self.ax_[0].figure
        means = self.mean_correlation
        for axes, (name, matrix) in zip(self.ax_, self.correlations.items(), strict=True):
            image = axes.imshow(matrix, vmin=-1, vmax=1, cmap="RdBu_r", interpolation="nearest")
            axes.set_title(f"{name}\nmean of different images {means[name]:.2f}", fontsize="medium")
            axes.set_xlabel("image")
        self.ax_[0].set_ylabel("image")
        self.figure_.colorbar(image, ax=list(self.ax_), label="correlation of features", shrink=0.8)
        return self
