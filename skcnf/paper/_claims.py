"""The paper's claims, each measured on the tables of the paper and on this project's, and whether it holds."""

from __future__ import annotations

import csv
import io
import os
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd

from skcnf.evaluation import align, compare_detectors
from skcnf.paper._layouts import quoted_cells

__all__ = ["CLAIMS", "Claim", "check_claims", "claims_to_csv", "claims_to_text"]

_FEWEST_CLASSES = 5  # a bootstrap over fewer says nothing


@dataclass(frozen=True)
class Claim:
    """A claim about one table.

    Parameters
    ----------
    text : str
        What is claimed, and what its number is.
    table : int
        The table's number.
    measure : callable
        From a table, rows down and columns across, to the claim's number; NaN where a cell is missing.
    low, high : float
        The claim holds for numbers between these.
    rival : str
        The row that CF is compared to. The claim holds if the bootstrap interval of the difference over classes lies
        above 0, and is open if it holds 0. Where there are too few classes for one, the claim is open if the two differ
        by less than their standard deviations over seeds together.
    column : str
        Where it is compared.
    spread : bool
        Whether the claim is about the standard deviations of the table.
    """

    text: str
    table: int
    measure: Callable[[pd.DataFrame], float]
    low: float = 0.0
    high: float = np.inf
    rival: str = ""
    column: str = "mean"
    spread: bool = False


def _cell(table: pd.DataFrame, row: str, column: str) -> float:
    return float(table.at[row, column]) if row in table.index and column in table.columns else np.nan


def _less(row: str, other: str, column: str = "mean") -> Callable[[pd.DataFrame], float]:
    """The difference of two rows in a column."""
    return lambda table: _cell(table, row, column) - _cell(table, other, column)


def _leads(number: int, of: str, rivals: tuple[str, ...], column: str = "mean") -> list[Claim]:
    return [
        Claim(f"CF is above {rival} on {of}", number, _less("CF", rival, column), rival=rival, column=column)
        for rival in rivals
    ]


def _gain(dataset: str, detector: str) -> Callable[[pd.DataFrame], float]:
    """What normalisation of the features adds."""
    return lambda table: (
        _cell(table, dataset, f"normalised, {detector}") - _cell(table, dataset, f"not normalised, {detector}")
    )


def _gain_of_mse_over_cf(dataset: str) -> Callable[[pd.DataFrame], float]:
    return lambda table: _gain(dataset, "MSE")(table) - _gain(dataset, "CF")(table)


def _best_on_pixels(table: pd.DataFrame) -> float:
    return float(table["pixels"].max()) if "pixels" in table else np.nan


def _ratio_of_spreads(table: pd.DataFrame) -> float:
    """The mean standard deviation of Flow-ratio over that of CF, over classes."""
    classes = table.drop(index="mean", errors="ignore")
    if not {"CF", "Flow-ratio"} <= set(classes) or not classes[["CF", "Flow-ratio"]].notna().all(axis=None):
        return np.nan
    return float(classes["Flow-ratio"].mean() / classes["CF"].mean())


_RIVALS = ("OE", "Flow", "Flow-ratio", "MSE", "MSE-ratio", "KNN")
CLAIMS: tuple[Claim, ...] = (
    *_leads(1, "CIFAR-10", (*_RIVALS, "PCA", "KDE", "GOAD", "Rot+Trans", "CSI")),
    *_leads(3, "CIFAR-10 against CIFAR-100", ("OE", "Flow", "Flow-ratio", "MSE", "MSE-ratio"), "CIFAR-100"),
    *_leads(4, "CIFAR-100's superclasses", (*_RIVALS, "PCA", "KDE", "CSI")),
    *_leads(5, "CelebA by gender", ("OE", "Flow", "Flow-ratio", "KNN", "CSI")),
    Claim("MSE-ratio is below MSE on CIFAR-10", 1, _less("MSE", "MSE-ratio")),
    Claim("pixels are near chance: the best of pyod's detectors is at most 65", 7, _best_on_pixels, 50.0, 65.0),
    Claim("normalisation adds to MSE on CIFAR-10", 11, _gain("CIFAR-10", "MSE")),
    Claim("normalisation adds more to MSE than to CF on CIFAR-10", 11, _gain_of_mse_over_cf("CIFAR-10")),
    Claim("normalisation adds more to MSE than to CF on CIFAR-100", 11, _gain_of_mse_over_cf("CIFAR-100")),
    Claim("Flow-ratio spreads more over seeds than CF on CIFAR-10 (ratio)", 12, _ratio_of_spreads, 1.0, spread=True),
    Claim("Flow-ratio spreads more over seeds than CF on CIFAR-100 (ratio)", 13, _ratio_of_spreads, 1.0, spread=True),
)


def check_claims(folder: str | os.PathLike[str]) -> pd.DataFrame:
    """Compute every claim's number from the files ``tableN.csv`` that the benchmark has written to a folder.

    Parameters
    ----------
    folder : path
        The output of ``skcnf benchmark --table N``. Claims about a table that is not there are "not measured".

    Returns
    -------
    DataFrame
        A row per claim: ``claim``, ``table``, ``paper`` and ``ours`` (the claim's number: a difference in points of
        per cent unless the claim says otherwise; NaN where it was not measured), ``low`` and ``high`` (the bootstrap
        interval of ours over classes, where there is one) and ``holds``: "yes", "no", "open" or "not measured".

    Raises
    ------
    ValueError
        If the folder holds no such file, or one is no table of the benchmark (naming it).
    """
    tables = {number: _read(Path(folder) / f"table{number}.csv") for number in {claim.table for claim in CLAIMS}}
    if all(table is None for table in tables.values()):
        raise ValueError(f"'{folder}' holds none of {[f'table{n}.csv' for n in sorted(tables)]}; run --table N first.")
    return pd.DataFrame([_checked(claim, tables[claim.table]) for claim in CLAIMS])


def _read(path: Path) -> pd.DataFrame | None:
    if not path.exists():
        return None
    cells = pd.read_csv(path, dtype={"row": str, "column": str})
    missing = {"row", "column", "mean", "std"} - set(cells)
    if missing:
        raise ValueError(f"'{path}' is no table of the benchmark: it has no columns {sorted(missing)}.")
    return cells


def _checked(claim: Claim, cells: pd.DataFrame | None) -> dict[str, object]:
    value = "std" if claim.spread else "mean"
    paper = claim.measure(_wide(quoted_cells(claim.table), value))
    ours, low, high, noise = np.nan, np.nan, np.nan, 0.0
    if cells is not None:
        ours = claim.measure(_wide(cells, value))
        if claim.rival and not np.isnan(ours):
            low, high = _interval(_wide(cells, "mean"), claim.rival)
            noise = _noise(_wide(cells, "std"), claim)
    numbers = {"paper": paper, "ours": ours, "low": low, "high": high}
    return {"claim": claim.text, "table": claim.table, **numbers, "holds": _holds(claim, ours, low, high, noise)}


def _wide(cells: pd.DataFrame, value: str) -> pd.DataFrame:
    return cells.pivot(index="row", columns="column", values=value).astype(float)


def _interval(table: pd.DataFrame, rival: str) -> tuple[float, float]:
    """The bootstrap interval, over classes, of CF's lead."""
    classes = table.loc[["CF", rival], [column for column in table if not column.startswith("mean")]].dropna(axis=1)
    if classes.shape[1] < _FEWEST_CLASSES:
        return np.nan, np.nan
    long = classes.div(100).reset_index(names="detector").melt("detector", var_name="inlier_class", value_name="auroc")
    comparison = compare_detectors(long.assign(seed=0)).loc[rival]
    return float(comparison["low"]), float(comparison["high"])


def _noise(spreads: pd.DataFrame, claim: Claim) -> float:
    """The standard deviation over seeds of CF's lead; a detector that no seed changes has none."""
    return float(np.hypot(*np.nan_to_num([_cell(spreads, row, claim.column) for row in ("CF", claim.rival)])))


def _holds(claim: Claim, value: float, low: float, high: float, noise: float) -> str:
    if np.isnan(value):
        return "not measured"
    if not np.isnan(low):
        return "yes" if low > 0 else "no" if high < 0 else "open"
    if abs(value) < noise:
        return "open"
    return "yes" if claim.low < value < claim.high else "no"


def claims_to_text(claims: pd.DataFrame) -> str:
    """The claims as aligned text."""
    lines = [["claim", "table", "paper", "ours", "95 % interval", "holds"]]
    for row in claims.itertuples():
        numbers = ["-" if np.isnan(value) else f"{value:.2f}" for value in (row.paper, row.ours)]
        interval = "-" if np.isnan(row.low) else f"{row.low:+.2f} to {row.high:+.2f}"
        lines.append([row.claim, str(row.table), *numbers, interval, row.holds])
    return align(lines)


def claims_to_csv(claims: pd.DataFrame) -> str:
    """The claims as CSV."""
    text = io.StringIO()
    claims.round(3).to_csv(text, index=False, quoting=csv.QUOTE_MINIMAL, lineterminator="\n")
    return text.getvalue()
