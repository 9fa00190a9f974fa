r"""Flows of one architecture trained together: their weights in one tensor, and the gradient of their NLL by hand.

With the symbols of `skcnf.flows._coupling` and the loss :math:`L(\mathrm{nll})`, where
:math:`\mathrm{nll} = |z|^2 / 2 - \log|\det|`, write :math:`\bar v = \partial L / \partial v`. Each row starts with
:math:`\bar z = \overline{\mathrm{nll}}\, z` and :math:`\bar d = -\overline{\mathrm{nll}}`, the gradient at its
log-determinant. A block then turns the gradient at its output into that at its input:

.. math::

    \bar m = R^\top \bar y, \qquad \bar o = \textstyle\sum_n \bar m, \qquad
    \bar g = \sum_n \bar m \odot u + \sum_n \bar d / g, \qquad \bar u = g \odot \bar m, \\
    \bar a_t = 0.1\, \bar u_2, \qquad \bar x_2 = \bar u_2 \odot e^{s}, \qquad
    \bar a_s = (\bar x_2 \odot x_2 + \bar d)\, 0.1\, c\, (1 - \tanh^2(0.1\, a_s)), \\
    \bar h = (W_2^\top \bar a) \odot [h > 0], \qquad \bar W_2 = \bar a h^\top, \qquad \bar W_1 = \bar h x_1^\top,
    \qquad \bar x_1 = \bar u_1 + W_1^\top \bar h

for the hidden layer :math:`h`; biases have the sums of :math:`\bar a` and :math:`\bar h` over rows.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn
from torch.autograd.function import once_differentiable

from skcnf.flows._blocks import OUTPUT_SCALE, SOFTPLUS_BETA
from skcnf.flows._coupling import Arrays, Couplings, Pool, Rotation, Weights, parameters_of

__all__ = ["FlatFlows"]

_threshold_backward = torch.ops.aten.threshold_backward.grad_input


class FlatFlows:
    """The weights of flows of one architecture in one tensor, for training them together.

    The flows' own parameters become views of it: what an optimizer does to ``values`` happens to the flows.

    Parameters
    ----------
    flows : sequence of F modules
        With ``blocks``, a list of `skcnf.flows._blocks.Block`.

    Attributes
    ----------
    values : Parameter of shape (F, number of weights)
    """

    def __init__(self, flows: Sequence[Any]) -> None:
        parameters = [[p for block in flow.blocks for p in parameters_of(block)] for flow in flows]
        self.values = nn.Parameter(torch.stack([nn.utils.parameters_to_vector(own) for own in parameters]).detach())
        for own, vector in zip(parameters, self.values.data, strict=True):
            nn.utils.vector_to_parameters(vector, own)
        self.gradient = torch.empty_like(self.values.data)
        shapes = [parameter.shape for parameter in parameters[0]]
        blocks, self.gradients = (_views(values, shapes) for values in (self.values.data, self.gradient))
        matrices = zip(*([block.w_perm.detach() for block in flow.blocks] for flow in flows), strict=True)
        rotations = [Rotation(torch.stack(of_flows)) for of_flows in matrices]
        self.couplings = Couplings(blocks, rotations, float(flows[0].blocks[0].clamp))
        self._pool = Pool(self.values)
        self._arrays: dict[int, Arrays] = {}
        self._backwards: dict[int, _Backward] = {}
        self.n_forward = 0

    def nll(self, x: Tensor) -> Tensor:
        """The paper's negative log-likelihood (F, n), without constant, of rows x (F, n, d).

        A backward pass, one at most and before the next call, sets ``values.grad``: it does not add to it.
        """
        return _NegativeLogLikelihood.apply(self.values, x, self)

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """Latent points and log-determinants, as `Couplings.latent` gives them; keeps what `backward` needs."""
        n_rows = x.shape[1]
        if n_rows not in self._arrays:
            self._arrays[n_rows] = Arrays(self.couplings.blocks, n_rows, self._pool, keep=True)
        self.n_forward += 1
        return self.couplings.latent(x, self._arrays[n_rows])

    def backward(self, grad_nll: Tensor) -> Tensor:
        """The gradient at ``values`` for that at the NLL (F, n) of the last forward pass."""
        n_rows = grad_nll.shape[1]
        if n_rows not in self._backwards:
            self._backwards[n_rows] = _Backward(self.couplings, self.gradients, self._arrays[n_rows])
        self._backwards[n_rows](grad_nll)
        return self.gradient


def _views(values: Tensor, shapes: Sequence[torch.Size]) -> list[Weights]:
    """The weights of the blocks as views of ``values`` (F, number of weights)."""
    parts = values.split([math.prod(shape) for shape in shapes], 1)
    views = [part.view(len(values), *shape) for part, shape in zip(parts, shapes, strict=True)]
    return [Weights.of(views[start : start + 6], len(values)) for start in range(0, len(views), 6)]


class _NegativeLogLikelihood(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, values: Tensor, x: Tensor, flows: FlatFlows) -> Tensor:
        z, log_det = flows.forward(x)
        ctx.flows, ctx.n_forward = flows, flows.n_forward
        return 0.5 * z.square().sum(1) - log_det.to(z.dtype)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad_nll: Tensor) -> tuple[None, None, None]:
        flows = ctx.flows
        if ctx.n_forward != flows.n_forward:
            raise RuntimeError("FlatFlows.nll was called again before the backward pass of its former value.")
        flows.values.grad = flows.backward(grad_nll.contiguous())  # returned, it would be copied
        return None, None, None


class _Backward:
    """The backward pass of `FlatFlows.nll` for one number of rows: fills the flows' gradient."""

    def __init__(self, couplings: Couplings, gradients: Sequence[Weights], arrays: Arrays) -> None:
        self.couplings, self.gradients, self.z = couplings, gradients, arrays.by_block[-1].output
        n_blocks = len(couplings.blocks)
        self.grad_scales = self.z.new_empty(n_blocks, arrays.n_flows, arrays.n_features, 1)
        inputs = [arrays.input, *(own.output for own in arrays.by_block[:-1])]
        self.steps = [
            _BlockBackward(couplings, gradients[number], arrays, number, x, self.grad_scales[number])
            for number, x in enumerate(inputs)
        ]
        self.grad = arrays(f"grad {n_blocks % 2}", arrays.n_features)

    def __call__(self, grad_nll: Tensor) -> None:
        scales = self.couplings.scales()
        grad_nll = grad_nll.unsqueeze(1)
        grad_log_det = -grad_nll
        grad = torch.mul(self.z, grad_nll, out=self.grad)
        for step, scale in zip(reversed(self.steps), scales.flip(0), strict=True):
            grad = step(grad, grad_log_det, scale)
        self.grad_scales += grad_log_det.sum(2, keepdim=True) / scales
        unbounded = torch.stack([weights.scale for weights in self.couplings.blocks])
        slopes = OUTPUT_SCALE * torch.sigmoid(SOFTPLUS_BETA * unbounded)
        for gradient, values in zip(self.gradients, self.grad_scales * slopes, strict=True):
            gradient.scale.copy_(values)


class _BlockBackward:
    """The backward pass of one block, whose input was ``x``."""

    def __init__(
        self, couplings: Couplings, gradient: Weights, arrays: Arrays, number: int, x: Tensor, grad_scale: Tensor
    ) -> None:
        weights, self.rotation, self.gradient = couplings.blocks[number], couplings.rotations[number], gradient
        self.saved, self.grad_scale, self.is_first = arrays.by_block[number], grad_scale, number == 0
        self.first, self.second = arrays.halves(x)
        self.first_t, self.hidden_t = self.first.mT, self.saved.hidden.mT
        self.weight_1_t, self.weight_2_t = weights.weight_1.mT, weights.weight_2.mT

        self.grad = arrays(f"grad {number % 2}", arrays.n_features)
        self.grad_first, self.grad_second = arrays.halves(self.grad)
        self.product = arrays("product", arrays.n_features)
        self.grad_out = arrays("grad out", 2 * arrays.n_changed)
        self.grad_log_scale = self.grad_out[:, : arrays.n_changed]
        self.grad_shift = self.grad_out[:, arrays.n_changed :]
        self.grad_hidden = arrays("grad hidden", arrays.n_hidden)
        self.slope = arrays("slope", arrays.n_changed)
        self.largest_slope = OUTPUT_SCALE * couplings.clamp
        self.largest_slope_tensor = self.slope.new_full((), self.largest_slope)

    def __call__(self, grad: Tensor, grad_log_det: Tensor, scale: Tensor) -> Tensor:
        """From the gradient at the block's output to that at its input; fills the gradient of its weights."""
        self._through_scale(grad, scale)
        self._through_coupling(grad_log_det)
        self._through_subnet()
        return self.grad

    def _through_scale(self, grad: Tensor, scale: Tensor) -> None:
        self.rotation.transposed(grad, out=self.grad)
        torch.sum(self.grad, 2, keepdim=True, out=self.gradient.offset)
        torch.mul(self.grad, self.saved.coupled, out=self.product)
        torch.sum(self.product, 2, keepdim=True, out=self.grad_scale)
        self.grad.mul_(scale)

    def _through_coupling(self, grad_log_det: Tensor) -> None:
        torch.mul(self.grad_second, OUTPUT_SCALE, out=self.grad_shift)
        self.grad_second.mul_(self.saved.factor)
        torch.addcmul(grad_log_det, self.grad_second, self.second, out=self.grad_log_scale)
        squashed = self.saved.squashed
        torch.addcmul(self.largest_slope_tensor, squashed, squashed, value=-self.largest_slope, out=self.slope)
        self.grad_log_scale.mul_(self.slope)

    def _through_subnet(self) -> None:
        torch.bmm(self.weight_2_t, self.grad_out, out=self.grad_hidden)
        _threshold_backward(self.grad_hidden, self.saved.hidden, 0, grad_input=self.grad_hidden)
        torch.bmm(self.grad_out, self.hidden_t, out=self.gradient.weight_2)
        torch.sum(self.grad_out, 2, keepdim=True, out=self.gradient.bias_2)
        torch.bmm(self.grad_hidden, self.first_t, out=self.gradient.weight_1)
        torch.sum(self.grad_hidden, 2, keepdim=True, out=self.gradient.bias_1)
        if not self.is_first:
            self.grad_first.baddbmm_(self.weight_1_t, self.grad_hidden)
