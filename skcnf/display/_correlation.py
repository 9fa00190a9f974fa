"""Correlation between feature vectors (the paper's figure 5)."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from skcnf.display._common import panel_axes

__all__ = ["FeatureCorrelationDisplay"]


class FeatureCorrelationDisplay:
    """Correlation between the feature vectors of images, a panel for each encoder (as the paper's figure 5).

    An encoder that sees little but artefacts of upsampling gives all images like features: its panel is all one colour.
    Under one that tells images apart only the diagonal stands out, and blocks where images are sorted by class.

    Parameters
    ----------
    correlations : dict of str to ndarray of shape (n_images, n_images)
        Pearson's correlation between the rows of the features.
    """

    def __init__(self, correlations: Mapping[str, np.ndarray]) -> None:
        self.correlations = dict(correlations)

    @classmethod
    def from_features(cls, features: Mapping[str, np.ndarray], *, ax: Any = None) -> FeatureCorrelationDisplay:
        """Draw for several encoders' features (n_images, n_features) of the same images, in the same order.

        Raises
        ------
        ValueError
            If the numbers of images differ.
        """
        sizes = {name: np.shape(values) for name, values in features.items()}
        if len({shape[0] for shape in sizes.values()}) != 1 or any(len(shape) != 2 for shape in sizes.values()):
            raise ValueError(f"features must be of shape (n_images, n_features) for the same images; got {sizes}.")
        return cls({name: np.corrcoef(values) for name, values in features.items()}).plot(ax=ax)

    @property
    def mean_correlation(self) -> dict[str, float]:
        """Mean correlation of two different images, for each encoder."""
        return {
            name: float((matrix.sum() - np.trace(matrix)) / (len(matrix) * (len(matrix) - 1)))
            for name, matrix in self.correlations.items()
        }

    def plot(self, *, ax: Any = None) -> FeatureCorrelationDisplay:
        """Draw on ``ax``, an array of as many axes, or on a new figure; sets ``ax_`` and ``figure_``."""
        n_panels = len(self.correlations)
        self.ax_ = panel_axes(ax, n_panels, (3.4, 3.6), margin=0.8)
        self.figure_ = self.ax_[0].figure
        means = self.mean_correlation
        for axes, (name, matrix) in zip(self.ax_, self.correlations.items(), strict=True):
            image = axes.imshow(matrix, vmin=-1, vmax=1, cmap="RdBu_r", interpolation="nearest")
            axes.set_title(f"{name}\nmean of different images {means[name]:.2f}", fontsize="medium")
            axes.set_xlabel("image")
        self.ax_[0].set_ylabel("image")
        self.figure_.colorbar(image, ax=list(self.ax_), label="correlation of features", shrink=0.8)
        return self
