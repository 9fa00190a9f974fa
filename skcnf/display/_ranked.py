"""Images picked by their score (the paper's figures 4, 6, 7 and 8)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from sklearn.base import BaseEstimator

from skcnf.display._common import check_scores, new_axes

__all__ = ["RankedImagesDisplay"]

_TITLES = {
    "highest_inliers": "inliers, highest scores",
    "highest_anomalies": "anomalies, highest scores",
    "lowest_inliers": "inliers, lowest scores",
    "lowest_anomalies": "anomalies, lowest scores",
}
_GROUPS = ("highest_inliers", "highest_anomalies", "lowest_inliers")
_GAP = 0.35  # between groups, in images


class RankedImagesDisplay:
    """Images of the highest and the lowest scores, a row for each detector or inlier class.

    A detector that has learnt what an inlier is gives its highest scores to typical inliers and its lowest scores to
    odd ones. The anomalies that score highest look like inliers.

    Parameters
    ----------
    rows : dict of str to dict of str to list of ndarray
        For each row, and in it for each group, the images (h, w, 3) or (h, w), the most extreme score first.

    Raises
    ------
    ValueError
        If there is no row, or a row without a group.
    """

    def __init__(self, rows: Mapping[str, Mapping[str, Sequence[np.ndarray]]]) -> None:
        self.rows = {name: dict(groups) for name, groups in rows.items()}
        if not self.rows or not all(self.rows.values()):
            raise ValueError(f"rows must hold at least one row, and each row at least one group; got {self.rows}.")

    @classmethod
    def from_estimator(
        cls, estimator: BaseEstimator, X: Any, y: Any, images: Any = None, *, name: str = "", **options: Any
    ) -> RankedImagesDisplay:
        """Score X by a fitted detector or pipeline, and draw one row.

        Parameters
        ----------
        estimator : detector or Pipeline
        X : what ``estimator.score_samples`` takes
        y : array-like of shape (n,)
            +1 for inliers, -1 for anomalies.
        images : sequence of n images, optional
            The images that X are the features of. By default they are X itself, for a pipeline that takes images.
        name : str, default=""
            The label at the left of the row.
        **options
            ``n, groups, ax`` of `from_rows`.
        """
        images = X if images is None else images
        return cls.from_rows(images, {name: (estimator.score_samples(X), y)}, **options)

    @classmethod
    def from_scores(cls, images: Any, scores: Any, y: Any, *, name: str = "", **options: Any) -> RankedImagesDisplay:
        """Draw one row by scores (n,), higher = more normal; y (n,) is +1 for inliers, -1 for anomalies.

        The images and options are those of `from_rows`; ``name`` stands left of the row.
        """
        return cls.from_rows(images, {name: (scores, y)}, **options)

    @classmethod
    def from_rows(
        cls,
        images: Any,
        rows: Mapping[str, tuple[Any, Any]],
        *,
        n: int = 3,
        groups: Sequence[str] = _GROUPS,
        ax: Any = None,
    ) -> RankedImagesDisplay:
        """Draw several rows, each by scores and kinds of its own for the same images.

        Parameters
        ----------
        images : ndarray of shape (n_images, h, w, 3) or (n_images, h, w), or sequence of such images or of PIL images
            Only the images that are drawn are read.
        rows : dict of str to (scores, y)
            Scores (n_images,), higher = more normal, and +1 for inliers or -1 for anomalies (n_images,).
        n : int, default=3
            The number of images of each group. A group that holds fewer is shown whole.
        groups : sequence of str, default=("highest_inliers", "highest_anomalies", "lowest_inliers")
            The groups from left to right; ``"lowest_anomalies"`` is a fourth. The default is the paper's figure 4. Its
            figures 6, 8 and 7 show one group each, in the order above.

        Raises
        ------
        ValueError
            If a group is unknown, ``n`` is below 1, or scores, y and images differ in number.
        """
        unknown = [group for group in groups if group not in _TITLES]
        if unknown or not groups:
            raise ValueError(f"groups={tuple(groups)} must be one or several of {tuple(_TITLES)}.")
        if n < 1:
            raise ValueError(f"n={n} must be at least 1.")
        return cls({name: _chosen(images, name, *row, groups, n) for name, row in rows.items()}).plot(ax=ax)

    def plot(self, *, ax: Any = None) -> RankedImagesDisplay:
        """Draw on ``ax``, or on a new figure; sets ``ax_`` and ``figure_``."""
        groups = list(dict.fromkeys(group for row in self.rows.values() for group in row))
        widths = [max(1, *(len(row.get(group, ())) for row in self.rows.values())) for group in groups]
        lefts = np.cumsum([0, *(width + _GAP for width in widths)])
        titles = [_title(group, width) for group, width in zip(groups, widths, strict=True)]
        self.ax_ = new_axes(ax, self._figsize(lefts[-1], titles))
        self.figure_ = self.ax_.figure
        for top, row in enumerate(self.rows.values()):
            for group, left in zip(groups, lefts, strict=False):
                for place, image in enumerate(row.get(group, ())):
                    self._draw(np.asarray(image), left + place, top)
        self.ax_.set(xlim=(-0.05, lefts[-1] - _GAP + 0.05), ylim=(len(self.rows) + 0.05, -0.05), aspect="equal")
        self.ax_.set_xticks(lefts[:-1] + np.array(widths) / 2, titles)
        self.ax_.set_yticks(np.arange(len(self.rows)) + 0.5, self.rows)
        self.ax_.tick_params(length=0, labeltop=True, labelbottom=False)
        self.ax_.spines[:].set_visible(False)
        return self

    def _figsize(self, width: float, titles: list[str]) -> tuple[float, float]:
        n_lines = 1 + max(title.count("\n") for title in titles)
        longest = max(len(name) for name in self.rows)
        return 0.62 * width + 0.1 * longest + 0.1, 0.62 * len(self.rows) + 0.17 * n_lines + 0.15

    def _draw(self, image: np.ndarray, left: float, top: float) -> None:
        """Draw an image into the cell one unit wide whose corner is (left, top), and keep its shape."""
        height, width = (side / max(image.shape[:2]) * 0.96 for side in image.shape[:2])
        x, y = left + (1 - width) / 2, top + (1 - height) / 2
        self.ax_.imshow(image, cmap="gray", extent=(x, x + width, y + height, y), interpolation="nearest")


def _chosen(images: Any, name: str, scores: Any, y: Any, groups: Sequence[str], n: int) -> dict[str, list[np.ndarray]]:
    """The images of one row, group by group."""
    scores, y = check_scores(scores, y)
    if len(scores) != len(images):
        raise ValueError(f"row {name!r} has {len(scores)} scores; there are {len(images)} images.")
    return {group: [np.asarray(images[index]) for index in _ranked(scores, y, group)[:n]] for group in groups}


def _title(group: str, width: int) -> str:
    """The title of a group, broken into lines that fit above ``width`` images."""
    title = _TITLES.get(group, group)
    return title if width > 2 else title.replace(", ", ",\n") if width == 2 else title.replace(" ", "\n")


def _ranked(scores: np.ndarray, y: np.ndarray, group: str) -> np.ndarray:
    """Row numbers of a group, the most extreme score first; of equal scores the first row."""
    end, kind = group.split("_")
    rows = np.flatnonzero(y == (1 if kind == "inliers" else -1))
    return rows[np.argsort(scores[rows] if end == "lowest" else -scores[rows], kind="stable")]
