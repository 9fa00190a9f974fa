"""What the displays share: colours that colour-blind readers tell apart, new axes, and checks of scores."""

from __future__ import annotations

from typing import Any

import numpy as np

__all__ = ["ACCENT", "ANOMALY", "GREY", "MUTED", "check_scores", "new_axes", "panel_axes"]

ACCENT, GREY, ANOMALY = "#0072B2", "#8C8C8C", "#D55E00"  # Okabe and Ito
# Paul Tol's muted scheme
MUTED = ("#CC6677", "#332288", "#DDCC77", "#117733", "#88CCEE", "#882255", "#44AA99", "#999933", "#AA4499")


def new_axes(ax: Any, figsize: tuple[float, float]) -> Any:
    """``ax`` itself where given, else the axes of a new figure."""
    return new_figure(figsize).subplots() if ax is None else ax


def new_figure(figsize: tuple[float, float]) -> Any:
    """Not pyplot's: a figure that nothing global keeps alive, and no screen is needed."""
    from matplotlib.figure import Figure

    return Figure(figsize=figsize, layout="constrained")


def panel_axes(
    ax: Any,
    n_panels: int,
    panel_size: tuple[float, float],
    margin: float = 0.0,
    n_columns: int | None = None,
    **options: Any,
) -> np.ndarray:
    """An array (n_panels,) of axes: those of ``ax``, or new ones, ``n_columns`` (by default all) in a row.

    Raises
    ------
    ValueError
        If ``ax`` holds more or fewer, or ``n_columns`` is below 1.
    """
    if ax is not None:
        panels = np.atleast_1d(ax).ravel()
        if len(panels) != n_panels:
            raise ValueError(f"ax holds {len(panels)} axes; {n_panels} panels need as many.")
        return panels
    n_columns = min(n_panels if n_columns is None else n_columns, n_panels)
    if n_columns < 1:
        raise ValueError(f"n_columns={n_columns} must be at least 1.")
    n_rows = -(-n_panels // n_columns)
    figure = new_figure((panel_size[0] * n_columns + margin, panel_size[1] * n_rows))
    grid = figure.subplots(n_rows, n_columns, squeeze=False, **options).ravel()
    for unused in grid[n_panels:]:
        unused.remove()
    return grid[:n_panels]


def check_scores(scores: Any, y: Any) -> tuple[np.ndarray, np.ndarray]:
    """Scores (n,) as finite float64 and y (n,) of +1 and -1.

    Raises
    ------
    ValueError
        If either is malformed.
    """
    scores, y = np.asarray(scores, dtype=np.float64), np.asarray(y)
    if scores.ndim != 1 or scores.shape != y.shape or not len(scores):
        raise ValueError(
            f"scores and y must both be of shape (n,), n above 0; got shapes {scores.shape} and {y.shape}."
        )
    if not np.isfinite(scores).all():
        raise ValueError(f"scores holds {(~np.isfinite(scores)).sum()} values that are not finite.")
    if not np.isin(y, (-1, 1)).all():
        raise ValueError(f"y must be +1 for inliers and -1 for anomalies; got {np.unique(y)[:5].tolist()}.")
    return scores, y
