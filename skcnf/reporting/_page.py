"""The page itself: what is said of the rows, and the template that says it."""

from __future__ import annotations

import math
import os
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from skcnf._core.files import write_atomically
from skcnf.reporting._histogram import histogram_svg
from skcnf.reporting._rows import ScoredRow
from skcnf.reporting._thumbnails import data_address

__all__ = ["Decision", "write_report"]

_TEMPLATE = Path(__file__).with_name("report.html.jinja")
_MAX_TABLE_ROWS = 1_000
_MAX_UNREADABLE = 200


@dataclass(frozen=True, eq=False)
class Decision:
    """How the verdicts came about; the report puts it in words.

    Parameters
    ----------
    false_alarm_rate : float, optional
        The rate that the threshold was set for.
    fdr : float, optional
        The false discovery rate, where rows were selected together. It takes precedence.
    n_calibration : int, optional
        Number of calibration rows.
    calibration_scores : ndarray of shape (n_calibration,), optional
        Drawn as an outline over the histogram.
    detector : str
        What scored, in words.
    foreign : bool
        Whether the rows' thresholds are not those of the detector, so that its rate says nothing of them.
    """

    false_alarm_rate: float | None = None
    fdr: float | None = None
    n_calibration: int | None = None
    calibration_scores: np.ndarray | None = field(default=None, repr=False)
    detector: str = ""
    foreign: bool = False

    def guarantee(self) -> str:
        """What is promised, in words."""
        rows = "the calibration rows" if self.n_calibration is None else f"the {self.n_calibration:,} calibration rows"
        if self.fdr is not None:
            return (
                f"The flagged inputs were selected together at a false discovery rate of {_percent(self.fdr)}: among "
                f"them, the expected share of normal ones is at most {_percent(self.fdr)}, on average over draws of "
                f"{rows}. The promise holds for this collection as a whole, if its normal inputs are like the "
                "calibration rows."
            )
        if self.foreign:
            return (
                "The thresholds of these rows are not those of the model. Either another model scored, or "
                "'skcnf score' had --false-alarm-rate or --fdr: give 'skcnf report' the same option to have its "
                "promise stated here."
            )
        if self.false_alarm_rate is not None:
            return (
                f"An input is flagged when its score lies below the threshold for a false-alarm rate of "
                f"{_percent(self.false_alarm_rate)}: a new normal input is flagged with a probability of at most "
                f"{_percent(self.false_alarm_rate)}, on average over draws of {rows}, if it is like them."
            )
        return (
            "The scores do not tell at which false-alarm rate the threshold was set. "
            "Give the model to 'skcnf report' to have its promise stated here."
        )


def write_report(
    rows: Sequence[ScoredRow],
    output: str | os.PathLike[str],
    *,
    decision: Decision | None = None,
    open_image: Callable[[str], np.ndarray] | None = None,
    pictures: Mapping[str, Sequence[tuple[str, np.ndarray]]] | None = None,
    title: str = "Anomaly report",
    n_thumbnails: int = 120,
) -> None:
    """Write one HTML file that holds its pictures, styles and script; nothing is loaded from elsewhere.

    Parameters
    ----------
    rows : sequence of ScoredRow
        In the order of the input.
    output : path
        The file appears whole or not at all.
    decision : Decision, optional
        States the guarantee.
    open_image : callable, optional
        From the name of an input to its image (h, w, 3), uint8. A ValueError or OSError leaves its place empty. Without
        it, or for inputs that are rows of features, the page shows no thumbnails.
    pictures : mapping of str to sequence of (str, ndarray), optional
        Further pictures of an input with a caption each, such as a heat map or a neighbour.
    title : str
    n_thumbnails : int, default=120
        Images shown at most, the least normal first.

    Raises
    ------
    ValueError
        If there is no row.
    OSError
        If the file cannot be written.
    """
    if not rows:
        raise ValueError("rows is empty; a report needs at least one scored input.")
    import jinja2

    environment = jinja2.Environment(autoescape=True, undefined=jinja2.StrictUndefined, trim_blocks=True)
    environment.filters |= {"score": _score, "probability": _probability, "text": _printable}
    context = _context(list(rows), decision or Decision(), open_image, pictures or {}, n_thumbnails)
    page = environment.from_string(_TEMPLATE.read_text(encoding="utf-8")).render(title=title, **context)
    write_atomically(output, page.encode("utf-8"))


def _context(
    rows: list[ScoredRow],
    decision: Decision,
    open_image: Callable[[str], np.ndarray] | None,
    pictures: Mapping[str, Sequence[tuple[str, np.ndarray]]],
    n_thumbnails: int,
) -> dict[str, Any]:
    scored = sorted((row for row in rows if row.status == "ok"), key=lambda row: row.score)
    unreadable = [row for row in rows if row.status != "ok"]
    thresholds = {row.threshold for row in scored if not math.isnan(row.threshold)}
    threshold = thresholds.pop() if len(thresholds) == 1 and decision.fdr is None else None
    scores = np.array([row.score for row in scored])
    return {
        "n_scored": len(scored),
        "n_flagged": sum(row.flagged for row in scored),
        "lowest_p": min((row.p_value for row in scored if not math.isnan(row.p_value)), default=math.nan),
        "guarantee": decision.guarantee(),
        "detector": decision.detector,
        "has_calibration": decision.calibration_scores is not None,
        "histogram": histogram_svg(scores, threshold, decision.calibration_scores),
        "groups": _groups(scored),
        "cards": [] if open_image is None else [_card(row, open_image, pictures) for row in scored[:n_thumbnails]],
        "table": scored[:_MAX_TABLE_ROWS],
        "unreadable": unreadable[:_MAX_UNREADABLE],
        "n_unreadable": len(unreadable),
    }


def _card(
    row: ScoredRow,
    open_image: Callable[[str], np.ndarray],
    pictures: Mapping[str, Sequence[tuple[str, np.ndarray]]],
) -> dict[str, Any]:
    try:
        image = data_address(open_image(row.input))
    except (OSError, ValueError):  # moved or deleted since it was scored
        image = ""
    more = [(caption, data_address(picture, 96)) for caption, picture in pictures.get(row.input, ())]
    return {"row": row, "image": image, "more": more}


def _groups(scored: list[ScoredRow]) -> list[dict[str, Any]]:
    names = sorted({row.group for row in scored})
    if names in ([], [""]):
        return []
    members = {name: [row for row in scored if row.group == name] for name in names}
    return [
        {
            "name": name,
            "n": len(own),
            "n_flagged": sum(row.flagged for row in own),
            "threshold": own[0].threshold,
        }
        for name, own in members.items()
    ]


def _percent(share: float) -> str:
    return f"{100 * share:g}\N{NO-BREAK SPACE}%"


def _score(value: float) -> str:
    return "" if math.isnan(value) else f"{value:.5g}"


def _probability(value: float) -> str:
    return "" if math.isnan(value) else f"{value:.2g}"


def _printable(text: str) -> str:
    """Text without control characters, lone surrogates or marks that turn its direction."""
    text = text.encode("utf-8", "backslashreplace").decode("utf-8")
    return "".join(
        character if character.isprintable() else character.encode("unicode_escape").decode() for character in text
    )
