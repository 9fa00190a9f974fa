"""Tidy results become tables: rows down, columns across, AUROC in per cent, mean and spread over seeds."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import pandas as pd

from skcnf.evaluation._metrics import LESS_IS_BETTER
from skcnf.evaluation._report import ReportTable

__all__ = ["add_means", "against_the_rest", "auroc_table", "epochs_kept", "format_table", "mean_and_spread"]


def auroc_table(
    results: pd.DataFrame, metric: str = "auroc", groups: Mapping[str, Sequence[str]] | None = None
) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Mean and standard deviation over seeds, in per cent, of a tidy table.

    Parameters
    ----------
    results : DataFrame
        The table of `one_vs_rest`. Where it holds single pairs of classes too, each class's anomalies are the rest.
    metric : str, default="auroc"
        The column to show.
    groups : mapping of str to sequence of str, optional
        Further columns: means over some classes. A group is left out where a class of it is missing.

    Returns
    -------
    mean, std : DataFrame
        Detectors down in the order of their first rows, classes across, then ``mean`` over the classes and the groups.
        A standard deviation is NaN for a single seed.
    """
    detectors, classes = (list(dict.fromkeys(results[name])) for name in ("detector", "inlier_class"))
    results = against_the_rest(results)
    by_seed = (
        results.groupby(["detector", "seed", "inlier_class"])[metric].mean().unstack().reindex(columns=classes) * 100
    )
    return mean_and_spread(add_means(by_seed, groups), detectors)


def against_the_rest(results: pd.DataFrame) -> pd.DataFrame:
    """The rows of a tidy table whose anomalies are all other classes, where it has any; else all rows."""
    rest = results["anomalies"] == "rest" if "anomalies" in results else pd.Series(False, results.index)
    return results[rest] if rest.any() else results


def add_means(by_seed: pd.DataFrame, groups: Mapping[str, Sequence[str]] | None = None) -> pd.DataFrame:
    """Append a column ``mean`` over all columns, and one for each group whose members are all there.

    A mean is NaN where a value is missing: a mean over other classes could not be compared.
    """
    members = {"mean": list(by_seed.columns), **{name: list(classes) for name, classes in (groups or {}).items()}}
    means = {
        name: by_seed[classes].mean(axis=1, skipna=False)
        for name, classes in members.items()
        if set(classes) <= set(by_seed.columns)
    }
    return by_seed.assign(**means)


def mean_and_spread(by_seed: pd.DataFrame, rows: Sequence[str]) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Mean and standard deviation over seeds of a table with the index (row, seed), for ``rows`` in their order."""
    by_row = by_seed.groupby(level=0)
    return by_row.mean().reindex(rows), by_row.std().reindex(rows)


def epochs_kept(results: pd.DataFrame) -> pd.Series:
    """For each detector, the mean over classes and seeds of the epoch whose weights were kept."""
    return results.groupby("detector")["n_epochs"].mean()


def format_table(
    results: pd.DataFrame,
    *,
    metric: str = "auroc",
    groups: Mapping[str, Sequence[str]] | None = None,
    bold: bool = False,
) -> str:
    """The AUROC table as text: best of each column in bold (or starred), spread over seeds where there are several.

    Parameters
    ----------
    results : DataFrame
        The table of `one_vs_rest`.
    metric : str, default="auroc"
        The column to show.
    groups : mapping of str to sequence of str, optional
        Further columns: means over some classes.
    bold : bool, default=False
        Mark the best by the terminal's bold type instead of a star.
    """
    mean, std = auroc_table(results, metric, groups)
    best = "lowest" if metric in LESS_IS_BETTER else "column"
    return ReportTable("", mean, std, best=best, epochs=epochs_kept(results)).body(bold)
