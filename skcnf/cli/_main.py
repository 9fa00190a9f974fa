"""The parser of all commands, and what every failure becomes."""

from __future__ import annotations

import argparse
import difflib
import os
import sys
from collections.abc import Sequence
from typing import Any

from skcnf.cli._benchmark import add_benchmark
from skcnf.cli._features import add_features
from skcnf.cli._fit import add_fit
from skcnf.cli._info import add_info
from skcnf.cli._names import GO_ON
from skcnf.cli._pretrain import add_pretrain
from skcnf.cli._report import add_report
from skcnf.cli._score import add_score

__all__ = ["main"]

_WRONG_USE = 2
_INTERRUPTED = 130
_BROKEN_PIPE = 141  # as shells report a command that SIGPIPE ended


def main(argv: Sequence[str] | None = None) -> int:
    """Run a command.

    Returns
    -------
    int
        The exit status: 0 when done; 1 where ``score --check`` found an anomaly; 2 for bad input; 130 after Ctrl-C.
    """
    args = _parser().parse_args(argv)
    try:
        return args.run(args)
    except BrokenPipeError:  # whoever read the rows, such as head, has seen enough
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())  # or Python complains as it ends
        return _BROKEN_PIPE
    except (ValueError, OSError, FloatingPointError, ImportError) as error:
        print(f"skcnf {args.command}: {error}", file=sys.stderr)
        return _WRONG_USE
    except (MemoryError, RuntimeError) as error:
        if not _is_out_of_memory(error):
            raise
        print(f"skcnf {args.command}: memory is too small: {str(error).splitlines()[0]}", file=sys.stderr)
        return _WRONG_USE
    except KeyboardInterrupt:
        kept = getattr(args, "kept", f"finished rows are kept; {GO_ON}")
        print(f"skcnf {args.command}: interrupted; {kept}", file=sys.stderr)
        return _INTERRUPTED


def _is_out_of_memory(error: BaseException) -> bool:
    """Whether it says so: torch raises RuntimeError for it on the CPU, and a subclass on GPUs."""
    return isinstance(error, MemoryError) or "out of memory" in str(error) or "allocate" in str(error)


class _Parser(argparse.ArgumentParser):
    """Says what to do about the two most frequent mistakes: a typo, and a glob that the shell has expanded."""

    def __init__(self, **options: Any) -> None:
        super().__init__(allow_abbrev=False, **options)

    def parse_known_args(self, args: Any = None, namespace: Any = None) -> Any:
        """Refuse what is unknown here, where the options of the command are known."""
        namespace, unknown = super().parse_known_args(args, namespace)
        if unknown:
            close = difflib.get_close_matches(unknown[0], self._option_string_actions, 1)
            hint = f"did you mean {close[0]}?" if close else "a glob such as *.png needs quotes"
            self.error(f"unrecognized arguments: {' '.join(unknown)} ({hint})")
        return namespace, unknown


def _parser() -> argparse.ArgumentParser:
    parser = _Parser(prog="skcnf", description="Anomaly detection with contrastive flows.")
    commands = parser.add_subparsers(dest="command", required=True, metavar="command")
    add_fit(commands)
    add_score(commands)
    add_report(commands)
    add_info(commands)
    add_features(commands)
    add_pretrain(commands)
    add_benchmark(commands)
    return parser
