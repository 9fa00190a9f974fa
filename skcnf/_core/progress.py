"""What training loops share: a bar that shows progress, and the check that a number is finite."""

from __future__ import annotations

import math
from typing import Any

from tqdm import tqdm

__all__ = ["check_finite", "progress_bar"]


def progress_bar(*iterable: Any, verbose: bool, **options: Any) -> tqdm:
    """A bar of ``tqdm`` that shows only where ``verbose`` asks for it and standard error is a terminal.

    Parameters
    ----------
    iterable : iterable, at most one
        What to go through.
    verbose : bool
    **options
        Of ``tqdm``.
    """
    return tqdm(*iterable, leave=False, disable=None if verbose else True, **options)


def check_finite(name: str, value: float, epoch: int, learning_rate: float, rows: str = "X") -> None:
    """Raise FloatingPointError unless ``value`` is finite; the message says what to try.

    Parameters
    ----------
    name : str
        What the value is: "loss", for instance.
    value : float
    epoch : int
        When it was found, as the training's history counts.
    learning_rate : float
        With which.
    rows : str
        The name of the data that may hold extreme values.
    """
    if not math.isfinite(value):
        raise FloatingPointError(
            f"the {name} is {value} in epoch {epoch} at learning_rate={learning_rate}; "
            f"lower the learning rate, or look for extreme values in {rows}."
        )
