"""Metrics of anomaly scores. Throughout, y is +1 for inliers and -1 for anomalies; higher scores are more normal."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import numpy as np
from sklearn.metrics import average_precision_score, roc_auc_score

__all__ = [
    "LESS_IS_BETTER",
    "METRICS",
    "aupr",
    "auroc",
    "auxiliary_scorer",
    "evaluate_scores",
    "fpr95",
    "outlier_scorer",
]


def auroc(y: np.ndarray, scores: np.ndarray) -> float:
    """The chance that a random inlier scores above a random anomaly; ties count half."""
    return float(roc_auc_score(np.asarray(y) == 1, scores))


def aupr(y: np.ndarray, scores: np.ndarray) -> float:
    """Average precision with anomalies as the positive class; depends on their share."""
    return float(average_precision_score(np.asarray(y) != 1, -np.asarray(scores)))


def fpr95(y: np.ndarray, scores: np.ndarray) -> float:
    """Share of anomalies that pass as inliers at the threshold that accepts 95 % of the inliers; lower is better."""
    y, scores = np.asarray(y), np.asarray(scores)
    if np.isnan(scores).any():
        raise ValueError(f"scores hold {np.isnan(scores).sum()} NaN of {len(scores)}; they must be numbers.")
    threshold = np.quantile(scores[y == 1], 0.05, method="lower")
    return float((scores[y != 1] >= threshold).mean())


METRICS: dict[str, Callable[[np.ndarray, np.ndarray], float]] = {"auroc": auroc, "aupr": aupr, "fpr95": fpr95}
LESS_IS_BETTER = ("fpr95",)


def evaluate_scores(y: np.ndarray, scores: np.ndarray) -> dict[str, float]:
    """Every metric of `METRICS` at once."""
    return {name: metric(y, scores) for name, metric in METRICS.items()}


class _Scorer:
    def __init__(self, name: str) -> None:
        self.name = name

    def __call__(self, estimator: Any, X: Any, y: Any) -> float:
        if len(np.unique(y)) < 2:  # training folds of InlierKFold, where a search asks for their scores
            return math.nan
        value = METRICS[self.name](np.asarray(y), estimator.score_samples(X))
        return -value if self.name in LESS_IS_BETTER else value

    def __repr__(self) -> str:
        return f"outlier_scorer({self.name!r})"


def outlier_scorer(name: str) -> Callable[[Any, Any, Any], float]:
    """A scorer for ``scoring=`` of scikit-learn's model selection; greater is better, so that "fpr95" is negated.

    Where y holds one class alone, as training folds of `InlierKFold` do, the score is NaN, without a warning.

    Parameters
    ----------
    name : {"auroc", "aupr", "fpr95"}
    """
    if name not in METRICS:
        raise ValueError(f"name={name!r} is no metric; choose from {sorted(METRICS)}.")
    return _Scorer(name)


class _AuxiliaryScorer:
    def __init__(self, X_aux: Any) -> None:
        self.X_aux = X_aux

    def __call__(self, estimator: Any, X: Any, y: Any = None) -> float:
        scores, scores_aux = estimator.score_samples(X), estimator.score_samples(self.X_aux)
        labels = np.repeat([1, -1], [len(scores), len(scores_aux)])
        return auroc(labels, np.concatenate([scores, scores_aux]))

    def __repr__(self) -> str:
        return f"auxiliary_scorer({len(self.X_aux)} rows)"


def auxiliary_scorer(X_aux: Any) -> Callable[..., float]:
    """A scorer for choosing among candidates without a single anomaly: held-out inliers against auxiliary rows.

    The score is their AUROC. Auxiliary rows stand in for anomalies, so candidates should be ranked by it only where the
    auxiliary set is broad; ``docs/results/label-free.txt`` has its rank correlation with the true AUROC.

    Parameters
    ----------
    X_aux : array-like of shape (n, n_features), or images before a pipeline
        Auxiliary rows that no candidate is fitted on.

    Examples
    --------
    >>> import numpy as np
    >>> from sklearn.model_selection import GridSearchCV, KFold
    >>> from skcnf import MSERatioDetector
    >>> from skcnf.evaluation import auxiliary_scorer
    >>> rng = np.random.default_rng(0)
    >>> X, X_aux = rng.normal(size=(200, 3)), rng.normal(1, 2, size=(400, 3))
    >>> grid = {"contamination": [0.05, 0.1]}
    >>> search = GridSearchCV(MSERatioDetector(), grid, cv=KFold(3), scoring=auxiliary_scorer(X_aux[300:]))
    >>> bool(search.fit(X, X_aux=(X_aux[:300],)).best_score_ > 0.7)
    True
    """
    return _AuxiliaryScorer(X_aux)
