"""The choice of a device and of the precision on it."""

from __future__ import annotations

import torch

__all__ = ["PRECISIONS", "autocast", "resolve_device", "takes_bfloat16"]

PRECISIONS = ("auto", "bfloat16", "float32")

_ALLOWED = "use 'auto', 'cpu', 'cuda', 'cuda:N' or 'mps'"


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
        raise ValueError(f"device={device!r} is not a device; {_ALLOWED}.") from error
    _check_available(resolved)
    return resolved


def takes_bfloat16(device: torch.device, precision: str) -> bool:
    """Whether ``precision`` means bfloat16 on ``device``: "auto" does on CUDA devices that have it."""
    if precision == "auto":
        return device.type == "cuda" and torch.cuda.is_bf16_supported()
    return precision == "bfloat16"


def autocast(device: torch.device, precision: str) -> torch.autocast:
    """A scope where convolutions and matrix products on ``device`` have that precision; weights stay float32."""
    return torch.autocast(device.type, torch.bfloat16, enabled=takes_bfloat16(device, precision))


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
    if device.type not in ("cpu", "cuda", "mps"):
        _check_holds_numbers(device)


def _check_holds_numbers(device: torch.device) -> None:
    """Refuse "meta", which holds shapes alone, and kinds that this build of torch cannot use."""
    try:
        torch.zeros(1, device=device).item()
    except (RuntimeError, AssertionError, ImportError) as error:  # torch raises all three for what it was built without
        raise ValueError(f"device='{device}' was asked for, but torch cannot compute on it; {_ALLOWED}.") from error
