"""What a run of training gets and leaves: rows, what to optimise, and the result."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

from torch import Tensor

from skcnf._core.rows import StreamedRows
from skcnf.flows._mixture import LogisticMixtureFlow
from skcnf.flows._realnvp import RealNVP

__all__ = ["Epoch", "Flow", "FlowData", "Objective", "Stage", "TrainingResult"]

Objective = Callable[[Tensor, Tensor], Tensor]
Epoch = dict[str, float]
Flow = RealNVP | LogisticMixtureFlow


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
        Held-out auxiliary rows. Without them training stops by likelihood.
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

    def __post_init__(self) -> None:
        if not isinstance(self.noise_std, Tensor) and self.noise_std > 0:
            self.noise_std = self.X.new_full((self.X.shape[1],), self.noise_std)


@dataclass(frozen=True)
class Stage:
    """What a stage of training optimises.

    Parameters
    ----------
    objective : callable, optional
        Takes the NLL of inliers and that of auxiliary rows, and returns the loss. None is maximum likelihood, which
        needs no auxiliary rows.
    active_below : float or callable, optional
        An auxiliary row whose NLL is below this counts as active in the history. A callable takes the NLL (n,) of the
        step's inliers and returns the number.
    warmup_epochs : int, default=0
        So many first epochs maximise the likelihood alone.
    """

    objective: Objective | None = None
    active_below: float | Callable[[Tensor], Tensor] = math.nan
    warmup_epochs: int = 0


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
