"""Multivariate normal densities with a shrunk covariance.

The log-density in nats is ``-|z|^2 / 2 + log|det L| - (d / 2) log 2 pi`` with ``z = (x - mean) L``, where ``L L^T`` is
the inverse of the covariance, so that ``|z|`` is the Mahalanobis distance.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from scipy.linalg import solve_triangular
from sklearn.covariance import ledoit_wolf

from skcnf._core.rows import row_batches
from skcnf.detectors._flow import feature_scale

__all__ = ["Gaussian"]

_TILE = 256
_SMALLEST_EIGENVALUE = 1e-10  # in units of the largest


@dataclass(frozen=True)
class Gaussian:
    """A multivariate normal distribution.

    Parameters
    ----------
    mean : ndarray of shape (d,)
    precision_cholesky : ndarray of shape (d, d)
        Lower triangular: the Cholesky factor of the inverse of the covariance.
    """

    mean: np.ndarray
    precision_cholesky: np.ndarray

    @classmethod
    def fit(cls, X: np.ndarray, *, shrink: bool = True, standardize: bool = True) -> Gaussian:
        """Take the mean and the covariance of rows X (n, d).

        Parameters
        ----------
        X : ndarray of shape (n, d)
        shrink : bool, default=True
            Shrink the covariance by the formula of Ledoit and Wolf.
        standardize : bool, default=True
            Shrink towards the features' own variances, so that their units do not matter; if not, towards their mean
            variance, so that a rotation of X does not.

        References
        ----------
        Ledoit and Wolf, "A Well-Conditioned Estimator for Large-Dimensional Covariance Matrices", Journal of
        Multivariate Analysis 88, 2004.
        """
        X = X.astype(np.float64)
        mean = X.mean(axis=0)
        scale = feature_scale(X) if standardize else np.ones(X.shape[1])
        covariance = _covariance((X - mean) / scale, shrink)
        return cls(mean, np.linalg.cholesky(_inverse(covariance)) / scale[:, None])

    @property
    def covariance(self) -> np.ndarray:
        """The covariance, of shape (d, d)."""
        inverse = solve_triangular(self.precision_cholesky, np.eye(len(self.mean)), lower=True)
        return inverse.T @ inverse

    @property
    def log_constant(self) -> float:
        """The log-density at the mean, in nats."""
        log_det = float(np.log(np.diagonal(self.precision_cholesky)).sum())
        return log_det - len(self.mean) / 2 * math.log(2 * math.pi)

    def whiten(self, X: np.ndarray) -> np.ndarray:
        """Rows of X (n, d) as ``z``: of mean 0 and unit covariance where X has this distribution.

        A row gives the same bits whatever rows are beside it: all products have one shape, as kernels are chosen by it.
        """
        Z = np.empty(X.shape)
        tile = np.zeros((_TILE, X.shape[1]))
        for part in row_batches(len(X), _TILE):
            n_rows = part.stop - part.start
            tile[:n_rows] = X[part] - self.mean
            Z[part] = (tile @ self.precision_cholesky)[:n_rows]
        return Z

    def gradient(self, X: np.ndarray) -> np.ndarray:
        """The gradients (n, d) of the log-density at rows X (n, d)."""
        return -self.whiten(X) @ self.precision_cholesky.T

    def log_density(self, X: np.ndarray) -> np.ndarray:
        """Log-densities (n,) of rows X (n, d), in nats."""
        return self.log_constant - np.square(self.whiten(X)).sum(axis=1) / 2


def _covariance(X: np.ndarray, shrink: bool) -> np.ndarray:
    """The covariance (d, d) of centred rows X (n, d)."""
    if shrink and len(X) > 1:
        return ledoit_wolf(X, assume_centered=True)[0]
    return X.T @ X / len(X)


def _inverse(covariance: np.ndarray) -> np.ndarray:
    """The inverse (d, d) of a covariance whose small eigenvalues are raised; that of zeros is the identity."""
    values, vectors = np.linalg.eigh(covariance)
    values = np.maximum(values, values[-1] * _SMALLEST_EIGENVALUE) if values[-1] > 0 else np.ones_like(values)
    inverse = (vectors / values) @ vectors.T
    return (inverse + inverse.T) / 2
