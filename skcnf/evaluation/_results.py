"""Tidy results: rows appended to a CSV file as they come, so that a run that was cut goes on."""

from __future__ import annotations

import csv
import io
import math
import os
import zlib
from collections.abc import Iterable, Iterator, Mapping
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pandas as pd

from skcnf._core.files import naming, write_atomically
from skcnf._core.locks import output_lock
from skcnf.evaluation._metrics import METRICS

__all__ = ["COLUMNS", "KEY", "ResultLog"]

KEY = ("dataset", "protocol", "features", "detector", "config", "inlier_class", "anomalies", "seed", "engine")
_NUMBERS = (*METRICS, "fit_seconds", "score_seconds", "n_epochs")
_RATES = tuple(METRICS)
COLUMNS = (*KEY, *_NUMBERS, "error")
_CHECKSUM = "checksum"
_FILE_COLUMNS = (*COLUMNS, _CHECKSUM)


class ResultLog:
    """Rows of `COLUMNS`, in memory and, where ``path`` is given, in a CSV file that is read first.

    A context: inside it this run alone writes the file (see `skcnf._core.locks.output_lock`). Each line of the file
    ends in the checksum of what stands before it. A last line that was cut off in mid-write is dropped. Rows that
    record an error do not count as done.

    Parameters
    ----------
    path : path or None

    Raises
    ------
    ValueError
        If the file is none of results, or a line of it is damaged (naming the line).
    """

    def __init__(self, path: str | os.PathLike[str] | None = None) -> None:
        self.path = None if path is None else Path(path)
        self._rows: dict[tuple[str, ...], dict[str, Any]] = {}
        self._scope = ExitStack()
        self._read()

    def __enter__(self) -> ResultLog:
        """Hold the file, read it again, and write it anew.

        Raises
        ------
        OSError
            If the file cannot be written, or another run writes it (naming its process).
        """
        if self.path is None:
            return self
        self.path.parent.mkdir(parents=True, exist_ok=True)
        with self._scope as scope:
            scope.enter_context(output_lock(self.path))
            self._read()
            self._rewrite()
            self._scope = scope.pop_all()
        return self

    def __exit__(self, *_: object) -> None:
        self._scope.close()

    def __contains__(self, key: Mapping[str, Any]) -> bool:
        row = self._rows.get(_key(key))
        return row is not None and not row["error"]

    def extend(self, rows: Iterable[Mapping[str, Any]]) -> None:
        """Add rows, in place of earlier ones of the same key, and write them through to the disk at once."""
        new = {_key(row): dict(row) for row in rows}
        replaced = not self._rows.keys().isdisjoint(new)
        self._rows |= new
        if replaced:
            self._rewrite()
        elif self.path is not None:
            with naming(self.path), self.path.open("a", newline="", encoding="utf-8") as file:
                file.write(_csv(new.values()))
                file.flush()
                os.fsync(file.fileno())

    def table(self, keys: Iterable[Mapping[str, Any]]) -> pd.DataFrame:
        """The rows of these ``keys``, in their order; a column each of `COLUMNS`."""
        table = pd.DataFrame([self._rows[_key(key)] for key in keys], columns=list(COLUMNS))
        return table.astype(dict.fromkeys(_NUMBERS, float))  # an empty one too

    def _read(self) -> None:
        if self.path is not None and self.path.exists():
            self._rows = {_key(row): row for row in _read(self.path)}

    def _rewrite(self) -> None:
        if self.path is not None:
            write_atomically(self.path, f"{','.join(_FILE_COLUMNS)}\n{_csv(self._rows.values())}".encode())


def _csv(rows: Iterable[Mapping[str, Any]]) -> str:
    return "".join(f"{line},{_checksum(line)}\n" for line in map(_line, rows))


def _line(row: Mapping[str, Any]) -> str:
    return ",".join(_field(str(row[name])) for name in COLUMNS)


def _field(text: str) -> str:
    """A field as RFC 4180 asks; the csv module leaves a lone carriage return unquoted, which ends the row there."""
    return '"' + text.replace('"', '""') + '"' if any(mark in text for mark in ',"\r\n') else text


def _checksum(line: str) -> str:
    return f"{zlib.crc32(line.encode()):08x}"


def _key(row: Mapping[str, Any]) -> tuple[str, ...]:
    return tuple(str(row[name]) for name in KEY)


def _read(path: Path) -> Iterator[dict[str, Any]]:
    text = _text(path)
    reader = csv.reader(io.StringIO(text[: text.rfind("\n") + 1], newline=""), strict=True)
    header = _header(reader, path)
    first = reader.line_num + 1
    try:
        for values in reader:
            yield _typed(header, values)
            first = reader.line_num + 1
    except (csv.Error, ValueError) as error:
        if str(error) == "unexpected end of data" and not text.endswith("\n"):
            return  # the write was cut within a name that holds a newline
        lines = f"line {first}" if reader.line_num <= first else f"lines {first} to {reader.line_num}"
        raise ValueError(f"'{path}', {lines}: {error}. Delete what is named to compute it again.") from error


def _header(reader: Any, path: Path) -> tuple[str, ...]:
    """The names of the columns; empty for an empty file."""
    try:
        header = tuple(next(reader, ()))
    except csv.Error as error:
        raise ValueError(f"'{path}' is no result file: its first line is no CSV ({error}).") from error
    if header not in ((), COLUMNS, _FILE_COLUMNS):  # files of version 0.1 have no checksums
        raise ValueError(f"'{path}' is no result file of this version: its columns are {list(header)}.")
    return header


def _text(path: Path) -> str:
    try:
        return path.read_bytes().decode()
    except UnicodeDecodeError as error:
        line = path.read_bytes()[: error.start].count(b"\n") + 1
        raise ValueError(f"'{path}', line {line}: it is no text in UTF-8 ({error.reason}).") from error


def _typed(header: tuple[str, ...], values: list[str]) -> dict[str, Any]:
    if len(values) != len(header):
        raise ValueError(f"{len(values)} values for {len(header)} columns")
    row: dict[str, Any] = dict(zip(header, values, strict=True))
    row |= {name: _number(name, row[name]) for name in _NUMBERS}
    if not row["seed"].isascii() or not row["seed"].isdigit():
        raise ValueError(f"seed={row['seed']!r} is no whole number")
    if row.pop(_CHECKSUM, None) not in (None, _checksum(_line(dict(zip(header, values, strict=True))))):
        raise ValueError("the line does not fit its checksum, so it was altered or damaged")
    return {**row, "seed": int(row["seed"])}


def _number(name: str, text: str) -> float:
    try:
        number = float(text)
    except ValueError:
        raise ValueError(f"{name}={text!r} is no number") from None
    if not math.isnan(number) and not (0 <= number < math.inf and (number <= 1 or name not in _RATES)):
        raise ValueError(f"{name}={text!r} is out of range")
    return number
