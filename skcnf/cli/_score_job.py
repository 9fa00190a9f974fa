"""What ``score`` computes: rows from a model and inputs."""

from __future__ import annotations

import argparse
import hashlib
from collections.abc import Iterator

import skcnf
from skcnf._core.devices import resolve_device
from skcnf.cli._groups import group_lookup
from skcnf.cli._inputs import open_input
from skcnf.cli._paths import check_file
from skcnf.cli._rows import Row
from skcnf.cli._scorer import Scorer
from skcnf.saving import load

__all__ = ["ScoreJob"]


class ScoreJob:
    """The model and the inputs of a command line.

    Parameters
    ----------
    args : argparse.Namespace

    Raises
    ------
    ValueError, OSError
        If they cannot be used together (naming the argument).
    """

    def __init__(self, args: argparse.Namespace) -> None:
        self.scorer = _scorer(args)
        self.inputs = open_input(args.new, "NEW", getattr(self.scorer.featurizer, "intensity", None))
        self.scorer.check_kind(self.inputs)
        self.block_size = self.scorer.block_size
        self.identity = None if self.inputs.identity is None else f"{self.inputs.identity} {_settings(args)}"

    def blocks(self, start: int, stop: int | None = None) -> Iterator[list[Row]]:
        """Rows of the inputs from number ``start`` on, to the one before ``stop``."""
        for block in self.scorer.blocks(self.inputs, start, stop):
            yield self.scorer.rows(block)


def _scorer(args: argparse.Namespace) -> Scorer:
    check_file(args.model, "MODEL")
    scorer = Scorer(load(args.model), args.model, group_lookup(args, args.new))
    device = str(resolve_device(args.device))
    for part in scorer.parts:
        known = part.get_params(deep=False)
        chosen = {"device": device, "n_jobs": args.n_jobs}
        part.set_params(**{name: value for name, value in chosen.items() if name in known})
    if args.fdr is not None and not scorer.calibrated:
        raise ValueError(
            f"--fdr needs p-values, and '{args.model}' has no calibration rows; fit it with --calibration."
        )
    if args.false_alarm_rate is not None:
        scorer.detector.set_threshold(false_alarm_rate=args.false_alarm_rate)
    return scorer


def _settings(args: argparse.Namespace) -> str:
    """Names all that rows depend on, but the inputs."""
    hasher = hashlib.blake2b(args.model.read_bytes(), digest_size=16)
    if args.groups is not None:
        hasher.update(args.groups.read_bytes())
    options = [args.new, args.false_alarm_rate, args.fdr, args.json, args.group_by_folder, str(args.groups)]
    device = resolve_device(args.device).type
    return f"{hasher.hexdigest()} {options} {device} {skcnf.__version__}"
