"""Momentum contrast: encoder pair, key queue, InfoNCE and the pretraining loop.

He, Fan, Wu, Xie and Girshick, "Momentum Contrast for Unsupervised Visual Representation Learning", CVPR 2020 (v1);
Chen, Fan, Girshick and He, "Improved Baselines with Momentum Contrastive Learning", arXiv:2003.04297 (v2).
"""

from __future__ import annotations

import copy
import io
import logging
import math
import os
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass, field
from pathlib import Path

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from skcnf._runtime import resolve_device, row_batches, seeded
from skcnf.augment import Augmentation, standardize_images
from skcnf.encoders import EncoderSpec, build_encoder, write_atomically

__all__ = ["MoCo", "PretrainConfig", "info_nce", "pretrain"]

_log = logging.getLogger(__name__)


def info_nce(queries: Tensor, keys: Tensor, queue: Tensor, temperature: float) -> Tensor:
    """InfoNCE of He et al., equation 1: the cross-entropy of telling each query's key from the queue, in nats.

    Parameters
    ----------
    queries, keys : Tensor of shape (n, c)
        Unit vectors; row i of one belongs to row i of the other.
    queue : Tensor of shape (k, c)
        Unit vectors of earlier keys, the negatives.
    temperature : float
        Divides every similarity.

    Returns
    -------
    Tensor of shape ()
        Mean over the queries.
    """
    positive = (queries * keys).sum(1, keepdim=True)  # n x 1
    negative = queries @ queue.T  # n x k
    logits = torch.cat([positive, negative], 1) / temperature
    return F.cross_entropy(logits, torch.zeros(len(logits), dtype=torch.long, device=logits.device))


class MoCo(nn.Module):
    """A query encoder, its momentum copy and the queue of keys.

    Parameters
    ----------
    encoder : nn.Module
        Maps images to features (n, out_features).
    out_features : int
        Width of the features.
    queue_size : int
        Number of keys kept as negatives (K of the paper).
    key_momentum : float
        m of the paper's equation 2.
    temperature : float
        tau of the paper's equation 1.
    """

    queue: Tensor
    position: Tensor

    def __init__(
        self,
        encoder: nn.Module,
        out_features: int,
        queue_size: int = 4096,
        key_momentum: float = 0.99,
        temperature: float = 0.1,
    ) -> None:
        super().__init__()
        self.encoder_q = encoder
        self.encoder_k = copy.deepcopy(encoder).requires_grad_(False)
        self.key_momentum = key_momentum
        self.temperature = temperature
        self.register_buffer("queue", F.normalize(torch.randn(queue_size, out_features), dim=1))
        self.register_buffer("position", torch.zeros((), dtype=torch.long))

    @torch.no_grad()
    def update_key_encoder(self) -> None:
        """Equation 2 of He et al.: ``key <- m key + (1 - m) query``, for parameters."""
        keys, queries = list(self.encoder_k.parameters()), list(self.encoder_q.parameters())
        torch._foreach_lerp_(keys, queries, 1 - self.key_momentum)

    @torch.no_grad()
    def enqueue(self, keys: Tensor) -> None:
        """Replace the oldest keys by ``keys`` (n, out_features); any n, wrapping around the end."""
        size = len(self.queue)
        slots = (self.position + torch.arange(len(keys), device=keys.device)) % size
        self.queue[slots[-size:]] = keys[-size:]
        self.position.copy_((self.position + len(keys)) % size)

    @torch.no_grad()
    def encode_keys(self, images: Tensor, n_splits: int, generator: torch.Generator) -> Tensor:
        """Unit keys (n, out_features), encoded in shuffled splits so that batch norm cannot tell which query is whose.

        This is the paper's "shuffling BN" (section 3.3) on one device: each split has batch statistics of its own, and
        a query and its key sit in different company.
        """
        order = torch.randperm(len(images), generator=generator).to(images.device)
        keys = torch.cat([self.encoder_k(images[part]) for part in order.chunk(n_splits)])
        return F.normalize(torch.empty_like(keys).index_copy_(0, order, keys), dim=1)

    def backward_step(self, queries: Tensor, keys: Tensor, n_splits: int) -> Tensor:
        """Accumulate the gradient of the batch's mean InfoNCE, split by split.

        Negatives are earlier keys alone, so the loss is a mean over queries and splitting it is exact.

        Returns
        -------
        Tensor of shape (2,)
            The loss in nats and the alignment ``mean |query - key|^2``, both detached.
        """
        total = torch.zeros(2, device=queries.device)
        for images, positives in zip(queries.chunk(n_splits), keys.chunk(n_splits), strict=True):
            encoded = F.normalize(self.encoder_q(images).float(), dim=1)
            share = len(images) / len(queries)
            loss = info_nce(encoded, positives, self.queue, self.temperature) * share
            loss.backward()
            alignment = (encoded.detach() - positives).square().sum(1).mean() * share
            total += torch.stack([loss.detach(), alignment])
        return total


@dataclass(frozen=True)
class PretrainConfig:
    """The recipe of a pretraining run. Defaults are those of small images (32 px)."""

    epochs: int = 200
    batch_size: int = 256
    learning_rate: float = 0.06
    weight_decay: float = 5e-4
    momentum: float = 0.9
    warmup_steps: int = 100
    queue_size: int = 4096
    key_momentum: float = 0.99
    temperature: float = 0.1
    n_splits: int = 4
    seed: int = 0
    augmentation: Augmentation = field(default_factory=Augmentation)


def pretrain(
    images: Tensor,
    spec: EncoderSpec,
    config: PretrainConfig | None = None,
    *,
    device: str = "auto",
    checkpoint: str | os.PathLike[str] | None = None,
    on_epoch: Callable[[dict[str, float]], None] | None = None,
) -> tuple[nn.Module, list[dict[str, float]]]:
    """Train an encoder on unlabelled images by MoCo.

    Parameters
    ----------
    images : Tensor of shape (n, 3, h, w), dtype uint8
        Kept on the device whole.
    spec : EncoderSpec
        The encoder to build.
    config : PretrainConfig, optional
        The recipe.
    device : str, default="auto"
        CUDA where there is one, else the CPU.
    checkpoint : path, optional
        Written after every epoch, by renaming a finished file; a run that finds it goes on from there, to the same
        losses as an uncut run on the same machine.
    on_epoch : callable, optional
        Given the epoch's record as it ends.

    Returns
    -------
    encoder : nn.Module
        The query encoder, in evaluation mode.
    history : list of dict
        One record an epoch: ``epoch``, ``loss`` (nats), ``alignment`` (mean squared distance of query and key),
        ``learning_rate``, ``images_per_second``.

    Raises
    ------
    ValueError
        If images have another shape or type, or the checkpoint belongs to another run.
    FloatingPointError
        If the loss stops being finite.
    """
    config = config or PretrainConfig()
    if images.dtype != torch.uint8 or images.ndim != 4 or images.shape[1] != 3:
        raise ValueError(f"images must be uint8 (n, 3, h, w); got {images.dtype} {tuple(images.shape)}.")
    if len(images) < config.batch_size:
        raise ValueError(f"images holds {len(images)} images, fewer than one batch of {config.batch_size}.")
    target = resolve_device(device)
    with seeded(config.seed):
        model = MoCo(build_encoder(spec), spec.out_features, config.queue_size, config.key_momentum, config.temperature)
    model = model.to(target, memory_format=torch.channels_last)
    run = _Run(model, images.to(target), spec, config)
    if checkpoint is not None and Path(checkpoint).exists():
        run.restore(checkpoint)
    while len(run.history) < config.epochs:
        run.history.append(run.epoch(len(run.history)))
        _log.info("epoch %(epoch)d: loss %(loss).4f, %(images_per_second).0f images/s", run.history[-1])
        if checkpoint is not None:
            run.save(checkpoint)
        if on_epoch is not None:
            on_epoch(run.history[-1])
    return model.encoder_q.eval(), run.history


class _Run:
    """The state of one run; randomness is a function of the seed and the epoch, so that a resumed run repeats."""

    def __init__(self, model: MoCo, images: Tensor, spec: EncoderSpec, config: PretrainConfig) -> None:
        self.model, self.images, self.spec, self.config = model, images, spec, config
        self.history: list[dict[str, float]] = []
        self.steps_per_epoch = len(images) // config.batch_size
        self.optimizer = torch.optim.SGD(
            model.encoder_q.parameters(),
            lr=config.learning_rate,
            momentum=config.momentum,
            weight_decay=config.weight_decay,
            nesterov=config.momentum > 0,
        )

    def epoch(self, number: int) -> dict[str, float]:
        self.model.train()
        generator = torch.Generator().manual_seed(self.config.seed * 100_003 + number)
        order = torch.randperm(len(self.images), generator=generator).to(self.images.device)
        totals = torch.zeros(2, device=self.images.device)
        start = time.perf_counter()
        n_used = self.steps_per_epoch * self.config.batch_size
        for step, rows in enumerate(row_batches(n_used, self.config.batch_size)):
            self._set_learning_rate(number * self.steps_per_epoch + step)
            totals += self._step(self.images[order[rows]], generator)
        loss, alignment = (totals / self.steps_per_epoch).tolist()
        if not math.isfinite(loss):
            raise FloatingPointError(
                f"the MoCo loss is {loss} in epoch {number} at learning_rate={self.config.learning_rate}; lower it."
            )
        return {
            "epoch": number,
            "loss": loss,
            "alignment": alignment,
            "learning_rate": self.optimizer.param_groups[0]["lr"],
            "images_per_second": n_used / (time.perf_counter() - start),
        }

    def _set_learning_rate(self, step: int) -> None:
        warmup = min(1.0, (step + 1) / max(1, self.config.warmup_steps))
        progress = step / (self.config.epochs * self.steps_per_epoch)
        for group in self.optimizer.param_groups:
            group["lr"] = self.config.learning_rate * warmup * 0.5 * (1 + math.cos(math.pi * progress))

    def _step(self, batch: Tensor, generator: torch.Generator) -> Tensor:
        batch = batch.float() / 255
        query_images, key_images = (self._view(batch, generator) for _ in range(2))
        self.model.update_key_encoder()
        keys = self.model.encode_keys(key_images, self.config.n_splits, generator).float()
        self.optimizer.zero_grad(set_to_none=True)
        loss = self.model.backward_step(query_images, keys, self.config.n_splits)
        self.optimizer.step()
        self.model.enqueue(keys)
        return loss

    def _view(self, batch: Tensor, generator: torch.Generator) -> Tensor:
        view = standardize_images(self.config.augmentation(batch, generator), self.spec.mean, self.spec.std)
        return view.to(memory_format=torch.channels_last)

    def save(self, path: str | os.PathLike[str]) -> None:
        buffer = io.BytesIO()
        state = {
            "spec": asdict(self.spec),
            "config": asdict(self.config),
            "history": self.history,
            "model": self.model.state_dict(),
            "optimizer": self.optimizer.state_dict(),
        }
        torch.save(state, buffer)
        write_atomically(path, buffer.getvalue())

    def restore(self, path: str | os.PathLike[str]) -> None:
        try:
            state = torch.load(path, map_location=self.images.device, weights_only=True)
            state["spec"], state["config"], state["history"], state["model"], state["optimizer"]
        except Exception as error:  # torch raises a different class for every way a file can be broken
            raise ValueError(
                f"'{path}' is no checkpoint of a pretraining run, and nothing in it was executed; give another path."
            ) from error
        if state["spec"] != asdict(self.spec) or state["config"] != asdict(self.config):
            raise ValueError(f"'{path}' is the checkpoint of a run with another spec or config; give another path.")
        self.model.load_state_dict(state["model"])
        self.optimizer.load_state_dict(state["optimizer"])
        self.history = state["history"]
