"""The command ``report``: a page from rows that `skcnf score` wrote earlier."""

from __future__ import annotations

import argparse
from pathlib import Path

from skcnf.cli._arguments import add_quiet, rate

__all__ = ["add_report"]


def add_report(commands: argparse._SubParsersAction) -> None:
    """Add the command to ``commands``."""
    command = commands.add_parser(
        "report",
        help="an HTML page from the rows of `skcnf score`",
        description="Write one HTML page that holds everything it shows: a summary, a histogram, the least normal "
        "images and a table. Images are sought where the rows say they are.",
    )
    command.add_argument("scores", type=Path, metavar="SCORES", help="the CSV or JSON lines of `skcnf score`")
    command.add_argument("-o", "--output", type=Path, required=True, metavar="HTML", help="the page to write")
    command.add_argument(
        "--model", type=Path, metavar="MODEL", help="the model that scored: its calibration and its promise are shown"
    )
    decision = command.add_mutually_exclusive_group()
    decision.add_argument(
        "--false-alarm-rate", type=rate, metavar="R", help="where `skcnf score --false-alarm-rate R` made the rows"
    )
    decision.add_argument("--fdr", type=rate, metavar="F", help="where `skcnf score --fdr F` made the rows")
    command.add_argument("--title", default="Anomaly report", help="default: Anomaly report")
    add_quiet(command)
    command.set_defaults(run=_report, kept="nothing was written")


def _report(args: argparse.Namespace) -> int:
    from skcnf.cli._reporting import run_report

    return run_report(args)
