"""Which differences between detectors are real: paired comparisons over inlier classes."""

from __future__ import annotations

import numpy as np
import pandas as pd
from scipy import stats

from skcnf.evaluation._metrics import LESS_IS_BETTER
from skcnf.evaluation._report import align
from skcnf.evaluation._tables import against_the_rest

__all__ = ["compare_detectors", "format_comparison", "holm"]


def compare_detectors(
    results: pd.DataFrame,
    reference: str = "CF",
    *,
    metric: str = "auroc",
    confidence_level: float = 0.95,
    n_resamples: int = 9999,
    random_state: int = 0,
) -> pd.DataFrame:
    """Compare ``reference`` to every other detector of a tidy table, class by class.

    A pair is an inlier class, each side averaged over its seeds: classes are what a claim should generalise over, and
    seeds of one class are no independent evidence.

    Parameters
    ----------
    results : DataFrame
        The table of `one_vs_rest`; rows of one data set and one kind of anomalies. Where it holds single pairs of
        classes too, only its rows against all other classes count.
    reference : str, default="CF"
        The detector that all others are compared to.
    metric : str, default="auroc"
        The column to compare.
    confidence_level : float, default=0.95
        The level of the bootstrap interval.
    n_resamples : int, default=9999
        The number of bootstrap resamples.
    random_state : int, default=0
        The seed that draws the resamples.

    Returns
    -------
    DataFrame
        A row for each detector: ``difference`` (mean of reference less detector, in points of per cent), ``low`` and
        ``high`` (its bootstrap confidence interval, bias-corrected and accelerated), ``wins`` (classes where the
        reference is ahead), ``n_classes``, ``p`` (two-sided Wilcoxon signed-rank test) and ``p_holm`` (the same after
        Holm's correction for the number of detectors). Interval and p are NaN for fewer than 2 classes. Its ``attrs``
        hold the reference and the level.

    Raises
    ------
    ValueError
        If ``reference`` is no detector of the table, or no other detector has values.
    """
    wide = (
        against_the_rest(results).pivot_table(index="inlier_class", columns="detector", values=metric, sort=False) * 100
    )
    if reference not in wide:
        raise ValueError(f"reference={reference!r} is no detector of the results; choose from {list(wide)}.")
    if wide.shape[1] == 1:
        raise ValueError(
            f"results hold {metric} of reference={reference!r} alone; the column 'error' tells of failed fits."
        )
    rows = {}
    for name in wide.columns.drop(reference):
        differences = (wide[reference] - wide[name]).dropna().to_numpy()
        low, high = _interval(differences, confidence_level, n_resamples, random_state)
        ahead = -differences if metric in LESS_IS_BETTER else differences
        rows[name] = {"difference": differences.mean(), "low": low, "high": high, **_signs(ahead)}
    table = pd.DataFrame.from_dict(rows, orient="index")
    table["p_holm"] = holm(table["p"].to_numpy())
    table.attrs.update(reference=reference, confidence_level=confidence_level)
    return table


def _signs(differences: np.ndarray) -> dict[str, float]:
    """How often the reference is ahead, and the p-value of Wilcoxon's test."""
    testable = len(differences) > 1 and differences.any()
    p = float(stats.wilcoxon(differences).pvalue) if testable else np.nan
    return {"wins": int((differences > 0).sum()), "n_classes": len(differences), "p": p}


def _interval(differences: np.ndarray, confidence_level: float, n_resamples: int, seed: int) -> tuple[float, float]:
    if len(differences) < 2 or np.ptp(differences) == 0:
        return np.nan, np.nan
    result = stats.bootstrap(
        (np.sort(differences),),  # so that the order of the classes moves no digit
        np.mean,
        confidence_level=confidence_level,
        n_resamples=n_resamples,
        method="BCa",
        rng=np.random.default_rng(seed),
    )
    return float(result.confidence_interval.low), float(result.confidence_interval.high)


def holm(p: np.ndarray) -> np.ndarray:
    """Holm's step-down correction of p-values; NaN stay NaN and do not count.

    References
    ----------
    Holm, "A Simple Sequentially Rejective Multiple Test Procedure", Scandinavian Journal of Statistics, 1979.
    """
    p = np.asarray(p, dtype=float)
    corrected = np.full(len(p), np.nan)
    tested = np.flatnonzero(~np.isnan(p))
    order = tested[np.argsort(p[tested], kind="stable")]
    factors = np.arange(len(order), 0, -1)
    corrected[order] = np.minimum(1, np.maximum.accumulate(p[order] * factors))
    return corrected


def format_comparison(comparison: pd.DataFrame) -> str:
    """The table of `compare_detectors` as text."""
    level = f"{100 * comparison.attrs['confidence_level']:g} % interval"
    lines = [[f"{comparison.attrs['reference']} less", "difference", level, "wins", "p (Wilcoxon)", "p (Holm)", ""]]
    for name, row in comparison.iterrows():
        real = "" if np.isnan(row["low"]) else "excludes 0" if row["low"] > 0 or row["high"] < 0 else "includes 0"
        interval = "-" if np.isnan(row["low"]) else f"{row['low']:+.2f} to {row['high']:+.2f}"
        p_values = ["-" if np.isnan(row[p]) else f"{row[p]:.3f}" for p in ("p", "p_holm")]
        wins = f"{row['wins']:.0f} of {row['n_classes']:.0f}"
        lines.append([str(name), f"{row['difference']:+.2f}", interval, wins, *p_values, real])
    return align(lines)
