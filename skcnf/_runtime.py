"""Device choice, the seeding scope and batching: what every torch layer shares."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import numpy as np
import torch

__all__ = ["resolve_device", "row_batches", "seeded"]


def resolve_device(device: str | torch.device = "auto") -> torch.device:
    """The torch device that ``device`` names; ``"auto"`` is CUDA where there is one, else the CPU.

    Raises
    ------
    ValueError
        If ``device`` is no device, or names hardware that is not at hand.
    """
    if str(device) == "auto":
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    try:
        resolved = torch.device(device)
    except (RuntimeError, TypeError) as error:
        raise ValueError(f"device={device!r} is not a device; use 'auto', 'cpu', 'cuda', 'cuda:N' or 'mps'.") from error
    _check_available(resolved)
    return resolved


def _check_available(device: torch.device) -> None:
    if device.type == "cuda":
        n_devices = torch.cuda.device_count() if torch.cuda.is_available() else 0
        if (device.index or 0) >= n_devices:
            raise ValueError(
                f"device='{device}' was asked for, but torch finds {n_devices} CUDA devices; "
                "use device='auto' or device='cpu'."
            )
    if device.type == "mps" and not torch.backends.mps.is_available():
        raise ValueError("device='mps' was asked for, but torch finds no Apple GPU; use device='auto'.")


@contextmanager
def seeded(seed: int) -> Iterator[None]:
    """Seed torch's and NumPy's global generators inside the scope, and restore both after it.

    NumPy's global generator matters because FrEIA 0.2 draws its permutations from it.
    """
    numpy_state = np.random.get_state()
    devices = range(torch.cuda.device_count()) if torch.cuda.is_available() else ()
    with torch.random.fork_rng(devices=list(devices)):
        try:
            torch.manual_seed(seed)
            np.random.seed(seed % 2**32)
            yield
        finally:
            np.random.set_state(numpy_state)


def row_batches(n_rows: int, batch_size: int) -> Iterator[slice]:
    """Slices that cover ``range(n_rows)`` in order, each at most ``batch_size`` long."""
    for start in range(0, n_rows, batch_size):
        yield slice(start, min(start + batch_size, n_rows))
