"""RealNVP on FrEIA's AllInOneBlock: exact log-densities, sampling, and both directions of the transformation.

Dinh, Sohl-Dickstein and Bengio, "Density estimation using Real NVP", ICLR 2017; the architecture of Schmier, Köthe and
Straehle (Table 6): 8 blocks, subnetworks with one hidden layer of 512 units, affine clamp 3. A coupling flow needs two
features at least; for one there is `LogisticMixtureFlow`, with the same methods.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import torch
from torch import Tensor, nn

from skcnf._core.rows import row_batches
from skcnf.flows import _coupling as coupling
from skcnf.flows._blocks import new_blocks
from skcnf.flows._objectives import LOG_2PI, negative_log_likelihood

__all__ = ["RealNVP"]

_Weights = tuple[list[coupling.Block], list[coupling.Permutation], float, coupling.Arrays]
_TILE = 2048  # rows whose arrays stay in a CPU's cache


class RealNVP(nn.Module):
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
        self.arguments: dict[str, Any] = {
            "n_features": int(n_features),
            "n_blocks": int(n_blocks),
            "hidden_units": int(hidden_units),
            "affine_clamp": float(affine_clamp),
            "permute_soft": bool(permute_soft),
        }

        self.blocks = nn.ModuleList(new_blocks(**self.arguments, seed=seed))
        self.to(torch.empty(0).device)  # torch's default device
        self._permutation_key: list[Any] = []
        self._permutation_list: list[coupling.Permutation] = []

    @property
    def n_features(self) -> int:
        """d, the dimension of the rows."""
        return self.arguments["n_features"]

    def latent(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """Latent points and log-determinants.

        Parameters
        ----------
        x : Tensor of shape (n, d)

        Returns
        -------
        z : Tensor of shape (n, d)
        log_det : Tensor of shape (n,)
            log |det dz/dx|, in nats.
        """
        if self._needs_graph(x):
            log_det = x.new_zeros(len(x))
            for block in self.blocks:
                (x,), block_log_det = block((x,))
                log_det = log_det + block_log_det
            return x, log_det
        z = self._empty_like(x)
        log_det = z.new_empty(len(x))
        for rows, weights in self._tiles(x):
            columns, log_det[rows] = coupling.latent(x[rows].unsqueeze(0), *weights)
            z[rows] = columns.squeeze(0).mT
        return z, log_det

    def inverse(self, z: Tensor) -> Tensor:
        """The rows (n, d) whose latent points are ``z`` (n, d)."""
        if self._needs_graph(z):
            for block in reversed(self.blocks):
                (z,), _ = block((z,), rev=True)
            return z
        x = self._empty_like(z)
        for rows, weights in self._tiles(z):
            x[rows] = coupling.inverse(z[rows].unsqueeze(0), *weights).squeeze(0).mT
        return x

    def _empty_like(self, x: Tensor) -> Tensor:
        """An array for results: as many rows, in the flow's type."""
        if x.ndim != 2 or x.shape[1] != self.n_features:
            raise ValueError(f"rows of shape {tuple(x.shape)}; this flow takes (n, {self.n_features}).")
        return torch.empty_like(x, dtype=next(self.parameters()).dtype, memory_format=torch.contiguous_format)

    def _needs_graph(self, x: Tensor) -> bool:
        return torch.is_grad_enabled() and (x.requires_grad or any(p.requires_grad for p in self.parameters()))

    def _tiles(self, x: Tensor) -> Iterator[tuple[slice, _Weights]]:
        """Rows that pass together, and what they pass through: arrays that all tiles write to, one after the other."""
        blocks, permutations = coupling.blocks_of(self.blocks), self._permutations()
        size, arrays = _TILE if x.device.type == "cpu" else max(1, len(x)), None
        for rows in row_batches(len(x), size):
            n_rows = rows.stop - rows.start
            if arrays is None or arrays.n_rows != n_rows:
                arrays = coupling.Arrays(blocks, n_rows, None if arrays is None else arrays.pool)
            yield rows, (blocks, permutations, self.arguments["affine_clamp"], arrays)

    def _permutations(self) -> list[coupling.Permutation]:
        """Those of the blocks, found anew when weights have been loaded, moved or cast."""
        matrices = [block.w_perm for block in self.blocks]
        key = [(matrix.data_ptr(), matrix._version, matrix.dtype, matrix.device) for matrix in matrices]
        if self._permutation_key != key:
            self._permutation_list = [coupling.Permutation(matrix.detach().unsqueeze(0)) for matrix in matrices]
            self._permutation_key = key
        return self._permutation_list

    def nll(self, x: Tensor) -> Tensor:
        """The paper's negative log-likelihood (n,), in nats, without the constant: what the objectives take."""
        return negative_log_likelihood(*self.latent(x))

    def log_prob(self, x: Tensor) -> Tensor:
        """Log-density (n,) in nats, constant included."""
        return -self.nll(x) - 0.5 * self.n_features * LOG_2PI

    @torch.no_grad()
    def sample(self, n_samples: int, seed: int = 0) -> Tensor:
        """Draw rows (n_samples, d) from the flow's density, in its type and on its device."""
        parameter = next(self.parameters())
        generator = torch.Generator().manual_seed(seed)
        z = torch.randn(n_samples, self.n_features, generator=generator, dtype=parameter.dtype)
        return self.inverse(z.to(parameter.device))

    @classmethod
    def from_state(cls, arguments: dict[str, Any], state: dict[str, Tensor]) -> RealNVP:
        """The flow of these ``arguments`` with the weights and permutations of ``state``, a ``state_dict``."""
        flow = cls(**{**arguments, "permute_soft": False})  # the state brings the permutations: draw cheap ones
        flow.arguments = dict(arguments)
        flow.to(next(iter(state.values())).dtype)
        flow.load_state_dict(state)
        return flow

    def __reduce__(self) -> tuple[Any, ...]:
        state = {name: tensor.cpu() for name, tensor in self.state_dict().items()}
        return RealNVP.from_state, (self.arguments, state)

    def __deepcopy__(self, memo: dict[int, Any]) -> RealNVP:
        copied = RealNVP.from_state(self.arguments, self.state_dict())
        return copied.to(next(self.parameters()).device)
