"""Scores of pyod's COPOD and ECOD that do not depend on the rows that are scored together.

Both add up, over the features, minus the logarithms of a row's tail probabilities, in the empirical distribution of the
training rows and of all rows that are scored with it. pyod's ``decision_function`` thus gives a row one score alone and
another among others. Here each row is scored as pyod scores it alone, but for all rows at once.
"""

from __future__ import annotations

from typing import Any

import numpy as np

__all__ = ["TailScorer"]


class TailScorer:
    """The abnormality of rows by the tails of the training rows; higher = more abnormal, as in pyod.

    Parameters
    ----------
    X : ndarray of shape (n, d)
        Training rows.
    averages : bool
        COPOD's score of a feature is the larger of the tail on the side of the skew and of the mean of both tails;
        if not, ECOD's: the largest of the tails.

    References
    ----------
    Li, Zhao, Botta, Ionescu and Hu, "COPOD: Copula-Based Outlier Detection", ICDM 2020; Li, Zhao, Hu, Botta, Ionescu
    and Chen, "ECOD: Unsupervised Outlier Detection Using Empirical Cumulative Distribution Functions", TKDE 2022.
    """

    def __init__(self, X: np.ndarray, averages: bool) -> None:
        self.averages = averages
        self.sorted = np.sort(X.T.astype(np.float64))  # DxN
        self.means = self.sorted.mean(axis=1)
        centred = self.sorted - self.means[:, None]
        self.squares, self.cubes = (centred**2).sum(axis=1), (centred**3).sum(axis=1)
        # minus the logarithm of k / (n + 1), for k values of n + 1 in a tail: the row itself is one of them
        self.surprise = -np.log(np.arange(len(X) + 2).clip(1) / (len(X) + 1))

    @classmethod
    def of(cls, detector: Any) -> TailScorer | None:
        """The scorer of a fitted COPOD or ECOD of pyod; None for other detectors."""
        from pyod.models.copod import COPOD
        from pyod.models.ecod import ECOD

        if type(detector) not in (COPOD, ECOD):
            return None
        return cls(np.asarray(detector.X_train), averages=type(detector) is COPOD)

    def score(self, X: np.ndarray) -> np.ndarray:
        """Abnormality (m,) of rows X (m, d), in nats."""
        total = np.zeros(len(X))
        for feature, x in enumerate(X.T.astype(np.float64)):
            left, right = self._tails(feature, x)
            skew = self._skew(feature, x)
            skewed = np.where(skew <= 0, left, 0) + np.where(skew >= 0, right, 0)
            total += np.maximum(skewed, (left + right) / 2 if self.averages else np.maximum(left, right))
        return total

    def _tails(self, feature: int, x: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        values = self.sorted[feature]
        n_at_most = np.searchsorted(values, x, side="right")
        n_at_least = len(values) - np.searchsorted(values, x, side="left")
        return self.surprise[n_at_most + 1], self.surprise[n_at_least + 1]

    def _skew(self, feature: int, x: np.ndarray) -> np.ndarray:
        """The sign of the skewness of the training values and x together."""
        n, step = self.sorted.shape[1], x - self.means[feature]
        # how sums of powers about the mean change by one value more: Pébay, SAND2008-6212, equation 2.1
        cubes = self.cubes[feature] + step**3 * n * (n - 1) / (n + 1) ** 2 - 3 * step * self.squares[feature] / (n + 1)
        return np.sign(cubes)
