"""FrEIA's AllInOneBlock, built without the global generators that its constructor draws from."""

from __future__ import annotations

import math

import numpy as np
import torch
import torch.nn.functional as F
from FrEIA.modules import AllInOneBlock, InvertibleModule
from scipy.stats import special_ortho_group
from torch import Tensor, nn

from skcnf._core.generators import seeded

__all__ = ["OUTPUT_SCALE", "SOFTPLUS_BETA", "Block", "new_blocks"]

OUTPUT_SCALE = 0.1  # FrEIA scales the subnetwork's output and the global scale by it
SOFTPLUS_BETA = 0.5  # of the global scale


class Block(AllInOneBlock):
    """An AllInOneBlock of rows whose rotation and subnetwork are given.

    FrEIA's constructor (version 0.2) draws a permutation from NumPy's global generator in every case, so this one
    replaces it and sets the same attributes; all methods are FrEIA's.

    Parameters
    ----------
    rotation : Tensor of shape (d, d)
        Orthogonal. It follows the coupling: a row x becomes ``rotation @ x``.
    subnet : nn.Sequential of a linear layer, a ReLU and another linear layer
        From the first d - d // 2 features to a log-scale and a shift of each of the others.
    clamp : float
        The log-scale is ``clamp * tanh(0.1 a)`` for the subnetwork's output a.
    """

    subnet: nn.Sequential
    w_perm: nn.Parameter

    def __init__(self, rotation: Tensor, subnet: nn.Sequential, clamp: float) -> None:
        n_features = len(rotation)
        InvertibleModule.__init__(self, [(n_features,)])
        self.in_channels, self.splits = n_features, split_of(n_features)
        self.input_rank, self.sum_dims, self.permute_function = 0, (1,), F.linear
        self.conditional, self.condition_channels = False, 0
        self.GIN = self.reverse_pre_permute = False
        self.householder, self.last_jac, self.clamp = 0, None, clamp
        self.softplus = nn.Softplus(beta=SOFTPLUS_BETA)
        scale = math.log(math.expm1(SOFTPLUS_BETA / OUTPUT_SCALE)) / SOFTPLUS_BETA  # 1 after the activation
        self.global_scale = nn.Parameter(torch.full((1, n_features), scale))
        self.global_offset = nn.Parameter(torch.zeros(1, n_features))
        self.w_perm = nn.Parameter(rotation, requires_grad=False)
        self.w_perm_inv = nn.Parameter(rotation.T.clone(), requires_grad=False)
        self.subnet = subnet

    def global_scale_activation(self, values: Tensor) -> Tensor:
        """The scale, above 0, of unbounded ``values``."""
        return OUTPUT_SCALE * self.softplus(values)


def split_of(n_features: int) -> list[int]:
    """How many features pass a coupling unchanged, and how many do not."""
    return [n_features - n_features // 2, n_features // 2]


def new_blocks(
    n_features: int, n_blocks: int, hidden_units: int, affine_clamp: float, permute_soft: bool, seed: int
) -> list[Block]:
    """Blocks on the CPU, with the numbers that FrEIA's constructor draws after NumPy and torch are seeded."""
    random_state = np.random.RandomState(seed % 2**32)
    kept, changed = split_of(n_features)
    with seeded(seed):
        return [
            Block(
                _rotation(n_features, permute_soft, random_state),
                _subnet(kept, hidden_units, 2 * changed),
                affine_clamp,
            )
            for _ in range(n_blocks)
        ]


def _rotation(n_features: int, soft: bool, random_state: np.random.RandomState) -> Tensor:
    if soft:
        return torch.as_tensor(special_ortho_group.rvs(n_features, random_state=random_state), dtype=torch.float32)
    return torch.eye(n_features)[random_state.permutation(n_features)]


def _subnet(n_in: int, n_hidden: int, n_out: int) -> nn.Sequential:
    return nn.Sequential(nn.Linear(n_in, n_hidden), nn.ReLU(), nn.Linear(n_hidden, n_out))
