"""Verdicts over all rows of a run, at a false discovery rate."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from typing import Any

import numpy as np

from skcnf.cli._rows import Row
from skcnf.detectors._calibration import discoveries, rank_of

__all__ = ["selected_rows"]


def selected_rows(rows: Callable[[], Iterable[Row]], detector: Any, fdr: float) -> Iterator[Row]:
    """The rows with thresholds and verdicts, in their order.

    Parameters
    ----------
    rows : callable
        Gives them anew at every call: they are read twice, since they may not fit in memory.
    detector : estimator
        With ``calibration_scores_``.
    fdr : float

    Notes
    -----
    The threshold is that of the largest p-value that is selected: a row is an anomaly exactly where its score lies
    below. It is empty where none is.
    """
    calibration = detector._calibration().by_group() or {None: detector.calibration_scores_}
    p = np.fromiter((row.p_value for row in rows() if row.p_value is not None), np.float64)
    if not len(p):
        yield from rows()
        return
    detector._warn_of_selection(len(p), fdr)
    selected = discoveries(p, fdr)
    cut = float(p[selected].max()) if selected.any() else 0.0
    for row in rows():
        if row.p_value is not None:
            threshold = _threshold(calibration[row.group], cut)
            row = row._replace(threshold=threshold, verdict=-1 if row.p_value <= cut else 1)
        yield row


def _threshold(scores: np.ndarray, p: float) -> float | None:
    """The score below which a p-value is at most ``p``; None where none is, or every one."""
    rank = rank_of(len(scores), p)
    return float(scores[rank - 1]) if 1 <= rank <= len(scores) else None
