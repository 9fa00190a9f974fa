"""The recipe of a pretraining run: published ones, and one for small images."""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from typing import Any

from skcnf._core.devices import PRECISIONS
from skcnf.images import Augmentation

__all__ = ["PretrainConfig"]


@dataclass(frozen=True)
class PretrainConfig:
    """The recipe of a pretraining run. Defaults are those of small images (32 px).

    Parameters
    ----------
    epochs, batch_size : int
        Passes over the images; images in a step, over all processes.
    learning_rate, weight_decay, momentum : float
        Of SGD, Nesterov's where ``nesterov``; the rate rises over ``warmup_steps`` and falls to 0 by a cosine.
    milestones : tuple of int
        Epochs at which the rate falls tenfold, instead of the cosine.
    queue_size : int
        Negatives, K of He et al.
    key_momentum : float
        m of equation 2.
    temperature : float
        tau of equation 1.
    n_splits : int
        Parts of a batch with batch statistics of their own, over all processes: shuffling batch norm (section 3.3).
        A multiple of the number of processes.
    symmetric : bool
        Both views serve as query and as key, and the loss is the mean of the two.
    low_res_size : int or None
        Images are shrunk to this size, then enlarged to the encoder's (Schmier et al., "MOCO Finetuning").
    early_size, early_epochs : int or None, int
        In the first ``early_epochs`` epochs views have ``early_size`` pixels a side instead of the encoder's, and cost
        less: 24 px instead of 32 three fifths of the time.
    precision : {"auto", "float32", "bfloat16"}
        Of the encoders; the loss is float32. "auto" is bfloat16 on CUDA devices that have it, else float32.
    seed : int
        Decides everything random.
    augmentation : Augmentation
    """

    epochs: int = 200
    batch_size: int = 256
    learning_rate: float = 0.06
    weight_decay: float = 5e-4
    momentum: float = 0.9
    nesterov: bool = True
    warmup_steps: int = 100
    milestones: tuple[int, ...] = ()
    queue_size: int = 4096
    key_momentum: float = 0.99
    temperature: float = 0.1
    n_splits: int = 4
    symmetric: bool = False
    low_res_size: int | None = None
    early_size: int | None = None
    early_epochs: int = 0
    precision: str = "auto"
    seed: int = 0
    augmentation: Augmentation = field(default_factory=Augmentation)

    def __post_init__(self) -> None:
        for name in ("epochs", "batch_size", "queue_size", "n_splits"):
            if getattr(self, name) < 1:
                raise ValueError(f"{name}={getattr(self, name)!r} must be at least 1.")
        for name in ("learning_rate", "temperature"):
            if not getattr(self, name) > 0:
                raise ValueError(f"{name}={getattr(self, name)!r} must be above 0.")
        if not 0 <= self.key_momentum <= 1:
            raise ValueError(f"key_momentum={self.key_momentum!r} must lie in [0, 1].")
        if self.precision not in PRECISIONS:
            raise ValueError(f"precision={self.precision!r} is not one of {list(PRECISIONS)}.")

    @classmethod
    def moco_v1(cls, **changes: Any) -> PretrainConfig:
        """The recipe of He et al. for ImageNet; ``changes`` go on top."""
        v1 = {"temperature": 0.07, "milestones": (120, 160), "augmentation": Augmentation.moco_v1()}
        return cls(**{**_IMAGENET, **v1, **changes})

    @classmethod
    def moco_v2(cls, **changes: Any) -> PretrainConfig:
        """The recipe of Chen et al. for ImageNet; ``changes`` go on top."""
        return cls(**{**_IMAGENET, "temperature": 0.2, "augmentation": Augmentation.moco_v2(), **changes})

    def rate_at(self, step: int, steps_per_epoch: int) -> float:
        """The learning rate of a step, counted from 0 over the whole run."""
        warmup = min(1.0, (step + 1) / max(1, self.warmup_steps))
        epoch = step / steps_per_epoch
        if self.milestones:
            return self.learning_rate * warmup * 0.1 ** sum(epoch >= milestone for milestone in self.milestones)
        return self.learning_rate * warmup * 0.5 * (1 + math.cos(math.pi * epoch / self.epochs))


_IMAGENET: dict[str, Any] = {
    "learning_rate": 0.03,
    "weight_decay": 1e-4,
    "nesterov": False,
    "warmup_steps": 0,
    "queue_size": 65536,
    "key_momentum": 0.999,
    "n_splits": 8,
}
