"""Values that lie so far from the rest of their feature that they alone decide its mean and scale."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from skcnf._core.rows import LazyRows, row_batches

__all__ = ["Extreme", "feature_ranges", "find_extreme"]

# A value so many times further from the median than 90% of the rows are apart: among n rows its share of the
# feature's variance is about 1 - n / _FAR**2. Of 10^4 rows of a Cauchy distribution one in 20 has such a value.
_FAR = 1e4
_FEWEST_ROWS = 10  # fewer do not tell how far rows are apart
_SAMPLE = 2_000
_READING_BATCH = 65_536


@dataclass(frozen=True)
class Extreme:
    """The value that is furthest out.

    Parameters
    ----------
    row, feature : int
        Its place.
    times : float
        Its distance from the feature's median, in units of the range that holds 90% of the rows.
    n_others : int
        Values of the same feature that are too far out as well.
    """

    row: int
    feature: int
    times: float
    n_others: int

    def describe(self) -> str:
        """What the value does, and what to do about it."""
        others = f" ({self.n_others} more rows are too far out as well)" if self.n_others else ""
        return (
            f"{self.times:.0e} times as far from the median as 90% of the rows lie apart{others}. Such a value decides "
            "the mean and the scale of its feature alone, and scores may tell no rows apart. Remove the row if it is "
            "an error; else transform the feature, e.g. with a QuantileTransformer"
        )


def feature_ranges(X: np.ndarray | LazyRows) -> tuple[np.ndarray, np.ndarray]:
    """Smallest and largest value (d,) of each feature of X (n, d), read once; NaN where a feature holds NaN."""
    parts = (X[part] for part in row_batches(len(X), _READING_BATCH))
    ranges = [(part.min(axis=0), part.max(axis=0)) for part in parts]
    lowest, highest = (np.stack(values).astype(np.float64) for values in zip(*ranges, strict=True))
    return lowest.min(axis=0), highest.max(axis=0)


def find_extreme(X: np.ndarray | LazyRows, lowest: np.ndarray, highest: np.ndarray) -> Extreme | None:
    """The value of finite rows X (n, d) that is furthest out by the measure above, where one is too far out.

    A feature that is constant but for a few rows is measured by the spread of the widest feature: rare values are no
    fault as long as they stay in its range.
    """
    if len(X) < _FEWEST_ROWS:
        return None
    sample = np.sort(X[:: -(-len(X) // _SAMPLE)].T.astype(np.float64))
    n_cut = -(-len(sample[0]) // 20)  # 5% at each end, at least the outermost value: it is the suspect
    middle, spread = sample[:, len(sample[0]) // 2], sample[:, -1 - n_cut] - sample[:, n_cut]
    spread = np.where(spread > 0, spread, spread.max())
    distance = np.maximum(highest - middle, middle - lowest)
    times = np.divide(distance, spread, out=np.zeros_like(distance), where=spread > 0)
    feature = int(np.argmax(times))
    if times[feature] <= _FAR:
        return None
    away = np.abs(X[:, feature].astype(np.float64) - middle[feature])
    row = int(np.argmax(away))
    n_others = int(np.count_nonzero(away > _FAR * spread[feature])) - 1
    return Extreme(row, feature, float(times[feature]), n_others)
