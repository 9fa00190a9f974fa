"""Tidy results: rows appended to a CSV file as they come, so that a run that was cut goes on."""

from __future__ import annotations

import csv
import os
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import pandas as pd

__all__ = ["COLUMNS", "KEY", "ResultLog"]

KEY = ("dataset", "protocol", "features", "detector", "config", "inlier_class", "seed", "engine")
COLUMNS = (*KEY, "auroc", "aupr", "fpr95", "fit_seconds", "score_seconds", "n_epochs")


class ResultLog:
    """Rows of `COLUMNS`, in memory and, where ``path`` is given, in a CSV file that is read first.

    A last line that was cut off in mid-write is dropped.

    Parameters
    ----------
    path : path or None
    """

    def __init__(self, path: str | os.PathLike[str] | None = None) -> None:
        self.path = None if path is None else Path(path)
        self.rows: list[dict[str, Any]] = []
        if self.path is not None and self.path.exists():
            self.rows = _read(self.path)
        if self.path is not None:
            self._rewrite()

    def __contains__(self, key: Mapping[str, Any]) -> bool:
        wanted = _key(key)
        return any(_key(row) == wanted for row in self.rows)

    def append(self, row: Mapping[str, Any]) -> None:
        """Add a row, and write it through to the disk."""
        self.rows.append(dict(row))
        if self.path is not None:
            with self.path.open("a", newline="") as file:
                csv.DictWriter(file, COLUMNS).writerow(row)
                file.flush()
                os.fsync(file.fileno())

    def table(self, keys: Iterable[Mapping[str, Any]]) -> pd.DataFrame:
        """The rows of these ``keys``, in their order; a column each of `COLUMNS`."""
        by_key = {_key(row): row for row in self.rows}
        return pd.DataFrame([by_key[_key(key)] for key in keys], columns=list(COLUMNS))

    def _rewrite(self) -> None:
        self.path.parent.mkdir(parents=True, exist_ok=True)
        partial = self.path.with_name(self.path.name + ".part")
        with partial.open("w", newline="") as file:
            writer = csv.DictWriter(file, COLUMNS)
            writer.writeheader()
            writer.writerows(self.rows)
        partial.replace(self.path)


def _key(row: Mapping[str, Any]) -> tuple[str, ...]:
    return tuple(str(row[name]) for name in KEY)


def _read(path: Path) -> list[dict[str, Any]]:
    text = path.read_text()
    whole = text[: text.rfind("\n") + 1]
    reader = csv.DictReader(whole.splitlines())
    if reader.fieldnames is not None and tuple(reader.fieldnames) != COLUMNS:
        raise ValueError(f"'{path}' is no result file of this version: its columns are {reader.fieldnames}.")
    return [_typed(row) for row in reader]


def _typed(row: dict[str, str]) -> dict[str, Any]:
    numbers = {name: float(row[name]) for name in COLUMNS[len(KEY) :]}
    return {**row, "seed": int(row["seed"]), **numbers}
