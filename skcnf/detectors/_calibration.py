"""Split conformal prediction: thresholds whose false-alarm rate holds on new inliers.

A new inlier and the n calibration rows are exchangeable, so the rank of its score among theirs is uniform. A
calibration row must have had no part in training, nor in any step that made the features.
"""

from __future__ import annotations

import numpy as np

__all__ = ["conformal_threshold", "rows_needed"]


def conformal_threshold(scores: np.ndarray, false_alarm_rate: float) -> tuple[float, bool]:
    """Return the threshold below which a new inlier falls with probability at most ``false_alarm_rate``.

    Parameters
    ----------
    scores : ndarray of shape (n,)
        Scores of inliers that took no part in training, exchangeable with the new one.
    false_alarm_rate : float
        Between 0 and 1.

    Returns
    -------
    threshold : float
        The score of rank floor((n + 1) * rate); the smallest score where that rank is 0.
    holds : bool
        Whether n is large enough for the rate: n >= 1 / rate - 1.

    References
    ----------
    Vovk, Gammerman and Shafer, "Algorithmic Learning in a Random World", 2005, chapter 2 (inductive conformal
    predictors).

    Examples
    --------
    >>> import numpy as np
    >>> from skcnf.detectors import conformal_threshold
    >>> conformal_threshold(np.arange(99.0), 0.05)
    (4.0, True)
    """
    rank = _rank(len(scores), false_alarm_rate)
    return float(np.partition(scores, max(rank, 1) - 1)[max(rank, 1) - 1]), rank >= 1


def rows_needed(false_alarm_rate: float) -> int:
    """The smallest number of calibration rows that can assure the rate: 1 / rate - 1, rounded up."""
    n = max(1, int(1 / false_alarm_rate) - 2)
    while _rank(n, false_alarm_rate) < 1:
        n += 1
    return n


def _rank(n: int, rate: float) -> int:
    """The largest k with k / (n + 1) <= rate in floating point, which is how p-values are compared with the rate."""
    rank = int((n + 1) * rate)
    rank += (rank + 1) / (n + 1) <= rate  # (n + 1) * rate may fall short of a whole number by rounding alone,
    rank -= rank / (n + 1) > rate  # or exceed one
    return rank
