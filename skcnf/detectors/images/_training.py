"""The training loop of the image-level detectors: SGD over uint8 images, resumable at every epoch."""

from __future__ import annotations

import hashlib
import json
import logging
import math
import os
import time
from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from skcnf._core.locks import output_lock
from skcnf._core.progress import check_finite, progress_bar
from skcnf.images import as_tensor, digest
from skcnf.moco._checkpoints import read_checkpoint, write_checkpoint
from skcnf.moco._encoding import weights_digest

__all__ = ["ImageTrainer", "Losses"]

_log = logging.getLogger(__name__)
# From a network, images (n, s, s, 3) of uint8 and a generator on the CPU to the loss, under "loss", and its parts.
Losses = Callable[[nn.Module, Tensor, torch.Generator], dict[str, Tensor]]
History = list[dict[str, float]]


@dataclass(frozen=True)
class ImageTrainer:
    """States how to train.

    Parameters
    ----------
    n_epochs, batch_size : int
        Passes over the images, and images of a step at most.
    learning_rate, weight_decay : float
        Of SGD with Nesterov's momentum 0.9. The rate rises over the first epoch, but over 200 steps at most, and falls
        to 0 by a cosine.
    seed : int
        Decides batches and augmentation.
    verbose : bool
    checkpoints : path or None
        A folder with one file for each run, written after every epoch; a run that finds its own goes on from there.
    """

    n_epochs: int
    batch_size: int
    learning_rate: float
    weight_decay: float
    seed: int
    verbose: bool = False
    checkpoints: str | os.PathLike[str] | None = None

    def train(self, network: nn.Module, images: np.ndarray, losses: Losses, name: Mapping[str, Any]) -> History:
        """Train ``network`` in place on its device; returns a record an epoch.

        Parameters
        ----------
        network : nn.Module
        images : ndarray of shape (n, s, s, 3), dtype uint8
            They are kept on the device.
        losses : callable
        name : mapping of str to plain values
            What tells this run from others, beside the images, the network's weights and this trainer.

        Raises
        ------
        FloatingPointError
            If the loss stops being finite; names the epoch and the learning rate.
        ValueError
            If the checkpoint of this run was damaged (naming it).
        OSError
            If a checkpoint cannot be written, or another process trains the same (naming it).
        """
        optimizer = torch.optim.SGD(
            network.parameters(), self.learning_rate, momentum=0.9, nesterov=True, weight_decay=self.weight_decay
        )
        path, run = self._checkpoint(network, images, name)
        pixels = as_tensor(images).to(next(network.parameters()).device)
        with _held(path):
            history = read_checkpoint(path, run, network, optimizer) if path is not None and path.exists() else []
            while len(history) < self.n_epochs:
                history.append(self._epoch(len(history), network, pixels, losses, optimizer))
                _log.info("epoch %(epoch)d: loss %(loss).4f, %(images_per_second).0f images/s", history[-1])
                if path is not None:
                    write_checkpoint(path, run, history, network, optimizer)
        return [{**record, "epoch": record["epoch"] + 1} for record in history]

    def _checkpoint(
        self, network: nn.Module, images: np.ndarray, name: Mapping[str, Any]
    ) -> tuple[Path | None, dict[str, Any]]:
        """The file of this run, and what it must say of itself."""
        if self.checkpoints is None:
            return None, {}
        names = ("n_epochs", "batch_size", "learning_rate", "weight_decay", "seed")
        run = {**name, **{field: getattr(self, field) for field in names}}
        run |= {"images": digest(images), "start": weights_digest(network)}
        stem = hashlib.blake2b(json.dumps(run, sort_keys=True).encode(), digest_size=8).hexdigest()
        folder = Path(self.checkpoints)
        try:
            folder.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise OSError(f"checkpoints='{folder}' cannot be made a folder: {error.strerror or error}.") from error
        return folder / f"{stem}.safetensors", run

    def _epoch(
        self, number: int, network: nn.Module, images: Tensor, losses: Losses, optimizer: torch.optim.SGD
    ) -> dict[str, float]:
        network.train()
        generator = torch.Generator().manual_seed(self.seed * 100_003 + number)
        order = torch.randperm(len(images), generator=generator)
        # of nearly equal size: none is so small that its statistics are mostly noise
        batches = order.tensor_split(math.ceil(len(images) / self.batch_size))
        totals: dict[str, Tensor] = {}
        start = time.perf_counter()
        title = f"epoch {number + 1} of {self.n_epochs}"
        for step, rows in enumerate(progress_bar(batches, desc=title, unit="step", verbose=self.verbose)):
            rate = self._rate(number * len(batches) + step, len(batches))
            parts = self._step(network, images[rows.to(images.device)], losses, optimizer, generator, rate)
            totals = {part: totals.get(part, 0) + value * len(rows) for part, value in parts.items()}
        means = {part: (total / len(images)).item() for part, total in totals.items()}
        check_finite("loss", means["loss"], number + 1, self.learning_rate)
        speed = len(images) / (time.perf_counter() - start)
        return {"epoch": number, **means, "learning_rate": rate, "images_per_second": speed}

    def _step(
        self,
        network: nn.Module,
        images: Tensor,
        losses: Losses,
        optimizer: torch.optim.SGD,
        generator: torch.Generator,
        rate: float,
    ) -> dict[str, Tensor]:
        for group in optimizer.param_groups:
            group["lr"] = rate
        parts = losses(network, images, generator)
        optimizer.zero_grad(set_to_none=True)
        parts["loss"].backward()
        optimizer.step()
        return {part: value.detach() for part, value in parts.items()}

    def _rate(self, step: int, steps_per_epoch: int) -> float:
        """The learning rate of a step, counted from 0 over the whole run."""
        warmup = min(1.0, (step + 1) / min(steps_per_epoch, _WARMUP_STEPS))
        return self.learning_rate * warmup * 0.5 * (1 + math.cos(math.pi * step / (self.n_epochs * steps_per_epoch)))


_WARMUP_STEPS = 200


def _held(path: Path | None) -> AbstractContextManager[None]:
    return nullcontext() if path is None else output_lock(path)
