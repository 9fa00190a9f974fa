"""What a contrastive flow of one feature learns (the paper's figure 3)."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

import numpy as np
import torch

from skcnf.display._common import ACCENT, ANOMALY, GREY, panel_axes
from skcnf.flows import optimal_density
from skcnf.flows._objectives import LOG_2PI

__all__ = ["DifferenceDensityDisplay"]

_LEARNT = "#009E73"  # Okabe and Ito


class DifferenceDensityDisplay:
    r"""Densities p and q, and for each clamp the exact optimum and the density that a flow has learnt.

    The first panel shows the densities of inliers and of auxiliary rows, each further one what the contrastive
    objective makes of them: the normalised positive difference :math:`C (p - q) 1_{p > q}`, the optimum that the
    clamp's floor leaves of it, and the flow's density. Black lines lead from where p = q to where the difference ends.

    Parameters
    ----------
    x : ndarray of shape (n,)
        A regular grid.
    p, q : ndarray of shape (n,)
        Densities of inliers and of auxiliary rows at ``x``.
    optima : dict of float to ndarray of shape (n,)
        The optimal density for each clamp, which is in nats.
    learnt : dict of float to ndarray of shape (n,), optional
        The density of a flow trained with the clamp, for some of the clamps.
    aux_weight : float, default=1.0
        The weight of the auxiliary term in the objective.

    References
    ----------
    Schmier, Köthe and Straehle, "Anomaly Detection using Contrastive Normalizing Flows", figure 3.
    """

    def __init__(
        self,
        x: np.ndarray,
        p: np.ndarray,
        q: np.ndarray,
        optima: Mapping[float, np.ndarray],
        learnt: Mapping[float, np.ndarray] | None = None,
        aux_weight: float = 1.0,
    ) -> None:
        self.x, self.p, self.q = x, p, q
        self.optima, self.learnt, self.aux_weight = dict(optima), dict(learnt or {}), aux_weight

    @classmethod
    def from_densities(
        cls, x: Any, p: Any, q: Any, *, clamps: Iterable[float] = (np.inf,), aux_weight: float = 1.0, ax: Any = None
    ) -> DifferenceDensityDisplay:
        """Draw the optimum for each of the ``clamps``; the arguments are those of `from_flows`."""
        return cls.from_flows(dict.fromkeys(clamps), x, p, q, aux_weight=aux_weight, ax=ax)

    @classmethod
    def from_flows(
        cls,
        flows: Mapping[float, torch.nn.Module | None],
        x: Any,
        p: Any,
        q: Any,
        *,
        aux_weight: float = 1.0,
        legend: bool = True,
        ax: Any = None,
    ) -> DifferenceDensityDisplay:
        """Draw flows trained on samples of p and q beside the optimum that they approach.

        Parameters
        ----------
        flows : dict of float to LogisticMixtureFlow or None
            The keys are the clamps they were trained with, in nats. For None the optimum stands alone.
        x : array-like of shape (n,)
            A regular grid that holds all the mass of p and q.
        p, q : array-like of shape (n,)
            Densities of inliers and of auxiliary rows at ``x``.
        aux_weight : float, default=1.0
            That the flows were trained with.
        legend : bool, default=True
            Right of the last panel.
        ax : array of axes, optional
            One more than there are clamps; the densities compare best where they share the y axis.

        Raises
        ------
        ValueError
            If x is no regular grid, p and q are not densities on it, or there is no clamp.
        """
        x, p, q = _checked(x, p, q)
        if not flows:
            raise ValueError("there is no clamp; give at least one, such as inf.")
        cell = x[1] - x[0]
        optima = {clamp: optimal_density(p, q, cell, clamp=clamp, aux_weight=aux_weight) for clamp in flows}
        learnt = {clamp: _density(flow, x) for clamp, flow in flows.items() if flow is not None}
        return cls(x, p, q, optima, learnt, aux_weight).plot(legend=legend, ax=ax)

    @property
    def total_variation(self) -> dict[float, float]:
        """For each clamp with a flow, the total variation distance between its density and the optimum."""
        return {
            clamp: 0.5 * float(np.abs(density - self.optima[clamp]).sum() * self._cell)
            for clamp, density in self.learnt.items()
        }

    @property
    def normalizer(self) -> float:
        """C, which makes C (p - aux_weight q), where positive, a density."""
        return float(1 / (np.maximum(self.p - self.aux_weight * self.q, 0).sum() * self._cell))

    @property
    def _weighted_q(self) -> str:
        return "q" if self.aux_weight == 1 else f"{self.aux_weight:g} q"

    @property
    def _cell(self) -> float:
        return self.x[1] - self.x[0]

    def plot(self, *, legend: bool = True, ax: Any = None) -> DifferenceDensityDisplay:
        """Draw on ``ax``, an array of one axes more than there are clamps, or on a new figure.

        Sets ``ax_`` (an array) and ``figure_``.
        """
        self.ax_ = panel_axes(ax, len(self.optima) + 1, (3.1, 3.2), 2.0, sharex=True, sharey=True)
        self.figure_ = self.ax_[0].figure
        self._plot_sources(self.ax_[0])
        for axes, clamp in zip(self.ax_[1:], self.optima, strict=True):
            self._plot_optimum(axes, clamp)
        for axes in self.ax_:
            axes.set(xlabel="x", xlim=(self.x[0], self.x[-1]))
            axes.set_ylim(bottom=0)
            axes.spines[["top", "right"]].set_visible(False)
        self.ax_[0].set_ylabel("density")
        self._connect()
        if legend:
            entries = [entry for axes in self.ax_[:2] for entry in zip(*axes.get_legend_handles_labels(), strict=True)]
            self.ax_[-1].legend(*zip(*entries, strict=True), frameon=False, loc="upper left", bbox_to_anchor=(1.0, 1.0))
        return self

    def _plot_sources(self, ax: Any) -> None:
        ax.plot(self.x, self.p, color=ACCENT, label="p, inliers")
        label = f"{self._weighted_q}, auxiliary rows"
        ax.plot(self.x, self.aux_weight * self.q, color=ANOMALY, linestyle=(0, (5, 1.5)), label=label)
        ax.set_title("trained on", fontsize="medium")

    def _plot_optimum(self, ax: Any, clamp: float) -> None:
        difference = self.normalizer * np.maximum(self.p - self.aux_weight * self.q, 0)
        title = f"clamp {clamp:g}"
        ax.fill_between(
            self.x, difference, color=GREY, alpha=0.35, linewidth=0, label=f"difference C (p - {self._weighted_q})"
        )
        if clamp in self.learnt:
            ax.plot(self.x, self.learnt[clamp], color=_LEARNT, linewidth=2.5, label="density of the flow")
            title += f"\nflow to optimum: total variation {self.total_variation[clamp]:.3f}"
        ax.plot(self.x, self.optima[clamp], color="black", linewidth=1, linestyle="--", label="optimum for the clamp")
        floor = np.exp(-clamp - 0.5 * LOG_2PI)
        ax.axhline(floor, color="black", linewidth=0.8, linestyle=":", label="floor")
        ax.set_title(title, fontsize="medium")

    def _connect(self) -> None:
        """Mark in every panel where p = q, and join the marks of the first two."""
        from matplotlib.patches import ConnectionPatch

        for x, height in self._crossings():
            for axes in self.ax_[1:]:
                axes.plot(x, 0, marker="|", color="black", clip_on=False)
            self.ax_[0].plot(x, height, marker=".", color="black")
            line = ConnectionPatch((x, height), (x, 0), "data", "data", axesA=self.ax_[0], axesB=self.ax_[1])
            line.set(color="black", linewidth=0.8, in_layout=False)
            self.figure_.add_artist(line)

    def _crossings(self) -> list[tuple[float, float]]:
        difference = self.p - self.aux_weight * self.q
        visible = self.p > 1e-3 * self.p.max()
        steps = np.flatnonzero(((difference[1:] > 0) != (difference[:-1] > 0)) & visible[1:])
        share = difference[steps] / (difference[steps] - difference[steps + 1])
        places = self.x[steps] + share * self._cell
        return list(zip(places, np.interp(places, self.x, self.p), strict=True))


def _checked(x: Any, p: Any, q: Any) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    x, p, q = (np.asarray(values, dtype=np.float64) for values in (x, p, q))
    steps = np.diff(x) if x.ndim == 1 else np.empty(0)
    if len(steps) < 2 or steps[0] <= 0 or not np.allclose(steps, steps[0], rtol=1e-6):
        raise ValueError(f"x must be a regular, increasing grid of three points at least; got shape {x.shape}.")
    for name, density in (("p", p), ("q", q)):
        if density.shape != x.shape or (density < 0).any() or abs(density.sum() * steps[0] - 1) > 0.01:
            raise ValueError(
                f"{name} must be a density at each point of x, not negative and of mass 1; got shape {density.shape}, "
                f"minimum {density.min():.3g}, mass {density.sum() * steps[0]:.4g}."
            )
    return x, p, q


def _density(flow: Any, x: np.ndarray) -> np.ndarray:
    with torch.no_grad():
        rows = torch.as_tensor(x).unsqueeze(1).to(next(flow.parameters()))
        return flow.log_prob(rows).exp().cpu().double().numpy()
