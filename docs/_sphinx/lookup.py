r"""Look figures up in the committed results, so that no page states one that a later run has changed.

A reference names a file below ``docs/results`` and what to find there, with ``|`` between::

    paper/table1.csv | CF | mean                   a cell of a table in per cent, with its spread over seeds
    paper/table1.csv | CF | mean | alone           without the spread
    paper/table1.csv | CF | mean | paper           the paper's figure
    speed.txt | skcnf, the whole run | 2           the second number that follows this text on its line (or on the next
                                                   one, if the text ends its line)
    averaging.txt | Flow: | plain | 1              texts are found one after the other
    speed.txt | FrEIA | 2 | {:.0%}                 the number in this format

Pages use the role ``measured``; the README, which has no roles, is written by ``tools/readme.py``.
"""

from __future__ import annotations

import csv
import re
from collections.abc import Iterator
from pathlib import Path

RESULTS = Path(__file__).parents[1] / "results"
_NUMBER = re.compile(r"[+-]?\d+(?:,\d{3})*(?:\.\d+)?(?:e[+-]?\d+)?")


def measured(reference: str, results: Path = RESULTS) -> str:
    """The figure that ``reference`` names, as text.

    Raises
    ------
    LookupError
        If there is no such file, row, column, text or number; the message says which.
    """
    name, *steps = [part.strip() for part in reference.split("|")]
    path = results / name
    if not path.is_file():
        raise LookupError(f"{reference!r}: there is no file docs/results/{name}")
    if path.suffix == ".csv":
        return _cell(reference, path, *steps)
    return _number_in_text(reference, path.read_text(encoding="utf-8"), steps)


def _cell(reference: str, path: Path, row: str, column: str, what: str = "") -> str:
    if what not in ("", "alone", "paper"):
        raise LookupError(f"{reference!r}: the last part may be 'alone' or 'paper'; got {what!r}")
    for record in read_table(path):
        if (record["row"], record["column"]) == (row, column):
            value = cell_text(record, paper=what == "paper", spread=not what)
            if value:
                return value
    raise LookupError(f"{reference!r}: docs/results/{path.name} has no figure for {row!r} and {column!r}")


def read_table(path: Path) -> list[dict[str, str]]:
    """The records of a table's CSV file."""
    with path.open(encoding="utf-8", newline="") as lines:
        return list(csv.DictReader(lines))


def cell_text(record: dict[str, str], *, paper: bool = False, spread: bool = True) -> str:
    """The figure of one record with one decimal; empty where there is none."""
    mean, std = (record["paper_mean"], "") if paper else (record["mean"], record["std"])
    if not mean:
        return ""
    return f"{float(mean):.1f} ± {float(std):.1f}" if std and spread else f"{float(mean):.1f}"


def _number_in_text(reference: str, text: str, steps: list[str]) -> str:
    form = steps.pop() if steps[-1].startswith("{") else None
    *texts, count = steps
    text, position = re.sub(" +", " ", text), 0  # columns are padded
    for sought in texts:
        found = text.find(sought, position)
        if found < 0:
            raise LookupError(f"{reference!r}: {sought!r} does not follow in the file")
        position = found + len(sought)
    numbers = _NUMBER.findall(text[position:].lstrip().split("\n", 1)[0])
    if not count.isdigit() or not 0 < int(count) <= len(numbers):
        raise LookupError(f"{reference!r}: {len(numbers)} numbers follow on that line: {', '.join(numbers)}")
    number = numbers[int(count) - 1].removeprefix("+")
    return number if form is None else form.format(float(number.replace(",", "")))


def references(text: str) -> Iterator[str]:
    """What stands in the roles ``measured`` of a page."""
    for found in re.finditer(r":measured:`([^`]+)`", text):
        yield " ".join(found.group(1).split())


def result_table(results: Path = RESULTS) -> str:
    """Table 1's means as a table in reStructuredText: a row for each detector, the comparison with CF, the paper's."""
    table = {}
    for record in read_table(results / "paper" / "table1.csv"):
        table.setdefault(record["row"], {})[record["column"]] = record
    rows = [("detector", "mean of 10", "mean of 5", "CF less it, 95 % interval", "paper")]
    for name, cells in table.items():
        mean, five = (cells.get(column) for column in ("mean", "mean of other 5"))
        if five is not None and five["mean"]:
            rows.append((name, cell_text(mean), cell_text(five), _less_cf(name, results), cell_text(mean, paper=True)))
    head, *body = rows
    body.sort(key=lambda row: float(row[1].split()[0]), reverse=True)
    widths = [max(len(row[column]) for row in rows) for column in range(len(head))]
    line = "  ".join("=" * width for width in widths)
    text = ["  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip() for row in body]
    title = "  ".join(cell.ljust(width) for cell, width in zip(head, widths, strict=True)).rstrip()
    return "\n".join([line, title, line, *text, line])


def _less_cf(name: str, results: Path) -> str:
    comparison = (results / "paper" / "table1.txt").read_text(encoding="utf-8").split("CF less", 1)[-1]
    found = re.search(rf"^{re.escape(name)}\s+([+-][\d.]+)\s+([+-][\d.]+ to [+-][\d.]+)", comparison, re.MULTILINE)
    return f"{found.group(1)} ({found.group(2)})" if found else ""
