"""Distances to means: the baselines MSE and MSE-ratio of Schmier, Köthe and Straehle, section 5.1."""

from __future__ import annotations

from typing import ClassVar

import numpy as np

from skcnf.detectors._base import BaseOutlierDetector, FitRows
from skcnf.detectors._docs import with_shared_parameters

__all__ = ["MSEDetector", "MSERatioDetector"]


@with_shared_parameters
class MSEDetector(BaseOutlierDetector):
    """Score by the negative squared Euclidean distance to the mean of the inliers.

    The score is the log-density of an isotropic normal up to scale and constant, in squared units of X. Nothing is
    standardised.

    Parameters
    ----------
    {calibration_parameters}

    Attributes
    ----------
    mean_ : ndarray of shape (n_features,)
        The mean of the training rows.
    {fitted_attributes}

    Examples
    --------
    >>> import numpy as np
    >>> from skcnf import MSEDetector
    >>> X = np.random.default_rng(0).normal(size=(500, 8))
    >>> detector = MSEDetector(random_state=0).fit(X)
    >>> detector.predict([[0.0] * 8, [5.0] * 8])
    array([ 1, -1])
    """

    def _fit_rows(self, rows: FitRows) -> None:
        self.mean_ = rows.train.mean(axis=0, dtype=np.float64)

    def _score_samples(self, X: np.ndarray) -> np.ndarray:
        return -_squared_distance(X, self.mean_)


@with_shared_parameters
class MSERatioDetector(MSEDetector):
    """Score by the squared distance to the auxiliary mean, less that to the inlier mean.

    The score is the log-ratio of two isotropic normals up to scale, in squared units of X. Without ``X_aux`` it is
    `MSEDetector`, and ``fit`` warns.

    Parameters
    ----------
    {calibration_parameters}

    Attributes
    ----------
    mean_ : ndarray of shape (n_features,)
        The mean of the training rows.
    aux_mean_ : ndarray of shape (n_features,) or None
        The mean of the auxiliary rows; None without ``X_aux``.
    {fitted_attributes}

    Examples
    --------
    >>> import numpy as np
    >>> from skcnf import MSERatioDetector
    >>> rng = np.random.default_rng(0)
    >>> X, X_aux = rng.normal(size=(500, 8)), rng.normal(3.0, size=(500, 8))
    >>> MSERatioDetector(random_state=0).fit(X, X_aux).predict([[0.0] * 8, [3.0] * 8])
    array([ 1, -1])
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
