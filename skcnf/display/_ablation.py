"""What one choice does to the AUROC of several detectors."""

from __future__ import annotations

import textwrap
from typing import Any

import numpy as np
import pandas as pd

from skcnf.display._common import ACCENT, MUTED, new_axes

__all__ = ["AblationDisplay"]

_LOG_RANGE = 30.0  # axes whose positive values span more than this factor are logarithmic
_MARKERS = "os^Dv<>PX"
_WIDTH = 0.6  # of the detectors beside each other over a name
_LABEL_LENGTH = 13  # letters of a name on one line


class AblationDisplay:
    """Mean AUROC of each detector over the values of one choice: a line for each, its bars the spread over seeds.

    Numbers stand on an axis, which is logarithmic where they span more than a factor of 30. Names stand side by side,
    and so do the detectors over each name.

    Parameters
    ----------
    mean : DataFrame
        In per cent; the values of the choice down (numbers or names), the detectors across. NaN, where a detector was
        not run with a value, is left out, and so is a detector without any.
    std : DataFrame, optional
        Standard deviations of the same shape.
    label : str, default=""
        What the values are.
    """

    def __init__(self, mean: pd.DataFrame, std: pd.DataFrame | None = None, label: str = "") -> None:
        self.mean, self.std, self.label = mean, std, label

    @classmethod
    def from_frame(
        cls, mean: pd.DataFrame, std: pd.DataFrame | None = None, *, label: str = "", ax: Any = None
    ) -> AblationDisplay:
        """Draw mean AUROC in per cent, with standard deviations where there are any.

        Raises
        ------
        ValueError
            If ``mean`` holds no value, or ``std`` has other rows or columns.

        Examples
        --------
        >>> import pandas as pd
        >>> from skcnf.display import AblationDisplay
        >>> mean = pd.DataFrame({"CF": [80.0, 85.0], "Flow": [82.0, 82.0]}, index=[100, 30_000])
        >>> AblationDisplay.from_frame(mean, label="auxiliary rows").ax_.get_xscale()
        'log'
        """
        if not mean.notna().any(axis=None):
            raise ValueError(f"mean must hold at least one value; got a frame of shape {mean.shape} without any.")
        if std is not None and not (std.index.equals(mean.index) and std.columns.equals(mean.columns)):
            raise ValueError(f"std must have the rows and columns of mean; got {std.shape} and {mean.shape}.")
        return cls(mean, std, label).plot(ax=ax)

    def plot(self, *, ax: Any = None) -> AblationDisplay:
        """Draw on ``ax``, or on a new figure; sets ``ax_`` and ``figure_``."""
        self.ax_ = new_axes(ax, (6.4, 3.8))
        self.figure_ = self.ax_.figure
        numeric = pd.api.types.is_numeric_dtype(self.mean.index)
        x = self.mean.index.to_numpy(dtype=float) if numeric else np.arange(len(self.mean), dtype=float)
        drawn = [number for number in range(self.mean.shape[1]) if self.mean.iloc[:, number].notna().any()]
        for place, number in enumerate(drawn):
            shift = 0.0 if numeric else _WIDTH * ((place + 0.5) / len(drawn) - 0.5)
            self._draw(number, str(self.mean.columns[number]), x + shift, "-" if numeric else "none")
        if numeric:
            self._scale(x)
        else:
            self.ax_.set_xticks(x, [textwrap.fill(str(value), _LABEL_LENGTH) for value in self.mean.index])
            self.ax_.set_xlim(-0.5, len(x) - 0.5)
        self.ax_.set(xlabel=self.label, ylabel="mean AUROC in %")
        self.ax_.grid(alpha=0.3)
        self.ax_.spines[["top", "right"]].set_visible(False)
        self.ax_.legend(loc="upper left", bbox_to_anchor=(1.0, 1.0), frameon=False)
        return self

    def _draw(self, number: int, name: str, x: np.ndarray, line: str) -> None:
        mean = self.mean.iloc[:, number].to_numpy(dtype=float)
        std = np.zeros(len(mean)) if self.std is None else np.nan_to_num(self.std.iloc[:, number].to_numpy(dtype=float))
        there = ~np.isnan(mean)
        style = {"color": ([ACCENT, *MUTED])[number % (1 + len(MUTED))], "marker": _MARKERS[number % len(_MARKERS)]}
        self.ax_.errorbar(x[there], mean[there], std[there], label=name, linestyle=line, capsize=3, **style)

    def _scale(self, x: np.ndarray) -> None:
        positive = x[x > 0]
        if len(positive) and positive.max() > _LOG_RANGE * positive.min():
            if x.min() > 0:
                self.ax_.set_xscale("log")
            else:
                self.ax_.set_xscale("symlog", linthresh=positive.min())
        self.ax_.set_xticks(x, [f"{value:,g}" for value in x])
        self.ax_.minorticks_off()
