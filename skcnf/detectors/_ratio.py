"""The detector that scores by the log-ratio of two flows: Flow-ratio."""

from __future__ import annotations

import copy
import warnings
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np
import torch
from joblib import Memory
from sklearn.utils._param_validation import HasMethods

from skcnf.detectors._base import FitSteps
from skcnf.detectors._docs import with_shared_parameters
from skcnf.detectors._flow import BaseFlowDetector, FlowDetector, FlowRows
from skcnf.flows import FlowData

__all__ = ["FlowRatioDetector"]


@with_shared_parameters
@dataclass(kw_only=True, eq=False, repr=False)
class FlowRatioDetector(BaseFlowDetector):
    """Score by the log-ratio of a flow of the inliers and a flow of the auxiliary rows.

    The auxiliary flow is trained first; the inlier flow is trained from scratch, or starts from the auxiliary flow.
    Both are standardised by the auxiliary rows. The score is the difference of the two log-densities, in nats. A score
    of 0 has no meaning: training stops by AUROC, long before the inlier flow's density is accurate. Without ``X_aux``
    this is `FlowDetector`, and ``fit`` warns. All auxiliary rows are read into memory.

    Parameters
    ----------
    fine_tune : bool, default=False
        Whether the inlier flow starts from the auxiliary flow, which takes more epochs; otherwise it starts from the
        weights that `FlowDetector` would draw. Stopping by AUROC watches the log-ratio either way.
    memory : str, joblib.Memory or None, default=None
        Caches the auxiliary flow, which depends on ``X_aux``, the parameters other than ``fine_tune``, the seed, and
        the number of inliers. Detectors that share all four and this memory train it once.
    {flow_parameters}

    Attributes
    ----------
    aux_flow_ : RealNVP or None
        The flow of the auxiliary rows; None without ``X_aux``.
    {flow_attributes}

    References
    ----------
    Schirrmeister, Zhou, Ball and Zhang, "Understanding Anomaly Detection with Deep Invertible Networks through
    Hierarchies of Distributions and Features", NeurIPS 2020.
    """

    _uses_aux: ClassVar[bool] = True
    _without_aux: ClassVar[str] = "fitted without X_aux, it is the plain flow (FlowDetector)."
    _parameter_constraints: ClassVar[dict[str, list[Any]]] = {
        **BaseFlowDetector._parameter_constraints,
        "fine_tune": ["boolean"],
        "memory": [None, str, HasMethods(["cache"])],
    }

    fine_tune: bool = False
    memory: Any = None

    @property
    def _is_soon_best(self) -> bool:
        return not self.fine_tune

    def _fit_flows(self, rows: FlowRows, device: torch.device) -> FitSteps:
        if rows.aux is None:
            self.aux_flow_ = None
            yield from super()._fit_flows(rows, device)
            return
        auxiliary = self._auxiliary(rows.aux.X[rows.aux.train], device, rows.seed)
        self.location_, self.scale_ = auxiliary.location_, auxiliary.scale_
        self.aux_flow_ = auxiliary.flow_.to(device).requires_grad_(False)  # a cached one was unpickled
        data = self._data(rows, device)
        flows = [
            copy.deepcopy(self.aux_flow_).float() if self.fine_tune else self._new_flow(rows.train.shape[1], own)
            for own in self._seeds(rows.seed)
        ]
        yield from self._train([flow.to(device) for flow in flows], data, rows.seed, self._stages(data))

    def _data(self, rows: FlowRows, device: torch.device) -> FlowData:
        """Add the auxiliary flow's log-densities, which those of held-out rows are compared with."""
        data = super()._data(rows, device)
        if self.aux_flow_ is not None and data.X_aux_val is not None:
            flow = self.aux_flow_.to(device)
            with torch.no_grad():
                data.reference = flow.log_prob(data.X_val)
                data.reference_aux = flow.log_prob(data.X_aux_val)
        return data

    def _learnt_with_aux(self) -> bool:
        return self.aux_flow_ is not None

    def _auxiliary(self, X_aux: np.ndarray, device: torch.device, seed: int) -> FlowDetector:
        memory = self.memory if hasattr(self.memory, "cache") else Memory(self.memory, verbose=0)
        fit_auxiliary = memory.cache(_fit_auxiliary_flow, ignore=["device", "verbose"])
        return fit_auxiliary(self._auxiliary_parameters(seed), X_aux, str(device), self.verbose)

    def _auxiliary_parameters(self, seed: int) -> dict[str, Any]:
        left_out = {"fine_tune", "memory", "device", "verbose"}
        parameters = {name: value for name, value in self.get_params(deep=False).items() if name not in left_out}
        return {**parameters, "n_flows": 1, "stopping": "likelihood", "random_state": seed}

    def _score_samples(self, X: np.ndarray) -> np.ndarray:
        score = super()._score_samples(X)
        return score if self.aux_flow_ is None else score - self._log_density([self.aux_flow_], X)


def _fit_auxiliary_flow(parameters: dict[str, Any], X_aux: np.ndarray, device: str, verbose: bool) -> FlowDetector:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)  # of a threshold that nobody uses
        return FlowDetector(**parameters, device=device, verbose=verbose).fit(X_aux)
