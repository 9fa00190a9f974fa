"""The rows of ``score``: how one is written, and read back."""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Iterator
from typing import IO, Any, NamedTuple

from skcnf.cli._names import COLUMNS

__all__ = ["Row", "format_rows", "header", "read_rows"]


class Row(NamedTuple):
    """One input and what was decided about it; None where there is nothing to say.

    Attributes
    ----------
    input : str or int
        A path, ``zip!member``, or the number of a row.
    status : {"ok", "unreadable"}
    score, p_value, threshold : float or None
    verdict : {1, -1, None}
    group, error : str or None
    """

    input: str | int
    status: str
    score: float | None = None
    p_value: float | None = None
    threshold: float | None = None
    verdict: int | None = None
    group: str | None = None
    error: str | None = None


def header(as_json: bool) -> str:
    """What stands before the rows."""
    return "" if as_json else ",".join(COLUMNS) + "\n"


def format_rows(rows: list[Row], as_json: bool) -> str:
    """Lines of CSV, or of JSON with the same keys. Floats are written so that reading gives the same number."""
    if as_json:
        return "".join(json.dumps(row._asdict()) + "\n" for row in rows)
    text = io.StringIO()
    plain, quoted = (csv.writer(text, lineterminator="\n", quoting=how) for how in (csv.QUOTE_MINIMAL, csv.QUOTE_ALL))
    for row in rows:  # csv leaves a carriage return unquoted, and readers would end the line there
        (quoted if "\r" in f"{row.input}{row.group}{row.error}" else plain).writerow(row)
    return text.getvalue()


def read_rows(file: IO[str], as_json: bool) -> Iterator[Row]:
    """The rows that `format_rows` wrote."""
    if as_json:
        yield from (Row(**json.loads(line)) for line in file)
        return
    lines = csv.reader(file)
    next(lines)
    for line in lines:
        yield _parsed(line)


_KINDS: tuple[Any, ...] = (str, str, float, float, float, int, str, str)


def _parsed(line: list[str]) -> Row:
    return Row._make(kind(value) if value else None for kind, value in zip(_KINDS, line, strict=True))
