"""RealNVP on FrEIA's AllInOneBlock: exact log-densities, sampling, and both directions of the transformation.

Dinh, Sohl-Dickstein and Bengio, "Density estimation using Real NVP", ICLR 2017; the architecture of Schmier, Köthe and
Straehle (Table 6): 8 blocks, subnetworks with one hidden layer of 512 units, affine clamp 3. A coupling flow needs two
features at least; for one there is `LogisticMixtureFlow`, with the same methods.
"""

from __future__ import annotations

from typing import Any, Self, cast

import torch
from torch import Tensor, nn

from skcnf._core.modules import RebuiltModule
from skcnf.flows._blocks import Block, new_blocks
from skcnf.flows._coupling import Couplings, parameters_of
from skcnf.flows._objectives import LOG_2PI, negative_log_likelihood
from skcnf.flows._tiles import Tiles

__all__ = ["RealNVP"]


class RealNVP(RebuiltModule):
    """A normalizing flow from rows (n, d) to a standard normal of the same dimension.

    Parameters
    ----------
    n_features : int
        d, at least 2: a coupling block splits the features in two.
    n_blocks : int, default=8
        Number of AllInOneBlocks: affine coupling, learned scale and offset, fixed permutation.
    hidden_units : int, default=512
        Width of the hidden layer of each coupling subnetwork.
    affine_clamp : float, default=3.0
        The log-scale of a coupling is ``affine_clamp * tanh(0.1 a)`` for the subnetwork's output a.
    permute_soft : bool, default=False
        Random rotations in place of random permutations. Slow to build above some hundred features.
    seed : int, default=0
        Draws weights and permutations. The global generators of torch and NumPy are neither read nor moved.

    Notes
    -----
    A flow is pickled, deep-copied and saved as its arguments and its ``state_dict``; what is unpickled is on the CPU.
    """

    blocks: nn.ModuleList

    def __init__(
        self,
        n_features: int,
        n_blocks: int = 8,
        hidden_units: int = 512,
        affine_clamp: float = 3.0,
        permute_soft: bool = False,
        seed: int = 0,
    ) -> None:
        super().__init__()
        if n_features < 2:
            raise ValueError(f"n_features={n_features}: a coupling flow needs at least 2 features.")
        self.arguments = {
            "n_features": int(n_features),
            "n_blocks": int(n_blocks),
            "hidden_units": int(hidden_units),
            "affine_clamp": float(affine_clamp),
            "permute_soft": bool(permute_soft),
        }

        self.blocks = nn.ModuleList(new_blocks(**self.arguments, seed=seed))
        self.to(torch.empty(0).device)  # torch's default device
        self._key: list[tuple[int, int]] = []
        self._passes: Tiles | None = None

    @property
    def n_features(self) -> int:
        """d, the dimension of the rows."""
        return self.arguments["n_features"]

    @property
    def architecture(self) -> tuple[Any, ...] | None:
        """What flows must have in common to be trained as one batched model; None for a flow that trains alone."""
        return tuple(self.arguments.values())

    def latent(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """Latent points and log-determinants.

        Parameters
        ----------
        x : Tensor of shape (n, d)

        Returns
        -------
        z : Tensor of shape (n, d)
        log_det : Tensor of shape (n,)
            The logarithm of ``|det dz/dx|``, in nats.
        """
        if self._needs_graph(x):
            log_det = x.new_zeros(x.shape[0])  # not len(x), which an exporter takes for a constant
            for block in self._blocks():
                (x,), block_log_det = block((x,))
                log_det = log_det + block_log_det
            return x, log_det
        self._check(x)
        z = self._new(x)
        log_det = z.new_empty(len(x))
        for rows, own_z, own_log_det in self._tiles().latent(x):
            z[rows], log_det[rows] = own_z, own_log_det
        return z, log_det

    def inverse(self, z: Tensor) -> Tensor:
        """The rows (n, d) whose latent points are ``z`` (n, d)."""
        if self._needs_graph(z):
            for block in reversed(self._blocks()):
                (z,), _ = block((z,), rev=True)
            return z
        self._check(z)
        x = self._new(z)
        for rows, part in self._tiles().inverse(z):
            x[rows] = part
        return x

    def _check(self, x: Tensor) -> None:
        if x.ndim != 2 or x.shape[1] != self.n_features:
            raise ValueError(f"rows of shape {tuple(x.shape)}; this flow takes (n, {self.n_features}).")

    def _new(self, x: Tensor) -> Tensor:
        """As many rows as x has, in the flow's type."""
        return torch.empty_like(x, dtype=next(self.parameters()).dtype, memory_format=torch.contiguous_format)

    def _needs_graph(self, x: Tensor) -> bool:
        return torch.is_grad_enabled() and (x.requires_grad or any(p.requires_grad for p in self.parameters()))

    def _blocks(self) -> list[Block]:
        return cast(list[Block], list(self.blocks))

    def _tiles(self) -> Tiles:
        """Passes through views of the weights, made anew when weights have been loaded, moved or cast."""
        blocks = self._blocks()
        parameters = [parameter for block in blocks for parameter in parameters_of(block)]
        key = [(torch.get_num_threads(), 0)]
        key += [(parameter.data_ptr(), 0) for parameter in parameters]  # in place, they may change
        key += [(block.w_perm.data_ptr(), block.w_perm._version) for block in blocks]
        if self._passes is None or self._key != key:
            self._key, self._passes = key, Tiles(Couplings.of(blocks))
        return self._passes

    def nll(self, x: Tensor) -> Tensor:
        """The paper's negative log-likelihood (n,), in nats, without the constant: what the objectives take.

        Where no gradient is needed it is in float64, if the device has it, and in a flow in float32 a row has the same
        bits whatever rows stand beside it.
        """
        if self._needs_graph(x):
            return negative_log_likelihood(*self.latent(x))
        self._check(x)
        return torch.cat([x.new_empty(0), *self._tiles().nll(x)])

    def log_prob(self, x: Tensor) -> Tensor:
        """Log-density (n,) in nats, constant included; its type is that of `nll`."""
        return -self.nll(x) - 0.5 * self.n_features * LOG_2PI

    @torch.no_grad()
    def sample(self, n_samples: int, seed: int = 0) -> Tensor:
        """Draw rows (n_samples, d) from the flow's density, in its type and on its device."""
        parameter = next(self.parameters())
        generator = torch.Generator().manual_seed(seed)
        z = torch.randn(n_samples, self.n_features, generator=generator, dtype=parameter.dtype)
        return self.inverse(z.to(parameter.device))

    @classmethod
    def from_state(cls, arguments: dict[str, Any], state: dict[str, Tensor]) -> Self:
        """The flow of these ``arguments`` with the weights and permutations of ``state``, a ``state_dict``."""
        flow = super().from_state({**arguments, "permute_soft": False}, state)  # the state brings the rotations
        flow.arguments = dict(arguments)
        return flow
