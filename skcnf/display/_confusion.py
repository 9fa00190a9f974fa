"""Which classes are mistaken for which (the paper's table 2)."""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd

from skcnf.display._common import new_axes

__all__ = ["ConfusionDisplay"]

_MEAN_OFFSET = 0.3  # the mean stands apart from the classes by this many cells


class ConfusionDisplay:
    """AUROC of each class as inliers against each other class alone, as a heat map with hard pairs in bold.

    Parameters
    ----------
    auroc : DataFrame
        In per cent; inlier class down, anomaly class across, then a column ``mean``. NaN, as for a class against
        itself, stays empty.
    threshold : float, default=90.0
        Values that are below it, once rounded as printed, are bold.
    """

    def __init__(self, auroc: pd.DataFrame, threshold: float = 90.0) -> None:
        self.auroc, self.threshold = auroc, threshold

    @classmethod
    def from_frame(cls, frame: pd.DataFrame, *, threshold: float = 90.0, ax: Any = None) -> ConfusionDisplay:
        """Draw a table of AUROC in per cent, inlier class down and anomaly class across.

        A column ``mean`` is kept as it is; where there is none the mean of each row is added.

        Raises
        ------
        ValueError
            If the table has no anomaly class, a value is not between 0 and 100, or every value is a share below 1.
        """
        frame = frame.astype(float)
        classes = frame.drop(columns="mean", errors="ignore")
        values = classes.to_numpy()
        values = values[~np.isnan(values)]
        if not len(values) or values.min() < 0 or not 1 < values.max() <= 100:
            got = f"values from {values.min():g} to {values.max():g}" if len(values) else "no value"
            raise ValueError(
                f"frame must hold AUROC in per cent, from 0 to 100, in a column for each anomaly class; got {got}. "
                "Multiply shares by 100."
            )
        mean = frame["mean"] if "mean" in frame else classes.mean(axis=1)
        return cls(classes.assign(mean=mean), threshold).plot(ax=ax)

    def plot(self, *, ax: Any = None, cmap: str = "Blues_r") -> ConfusionDisplay:
        """Draw on ``ax``, or on a new figure; sets ``ax_`` and ``figure_``. ``cmap`` is a colour map of matplotlib."""
        from matplotlib import colormaps

        classes, mean = self.auroc.drop(columns="mean"), self.auroc["mean"]
        (n_rows, n_columns), right = classes.shape, classes.shape[1] + _MEAN_OFFSET
        self.ax_ = new_axes(ax, (0.62 * n_columns + 2.6, 0.42 * n_rows + 1.6))
        self.figure_ = self.ax_.figure
        colours = colormaps[cmap].with_extremes(bad="#D9D9D9")
        scale = {"cmap": colours, "vmin": min(np.nanmin(classes), self.threshold), "vmax": 100, "aspect": "auto"}
        image = self.ax_.imshow(classes, **scale)
        self.ax_.imshow(mean.to_numpy()[:, None], extent=(right - 0.5, right + 0.5, n_rows - 0.5, -0.5), **scale)
        for column, values in [*enumerate(classes.to_numpy().T), (right, mean.to_numpy())]:
            self._print(column, values, image)
        self.ax_.set_xlim(-0.5, right + 0.5)
        self.ax_.set_xticks(
            [*range(n_columns), right], self.auroc.columns, rotation=45, ha="right", rotation_mode="anchor"
        )
        self.ax_.set_yticks(range(n_rows), self.auroc.index)
        self.ax_.tick_params(length=0)
        self.ax_.spines[:].set_visible(False)
        self.ax_.set(xlabel="anomaly class", ylabel="inlier class")
        self.ax_.set_title(f"AUROC in %; bold: below {self.threshold:g}", fontsize="medium")
        return self

    def _print(self, column: float, values: np.ndarray, image: Any) -> None:
        for row, value in enumerate(values):
            if np.isnan(value):
                continue
            red, green, blue, _ = image.to_rgba(value)
            bright = 0.2126 * red + 0.7152 * green + 0.0722 * blue > 0.5
            self.ax_.text(
                column,
                row,
                f"{value:.1f}",
                ha="center",
                va="center",
                color="black" if bright else "white",
                weight="bold" if round(value, 1) < self.threshold else "normal",
            )
