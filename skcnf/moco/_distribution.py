"""One process or many, alike: what pretraining needs of torch.distributed."""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import timedelta

import torch
from torch import Tensor, distributed

from skcnf._core.devices import resolve_device

__all__ = ["World", "process_group"]

_PATIENCE = timedelta(days=7)  # with gloo, which notices at once that a process ended; a paused one is waited for


@dataclass(frozen=True)
class World:
    """The processes that train together; one where torch.distributed is not initialised."""

    rank: int = 0
    size: int = 1

    @classmethod
    def current(cls) -> World:
        """As torch.distributed has it."""
        if distributed.is_available() and distributed.is_initialized():
            return cls(distributed.get_rank(), distributed.get_world_size())
        return cls()

    def wait(self) -> None:
        """Until all processes are here."""
        if self.size > 1:
            distributed.barrier()

    def gather(self, rows: Tensor) -> Tensor:
        """The rows of all processes, in the order of their ranks; every process holds as many."""
        if self.size == 1:
            return rows
        parts = [torch.empty_like(rows) for _ in range(self.size)]
        distributed.all_gather(parts, rows.contiguous())
        return torch.cat(parts)

    def average_(self, tensors: Iterable[Tensor]) -> None:
        """Replace floating-point tensors by their mean over the processes."""
        if self.size > 1:
            for tensor in tensors:
                if tensor.is_floating_point():
                    distributed.all_reduce(tensor)
                    tensor /= self.size


@contextmanager
def process_group(device: str) -> Iterator[str]:
    """Join the processes that torchrun started, if it did; gives the device of this one.

    Processes are told apart by torchrun's environment: ``WORLD_SIZE``, ``RANK`` and ``LOCAL_RANK``.
    """
    if int(os.environ.get("WORLD_SIZE", "1")) == 1:
        yield device
        return
    kind = resolve_device(device).type
    local = f"cuda:{os.environ['LOCAL_RANK']}" if kind == "cuda" else kind
    if kind == "cuda":
        torch.cuda.set_device(local)
        distributed.init_process_group("nccl")
    else:
        distributed.init_process_group("gloo", timeout=_PATIENCE)
    try:
        yield local
    finally:
        distributed.destroy_process_group()
