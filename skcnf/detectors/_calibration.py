r"""Split conformal prediction: p-values and thresholds whose rate of false alarms holds on new inliers.

With the scores :math:`s_1 \dots s_n` of inliers that took no part in training, a new row of score :math:`s` has

.. math:: p(s) = \frac{1 + |\{i : s_i \le s\}|}{n + 1}

A new inlier is exchangeable with the calibration rows, so :math:`P(p \le \alpha) \le \alpha` for every :math:`\alpha`,
and it is at least :math:`\lfloor (n + 1) \alpha \rfloor / (n + 1)` where scores have no ties. With groups each row is
compared with the calibration rows of its own group alone (Mondrian conformal prediction), and the same holds in each
group.

Nothing before the detector may have learnt from the calibration rows either: neither a scaler nor an encoder.

References
----------
Vovk, Gammerman and Shafer, "Algorithmic Learning in a Random World", 2005, chapters 2 and 4.
Bates, Candès, Lei, Romano and Sesia, "Testing for outliers with conformal p-values", Annals of Statistics 2023.
"""

from __future__ import annotations

from dataclasses import dataclass
from numbers import Integral
from typing import Any

import numpy as np
from scipy.stats import false_discovery_control

__all__ = ["Calibration", "check_groups", "conformal_p_values", "conformal_threshold", "rows_needed"]


def conformal_p_values(scores: np.ndarray, calibration_scores: np.ndarray) -> np.ndarray:
    """Return the share of inliers that would score as low as each row.

    Parameters
    ----------
    scores : array-like of shape (m,)
        Higher = more normal. NaN counts as the lowest score.
    calibration_scores : array-like of shape (n,)
        Scores of inliers that took no part in training.

    Returns
    -------
    ndarray of shape (m,), dtype float64
        Between 1 / (n + 1) and 1; small = anomalous.

    Examples
    --------
    >>> from skcnf.detectors import conformal_p_values
    >>> conformal_p_values([-1.0, 2.5, 9.0], [1.0, 2.0, 3.0]).tolist()
    [0.25, 0.75, 1.0]
    """
    calibration = np.sort(_ordered(calibration_scores))
    return (1 + np.searchsorted(calibration, _ordered(scores), side="right")) / (len(calibration) + 1)


def conformal_threshold(scores: np.ndarray, false_alarm_rate: float) -> tuple[float, bool]:
    """Return the threshold below which a new inlier falls with probability at most ``false_alarm_rate``.

    Parameters
    ----------
    scores : array-like of shape (n,)
        Scores of inliers that took no part in training, exchangeable with the new one.
    false_alarm_rate : float
        Between 0 and 1.

    Returns
    -------
    threshold : float
        The score of rank floor((n + 1) * rate): a row lies below it exactly where its p-value is at most the rate. The
        smallest score where that rank is 0.
    holds : bool
        Whether n is large enough for the rate: n >= 1 / rate - 1.

    Examples
    --------
    >>> import numpy as np
    >>> from skcnf.detectors import conformal_threshold
    >>> conformal_threshold(np.arange(99.0), 0.05)
    (4.0, True)
    """
    scores = _ordered(scores)
    rank = rank_of(len(scores), false_alarm_rate)
    return float(np.partition(scores, max(rank, 1) - 1)[max(rank, 1) - 1]), rank >= 1


def rows_needed(rate: float) -> int:
    """Return the smallest number of calibration rows that can assure a rate: 1 / rate - 1, rounded up."""
    n = max(1, int(1 / rate) - 2)
    while rank_of(n, rate) < 1:
        n += 1
    return n


def rank_of(n: int, rate: float) -> int:
    """Return the largest k with k / (n + 1) <= rate in floating point, as p-values are compared with the rate."""
    rank = int((n + 1) * rate)
    rank += (rank + 1) / (n + 1) <= rate  # (n + 1) * rate may fall short of a whole number by rounding alone,
    rank -= rank / (n + 1) > rate  # or exceed one
    return rank


def discoveries(p_values: np.ndarray, fdr: float) -> np.ndarray:
    """Which p-values (n,) Benjamini and Hochberg's procedure selects at ``fdr``; rounding alone loses none."""
    return false_discovery_control(p_values) <= fdr * (1 + 8 * np.finfo(np.float64).eps)


def _ordered(scores: Any) -> np.ndarray:
    """Return scores as float64; NaN, which compares with nothing, becomes the lowest."""
    scores = np.asarray(scores, dtype=np.float64)
    return np.where(np.isnan(scores), -np.inf, scores)


@dataclass(frozen=True)
class Calibration:
    """Scores of calibration rows, pooled or by group.

    Parameters
    ----------
    scores : ndarray of shape (n,)
        In ascending order.
    codes : ndarray of int of shape (n,), optional
        The group of each score, as a position in ``names``.
    names : tuple of str
        The groups; empty without groups.
    """

    scores: np.ndarray
    codes: np.ndarray | None = None
    names: tuple[str, ...] = ()

    @classmethod
    def of(cls, scores: np.ndarray, groups: np.ndarray | None = None) -> Calibration:
        """Sort scores, which may come in any order, together with the group of each."""
        scores = _ordered(scores)
        order = np.argsort(scores, kind="stable")
        if groups is None:
            return cls(scores[order])
        names, codes = np.unique(groups, return_inverse=True)
        return cls(scores[order], codes[order].astype(np.int64), tuple(names.tolist()))

    def by_group(self) -> dict[str, np.ndarray]:
        """Return the ascending scores of each group."""
        return {name: self.scores[self.codes == code] for code, name in enumerate(self.names)}

    def sizes(self) -> dict[str, int]:
        """Count the calibration rows of each group; without groups, all of them under the name ""."""
        return {name: len(scores) for name, scores in self.by_group().items()} if self.names else {"": len(self.scores)}

    def p_values(self, scores: np.ndarray, groups: np.ndarray | None) -> np.ndarray:
        """`conformal_p_values` of ``scores`` (m,), each within its group (m,)."""
        if groups is None:
            return conformal_p_values(scores, self.scores)
        p_values = np.empty(len(scores))
        for name, calibration in self.by_group().items():
            own = groups == name
            p_values[own] = conformal_p_values(scores[own], calibration)
        return p_values

    def thresholds(self, rate: float) -> dict[str, float]:
        """`conformal_threshold` of each group."""
        return {name: conformal_threshold(scores, rate)[0] for name, scores in self.by_group().items()}


def check_groups(groups: Any, n_rows: int, known: tuple[str, ...] | None = None) -> np.ndarray:
    """Return groups as an array (n_rows,) of text; if ``known`` is given, it must hold all of them.

    Raises
    ------
    ValueError
        If the shape is another, a label is neither text nor an integer, or a group is unknown.
    """
    labels = np.asarray(groups, dtype=object)
    if labels.shape != (n_rows,):
        raise ValueError(f"groups has shape {labels.shape}; it must hold one label for each of the {n_rows} rows of X.")
    for label in labels:
        if not isinstance(label, (str, Integral)) or isinstance(label, bool):
            raise ValueError(f"groups holds {label!r}; a label must be text or an integer.")
    names = labels.astype(str)
    unknown = sorted(set(names.tolist()).difference(known or names.tolist()))
    if unknown:
        raise ValueError(
            f"groups holds {_listed(unknown)}, without calibration rows; the groups calibrated are {_listed(known)}."
        )
    return names


def _listed(names: Any, most: int = 5) -> str:
    names = list(names)
    return ", ".join(map(repr, names[:most])) + (f" and {len(names) - most} more" if len(names) > most else "")
