"""The forward and backward pass of FrEIA's AllInOneBlock on rows, written out: the same numbers, less work.

FrEIA permutes features by a dense product and leaves the backward pass to autograd, which keeps and visits about a
dozen arrays a block. Here permutations are indexing, and each block is one node of the graph. FrEIA's block stays the
definition; the tests hold values and gradients against it.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

__all__ = ["AffineCoupling", "Permutation"]

_OUTPUT_SCALE = 0.1  # FrEIA scales the subnetwork's output by it


class Permutation:
    """A fixed rotation of features, as an index where it is a permutation and as a matrix where it is not.

    Parameters
    ----------
    matrix : Tensor of shape (d, d)
        Orthogonal; rows x become ``x @ matrix.T``.
    """

    def __init__(self, matrix: Tensor) -> None:
        self.matrix = matrix
        self.index = self.inverse_index = None
        if torch.equal(matrix.sum(1), torch.ones_like(matrix[:, 0])) and ((matrix == 0) | (matrix == 1)).all():
            self.index, self.inverse_index = matrix.argmax(1), matrix.argmax(0)

    def __call__(self, x: Tensor) -> Tensor:
        return x @ self.matrix.T if self.index is None else x.index_select(1, self.index)

    def transposed(self, x: Tensor) -> Tensor:
        """Back again."""
        return x @ self.matrix if self.inverse_index is None else x.index_select(1, self.inverse_index)


class AffineCoupling(torch.autograd.Function):
    """Affine coupling, scale and offset, permutation: rows (n, d) to rows (n, d) and the coupling's log-determinants.

    ``apply(x, weight_1, bias_1, weight_2, bias_2, scale, offset, clamp, permutation)``: the subnetwork's two linear
    layers with a ReLU between them, scale and offset (1, d). The log-determinants (n,), in nats, leave out the scale's.
    """

    @staticmethod
    def forward(
        ctx: Any,
        x: Tensor,
        weight_1: Tensor,
        bias_1: Tensor,
        weight_2: Tensor,
        bias_2: Tensor,
        scale: Tensor,
        offset: Tensor,
        clamp: float,
        permutation: Permutation,
    ) -> tuple[Tensor, Tensor]:
        kept = weight_1.shape[1]  # the half that passes unchanged
        hidden = torch.addmm(bias_1, x[:, :kept], weight_1.T).relu_()
        out = torch.addmm(bias_2, hidden, weight_2.T).mul_(_OUTPUT_SCALE)
        log_scale, shift = out.split(x.shape[1] - kept, 1)
        squashed = log_scale.tanh()
        log_det = squashed.sum(1).mul_(clamp)
        factor = (squashed * clamp).exp_()
        coupled = torch.empty_like(x)
        coupled[:, :kept] = x[:, :kept]
        torch.addcmul(shift, x[:, kept:], factor, out=coupled[:, kept:])
        if any(ctx.needs_input_grad):
            ctx.save_for_backward(x, hidden, squashed, factor, coupled, weight_1, weight_2, scale)
            ctx.clamp, ctx.permutation = clamp, permutation
            ctx.clamp_scale = x.new_tensor(_OUTPUT_SCALE * clamp)
        return permutation(torch.addcmul(offset, coupled, scale)), log_det

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad_rows: Tensor, grad_log_det: Tensor) -> tuple[Tensor | None, ...]:
        x, hidden, squashed, factor, coupled, weight_1, weight_2, scale = ctx.saved_tensors
        kept = weight_1.shape[1]
        grad = ctx.permutation.transposed(grad_rows)
        grad_offset = grad.sum(0, keepdim=True)
        grad_scale = (grad * coupled).sum(0, keepdim=True)
        grad.mul_(scale)
        grad_coupled = grad[:, kept:]

        grad_out = x.new_empty(len(x), 2 * (x.shape[1] - kept))
        grad_log_scale, grad_shift = grad_out.split(x.shape[1] - kept, 1)
        torch.mul(grad_coupled, _OUTPUT_SCALE, out=grad_shift)
        grad_coupled.mul_(factor)  # now that of x's second half
        torch.addcmul(grad_log_det.unsqueeze(1), grad_coupled, x[:, kept:], out=grad_log_scale)
        grad_log_scale.mul_(torch.addcmul(ctx.clamp_scale, squashed, squashed, value=-_OUTPUT_SCALE * ctx.clamp))

        grad_hidden = grad_out @ weight_2
        torch.ops.aten.threshold_backward.grad_input(grad_hidden, hidden, 0, grad_input=grad_hidden)
        if ctx.needs_input_grad[0]:
            grad[:, :kept].addmm_(grad_hidden, weight_1)
        return (
            grad if ctx.needs_input_grad[0] else None,
            grad_hidden.T @ x[:, :kept],
            grad_hidden.sum(0),
            grad_out.T @ hidden,
            grad_out.sum(0),
            grad_scale,
            grad_offset,
            None,
            None,
        )
