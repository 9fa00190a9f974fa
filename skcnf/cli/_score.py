"""The command ``score``: new inputs to scores, p-values and verdicts."""

from __future__ import annotations

import argparse
from pathlib import Path

from skcnf.cli._arguments import FEATURES, IMAGES, add_cluster, add_computing, add_groups, add_quiet, rate
from skcnf.cli._names import COLUMNS, GO_ON

__all__ = ["add_score"]

_STATUS = """\
Exit status: 0 when done; 1 when --check is given and an anomaly was found; 2 when the command was wrong, nothing was
readable, or --strict met an unreadable input; 130 after Ctrl-C."""


def add_score(commands: argparse._SubParsersAction) -> None:
    """Add the command to ``commands``."""
    command = commands.add_parser(
        "score",
        help="score new images or features with a model of `skcnf fit`",
        description=f"Write a row for each input, in their order, with the columns {', '.join(COLUMNS)}. Higher scores "
        "are more normal; the verdict is 1 for normal and -1 for an anomaly. Rows appear as they are scored; with -o "
        "they go to OUTPUT.part, the file appears whole at the end, and a run that was cut goes on where it stopped.",
        epilog=_STATUS,
    )
    command.add_argument("model", type=Path, metavar="MODEL", help="the file that `skcnf fit` or skcnf.save wrote")
    command.add_argument("new", metavar="NEW", nargs="+", help=f"{IMAGES}; or {FEATURES}")
    _add_outputs(command)
    _add_decision(command)
    command.add_argument("--check", action="store_true", help="exit with status 1 if there is an anomaly")
    command.add_argument("--strict", action="store_true", help="stop at the first unreadable input")
    add_groups(command)
    add_computing(command)
    add_cluster(command)
    add_quiet(command)
    command.set_defaults(run=_score, kept=f"finished rows are kept with -o; {GO_ON}")


def _add_outputs(command: argparse.ArgumentParser) -> None:
    command.add_argument(
        "-o", "--output", type=Path, metavar="OUTPUT", help="the file to write (default: print the rows)"
    )
    command.add_argument("--json", action="store_true", help="one JSON object a line in place of CSV")
    command.add_argument(
        "--report", type=Path, metavar="HTML", help="write a page with histogram and ranked images too"
    )


def _add_decision(command: argparse.ArgumentParser) -> None:
    decision = command.add_mutually_exclusive_group()
    decision.add_argument(
        "--false-alarm-rate", type=rate, metavar="R", help="move the threshold to this rate (default: the model's)"
    )
    decision.add_argument(
        "--fdr",
        type=rate,
        metavar="F",
        help="select anomalies over all rows of this run, so that the expected share of normal inputs among them is at "
        "most F; needs all inputs, so not with -",
    )


def _score(args: argparse.Namespace) -> int:
    from skcnf.cli._scoring import run_score

    return run_score(args)
