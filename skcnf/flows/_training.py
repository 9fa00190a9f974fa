"""The one optimisation loop of flows: shuffled batches, fresh noise, held-out rows, early stopping, best weights.

Longer training lowers the quality of a flow as an anomaly detector long before its held-out likelihood suffers. So
where auxiliary rows are at hand the loop watches how well the flow's score separates held-out inliers from held-out
auxiliary rows (AUROC, no label needed), and stops when that no longer rises; else it watches the held-out likelihood.
"""

from __future__ import annotations

import dataclasses
import logging
import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor
from tqdm import tqdm

from skcnf._core.rows import StreamedRows, row_batches
from skcnf.flows._coupling import FlatFlows
from skcnf.flows._mixture import LogisticMixtureFlow
from skcnf.flows._objectives import likelihood_loss
from skcnf.flows._realnvp import RealNVP

__all__ = ["FlowData", "FlowTask", "FlowTrainer", "TrainingResult", "auroc", "train_together"]

_log = logging.getLogger(__name__)
Objective = Callable[[Tensor, Tensor], Tensor]
Epoch = dict[str, float]
Flow = RealNVP | LogisticMixtureFlow
_SMALL_STEP = 2**16  # numbers in a hidden layer up to which calling operations costs more than their arithmetic


@dataclass
class FlowData:
    """Rows for training and for stopping, standardised, on one device.

    Parameters
    ----------
    X : Tensor of shape (n, d)
        Inliers to train on.
    X_val : Tensor of shape (n_val, d)
        Held-out inliers.
    X_aux : Tensor or StreamedRows of shape (m, d), optional
        Auxiliary rows to train on.
    X_aux_val : Tensor of shape (m_val, d), optional
        Held-out ones. Without them, stopping is by likelihood.
    reference, reference_aux : Tensor of shape (n_val,), (m_val,), optional
        Subtracted from the log-densities of the held-out rows: the score is then a log-ratio.
    noise_std : Tensor of shape (d,) or float, default=0.0
        Standard deviation of the noise added to each batch anew.
    """

    X: Tensor
    X_val: Tensor
    X_aux: Tensor | StreamedRows | None = None
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
        flow: Flow,
        data: FlowData,
        objective: Objective | None = None,
        on_epoch: Callable[[Flow, Epoch], None] | None = None,
        active_below: float = math.nan,
    ) -> TrainingResult:
        """Train ``flow`` in place and leave it with the weights of its best epoch, in evaluation mode.

        Parameters are those of `FlowTask`.

        Raises
        ------
        FloatingPointError
            If the loss or every held-out score stops being finite; names the epoch and the learning rate.
        """
        task = FlowTask(self, flow, data, objective, active_below, on_epoch)
        train_together([task])
        return task.result


@dataclass(eq=False)
class FlowTask:
    """A flow to train.

    Parameters
    ----------
    trainer : FlowTrainer
    flow : RealNVP, or a module with its ``nll`` and ``log_prob``
        In float32, on the device of ``data``.
    data : FlowData
        What to train on.
    objective : callable, optional
        From the NLL of inliers and of auxiliary rows to the loss; None is maximum likelihood, which needs no auxiliary
        rows.
    active_below : float, optional
        The NLL below which an auxiliary row counts as active.
    on_epoch : callable, optional
        Given the flow and the epoch's record as it ends.

    Attributes
    ----------
    result : TrainingResult
        Once the task is done.
    """

    trainer: FlowTrainer
    flow: Flow
    data: FlowData
    objective: Objective | None = None
    active_below: float = math.nan
    on_epoch: Callable[[Flow, Epoch], None] | None = None
    result: TrainingResult | None = None

    def kind(self) -> tuple[Any, ...]:
        """Tasks of one kind can be trained as one batched model."""
        if type(self.flow) is not RealNVP:
            return (id(self),)
        n_aux = None if self.objective is None else len(self.data.X_aux)
        trainer = dataclasses.replace(self.trainer, seed=0)
        return trainer, *self.flow.arguments.values(), len(self.data.X), n_aux, self.data.X.device

    def batching_pays(self) -> bool:
        """Off the CPU, which many small products leave idle, and on it where calls cost more than arithmetic."""
        if type(self.flow) is not RealNVP:
            return False
        n_hidden = 2 * self.trainer.batch_size * self.flow.arguments["hidden_units"]
        return self.data.X.device.type != "cpu" or n_hidden <= _SMALL_STEP


def train_together(tasks: Sequence[FlowTask], *, batched: bool | None = None) -> None:
    """Do all ``tasks``: those of one kind as one batched model where that pays, the others one by one.

    Each flow has its own rows, batches, noise and stopping time, drawn as if it were alone; in batched products only
    rounding differs.

    Parameters
    ----------
    tasks : sequence of FlowTask
    batched : bool, optional
        Whether tasks of one kind become one model; decided by device and size if left out.
    """
    groups: dict[tuple[Any, ...], list[FlowTask]] = {}
    for number, task in enumerate(tasks):
        together = task.batching_pays() if batched is None else batched
        groups.setdefault(task.kind() if together else (number,), []).append(task)
    for group in groups.values():
        _Run(group).run()


class _Run:
    """Tasks of one kind, step by step together."""

    def __init__(self, tasks: Sequence[FlowTask]) -> None:
        self.config, self.members = tasks[0].trainer, [_Member(task) for task in tasks]
        flows = [task.flow for task in tasks]
        if all(type(flow) is RealNVP for flow in flows):
            flat = FlatFlows(flows)
            self.nll, parameters = flat.nll, [flat.values]
        else:
            (flow,) = flows
            self.nll = lambda x: flow.nll(x.squeeze(0)).unsqueeze(0)
            parameters = [parameter for parameter in flow.parameters() if parameter.requires_grad]
        self.optimizer = torch.optim.Adam(
            parameters,
            lr=self.config.learning_rate,
            weight_decay=self.config.weight_decay,
            fused=tasks[0].data.X.device.type != "mps",
        )

    def run(self) -> None:
        epochs = range(1, self.config.max_epochs + 1)
        bar = tqdm(epochs, desc="flow", unit="epoch", leave=False, disable=_hidden(self.config.verbose))
        for epoch in bar:
            self._epoch(epoch)
            for member in self.members:
                member.end_epoch(epoch)
            record = self.members[0].history[-1]
            bar.set_postfix(loss=f"{record['loss']:.3g}", auroc=f"{record['val_auroc']:.4f}")
            if all(member.stopped for member in self.members):
                break
        for member in self.members:
            member.finish()

    def _epoch(self, number: int) -> None:
        """One pass over the inliers; the totals stay on the device until its end."""
        warmup = number <= self.config.warmup_epochs
        for member in self.members:
            member.begin_epoch()
        for rows in row_batches(len(self.members[0].data.X), self.config.batch_size):
            nll = self.nll(torch.stack([member.batch(rows, warmup) for member in self.members]))
            n_inliers = rows.stop - rows.start
            losses = [
                member.loss(own[:n_inliers], own[n_inliers:], warmup)
                for member, own in zip(self.members, nll, strict=True)
            ]
            self.optimizer.zero_grad(set_to_none=True)
            sum(losses).backward()
            self.optimizer.step()


class _Member:
    """One task's share of a run: its batches, its totals, its best weights."""

    def __init__(self, task: FlowTask) -> None:
        self.task, self.config, self.flow, self.data = task, task.trainer, task.flow, task.data
        self.device = self.data.X.device
        self.generator = torch.Generator(self.device).manual_seed(self.config.seed)
        n_aux = 0 if self.data.X_aux is None else len(self.data.X_aux)
        self.aux_rows = _endless_batches(n_aux, self.config.batch_size, self.generator)
        self.history: list[Epoch] = []
        self.best, self.best_epoch, self.stopped = -math.inf, 0, False
        self.best_weights = self._weights()

    def begin_epoch(self) -> None:
        self.flow.train()
        self.order = torch.randperm(len(self.data.X), generator=self.generator, device=self.device)
        self.totals = torch.zeros(3, device=self.device)

    def batch(self, rows: slice, warmup: bool) -> Tensor:
        """The step's inliers and, where the objective has a use for them, as many auxiliary rows; noisy."""
        x = self.data.X.index_select(0, self.order[rows])
        if self.task.objective is not None and not warmup:
            x = torch.cat([x, self.data.X_aux[next(self.aux_rows)]])
        if not torch.is_tensor(self.data.noise_std):
            return x
        noise = torch.randn(x.shape, generator=self.generator, device=self.device)
        return torch.addcmul(x, self.data.noise_std, noise)

    def loss(self, nll: Tensor, nll_aux: Tensor, warmup: bool) -> Tensor:
        objective = None if warmup else self.task.objective
        loss = likelihood_loss(nll) if objective is None else objective(nll, nll_aux)
        n_active = (nll_aux.detach() < self.task.active_below).sum()
        self.totals += torch.stack([loss.detach() * len(nll), n_active, n_active.new_tensor(len(nll_aux))])
        return loss

    def end_epoch(self, number: int) -> None:
        """Record the epoch, keep its weights if they are the best so far, or decide to stop."""
        if self.stopped:  # the others of the run go on
            return
        record = self._record(number)
        self.history.append(record)
        _log.debug("epoch %d: %s", number, record)
        if self.task.on_epoch is not None:
            self.task.on_epoch(self.flow, record)
        # the best epoch is one of the objective's own, unless there is none
        warmup = number <= self.config.warmup_epochs
        value = -math.inf if warmup else self._criterion(record)
        if warmup or value > self.best + self.config.tol:
            self.best, self.best_epoch, self.best_weights = value, number, self._weights()
        else:
            self.stopped = number - self.best_epoch >= self.config.patience

    def _record(self, number: int) -> Epoch:
        loss = (self.totals[0] / len(self.order)).item()
        if not math.isfinite(loss):
            raise FloatingPointError(
                f"the loss is {loss} in epoch {number} at learning_rate={self.config.learning_rate}; "
                "lower the learning rate, or look for extreme values in X and X_aux."
            )
        active = (self.totals[1] / self.totals[2]).item()
        return {"epoch": number, "loss": loss, **self._validate(), "aux_active_fraction": active}

    def _weights(self) -> list[Tensor]:
        return [parameter.detach().clone() for parameter in self.flow.parameters() if parameter.requires_grad]

    def finish(self) -> None:
        """Give the flow its best weights and the task its result."""
        if self.best_epoch == 0:
            raise FloatingPointError(
                f"held-out rows have no finite score after epoch {len(self.history)} at "
                f"learning_rate={self.config.learning_rate}; lower it, or look for extreme values in X and X_aux."
            )
        trained = (parameter for parameter in self.flow.parameters() if parameter.requires_grad)
        for parameter, best in zip(trained, self.best_weights, strict=True):
            parameter.data = best  # its own memory, no view of all weights
        self.flow.eval()
        self.task.result = TrainingResult(self.history, self.best_epoch)

    @torch.no_grad()
    def _validate(self) -> Epoch:
        self.flow.eval()
        log_prob = self.flow.log_prob(self.data.X_val)
        record = {"val_nll": -log_prob.mean().item(), "val_auroc": math.nan}
        if self.data.X_aux_val is not None:
            log_prob_aux = self.flow.log_prob(self.data.X_aux_val)
            record["val_auroc"] = auroc(log_prob - self.data.reference, log_prob_aux - self.data.reference_aux)
        return record

    def _criterion(self, record: Epoch) -> float:
        by_auroc = self.config.stopping == "auroc" or (
            self.config.stopping == "auto" and self.data.X_aux_val is not None
        )
        value = record["val_auroc"] if by_auroc else -record["val_nll"]
        # ranks survive infinite scores, a usable flow does not
        return value if math.isfinite(value) and math.isfinite(record["val_nll"]) else -math.inf


def _endless_batches(n_rows: int, batch_size: int, generator: torch.Generator) -> Iterator[Tensor]:
    """Row numbers without replacement, pass after pass."""
    while n_rows:
        order = torch.randperm(n_rows, generator=generator, device=generator.device)
        yield from (order[rows] for rows in row_batches(n_rows, batch_size))


def _hidden(verbose: bool) -> bool | None:
    return None if verbose else True  # None: hidden unless standard error is a terminal


def auroc(positive: Tensor, negative: Tensor) -> float:
    """The chance that a random ``positive`` (n,) exceeds a random ``negative`` (m,), ties counted half."""
    ordered = negative.sort().values
    below = torch.searchsorted(ordered, positive.contiguous())
    not_above = torch.searchsorted(ordered, positive.contiguous(), right=True)
    return (below + not_above).double().mean().item() / (2 * len(negative))
