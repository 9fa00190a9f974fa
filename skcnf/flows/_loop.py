"""The training loop of flows: one flow, or several as one batched model.

Losses are added up on the device and read once an epoch. Training stops by the AUROC of held-out inliers against
held-out auxiliary rows where there are any: it flattens where the true AUROC peaks, long before the held-out likelihood
does.
"""

from __future__ import annotations

import logging
import math
from collections.abc import Callable, Iterator, Sequence
from typing import TYPE_CHECKING

import torch
from torch import Tensor, nn

from skcnf._core.progress import check_finite, progress_bar
from skcnf._core.rows import StreamedRows, row_batches
from skcnf.flows._averaging import RunningMean
from skcnf.flows._data import Epoch, Flow, TrainingResult
from skcnf.flows._gradients import FlatFlows
from skcnf.flows._objectives import likelihood_loss

if TYPE_CHECKING:
    from skcnf.flows._training import FlowTask

__all__ = ["Run", "auroc"]

_log = logging.getLogger(__name__)


class Run:
    """Tasks of one kind, step by step together."""

    def __init__(self, tasks: Sequence[FlowTask]) -> None:
        self.config, self.members = tasks[0].trainer, [_Member(task) for task in tasks]
        self.warmup_epochs = tasks[0].stage.warmup_epochs
        self.nll, parameters = _trainable([task.flow for task in tasks])
        self.optimizer = torch.optim.Adam(
            parameters,
            lr=self.config.learning_rate,
            weight_decay=self.config.weight_decay,
            fused=tasks[0].data.X.device.type != "mps",
        )
        self.mean = RunningMean(parameters, self.config.weight_averaging)

    def run(self) -> None:
        epochs = range(1, self.config.max_epochs + 1)
        bar = progress_bar(epochs, desc="flow", unit="epoch", verbose=self.config.verbose)
        for epoch in bar:
            if epoch == self.warmup_epochs + 1:
                self.mean.restart()  # the weights so far had another aim
            self._epoch(epoch <= self.warmup_epochs)
            with self.mean.in_place():
                for member in self.members:
                    member.end_epoch(epoch)
            record = self.members[0].history[-1]
            bar.set_postfix(loss=f"{record['loss']:.3g}", auroc=f"{record['val_auroc']:.4f}")
            if all(member.stopped for member in self.members):
                break
        for member in self.members:
            member.finish()

    def _epoch(self, warmup: bool) -> None:
        """One pass over the inliers; the totals stay on the device until its end."""
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
            torch.stack(losses).sum().backward()
            self.optimizer.step()
            self.mean.update()


def _trainable(flows: Sequence[Flow]) -> tuple[Callable[[Tensor], Tensor], list[nn.Parameter]]:
    """The NLL (F, n) of rows (F, n, d) of F flows, and the parameters to train."""
    if flows[0].architecture is not None:
        flat = FlatFlows(flows)
        return flat.nll, [flat.values]
    (flow,) = flows
    return lambda x: flow.nll(x.squeeze(0)).unsqueeze(0), _trained_parameters(flow)


def _trained_parameters(flow: Flow) -> list[nn.Parameter]:
    return [parameter for parameter in flow.parameters() if parameter.requires_grad]


class _Member:
    """One task's share of a run: its batches, its totals, its best weights."""

    def __init__(self, task: FlowTask) -> None:
        self.task, self.config, self.stage = task, task.trainer, task.stage
        self.flow, self.data, self.device = task.flow, task.data, task.data.X.device
        self.generator = torch.Generator(self.device).manual_seed(self.config.seed)
        X_aux = task.X_aux
        self.aux_batches = None if X_aux is None else _endless_batches(X_aux, self.config.batch_size, self.generator)
        self.history: list[Epoch] = []
        self.best, self.best_epoch, self.stopped = -math.inf, 0, False
        self.best_weights: list[Tensor] = []

    def begin_epoch(self) -> None:
        self.flow.train()
        self.order = torch.randperm(len(self.data.X), generator=self.generator, device=self.device)
        self.totals = torch.zeros(3, device=self.device)

    def batch(self, rows: slice, warmup: bool) -> Tensor:
        """The step's inliers and, where the objective has a use for them, as many auxiliary rows; noisy."""
        x = self.data.X.index_select(0, self.order[rows])
        if self.aux_batches is not None and not warmup:
            x = torch.cat([x, next(self.aux_batches)])
        if not isinstance(self.data.noise_std, Tensor):
            return x
        noise = torch.randn(x.shape, generator=self.generator, device=self.device)
        return torch.addcmul(x, self.data.noise_std, noise)

    def loss(self, nll: Tensor, nll_aux: Tensor, warmup: bool) -> Tensor:
        objective = None if warmup else self.stage.objective
        loss = likelihood_loss(nll) if objective is None else objective(nll, nll_aux)
        below = self.stage.active_below
        n_active = (nll_aux.detach() < (below(nll.detach()) if callable(below) else below)).sum()
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
        warmup = number <= self.stage.warmup_epochs
        value = -math.inf if warmup else self._criterion(record)
        if warmup or value > self.best + self.config.tol:
            self.best, self.best_epoch = value, number
            self.best_weights = [parameter.detach().clone() for parameter in _trained_parameters(self.flow)]
        else:
            self.stopped = number - self.best_epoch >= self.config.patience

    def _record(self, number: int) -> Epoch:
        loss = (self.totals[0] / len(self.order)).item()
        check_finite("loss", loss, number, self.config.learning_rate, "X and X_aux")
        active = (self.totals[1] / self.totals[2]).item()
        return {"epoch": number, "loss": loss, **self._validate(), "aux_active_fraction": active}

    def finish(self) -> None:
        """Give the flow its best weights and the task its result."""
        if self.best_epoch == 0:
            raise FloatingPointError(
                f"held-out rows have no finite score after epoch {len(self.history)} at "
                f"learning_rate={self.config.learning_rate}; lower it, or look for extreme values in X and X_aux."
            )
        for parameter, best in zip(_trained_parameters(self.flow), self.best_weights, strict=True):
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
        stopping = self.config.stopping
        if stopping == "auto":
            stopping = "likelihood" if self.data.X_aux_val is None else "auroc"
        value = {"auroc": record["val_auroc"], "likelihood": -record["val_nll"], "none": record["epoch"]}[stopping]
        # ranks survive infinite scores, a usable flow does not
        return value if math.isfinite(value) and math.isfinite(record["val_nll"]) else -math.inf


def _endless_batches(X: Tensor | StreamedRows, batch_size: int, generator: torch.Generator) -> Iterator[Tensor]:
    """Rows without replacement, pass after pass."""
    while True:
        order = torch.randperm(len(X), generator=generator, device=generator.device)
        yield from (X[order[rows]] for rows in row_batches(len(X), batch_size))


def auroc(positive: Tensor, negative: Tensor) -> float:
    """The chance that a random ``positive`` (n,) exceeds a random ``negative`` (m,), ties counted half."""
    ordered = negative.sort().values
    below = torch.searchsorted(ordered, positive.contiguous())
    not_above = torch.searchsorted(ordered, positive.contiguous(), right=True)
    return (below + not_above).double().mean().item() / (2 * len(negative))
