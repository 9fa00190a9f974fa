"""Cross-validation where training folds hold inliers alone."""

from __future__ import annotations

from collections.abc import Iterator
from numbers import Integral
from typing import Any, ClassVar

import numpy as np
from sklearn.model_selection import BaseCrossValidator
from sklearn.utils import check_random_state

__all__ = ["InlierKFold"]


class InlierKFold(BaseCrossValidator):
    """K folds for anomaly detection: train folds hold inliers only, each test fold its share of inliers and anomalies.

    ``GridSearchCV`` refits its best estimator on every row, which no splitter can prevent; this package's detectors
    leave rows of -1 out by themselves. Scores of training folds are NaN because they hold no anomalies: in
    ``HalvingGridSearchCV`` set ``return_train_score=False``.

    Parameters
    ----------
    n_splits : int, default=5
        At least 2.
    n_repeats : int, default=1
        How often the rows are dealt out anew; more than once needs ``shuffle``.
    shuffle : bool, default=True
        Whether to shuffle rows before they are dealt to folds.
    random_state : int, RandomState instance or None, default=None
        Draws the shuffles.

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

    __metadata_request__split: ClassVar[dict[str, bool]] = {"groups": True}

    n_splits: int
    n_repeats: int
    shuffle: bool
    random_state: Any

    def __init__(
        self, n_splits: int = 5, *, n_repeats: int = 1, shuffle: bool = True, random_state: Any = None
    ) -> None:
        if not isinstance(n_splits, Integral) or n_splits < 2:
            raise ValueError(f"n_splits={n_splits!r} must be an integer, at least 2.")
        if not isinstance(n_repeats, Integral) or n_repeats < 1 or (n_repeats > 1 and not shuffle):
            raise ValueError(
                f"n_repeats={n_repeats!r} (shuffle={shuffle}) must be an integer, at least 1, and 1 without shuffle."
            )
        self.n_splits = int(n_splits)
        self.n_repeats = int(n_repeats)
        self.shuffle = shuffle
        self.random_state = random_state

    def get_n_splits(self, X: Any = None, y: Any = None, groups: Any = None) -> int:
        """Return ``n_splits * n_repeats``."""
        return self.n_splits * self.n_repeats

    def split(self, X: Any, y: Any = None, groups: Any = None) -> Iterator[tuple[np.ndarray, np.ndarray]]:
        """Yield (train, test) row numbers.

        Parameters
        ----------
        X : array-like of length n_samples
        y : array-like of shape (n_samples,)
            +1 for inliers, -1 for anomalies.
        groups : array-like of shape (n_samples,), optional
            Rows of a group (frames of a video, patches of an image) stay together: no test fold holds a row of a
            group that its train fold holds.

        Raises
        ------
        ValueError
            If y has other values, or fewer than ``n_splits`` inliers or anomalies, or ``n_splits`` groups of either.
        """
        inliers, anomalies = self._row_numbers(X, y)
        groups = None if groups is None else _codes(groups, len(np.asarray(y)))
        random_state = check_random_state(self.random_state)
        for _ in range(self.n_repeats):
            if groups is None:
                dealt = zip(self._deal(inliers, random_state), self._deal(anomalies, random_state), strict=True)
                test_folds = [np.concatenate(parts) for parts in dealt]
            else:
                test_folds = self._deal_groups(groups, np.asarray(y), random_state)
            for test in test_folds:
                yield np.setdiff1d(inliers, test), np.sort(test)

    def _deal(self, rows: np.ndarray, random_state: np.random.RandomState) -> list[np.ndarray]:
        return np.array_split(random_state.permutation(rows) if self.shuffle else rows, self.n_splits)

    def _deal_groups(self, groups: np.ndarray, y: np.ndarray, random_state: np.random.RandomState) -> list[np.ndarray]:
        """Whole groups, the largest first, each to the fold where squared shares rise least, so that folds are even.

        Once the groups left with a kind of rows are only as many as the folds that lack it, they go to these folds.
        Every fold gets both kinds. Among folds that lack a kind the first is filled first. So the folds without inliers
        all lack anomalies too, or the folds without anomalies all lack inliers too, and a group that is needed for
        both goes to a fold that lacks both.
        """
        sizes = np.stack([np.bincount(groups[y == label], minlength=groups.max() + 1) for label in (1, -1)], axis=1)
        n_groups = (sizes > 0).sum(axis=0)
        if n_groups.min() < self.n_splits:
            raise ValueError(
                f"n_splits={self.n_splits} folds need as many groups with inliers and with anomalies; got "
                f"{n_groups[0]} and {n_groups[1]}."
            )
        shares = sizes / sizes.sum(axis=0)
        order = random_state.permutation(len(sizes)) if self.shuffle else np.arange(len(sizes))
        order = order[np.argsort(-shares[order].sum(axis=1), kind="stable")]
        filled, fold_of, left = np.zeros((self.n_splits, 2)), np.empty(len(sizes), dtype=int), n_groups
        for group in order:
            rises = (2 * filled * shares[group] + shares[group] ** 2).sum(axis=1)
            wanting = filled == 0
            needed = (sizes[group] > 0) & (left <= wanting.sum(axis=0))
            fold_of[group] = np.lexsort((rises, -(wanting & needed).sum(axis=1)))[0]
            filled[fold_of[group]] += shares[group]
            left = left - (sizes[group] > 0)
        return [np.flatnonzero(fold_of[groups] == fold) for fold in range(self.n_splits)]

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


def _codes(groups: Any, n_rows: int) -> np.ndarray:
    groups = np.asarray(groups)
    if groups.shape != (n_rows,):
        raise ValueError(f"groups must be one-dimensional and as long as y ({n_rows}); got shape {groups.shape}.")
    return np.unique(groups, return_inverse=True)[1]
