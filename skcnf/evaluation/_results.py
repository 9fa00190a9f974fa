"""Tidy results: rows appended to a CSV file as they come, so that a run that was cut goes on."""

from __future__ import annotations

import csv
import io
import os
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import pandas as pd

from skcnf._core.files import write_atomically

__all__ = ["COLUMNS", "KEY", "ResultLog"]

KEY = ("dataset", "protocol", "features", "detector", "config", "inlier_class", "anomalies", "seed", "engine")
_NUMBERS = ("auroc", "aupr", "fpr95", "fit_seconds", "score_seconds", "n_epochs")
COLUMNS = (*KEY, *_NUMBERS, "error")


class ResultLog:
    """Rows of `COLUMNS`, in memory and, where ``path`` is given, in a CSV file that is read first.

    A last line that was cut off in mid-write is dropped. Rows that record an error do not count as done.

    Parameters
    ----------
    path : path or None
    """

    def __init__(self, path: str | os.PathLike[str] | None = None) -> None:
        self.path = None if path is None else Path(path)
        self._rows: dict[tuple[str, ...], dict[str, Any]] = {}
        if self.path is not None and self.path.exists():
            self._rows = {_key(row): row for row in _read(self.path)}
        if self.path is not None:
            self._rewrite()

    def __contains__(self, key: Mapping[str, Any]) -> bool:
        row = self._rows.get(_key(key))
        return row is not None and not row["error"]

    def extend(self, rows: Iterable[Mapping[str, Any]]) -> None:
        """Add rows, in place of earlier ones of the same key, and write them through to the disk at once."""
        rows = [dict(row) for row in rows]
        replaced = any(_key(row) in self._rows for row in rows)
        self._rows |= {_key(row): row for row in rows}
        if self.path is not None and replaced:
            self._rewrite()
        elif self.path is not None:
            with self.path.open("a", newline="") as file:
                file.write(_csv(rows))
                file.flush()
                os.fsync(file.fileno())

    def table(self, keys: Iterable[Mapping[str, Any]]) -> pd.DataFrame:
        """The rows of these ``keys``, in their order; a column each of `COLUMNS`."""
        table = pd.DataFrame([self._rows[_key(key)] for key in keys], columns=list(COLUMNS))
        return table.astype(dict.fromkeys(_NUMBERS, float))  # an empty one too

    def _rewrite(self) -> None:
        self.path.parent.mkdir(parents=True, exist_ok=True)
        write_atomically(self.path, f"{','.join(COLUMNS)}\n{_csv(self._rows.values())}".encode())


def _csv(rows: Iterable[Mapping[str, Any]]) -> str:
    text = io.StringIO()
    csv.DictWriter(text, COLUMNS, lineterminator="\n").writerows(rows)
    return text.getvalue()


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
    numbers = {name: float(row[name]) for name in _NUMBERS}
    return {**row, "seed": int(row["seed"]), **numbers}
