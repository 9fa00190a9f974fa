"""The command ``benchmark``: the main table, the paper's tables, and ablations."""

from __future__ import annotations

import argparse
import os
import platform
import sys
import tempfile
import time
from pathlib import Path
from typing import TYPE_CHECKING

from skcnf.cli._arguments import count, names

if TYPE_CHECKING:
    import pandas as pd
    from matplotlib.figure import Figure

    from skcnf.paper import Layout, ReportTable

__all__ = ["add_benchmark", "environment"]

_QUICK_CLASSES = ("car",)  # the first of the classes that chose no default
# Known without loading what runs them.
_TABLES = [*range(1, 6), *range(7, 16)]
_ABLATIONS = ["noise", "clamp", "aux-weight", "aux-size", "epochs", "warmup", "flow-ratio", "normalisation", "ensemble"]


def add_benchmark(commands: argparse._SubParsersAction) -> None:
    """Add the command to ``commands``."""
    command = commands.add_parser(
        "benchmark",
        help="CIFAR-10 one-vs-rest on the bundled features: the AUROC table; the paper's tables and ablations",
        description="CIFAR-10 one-vs-rest on the bundled features. Prints the AUROC table and writes results.csv, "
        "table.txt and auroc.png. With --table or --ablation that table instead, with the paper's figures beside, as "
        ".txt, .csv, .rst and .tex. A run that was cut goes on where it stopped.",
    )
    command.add_argument(
        "--quick", action="store_true", help=f"one class ({', '.join(_QUICK_CLASSES)}); under two minutes on 2 cores"
    )
    command.add_argument("--classes", type=names, metavar="A,B", help="classes to take as inliers (default: all ten)")
    command.add_argument("--detectors", type=names, metavar="A,B", help="rows of the table (default: all)")
    command.add_argument("--table", type=_table, metavar="N", help="table 1 to 5 or 7 to 15 of the paper, or 'all'")
    command.add_argument("--ablation", choices=_ABLATIONS, help="one choice varied")
    command.add_argument("--data", type=Path, metavar="DIR", help="where data sets of images are (see the guide)")
    command.add_argument("--seeds", type=count, default=1, metavar="N", help="runs, with seeds 0 to N-1 (default: 1)")
    command.add_argument("--n-jobs", type=int, default=-1, metavar="N", help="processes (default: -1, one a core)")
    command.add_argument("--device", default="auto", help="of the flows: auto, cpu, cuda (default: auto)")
    command.add_argument(
        "--engine",
        choices=("auto", "single", "batched"),
        default="auto",
        help="fit by fit, or all flows of a detector as one model (default: auto, batched on a GPU)",
    )
    command.add_argument("--output", type=Path, default=Path("results"), help="folder (default: results)")
    command.set_defaults(run=_benchmark)


def _table(text: str) -> int | str:
    if text != "all" and text not in map(str, _TABLES):
        raise argparse.ArgumentTypeError(f"{text!r} is no table with results; choose from {_TABLES}, or 'all'")
    return text if text == "all" else int(text)


def _benchmark(args: argparse.Namespace) -> int:
    """Run what ``args`` of the command line ask for; returns the exit status."""
    from skcnf._core.devices import resolve_device
    from skcnf._core.locks import output_lock

    resolve_device(args.device)
    args.output.mkdir(parents=True, exist_ok=True)
    with output_lock(args.output / "benchmark"):
        return _benchmark_alone(args)


def _benchmark_alone(args: argparse.Namespace) -> int:
    if args.table is None and args.ablation is None:
        return _main_table(args)
    from skcnf.paper import ABLATIONS, TABLES

    numbers = list(TABLES) if args.table == "all" else [] if args.table is None else [args.table]
    for number in numbers:
        _paper_table(args, f"table{number}", TABLES[number])
    if args.ablation is not None:
        _paper_table(args, f"ablation-{args.ablation}", ABLATIONS[args.ablation])
    return 0


def _main_table(args: argparse.Namespace) -> int:
    from skcnf.datasets import load_cifar10_features
    from skcnf.display import BenchmarkDisplay
    from skcnf.evaluation import format_table, one_vs_rest
    from skcnf.paper import MAIN_DETECTORS, TUNING_CLASSES, make_detectors

    start = time.perf_counter()
    data = load_cifar10_features()
    classes = _classes(args) or list(data.class_names)
    with tempfile.TemporaryDirectory() as cache:
        results = one_vs_rest(
            make_detectors(args.detectors or MAIN_DETECTORS, args.device, cache),
            data,
            seeds=range(args.seeds),
            classes=classes,
            n_jobs=args.n_jobs,
            engine=args.engine,
            output=args.output / "results.csv",
            verbose=True,
        )
    others = [name for name in data.class_names if name not in TUNING_CLASSES]
    groups = {"mean of other 5": others} if set(data.class_names) <= set(classes) else {}
    title = f"AUROC in %, {data.name} one-vs-rest, features under the bundled encoder, seeds: {args.seeds}"
    legend = "best of a column: *; epochs: mean over classes and seeds of the epoch whose weights were kept"
    table = format_table(results, groups=groups)
    text = "\n".join([title, "", table, "", legend, *_footer(results, args, start)])
    (args.output / "table.txt").write_text(text + "\n")
    BenchmarkDisplay.from_results(results).figure_.savefig(args.output / "auroc.png", dpi=150)
    if sys.stdout.isatty():
        text = text.replace(table, format_table(results, groups=groups, bold=True)).replace(": *;", ": bold;")
    print(text)
    print(f"written: {', '.join(str(args.output / name) for name in ('results.csv', 'table.txt', 'auroc.png'))}")
    return 0


def _paper_table(args: argparse.Namespace, stem: str, layout: Layout) -> None:
    from skcnf.paper import BenchmarkData, run_layout

    start = time.perf_counter()
    table, results = run_layout(
        layout,
        BenchmarkData(args.data, args.device, args.output / "features"),
        seeds=range(args.seeds),
        output=args.output / "results.csv",
        classes=_classes(args),
        detectors=args.detectors,
        n_jobs=args.n_jobs,
        engine=args.engine,
        device=args.device,
        verbose=True,
    )
    footer = [*_comparison(results), *_footer(results, args, start)]
    for suffix, text in (
        (".txt", "\n".join([table.to_text(), *footer, ""])),
        (".csv", table.to_csv()),
        (".rst", table.to_rst()),
        (".tex", table.to_latex()),
    ):
        (args.output / f"{stem}{suffix}").write_text(text)
    figure = _figure(layout, table, results)
    if figure is not None:
        figure.savefig(args.output / f"{stem}.png", dpi=150)
    print("\n".join([table.to_text(bold=sys.stdout.isatty()), *footer]))
    print(f"written: {args.output / stem}.txt, .csv, .rst, .tex{'' if figure is None else ', .png'}\n")


def _figure(layout: Layout, table: ReportTable, results: pd.DataFrame) -> Figure | None:
    """Of tables of classes: a heat map of the confusion matrix, or dots for each detector."""
    from skcnf.display import BenchmarkDisplay, ConfusionDisplay

    if layout.number == 2 and len(results):
        return ConfusionDisplay.from_frame(table.mean).figure_
    if layout.number in (1, 4) and len(results):
        return BenchmarkDisplay.from_results(results).figure_
    return None


def _comparison(results: pd.DataFrame) -> list[str]:
    """Paired comparisons with CF, where a table has classes to pair."""
    from skcnf.evaluation import compare_detectors, format_comparison

    results = results[results["anomalies"] == "rest"]
    several = results["inlier_class"].nunique() > 1 and results.groupby(["dataset", "features"]).ngroups == 1
    if not several or "CF" not in set(results["detector"]) or results["detector"].nunique() == 1:
        return []
    title = (
        "CF against each, over inlier classes (means over seeds; bootstrap interval of the mean, Wilcoxon and Holm):"
    )
    return ["", title, "", format_comparison(compare_detectors(results)), ""]


def _classes(args: argparse.Namespace) -> list[str] | None:
    return args.classes or (list(_QUICK_CLASSES) if args.quick else None)


def _footer(results: pd.DataFrame, args: argparse.Namespace, start: float) -> list[str]:
    failed = int((results["error"].fillna("") != "").sum())
    fits = results.drop_duplicates(["detector", "config", "features", "dataset", "inlier_class", "seed"])
    seconds = fits[["fit_seconds", "score_seconds"]].sum().sum()
    counts = f"{len(fits)} fits, seeds 0 to {args.seeds - 1}; {seconds:.0f} s of fitting and scoring, "
    counts += f"{time.perf_counter() - start:.0f} s for what was still to do"
    return [*([f"{failed} rows failed; see error in results.csv"] if failed else []), counts, environment()]


def environment() -> str:
    """Versions and hardware, for beside figures."""
    from importlib.metadata import version

    import torch

    packages = ("torch", "scikit-learn", "pyod", "FrEIA", "numpy")
    versions = ", ".join(f"{name} {version(name)}" for name in packages)
    gpu = torch.cuda.get_device_name() if torch.cuda.is_available() else "no GPU"
    return f"Python {platform.python_version()}, {versions}; {os.cpu_count()} cores {platform.machine()}, {gpu}"
