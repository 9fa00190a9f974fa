"""Cross-validation where training folds hold inliers alone."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
from sklearn.model_selection import BaseCrossValidator
from sklearn.utils import check_random_state

__all__ = ["InlierKFold"]


class InlierKFold(BaseCrossValidator):
    """K folds for anomaly detection: train folds hold inliers only, each test fold its share of inliers and anomalies.

    ``GridSearchCV`` refits its best estimator on every row, which no splitter can prevent; this package's detectors
    leave rows of -1 out by themselves.

    Parameters
    ----------
    n_splits : int, default=5
        At least 2.
    shuffle : bool, default=True
        Whether to shuffle rows before they are dealt to folds.
    random_state : int, RandomState instance or None, default=None
        Of the shuffling.

    Examples
    --------
    >>> import numpy as np
    >>> from skcnf.evaluation import InlierKFold
    >>> y = np.array([1, 1, 1, 1, -1, -1])
    >>> for train, test in InlierKFold(2, shuffle=False).split(np.zeros((6, 1)), y):
    ...     print(train, test)
    [2 3] [0 1 4]
    [0 1] [2 3 5]
    """

    def __init__(self, n_splits: int = 5, *, shuffle: bool = True, random_state: Any = None) -> None:
        if int(n_splits) != n_splits or n_splits < 2:
            raise ValueError(f"n_splits={n_splits} must be a whole number, at least 2.")
        self.n_splits = int(n_splits)
        self.shuffle = shuffle
        self.random_state = random_state

    def get_n_splits(self, X: Any = None, y: Any = None, groups: Any = None) -> int:
        """``n_splits``."""
        return self.n_splits

    def split(self, X: Any, y: Any = None, groups: Any = None) -> Iterator[tuple[np.ndarray, np.ndarray]]:
        """Yield (train, test) row numbers.

        Parameters
        ----------
        X : array-like of length n_samples
        y : array-like of shape (n_samples,)
            +1 for inliers, -1 for anomalies.
        groups : ignored

        Raises
        ------
        ValueError
            If y has other values, or fewer than ``n_splits`` inliers or anomalies.
        """
        inliers, anomalies = self._row_numbers(X, y)
        random_state = check_random_state(self.random_state)
        if self.shuffle:
            inliers, anomalies = random_state.permutation(inliers), random_state.permutation(anomalies)
        folds = zip(np.array_split(inliers, self.n_splits), np.array_split(anomalies, self.n_splits), strict=True)
        for inlier_fold, anomaly_fold in folds:
            train = np.setdiff1d(inliers, inlier_fold)
            yield train, np.sort(np.concatenate([inlier_fold, anomaly_fold]))

    def _row_numbers(self, X: Any, y: Any) -> tuple[np.ndarray, np.ndarray]:
        if y is None:
            raise ValueError("InlierKFold needs y: +1 for inliers and -1 for anomalies.")
        y = np.asarray(y)
        if y.ndim != 1 or (hasattr(X, "__len__") and len(X) != len(y)):
            raise ValueError(f"y must be one-dimensional and as long as X; got shape {y.shape}.")
        if not set(np.unique(y).tolist()) <= {-1, 1}:
            raise ValueError(f"y must hold +1 (inlier) and -1 (anomaly) alone; got {np.unique(y)[:10].tolist()}.")
        inliers, anomalies = np.flatnonzero(y == 1), np.flatnonzero(y == -1)
        if min(len(inliers), len(anomalies)) < self.n_splits:
            raise ValueError(
                f"n_splits={self.n_splits} folds need as many inliers and anomalies; y holds {len(inliers)} and "
                f"{len(anomalies)}."
            )
        return inliers, anomalies
