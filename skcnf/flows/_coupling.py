"""FrEIA's AllInOneBlock written out for rows, forward, backward and inverse: the same numbers, less work.

FrEIA permutes features by a dense product and leaves the backward pass to autograd, which keeps and visits about a
dozen arrays a block. Here permutations are indexing, and steps of training write to the same arrays again and again.
FrEIA's block stays the definition; the tests hold values and gradients against it.

Arrays are (F, d, n): F flows of one architecture side by side, d features, n rows. With the rows last, halves and
permutations of features are whole runs of memory.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.autograd.function import once_differentiable
from torch.nn.functional import softplus

__all__ = ["Arrays", "Block", "FlatFlows", "Permutation", "blocks_of", "inverse", "latent"]

_OUTPUT_SCALE = 0.1  # FrEIA scales the subnetwork's output and the global scale by it
_SOFTPLUS_BETA = 0.5  # of the global scale
_threshold_backward = torch.ops.aten.threshold_backward.grad_input


class Permutation:
    """A fixed rotation of features, as an index where all flows have a permutation and as a product elsewhere.

    Parameters
    ----------
    matrices : Tensor of shape (F, d, d)
        Orthogonal; a column x becomes ``matrix @ x``.
    """

    def __init__(self, matrices: Tensor) -> None:
        self.matrices = matrices
        self.index = self.inverse_index = None
        ones = torch.ones_like(matrices[..., 0])
        if torch.equal(matrices.sum(2), ones) and ((matrices == 0) | (matrices == 1)).all():
            first = matrices.shape[1] * torch.arange(len(matrices), device=matrices.device).unsqueeze(1)
            self.index, self.inverse_index = ((first + matrices.argmax(axis)).flatten() for axis in (2, 1))

    def __call__(self, x: Tensor, out: Tensor) -> Tensor:
        """Of x (F, d, n), contiguous."""
        if self.index is None:
            return torch.bmm(self.matrices, x, out=out)
        torch.index_select(x.flatten(0, 1), 0, self.index, out=out.flatten(0, 1))
        return out

    def transposed(self, x: Tensor, out: Tensor) -> Tensor:
        """Back again."""
        if self.inverse_index is None:
            return torch.bmm(self.matrices.mT, x, out=out)
        torch.index_select(x.flatten(0, 1), 0, self.inverse_index, out=out.flatten(0, 1))
        return out


@dataclass(frozen=True)
class Block:
    """The weights of one block of F flows; or, in the same places, their gradients.

    Parameters
    ----------
    weight_1, weight_2 : Tensor of shape (F, hidden, kept), (F, 2 * (d - kept), hidden)
        Of the subnetwork. The first ``kept`` features pass unchanged.
    bias_1, bias_2 : Tensor of shape (F, hidden, 1), (F, 2 * (d - kept), 1)
    scale, offset : Tensor of shape (F, d, 1)
        FrEIA's global ones, the scale before its softplus.
    """

    weight_1: Tensor
    bias_1: Tensor
    weight_2: Tensor
    bias_2: Tensor
    scale: Tensor
    offset: Tensor


def _parameters(block: nn.Module) -> list[nn.Parameter]:
    """Of a FrEIA block, in the order of `Block`."""
    first, _, second = block.subnet
    return [first.weight, first.bias, second.weight, second.bias, block.global_scale, block.global_offset]


def _shaped(parameters: Sequence[Tensor], n_flows: int) -> Block:
    weight_1, bias_1, weight_2, bias_2, scale, offset = parameters
    bias_1, bias_2, scale, offset = (values.reshape(n_flows, -1, 1) for values in (bias_1, bias_2, scale, offset))
    return Block(weight_1, bias_1, weight_2, bias_2, scale, offset)


def blocks_of(blocks: Sequence[nn.Module]) -> list[Block]:
    """The weights of one flow's FrEIA blocks, in place."""
    return [_shaped([parameter.detach().unsqueeze(0) for parameter in _parameters(block)], 1) for block in blocks]


def _scales(blocks: Sequence[Block]) -> Tensor:
    """What each block multiplies its outputs by, (B, F, d, 1)."""
    return _OUTPUT_SCALE * softplus(torch.stack([block.scale for block in blocks]), beta=_SOFTPLUS_BETA)


class _Pool:
    """Memory by name, allocated once and used again for any shape that fits."""

    def __init__(self, like: Tensor) -> None:
        self._like = like.detach()
        self._buffers: dict[str, Tensor] = {}

    def __call__(self, name: str, *shape: int) -> Tensor:
        size = math.prod(shape)
        if name not in self._buffers or self._buffers[name].numel() < size:
            self._buffers[name] = self._like.new_empty(size)
        return self._buffers[name][:size].view(shape)


class Arrays:
    """What a pass over n rows writes to, cut once into the views that it uses.

    Parameters
    ----------
    blocks : sequence of Block
    n_rows : int
        n.
    pool : callable, optional
        From name and shape to an array; new memory if left out.
    keep : bool
        Whether each block has arrays of its own, for a backward pass; if not, neighbours take turns.
    """

    def __init__(self, blocks: Sequence[Block], n_rows: int, pool: _Pool | None = None, *, keep: bool = False) -> None:
        self.pool, self.n_rows = pool or _Pool(blocks[0].weight_1), n_rows
        self.n_flows, self.n_hidden, self.kept = blocks[0].weight_1.shape
        self.n_features = blocks[0].scale.shape[1]
        self.n_changed = self.n_features - self.kept
        self.input = self("input", self.n_features)
        if keep:
            self.by_block = [_BlockArrays(self, n, n) for n in range(len(blocks))]
        else:
            turns = [_BlockArrays(self, "", turn) for turn in (0, 1)]
            self.by_block = [turns[n % 2] for n in range(len(blocks))]

    def __call__(self, name: str, n_features: int) -> Tensor:
        return self.pool(name, self.n_flows, n_features, self.n_rows)

    def halves(self, values: Tensor) -> tuple[Tensor, Tensor]:
        """The features that pass unchanged and the others."""
        return values[:, : self.kept], values[:, self.kept :]


class _BlockArrays:
    def __init__(self, arrays: Arrays, tag: int | str, x_tag: int) -> None:
        self.hidden = arrays(f"hidden {tag}", arrays.n_hidden)
        self.out = arrays("out", 2 * arrays.n_changed)  # of the subnetwork
        self.log_scale, self.shift = self.out[:, : arrays.n_changed], self.out[:, arrays.n_changed :]
        self.squashed = arrays(f"squashed {tag}", arrays.n_changed)
        self.factor = arrays(f"factor {tag}", arrays.n_changed)
        self.coupled = arrays(f"coupled {tag}", arrays.n_features)
        self.coupled_first, self.coupled_second = arrays.halves(self.coupled)
        self.moved = arrays("moved", arrays.n_features)  # coupled, scaled and shifted
        self.x = arrays(f"x {x_tag}", arrays.n_features)  # moved, permuted: the block's output
        self.first, self.second = arrays.halves(self.x)


def latent(
    x: Tensor, blocks: Sequence[Block], permutations: Sequence[Permutation], clamp: float, arrays: Arrays
) -> tuple[Tensor, Tensor]:
    """Latent points (F, d, n) and log-determinants (F, n), in nats, of rows x (F, n, d); no gradient.

    The former are one of ``arrays``.
    """
    scales = _scales(blocks)
    log_det = scales.log().sum((0, 2)).repeat(1, arrays.n_rows)
    first, second = arrays.halves(arrays.input.copy_(x.mT))
    for block, permutation, scale, a in zip(blocks, permutations, scales, arrays.by_block, strict=True):
        _subnet(block, first, a)
        torch.tanh(a.log_scale, out=a.squashed)
        torch.mul(a.squashed, clamp, out=a.factor)
        log_det += a.factor.sum(1)
        torch.addcmul(a.shift, second, a.factor.exp_(), out=a.coupled_second)
        a.coupled_first.copy_(first)
        torch.addcmul(block.offset, a.coupled, scale, out=a.moved)
        permutation(a.moved, out=a.x)
        first, second = a.first, a.second
    return arrays.by_block[-1].x, log_det


def _subnet(block: Block, first: Tensor, a: _BlockArrays) -> None:
    torch.baddbmm(block.bias_1, block.weight_1, first, out=a.hidden).relu_()
    torch.baddbmm(block.bias_2, block.weight_2, a.hidden, beta=_OUTPUT_SCALE, alpha=_OUTPUT_SCALE, out=a.out)


def inverse(
    z: Tensor, blocks: Sequence[Block], permutations: Sequence[Permutation], clamp: float, arrays: Arrays
) -> Tensor:
    """Columns (F, d, n), one of ``arrays``, whose latent points are the rows z (F, n, d); no gradient."""
    z = arrays.input.copy_(z.mT)
    steps = zip(blocks, permutations, _scales(blocks).reciprocal(), arrays.by_block, strict=True)
    for block, permutation, factor, a in reversed(list(steps)):
        permutation.transposed(z, out=a.moved)
        z = torch.addcmul(-block.offset * factor, a.moved, factor, out=a.x)
        _subnet(block, a.first, a)
        a.second.sub_(a.shift).mul_(torch.tanh(a.log_scale, out=a.factor).mul_(-clamp).exp_())
    return z


class FlatFlows:
    """The weights of flows of one architecture in one tensor, for training them together.

    The flows' own parameters become views of it: what an optimizer does to ``values`` happens to the flows.

    Parameters
    ----------
    flows : sequence of F modules
        With ``blocks``, a list of FrEIA's AllInOneBlocks.

    Attributes
    ----------
    values : Parameter of shape (F, number of weights)
    """

    def __init__(self, flows: Sequence[Any]) -> None:
        parameters = [[p for block in flow.blocks for p in _parameters(block)] for flow in flows]
        self.values = nn.Parameter(torch.stack([nn.utils.parameters_to_vector(own) for own in parameters]).detach())
        for own, vector in zip(parameters, self.values.data, strict=True):
            nn.utils.vector_to_parameters(vector, own)
        self.clamp = float(flows[0].blocks[0].clamp)
        matrices = zip(*([block.w_perm.detach() for block in flow.blocks] for flow in flows), strict=True)
        self.permutations = [Permutation(torch.stack(of_flows)) for of_flows in matrices]
        self._gradient = torch.empty_like(self.values.data)
        shapes = [parameter.shape for parameter in parameters[0]]
        self.blocks, self._gradients = (_views(values, shapes) for values in (self.values.data, self._gradient))
        self._pool = _Pool(self.values)
        self._arrays: dict[int, Arrays] = {}
        self._backwards: dict[int, _Backward] = {}
        self._n_forward = 0

    def nll(self, x: Tensor) -> Tensor:
        """The paper's negative log-likelihood (F, n), without constant, of rows x (F, n, d).

        A backward pass, one at most and before the next call, sets ``values.grad``: it does not add to it.
        """
        return _NegativeLogLikelihood.apply(self.values, x, self)

    def _forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        n_rows = x.shape[1]
        if n_rows not in self._arrays:
            self._arrays[n_rows] = Arrays(self.blocks, n_rows, self._pool, keep=True)
        self._n_forward += 1
        return latent(x, self.blocks, self.permutations, self.clamp, self._arrays[n_rows])

    def _backward(self, grad_nll: Tensor) -> Tensor:
        n_rows = grad_nll.shape[1]
        if n_rows not in self._backwards:
            self._backwards[n_rows] = _Backward(self, self._arrays[n_rows])
        self._backwards[n_rows](grad_nll)
        return self._gradient


def _views(values: Tensor, shapes: Sequence[torch.Size]) -> list[Block]:
    parts = values.split([math.prod(shape) for shape in shapes], 1)
    views = [part.view(len(values), *shape) for part, shape in zip(parts, shapes, strict=True)]
    return [_shaped(views[start : start + 6], len(values)) for start in range(0, len(views), 6)]


class _NegativeLogLikelihood(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, values: Tensor, x: Tensor, flows: FlatFlows) -> Tensor:
        z, log_det = flows._forward(x)
        ctx.flows, ctx.n_forward = flows, flows._n_forward
        return 0.5 * z.square().sum(1) - log_det

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad_nll: Tensor) -> tuple[Tensor, None, None]:
        flows = ctx.flows
        if ctx.n_forward != flows._n_forward:
            raise RuntimeError("FlatFlows.nll was called again before the backward pass of its former value.")
        flows.values.grad = flows._backward(grad_nll.contiguous())  # returned, it would be copied
        return None, None, None


class _Backward:
    """The backward pass of `FlatFlows.nll`: fills the flows' gradient."""

    def __init__(self, flows: FlatFlows, arrays: Arrays) -> None:
        self.blocks, self.gradients, self.z = flows.blocks, flows._gradients, arrays.by_block[-1].x
        self.grad_scales = flows.values.new_empty(len(flows.blocks), arrays.n_flows, arrays.n_features, 1)
        inputs = [arrays.input, *(a.x for a in arrays.by_block[:-1])]
        self.steps = [
            _BlockBackward(flows, arrays, number, x, self.grad_scales[number]) for number, x in enumerate(inputs)
        ]
        self.grad = arrays(f"grad {len(inputs) % 2}", arrays.n_features)

    def __call__(self, grad_nll: Tensor) -> None:
        scales = _scales(self.blocks)
        grad_nll = grad_nll.unsqueeze(1)
        grad_log_det = -grad_nll
        grad = torch.mul(self.z, grad_nll, out=self.grad)
        for step, scale in zip(reversed(self.steps), scales.flip(0), strict=True):
            grad = step(grad, grad_log_det, scale)
        self.grad_scales += grad_log_det.sum(2, keepdim=True) / scales
        slopes = _OUTPUT_SCALE * torch.sigmoid(_SOFTPLUS_BETA * torch.stack([block.scale for block in self.blocks]))
        for gradient, values in zip(self.gradients, self.grad_scales * slopes, strict=True):
            gradient.scale.copy_(values)


class _BlockBackward:
    def __init__(self, flows: FlatFlows, arrays: Arrays, number: int, x: Tensor, grad_scale: Tensor) -> None:
        self.block, self.gradient, self.permutation = (
            values[number] for values in (flows.blocks, flows._gradients, flows.permutations)
        )
        self.saved, self.grad_scale, self.is_first = arrays.by_block[number], grad_scale, number == 0
        self.first, self.second = arrays.halves(x)
        self.first_t, self.hidden_t = self.first.mT, self.saved.hidden.mT
        self.weight_1_t, self.weight_2_t = self.block.weight_1.mT, self.block.weight_2.mT

        self.grad = arrays(f"grad {number % 2}", arrays.n_features)
        self.grad_first, self.grad_second = arrays.halves(self.grad)
        self.product = arrays("product", arrays.n_features)
        self.grad_out = arrays("grad out", 2 * arrays.n_changed)
        self.grad_log_scale, self.grad_shift = self.grad_out.split(arrays.n_changed, 1)
        self.grad_hidden = arrays("grad hidden", arrays.n_hidden)
        self.slope = arrays("slope", arrays.n_changed)
        self.largest_slope = _OUTPUT_SCALE * flows.clamp
        self.largest_slope_tensor = self.slope.new_full((), self.largest_slope)

    def __call__(self, grad: Tensor, grad_log_det: Tensor, scale: Tensor) -> Tensor:
        """From the gradient at the block's output to that at its input; fills the gradient of its weights."""
        self.permutation.transposed(grad, out=self.grad)

        # output = scale * coupled + offset
        torch.sum(self.grad, 2, keepdim=True, out=self.gradient.offset)
        torch.mul(self.grad, self.saved.coupled, out=self.product)
        torch.sum(self.product, 2, keepdim=True, out=self.grad_scale)
        self.grad.mul_(scale)

        # coupled = first, second * exp(clamp * tanh(log_scale)) + shift, where (log_scale, shift) = 0.1 subnet(first)
        torch.mul(self.grad_second, _OUTPUT_SCALE, out=self.grad_shift)
        self.grad_second.mul_(self.saved.factor)
        torch.addcmul(grad_log_det, self.grad_second, self.second, out=self.grad_log_scale)
        squashed = self.saved.squashed
        torch.addcmul(self.largest_slope_tensor, squashed, squashed, value=-self.largest_slope, out=self.slope)
        self.grad_log_scale.mul_(self.slope)

        torch.bmm(self.weight_2_t, self.grad_out, out=self.grad_hidden)
        _threshold_backward(self.grad_hidden, self.saved.hidden, 0, grad_input=self.grad_hidden)
        torch.bmm(self.grad_out, self.hidden_t, out=self.gradient.weight_2)
        torch.sum(self.grad_out, 2, keepdim=True, out=self.gradient.bias_2)
        torch.bmm(self.grad_hidden, self.first_t, out=self.gradient.weight_1)
        torch.sum(self.grad_hidden, 2, keepdim=True, out=self.gradient.bias_1)
        if not self.is_first:
            self.grad_first.baddbmm_(self.weight_1_t, self.grad_hidden)
        return self.grad
