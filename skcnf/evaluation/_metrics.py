"""Metrics of anomaly scores. Throughout, y is +1 for inliers and -1 for anomalies; higher scores are more normal."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
from sklearn.metrics import average_precision_score, roc_auc_score

__all__ = ["METRICS", "aupr", "auroc", "evaluate_scores", "fpr95", "outlier_scorer"]


def auroc(y: np.ndarray, scores: np.ndarray) -> float:
    """The chance that a random inlier scores above a random anomaly; ties count half."""
    return float(roc_auc_score(np.asarray(y) == 1, scores))


def aupr(y: np.ndarray, scores: np.ndarray) -> float:
    """Average precision with anomalies as the positive class; depends on their share."""
    return float(average_precision_score(np.asarray(y) != 1, -np.asarray(scores)))


def fpr95(y: np.ndarray, scores: np.ndarray) -> float:
    """Share of anomalies that pass as inliers at the threshold that accepts 95 % of the inliers; lower is better."""
    y, scores = np.asarray(y), np.asarray(scores)
    threshold = np.quantile(scores[y == 1], 0.05, method="lower")
    return float((scores[y != 1] >= threshold).mean())


METRICS: dict[str, Callable[[np.ndarray, np.ndarray], float]] = {"auroc": auroc, "aupr": aupr, "fpr95": fpr95}


def evaluate_scores(y: np.ndarray, scores: np.ndarray) -> dict[str, float]:
    """Every metric of `METRICS` at once."""
    return {name: metric(y, scores) for name, metric in METRICS.items()}


class _Scorer:
    def __init__(self, name: str) -> None:
        self.name = name

    def __call__(self, estimator: Any, X: Any, y: Any) -> float:
        value = METRICS[self.name](np.asarray(y), estimator.score_samples(X))
        return -value if self.name == "fpr95" else value

    def __repr__(self) -> str:
        return f"outlier_scorer({self.name!r})"


def outlier_scorer(name: str) -> Callable[[Any, Any, Any], float]:
    """A scorer for ``scoring=`` of scikit-learn's model selection; greater is better, so that "fpr95" is negated.

    Parameters
    ----------
    name : {"auroc", "aupr", "fpr95"}
    """
    if name not in METRICS:
        raise ValueError(f"name={name!r} is no metric; choose from {sorted(METRICS)}.")
    return _Scorer(name)
