"""The command ``info``: what a model file holds."""

from __future__ import annotations

import argparse
import json
from pathlib import Path

__all__ = ["add_info"]


def add_info(commands: argparse._SubParsersAction) -> None:
    """Add the command to ``commands``."""
    command = commands.add_parser(
        "info",
        help="what a model file holds",
        description="Say what a file of `skcnf fit` or skcnf.save holds: the detector, the encoder, the features, "
        "dates, counts, the threshold and its false-alarm rate. Nothing in the file is executed.",
    )
    command.add_argument("model", type=Path, metavar="MODEL", help="the file")
    command.add_argument("--json", action="store_true", help="one JSON object")
    command.set_defaults(run=_info)


def _info(args: argparse.Namespace) -> int:
    from skcnf.cli._paths import check_file
    from skcnf.saving import info

    check_file(args.model, "MODEL")
    held = info(args.model)
    if args.json:
        print(json.dumps(held))
        return 0
    width = max(map(len, held))
    for name, value in held.items():
        print(f"{name.replace('_', ' '):<{width}}  {value}")
    return 0
