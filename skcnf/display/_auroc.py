"""AUROC of several detectors at a glance."""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd

from skcnf.display._common import ACCENT, GREY, new_axes

__all__ = ["BenchmarkDisplay"]


class BenchmarkDisplay:
    """AUROC of each detector: a dot a class, a bar for their mean.

    Parameters
    ----------
    auroc : DataFrame
        Detectors down, classes across, and ``mean``; in per cent.
    """

    def __init__(self, auroc: pd.DataFrame) -> None:
        self.auroc = auroc

    @classmethod
    def from_results(cls, results: pd.DataFrame, *, ax: Any = None) -> BenchmarkDisplay:
        """Draw the tidy table of `skcnf.one_vs_rest`."""
        from skcnf.evaluation import auroc_table

        return cls(auroc_table(results)[0]).plot(ax=ax)

    def plot(self, *, ax: Any = None) -> BenchmarkDisplay:
        """Draw on ``ax``, or on a new figure; sets ``ax_`` and ``figure_``. Detectors that failed are left out."""
        table = self.auroc.dropna(subset=["mean"]).sort_values("mean")
        self.ax_ = new_axes(ax, (7, 0.42 * len(table) + 1.2))
        self.figure_ = self.ax_.figure
        for position, (_, row) in enumerate(table.iterrows()):
            classes = row.drop("mean")
            best = round(row["mean"], 1) == round(table["mean"].max(), 1)  # ties share the mark, as in the table
            self.ax_.plot(classes, np.full(len(classes), position), "o", color=GREY, alpha=0.55, markersize=5)
            self.ax_.plot(row["mean"], position, "|", color=ACCENT if best else "black", markersize=18, mew=3)
            self.ax_.annotate(
                f"{row['mean']:.1f}",
                (1.01, position),
                xycoords=("axes fraction", "data"),
                va="center",
                weight="bold" if best else "normal",
                color=ACCENT if best else "black",
            )
        self.ax_.set_yticks(range(len(table)), table.index)
        self.ax_.set_xlabel("AUROC in % (dot: one class as the inliers; bar and number: mean)")
        self.ax_.grid(axis="x", alpha=0.3)
        self.ax_.spines[["top", "right"]].set_visible(False)
        return self
