"""A table of the paper with this project's numbers beside the paper's, as text, CSV, reStructuredText and LaTeX."""

from __future__ import annotations

import csv
import io
from collections.abc import Callable
from dataclasses import dataclass, field

import numpy as np
import pandas as pd

from skcnf.evaluation import align

__all__ = ["ReportTable"]

_PAPER = "  paper"


@dataclass
class ReportTable:
    """Mean and spread over seeds, in per cent, rows and columns in the order of ``mean``, which holds NaN for no value.

    Parameters
    ----------
    caption : str
    mean, std : DataFrame
        This project's; ``std`` is NaN for a single run.
    paper, paper_std : DataFrame
        The paper's, of the same shape.
    best : {"column", "row", "below 90", "none"}
        What to mark: the best of every column or row (to the digit shown, of this project's values and of the paper's
        each for itself), or values below 90.
    notes : list of str
        Printed below.
    """

    caption: str
    mean: pd.DataFrame
    std: pd.DataFrame
    paper: pd.DataFrame
    paper_std: pd.DataFrame
    best: str = "column"
    notes: list[str] = field(default_factory=list)

    def marked(self, values: pd.DataFrame) -> pd.DataFrame:
        """Which of ``values`` to mark."""
        shown = values.round(1)
        if self.best == "below 90":
            return shown < 90
        if self.best == "none":
            return shown.isna() & False
        axis = 0 if self.best == "column" else 1
        return shown.eq(shown.max(axis=axis), axis=1 - axis)

    def to_text(self, bold: bool = False) -> str:
        """Aligned columns; marked values in the terminal's bold type, or with a star."""

        def mark(text: str) -> str:
            return f"\033[1m{text}\033[0m" if bold else f"*{text}"

        lines = [["", *map(str, self.mean.columns)], *self._cells(mark, "±", lambda label: label)]
        return "\n".join([self.caption, "", align(lines), "", *self.notes])

    def to_rst(self) -> str:
        """A ``list-table``."""
        lines = [
            ["method", *map(str, self.mean.columns)],
            *self._cells(lambda text: f"**{text}**", "±", lambda label: f"*{label}*"),
        ]
        head = [f".. list-table:: {self.caption}", "   :header-rows: 1", ""]
        body = [("   * - " if number == 0 else "     - ") + cell for line in lines for number, cell in enumerate(line)]
        notes = [f"- {note}" for note in self.notes]
        return "\n".join([*head, *(line.rstrip() for line in body), "", *notes]) + "\n"

    def to_latex(self) -> str:
        """A ``table`` with booktabs rules."""
        cells = self._cells(lambda text: rf"\textbf{{{text}}}", r"\,$\pm$\,", lambda label: rf"\emph{{{label}}}")
        lines = [["", *map(str, self.mean.columns)], *([_latex(cell) for cell in line] for line in cells)]
        body = [" & ".join(line) + r" \\" for line in lines]
        return "\n".join(
            [
                r"\begin{table}",
                rf"\caption{{{_latex(' '.join([self.caption + '.', *self.notes]))}}}",
                rf"\begin{{tabular}}{{l{'r' * self.mean.shape[1]}}}",
                r"\toprule",
                body[0],
                r"\midrule",
                *body[1:],
                r"\bottomrule",
                r"\end{tabular}",
                r"\end{table}",
                "",
            ]
        )

    def to_csv(self) -> str:
        """Tidy: ``row, column, mean, std, paper_mean, paper_std``."""
        text = io.StringIO()
        writer = csv.writer(text, lineterminator="\n")
        writer.writerow(["row", "column", "mean", "std", "paper_mean", "paper_std"])
        frames = (self.mean, self.std, self.paper, self.paper_std)
        for row in self.mean.index:
            for column in self.mean.columns:
                values = [frame.loc[row, column] for frame in frames]
                if not np.isnan([values[0], values[2]]).all():
                    writer.writerow([row, column, *("" if np.isnan(value) else f"{value:.3f}" for value in values)])
        return text.getvalue()

    def _cells(self, mark: Callable[[str], str], plus_minus: str, italic: Callable[[str], str]) -> list[list[str]]:
        """A line for every row with values of this project's, and one for every row with values of the paper's."""
        lines = []
        for label in self.mean.index:
            ours, paper = self.mean.loc[label].notna().any(), self.paper.loc[label].notna().any()
            if ours or not paper:
                lines.append([str(label), *self._line(label, self.mean, self.std, mark, plus_minus)])
            if paper:
                name = _PAPER.strip() if ours else f"{label} (paper only)"
                lines.append([italic(name), *self._line(label, self.paper, self.paper_std, mark, plus_minus)])
        return lines

    def _line(
        self, label: object, mean: pd.DataFrame, std: pd.DataFrame, mark: Callable[[str], str], plus_minus: str
    ) -> list[str]:
        marked = self.marked(mean)
        cells = []
        for column in mean.columns:
            value, spread = mean.loc[label, column], std.loc[label, column]
            text = "" if np.isnan(value) else f"{value:.1f}"
            text += "" if np.isnan(value) or np.isnan(spread) else f"{plus_minus}{spread:.1f}"
            cells.append(mark(text) if marked.loc[label, column] else text)
        return cells


def _latex(text: str) -> str:
    for character in "%&_#":
        text = text.replace(character, "\\" + character)
    return text
