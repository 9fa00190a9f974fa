"""Modules that are copied and saved without pickling their code: as arguments and a ``state_dict``."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Self

from torch import Tensor, nn

__all__ = ["RebuiltModule"]


class RebuiltModule(nn.Module):
    """A module that pickle, ``deepcopy`` and files rebuild from what it was built with and its tensors.

    A subclass sets ``arguments``, plain values that its constructor takes. What is unpickled is on the CPU; a deep copy
    stays on the device.
    """

    arguments: dict[str, Any]

    @classmethod
    def from_state(cls, arguments: dict[str, Any], state: dict[str, Tensor]) -> Self:
        """The module of these ``arguments`` with the tensors of ``state``, a ``state_dict``, and of their type."""
        module = cls(**arguments).to(next(iter(state.values())).dtype)
        module.load_state_dict(state)
        return module

    def __reduce__(self) -> tuple[Callable[..., Any], tuple[Any, ...]]:
        state = {name: tensor.cpu() for name, tensor in self.state_dict().items()}
        return type(self).from_state, (self.arguments, state)

    def __deepcopy__(self, memo: dict[int, Any]) -> Self:
        state = self.state_dict()
        return self.from_state(self.arguments, state).to(next(iter(state.values())).device)
