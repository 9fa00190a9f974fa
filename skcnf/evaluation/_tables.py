"""Tables for people: detectors down, classes across, AUROC in per cent."""

from __future__ import annotations

from collections.abc import Sequence

import pandas as pd

__all__ = ["align", "auroc_table", "format_table"]


def auroc_table(results: pd.DataFrame, metric: str = "auroc") -> tuple[pd.DataFrame, pd.DataFrame]:
    """Mean and standard deviation over seeds, in per cent, of a tidy table.

    Returns
    -------
    mean, std : DataFrame
        Detectors down in the order of their first rows, classes across, then ``mean``: of the classes, and the standard
        deviation of that mean over seeds (NaN for a single seed).
    """
    detectors, classes = (list(dict.fromkeys(results[name])) for name in ("detector", "inlier_class"))
    wide = results.pivot_table(index=["detector", "seed"], columns="inlier_class", values=metric)[classes] * 100
    wide["mean"] = wide.mean(axis=1, skipna=False)
    by_detector = wide.groupby(level="detector")
    return by_detector.mean().loc[detectors], by_detector.std().loc[detectors]


def format_table(
    results: pd.DataFrame, *, metric: str = "auroc", groups: dict[str, Sequence[str]] | None = None, bold: bool = False
) -> str:
    """The AUROC table as text: best of each column in bold (or starred), spread over seeds where there are several.

    Parameters
    ----------
    results : DataFrame
        Of `one_vs_rest`.
    metric : str, default="auroc"
    groups : dict of str to sequence of str, optional
        Further columns: means over some classes.
    bold : bool, default=False
        Mark the best by the terminal's bold type instead of a star.
    """
    mean, std = auroc_table(results, metric)
    for name, classes in (groups or {}).items():
        members = results[results["inlier_class"].isin(classes)]
        if set(classes) <= set(mean.columns):
            group_mean, group_std = auroc_table(members, metric)
            mean[name], std[name] = group_mean["mean"], group_std["mean"]
    best = mean.round(1).max() if metric != "fpr95" else mean.round(1).min()
    epochs = results.groupby("detector")["n_epochs"].mean()
    spread = std["mean"].notna().any()
    header = ["detector", *mean.columns, "epochs"]
    lines = [header]
    for name in mean.index:
        cells = [_cell(mean.loc[name, c], std.loc[name, c] if spread else None, best[c], bold) for c in mean.columns]
        lines.append([name, *cells, "-" if pd.isna(epochs[name]) else f"{epochs[name]:.1f}"])
    return align(lines)


def _cell(mean: float, std: float | None, best: float, bold: bool) -> str:
    text = f"{mean:.1f}" if std is None or pd.isna(std) else f"{mean:.1f}±{std:.1f}"
    if round(mean, 1) != best:
        return text
    return f"\033[1m{text}\033[0m" if bold else f"*{text}"


def align(lines: list[list[str]]) -> str:
    """Columns of equal width, the first to the left; a rule below the first line."""

    def length(cell: str) -> int:
        return len(cell.replace("\033[1m", "").replace("\033[0m", ""))

    widths = [max(length(line[column]) for line in lines) for column in range(len(lines[0]))]
    rows = []
    for line in lines:
        cells = [" " * (width - length(cell)) + cell for cell, width in zip(line[1:], widths[1:], strict=True)]
        rows.append("  ".join([line[0].ljust(widths[0]), *cells]).rstrip())
    rows.insert(1, "-" * (sum(widths) + 2 * (len(widths) - 1)))
    return "\n".join(rows)
