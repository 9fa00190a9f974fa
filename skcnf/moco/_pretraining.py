"""MoCo pretraining on unlabelled images: one device or many, resumable at every epoch."""

from __future__ import annotations

import copy
import logging
import os
import time
import warnings
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, nullcontext
from dataclasses import asdict
from pathlib import Path
from typing import Any, cast

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.nn.parallel import DistributedDataParallel

from skcnf._core.devices import autocast, resolve_device
from skcnf._core.generators import seeded
from skcnf._core.locks import output_lock
from skcnf._core.progress import check_finite, progress_bar
from skcnf._core.rows import row_batches
from skcnf.images import Draws, digest
from skcnf.moco._checkpoints import read_checkpoint, write_checkpoint
from skcnf.moco._contrast import MoCo, info_nce, uniformity
from skcnf.moco._distribution import World
from skcnf.moco._encoders import EncoderSpec, build_encoder
from skcnf.moco._recipe import PretrainConfig
from skcnf.moco._views import ImageViews

__all__ = ["pretrain"]

_log = logging.getLogger(__name__)


def pretrain(
    images: np.ndarray,
    encoder: EncoderSpec | nn.Module,
    config: PretrainConfig | None = None,
    *,
    device: str | torch.device = "auto",
    checkpoint: str | os.PathLike[str] | None = None,
    on_epoch: Callable[[dict[str, float]], None] | None = None,
    result: str = "query",
    verbose: bool = False,
) -> tuple[nn.Module, list[dict[str, float]]]:
    """Train an encoder on unlabelled images by MoCo.

    Where torch.distributed is initialised, every process calls this with the same arguments but for ``device``; the
    batch is shared out, and the losses are those of one process.

    Parameters
    ----------
    images : ndarray of shape (n, h, w, 3), dtype uint8
        Kept on the device whole where they fill at most half of its free memory; a memory map stays where it is.
    encoder : EncoderSpec or nn.Module
        The encoder to build, or one to start from (`load_encoder`), which is left as it is.
    config : PretrainConfig, optional
        The recipe.
    device : str or torch.device, default="auto"
        CUDA where there is one, else the CPU.
    checkpoint : path, optional
        Written after every epoch, by renaming a finished file; a run that finds it goes on from there, to the same
        losses as an uncut run on the same machine. It names the images (by their pixels), the encoder and the recipe
        that it belongs to.
    on_epoch : callable, optional
        Given the epoch's record as it ends.
    result : {"query", "key"}, default="query"
        The encoder to return; the key encoder is a running mean of the query encoder.
    verbose : bool, default=False
        A progress bar of every epoch where standard error is a terminal.

    Returns
    -------
    encoder : nn.Module
        The one that ``result`` names, in evaluation mode, on the CPU.
    history : list of dict
        One record an epoch: ``epoch``, ``loss`` (nats), ``alignment`` (mean squared distance of query and key),
        ``uniformity`` (of the queries, see `skcnf.moco.uniformity`), ``learning_rate``, ``images_per_second``.

    Raises
    ------
    ValueError
        If images have another shape or type, ``result`` is neither of the two, the recipe does not suit the number of
        processes, or the checkpoint belongs to another run: other images, another encoder or another recipe.
    OSError
        If ``checkpoint`` cannot be written, or another run writes it (naming its process).
    FloatingPointError
        If the loss stops being finite.
    """
    if result not in ("query", "key"):
        raise ValueError(f"result={result!r} is not one of ['key', 'query'].")
    run = _Run(images, encoder, config or PretrainConfig(), resolve_device(device))
    if checkpoint is not None:
        run.identity = {"images": digest(images), **asdict(run.spec), **asdict(run.config)}
    with output_lock(checkpoint) if checkpoint is not None and run.world.rank == 0 else nullcontext():
        if checkpoint is not None and Path(checkpoint).exists():
            run.history = read_checkpoint(checkpoint, run.identity, run.model, run.optimizer)
        while len(run.history) < run.config.epochs:
            run.history.append(run.epoch(len(run.history), verbose))
            _log.info("epoch %(epoch)d: loss %(loss).4f, %(images_per_second).0f images/s", run.history[-1])
            if run.world.rank == 0:
                if checkpoint is not None:
                    write_checkpoint(checkpoint, run.identity, run.history, run.model, run.optimizer)
                if on_epoch is not None:
                    on_epoch(run.history[-1])
    trained = run.model.encoder_k.requires_grad_(True) if result == "key" else run.model.encoder_q
    return trained.eval().cpu(), run.history


class _Run:
    """The state of one run; randomness is a function of the seed and the epoch, so that a resumed run repeats."""

    def __init__(
        self, images: np.ndarray, encoder: EncoderSpec | nn.Module, config: PretrainConfig, device: torch.device
    ) -> None:
        self.config, self.device, self.world = config, device, World.current()
        self.spec = encoder if isinstance(encoder, EncoderSpec) else cast(EncoderSpec, encoder.spec)
        self._check(images)
        with seeded(config.seed):
            start = build_encoder(encoder) if isinstance(encoder, EncoderSpec) else copy.deepcopy(encoder).float()
            model = MoCo(start, self.spec.out_features, config.queue_size, config.key_momentum, config.temperature)
        self.model = model.requires_grad_(True).to(device).to(memory_format=torch.channels_last)
        self.model.encoder_k.requires_grad_(False)
        self.query_encoder = self._wrap(self.model.encoder_q)
        self.views = ImageViews(images, self.spec, config, device)
        self.history: list[dict[str, float]] = []
        self.identity: dict[str, Any] = {}  # what tells this run from others, where a checkpoint is kept
        self.steps_per_epoch = len(images) // config.batch_size
        self.optimizer = torch.optim.SGD(
            self.model.encoder_q.parameters(),
            lr=config.learning_rate,
            momentum=config.momentum,
            weight_decay=config.weight_decay,
            nesterov=config.nesterov,
        )

    def _check(self, images: np.ndarray) -> None:
        if not isinstance(images, np.ndarray) or images.dtype != np.uint8 or images.ndim != 4 or images.shape[3] != 3:
            found = f"{getattr(images, 'dtype', type(images).__name__)} {getattr(images, 'shape', '')}"
            raise ValueError(f"images must be a uint8 array (n, h, w, 3); got {found}.")
        batch_size, n_splits = self.config.batch_size, self.config.n_splits
        if len(images) < batch_size:
            raise ValueError(f"images holds {len(images)} images, fewer than one batch of {batch_size}.")
        if n_splits % self.world.size or batch_size % n_splits or batch_size < 2 * n_splits:
            raise ValueError(
                f"batch_size={batch_size} must be a multiple of n_splits={n_splits}, 2 images or more for each, and "
                f"n_splits a multiple of the number of processes, {self.world.size}."
            )

    def _wrap(self, encoder: nn.Module) -> nn.Module:
        if self.world.size == 1:
            return encoder
        with warnings.catch_warnings():
            # torch 2.15 renames the option; older ones know this name alone
            warnings.filterwarnings("ignore", "`broadcast_buffers` is deprecated", FutureWarning)
            # statistics are averaged at an epoch's end instead of copied from rank 0 before every pass
            return DistributedDataParallel(encoder, broadcast_buffers=False)

    def epoch(self, number: int, verbose: bool) -> dict[str, float]:
        self.model.train()
        generator = torch.Generator().manual_seed(self.config.seed * 100_003 + number)
        order = torch.randperm(len(self.views), generator=generator)
        totals = torch.zeros(3, device=self.device)
        start = time.perf_counter()
        n_used = self.steps_per_epoch * self.config.batch_size
        with progress_bar(total=n_used, desc=f"epoch {number}", unit="image", verbose=verbose) as bar:
            for step, rows in enumerate(row_batches(n_used, self.config.batch_size)):
                for group in self.optimizer.param_groups:
                    group["lr"] = self.config.rate_at(number * self.steps_per_epoch + step, self.steps_per_epoch)
                totals += self._step(order[rows], generator)
                bar.update(self.config.batch_size)
        self.world.average_([totals, *self.model.encoder_q.buffers(), *self.model.encoder_k.buffers()])
        loss, alignment, spread = (totals / self.steps_per_epoch).tolist()
        check_finite("MoCo loss", loss, number, self.config.learning_rate, "images")
        return {
            "epoch": number,
            "loss": loss,
            "alignment": alignment,
            "uniformity": spread,
            "learning_rate": self.optimizer.param_groups[0]["lr"],
            "images_per_second": n_used / (time.perf_counter() - start),
        }

    def _step(self, rows: Tensor, generator: torch.Generator) -> Tensor:
        """One update on the images ``rows``; returns this process's mean loss, alignment and uniformity."""
        views = [self.config.augmentation.draw(len(rows), generator) for _ in range(2)]
        directions = [(0, 1), (1, 0)] if self.config.symmetric else [(0, 1)]
        self.model.update_key_encoder()
        keys = [self._keys(rows, views[key], generator) for _, key in directions]
        self.optimizer.zero_grad(set_to_none=True)
        totals = torch.zeros(3, device=self.device)
        batches = [
            batch
            for (query, _), own_keys in zip(directions, keys, strict=True)
            for batch in self._query_batches(rows, views[query], own_keys)
        ]
        for number, (images, positives) in enumerate(batches):
            last = number == len(batches) - 1
            with self._exchange(last):
                totals += self._backward(images, positives, 1 / len(batches))
        self.optimizer.step()
        for own_keys in keys:
            self.model.enqueue(own_keys)
        return totals

    def _exchange(self, wanted: bool) -> AbstractContextManager[None]:
        """Whether the backward pass inside averages gradients over the processes: once a step is enough."""
        if wanted or self.world.size == 1:
            return nullcontext()
        return cast(DistributedDataParallel, self.query_encoder).no_sync()

    def _keys(self, rows: Tensor, draws: Draws, generator: torch.Generator) -> Tensor:
        """Unit keys of all rows, in their order, encoded in shuffled parts: a query and its key keep other company.

        Every process can read every image and knows all draws, so shuffling across processes moves no image.
        """
        order = torch.randperm(len(rows), generator=generator)
        own = self._own(order)
        with self._autocast():
            keys = self.model.encode_keys(self._view(rows[own], draws.rows(own)), self._own_splits)
        keys = self.world.gather(keys)
        return torch.empty_like(keys).index_copy_(0, order.to(self.device), keys)

    def _query_batches(self, rows: Tensor, draws: Draws, keys: Tensor) -> Iterator[tuple[Tensor, Tensor]]:
        own = self._own(torch.arange(len(rows)))
        images, keys = self._view(rows[own], draws.rows(own)), keys[own.to(keys.device)]
        return zip(images.chunk(self._own_splits), keys.chunk(self._own_splits), strict=True)

    def _backward(self, images: Tensor, keys: Tensor, share: float) -> Tensor:
        """Negatives are earlier keys alone, so the loss is a mean over queries, and taking it in parts is exact."""
        with self._autocast():
            queries = self.query_encoder(images)
        queries = F.normalize(queries.float(), dim=1)
        loss = info_nce(queries, keys, self.model.queue, self.config.temperature)
        (loss * share).backward()
        queries = queries.detach()
        return torch.stack([loss.detach(), (queries - keys).square().sum(1).mean(), uniformity(queries)]) * share

    @property
    def _own_splits(self) -> int:
        return self.config.n_splits // self.world.size

    def _own(self, index: Tensor) -> Tensor:
        """The part of a batch's index that this process works on."""
        return index.chunk(self.world.size)[self.world.rank]

    def _view(self, rows: Tensor, draws: Draws) -> Tensor:
        return self.views.of(rows, draws, len(self.history))

    def _autocast(self) -> torch.autocast:
        return autocast(self.device, self.config.precision)
