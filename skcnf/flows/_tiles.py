"""Passes of rows in tiles of few fixed shapes, so that a row's numbers do not depend on what stands beside it.

A matrix product rounds otherwise when its shape changes, since another kernel computes it: in float32 a row would score
differently alone and among others. Here every product has one of two shapes, whatever the number of rows; what is left
of a tile is filled with zeros. Within a shape all columns are computed alike. The narrow shape is for single rows and
remainders. It is used only where it gives the same bits as the wide one, which a flow looks at before its first pass:
processors differ.

In float64 the differences are of no interest, and tiles are as wide as there are rows.
"""

from __future__ import annotations

from collections.abc import Iterator

import torch
from torch import Tensor

from skcnf._core.rows import row_batches
from skcnf._core.threads import in_threads
from skcnf.flows._coupling import Arrays, Couplings, in_rows

__all__ = ["Tiles"]

_NARROW, _WIDE = 16, 256  # on a CPU: among the fastest for one row and, with `_WIDE_DOUBLE`, for many
_WIDE_DOUBLE = 2048
_ON_DEVICE = 8192  # off the CPU, where larger products are the faster ones
_MANY_WEIGHTS = 2**14  # of a block, below which calling operations costs more than the products of a wide tile
_MANY_TILES = 8  # from which on starting threads pays


class Tiles:
    """The passes of one flow.

    Parameters
    ----------
    couplings : Couplings
        Of one flow, F = 1.
    """

    def __init__(self, couplings: Couplings) -> None:
        self.couplings = couplings
        weight = couplings.blocks[0].weight_1
        self.padded = weight.dtype == torch.float32
        self.wide = _ON_DEVICE if weight.device.type != "cpu" else _WIDE if self.padded else _WIDE_DOUBLE
        # Arrays that no pass uses now, by width. Passes of several threads take different ones.
        self._free: dict[int, list[Arrays]] = {}
        self.narrow = self.wide
        n_weights = weight.numel() + couplings.blocks[0].weight_2.numel()
        if self.padded and n_weights >= _MANY_WEIGHTS and self._agree(_NARROW):
            self.narrow = _NARROW

    def latent(self, x: Tensor) -> Iterator[tuple[slice, Tensor, Tensor]]:
        """Which rows of x (n, d), their latent points (n', d) and log-determinants (n',), tile by tile."""
        for rows, width in self._cut(len(x)):
            n_rows, arrays = rows.stop - rows.start, self._take(width)
            columns, log_det = self.couplings.latent(x[rows].unsqueeze(0), arrays)
            yield rows, columns[0].mT[:n_rows], log_det[0, :n_rows]
            self._give(arrays)

    def nll(self, x: Tensor) -> Iterator[Tensor]:
        """The NLL (n',) of the rows x (n, d) in float64 where the device has it, tile by tile.

        The elementwise operations of a tile are too small for several cores: many tiles are shared out among them.
        """
        cuts, n_threads = list(self._cut(len(x))), torch.get_num_threads()
        if self.wide == _WIDE and n_threads > 1 and len(cuts) >= _MANY_TILES:
            yield from in_threads(lambda cut: self._nll(x[cut[0]], cut[1]), cuts, n_threads)
        else:
            yield from (self._nll(x[rows], width) for rows, width in cuts)

    def inverse(self, z: Tensor) -> Iterator[tuple[slice, Tensor]]:
        """Which rows of z (n, d), and those (n', d) that they are the latent points of, tile by tile."""
        for rows, width in self._cut(len(z)):
            arrays = self._take(width)
            yield rows, self.couplings.inverse(z[rows].unsqueeze(0), arrays)[0].mT[: rows.stop - rows.start]
            self._give(arrays)

    def _nll(self, x: Tensor, width: int) -> Tensor:
        arrays = self._take(width)
        z, log_det = self.couplings.latent(x.unsqueeze(0), arrays)
        nll = 0.5 * in_rows(z).square().sum(2) - log_det
        self._give(arrays)
        return nll[0, : len(x)]

    def _cut(self, n_rows: int) -> Iterator[tuple[slice, int]]:
        """Rows that pass together, and the width of their tile."""
        n_narrow = n_rows % self.wide
        if not self.padded:
            yield from ((rows, rows.stop - rows.start) for rows in row_batches(n_rows, self.wide))
            return
        if n_narrow > self.wide // 2:  # a wide tile costs no more
            n_narrow = 0
        n_wide = n_rows - n_narrow
        yield from ((rows, self.wide) for rows in row_batches(n_wide, self.wide))
        for rows in row_batches(n_narrow, self.narrow):
            yield slice(n_wide + rows.start, n_wide + rows.stop), self.narrow

    def _take(self, width: int) -> Arrays:
        try:
            return self._free[width].pop()
        except (KeyError, IndexError):
            with torch.inference_mode(False):  # arrays made in that mode could not be written to outside it
                return Arrays(self.couplings.blocks, width)

    def _give(self, arrays: Arrays) -> None:
        """Let other passes have these arrays; tiles without fixed widths would pile them up."""
        if self.padded:
            self._free.setdefault(arrays.n_rows, []).append(arrays)

    def _agree(self, width: int) -> bool:
        """Whether tiles of this width give the bits of wide ones."""
        n_features = self.couplings.blocks[0].scale.shape[1]
        x = torch.randn(4 * width, n_features, generator=torch.Generator().manual_seed(0), device="cpu")
        x = x.to(self.couplings.blocks[0].weight_1)
        together = self._nll(x, self.wide)
        return torch.equal(torch.cat([self._nll(part, width) for part in x.split(width)]), together)
