"""The rows that ``skcnf score`` writes, read back."""

from __future__ import annotations

import csv
import json
import math
import os
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

__all__ = ["COLUMNS", "ScoredRow", "read_scores"]

COLUMNS = ("input", "status", "score", "p_value", "threshold", "verdict", "group", "error")
_STATUSES = ("ok", "unreadable")


@dataclass(frozen=True)
class ScoredRow:
    """One input and what was decided about it.

    Parameters
    ----------
    input : str
        A path, ``zip!member``, or the number of a row.
    status : {"ok", "unreadable"}
    score, p_value, threshold : float
        NaN where there is none. Higher scores are more normal.
    verdict : {1, -1, None}
        -1 is an anomaly; None where the input was unreadable.
    group : str
        Empty without groups.
    error : str
        Why the input was unreadable.
    """

    input: str
    status: str = "ok"
    score: float = math.nan
    p_value: float = math.nan
    threshold: float = math.nan
    verdict: int | None = None
    group: str = ""
    error: str = ""

    @property
    def flagged(self) -> bool:
        """Whether the verdict is "anomaly"."""
        return self.verdict == -1


def read_scores(path: str | os.PathLike[str]) -> list[ScoredRow]:
    """Read the file that ``skcnf score`` wrote, CSV or JSON lines, in the order of its rows.

    Raises
    ------
    ValueError
        If the file is neither, or a value is malformed; the message names the file and the line.
    OSError
        If the file cannot be opened.
    """
    rows = []
    with Path(path).open(encoding="utf-8", errors="surrogateescape", newline="") as file:
        first = file.read(1)
        file.seek(0)
        records = _json_records(file) if first == "{" else _csv_records(file)
        try:
            for line, record in records:
                rows.append(_row(record, line))
        except (ValueError, csv.Error) as error:
            raise ValueError(f"'{path}' is not a file of 'skcnf score': {error}") from error
    return rows


def _csv_records(file: Any) -> Iterator[tuple[int, Mapping[str, Any]]]:
    reader = csv.DictReader(file, strict=True)
    if tuple(reader.fieldnames or ()) != COLUMNS:
        raise ValueError(f"its first line is not '{','.join(COLUMNS)}'.")
    for record in reader:
        if None in record or None in record.values():
            raise ValueError(f"line {reader.line_num} has not {len(COLUMNS)} values.")
        yield reader.line_num, record


def _json_records(file: Any) -> Iterator[tuple[int, Mapping[str, Any]]]:
    for number, line in enumerate(file, 1):
        record = json.loads(line)
        if not isinstance(record, dict) or set(record) != set(COLUMNS):
            raise ValueError(f"line {number} does not hold the keys {', '.join(COLUMNS)}.")
        yield number, record


def _row(record: Mapping[str, Any], line: int) -> ScoredRow:
    if record["status"] not in _STATUSES:
        raise ValueError(f"line {line}: status={record['status']!r} is not one of {list(_STATUSES)}.")
    score, p_value, threshold = (_number(record[name], name, line) for name in ("score", "p_value", "threshold"))
    name, group, error = (str(record[column] or "") for column in ("input", "group", "error"))
    verdict = _verdict(record["verdict"], line)
    return ScoredRow(name, record["status"], score, p_value, threshold, verdict, group, error)


def _number(value: Any, name: str, line: int) -> float:
    if value in ("", None):
        return math.nan
    try:
        return float(value)
    except (TypeError, ValueError):
        raise ValueError(f"line {line}: {name}={value!r} is not a number.") from None


def _verdict(value: Any, line: int) -> int | None:
    if value in ("", None):
        return None
    if str(value) not in ("1", "-1"):
        raise ValueError(f"line {line}: verdict={value!r} is neither 1 nor -1.")
    return int(value)
