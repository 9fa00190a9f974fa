"""The one optimisation loop of flows: shuffled batches, fresh noise, held-out rows, early stopping, best weights.

Longer training lowers the quality of a flow as an anomaly detector long before its held-out likelihood suffers. So
where auxiliary rows are at hand the loop watches how well the flow's score separates held-out inliers from held-out
auxiliary rows (AUROC, no label needed), and stops when that no longer rises; else it watches the held-out likelihood.
"""

from __future__ import annotations

import logging
import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass

import torch
from torch import Tensor
from tqdm import tqdm

from skcnf._runtime import row_batches
from skcnf.flows import RealNVP
from skcnf.objectives import likelihood_loss

__all__ = ["FlowData", "FlowTrainer", "TrainingResult", "auroc"]

_log = logging.getLogger(__name__)
Objective = Callable[[Tensor, Tensor], Tensor]
Epoch = dict[str, float]


@dataclass
class FlowData:
    """Rows for training and for stopping, standardised, on one device.

    Parameters
    ----------
    X : Tensor of shape (n, d)
        Inliers to train on.
    X_val : Tensor of shape (n_val, d)
        Held-out inliers.
    X_aux, X_aux_val : Tensor of shape (m, d), (m_val, d), optional
        Auxiliary rows to train on and held-out ones. Without the latter, stopping is by likelihood.
    reference, reference_aux : Tensor of shape (n_val,), (m_val,), optional
        Subtracted from the log-densities of the held-out rows: the score is then a log-ratio.
    noise_std : Tensor of shape (d,) or float, default=0.0
        Standard deviation of the noise added to each batch anew.
    """

    X: Tensor
    X_val: Tensor
    X_aux: Tensor | None = None
    X_aux_val: Tensor | None = None
    reference: Tensor | float = 0.0
    reference_aux: Tensor | float = 0.0
    noise_std: Tensor | float = 0.0


@dataclass
class TrainingResult:
    """What a run leaves behind.

    Attributes
    ----------
    history : list of dict
        A record an epoch: ``epoch`` (from 1), ``loss``, ``val_nll`` (nats), ``val_auroc`` (NaN without auxiliary rows)
        and ``aux_active_fraction`` (NaN likewise).
    best_epoch : int
        The epoch whose weights the flow now has.
    """

    history: list[Epoch]
    best_epoch: int


@dataclass(frozen=True)
class FlowTrainer:
    """How to train.

    Parameters
    ----------
    max_epochs : int
        Passes over the inliers at most.
    batch_size : int
        Inliers, and as many auxiliary rows, of a step.
    learning_rate : float
        Of Adam.
    weight_decay : float
        L2 penalty of Adam.
    warmup_epochs : int
        First epochs, of likelihood alone.
    patience : int
        Epochs without an improvement after which training stops.
    tol : float
        An improvement of the criterion must exceed this (AUROC in [0, 1]; likelihood in nats).
    stopping : {"auto", "auroc", "likelihood"}
        The criterion; "auto" is AUROC where held-out auxiliary rows are at hand.
    seed : int
        Draws batches and noise.
    verbose : bool
        A progress bar where standard error is a terminal.
    """

    max_epochs: int = 20
    batch_size: int = 256
    learning_rate: float = 1e-3
    weight_decay: float = 0.0
    warmup_epochs: int = 0
    patience: int = 3
    tol: float = 0.0
    stopping: str = "auto"
    seed: int = 0
    verbose: bool = False

    def train(
        self,
        flow: RealNVP,
        data: FlowData,
        objective: Objective | None = None,
        on_epoch: Callable[[RealNVP, Epoch], None] | None = None,
        active_below: float = math.nan,
    ) -> TrainingResult:
        """Train ``flow`` in place and leave it with the weights of its best epoch, in evaluation mode.

        Parameters
        ----------
        flow : RealNVP
            In float32, on the device of ``data``.
        data : FlowData
            What to train on.
        objective : callable, optional
            From the NLL of inliers and of auxiliary rows to the loss; None is maximum likelihood, which needs no
            auxiliary rows.
        on_epoch : callable, optional
            Given the flow and the epoch's record as it ends.
        active_below : float, optional
            The NLL below which an auxiliary row counts as active.

        Raises
        ------
        FloatingPointError
            If the loss or every held-out score stops being finite; names the epoch and the learning rate.
        """
        run = _Run(self, flow, data, objective, active_below)
        history: list[Epoch] = []
        best, best_epoch, best_state = -math.inf, 0, flow.state_dict()
        bar = tqdm(range(1, self.max_epochs + 1), desc="flow", unit="epoch", leave=False, disable=_hidden(self.verbose))
        for epoch in bar:
            history.append(run.epoch(epoch))
            bar.set_postfix(loss=f"{history[-1]['loss']:.3g}", auroc=f"{history[-1]['val_auroc']:.4f}")
            _log.debug("epoch %d: %s", epoch, history[-1])
            if on_epoch is not None:
                on_epoch(flow, history[-1])
            # the best epoch is one of the objective's own, unless there is none
            warmup = epoch <= self.warmup_epochs
            value = -math.inf if warmup else run.criterion(history[-1])
            if warmup or value > best + self.tol:
                best, best_epoch = value, epoch
                best_state = {name: tensor.clone() for name, tensor in flow.state_dict().items()}
            elif epoch - best_epoch >= self.patience:
                break
        if best_epoch == 0:
            raise FloatingPointError(
                f"held-out rows have no finite score after epoch {len(history)} at "
                f"learning_rate={self.learning_rate}; lower it, or look for extreme values in X and X_aux."
            )
        flow.load_state_dict(best_state)
        flow.eval()
        return TrainingResult(history, best_epoch)


def _hidden(verbose: bool) -> bool | None:
    return None if verbose else True  # None: hidden unless standard error is a terminal


class _Run:
    def __init__(
        self, config: FlowTrainer, flow: RealNVP, data: FlowData, objective: Objective | None, active_below: float
    ) -> None:
        self.config, self.flow, self.data, self.objective = config, flow, data, objective
        self.active_below = active_below
        self.device = data.X.device
        self.generator = torch.Generator(self.device).manual_seed(config.seed)
        parameters = [parameter for parameter in flow.parameters() if parameter.requires_grad]
        self.optimizer = torch.optim.Adam(
            parameters, lr=config.learning_rate, weight_decay=config.weight_decay, fused=self.device.type != "mps"
        )
        self.aux_rows = self._endless_aux_rows()

    def epoch(self, number: int) -> Epoch:
        """One pass over the inliers; the totals stay on the device until its end."""
        self.flow.train()
        order = torch.randperm(len(self.data.X), generator=self.generator, device=self.device)
        totals = torch.zeros(3, device=self.device)
        warmup = number <= self.config.warmup_epochs
        for rows in row_batches(len(order), self.config.batch_size):
            totals += self._step(self.data.X[order[rows]], warmup)
        loss = (totals[0] / len(order)).item()
        if not math.isfinite(loss):
            raise FloatingPointError(
                f"the loss is {loss} in epoch {number} at learning_rate={self.config.learning_rate}; "
                "lower the learning rate, or look for extreme values in X and X_aux."
            )
        active = (totals[1] / totals[2]).item()
        return {"epoch": number, "loss": loss, **self._validate(), "aux_active_fraction": active}

    def _step(self, x: Tensor, warmup: bool) -> Tensor:
        objective = None if warmup else self.objective
        x_aux = None if objective is None else self.data.X_aux[next(self.aux_rows)]
        nll = self.flow.nll(self._noisy(x if x_aux is None else torch.cat([x, x_aux])))
        nll, nll_aux = nll[: len(x)], nll[len(x) :]
        loss = likelihood_loss(nll) if objective is None else objective(nll, nll_aux)
        self.optimizer.zero_grad(set_to_none=True)
        loss.backward()
        self.optimizer.step()
        n_active = (nll_aux.detach() < self.active_below).sum()
        return torch.stack([loss.detach() * len(x), n_active, n_active.new_tensor(len(nll_aux))])

    def _noisy(self, x: Tensor) -> Tensor:
        if not torch.is_tensor(self.data.noise_std):
            return x
        return x + self.data.noise_std * torch.randn(x.shape, generator=self.generator, device=self.device)

    def _endless_aux_rows(self) -> Iterator[Tensor]:
        """Batches of row numbers without replacement, pass after pass over the auxiliary rows."""
        n_aux = 0 if self.data.X_aux is None else len(self.data.X_aux)
        while n_aux:
            order = torch.randperm(n_aux, generator=self.generator, device=self.device)
            yield from (order[rows] for rows in row_batches(n_aux, self.config.batch_size))

    @torch.no_grad()
    def _validate(self) -> Epoch:
        self.flow.eval()
        log_prob = self.flow.log_prob(self.data.X_val)
        record = {"val_nll": -log_prob.mean().item(), "val_auroc": math.nan}
        if self.data.X_aux_val is not None:
            log_prob_aux = self.flow.log_prob(self.data.X_aux_val)
            record["val_auroc"] = auroc(log_prob - self.data.reference, log_prob_aux - self.data.reference_aux)
        return record

    def criterion(self, record: Epoch) -> float:
        by_auroc = self.config.stopping == "auroc" or (
            self.config.stopping == "auto" and self.data.X_aux_val is not None
        )
        value = record["val_auroc"] if by_auroc else -record["val_nll"]
        # ranks survive infinite scores, a usable flow does not
        return value if math.isfinite(value) and math.isfinite(record["val_nll"]) else -math.inf


def auroc(positive: Tensor, negative: Tensor) -> float:
    """The chance that a random ``positive`` (n,) exceeds a random ``negative`` (m,), ties counted half."""
    ordered = negative.sort().values
    below = torch.searchsorted(ordered, positive.contiguous())
    not_above = torch.searchsorted(ordered, positive.contiguous(), right=True)
    return (below + not_above).double().mean().item() / (2 * len(negative))
