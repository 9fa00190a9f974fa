r"""Training objectives of flows, as pure functions of negative log-densities, and the exact optimum of one of them.

Everything is in nats. A flow :math:`T` gives the paper's negative log-likelihood, which leaves out the constant,

.. math:: \mathrm{nll}(x) = \tfrac12 |T(x)|^2 - \log|\det J_T(x)|

and the contrastive objective of Schmier, Köthe and Straehle (algorithm 1, equation 3, clamped) is

.. math:: L = \mathrm{mean}_{x \sim p}\, \mathrm{nll}(x) - \alpha\, \mathrm{mean}_{a \sim q} \min(\mathrm{nll}(a), c).

Without the clamp :math:`c` the second term is unbounded. With it the optimum is finite, unique and known: see
`optimal_density`.
"""

from __future__ import annotations

import math

import numpy as np
import torch
from scipy.optimize import brentq
from torch import Tensor

__all__ = [
    "LOG_2PI",
    "contrastive_loss",
    "likelihood_loss",
    "negative_log_likelihood",
    "optimal_density",
    "outlier_exposure_loss",
]

LOG_2PI = math.log(2 * math.pi)


def negative_log_likelihood(z: Tensor, log_det: Tensor) -> Tensor:
    """The paper's equation 1, without the constant (d/2) log 2 pi.

    Parameters
    ----------
    z : Tensor of shape (n, d)
        Latent points T(x).
    log_det : Tensor of shape (n,)
        The logarithm of ``|det J_T(x)|``.

    Returns
    -------
    Tensor of shape (n,)
    """
    return 0.5 * z.square().sum(1) - log_det


def likelihood_loss(nll: Tensor) -> Tensor:
    """Maximum likelihood: the mean of ``nll`` (n,)."""
    return nll.mean()


def contrastive_loss(nll: Tensor, nll_aux: Tensor, clamp: float = 0.0, aux_weight: float = 1.0) -> Tensor:
    """Likelihood up on inliers, down on auxiliary rows until their NLL reaches ``clamp``.

    An auxiliary row whose NLL is above ``clamp`` has zero gradient: it is improbable enough.

    Parameters
    ----------
    nll : Tensor of shape (n,)
        Of inliers.
    nll_aux : Tensor of shape (m,)
        Of auxiliary rows.
    clamp : float
        c above, in the units of ``nll``.
    aux_weight : float
        alpha above; 1 is the paper's.

    References
    ----------
    Schmier, Köthe and Straehle, equation 3, section 5 ("Contrastive loss clamping") and algorithm 1.
    """
    return nll.mean() - aux_weight * nll_aux.clamp(max=clamp).mean()


def outlier_exposure_loss(nll: Tensor, nll_aux: Tensor, margin: float, weight: float = 1.0) -> Tensor:
    """Likelihood of inliers plus a hinge that keeps auxiliary rows ``margin`` nats less likely than inliers.

    The hinge is averaged over all pairs of an inlier and an auxiliary row, so the two may differ in number; inliers
    get no gradient from it.

    Parameters
    ----------
    nll : Tensor of shape (n,)
        Of inliers.
    nll_aux : Tensor of shape (m,)
        Of auxiliary rows.
    margin : float
        In nats.
    weight : float
        Of the hinge.

    References
    ----------
    Hendrycks, Mazeika and Dietterich, "Deep Anomaly Detection with Outlier Exposure", ICLR 2019, section 4.4.
    """
    hinge = torch.relu(margin + nll.detach().unsqueeze(1) - nll_aux.unsqueeze(0))
    return nll.mean() + weight * hinge.mean()


def optimal_density(
    p: np.ndarray,
    q: np.ndarray,
    cell: float,
    *,
    clamp: float = 0.0,
    aux_weight: float = 1.0,
    n_features: int = 1,
) -> np.ndarray:
    r"""The density that minimises the clamped contrastive objective, on a grid.

    With the floor :math:`\epsilon = -c - (d/2) \log 2\pi`, which is the log-density at which the clamp acts,

    .. math:: f^* = \max\Big(\frac{p - \alpha q}{\lambda},\ \min\big(\frac{p}{\lambda},\ e^\epsilon\big)\Big)

    with :math:`\lambda` such that :math:`f^*` integrates to 1. A clamp of -inf gives p (maximum likelihood); +inf gives
    the paper's normalised positive difference, and lambda is then the total variation distance where alpha = 1.

    Parameters
    ----------
    p, q : ndarray of one shape
        Densities of inliers and of auxiliary rows at the cells of a regular grid.
    cell : float
        Volume of a cell.
    clamp : float
        c of `contrastive_loss`, in nats, without the constant (d/2) log 2 pi. May be infinite.
    aux_weight : float
        alpha, not negative.
    n_features : int
        d, the dimension of the space.

    Returns
    -------
    ndarray of the shape of p

    Raises
    ------
    ValueError
        If p and q differ in shape, or p nowhere exceeds ``aux_weight * q`` and the clamp is infinite: then no density
        is optimal.
    """
    p, q = np.asarray(p, dtype=float), np.asarray(q, dtype=float)
    if p.shape != q.shape:
        raise ValueError(f"p and q must be on one grid; got shapes {p.shape} and {q.shape}.")
    difference = p - aux_weight * q
    floor = np.exp(-clamp - 0.5 * n_features * LOG_2PI)
    if floor == 0 and difference.max() <= 0:
        raise ValueError("p nowhere exceeds aux_weight * q, so that with clamp=inf no density is optimal.")

    def density(log_lam: float) -> np.ndarray:
        lam = np.exp(log_lam)
        return np.maximum(difference / lam, np.minimum(p / lam, floor))

    # The mass falls from infinity to 0 as lambda grows; f* <= p / lambda brackets it from above.
    high = math.log(p.sum() * cell) + 1e-9
    low = high - 1.0
    while density(low).sum() * cell < 1:
        low -= 10.0
        if low < -700:
            raise ValueError(f"clamp={clamp} leaves no room for a density on this grid; lower it or widen the grid.")
    return density(brentq(lambda log_lam: density(log_lam).sum() * cell - 1, low, high, xtol=1e-12))
