"""Histograms of scores (the paper's figure 1)."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

import numpy as np
from sklearn.base import BaseEstimator

from skcnf.display._common import ACCENT, ANOMALY, MUTED, check_scores, new_axes, panel_axes
from skcnf.evaluation import auroc

__all__ = ["ScoreHistogramDisplay", "ScorePanelsDisplay"]

_FARTHEST = 10  # interquartile ranges of the inliers below their lower quartile that are drawn
_STYLES = ("solid", (0, (5, 1.5)), (0, (1.5, 1)))


class ScoreHistogramDisplay:
    """Histograms of scores: a colour for inliers, one for anomalies or one for each class of them, and the threshold.

    Parameters
    ----------
    scores : ndarray of shape (n,)
        Higher = more normal.
    y : ndarray of shape (n,)
        +1 for inliers, -1 for anomalies.
    threshold : float or None, default=None
        Rows whose score is below it are flagged.
    labels : ndarray of shape (n,) or None, default=None
        The class of each row. It serves the drawing alone: anomalies are then drawn class by class, as in the paper's
        figure 1.

    Raises
    ------
    ValueError
        If scores, y and labels do not fit together, scores are not finite, or y holds anything but +1 and -1.
    """

    def __init__(self, scores: np.ndarray, y: np.ndarray, threshold: float | None = None, labels: Any = None) -> None:
        self.scores, self.y = check_scores(scores, y)
        self.threshold = threshold
        self.labels = None if labels is None else np.asarray(labels)
        if self.labels is not None and self.labels.shape != self.y.shape:
            raise ValueError(f"labels has shape {self.labels.shape}; one for each score makes {self.y.shape}.")

    @classmethod
    def from_estimator(
        cls, estimator: BaseEstimator, X: Any, y: Any, *, labels: Any = None, ax: Any = None
    ) -> ScoreHistogramDisplay:
        """Score X by a fitted detector or pipeline, and draw."""
        return cls(estimator.score_samples(X), y, _threshold(estimator), labels).plot(ax=ax)

    @classmethod
    def from_scores(
        cls, scores: Any, y: Any, *, threshold: float | None = None, labels: Any = None, ax: Any = None
    ) -> ScoreHistogramDisplay:
        """Draw scores already at hand."""
        return cls(scores, y, threshold, labels).plot(ax=ax)

    def plot(self, *, ax: Any = None, bins: int | None = None, legend: bool = True) -> ScoreHistogramDisplay:
        """Draw on ``ax``, or on a new figure; sets ``ax_`` and ``figure_``.

        There are 50 ``bins``, or 30 where classes are drawn. The first one gathers what is lower, because a flow's
        scores of anomalies have no lower end: the lowest per cent, and scores that lie ten interquartile ranges of the
        inliers below the inliers' lower quartile.
        """
        self.ax_ = new_axes(ax, (6, 3.2) if self.labels is None else (7, 3.4))
        self.figure_ = self.ax_.figure
        edges = np.histogram_bin_edges(self._range(), bins or (50 if self.labels is None else 30))
        inliers = self.y == 1
        self._bars(inliers, edges, ACCENT, self._inlier_name())
        if self.labels is None:
            self._bars(~inliers, edges, ANOMALY, "anomalies")
        else:
            self._lines(edges, self.labels)
        if self.threshold is not None:
            self.ax_.axvline(self.threshold, color="black", linestyle="--", label="threshold")
        self.ax_.set_xlabel("score (higher = more normal)")
        self.ax_.set_ylabel("density")
        self.ax_.spines[["top", "right"]].set_visible(False)
        if legend:
            _draw_legend(self.ax_, [self], beside=self.labels is not None)
        return self

    def _range(self) -> tuple[float, float]:
        """The lowest score that is drawn where it lies, and the highest; the threshold lies between them."""
        low, high = np.quantile(self.scores, [0.01, 1.0])
        inliers = self.scores[self.y == 1]
        if len(inliers):
            lower, upper = np.quantile(inliers, [0.25, 0.75])
            if upper > lower:
                low = max(low, lower - _FARTHEST * (upper - lower))
        return float(low if self.threshold is None else min(low, self.threshold)), float(high)

    def _inlier_name(self) -> str:
        if self.labels is None:
            return "inliers"
        return f"{', '.join(str(name) for name in _distinct(self.labels[self.y == 1]))} (inliers)"

    def _bars(self, rows: np.ndarray, edges: np.ndarray, colour: str, name: str) -> None:
        if rows.any():  # no row has no density
            scores = np.clip(self.scores[rows], edges[0], edges[-1])
            alpha = 0.6 if self.labels is None else 0.4  # lines of light colours cross the bars
            self.ax_.hist(scores, edges, density=True, alpha=alpha, color=colour, label=name)

    def _lines(self, edges: np.ndarray, labels: np.ndarray) -> None:
        """Draw the histogram of each class of anomalies as a line, because nine staircases would be a tangle."""
        middles = (edges[1:] + edges[:-1]) / 2
        anomalies = self.y == -1
        for number, name in enumerate(_distinct(labels[anomalies])):
            scores = self.scores[anomalies & (labels == name)]
            density, _ = np.histogram(np.clip(scores, edges[0], edges[-1]), edges, density=True)
            # nine colours and three styles: 27 pairs before one comes again
            style = _STYLES[(number + number // len(MUTED)) % len(_STYLES)]
            colour = MUTED[number % len(MUTED)]
            self.ax_.plot(middles, density, color=colour, linestyle=style, linewidth=1.6, label=str(name))


def _distinct(labels: np.ndarray) -> list[Any]:
    """The labels that occur, in the order of their first rows."""
    return list(dict.fromkeys(labels.tolist()))


class ScorePanelsDisplay:
    """`ScoreHistogramDisplay` of several detectors on the same rows, side by side, under one legend.

    Parameters
    ----------
    panels : dict of str to ScoreHistogramDisplay
        One display for each detector, all of the same rows.

    Raises
    ------
    ValueError
        If ``panels`` is empty.
    """

    def __init__(self, panels: Mapping[str, ScoreHistogramDisplay]) -> None:
        self.panels = dict(panels)
        if not self.panels:
            raise ValueError("panels is empty; give the scores of at least one detector.")

    @classmethod
    def from_estimators(
        cls,
        estimators: Mapping[str, BaseEstimator],
        X: Any,
        y: Any,
        *,
        labels: Any = None,
        n_columns: int | None = None,
        ax: Any = None,
    ) -> ScorePanelsDisplay:
        """Score X by each fitted detector or pipeline, and draw."""
        scores = {name: estimator.score_samples(X) for name, estimator in estimators.items()}
        thresholds = {name: _threshold(estimator) for name, estimator in estimators.items()}
        return cls.from_scores(scores, y, thresholds=thresholds, labels=labels, n_columns=n_columns, ax=ax)

    @classmethod
    def from_scores(
        cls,
        scores: Mapping[str, np.ndarray],
        y: Any,
        *,
        thresholds: Mapping[str, float | None] | None = None,
        labels: Any = None,
        n_columns: int | None = None,
        ax: Any = None,
    ) -> ScorePanelsDisplay:
        """Draw each detector's scores (n,) of the same n rows, whose kinds are y (n,) and classes labels (n,)."""
        thresholds = thresholds or {}
        panels = {
            name: ScoreHistogramDisplay(values, y, thresholds.get(name), labels) for name, values in scores.items()
        }
        return cls(panels).plot(n_columns=n_columns, ax=ax)

    def plot(self, *, n_columns: int | None = None, bins: int | None = None, ax: Any = None) -> ScorePanelsDisplay:
        """Draw on ``ax``, an array of as many axes, or on a new figure; sets ``ax_`` (an array) and ``figure_``.

        The title of a panel gives the area under the ROC curve. On a new figure ``n_columns`` panels stand in a row,
        by default all.
        """
        self.ax_ = panel_axes(ax, len(self.panels), (3.6, 2.8), 1.4, n_columns)
        self.figure_ = self.ax_[0].figure
        n_columns = min(n_columns or len(self.ax_), len(self.ax_))
        for number, (axes, (name, panel)) in enumerate(zip(self.ax_, self.panels.items(), strict=True)):
            panel.plot(ax=axes, bins=bins, legend=False)
            axes.set_title(_title(name, panel), fontsize="medium")
            if number % n_columns:
                axes.set_ylabel("")
        _draw_legend(self.ax_[n_columns - 1], self.panels.values(), beside=True)
        return self


def _draw_legend(ax: Any, panels: Iterable[ScoreHistogramDisplay], beside: bool) -> None:
    """Explain on ``ax``, or at its right, what the panels show."""
    entries: dict[str, Any] = {}
    for panel in panels:
        handles, names = panel.ax_.get_legend_handles_labels()
        entries.update(zip(names, handles, strict=True))
    place = {"loc": "upper left", "bbox_to_anchor": (1.0, 1.0)} if beside else {}
    ax.legend(entries.values(), entries.keys(), frameon=False, **place)


def _title(name: str, panel: ScoreHistogramDisplay) -> str:
    if len(set(panel.y.tolist())) < 2:
        return name
    return f"{name}: AUROC {100 * auroc(panel.y, panel.scores):.1f} %"


def _threshold(estimator: BaseEstimator) -> float | None:
    last = estimator[-1] if hasattr(estimator, "steps") else estimator
    return getattr(last, "offset_", None)
