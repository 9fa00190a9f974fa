"""Distances to means: the baselines MSE and MSE-ratio of Schmier, Köthe and Straehle, section 5.1."""

from __future__ import annotations

from typing import Any, ClassVar

import numpy as np

from skcnf.detectors._base import BaseOutlierDetector, FitRows

__all__ = ["MSEDetector", "MSERatioDetector"]


class MSEDetector(BaseOutlierDetector):
    """Score by the squared Euclidean distance to the mean of the inliers.

    Equal to the log-density of an isotropic normal, up to scale and constant. Nothing is standardised.

    Parameters
    ----------
    contamination : "auto" or float in (0, 0.5], default="auto"
        A float is the share of training rows that ``predict`` flags. "auto" sets the threshold for
        ``false_alarm_rate`` on held-out rows.
    false_alarm_rate : float in (0, 1), default=0.05
        With ``contamination="auto"``: the share of new inliers that may be flagged.
    validation_fraction : float in (0, 0.5), default=0.1
        With ``contamination="auto"``: the share of the rows that is held out to calibrate the threshold.
    random_state : int, RandomState instance or None, default=None
        Draws the held-out rows.

    Attributes
    ----------
    mean_ : ndarray of shape (n_features,)
    offset_ : float
    n_features_in_ : int

    Examples
    --------
    >>> import numpy as np
    >>> from skcnf import MSEDetector
    >>> X = np.random.default_rng(0).normal(size=(500, 8))
    >>> detector = MSEDetector(random_state=0).fit(X)
    >>> detector.predict([[0.0] * 8, [5.0] * 8])
    array([ 1, -1])
    """

    def __init__(
        self,
        *,
        contamination: str | float = "auto",
        false_alarm_rate: float = 0.05,
        validation_fraction: float = 0.1,
        random_state: Any = None,
    ) -> None:
        self.contamination = contamination
        self.false_alarm_rate = false_alarm_rate
        self.validation_fraction = validation_fraction
        self.random_state = random_state

    def _fit_rows(self, rows: FitRows) -> None:
        self.mean_ = rows.train.mean(axis=0, dtype=np.float64)

    def _score_samples(self, X: np.ndarray) -> np.ndarray:
        return -_squared_distance(X, self.mean_)


class MSERatioDetector(MSEDetector):
    """Score by the squared distance to the auxiliary mean, less that to the inlier mean.

    The log-ratio of two isotropic normals, up to scale. Without ``X_aux`` it is `MSEDetector`, and ``fit`` warns.

    Parameters
    ----------
    contamination : "auto" or float in (0, 0.5], default="auto"
        A float is the share of training rows that ``predict`` flags. "auto" sets the threshold for
        ``false_alarm_rate`` on held-out rows.
    false_alarm_rate : float in (0, 1), default=0.05
        With ``contamination="auto"``: the share of new inliers that may be flagged.
    validation_fraction : float in (0, 0.5), default=0.1
        With ``contamination="auto"``: the share of the rows that is held out to calibrate the threshold.
    random_state : int, RandomState instance or None, default=None
        Draws the held-out rows.

    Attributes
    ----------
    mean_, aux_mean_ : ndarray of shape (n_features,)
        ``aux_mean_`` is None without ``X_aux``.
    offset_ : float
    n_features_in_ : int
    """

    _uses_aux: ClassVar[bool] = True
    _without_aux: ClassVar[str] = "fitted without X_aux, it scores by the distance to the inlier mean alone."

    def _fit_rows(self, rows: FitRows) -> None:
        super()._fit_rows(rows)
        self.aux_mean_ = None if rows.X_aux is None else rows.X_aux.mean(axis=0, dtype=np.float64)

    def _score_samples(self, X: np.ndarray) -> np.ndarray:
        score = super()._score_samples(X)
        return score if self.aux_mean_ is None else score + _squared_distance(X, self.aux_mean_)


def _squared_distance(X: np.ndarray, center: np.ndarray) -> np.ndarray:
    return np.square(X - center, dtype=np.float64).sum(axis=1)
