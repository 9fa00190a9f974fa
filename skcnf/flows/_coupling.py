r"""FrEIA's AllInOneBlock written out for rows: the same numbers as FrEIA's, forward and inverse, for less work.

A block keeps the first half :math:`x_1` of the features and changes the second, then scales, shifts and rotates all:

.. math::

    a = W_2\, \mathrm{relu}(W_1 x_1 + b_1) + b_2 = (a_s, a_t), \qquad
    s = c \tanh(0.1\, a_s), \qquad u = \big(x_1,\ x_2 \odot e^{s} + 0.1\, a_t\big), \\
    y = R\, (g \odot u + o), \qquad g = 0.1\, \mathrm{softplus}(\gamma), \qquad
    \log|\det| = \textstyle\sum s + \sum \log g

with the clamp :math:`c`, the rotation :math:`R`, and the weights :math:`W_1, b_1, W_2, b_2, \gamma, o`.

FrEIA rotates features by a dense product and leaves the backward pass to autograd, which keeps and visits about a dozen
arrays a block. Here permutations are indexing, and passes write to the same arrays again and again
(`skcnf.flows._gradients` has the backward pass). FrEIA's block stays the definition: the tests hold values and
gradients against it.

Arrays are (F, d, n): F flows of one architecture side by side, d features, n rows. With the rows last, halves and
permutations of features are whole runs of memory.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import cast

import torch
from torch import Tensor, nn
from torch.nn.functional import softplus

from skcnf.flows._blocks import OUTPUT_SCALE, SOFTPLUS_BETA, Block

__all__ = ["Arrays", "Couplings", "Pool", "Rotation", "Weights", "in_rows", "parameters_of"]


class Rotation:
    """A fixed rotation of features: an index where all flows have a permutation, a product elsewhere.

    Parameters
    ----------
    matrices : Tensor of shape (F, d, d)
        Orthogonal; a column x becomes ``matrix @ x``.
    """

    def __init__(self, matrices: Tensor) -> None:
        self.matrices = matrices
        self.index: Tensor | None = None
        self.inverse_index: Tensor | None = None
        ones = torch.ones_like(matrices[..., 0])
        if torch.equal(matrices.sum(2), ones) and bool(((matrices == 0) | (matrices == 1)).all()):
            first = matrices.shape[1] * torch.arange(len(matrices), device=matrices.device).unsqueeze(1)
            self.index = (first + matrices.argmax(2)).flatten()
            self.inverse_index = (first + matrices.argmax(1)).flatten()

    def __call__(self, x: Tensor, out: Tensor) -> Tensor:
        """Rotate x (F, d, n), contiguous."""
        if self.index is None:
            return torch.bmm(self.matrices, x, out=out)
        torch.index_select(x.flatten(0, 1), 0, self.index, out=out.flatten(0, 1))
        return out

    def transposed(self, x: Tensor, out: Tensor) -> Tensor:
        """Rotate x back."""
        if self.inverse_index is None:
            return torch.bmm(self.matrices.mT, x, out=out)
        torch.index_select(x.flatten(0, 1), 0, self.inverse_index, out=out.flatten(0, 1))
        return out


@dataclass(frozen=True)
class Weights:
    """The weights of one block of F flows; or, in the same places, their gradients.

    Parameters
    ----------
    weight_1, weight_2 : Tensor of shape (F, hidden, kept), (F, 2 * (d - kept), hidden)
        Of the subnetwork. The first ``kept`` features pass unchanged.
    bias_1, bias_2 : Tensor of shape (F, hidden, 1), (F, 2 * (d - kept), 1)
    scale, offset : Tensor of shape (F, d, 1)
        gamma and o of the module's equations.
    """

    weight_1: Tensor
    bias_1: Tensor
    weight_2: Tensor
    bias_2: Tensor
    scale: Tensor
    offset: Tensor

    @classmethod
    def of(cls, parameters: Sequence[Tensor], n_flows: int) -> Weights:
        """Views of parameters that stand in the order of `parameters_of`."""
        weight_1, bias_1, weight_2, bias_2, scale, offset = parameters
        columns = (values.reshape(n_flows, -1, 1) for values in (bias_1, bias_2, scale, offset))
        bias_1, bias_2, scale, offset = columns
        return cls(weight_1, bias_1, weight_2, bias_2, scale, offset)


def parameters_of(block: Block) -> list[Tensor]:
    """The trained parameters of a block, in the order of `Weights`."""
    first, second = (cast(nn.Linear, block.subnet[number]) for number in (0, 2))
    return [first.weight, first.bias, second.weight, second.bias, block.global_scale, block.global_offset]


class Pool:
    """Memory by name, allocated once and used again for any shape that fits."""

    def __init__(self, like: Tensor) -> None:
        self._like = like.detach()
        self._buffers: dict[str, Tensor] = {}

    def __call__(self, name: str, *shape: int) -> Tensor:
        """The array of this name, its contents undefined."""
        size = math.prod(shape)
        if name not in self._buffers or self._buffers[name].numel() < size:
            self._buffers[name] = self._like.new_empty(size)
        return self._buffers[name][:size].view(shape)


class Arrays:
    """What a pass over n rows writes to, cut once into the views that it uses.

    Parameters
    ----------
    blocks : sequence of Weights
    n_rows : int
        n.
    pool : Pool, optional
        Where the memory comes from; new memory if left out.
    keep : bool
        Whether each block has arrays of its own, for a backward pass; if not, neighbours take turns.
    """

    def __init__(self, blocks: Sequence[Weights], n_rows: int, pool: Pool | None = None, *, keep: bool = False) -> None:
        self.pool, self.n_rows = pool or Pool(blocks[0].weight_1), n_rows
        self.n_flows, self.n_hidden, self.kept = blocks[0].weight_1.shape
        self.n_features = blocks[0].scale.shape[1]
        self.n_changed = self.n_features - self.kept
        self.input = self("input", self.n_features)
        self.log_scales = self("log scales", self.n_changed)
        if keep:
            self.by_block = [_BlockArrays(self, str(n), str(n)) for n in range(len(blocks))]
        else:
            turns = [_BlockArrays(self, "", turn) for turn in ("0", "1")]
            self.by_block = [turns[n % 2] for n in range(len(blocks))]

    def __call__(self, name: str, n_features: int) -> Tensor:
        return self.pool(name, self.n_flows, n_features, self.n_rows)

    def halves(self, values: Tensor) -> tuple[Tensor, Tensor]:
        """The features that pass unchanged and the others."""
        return values[:, : self.kept], values[:, self.kept :]

    def load(self, x: Tensor) -> Tensor:
        """The rows x (F, m, d), m <= n, as columns of ``input``; the columns after them are 0."""
        n_given = x.shape[1]
        self.input[..., :n_given].copy_(x.mT)
        self.input[..., n_given:].zero_()
        return self.input


class _BlockArrays:
    """The arrays of one block; those without a tag are the same for all blocks."""

    def __init__(self, arrays: Arrays, tag: str, output_tag: str) -> None:
        self.hidden = arrays(f"hidden {tag}", arrays.n_hidden)
        self.out = arrays("out", 2 * arrays.n_changed)  # 0.1 a
        self.log_scale, self.shift = self.out[:, : arrays.n_changed], self.out[:, arrays.n_changed :]
        self.squashed = arrays(f"squashed {tag}", arrays.n_changed)  # s / c
        self.factor = arrays(f"factor {tag}", arrays.n_changed)  # s, then its exponential
        self.coupled = arrays(f"coupled {tag}", arrays.n_features)  # u
        self.coupled_first, self.coupled_second = arrays.halves(self.coupled)
        self.moved = arrays("moved", arrays.n_features)  # g u + o
        self.output = arrays(f"output {output_tag}", arrays.n_features)  # y
        self.first, self.second = arrays.halves(self.output)

    def run_subnet(self, weights: Weights, first: Tensor) -> None:
        """Fill ``hidden`` and ``out``, hence ``log_scale`` and ``shift``."""
        torch.baddbmm(weights.bias_1, weights.weight_1, first, out=self.hidden).relu_()
        torch.baddbmm(
            weights.bias_2, weights.weight_2, self.hidden, beta=OUTPUT_SCALE, alpha=OUTPUT_SCALE, out=self.out
        )


class Couplings:
    """The blocks of F flows side by side.

    Parameters
    ----------
    blocks : sequence of Weights
        First to last; may be views of parameters that change.
    rotations : sequence of Rotation
        One a block.
    clamp : float
        c of the module's equations.
    """

    def __init__(self, blocks: Sequence[Weights], rotations: Sequence[Rotation], clamp: float) -> None:
        self.blocks, self.rotations, self.clamp = list(blocks), list(rotations), clamp

    @classmethod
    def of(cls, blocks: Sequence[Block]) -> Couplings:
        """Those of one flow, as views of its parameters."""
        weights = [Weights.of([p.detach().unsqueeze(0) for p in parameters_of(block)], 1) for block in blocks]
        rotations = [Rotation(block.w_perm.detach().unsqueeze(0)) for block in blocks]
        return cls(weights, rotations, float(blocks[0].clamp))

    def scales(self) -> Tensor:
        """What each block multiplies its outputs by, g, of shape (number of blocks, F, d, 1)."""
        return OUTPUT_SCALE * softplus(torch.stack([weights.scale for weights in self.blocks]), beta=SOFTPLUS_BETA)

    def latent(self, x: Tensor, arrays: Arrays) -> tuple[Tensor, Tensor]:
        """Latent points (F, d, n) and log-determinants (F, n), in nats, of rows x (F, m, d), m <= n; no gradient.

        The former are one of ``arrays``; the latter are in float64 where the device has it. Columns after the first m
        are those of rows of zeros.
        """
        scales = self.scales()
        first, second = arrays.halves(arrays.load(x))
        log_scales = arrays.log_scales.zero_()  # s, summed over blocks
        for weights, rotation, scale, own in zip(self.blocks, self.rotations, scales, arrays.by_block, strict=True):
            own.run_subnet(weights, first)
            torch.tanh(own.log_scale, out=own.squashed)
            torch.mul(own.squashed, self.clamp, out=own.factor)
            log_scales += own.factor
            torch.addcmul(own.shift, second, own.factor.exp_(), out=own.coupled_second)
            own.coupled_first.copy_(first)
            torch.addcmul(weights.offset, own.coupled, scale, out=own.moved)
            rotation(own.moved, out=own.output)
            first, second = own.first, own.second
        log_det = in_rows(log_scales).sum(2) + scales.log().sum((0, 2))
        return arrays.by_block[-1].output, log_det

    def inverse(self, z: Tensor, arrays: Arrays) -> Tensor:
        """Columns (F, d, n), one of ``arrays``, whose latent points are the rows z (F, m, d), m <= n; no gradient."""
        z = arrays.load(z)
        steps = list(zip(self.blocks, self.rotations, self.scales().reciprocal(), arrays.by_block, strict=True))
        for weights, rotation, factor, own in reversed(steps):
            rotation.transposed(z, out=own.moved)
            z = torch.addcmul(-weights.offset * factor, own.moved, factor, out=own.output)
            own.run_subnet(weights, own.first)
            own.second.sub_(own.shift).mul_(torch.tanh(own.log_scale, out=own.factor).mul_(-self.clamp).exp_())
        return z


def in_rows(columns: Tensor) -> Tensor:
    """Columns (F, d, n) as rows (F, n, d), in float64 where the device has it.

    The features of a row then lie side by side, so that their sum is added up in one order for any n.
    """
    precise = columns.dtype if columns.device.type == "mps" else torch.float64
    return columns.mT.to(precise, memory_format=torch.contiguous_format)
