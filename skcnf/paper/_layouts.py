"""How results become a table: the studies of a table, its rows and columns, and the figures that the paper prints."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd

from skcnf.evaluation import ReportTable, add_means, epochs_kept, mean_and_spread

__all__ = ["Layout", "Study", "ablation_lines", "lay_out"]

_QUOTED = Path(__file__).with_name("paper.csv")
_FEATURES = {"moco": "normalised", "moco-raw": "not normalised", "pixels": "pixels", "images": "images"}
_CORNERS = {"{detector}": "detector", "{inlier_class}": "inlier class", "{class_number}": "inlier class"}


@dataclass(frozen=True)
class Study:
    """One call of a protocol.

    Parameters
    ----------
    dataset : str
        The name that `skcnf.datasets.load_image_dataset` takes.
    protocol : {"one-vs-rest", "class-vs-class", "dataset-vs-dataset"}
    detectors : tuple of str
        The names that `make_detectors` takes.
    features : {"moco", "moco-raw", "pixels", "images"}
        The encoder's output at unit norm, the same as the head gives it, the pixels as rows of numbers, or images, for
        detectors that train an encoder of their own: these run on request alone.
    pairs : bool
        Whether one-vs-rest also reports each other class alone.
    anomalies : tuple of str
        The data sets that dataset-vs-dataset takes as anomalies.
    n_aux, n_inliers : int or None
        Keep only this many auxiliary rows, and training rows of each class.
    anomaly_share : float
        The share of anomalies that are hidden among the inliers.
    anomaly_kind : {"test", "auxiliary"}
        Where these anomalies are from; see `add_anomalies`.
    aux : {"tiny-imagenet", "celeba", "noise", "other classes"}
        What the auxiliary images are; the first are bundled.
    variant : str
        What the labels of rows say of these changes.
    """

    dataset: str
    protocol: str
    detectors: tuple[str, ...]
    features: str = "moco"
    pairs: bool = False
    anomalies: tuple[str, ...] = ()
    n_aux: int | None = None
    n_inliers: int | None = None
    anomaly_share: float = 0.0
    anomaly_kind: str = "test"
    aux: str = "tiny-imagenet"
    variant: str = ""


@dataclass(frozen=True)
class Layout:
    """How results become a table.

    Parameters
    ----------
    caption : str
    studies : tuple of Study
    rows, columns : tuple of str
        Their labels, in order; without ``rows`` those of the results. Rows of the paper that no study yields, such as
        CSI's, are quoted.
    row, column : str
        Formats of the labels over the columns of the results.
    mean : {"columns", "rows", ""}
        Whether a last column or row averages the others.
    best : str
        What to mark; see `ReportTable`.
    number : int or None
        The number of the table in the paper.
    groups : mapping of str to tuple of str, optional
        Further columns: means over some columns.
    epochs : bool
        Whether a last column tells the number of epochs.
    notes : tuple of str
        Lines below the table.
    lines : mapping of str to mapping, optional
        The lines of an ablation's figure: for each its points, from a number or name to the label of a row.
    axis : str
        What these numbers or names are.
    """

    caption: str
    studies: tuple[Study, ...]
    rows: tuple[str, ...] = ()
    columns: tuple[str, ...] = ()
    row: str = "{detector}"
    column: str = "{inlier_class}"
    mean: str = ""
    best: str = "column"
    number: int | None = None
    groups: Mapping[str, tuple[str, ...]] | None = None
    epochs: bool = False
    notes: tuple[str, ...] = ()
    lines: Mapping[str, Mapping[float | str, str]] | None = None
    axis: str = ""


def lay_out(layout: Layout, results: pd.DataFrame, notes: Iterable[str] = ()) -> ReportTable:
    """The table of tidy ``results``, with the paper's figures.

    Parameters
    ----------
    layout : Layout
    results : DataFrame
        The results of all studies, with the columns ``class_number`` (of the inlier class) and ``variant`` beside a
        protocol's.
    notes : iterable of str
        Lines below the table, after those of the layout.
    """
    by_seed, rows = _by_seed(layout, results)
    mean, std = mean_and_spread(by_seed, rows)
    paper, paper_std = (_quoted(layout.number, name, mean) for name in ("mean", "std"))
    ran = mean.index.isin(by_seed.index.get_level_values("row"))  # a row of failures alone stays
    kept = ran | paper.notna().any(axis=1), mean.notna().any() | paper.notna().any()
    return ReportTable(
        caption=layout.caption,
        mean=mean.loc[kept],
        std=std.loc[kept],
        paper=paper.loc[kept],
        paper_std=paper_std.loc[kept],
        best=layout.best,
        notes=[*layout.notes, *notes],
        corner=_CORNERS.get(layout.row, ""),
        epochs=epochs_kept(results) if layout.epochs and results["n_epochs"].notna().any() else None,
    )


def ablation_lines(layout: Layout, table: ReportTable) -> tuple[pd.DataFrame, pd.DataFrame]:
    """The points of an ablation's figure: mean AUROC over the classes of the table, and its spread over seeds.

    Both have the varied values down and the lines across; the spread is NaN where not all classes were run.
    """
    classes = [name for name in layout.columns if name in table.mean]
    mean = table.mean[classes].mean(axis=1, skipna=False)
    std = table.std["mean"] if "mean" in table.std else mean * np.nan
    points = {name: pd.Series(rows, dtype=object) for name, rows in (layout.lines or {}).items()}
    frames = [{name: rows.map(values).astype(float) for name, rows in points.items()} for values in (mean, std)]
    return pd.DataFrame(frames[0]), pd.DataFrame(frames[1])


def _by_seed(layout: Layout, results: pd.DataFrame) -> tuple[pd.DataFrame, list[str]]:
    """AUROC in per cent, a line for each (row, seed), with the means that the layout asks for; and the rows' labels."""
    labels = {"row": _labels(layout.row, results), "column": _labels(layout.column, results)}
    long = pd.DataFrame({**labels, "seed": results["seed"], "value": results["auroc"] * 100})
    # without what failed a mean would be over other classes, which could not be compared
    by_seed = long.groupby(["row", "column", "seed"], sort=False)["value"].agg(_mean_of_all).unstack("column")
    by_seed = by_seed.reindex(columns=list(layout.columns))
    rows = list(layout.rows or dict.fromkeys(long["row"]))
    if layout.mean == "columns":
        by_seed = add_means(by_seed, layout.groups)
    if layout.mean == "rows":
        overall = pd.concat({"mean": by_seed.groupby("seed").agg(_mean_of_all)}, names=["row"])
        return pd.concat([by_seed, overall]), [*rows, "mean"]
    return by_seed, rows


def _mean_of_all(values: pd.Series) -> float:
    """The mean, or NaN where a value is missing."""
    return values.mean(skipna=False)


def _labels(template: str, results: pd.DataFrame) -> list[str]:
    shown = results.assign(features=results["features"].map(_FEATURES))
    shown["anomalies"] = shown["anomalies"].replace("rest", "mean")  # the mean over anomaly classes of equal size
    shown["dataset"] = shown["dataset"].str.removesuffix(" superclasses")
    make: Callable[..., str] = template.format
    return [make(**row) for row in shown.to_dict("records")]


def quoted_cells(number: int | None) -> pd.DataFrame:
    """The figures that the paper prints in one table, a line for each: ``row, column, mean, std``."""
    quoted = pd.read_csv(_QUOTED, dtype={"row": str, "column": str})
    return quoted[quoted["table"] == number]


def _quoted(number: int | None, value: str, like: pd.DataFrame) -> pd.DataFrame:
    """The paper's figures of one table, in the shape of ``like``."""
    quoted = quoted_cells(number).pivot_table(index="row", columns="column", values=value, dropna=False)
    return quoted.reindex(index=like.index, columns=like.columns).astype(np.float64)
