"""Closed-form rivals of the flows: a Gaussian of the inliers, and its ratio to one of the auxiliary rows."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np
from sklearn.utils._param_validation import StrOptions

from skcnf._core.rows import LazyRows, row_batches
from skcnf.detectors._base import BaseOutlierDetector, FitRows
from skcnf.detectors._docs import with_shared_parameters
from skcnf.detectors._gaussian_density import Gaussian

__all__ = ["GaussianDetector", "GaussianRatioDetector"]

_EQUAL_NORMS = 0.01  # rows whose norms differ by less, relative to their mean, have one norm
_ENOUGH_ROWS = 10  # auxiliary rows a feature, to whiten by their covariance as it is
_SCORING_BATCH = 16_384
_MAX_NUMBERS = 2**27  # of the auxiliary rows that are learnt from; in float64 they take a GiB


@with_shared_parameters
@dataclass(kw_only=True, eq=False, repr=False)
class GaussianDetector(BaseOutlierDetector):
    """Score by the log-density of a Gaussian of the inliers: the Mahalanobis distance under a shrunk covariance.

    The covariance is shrunk by the formula of Ledoit and Wolf, which needs no parameter. The score is the exact
    log-density in nats in the space of X; where rows are whitened, in the space of the whitened rows of unit norm.

    Parameters
    ----------
    whiten : "auto" or bool, default=False
        Whether to shift and turn X so that the auxiliary rows have mean 0 and unit covariance, and to scale each row to
        unit norm after that: its direction is all that counts. Without it ``X_aux`` has no use. It helps features of a
        weak encoder, and costs a little on those of a better one (see "How the defaults were chosen"). "auto" does so
        where X and ``X_aux`` have rows of one norm and ``X_aux`` has at least ten rows for each feature.
    {calibration_parameters}

    Attributes
    ----------
    location_ : ndarray of shape (n_features,)
        The mean of the training rows.
    mean_ : ndarray of shape (n_features,)
        The mean of the Gaussian: that of the training rows, whitened where they are.
    precision_cholesky_ : ndarray of shape (n_features, n_features)
        The Cholesky factor of the inverse of their shrunk covariance.
    covariance_ : ndarray of shape (n_features, n_features)
        Their shrunk covariance.
    {whitening_attributes}
    {fitted_attributes}

    References
    ----------
    Ledoit and Wolf, "A Well-Conditioned Estimator for Large-Dimensional Covariance Matrices", Journal of Multivariate
    Analysis 88, 2004.

    Examples
    --------
    >>> import numpy as np
    >>> from skcnf import GaussianDetector
    >>> X = np.random.default_rng(0).normal(size=(500, 8))
    >>> detector = GaussianDetector(random_state=0).fit(X)
    >>> detector.predict([[0.0] * 8, [5.0] * 8])
    array([ 1, -1])
    """

    _parameter_constraints: ClassVar[dict[str, list[Any]]] = {
        **BaseOutlierDetector._parameter_constraints,
        "whiten": ["boolean", StrOptions({"auto"})],
    }

    whiten: str | bool = False

    def _fit_rows(self, rows: FitRows) -> None:
        self.whitening_mean_: np.ndarray | None = None
        self.whitening_: np.ndarray | None = None
        if self.whiten:
            self._learn_whitening(rows.train, None if rows.X_aux is None else _part(rows.X_aux))
        self.location_ = rows.train.mean(axis=0, dtype=np.float64)
        inliers = self._fit_gaussian(rows.train)
        self.mean_, self.precision_cholesky_ = inliers.mean, inliers.precision_cholesky

    @property
    def _takes_aux(self) -> bool:
        return self._uses_aux or bool(self.whiten)

    def _learn_whitening(self, X: np.ndarray, X_aux: np.ndarray | None) -> None:
        if X_aux is None:
            if self.whiten != "auto":
                raise ValueError("whiten=True needs X_aux; use whiten='auto' or give X_aux.")
            return
        enough = len(X_aux) >= _ENOUGH_ROWS * X.shape[1]
        if self.whiten != "auto" or (enough and _have_one_norm(X, X_aux)):
            # Shrinkage would hide directions of little variance, which tell classes of images apart.
            whitening = Gaussian.fit(X_aux, shrink=not enough)
            self.whitening_mean_, self.whitening_ = whitening.mean, whitening.precision_cholesky

    def _fit_gaussian(self, X: np.ndarray) -> Gaussian:
        # whitened features have comparable scales, in an arbitrary rotation
        return Gaussian.fit(self._whitened(X), standardize=self.whitening_ is None)

    def _whitened(self, X: np.ndarray) -> np.ndarray:
        if self.whitening_ is None or self.whitening_mean_ is None:
            return X
        Z = Gaussian(self.whitening_mean_, self.whitening_).whiten(X)
        return Z / _norms(Z)[:, None]

    @property
    def gaussian_(self) -> Gaussian:
        """The Gaussian of the training rows, whitened where they are."""
        return Gaussian(self.mean_, self.precision_cholesky_)

    @property
    def covariance_(self) -> np.ndarray:
        """The covariance of ``gaussian_``."""
        return self.gaussian_.covariance

    def _score_samples(self, X: np.ndarray) -> np.ndarray:
        scores = np.empty(len(X))
        for part in row_batches(len(X), _SCORING_BATCH):
            scores[part] = self._score_whitened(self._whitened(X[part]))
        return scores

    def _score_gradient(self, X: np.ndarray) -> np.ndarray:
        """The gradients (n, d) of the score at rows X (n, d)."""
        if self.whitening_ is None or self.whitening_mean_ is None:
            return self._gradient_whitened(X)
        Z = Gaussian(self.whitening_mean_, self.whitening_).whiten(X)
        norms = _norms(Z)[:, None]
        gradient = self._gradient_whitened(Z / norms)
        along = (gradient * Z).sum(axis=1, keepdims=True) * Z / norms**2  # scaling to unit norm takes no notice of it
        return (gradient - along) / norms @ self.whitening_.T

    def _gradient_whitened(self, Z: np.ndarray) -> np.ndarray:
        return self.gaussian_.gradient(Z)

    def _score_whitened(self, Z: np.ndarray) -> np.ndarray:
        return self.gaussian_.log_density(Z)


@with_shared_parameters
@dataclass(kw_only=True, eq=False, repr=False)
class GaussianRatioDetector(GaussianDetector):
    """Score by the log-ratio of a Gaussian of the inliers and a Gaussian of the auxiliary rows.

    The score is the log-ratio in nats: up to a constant, minus half the relative Mahalanobis distance of Ren et al.
    with the auxiliary rows as background. Without ``X_aux`` it is `GaussianDetector`, and ``fit`` warns.

    Parameters
    ----------
    whiten : "auto" or bool, default=False
        Whether to whiten rows by the auxiliary ones and to scale them to unit norm, see `GaussianDetector`. The
        auxiliary Gaussian is then nearly the same in all directions, and the score nearly that of a whitened
        `GaussianDetector` up to a constant. With False it is the published one.
    {calibration_parameters}

    Attributes
    ----------
    location_ : ndarray of shape (n_features,)
        The mean of the training rows.
    mean_, aux_mean_ : ndarray of shape (n_features,)
        The means of the Gaussians: those of the training and of the auxiliary rows, whitened where they are;
        ``aux_mean_`` is None without ``X_aux``.
    precision_cholesky_, aux_precision_cholesky_ : ndarray of shape (n_features, n_features)
        The Cholesky factors of the inverses of their shrunk covariances; the second is None without ``X_aux``.
    covariance_ : ndarray of shape (n_features, n_features)
        The shrunk covariance of the training rows.
    {whitening_attributes}
    {fitted_attributes}

    References
    ----------
    Ren, Fort, Liu, Roy, Padhy and Lakshminarayanan, "A Simple Fix to Mahalanobis Distance for Improving Near-OOD
    Detection", arXiv:2106.09022, equation 3.

    Examples
    --------
    >>> import numpy as np
    >>> from skcnf import GaussianRatioDetector
    >>> rng = np.random.default_rng(0)
    >>> X, X_aux = rng.normal(size=(500, 8)), rng.normal(3.0, size=(500, 8))
    >>> GaussianRatioDetector(random_state=0).fit(X, X_aux).predict([[0.0] * 8, [3.0] * 8])
    array([ 1, -1])
    """

    _uses_aux: ClassVar[bool] = True
    _without_aux: ClassVar[str] = "fitted without X_aux, it is the density of the inliers alone (GaussianDetector)."

    def _fit_rows(self, rows: FitRows) -> None:
        super()._fit_rows(rows)
        self.aux_mean_ = self.aux_precision_cholesky_ = None
        if rows.X_aux is not None:
            auxiliary = self._fit_gaussian(_part(rows.X_aux))
            self.aux_mean_, self.aux_precision_cholesky_ = auxiliary.mean, auxiliary.precision_cholesky

    @property
    def aux_gaussian_(self) -> Gaussian | None:
        """The Gaussian of the auxiliary rows, whitened where they are; None without ``X_aux``."""
        if self.aux_mean_ is None or self.aux_precision_cholesky_ is None:
            return None
        return Gaussian(self.aux_mean_, self.aux_precision_cholesky_)

    def _score_whitened(self, Z: np.ndarray) -> np.ndarray:
        score, auxiliary = super()._score_whitened(Z), self.aux_gaussian_
        return score if auxiliary is None else score - auxiliary.log_density(Z)

    def _gradient_whitened(self, Z: np.ndarray) -> np.ndarray:
        gradient, auxiliary = super()._gradient_whitened(Z), self.aux_gaussian_
        return gradient if auxiliary is None else gradient - auxiliary.gradient(Z)


def _part(X: np.ndarray | LazyRows) -> np.ndarray:
    """Evenly spaced rows, as many as may be learnt from."""
    return X[:: -(-X.size // _MAX_NUMBERS)]


def _norms(X: np.ndarray) -> np.ndarray:
    """Norms (n,) of rows; 1 for rows of zeros."""
    norms = np.sqrt(np.square(X, dtype=np.float64).sum(axis=1))
    return np.where(norms > 0, norms, 1)


def _have_one_norm(*parts: np.ndarray) -> bool:
    norms = np.concatenate([_norms(X) for X in parts])
    return bool(np.ptp(norms) <= _EQUAL_NORMS * norms.mean())
