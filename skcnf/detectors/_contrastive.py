"""Detectors whose flow learns from auxiliary rows: contrastive normalizing flows and outlier exposure."""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial
from numbers import Integral, Real
from typing import Any, ClassVar

import numpy as np
import torch
from sklearn.utils._param_validation import Interval, StrOptions

from skcnf.detectors._base import FitSteps
from skcnf.detectors._docs import with_shared_parameters
from skcnf.detectors._flow import BaseFlowDetector, FlowRows, feature_scale
from skcnf.detectors._validation import warn_user
from skcnf.flows import FlowData, Stage, contrastive_loss, outlier_exposure_loss

__all__ = ["ContrastiveFlowDetector", "OutlierExposureDetector"]

_AUTO_CLAMP_PER_FEATURE = 0.5  # nats; chosen by the protocol in docs/defaults.rst


@with_shared_parameters
@dataclass(kw_only=True, eq=False, repr=False)
class ContrastiveFlowDetector(BaseFlowDetector):
    """Contrastive normalizing flow: it raises the likelihood of inliers and lowers that of auxiliary rows.

    With inliers x, auxiliary rows a, the flow T and its Jacobian J_T, training minimises::

        mean nll(x) - aux_weight * mean min(nll(a), nll_clamp)
        nll(x) = |T(x)|^2 / 2 - log|det J_T(x)|

    The flow so learns the normalised positive difference of the two densities, softened by the clamp
    (`skcnf.flows.optimal_density` is the exact optimum). The score is its log-density, in nats in the space of X.
    Without ``X_aux`` it is the plain flow, and ``fit`` warns.

    Parameters
    ----------
    nll_clamp : "auto" or float, default="auto"
        An auxiliary row has no gradient once its negative log-likelihood, in nats in the space of X and without the
        constant (d/2) log 2 pi, exceeds the clamp. A number depends on the scale of X: the paper's 0 suits features of
        unit norm (Table 6). "auto" follows the scale: it is the mean negative log-likelihood of the inliers under an
        independent normal of their means and variances, plus half a nat for each feature.
    aux_weight : float, default=1.0
        Weight of the auxiliary term; the paper has 1.
    warmup_epochs : int, default=0
        The first epochs train by likelihood alone.
    {flow_parameters}

    Attributes
    ----------
    nll_clamp_ : float
        The clamp in force, in the unit of ``nll_clamp``.
    {flow_attributes}

    References
    ----------
    Schmier, Köthe and Straehle, "Anomaly Detection using Contrastive Normalizing Flows", equation 3 and algorithm 1.

    Examples
    --------
    >>> import numpy as np
    >>> from skcnf import ContrastiveFlowDetector
    >>> rng = np.random.default_rng(0)
    >>> X, X_aux = rng.normal(size=(500, 4)), rng.normal(scale=3, size=(2000, 4))
    >>> detector = ContrastiveFlowDetector(n_blocks=2, hidden_units=32, max_epochs=5, random_state=0).fit(X, X_aux)
    >>> detector.predict([[0.0] * 4, [6.0] * 4])
    array([ 1, -1])
    """

    _uses_aux: ClassVar[bool] = True
    _without_aux: ClassVar[str] = "fitted without X_aux, it is the plain flow (FlowDetector)."
    _parameter_constraints: ClassVar[dict[str, list[Any]]] = {
        **BaseFlowDetector._parameter_constraints,
        "nll_clamp": [StrOptions({"auto"}), Interval(Real, None, None, closed="neither")],
        "aux_weight": [Interval(Real, 0, None, closed="left")],
        "warmup_epochs": [Interval(Integral, 0, None, closed="left")],
    }

    nll_clamp: str | float = "auto"
    aux_weight: float = 1.0
    warmup_epochs: int = 0

    def _fit_flows(self, rows: FlowRows, device: torch.device) -> FitSteps:
        self.nll_clamp_ = _auto_clamp(rows.train) if self.nll_clamp == "auto" else float(self.nll_clamp)
        yield from super()._fit_flows(rows, device)
        if rows.X_aux is not None and len(self.history_) > self.warmup_epochs:
            self._warn_of_clamp(self.history_[-1]["aux_active_fraction"])

    def _stages(self, data: FlowData) -> list[Stage]:
        if data.X_aux is None:
            return super()._stages(data)
        clamp = self.nll_clamp_ - float(np.log(self.scale_).sum())  # in the space of standardised rows
        return [Stage(partial(contrastive_loss, clamp=clamp, aux_weight=self.aux_weight), clamp, self.warmup_epochs)]

    def _warn_of_clamp(self, active: float) -> None:
        below = f"{active:.1%} of the auxiliary rows are below nll_clamp={self.nll_clamp_:.4g}"
        if active < 0.001:
            advice = (
                "The clamp is that of 'auto', so these rows are far from X: give auxiliary rows that are more like X."
                if self.nll_clamp == "auto"
                else "Raise nll_clamp, or use 'auto'."
            )
            warn_user(self, f"{below}: they have no gradient, and the flow learns the density of X alone. {advice}")
        elif active > 0.999:
            advice = "Lower nll_clamp." if self.nll_clamp == "auto" else "Lower nll_clamp, or use 'auto'."
            warn_user(self, f"{below}: the clamp does not act, and training may diverge. {advice}")


def _auto_clamp(X: np.ndarray) -> float:
    """Mean NLL of ``X`` under an independent normal of its own moments, without constant, plus half a nat a feature."""
    return float(np.log(feature_scale(X)).sum() + X.shape[1] * (0.5 + _AUTO_CLAMP_PER_FEATURE))


@with_shared_parameters
@dataclass(kw_only=True, eq=False, repr=False)
class OutlierExposureDetector(BaseFlowDetector):
    """Outlier exposure: a flow of the inliers is fine-tuned until auxiliary rows are less likely by a margin.

    The first stage trains by likelihood. The second adds ``aux_weight * mean max(margin + nll(x) - nll(a), 0)`` over
    pairs of an inlier x and an auxiliary row a, without gradient through nll(x). The score is the flow's log-density,
    in nats in the space of X. Without ``X_aux`` it is the plain flow, and ``fit`` warns.

    Parameters
    ----------
    margin : "auto" or float, default="auto"
        Inliers should be more likely than auxiliary rows by so many nats; "auto" is 1 for each feature.
    aux_weight : float, default=1.0
        Weight of the margin loss.
    {flow_parameters}

    Attributes
    ----------
    margin_ : float
        The margin in force, in nats.
    {flow_attributes}

    References
    ----------
    Hendrycks, Mazeika and Dietterich, "Deep Anomaly Detection with Outlier Exposure", ICLR 2019.
    """

    _uses_aux: ClassVar[bool] = True
    _without_aux: ClassVar[str] = "fitted without X_aux, it is the plain flow (FlowDetector)."
    _parameter_constraints: ClassVar[dict[str, list[Any]]] = {
        **BaseFlowDetector._parameter_constraints,
        "margin": [StrOptions({"auto"}), Interval(Real, 0, None, closed="left")],
        "aux_weight": [Interval(Real, 0, None, closed="left")],
    }

    margin: str | float = "auto"
    aux_weight: float = 1.0

    def _stages(self, data: FlowData) -> list[Stage]:
        self.margin_ = float(data.X.shape[1] if self.margin == "auto" else self.margin)
        if data.X_aux is None:
            return super()._stages(data)
        loss = partial(outlier_exposure_loss, margin=self.margin_, weight=self.aux_weight)
        return [Stage(), Stage(loss, active_below=lambda nll: nll.max() + self.margin_)]
