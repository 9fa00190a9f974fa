"""What ``score`` does: a model, inputs, and a row for each of them as it is scored."""

from __future__ import annotations

import argparse
import tempfile
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path

from skcnf._core.files import check_output
from skcnf.cli._console import Console
from skcnf.cli._featurizing import report_unreadable
from skcnf.cli._lines import LineFile, LineStream
from skcnf.cli._paths import check_not_overwritten
from skcnf.cli._reporting import report_scores
from skcnf.cli._rows import Row, format_rows, header, read_rows
from skcnf.cli._score_job import ScoreJob
from skcnf.cli._scorer import Scorer
from skcnf.cli._selection import selected_rows
from skcnf.cli._spreading import blocks_of, check_spreadable
from skcnf.saving import load_thumbnails

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
    if "-" in args.new:
        args.kept = "the rows so far are kept with -o"
    with console.plain_warnings(), ExitStack() as scope:
        job = ScoreJob(args)
        check_spreadable(job.inputs, "NEW", args)
        job.scorer.warn()
        if args.report is not None:
            check_output(args.report)
        output: Path | None = args.output or scope.enter_context(_temporary(args))
        tally = _stream(job, args, console) if output is None else _to_file(job, output, args, console)
        if args.report is not None and output is not None and tally.n_rows:
            thumbnails = load_thumbnails(args.model)
            report_scores(output, args.report, job.scorer.model, fdr=args.fdr, inputs=job.inputs, thumbnails=thumbnails)
            console.note(f"report: {args.report}")
    console.note(str(tally))
    return _status(tally, args)


def _status(tally: _Tally, args: argparse.Namespace) -> int:
    if tally.n_rows == tally.n_unreadable:
        raise ValueError("NEW: nothing is readable." if tally.n_rows else "NEW holds no input.")
    return int(args.check and tally.n_flagged > 0)


@contextmanager
def _temporary(args: argparse.Namespace) -> Iterator[Path | None]:
    """A file for rows that are read again, by a report or a selection, though the user wants none."""
    if args.fdr is None and args.report is None:
        yield None
        return
    with tempfile.TemporaryDirectory() as folder:
        yield Path(folder, "scores")


def _stream(job: ScoreJob, args: argparse.Namespace, console: Console) -> _Tally:
    tally, stream = _Tally(), LineStream()
    stream.append(header(args.json), 0)
    _score_into([stream], job, tally, args, console)
    return tally


def _to_file(job: ScoreJob, output: Path, args: argparse.Namespace, console: Console) -> _Tally:
    tally = _Tally()
    with LineFile(output, job.identity) as lines:
        if lines.n_done:
            with lines.read() as file:
                for row in read_rows(file, args.json):
                    report_unreadable([row.input], [row.error], args.strict, console)
                    tally.add(row)
            console.note(f"goes on after {lines.n_done:,} rows that an earlier run wrote to '{output}.part'")
        else:
            lines.append(header(args.json), 0)
        sinks: list[LineFile | LineStream] = [lines]
        if args.output is None and args.fdr is None:
            sinks.append(LineStream())
            sinks[-1].append(header(args.json), 0)
        try:
            _score_into(sinks, job, tally, args, console)
        except KeyboardInterrupt:
            if job.identity is None:  # a stream ends so, and no second run could go on
                lines.finish()
            raise
        if args.fdr is None:
            lines.finish()
        else:
            tally = _Tally()
            lines.finish(_with_selection(lines, job.scorer, tally, args))
    if args.output is None and args.fdr is not None:
        LineStream().append(output.read_text(encoding="utf-8"), 0)
    return tally


def _score_into(
    sinks: list[LineFile | LineStream], job: ScoreJob, tally: _Tally, args: argparse.Namespace, console: Console
) -> None:
    start = sinks[0].n_done
    with console.bar(job.inputs.n_rows, start) as bar:
        for rows in blocks_of(ScoreJob, job, args, start):
            report_unreadable([row.input for row in rows], [row.error for row in rows], args.strict, console)
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
