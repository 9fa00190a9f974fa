"""A running mean of weights beside the optimizer: single steps jump about what they hover around, the mean does not.

In step n = 0, 1, ... the mean keeps the share min(decay, (1 + n) / (4 + n)) of itself and takes the rest from the new
weights. The second term is the start-up: as long as it is the smaller one, the mean covers about the last third of all
steps, whatever their number, and forgets the first ones; the decay bounds its memory after that.

Polyak and Juditsky, "Acceleration of stochastic approximation by averaging", SIAM Journal on Control and Optimization
30, 1992; the growing window is that of Shamir and Zhang, "Stochastic gradient descent for non-smooth optimization",
ICML 2013 (polynomial decay).
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager

import torch
from torch import Tensor

__all__ = ["RunningMean"]

_START_UP = 4


class RunningMean:
    """The mean of ``parameters`` over steps, to be put in their place for a while.

    Parameters
    ----------
    parameters : sequence of Tensor
    decay : float in [0, 1)
        The largest share that the mean keeps of itself in a step; 0 is no mean but the parameters themselves.
    """

    def __init__(self, parameters: Sequence[Tensor], decay: float) -> None:
        self.parameters = [parameter.detach() for parameter in parameters]
        self.decay, self.n_steps = decay, 0
        self.means = [torch.empty_like(parameter) for parameter in self.parameters] if decay else []

    def restart(self) -> None:
        """Forget all steps so far."""
        self.n_steps = 0

    def update(self) -> None:
        """Take in the parameters of a step."""
        if not self.means:
            return
        kept = min(self.decay, (1 + self.n_steps) / (_START_UP + self.n_steps)) if self.n_steps else 0.0
        if kept:
            torch._foreach_lerp_(self.means, self.parameters, 1 - kept)
        else:
            torch._foreach_copy_(self.means, self.parameters)
        self.n_steps += 1

    @contextmanager
    def in_place(self) -> Iterator[None]:
        """Give the parameters the values of the mean inside the scope, and their own back after it."""
        if not self.means:
            yield
            return
        own = [parameter.clone() for parameter in self.parameters]
        torch._foreach_copy_(self.parameters, self.means)
        try:
            yield
        finally:
            torch._foreach_copy_(self.parameters, own)
