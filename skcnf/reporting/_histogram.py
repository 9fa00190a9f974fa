"""A histogram of scores as SVG, drawn without matplotlib so that it follows the page's colours and width."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

__all__ = ["histogram_svg"]

_WIDTH, _HEIGHT = 720, 260
_LEFT, _RIGHT, _TOP, _BOTTOM = 46, 12, 26, 40
_N_BINS = 48


@dataclass(frozen=True)
class _Axis:
    """A map from values to pixels."""

    low: float
    high: float
    start: float
    stop: float

    def __call__(self, value: float) -> float:
        return round(self.start + (value - self.low) / (self.high - self.low) * (self.stop - self.start), 2)


def histogram_svg(scores: np.ndarray, threshold: float | None = None, calibration: np.ndarray | None = None) -> str:
    """Draw the share of scores in each bin, the threshold, and the calibration scores as an outline.

    Parameters
    ----------
    scores : ndarray of shape (n,)
        Of the new inputs; n may be 0.
    threshold : float, optional
        A vertical line; bars below it have the colour of anomalies.
    calibration : ndarray of shape (m,), optional
        Scores of held-out inliers.

    Returns
    -------
    str
        An ``svg`` element. Scores far below the others are counted in its first bin, and a note says how many.
    """
    scores = np.asarray(scores, dtype=float)
    scores = scores[np.isfinite(scores)]
    calibration = np.empty(0) if calibration is None else np.asarray(calibration, dtype=float)
    if len(scores) == 0:
        return ""
    low, high = _range(scores, calibration, threshold)
    edges = _edges(low, high, threshold)
    shares, outline = (_shares(values, edges) for values in (scores, calibration))
    top = max(shares.max(), outline.max(initial=0.0)) * 1.08
    x, y = _Axis(low, high, _LEFT, _WIDTH - _RIGHT), _Axis(0, top, _HEIGHT - _BOTTOM, _TOP)
    n_below = int((scores < low).sum())
    parts = [*_ticks(x, y), *_bars(shares, edges, x, y, threshold), _outline(outline, edges, x, y)]
    parts += _threshold_line(threshold, x)
    if n_below:
        plural = "scores lie" if n_below > 1 else "score lies"
        parts.append(f'<text x="{_LEFT + 4}" y="{_TOP - 10}">{n_below} {plural} further left</text>')
    label = f"Histogram of {len(scores)} scores; low scores are anomalous."
    return f'<svg viewBox="0 0 {_WIDTH} {_HEIGHT}" role="img" aria-label="{label}">{"".join(parts)}</svg>'


def _range(scores: np.ndarray, calibration: np.ndarray, threshold: float | None) -> tuple[float, float]:
    """The interval to draw: far outliers to the left must not squeeze everything else."""
    everything = np.concatenate([scores, calibration, [] if threshold is None else [threshold]])
    middle = np.quantile(everything, [0.25, 0.75])
    spread = max(middle[1] - middle[0], 1e-12 * max(1.0, abs(middle[0])))
    low = max(everything.min(), middle[0] - 12 * spread)
    if threshold is not None:
        low = min(low, threshold)
    high = everything.max()
    margin = 0.03 * (high - low) or 1.0
    return float(low - margin), float(high + margin)


def _edges(low: float, high: float, threshold: float | None) -> np.ndarray:
    """Equal bins; the threshold is an edge, so that a bar is on one side of it."""
    edges = np.linspace(low, high, _N_BINS + 1)
    if threshold is None:
        return edges
    width = edges[1] - edges[0]
    shifted = edges + (threshold - edges[np.abs(edges - threshold).argmin()])
    return np.concatenate([[low], shifted[(shifted > low + 0.2 * width) & (shifted < high - 0.2 * width)], [high]])


def _shares(values: np.ndarray, edges: np.ndarray) -> np.ndarray:
    """The share of values a bin of average width; outliers count in the outer bins."""
    if len(values) == 0:
        return np.zeros(len(edges) - 1)
    counts, _ = np.histogram(np.clip(values, edges[0], edges[-1]), edges)
    return counts / len(values) * np.median(np.diff(edges)) / np.diff(edges)


def _bars(shares: np.ndarray, edges: np.ndarray, x: _Axis, y: _Axis, threshold: float | None) -> list[str]:
    bars = []
    for share, left, right in zip(shares, edges[:-1], edges[1:], strict=True):
        if share > 0:
            kind = "low" if threshold is not None and (left + right) / 2 < threshold else "high"
            shape = f'x="{x(left)}" y="{y(share)}" width="{x(right) - x(left):.2f}" height="{y(0) - y(share):.2f}"'
            bars.append(f'<rect class="bar {kind}" {shape}/>')
    return bars


def _outline(shares: np.ndarray, edges: np.ndarray, x: _Axis, y: _Axis) -> str:
    if not shares.any():
        return ""
    points = [f"M{x(edges[0])} {y(0)}"]
    for share, left, right in zip(shares, edges[:-1], edges[1:], strict=True):
        points.append(f"L{x(left)} {y(share)}L{x(right)} {y(share)}")
    return f'<path class="outline" d="{"".join(points)}L{x(edges[-1])} {y(0)}"/>'


def _threshold_line(threshold: float | None, x: _Axis) -> list[str]:
    if threshold is None:
        return []
    position = x(threshold)
    anchor, offset = ("end", -6) if position > _WIDTH / 2 else ("start", 6)
    return [
        f'<line class="threshold" x1="{position}" x2="{position}" y1="{_TOP - 6}" y2="{_HEIGHT - _BOTTOM}"/>',
        f'<text class="threshold-label" x="{position + offset:.2f}" y="{_TOP + 6}" text-anchor="{anchor}">'
        f"threshold {threshold:.4g}</text>",
    ]


def _ticks(x: _Axis, y: _Axis) -> list[str]:
    bottom, parts = _HEIGHT - _BOTTOM, []
    for value in _nice(x.low, x.high, 7):
        parts.append(f'<text x="{x(value)}" y="{bottom + 16}" text-anchor="middle">{value:g}</text>')
    for value in _nice(0, y.high, 4):
        height = y(value)
        parts.append(f'<line class="grid" x1="{_LEFT}" x2="{_WIDTH - _RIGHT}" y1="{height}" y2="{height}"/>')
        parts.append(f'<text x="{_LEFT - 6}" y="{height + 4:.2f}" text-anchor="end">{100 * value:g} %</text>')
    middle = (_LEFT + _WIDTH - _RIGHT) / 2
    parts.append(f'<text x="{middle}" y="{_HEIGHT - 6}" text-anchor="middle">score (higher is more normal)</text>')
    return parts


def _nice(low: float, high: float, n: int) -> list[float]:
    """About n round numbers between low and high."""
    raw = (high - low) / n
    power = 10.0 ** math.floor(math.log10(raw))
    step = next(step for step in (1, 2, 5, 10) if step * power >= raw) * power
    first, last = math.ceil(low / step - 1e-9), math.floor(high / step + 1e-9)
    return [round(number * step, 12) for number in range(first, last + 1)]
