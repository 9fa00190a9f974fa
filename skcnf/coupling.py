"""FrEIA's AllInOneBlock written out for rows, forward, backward and inverse: the same numbers, less work.

FrEIA permutes features by a dense product and leaves the backward pass to autograd, which keeps and visits about a
dozen arrays a block. Here permutations are indexing, arrays live in a workspace that every step uses again, and auxiliary
rows beyond the clamp, whose gradient is zero, have no part in the backward pass. FrEIA's block stays the definition; the
tests hold values and gradients against it.

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

__all__ = ["Block", "FlatFlows", "Permutation", "Workspace", "blocks_of", "inverse", "latent"]

_OUTPUT_SCALE = 0.1  # FrEIA scales the subnetwork's output and the global scale by it
_SOFTPLUS_BETA = 0.5  # of the global scale
_WORTH_SKIPPING = 0.9  # above this share of rows with a gradient, picking them costs more than it saves


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
        torch.index_select(x.flatten(0, 1), 0, self.index, out=out.view(-1, x.shape[2]))
        return out

    def transposed(self, x: Tensor, out: Tensor) -> Tensor:
        """Back again."""
        if self.inverse_index is None:
            return torch.bmm(self.matrices.mT, x, out=out)
        torch.index_select(x.flatten(0, 1), 0, self.inverse_index, out=out.view(-1, x.shape[2]))
        return out


@dataclass(frozen=True)
class Block:
    """The weights of one block of F flows; or, in the same places, their gradients.

    Parameters
    ----------
    weight_1, weight_2 : Tensor of shape (F, hidden, kept), (F, 2 * (d - kept), hidden)
    bias_1, bias_2 : Tensor of shape (F, hidden, 1), (F, 2 * (d - kept), 1)
    global_scale, offset : Tensor of shape (F, d, 1)
        The scale before FrEIA's softplus.
    """

    weight_1: Tensor
    bias_1: Tensor
    weight_2: Tensor
    bias_2: Tensor
    global_scale: Tensor
    offset: Tensor

    @property
    def kept(self) -> int:
        """The features that pass unchanged: the first ones."""
        return self.weight_1.shape[2]

    @property
    def scale(self) -> Tensor:
        """What the outputs are multiplied by, (F, d, 1)."""
        return _OUTPUT_SCALE * softplus(self.global_scale, beta=_SOFTPLUS_BETA)


class Workspace:
    """Arrays by name, allocated once and used again for any shape that fits."""

    def __init__(self, like: Tensor) -> None:
        self._like = like.detach()
        self._buffers: dict[str, Tensor] = {}

    def __call__(self, name: str, *shape: int) -> Tensor:
        """The contiguous array of that name, its contents left from before."""
        size = math.prod(shape)
        if name not in self._buffers or self._buffers[name].numel() < size:
            self._buffers[name] = self._like.new_empty(size)
        return self._buffers[name][:size].view(shape)


def _parameters(block: nn.Module) -> list[nn.Parameter]:
    """Of a FrEIA block, in the order of `Block`."""
    first, _, second = block.subnet
    return [first.weight, first.bias, second.weight, second.bias, block.global_scale, block.global_offset]


def _shaped(parameters: Sequence[Tensor], n_flows: int) -> Block:
    weight_1, bias_1, weight_2, bias_2, global_scale, offset = parameters
    columns = (values.reshape(n_flows, -1, 1) for values in (bias_1, bias_2, global_scale, offset))
    bias_1, bias_2, global_scale, offset = columns
    return Block(weight_1, bias_1, weight_2, bias_2, global_scale, offset)


def blocks_of(blocks: Sequence[nn.Module]) -> list[Block]:
    """The weights of one flow's FrEIA blocks, in place."""
    return [_shaped([parameter.detach().unsqueeze(0) for parameter in _parameters(block)], 1) for block in blocks]


def latent(
    x: Tensor,
    blocks: Sequence[Block],
    permutations: Sequence[Permutation],
    clamp: float,
    workspace: Workspace,
    *,
    keep: bool = False,
) -> tuple[Tensor, Tensor]:
    """Latent points (F, d, n) and log-determinants (F, n), in nats, of x (F, d, n); no gradient.

    ``keep`` leaves in the workspace what the backward pass needs.
    """
    n_flows, _, n_rows = x.shape
    log_det = torch.cat([block.scale for block in blocks], 1).log().sum(1).repeat(1, n_rows)
    for number, (block, permutation) in enumerate(zip(blocks, permutations, strict=True)):
        tag = number if keep else number % 2
        kept, n_changed = block.kept, x.shape[1] - block.kept
        first, second = x.split([kept, n_changed], 1)
        hidden = _hidden(block, first, workspace(f"hidden {tag}", n_flows, block.weight_1.shape[1], n_rows))
        log_scale, shift = _subnet_out(block, hidden, workspace).split(n_changed, 1)
        squashed = torch.tanh(log_scale, out=workspace(f"squashed {tag}", n_flows, n_changed, n_rows))
        factor = torch.mul(squashed, clamp, out=workspace(f"factor {tag}", n_flows, n_changed, n_rows))
        log_det += factor.sum(1)
        coupled = workspace(f"coupled {tag}", n_flows, n_changed, n_rows)
        torch.addcmul(shift, second, factor.exp_(), out=coupled)
        moved, scale = workspace("moved", *x.shape), block.scale
        torch.addcmul(block.offset[:, :kept], first, scale[:, :kept], out=moved[:, :kept])
        torch.addcmul(block.offset[:, kept:], coupled, scale[:, kept:], out=moved[:, kept:])
        x = permutation(moved, out=workspace(f"x {tag + 1 if keep else tag}", *x.shape))
    return x, log_det


def _hidden(block: Block, first: Tensor, out: Tensor) -> Tensor:
    return torch.baddbmm(block.bias_1, block.weight_1, first, out=out).relu_()


def _subnet_out(block: Block, hidden: Tensor, workspace: Workspace) -> Tensor:
    out = workspace("out", len(hidden), block.weight_2.shape[1], hidden.shape[2])
    return torch.baddbmm(block.bias_2, block.weight_2, hidden, out=out).mul_(_OUTPUT_SCALE)


def inverse(
    z: Tensor, blocks: Sequence[Block], permutations: Sequence[Permutation], clamp: float, workspace: Workspace
) -> Tensor:
    """The columns (F, d, n) whose latent points are z (F, d, n); no gradient."""
    for number, (block, permutation) in enumerate(zip(reversed(blocks), reversed(permutations), strict=True)):
        kept, n_changed = block.kept, z.shape[1] - block.kept
        x = permutation.transposed(z, out=workspace(f"x {number % 2}", *z.shape))
        x.sub_(block.offset).div_(block.scale)
        hidden = _hidden(block, x[:, :kept], workspace("hidden", len(z), block.weight_1.shape[1], z.shape[2]))
        log_scale, shift = _subnet_out(block, hidden, workspace).split(n_changed, 1)
        x[:, kept:].sub_(shift).mul_(log_scale.tanh_().mul_(-clamp).exp_())
        z = x
    return z


class FlatFlows:
    """The weights of flows of one architecture in one tensor, for training them together.

    The flows' own parameters become views of it: what an optimizer does to ``values`` happens to the flows.

    Parameters
    ----------
    flows : sequence of F modules
        With ``blocks`` of FrEIA, `Permutation` s from ``permutation_matrices``, and ``affine_clamp``.
    """

    def __init__(self, flows: Sequence[Any]) -> None:
        parameters = [[p for block in flow.blocks for p in _parameters(block)] for flow in flows]
        vectors = [nn.utils.parameters_to_vector(own) for own in parameters]
        self.values = nn.Parameter(torch.stack(vectors).detach())
        for own, vector in zip(parameters, self.values.data, strict=True):
            nn.utils.vector_to_parameters(vector, own)
        self.clamp = float(flows[0].blocks[0].clamp)
        matrices = zip(*([block.w_perm.detach() for block in flow.blocks] for flow in flows), strict=True)
        self.permutations = [Permutation(torch.stack(of_flows)) for of_flows in matrices]
        self._shapes = [[p.shape for p in _parameters(block)] for block in flows[0].blocks]
        self._gradient = torch.empty_like(self.values.data)
        self.blocks, self._gradients = self._views(self.values.data), self._views(self._gradient)
        self.workspace = Workspace(self.values)
        self._n_forward = 0

    def _views(self, values: Tensor) -> list[Block]:
        shapes = [shape for block in self._shapes for shape in block]
        parts = values.split([math.prod(shape) for shape in shapes], 1)
        views = [part.view(len(values), *shape) for part, shape in zip(parts, shapes, strict=True)]
        return [_shaped(views[start : start + 6], len(values)) for start in range(0, len(views), 6)]

    def nll(self, x: Tensor) -> Tensor:
        """The paper's negative log-likelihood (F, n), without constant, of rows x (F, n, d).

        Differentiable with respect to ``values``, once, and before the next call.
        """
        return _NegativeLogLikelihood.apply(self.values, x.mT.contiguous(), self)


class _NegativeLogLikelihood(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, values: Tensor, x: Tensor, flows: FlatFlows) -> Tensor:
        z, log_det = latent(x, flows.blocks, flows.permutations, flows.clamp, flows.workspace, keep=True)
        flows._n_forward += 1
        ctx.flows, ctx.n_forward = flows, flows._n_forward
        ctx.save_for_backward(x, z)
        return 0.5 * z.square().sum(1) - log_det

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad_nll: Tensor) -> tuple[Tensor, None, None]:
        flows = ctx.flows
        if ctx.n_forward != flows._n_forward:
            raise RuntimeError("FlatFlows.nll was called again before the backward pass of its former value.")
        _Backward(flows, *ctx.saved_tensors, grad_nll.contiguous()).run()
        return flows._gradient, None, None


class _Backward:
    """The backward pass of `FlatFlows.nll`: fills the flows' gradient."""

    def __init__(self, flows: FlatFlows, x: Tensor, z: Tensor, grad_nll: Tensor) -> None:
        self.flows, self.workspace, self.x = flows, flows.workspace, x
        self.shape = x.shape
        self.active = _active_rows(grad_nll)
        if self.active is not None:
            n_first, rest = self.active
            self.shape = torch.Size([1, x.shape[1], n_first + len(rest)])
            z = self.picked("z", z)
            grad_nll = torch.cat([grad_nll[:, :n_first], grad_nll[:, rest]], 1)
        self.one = x.new_ones(())
        self.grad_log_det = -grad_nll.unsqueeze(1)
        self.grad = torch.mul(z, grad_nll.unsqueeze(1), out=self.array(f"grad {len(flows.blocks) % 2}", z.shape[1]))

    def array(self, name: str, n_features: int) -> Tensor:
        return self.workspace(name, len(self.x), n_features, self.shape[2])

    def saved(self, name: str, number: int, n_features: int) -> Tensor:
        """What the forward pass left of block ``number``, for the rows that have a gradient."""
        values = self.workspace(f"{name} {number}", len(self.x), n_features, self.x.shape[2])
        return values if self.active is None else self.picked(name, values)

    def picked(self, name: str, values: Tensor) -> Tensor:
        n_first, rest = self.active
        out = self.array(f"picked {name}", values.shape[1])
        out[..., :n_first] = values[..., :n_first]
        if len(rest):
            torch.index_select(values, 2, rest, out=out[..., n_first:])
        return out

    def run(self) -> None:
        flows = self.flows
        for number in reversed(range(len(flows.blocks))):
            self.block(number, flows.blocks[number], flows._gradients[number], flows.permutations[number])

    def block(self, number: int, block: Block, gradient: Block, permutation: Permutation) -> None:
        """From the gradient at a block's output to that at its input, and to its weights'."""
        clamp, kept, n_changed = self.flows.clamp, block.kept, self.shape[1] - block.kept
        x = self.saved("x", number, self.shape[1]) if number else self.input()
        squashed, factor, coupled = (self.saved(name, number, n_changed) for name in ("squashed", "factor", "coupled"))
        grad = permutation.transposed(self.grad, out=self.array(f"grad {number % 2}", self.shape[1]))

        # y = scale * (kept rows, coupled rows) + offset
        scale, product = block.scale, self.array("product", self.shape[1])
        torch.sum(grad, 2, keepdim=True, out=gradient.offset)
        torch.mul(grad[:, :kept], x[:, :kept], out=product[:, :kept])
        torch.mul(grad[:, kept:], coupled, out=product[:, kept:])
        grad_scale = product.sum(2, keepdim=True) + self.grad_log_det.sum(2, keepdim=True) / scale
        grad_scale *= _OUTPUT_SCALE * torch.sigmoid(_SOFTPLUS_BETA * block.global_scale)
        gradient.global_scale.copy_(grad_scale)
        grad.mul_(scale)

        # coupled = x exp(clamp tanh(0.1 a)) + 0.1 b for the subnetwork's output (a, b)
        grad_out = self.array("grad out", 2 * n_changed)
        grad_log_scale, grad_shift = grad_out.split(n_changed, 1)
        grad_second = grad[:, kept:]
        torch.mul(grad_second, _OUTPUT_SCALE, out=grad_shift)
        grad_second.mul_(factor)
        torch.addcmul(self.grad_log_det, grad_second, x[:, kept:], out=grad_log_scale)
        slope = torch.addcmul(self.one, squashed, squashed, value=-1, out=self.array("slope", n_changed))
        grad_log_scale.mul_(slope.mul_(_OUTPUT_SCALE * clamp))

        # the subnetwork
        hidden = self.saved("hidden", number, block.weight_1.shape[1])
        grad_hidden = torch.bmm(block.weight_2.mT, grad_out, out=self.array("grad hidden", hidden.shape[1]))
        torch.ops.aten.threshold_backward.grad_input(grad_hidden, hidden, 0, grad_input=grad_hidden)
        torch.bmm(grad_out, hidden.mT, out=gradient.weight_2)
        torch.sum(grad_out, 2, keepdim=True, out=gradient.bias_2)
        torch.bmm(grad_hidden, x[:, :kept].mT, out=gradient.weight_1)
        torch.sum(grad_hidden, 2, keepdim=True, out=gradient.bias_1)
        if number:
            grad[:, :kept].baddbmm_(block.weight_1.mT, grad_hidden)
        self.grad = grad

    def input(self) -> Tensor:
        return self.x if self.active is None else self.picked("x", self.x)


def _active_rows(grad_nll: Tensor) -> tuple[int, Tensor] | None:
    """The rows with a gradient, as the length of a leading run and the numbers of the others; None to take all.

    None for several flows, whose rows differ, and off the CPU, where to ask would be to wait.
    """
    if len(grad_nll) > 1 or grad_nll.device.type != "cpu":
        return None
    active = grad_nll[0] != 0
    rows = active.nonzero().squeeze(1)
    if len(rows) > _WORTH_SKIPPING * len(active):
        return None
    n_first = int(active.to(torch.uint8).cumprod(0).sum())
    return n_first, rows[n_first:]
