"""Detectors that score by the density of a normalizing flow: Flow and Flow-ratio."""

from __future__ import annotations

import copy
import warnings
from collections.abc import Callable
from dataclasses import dataclass
from numbers import Integral, Real
from typing import Any, ClassVar, TypeVar

import numpy as np
import torch
from joblib import Memory
from sklearn.utils import check_random_state
from sklearn.utils._param_validation import HasMethods, Interval, StrOptions
from sklearn.utils.validation import check_is_fitted
from torch import Tensor, nn

from skcnf._runtime import resolve_device, row_batches
from skcnf._validation import warn_user
from skcnf.detectors._base import BaseOutlierDetector
from skcnf.detectors._docs import with_shared_parameters
from skcnf.flows import RealNVP
from skcnf.training import Epoch, FlowData, FlowTrainer, TrainingResult

__all__ = ["BaseFlowDetector", "FlowDetector", "FlowRatioDetector"]

_MAX_AUX_VALIDATION_ROWS = 2000
_SCORING_BATCH = 1024  # a tile whose arrays stay in cache
_ModuleT = TypeVar("_ModuleT", bound=nn.Module)


@dataclass
class _Split:
    """The parts of one fit: rows to train on, to stop by, to calibrate with; auxiliary rows likewise."""

    train: np.ndarray
    stop: np.ndarray
    calibrate: np.ndarray
    aux: np.ndarray | None
    aux_stop: np.ndarray | None


class BaseFlowDetector(BaseOutlierDetector):
    """Base of the detectors that have a flow: standardisation, tensors, training, scores and samples."""

    _min_features: ClassVar[int] = 2
    _parameter_constraints: ClassVar[dict[str, list[Any]]] = {
        **BaseOutlierDetector._parameter_constraints,
        "n_blocks": [Interval(Integral, 1, None, closed="left")],
        "hidden_units": [Interval(Integral, 1, None, closed="left")],
        "affine_clamp": [Interval(Real, 0, None, closed="neither")],
        "permute_soft": ["boolean"],
        "standardize": ["boolean"],
        "noise_std": [Interval(Real, 0, None, closed="left")],
        "max_epochs": [Interval(Integral, 1, None, closed="left")],
        "patience": [Interval(Integral, 1, None, closed="left")],
        "tol": [Interval(Real, 0, None, closed="left")],
        "stopping": [StrOptions({"auto", "auroc", "likelihood"})],
        "batch_size": [Interval(Integral, 1, None, closed="left")],
        "learning_rate": [Interval(Real, 0, None, closed="neither")],
        "weight_decay": [Interval(Real, 0, None, closed="left")],
        "device": [str, torch.device],
        "verbose": ["verbose"],
    }

    def __init__(
        self,
        *,
        n_blocks: int = 8,
        hidden_units: int = 512,
        affine_clamp: float = 3.0,
        permute_soft: bool = False,
        standardize: bool = True,
        noise_std: float = 0.01,
        max_epochs: int = 20,
        patience: int = 3,
        tol: float = 0.0,
        stopping: str = "auto",
        batch_size: int = 256,
        learning_rate: float = 1e-3,
        weight_decay: float = 0.0,
        validation_fraction: float = 0.1,
        contamination: str | float = "auto",
        false_alarm_rate: float = 0.05,
        device: str | torch.device = "auto",
        random_state: Any = None,
        verbose: bool = False,
    ) -> None:
        self.n_blocks = n_blocks
        self.hidden_units = hidden_units
        self.affine_clamp = affine_clamp
        self.permute_soft = permute_soft
        self.standardize = standardize
        self.noise_std = noise_std
        self.max_epochs = max_epochs
        self.patience = patience
        self.tol = tol
        self.stopping = stopping
        self.batch_size = batch_size
        self.learning_rate = learning_rate
        self.weight_decay = weight_decay
        self.validation_fraction = validation_fraction
        self.contamination = contamination
        self.false_alarm_rate = false_alarm_rate
        self.device = device
        self.random_state = random_state
        self.verbose = verbose

    # Fitting

    def _fit_scorer(self, X: np.ndarray, X_aux: np.ndarray | None, random_state: np.random.RandomState) -> None:
        device = resolve_device(self.device)
        if self.stopping == "auroc" and X_aux is None:
            raise ValueError("stopping='auroc' needs X_aux; use stopping='auto' or give X_aux.")
        split = self._split(X, X_aux, random_state)
        seed = int(random_state.randint(2**31 - 1))
        self._warn_of_noise(split.train)
        self._fit_flow(split, device, seed)
        self.aux_active_fraction_ = self.history_[-1]["aux_active_fraction"]
        train_scores = None if self.contamination == "auto" else self._score_samples(X)
        self._set_offset(train_scores, self._score_samples(split.calibrate))

    def _warn_of_noise(self, X: np.ndarray) -> None:
        spread = float(np.median(feature_scale(X)))
        if self.noise_std > spread:
            warn_user(
                self,
                f"noise_std={self.noise_std:g} exceeds the standard deviation of most features (median {spread:.2g}): "
                "the flow learns noise. Lower noise_std, or scale X.",
            )

    def _fit_flow(self, split: _Split, device: torch.device, seed: int) -> None:
        """Set ``flow_``, ``location_``, ``scale_``, ``history_``, ``n_epochs_``; subclasses may do more."""
        self._set_standardisation(split.train)
        flow = self._new_flow(split.train.shape[1], seed).to(device)
        results = self._train(flow, self._data(split, device), seed)
        self._keep(flow, results)

    def _split(self, X: np.ndarray, X_aux: np.ndarray | None, random_state: np.random.RandomState) -> _Split:
        train, held_out = self._split_rows(len(X), random_state)
        half = len(held_out) // 2
        stop, calibrate = (held_out[:half], held_out[half:]) if half else (held_out, held_out)
        if X_aux is None:
            return _Split(X[train], X[stop], X[calibrate], None, None)
        order = random_state.permutation(len(X_aux))
        n_stop = min(_MAX_AUX_VALIDATION_ROWS, max(1, round(0.1 * len(X_aux))))
        return _Split(X[train], X[stop], X[calibrate], X_aux[order[n_stop:]], X_aux[order[:n_stop]])

    def _set_standardisation(self, X: np.ndarray) -> None:
        n_features = X.shape[1]
        self.location_, self.scale_ = np.zeros(n_features), np.ones(n_features)
        if self.standardize:
            self.location_, self.scale_ = X.mean(axis=0, dtype=np.float64), feature_scale(X)

    def _new_flow(self, n_features: int, seed: int) -> RealNVP:
        return RealNVP(n_features, self.n_blocks, self.hidden_units, self.affine_clamp, self.permute_soft, seed)

    def _data(self, split: _Split, device: torch.device) -> FlowData:
        def tensor(rows: np.ndarray | None) -> Tensor | None:
            if rows is None:
                return None
            return torch.as_tensor((rows - self.location_) / self.scale_, dtype=torch.float32, device=device)

        noise = torch.as_tensor(self.noise_std / self.scale_, dtype=torch.float32, device=device)
        return FlowData(
            X=tensor(split.train),
            X_val=tensor(split.stop),
            X_aux=tensor(split.aux),
            X_aux_val=tensor(split.aux_stop),
            noise_std=noise if self.noise_std > 0 else 0.0,
        )

    def _trainer(self, seed: int, **changes: Any) -> FlowTrainer:
        names = ("max_epochs", "batch_size", "learning_rate", "weight_decay", "patience", "tol", "stopping", "verbose")
        return FlowTrainer(**{**{name: getattr(self, name) for name in names}, "seed": seed, **changes})

    def _train(self, flow: RealNVP, data: FlowData, seed: int) -> list[TrainingResult]:
        """The stages of training, one result each."""
        return [self._trainer(seed).train(flow, data)]

    def _keep(self, flow: RealNVP, results: list[TrainingResult]) -> None:
        self.flow_ = for_scoring(flow)
        self.history_: list[Epoch] = [record for result in results for record in result.history]
        self.n_epochs_ = sum(result.best_epoch for result in results)

    # Using

    def _score_samples(self, X: np.ndarray) -> np.ndarray:
        return self._log_density(self.flow_, X)

    def _log_density(self, flow: RealNVP, X: np.ndarray) -> np.ndarray:
        """Exact log-density (n,) in nats in the space of X, in float64."""
        parameter = next(flow.parameters())
        location, scale = (torch.as_tensor(values).to(parameter) for values in (self.location_, self.scale_))
        log_prob = evaluate(lambda rows: flow.log_prob((rows - location) / scale), X, flow)
        return log_prob - np.log(self.scale_).sum()

    def sample(self, n_samples: int = 1, random_state: Any = None) -> np.ndarray:
        """Draw rows from the learned density.

        Parameters
        ----------
        n_samples : int, default=1
        random_state : int, RandomState instance or None, default=None

        Returns
        -------
        ndarray of shape (n_samples, n_features), dtype float64
            In the space of X.
        """
        check_is_fitted(self)
        seed = int(check_random_state(random_state).randint(2**31 - 1))
        return self.flow_.sample(n_samples, seed).cpu().numpy() * self.scale_ + self.location_


def feature_scale(X: np.ndarray) -> np.ndarray:
    """Standard deviation (d,) of the features of X (n, d), 1 for constant ones."""
    mean, scale = X.mean(axis=0, dtype=np.float64), X.std(axis=0, dtype=np.float64)
    # rounding leaves a constant feature with a spread of up to about n * eps * |mean|
    return np.where(scale <= len(X) * np.finfo(np.float64).eps * np.abs(mean), 1.0, scale)


def evaluate(
    function: Callable[[Tensor], Tensor], rows: np.ndarray, module: nn.Module, batch_size: int = _SCORING_BATCH
) -> np.ndarray:
    """``function`` of rows, batch by batch, in the type and on the device of ``module``."""
    parameter = next(module.parameters())
    out = np.empty(len(rows))
    with torch.no_grad():
        for part in row_batches(len(rows), batch_size):
            out[part] = function(torch.as_tensor(rows[part]).to(parameter)).cpu().numpy()
    return out


def for_scoring(module: _ModuleT) -> _ModuleT:
    """In float64, so that a row's score does not depend on its neighbours; on the CPU where the device has none."""
    module = module.cpu() if next(module.parameters()).device.type == "mps" else module
    return module.double().eval().requires_grad_(False)


@with_shared_parameters
class FlowDetector(BaseFlowDetector):
    """Score by the log-density of a normalizing flow trained by maximum likelihood on inliers.

    ``X_aux``, where given, has no part in the gradient: it only tells when to stop.

    Parameters
    ----------
    {flow_parameters}
    {common_parameters}

    Attributes
    ----------
    {flow_attributes}

    References
    ----------
    Schmier, Köthe and Straehle, "Anomaly Detection using Contrastive Normalizing Flows", equation 1.

    Examples
    --------
    >>> import numpy as np
    >>> from skcnf import FlowDetector
    >>> X = np.random.default_rng(0).normal(size=(500, 4))
    >>> flow = FlowDetector(n_blocks=2, hidden_units=32, max_epochs=5, random_state=0).fit(X)
    >>> flow.predict([[0.0] * 4, [9.0] * 4])
    array([ 1, -1])
    """


@with_shared_parameters
class FlowRatioDetector(BaseFlowDetector):
    """Score by the log-ratio of a flow of the inliers and a flow of the auxiliary rows.

    The auxiliary flow is trained first; the inlier flow starts from it and is fine-tuned on inliers, or is trained from
    scratch. Both are standardised by the auxiliary rows. Without ``X_aux`` this is `FlowDetector`, and ``fit`` warns.

    Parameters
    ----------
    fine_tune : bool, default=True
        Whether the inlier flow starts from the auxiliary flow; if not, from the weights that `FlowDetector` would draw.
        Stopping by AUROC watches the log-ratio either way.
    memory : str, joblib.Memory or None, default=None
        Caches the auxiliary flow, which depends on ``X_aux``, the parameters (but ``fine_tune``) and the seed alone:
        give detectors that share all three one memory, and it is trained once.
    {flow_parameters}
    {common_parameters}

    Attributes
    ----------
    aux_flow_ : RealNVP
        None without ``X_aux``.
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

    def __init__(
        self,
        *,
        fine_tune: bool = True,
        memory: Any = None,
        n_blocks: int = 8,
        hidden_units: int = 512,
        affine_clamp: float = 3.0,
        permute_soft: bool = False,
        standardize: bool = True,
        noise_std: float = 0.01,
        max_epochs: int = 20,
        patience: int = 3,
        tol: float = 0.0,
        stopping: str = "auto",
        batch_size: int = 256,
        learning_rate: float = 1e-3,
        weight_decay: float = 0.0,
        validation_fraction: float = 0.1,
        contamination: str | float = "auto",
        false_alarm_rate: float = 0.05,
        device: str | torch.device = "auto",
        random_state: Any = None,
        verbose: bool = False,
    ) -> None:
        super().__init__(
            n_blocks=n_blocks,
            hidden_units=hidden_units,
            affine_clamp=affine_clamp,
            permute_soft=permute_soft,
            standardize=standardize,
            noise_std=noise_std,
            max_epochs=max_epochs,
            patience=patience,
            tol=tol,
            stopping=stopping,
            batch_size=batch_size,
            learning_rate=learning_rate,
            weight_decay=weight_decay,
            validation_fraction=validation_fraction,
            contamination=contamination,
            false_alarm_rate=false_alarm_rate,
            device=device,
            random_state=random_state,
            verbose=verbose,
        )
        self.fine_tune = fine_tune
        self.memory = memory

    def _fit_flow(self, split: _Split, device: torch.device, seed: int) -> None:
        if split.aux is None:
            self.aux_flow_ = None
            super()._fit_flow(split, device, seed)
            return
        auxiliary = self._auxiliary(split.aux, device, seed)
        self.location_, self.scale_ = auxiliary.location_, auxiliary.scale_
        self.aux_flow_ = auxiliary.flow_.to(device)
        data = self._data(split, device)
        with torch.no_grad():
            data.reference, data.reference_aux = (
                self.aux_flow_.log_prob(rows.double()).float() for rows in (data.X_val, data.X_aux_val)
            )
        flow = copy.deepcopy(self.aux_flow_).float() if self.fine_tune else self._new_flow(split.train.shape[1], seed)
        self._keep(flow, self._train(flow.to(device), data, seed))

    def _auxiliary(self, X_aux: np.ndarray, device: torch.device, seed: int) -> FlowDetector:
        memory = self.memory if hasattr(self.memory, "cache") else Memory(self.memory, verbose=0)
        fit_auxiliary = memory.cache(_fit_auxiliary_flow, ignore=["device", "verbose"])
        return fit_auxiliary(self._auxiliary_parameters(seed), X_aux, str(device), self.verbose)

    def _auxiliary_parameters(self, seed: int) -> dict[str, Any]:
        left_out = {"fine_tune", "memory", "device", "verbose"}
        parameters = {name: value for name, value in self.get_params(deep=False).items() if name not in left_out}
        return {**parameters, "stopping": "likelihood", "random_state": seed}

    def _score_samples(self, X: np.ndarray) -> np.ndarray:
        score = super()._score_samples(X)
        return score if self.aux_flow_ is None else score - self._log_density(self.aux_flow_, X)


def _fit_auxiliary_flow(parameters: dict[str, Any], X_aux: np.ndarray, device: str, verbose: bool) -> FlowDetector:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)  # of a threshold that nobody uses
        return FlowDetector(**parameters, device=device, verbose=verbose).fit(X_aux)
