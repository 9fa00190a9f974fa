"""The trainer of flows: how to train, the tasks, and training one flow or several together."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

from torch import Tensor

from skcnf._core.rows import StreamedRows
from skcnf.flows._data import Epoch, Flow, FlowData, Stage, TrainingResult
from skcnf.flows._loop import Run

__all__ = ["FlowTask", "FlowTrainer", "train_together"]

_SMALL_STEP = 2**16  # numbers in a hidden layer up to which calling operations costs more than their arithmetic


@dataclass(frozen=True)
class FlowTrainer:
    """How to train.

    Parameters
    ----------
    max_epochs : int
        Passes over the inliers at most.
    batch_size : int
        A step takes so many inliers, and as many auxiliary rows.
    learning_rate : float
        Adam's step size.
    weight_decay : float
        Adam's L2 penalty.
    weight_averaging : float in [0, 1)
        A running mean of the weights, which keeps at most this share of itself a step, is what is validated and kept
        (`skcnf.flows._averaging`); 0 validates and keeps the weights themselves.
    patience : int
        Training stops after so many epochs without an improvement.
    tol : float
        An improvement of the criterion must exceed this (AUROC in [0, 1]; likelihood in nats).
    stopping : {"auto", "auroc", "likelihood", "none"}
        The criterion; "auto" is AUROC where the data holds auxiliary rows for validation. "none" trains for
        ``max_epochs`` and keeps the last weights.
    seed : int
        Draws batches and noise.
    verbose : bool
        Whether to show a progress bar where standard error is a terminal.
    """

    max_epochs: int = 20
    batch_size: int = 256
    learning_rate: float = 1e-3
    weight_decay: float = 0.0
    weight_averaging: float = 0.0
    patience: int = 3
    tol: float = 0.0
    stopping: str = "auto"
    seed: int = 0
    verbose: bool = False

    def train(
        self,
        flow: Flow,
        data: FlowData,
        stage: Stage | None = None,
        on_epoch: Callable[[Flow, Epoch], None] | None = None,
    ) -> TrainingResult:
        """Train ``flow`` in place and leave it with the weights of its best epoch, in evaluation mode.

        Parameters are those of `FlowTask`.

        Raises
        ------
        FloatingPointError
            If the loss or every held-out score stops being finite; names the epoch and the learning rate.
        """
        task = FlowTask(self, flow, data, stage or Stage(), on_epoch)
        train_together([task])
        return task.result


@dataclass(eq=False)
class FlowTask:
    """A flow to train.

    Parameters
    ----------
    trainer : FlowTrainer
        How to train.
    flow : RealNVP, or a module with its ``nll``, ``log_prob`` and ``architecture``
        In float32, on the device of ``data``.
    data : FlowData
        What to train on.
    stage : Stage, optional
        What to optimise; maximum likelihood by default.
    on_epoch : callable, optional
        Called at the end of each epoch with the flow, which has the weights that are validated, and the epoch's
        record.

    Attributes
    ----------
    result : TrainingResult
        Set once the task is done.

    Raises
    ------
    ValueError
        If the stage has an objective and the data no auxiliary rows.
    """

    trainer: FlowTrainer
    flow: Flow
    data: FlowData
    stage: Stage = field(default_factory=Stage)
    on_epoch: Callable[[Flow, Epoch], None] | None = None
    result: TrainingResult = field(init=False)

    def __post_init__(self) -> None:
        if self.stage.objective is not None and self.data.X_aux is None:
            raise ValueError("the stage has an objective, which needs X_aux, but data.X_aux is None.")

    @property
    def X_aux(self) -> Tensor | StreamedRows | None:
        """The auxiliary rows that the objective needs; None for maximum likelihood."""
        return None if self.stage.objective is None else self.data.X_aux

    def kind(self) -> tuple[Any, ...]:
        """Tasks of one kind can be trained as one batched model."""
        if self.flow.architecture is None:
            return (id(self),)
        n_aux = None if self.X_aux is None else len(self.X_aux)
        trainer = dataclasses.replace(self.trainer, seed=0)
        n_rows = len(self.data.X)
        return trainer, self.stage.warmup_epochs, self.flow.architecture, n_rows, n_aux, self.data.X.device

    def batching_pays(self) -> bool:
        """Off the CPU, which many small products leave idle, and on it where calls cost more than arithmetic."""
        if self.flow.architecture is None:
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
        Run(group).run()
