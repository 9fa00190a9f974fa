"""Kinds of fitted attributes: how each is stored, and what is checked before it is believed.

A kind stores a value as what JSON holds and, where it is an array or a module, as tensors under the attribute's name.
`Kind.restore` gets both back from a file that may hold anything, and raises a ValueError unless all is as declared.
"""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections.abc import Callable, Collection
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

__all__ = [
    "Array",
    "Codes",
    "Count",
    "Flag",
    "GroupNumbers",
    "Kind",
    "Modules",
    "Names",
    "Number",
    "Optional",
    "Records",
    "Scores",
    "Store",
    "Text",
    "Triangle",
]

_FLOATS = (torch.float32, torch.float64)


@dataclass
class Store:
    """The tensors of a file, and sizes that must agree within one estimator.

    Parameters
    ----------
    tensors : dict of str to Tensor
        By name. `take` removes what it gives, so that what is left belongs to nothing.
    sizes : dict of str to int
        Sizes of axes by symbol, e.g. ``d`` for the number of features: set by the first array that has the axis.
    """

    tensors: dict[str, Tensor] = field(default_factory=dict)
    sizes: dict[str, int] = field(default_factory=dict)

    def put(self, name: str, array: np.ndarray | Tensor) -> None:
        """Keep an array or tensor."""
        tensor = array if isinstance(array, Tensor) else torch.from_numpy(np.ascontiguousarray(array))
        self.tensors[name] = tensor.detach().cpu()

    def take(self, name: str) -> Tensor:
        """Give a tensor away."""
        require(name in self.tensors, "its tensor is missing")
        return self.tensors.pop(name)

    def take_all(self, prefix: str) -> dict[str, Tensor]:
        """Give away all tensors below a name, by the rest of their names."""
        names = [name for name in self.tensors if name.startswith(f"{prefix}/")]
        return {name.removeprefix(f"{prefix}/"): self.tensors.pop(name) for name in sorted(names)}

    def agree(self, symbol: str, size: int) -> None:
        """Hold an axis against others of its symbol."""
        require(self.sizes.setdefault(symbol, size) == size, f"it has {size} for {self.sizes[symbol]} = {symbol}")


def require(condition: bool, message: str) -> None:
    """Raise a ValueError unless the condition holds."""
    if not condition:
        raise ValueError(f"{message}.")


class Kind(ABC):
    """A kind of attribute."""

    @abstractmethod
    def store(self, value: Any, name: str, store: Store) -> Any:
        """What JSON holds of ``value``; tensors go to ``store`` under ``name``."""

    @abstractmethod
    def restore(self, data: Any, name: str, store: Store) -> Any:
        """The value that `store` was given."""


@dataclass(frozen=True)
class Number(Kind):
    """A finite number, or one that may be NaN."""

    minimum: float = -math.inf
    allow_nan: bool = False

    def store(self, value: Any, name: str, store: Store) -> float:
        """As a float."""
        require(np.ndim(value) == 0, "it is no number")
        return self.restore(float(value), name, store)

    def restore(self, data: Any, name: str, store: Store) -> float:
        """Checked."""
        require(type(data) in (int, float), "it is no number")
        if not (self.allow_nan and math.isnan(data)):
            require(math.isfinite(data) and data >= self.minimum, "it is not finite, or too low")
        return float(data)


@dataclass(frozen=True)
class Count(Kind):
    """A whole number; with a symbol, the size of axes of that symbol."""

    minimum: int = 1
    symbol: str | None = None
    maximum: int = 2**48 - 1

    def store(self, value: Any, name: str, store: Store) -> int:
        """As an int."""
        require(np.ndim(value) == 0 and int(value) == value, "it is no whole number")
        return self.restore(int(value), name, store)

    def restore(self, data: Any, name: str, store: Store) -> int:
        """Checked."""
        allowed = type(data) is int and self.minimum <= data <= self.maximum
        require(allowed, f"it is no whole number from {self.minimum} to {self.maximum}")
        if self.symbol is not None:
            store.agree(self.symbol, data)
        return data


@dataclass(frozen=True)
class Text(Kind):
    """One of some words."""

    choices: Collection[str]

    def store(self, value: Any, name: str, store: Store) -> str:
        """As it is."""
        return self.restore(value, name, store)

    def restore(self, data: Any, name: str, store: Store) -> str:
        """Checked."""
        require(isinstance(data, str) and data in self.choices, f"it is none of {sorted(self.choices)}")
        return data


class Names(Kind):
    """The names of features: an array of str."""

    def store(self, value: Any, name: str, store: Store) -> list[str]:
        """As a list."""
        return list(self.restore(np.asarray(value).tolist(), name, store))

    def restore(self, data: Any, name: str, store: Store) -> np.ndarray:
        """Checked."""
        require(isinstance(data, list) and all(isinstance(text, str) for text in data), "it is no list of names")
        store.agree("d", len(data))
        return np.array(data, dtype=object)


class Records(Kind):
    """A list of dicts of numbers, as of a training's epochs. They may be NaN."""

    def store(self, value: Any, name: str, store: Store) -> list[dict[str, Any]]:
        """As it is."""
        plain = [{key: _plain(number) for key, number in record.items()} for record in value]
        return self.restore(plain, name, store)

    def restore(self, data: Any, name: str, store: Store) -> list[dict[str, Any]]:
        """Checked."""
        require(isinstance(data, list) and all(isinstance(record, dict) for record in data), "it is no list of records")
        numbers = [number for record in data for number in record.values()]
        require(all(type(number) in (int, float, type(None)) for number in numbers), "its records hold no numbers")
        return data


def _plain(value: Any) -> Any:
    return value.item() if isinstance(value, np.generic) else value


class Array(Kind):
    """A finite array of float32 or float64.

    Parameters
    ----------
    *axes : str or int
        The symbols of its axes, or their sizes.
    positive : bool, default=False
        Whether all numbers are above 0.
    """

    def __init__(self, *axes: str | int, positive: bool = False) -> None:
        self.axes, self.positive = axes, positive

    def store(self, value: Any, name: str, store: Store) -> str:
        """As a tensor."""
        require(isinstance(value, np.ndarray), "it is no array")
        self._check(torch.from_numpy(np.ascontiguousarray(value)), store)
        by_columns = value.flags.f_contiguous and not value.flags.c_contiguous
        store.put(name, value.T if by_columns else value)
        return "columns" if by_columns else "tensor"

    def restore(self, data: Any, name: str, store: Store) -> np.ndarray:
        """Checked."""
        require(data in ("tensor", "columns"), "it is no array")
        tensor = store.take(name)
        tensor = tensor.mT if data == "columns" and tensor.ndim == 2 else tensor  # products round as they did before
        self._check(tensor, store)
        return tensor.numpy().copy(order="K")  # of its own: it lay anywhere in the bytes of the file

    def _check(self, tensor: Tensor, store: Store) -> None:
        require(tensor.dtype in _FLOATS, f"it is of {tensor.dtype}")
        require(tensor.ndim == len(self.axes), f"it has {tensor.ndim} axes, not {len(self.axes)}")
        for axis, size in zip(self.axes, tensor.shape, strict=True):
            if isinstance(axis, int):
                require(size == axis, f"it has an axis of {size}, not {axis}")
            else:
                store.agree(axis, size)
        require(bool(torch.isfinite(tensor).all()), "it holds numbers that are not finite")
        require(not self.positive or bool((tensor > 0).all()), "it holds numbers that are not above 0")


class Scores(Array):
    """Scores in ascending order, in float64."""

    def __init__(self) -> None:
        super().__init__("n")

    def _check(self, tensor: Tensor, store: Store) -> None:
        super()._check(tensor, store)
        require(tensor.dtype == torch.float64 and len(tensor) > 0, "it holds no scores in float64")
        require(bool((tensor[1:] >= tensor[:-1]).all()), "its scores are not in ascending order")


class Triangle(Array):
    """A lower triangular matrix with a positive diagonal, as Cholesky factors are.

    Parameters
    ----------
    axis : str
        The symbol of both axes.
    """

    def __init__(self, axis: str) -> None:
        super().__init__(axis, axis)

    def _check(self, tensor: Tensor, store: Store) -> None:
        super()._check(tensor, store)
        require(not tensor.triu(1).any() and bool((tensor.diagonal() > 0).all()), "it is no Cholesky factor")


class Codes(Array):
    """The group of each score, as a whole number."""

    def __init__(self) -> None:
        super().__init__("n")

    def _check(self, tensor: Tensor, store: Store) -> None:
        n_groups = store.sizes.get("groups", 0)
        require(tensor.dtype == torch.int64 and tensor.ndim == 1, "it is no array of whole numbers")
        store.agree("n", len(tensor))
        require(
            bool(((tensor >= 0) & (tensor < n_groups)).all()), f"it holds groups beyond the {n_groups} that are known"
        )


class GroupNumbers(Kind):
    """A dict of finite numbers by the name of a group."""

    def store(self, value: Any, name: str, store: Store) -> list[list[Any]]:
        """As pairs."""
        pairs = [[key, Number().store(number, name, store)] for key, number in value.items()]
        self.restore(pairs, name, store)
        return pairs

    def restore(self, data: Any, name: str, store: Store) -> dict[str, float]:
        """Checked."""
        pairs = isinstance(data, list) and all(isinstance(pair, list) and len(pair) == 2 for pair in data)
        require(pairs and all(isinstance(key, str) for key, _ in data), "it is no list of groups with numbers")
        groups = {key: Number().restore(number, name, store) for key, number in data}
        require(len(groups) == len(data), "its groups are not distinct")
        store.agree("groups", len(groups))
        return groups


class Flag(Kind):
    """True or False."""

    def store(self, value: Any, name: str, store: Store) -> bool:
        """As it is."""
        return self.restore(value, name, store)

    def restore(self, data: Any, name: str, store: Store) -> bool:
        """Checked."""
        require(type(data) is bool, "it is neither true nor false")
        return data


@dataclass(frozen=True)
class Optional(Kind):
    """Another kind, or None."""

    kind: Kind

    def store(self, value: Any, name: str, store: Store) -> Any:
        """As the other kind does."""
        return None if value is None else self.kind.store(value, name, store)

    def restore(self, data: Any, name: str, store: Store) -> Any:
        """As the other kind does."""
        return None if data is None else self.kind.restore(data, name, store)


@dataclass(frozen=True)
class Modules(Kind):
    """Modules that are rebuilt from their ``arguments`` and a state by ``from_state``: a list of them, or one.

    Parameters
    ----------
    cls : type of nn.Module
    check : callable
        Given arguments and state, raises a ValueError unless building takes no more than the state does.
    alone : bool, default=False
        Whether the attribute is one module and no list.
    """

    cls: Any
    check: Callable[[dict[str, Any], dict[str, Tensor]], None]
    alone: bool = False

    def store(self, value: Any, name: str, store: Store) -> Any:
        """As arguments, and the tensors of the state."""
        modules = [value] if self.alone else value
        require(all(type(module) is self.cls for module in modules), f"it holds no {self.cls.__name__}")
        for number, module in enumerate(modules):
            state = module.state_dict()
            _check_state(module.arguments, state, self.check, store)
            for key, tensor in state.items():
                store.put(f"{name}/{number}/{key}", tensor)
        return [module.arguments for module in modules]

    def restore(self, data: Any, name: str, store: Store) -> Any:
        """Checked, rebuilt, in evaluation mode and without gradients."""
        require(isinstance(data, list) and len(data) > 0, "it holds no modules")
        require(not self.alone or len(data) == 1, "it holds more than one module")
        modules = [
            self._rebuilt(arguments, store.take_all(f"{name}/{number}"), store) for number, arguments in enumerate(data)
        ]
        return modules[0] if self.alone else modules

    def _rebuilt(self, arguments: Any, state: dict[str, Tensor], store: Store) -> nn.Module:
        require(isinstance(arguments, dict), "its arguments are no object")
        _check_state(arguments, state, self.check, store)
        return self.cls.from_state(arguments, state).eval().requires_grad_(False)


def _check_state(arguments: dict[str, Any], state: dict[str, Tensor], check: Callable[..., None], store: Store) -> None:
    check(arguments, state)
    store.agree("d", arguments["n_features"])
    dtypes = {tensor.dtype for tensor in state.values()}
    require(len(dtypes) == 1 and dtypes <= set(_FLOATS), "its tensors are of several types, or of none that is known")
    require(all(bool(torch.isfinite(tensor).all()) for tensor in state.values()), "its tensors are not finite")
