"""Detectors that score by the density of a normalizing flow: their base, and Flow."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from numbers import Integral, Real
from typing import Any, ClassVar, TypeVar

import numpy as np
import torch
from sklearn.utils import check_random_state
from sklearn.utils._param_validation import Interval, StrOptions
from sklearn.utils.validation import check_is_fitted
from torch import Tensor, nn

from skcnf._core.devices import resolve_device
from skcnf._core.rows import LazyRows, StreamedRows, row_batches
from skcnf.detectors._base import AuxiliaryRows, BaseOutlierDetector, FitRows, FitSteps, rows_of
from skcnf.detectors._docs import with_shared_parameters
from skcnf.detectors._updates import UpdateMixin
from skcnf.detectors._validation import warn_user
from skcnf.flows import FlowData, FlowTask, FlowTrainer, RealNVP, Stage
from skcnf.flows._data import Epoch

__all__ = ["BaseFlowDetector", "FlowDetector"]

_MAX_AUX_VALIDATION_ROWS = 2000
_MAX_NUMBERS_IN_MEMORY = 2**27  # of auxiliary rows, in float32: half a GiB
_SCORING_BATCH = 16_384
# What max_epochs="auto" comes to, by the protocol in docs/defaults.rst
_FEWEST_EPOCHS, _MOST_EPOCHS, _ENOUGH_STEPS = 6, 20, 100
_FARTHEST = 1e18  # standard deviations; rows beyond would overflow in float32, and score as if they were here
_ModuleT = TypeVar("_ModuleT", bound=nn.Module)


@dataclass(frozen=True)
class AuxRows:
    """The auxiliary rows of one fit.

    Parameters
    ----------
    X : ndarray or LazyRows of shape (m, d)
        All of them; they may be memory maps larger than memory.
    train : ndarray of int
        The rows of X to train on.
    validation : ndarray of shape (m_validation, d)
        Rows that tell when to stop.
    """

    X: np.ndarray | LazyRows
    train: np.ndarray
    validation: np.ndarray


@dataclass(frozen=True, kw_only=True)
class FlowRows(FitRows):
    """The rows of one fit of flows; half of the held-out inliers tell when to stop, the others calibrate.

    Parameters
    ----------
    validation : ndarray of shape (n_validation, d)
        Inliers that tell when to stop.
    aux : AuxRows or None
    """

    validation: np.ndarray
    aux: AuxRows | None


@dataclass(kw_only=True, eq=False, repr=False)
class BaseFlowDetector(UpdateMixin):
    """Base of the detectors that have a flow: standardisation, tensors, training, scores and samples."""

    _min_features: ClassVar[int] = 2
    _parameter_constraints: ClassVar[dict[str, list[Any]]] = {
        **BaseOutlierDetector._parameter_constraints,
        "n_flows": [Interval(Integral, 1, None, closed="left")],
        "n_blocks": [Interval(Integral, 1, None, closed="left")],
        "hidden_units": [Interval(Integral, 1, None, closed="left")],
        "affine_clamp": [Interval(Real, 0, None, closed="neither")],
        "permute_soft": ["boolean"],
        "standardize": ["boolean"],
        "noise_std": [Interval(Real, 0, None, closed="left")],
        "max_epochs": [StrOptions({"auto"}), Interval(Integral, 1, None, closed="left")],
        "patience": [Interval(Integral, 1, None, closed="left")],
        "tol": [Interval(Real, 0, None, closed="left")],
        "stopping": [StrOptions({"auto", "auroc", "likelihood", "none"})],
        "batch_size": [Interval(Integral, 1, None, closed="left")],
        "learning_rate": [Interval(Real, 0, None, closed="neither")],
        "weight_decay": [Interval(Real, 0, None, closed="left")],
        "weight_averaging": [Interval(Real, 0, 1, closed="left")],
        "score_precision": [StrOptions({"float32", "float64"})],
        "device": [str, torch.device],
        "verbose": ["verbose"],
    }

    n_blocks: int = 8
    hidden_units: int = 512
    affine_clamp: float = 3.0
    permute_soft: bool = False
    standardize: bool = True
    noise_std: float = 0.01
    max_epochs: str | int = "auto"
    patience: int = 3
    tol: float = 0.0
    stopping: str = "auto"
    batch_size: int = 256
    learning_rate: float = 1e-3
    weight_decay: float = 0.0
    weight_averaging: float = 0.97
    score_precision: str = "float32"
    n_flows: int = 1
    device: str | torch.device = "auto"
    verbose: bool = False

    # Fitting

    def _training(self, rows: FlowRows) -> FitSteps:
        self.__dict__.pop("_kept_rows", None)  # of earlier calls of partial_fit
        device = resolve_device(self.device)
        if self.stopping == "auroc" and rows.X_aux is None:
            raise ValueError("stopping='auroc' needs X_aux; use stopping='auto' or give X_aux.")
        self._warn_of_noise(rows.train)
        yield from self._fit_flows(rows, device)
        self.inlier_mean_ = rows.train.mean(axis=0, dtype=np.float64)
        self.aux_active_fraction_ = self.history_[-1]["aux_active_fraction"]

    @property
    def _takes_aux(self) -> bool:
        return True  # at least to stop by

    def _warn_of_noise(self, X: np.ndarray) -> None:
        spread = float(np.median(feature_scale(X)))
        if self.noise_std > spread:
            warn_user(
                self,
                f"noise_std={self.noise_std:g} exceeds the standard deviation of most features (median {spread:.2g}): "
                "the flow learns noise. Lower noise_std, or scale X.",
            )

    def _fit_flows(self, rows: FlowRows, device: torch.device) -> FitSteps:
        """Set ``flows_`` and the other fitted attributes; subclasses may do more."""
        self._set_standardisation(rows.train)
        flows = [self._new_flow(rows.train.shape[1], own).to(device) for own in self._seeds(rows.seed)]
        data = self._data(rows, device)
        yield from self._train(flows, data, rows.seed, self._stages(data))

    def _seeds(self, seed: int) -> list[int]:
        """Return a seed for each flow: ``seed`` itself, then numbers drawn from it."""
        return [seed, *check_random_state(seed).randint(2**31 - 1, size=self.n_flows - 1).tolist()]

    def _split(self, X: np.ndarray, X_aux: AuxiliaryRows, random_state: np.random.RandomState) -> FlowRows:
        train, held_out = self._hold_out(len(X), random_state, at_least=2)
        half = len(held_out) // 2
        # of two units only one is held out: it does both
        validation, calibration = (held_out[:half], held_out[half:]) if half else (held_out, held_out)
        aux = None if X_aux is None else _split_aux(X_aux, random_state)
        return FlowRows(
            train=rows_of(X[train]),
            validation=rows_of(X[validation]),
            calibration=X[calibration] if self.contamination == "auto" else None,
            X_aux=X_aux,
            aux=aux,
            seed=int(random_state.randint(2**31 - 1)),
        )

    def _set_standardisation(self, X: np.ndarray) -> None:
        n_features = X.shape[1]
        self.location_, self.scale_ = np.zeros(n_features), np.ones(n_features)
        if self.standardize:
            self.location_, self.scale_ = X.mean(axis=0, dtype=np.float64), feature_scale(X)

    def _new_flow(self, n_features: int, seed: int) -> RealNVP:
        return RealNVP(n_features, self.n_blocks, self.hidden_units, self.affine_clamp, self.permute_soft, seed)

    def _data(self, rows: FlowRows, device: torch.device) -> FlowData:
        def tensor(rows: np.ndarray) -> Tensor:
            return torch.as_tensor(self._standardised(rows), device=device)

        noise = torch.as_tensor(self.noise_std / self.scale_, dtype=torch.float32, device=device)
        return FlowData(
            X=tensor(rows.train),
            X_val=tensor(rows.validation),
            X_aux=None if rows.aux is None else self._aux_rows(rows.aux, device),
            X_aux_val=None if rows.aux is None else tensor(rows.aux.validation),
            noise_std=noise if self.noise_std > 0 else 0.0,
        )

    def _standardised(self, rows: np.ndarray) -> np.ndarray:
        return ((rows - self.location_) / self.scale_).astype(np.float32)

    def _aux_rows(self, aux: AuxRows, device: torch.device) -> Tensor | StreamedRows:
        """Return the auxiliary rows to train on: in memory where they are few, otherwise read batch by batch."""
        streamed = StreamedRows(aux.X, aux.train, self._standardised, device)
        return streamed if len(streamed) * aux.X.shape[1] > _MAX_NUMBERS_IN_MEMORY else streamed.read()

    def _train(self, flows: list[RealNVP], data: FlowData, seed: int, stages: list[Stage]) -> FitSteps:
        """Train ``flows``, stage by stage, and keep them."""
        history: list[Epoch] = []
        best_epoch = 0
        for number, stage in enumerate(stages):
            tasks = [
                FlowTask(self._trainer(own + number, self._epochs(data, stage)), flow, data, stage)
                for flow, own in zip(flows, self._seeds(seed), strict=True)
            ]
            yield tasks
            history += tasks[0].result.history
            best_epoch += tasks[0].result.best_epoch
        self.flows_ = [for_scoring(flow, self.score_precision) for flow in flows]
        self.history_, self.best_epoch_ = history, best_epoch

    def _stages(self, data: FlowData) -> list[Stage]:
        """Return what to train for, one stage after the other."""
        return [Stage()]

    @property
    def _is_soon_best(self) -> bool:
        """Whether few epochs are enough, by AUROC and with averaged weights."""
        return True

    def _epochs(self, data: FlowData, stage: Stage) -> int:
        """``max_epochs``, or what "auto" comes to."""
        if self.max_epochs != "auto":
            return int(self.max_epochs)
        steps_per_epoch = -(-len(data.X) // self.batch_size)
        by_auroc = self.stopping in ("auto", "auroc") and data.X_aux_val is not None
        soon = by_auroc and self._is_soon_best and self.weight_averaging > 0  # plain weights get better for longer
        enough = -(-_ENOUGH_STEPS // steps_per_epoch) if soon else _MOST_EPOCHS
        return stage.warmup_epochs + min(_MOST_EPOCHS, max(_FEWEST_EPOCHS, enough))

    def _trainer(self, seed: int, max_epochs: int) -> FlowTrainer:
        names = ("batch_size", "learning_rate", "weight_decay", "weight_averaging")
        params = {name: getattr(self, name) for name in (*names, "patience", "tol", "stopping", "verbose")}
        return FlowTrainer(max_epochs=max_epochs, seed=seed, **params)

    @property
    def flow_(self) -> RealNVP:
        """The first of ``flows_``."""
        return self.flows_[0]

    # Using

    def _score_samples(self, X: np.ndarray) -> np.ndarray:
        return self._log_density(self.flows_, X)

    def _log_density(self, flows: list[RealNVP], X: np.ndarray) -> np.ndarray:
        """Log-density (n,) in nats in the space of X, in float64; of several flows, the mean of theirs.

        The mean of log-densities is the logarithm of their geometric mean, which integrates to less than 1. The
        mixture's log-density gave a lower AUROC in each of ten fits (docs/results/mixture-of-flows.txt).
        """
        parameter = next(flows[0].parameters())
        location, scale = (torch.as_tensor(values, device=parameter.device) for values in (self.location_, self.scale_))

        def log_prob(rows: Tensor) -> Tensor:
            rows.sub_(location).div_(scale).clamp_(-_FARTHEST, _FARTHEST)  # a batch's own copy
            standardised = rows.to(parameter.dtype)
            total = rows.new_zeros(len(rows))  # added up flow by flow: a row's sum is then its own affair
            for flow in flows:
                total += flow.log_prob(standardised)
            return total / len(flows)

        return evaluate(log_prob, X, flows[0]) - np.log(self.scale_).sum()

    def sample(self, n_samples: int = 1, random_state: Any = None) -> np.ndarray:
        """Draw rows from the learned density; of several flows, from their mixture: each row from one at random.

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
        random_state = check_random_state(random_state)
        seeds = self._seeds(int(random_state.randint(2**31 - 1)))
        origin = random_state.randint(len(self.flows_), size=n_samples)
        rows = np.empty((n_samples, self.n_features_in_))
        for number, (flow, seed) in enumerate(zip(self.flows_, seeds, strict=True)):
            drawn = origin == number
            rows[drawn] = flow.sample(int(drawn.sum()), seed).cpu().numpy()
        return rows * self.scale_ + self.location_


def _split_aux(X_aux: np.ndarray | LazyRows, random_state: np.random.RandomState) -> AuxRows:
    order = random_state.permutation(len(X_aux))
    n_validation = min(_MAX_AUX_VALIDATION_ROWS, max(1, round(0.1 * len(X_aux))))
    return AuxRows(X_aux, order[n_validation:], X_aux[order[:n_validation]])


def feature_scale(X: np.ndarray) -> np.ndarray:
    """Standard deviation (d,) of the features of X (n, d), 1 for constant ones."""
    mean, scale = X.mean(axis=0, dtype=np.float64), X.std(axis=0, dtype=np.float64)
    # rounding leaves a constant feature with a spread of up to about n * eps * |mean|
    return np.where(scale <= len(X) * np.finfo(np.float64).eps * np.abs(mean), 1.0, scale)


def evaluate(
    function: Callable[[Tensor], Tensor], rows: np.ndarray, module: nn.Module, batch_size: int = _SCORING_BATCH
) -> np.ndarray:
    """``function`` of rows in float64, batch by batch, on the device of ``module``; it may change what it is given."""
    device = next(module.parameters()).device
    out = np.empty(len(rows))
    with torch.no_grad():
        for part in row_batches(len(rows), batch_size):
            out[part] = function(torch.as_tensor(np.array(rows[part], np.float64), device=device)).cpu().numpy()
    return out


def for_scoring(module: _ModuleT, precision: str = "float64") -> _ModuleT:
    """The trained module in the type that it scores in; on the CPU where the device has no float64."""
    module = module.cpu() if next(module.parameters()).device.type == "mps" else module
    return module.to(getattr(torch, precision)).eval().requires_grad_(False)


@with_shared_parameters
class FlowDetector(BaseFlowDetector):
    """Score by the log-density of a normalizing flow, trained by maximum likelihood on inliers.

    The score is in nats in the space of X. ``X_aux``, where given, has no part in the gradient: it only tells when to
    stop.

    Parameters
    ----------
    {flow_parameters}

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
