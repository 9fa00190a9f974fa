"""The scope in which torch draws from a generator of its own, and not from the global one."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch.overrides import TorchFunctionMode

__all__ = ["seeded"]

# What the constructors of modules draw with: factories, methods of tensors, and torch.nn.init, which hides them.
_DRAWS = frozenset(
    {"bernoulli_", "exponential_", "normal", "normal_", "rand", "randint", "randn", "randperm", "random_", "uniform_"}
    | {"kaiming_normal_", "kaiming_uniform_", "orthogonal_", "trunc_normal_", "xavier_normal_", "xavier_uniform_"}
)


class _DrawFrom(TorchFunctionMode):
    """Hands ``generator`` to the functions that draw and were given none; torch keeps such modes by thread."""

    def __init__(self, generator: torch.Generator) -> None:
        super().__init__()
        self._generator = generator

    def __torch_function__(
        self, func: Callable[..., Any], types: Any, args: tuple[Any, ...] = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        kwargs = dict(kwargs or {})
        if getattr(func, "__name__", "") in _DRAWS and kwargs.get("generator") is None:
            kwargs["generator"] = self._generator
        return func(*args, **kwargs)


@contextmanager
def seeded(seed: int) -> Iterator[None]:
    """Let all that torch draws inside the scope, in this thread, come from a generator seeded with ``seed``.

    Use it to build modules: their constructors take no generator. The numbers are those that follow
    ``torch.manual_seed(seed)``. No global generator is read or moved, so that threads do not disturb each other.
    Tensors are made on the CPU, whatever torch's default device is: equal seeds give equal numbers on every device.
    """
    with _DrawFrom(torch.Generator().manual_seed(seed)), torch.device("cpu"):
        yield
