"""What a module's arguments must have in common with its state, so that building it takes no more than the state."""

from __future__ import annotations

import math
import re
from typing import Any

from torch import Tensor

from skcnf.saving._kinds import require

__all__ = ["check_flow", "check_goad_network"]


def check_flow(arguments: dict[str, Any], state: dict[str, Tensor]) -> None:
    """Of a `RealNVP`.

    Raises
    ------
    ValueError
        If arguments are missing, unknown or of another type, or do not fit the state.
    """
    _check_arguments(arguments, ("n_features", "n_blocks", "hidden_units"), ("affine_clamp",), ("permute_soft",))
    blocks: dict[int, dict[str, tuple[int, ...]]] = {}
    for name, tensor in state.items():
        match = re.fullmatch(r"blocks\.(\d{1,6})\.(.+)", name)
        require(match is not None, f"{name!r} is no tensor of a flow")
        if match:
            blocks.setdefault(int(match[1]), {})[match[2]] = tuple(tensor.shape)
    d, n_blocks, hidden_units = (arguments[name] for name in ("n_features", "n_blocks", "hidden_units"))
    whole = len(blocks) == n_blocks and set(blocks) == set(range(len(blocks)))
    require(d >= 2 and whole, f"its tensors are not of {n_blocks} blocks")
    # the large ones; `load_state_dict` holds all of them against the flow that is built
    expected = {
        "w_perm": (d, d),
        "subnet.0.weight": (hidden_units, d - d // 2),
        "subnet.2.weight": (d // 2 * 2, hidden_units),
    }
    for shapes in blocks.values():
        fit = all(shapes.get(name) == shape for name, shape in expected.items())
        require(fit, f"its tensors are not of {d} features and {hidden_units} hidden units")


def check_goad_network(arguments: dict[str, Any], state: dict[str, Tensor]) -> None:
    """Of a `GOADNetwork`.

    Raises
    ------
    ValueError
        If arguments are missing, unknown or of another type, or do not fit the state.
    """
    names = ("n_features", "n_transforms", "n_outputs", "hidden_units", "n_layers")
    _check_arguments(arguments, names)
    d, n_transforms, n_outputs, hidden_units, n_layers = (arguments[name] for name in names)
    expected = {"weight": (n_transforms, n_outputs, d), "centers": (n_transforms, hidden_units)}
    expected |= {f"trunk.{2 * layer}.weight": (hidden_units, hidden_units) for layer in range(1, min(n_layers, 10**4))}
    expected["trunk.0.weight"] = (hidden_units, n_outputs)
    found = {name: tuple(tensor.shape) for name, tensor in state.items()}
    require(all(found.get(name) == shape for name, shape in expected.items()), "its tensors do not fit its arguments")
    require(sum(name.startswith("trunk.") for name in found) == n_layers, f"its tensors are not of {n_layers} layers")


def _check_arguments(
    arguments: dict[str, Any], counts: tuple[str, ...], numbers: tuple[str, ...] = (), flags: tuple[str, ...] = ()
) -> None:
    require(set(arguments) == {*counts, *numbers, *flags}, f"its arguments are {sorted(arguments)}")
    for name in counts:
        require(type(arguments[name]) is int and 0 < arguments[name] < 2**24, f"{name} is no whole number above 0")
    for name in numbers:
        number = arguments[name]
        require(type(number) in (int, float) and math.isfinite(number) and number > 0, f"{name} is no number above 0")
    for name in flags:
        require(type(arguments[name]) is bool, f"{name} is neither true nor false")
