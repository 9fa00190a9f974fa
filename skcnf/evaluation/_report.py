"""A table of results, with figures of a paper beside where there are any, as text, CSV, reStructuredText and LaTeX."""

from __future__ import annotations

import csv
import io
from collections.abc import Callable
from dataclasses import dataclass, field

import numpy as np
import pandas as pd

__all__ = ["ReportTable", "align"]

_BOLD, _PLAIN = "\033[1m", "\033[0m"


@dataclass
class ReportTable:
    """Mean and spread over seeds, in per cent, rows and columns in the order of ``mean``, which holds NaN for no value.

    Parameters
    ----------
    caption : str
        The line above the table.
    mean, std : DataFrame
        This project's figures; ``std`` is NaN for a single run.
    paper, paper_std : DataFrame, optional
        The paper's figures, of the same shape.
    best : {"column", "row", "lowest", "below 90"}, default="column"
        What to mark: the highest value of every column or row, or the lowest of every column (to the digit shown; this
        project's values and the paper's each among themselves), or all values below 90.
    notes : list of str
        Lines below the table.
    corner : str, default="detector"
        The header of the rows' names.
    epochs : Series, optional
        For each row, a mean number of epochs; the last column. NaN is shown as "-".

    Raises
    ------
    ValueError
        If ``best`` is none of those.
    """

    caption: str
    mean: pd.DataFrame
    std: pd.DataFrame
    paper: pd.DataFrame | None = None
    paper_std: pd.DataFrame | None = None
    best: str = "column"
    notes: list[str] = field(default_factory=list)
    corner: str = "detector"
    epochs: pd.Series | None = None

    def __post_init__(self) -> None:
        if self.best not in ("column", "row", "lowest", "below 90"):
            raise ValueError(f"best={self.best!r} must be 'column', 'row', 'lowest' or 'below 90'.")

    def marked(self, values: pd.DataFrame) -> pd.DataFrame:
        """Which of ``values`` to mark, as booleans."""
        shown = values.round(1)
        if self.best == "below 90":
            return shown < 90
        if self.best == "row":
            return shown.eq(shown.max(axis=1), axis=0)
        return shown.eq(shown.min() if self.best == "lowest" else shown.max(), axis=1)

    def to_text(self, bold: bool = False) -> str:
        """Aligned columns; marked values in the terminal's bold type, or with a star."""
        return "\n".join([self.caption, "", self.body(bold), "", *self.notes])

    def body(self, bold: bool = False) -> str:
        """The aligned columns of `to_text` alone."""
        mark = (lambda text: f"{_BOLD}{text}{_PLAIN}") if bold else (lambda text: f"*{text}")
        return align([self._header(), *self._lines(mark, "±", lambda label: label)])

    def to_rst(self) -> str:
        """A ``list-table``."""
        lines = [self._header(), *self._lines(lambda text: f"**{text}**", "±", lambda label: f"*{label}*")]
        head = [f".. list-table:: {self.caption}", "   :header-rows: 1", ""]
        body = [("   * - " if number == 0 else "     - ") + cell for line in lines for number, cell in enumerate(line)]
        notes = [f"- {note}" for note in self.notes]
        return "\n".join([*head, *(line.rstrip() for line in body), "", *notes]) + "\n"

    def to_latex(self) -> str:
        """A ``table`` with booktabs rules."""
        cells = self._lines(lambda text: rf"\textbf{{{text}}}", r"\,$\pm$\,", lambda label: rf"\emph{{{label}}}")
        header, *body = (" & ".join(map(_latex, line)) + r" \\" for line in [self._header(), *cells])
        return "\n".join(
            [
                r"\begin{table}",
                rf"\caption{{{_latex(' '.join([self.caption + '.', *self.notes]))}}}",
                rf"\begin{{tabular}}{{l{'r' * (len(self._header()) - 1)}}}",
                *(r"\toprule", header, r"\midrule", *body, r"\bottomrule"),
                r"\end{tabular}",
                r"\end{table}",
                "",
            ]
        )

    def to_csv(self) -> str:
        """One line a cell: ``row, column, mean, std, paper_mean, paper_std``; cells without a value are left out."""
        text = io.StringIO()
        writer = csv.writer(text, lineterminator="\n")
        writer.writerow(["row", "column", "mean", "std", "paper_mean", "paper_std"])
        frames = (self.mean, self.std, *self._paper())
        for row in self.mean.index:
            for column in self.mean.columns:
                values = [frame.loc[row, column] for frame in frames]
                if not np.isnan([values[0], values[2]]).all():
                    writer.writerow([row, column, *("" if np.isnan(value) else f"{value:.6f}" for value in values)])
        return text.getvalue()

    def _paper(self) -> tuple[pd.DataFrame, pd.DataFrame]:
        """The paper's figures; all NaN where there are none."""
        empty = self.mean * np.nan
        return empty if self.paper is None else self.paper, empty if self.paper_std is None else self.paper_std

    def _header(self) -> list[str]:
        return [self.corner, *map(str, self.mean.columns), *([] if self.epochs is None else ["epochs"])]

    def _lines(self, mark: Callable[[str], str], plus_minus: str, italic: Callable[[str], str]) -> list[list[str]]:
        """A line for every row that has values of this project's, and one for every row that has the paper's."""
        paper, paper_std = self._paper()
        measured = self._cells(self.mean, self.std, mark, plus_minus)
        quoted = self._cells(paper, paper_std, mark, plus_minus)
        lines = []
        for label in self.mean.index:
            is_measured, is_quoted = any(measured[label]), any(quoted[label])
            if is_measured or not is_quoted:
                lines.append([str(label), *measured[label], *self._epochs(label)])
            if is_quoted:
                name = "paper" if is_measured else f"{label} (paper only)"
                lines.append([italic(name), *quoted[label], *([] if self.epochs is None else [""])])
        return lines

    def _epochs(self, label: str) -> list[str]:
        if self.epochs is None:
            return []
        epochs = self.epochs.get(label, np.nan)
        return ["-" if np.isnan(epochs) else f"{epochs:.1f}"]

    def _cells(
        self, mean: pd.DataFrame, std: pd.DataFrame, mark: Callable[[str], str], plus_minus: str
    ) -> dict[str, list[str]]:
        marked = self.marked(mean)

        def cell(row: str, column: str) -> str:
            value, spread = mean.loc[row, column], std.loc[row, column]
            if np.isnan(value):
                return ""
            text = f"{value:.1f}" if np.isnan(spread) else f"{value:.1f}{plus_minus}{spread:.1f}"
            return mark(text) if marked.loc[row, column] else text

        return {row: [cell(row, column) for column in mean.columns] for row in mean.index}


def align(lines: list[list[str]]) -> str:
    """Columns of equal width, the first aligned to the left; a rule below the first line."""
    widths = [max(map(_length, column)) for column in zip(*lines, strict=True)]
    rows = ["  ".join(_padded(line, widths)).rstrip() for line in lines]
    rows.insert(1, "-" * (sum(widths) + 2 * (len(widths) - 1)))
    return "\n".join(rows)


def _padded(line: list[str], widths: list[int]) -> list[str]:
    spaces = [" " * (width - _length(cell)) for cell, width in zip(line, widths, strict=True)]
    return [line[0] + spaces[0], *(space + cell for space, cell in zip(spaces[1:], line[1:], strict=True))]


def _length(cell: str) -> int:
    """The width on the screen."""
    return len(cell.replace(_BOLD, "").replace(_PLAIN, ""))


def _latex(text: str) -> str:
    for character in "%&_#":
        text = text.replace(character, "\\" + character)
    return text
