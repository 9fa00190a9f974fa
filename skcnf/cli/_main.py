"""The parser of all commands, and what every failure becomes."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence

from skcnf.cli._benchmark import add_benchmark
from skcnf.cli._features import add_features
from skcnf.cli._pretrain import add_pretrain

__all__ = ["main"]


def main(argv: Sequence[str] | None = None) -> int:
    """Run a command; returns the exit status, 2 for bad input."""
    args = _parser().parse_args(argv)
    try:
        return args.run(args)
    except (ValueError, OSError, FloatingPointError) as error:
        print(f"skcnf {args.command}: {error}", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        kept = getattr(args, "kept", "finished rows are kept")
        print(f"skcnf {args.command}: interrupted; {kept}; run the same command to go on", file=sys.stderr)
        return 130


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="skcnf", description="Anomaly detection with contrastive flows.")
    commands = parser.add_subparsers(dest="command", required=True, metavar="command")
    add_benchmark(commands)
    add_features(commands)
    add_pretrain(commands)
    return parser
