r"""The share of each feature in a score, by integrated gradients.

With a score :math:`s`, a row :math:`x` and a baseline :math:`b`, the share of feature i is

.. math:: (x_i - b_i) \int_0^1 \partial_i s(b + t (x - b))\, dt

and the shares of all features add up to :math:`s(x) - s(b)`. Where the gradient is linear along the path, as it is for
squared distances and for the log-density of a normal distribution, the midpoint alone gives the integral exactly.

Sundararajan, Taly and Yan, "Axiomatic Attribution for Deep Networks", ICML 2017, equation 1.
"""

from __future__ import annotations

import copy
from collections.abc import Callable
from functools import singledispatch
from typing import Any

import numpy as np
import torch
from sklearn.utils.validation import check_is_fitted

from skcnf.detectors import BaseFlowDetector, FlowRatioDetector, GaussianDetector, MSEDetector, MSERatioDetector

__all__ = ["feature_shares"]

_STEPS = (1, 32, 64, 128, 256, 512)  # of the midpoint rule, tried in this order
_TOLERANCE = 1e-3  # of the difference of scores: what the rule may miss

Gradient = Callable[[np.ndarray], np.ndarray]


def feature_shares(detector: Any, X: Any, baseline: Any = None) -> np.ndarray:
    """Divide the difference between each row's score and the baseline's among the features.

    Parameters
    ----------
    detector : fitted detector
        A flow detector, a Gaussian one, `MSEDetector` or `MSERatioDetector`. In a Pipeline, pass its last step and
        transformed rows.
    X : array-like of shape (n, d)
    baseline : array-like of shape (d,), optional
        The row to compare with, such as the nearest inlier. The default is the mean of the inliers.

    Returns
    -------
    ndarray of shape (n, d), dtype float64
        In the unit of the scores. A negative share makes the row less normal. Each row sums to
        ``score_samples(x) - score_samples(baseline)``: exactly by the formula for squared distances; for flows the
        integral is taken numerically, to a thousandth of the difference or 512 steps, and the remainder is divided in
        proportion to the shares' sizes.

    Raises
    ------
    TypeError
        If the detector has no gradient.
    ValueError
        If X or the baseline is malformed.

    References
    ----------
    Sundararajan, Taly and Yan, "Axiomatic Attribution for Deep Networks", ICML 2017.

    Examples
    --------
    >>> import numpy as np
    >>> from skcnf import MSEDetector
    >>> from skcnf.explanations import feature_shares
    >>> detector = MSEDetector(random_state=0).fit(np.random.default_rng(0).normal(size=(500, 3)))
    >>> int(feature_shares(detector, [[0.0, 5.0, 0.0]]).argmin())
    1
    """
    check_is_fitted(detector)
    gradient = _gradient_of(detector)
    X = np.asarray(detector._rows(X), dtype=np.float64)
    start = _baseline(detector, baseline, X.shape[1])
    difference = detector._score_samples(X) - detector._score_samples(start[None])
    shares = _integrated(gradient, X, start, difference)
    return _complete(shares, difference)


def _baseline(detector: Any, baseline: Any, n_features: int) -> np.ndarray:
    if baseline is None:
        names = ("inlier_mean_", "location_", "mean_")  # a flow of version 0.1 has no inlier_mean_
        return np.asarray(next(getattr(detector, name) for name in names if hasattr(detector, name)), dtype=np.float64)
    baseline = np.asarray(baseline, dtype=np.float64)
    if baseline.shape != (n_features,) or not np.isfinite(baseline).all():
        raise ValueError(f"baseline must be finite and of shape ({n_features},); got shape {baseline.shape}.")
    return baseline


def _integrated(gradient: Gradient, X: np.ndarray, start: np.ndarray, difference: np.ndarray) -> np.ndarray:
    """Shares (n, d), by as many midpoints as the row needs."""
    shares = np.empty_like(X)
    for number, row in enumerate(X):
        allowed = _TOLERANCE * abs(difference[number])
        for n_steps in _STEPS:
            middles = (np.arange(n_steps) + 0.5) / n_steps
            shares[number] = (row - start) * gradient(start + middles[:, None] * (row - start)).mean(axis=0)
            if abs(shares[number].sum() - difference[number]) <= allowed:
                break
    return shares


def _complete(shares: np.ndarray, difference: np.ndarray) -> np.ndarray:
    """Shares that sum to ``difference``: what is missing goes to each in proportion to its size."""
    sizes = np.abs(shares)
    totals = sizes.sum(axis=1, keepdims=True)
    weights = np.divide(sizes, totals, out=np.full_like(sizes, 1 / sizes.shape[1]), where=totals > 0)
    return shares + weights * (difference - shares.sum(axis=1))[:, None]


@singledispatch
def _gradient_of(detector: Any) -> Gradient:
    """The gradient (n, d) of the score, as a function of rows (n, d)."""
    raise TypeError(
        f"a {type(detector).__name__} has no gradient, so that its features have no shares; use a flow detector, "
        "a Gaussian one, MSEDetector or MSERatioDetector, or an occlusion map."
    )


@_gradient_of.register
def _(detector: MSEDetector) -> Gradient:
    return lambda X: -2 * (X - detector.mean_)


@_gradient_of.register
def _(detector: MSERatioDetector) -> Gradient:
    if detector.aux_mean_ is None:
        return lambda X: -2 * (X - detector.mean_)
    constant = 2 * (detector.mean_ - detector.aux_mean_)
    return lambda X: np.broadcast_to(constant, X.shape)


@_gradient_of.register
def _(detector: GaussianDetector) -> Gradient:
    return detector._score_gradient


@_gradient_of.register
def _(detector: BaseFlowDetector) -> Gradient:
    return _flow_gradient(detector, detector.flows_)


@_gradient_of.register
def _(detector: FlowRatioDetector) -> Gradient:
    inliers = _flow_gradient(detector, detector.flows_)
    if detector.aux_flow_ is None:
        return inliers
    auxiliary = _flow_gradient(detector, [detector.aux_flow_])
    return lambda X: inliers(X) - auxiliary(X)


def _flow_gradient(detector: BaseFlowDetector, flows: list[Any]) -> Gradient:
    flows = [copy.deepcopy(flow).cpu().double().requires_grad_(False) for flow in flows]

    def gradient(X: np.ndarray) -> np.ndarray:
        rows = torch.from_numpy((X - detector.location_) / detector.scale_).requires_grad_(True)
        log_density = torch.stack([flow.log_prob(rows) for flow in flows]).mean(0)
        (slope,) = torch.autograd.grad(log_density.sum(), rows)
        return slope.numpy() / detector.scale_

    return gradient
