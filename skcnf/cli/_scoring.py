"""What ``score`` does: a model, inputs, and a row for each of them as it is scored."""

from __future__ import annotations

import argparse
import hashlib
import tempfile
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path

import skcnf
from skcnf._core.devices import resolve_device
from skcnf._core.files import check_output
from skcnf.cli._console import Console
from skcnf.cli._featurizing import report_unreadable
from skcnf.cli._groups import group_lookup
from skcnf.cli._inputs import Input, open_input
from skcnf.cli._lines import LineFile, LineStream
from skcnf.cli._paths import check_file, check_not_overwritten
from skcnf.cli._reporting import report_scores
from skcnf.cli._rows import Row, format_rows, header, read_rows
from skcnf.cli._scorer import Scorer
from skcnf.cli._selection import selected_rows
from skcnf.saving import load, load_thumbnails

__all__ = ["run_score"]


@dataclass
class _Tally:
    """What was found so far."""

    n_rows: int = 0
    n_unreadable: int = 0
    n_flagged: int = 0

    def add(self, row: Row) -> None:
        self.n_rows += 1
        self.n_unreadable += row.status != "ok"
        self.n_flagged += row.verdict == -1

    def __str__(self) -> str:
        inputs = "1 input" if self.n_rows == 1 else f"{self.n_rows:,} inputs"
        anomalies = "1 anomaly" if self.n_flagged == 1 else f"{self.n_flagged:,} anomalies"
        return f"{inputs}: {anomalies}" + (f", {self.n_unreadable:,} unreadable" if self.n_unreadable else "")


def run_score(args: argparse.Namespace) -> int:
    """Run what ``args`` of the command line ask for; returns the exit status."""
    console = Console("score", args.quiet)
    if args.fdr is not None and "-" in args.new:
        raise ValueError("--fdr selects over all inputs at once, so it cannot be used with '-', which may have no end.")
    check_not_overwritten([args.output, args.report], [args.model, *args.new, args.groups])
    with console.plain_warnings(), ExitStack() as scope:
        scorer = _scorer(args)
        inputs = open_input(args.new, "NEW", getattr(scorer.featurizer, "intensity", None))
        scorer.check_kind(inputs)
        if args.report is not None:
            check_output(args.report)
        output: Path | None = args.output or scope.enter_context(_temporary(args))
        if output is None:
            tally = _stream(scorer, inputs, args, console)
        else:
            tally = _to_file(scorer, inputs, output, args, console)
        if args.report is not None and output is not None and tally.n_rows:
            thumbnails = load_thumbnails(args.model)
            report_scores(output, args.report, scorer.model, fdr=args.fdr, inputs=inputs, thumbnails=thumbnails)
            console.note(f"report: {args.report}")
    console.note(str(tally))
    return _status(tally, args)


def _status(tally: _Tally, args: argparse.Namespace) -> int:
    if tally.n_rows == tally.n_unreadable:
        raise ValueError("NEW: nothing is readable." if tally.n_rows else "NEW holds no input.")
    return int(args.check and tally.n_flagged > 0)


def _scorer(args: argparse.Namespace) -> Scorer:
    check_file(args.model, "MODEL")
    scorer = Scorer(load(args.model), args.model, group_lookup(args, args.new))
    device = str(resolve_device(args.device))
    for step in (scorer.featurizer, scorer.detector):
        known = {} if step is None else step.get_params(deep=False)
        chosen = {"device": device, "n_jobs": args.n_jobs}
        if step is not None:
            step.set_params(**{name: value for name, value in chosen.items() if name in known})
    if args.fdr is not None and not scorer.calibrated:
        raise ValueError(
            f"--fdr needs p-values, and '{args.model}' has no calibration rows; fit it with --calibration."
        )
    if args.false_alarm_rate is not None:
        scorer.detector.set_threshold(false_alarm_rate=args.false_alarm_rate)
    return scorer


@contextmanager
def _temporary(args: argparse.Namespace) -> Iterator[Path | None]:
    """A file for rows that are read again, by a report or a selection, though the user wants none."""
    if args.fdr is None and args.report is None:
        yield None
        return
    with tempfile.TemporaryDirectory() as folder:
        yield Path(folder, "scores")


def _stream(scorer: Scorer, inputs: Input, args: argparse.Namespace, console: Console) -> _Tally:
    tally, stream = _Tally(), LineStream()
    stream.append(header(args.json), 0)
    _score_into([stream], scorer, inputs, tally, args, console)
    return tally


def _to_file(scorer: Scorer, inputs: Input, output: Path, args: argparse.Namespace, console: Console) -> _Tally:
    tally = _Tally()
    with LineFile(output, _identity(args, inputs)) as lines:
        if lines.n_done:
            with lines.read() as file:
                for row in read_rows(file, args.json):
                    tally.add(row)
            console.note(f"goes on after {lines.n_done:,} rows that an earlier run wrote to '{output}.part'")
        else:
            lines.append(header(args.json), 0)
        sinks: list[LineFile | LineStream] = [lines]
        if args.output is None and args.fdr is None:
            sinks.append(LineStream())
            sinks[-1].append(header(args.json), 0)
        _score_into(sinks, scorer, inputs, tally, args, console)
        if args.fdr is None:
            lines.finish()
        else:
            tally = _Tally()
            lines.finish(_with_selection(lines, scorer, tally, args))
    if args.output is None and args.fdr is not None:
        LineStream().append(output.read_text(encoding="utf-8"), 0)
    return tally


def _score_into(
    sinks: list[LineFile | LineStream],
    scorer: Scorer,
    inputs: Input,
    tally: _Tally,
    args: argparse.Namespace,
    console: Console,
) -> None:
    start = sinks[0].n_done
    with console.bar(inputs.n_rows, start) as bar:
        for block in scorer.blocks(inputs, start):
            report_unreadable(block, args.strict, console)
            rows = scorer.rows(block)
            if args.fdr is not None:  # verdicts come at the end, over all rows
                rows = [row._replace(threshold=None, verdict=None) for row in rows]
            for row in rows:
                tally.add(row)
            for sink in sinks:
                sink.append(format_rows(rows, args.json), len(rows))
            bar.update(len(rows))


def _with_selection(lines: LineFile, scorer: Scorer, tally: _Tally, args: argparse.Namespace) -> Iterator[str]:
    yield header(args.json)
    for row in selected_rows(lambda: _rows_of(lines, args.json), scorer.detector, args.fdr):
        tally.add(row)
        yield format_rows([row], args.json)


def _rows_of(lines: LineFile, as_json: bool) -> Iterator[Row]:
    with lines.read() as file:
        yield from read_rows(file, as_json)


def _identity(args: argparse.Namespace, inputs: Input) -> str | None:
    """Names all that the rows depend on; None where they cannot be had again."""
    if inputs.identity is None:
        return None
    hasher = hashlib.blake2b(args.model.read_bytes(), digest_size=16)
    if args.groups is not None:
        hasher.update(args.groups.read_bytes())
    options = [args.new, args.false_alarm_rate, args.fdr, args.json, args.group_by_folder, str(args.groups)]
    device = resolve_device(args.device).type
    return f"{inputs.identity} {hasher.hexdigest()} {options} {device} {skcnf.__version__}"
