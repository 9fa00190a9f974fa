"""The command ``benchmark``: the main table, the paper's tables, and ablations."""

from __future__ import annotations

import argparse
import io
import os
import platform
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING

from skcnf.cli._arguments import count, names

if TYPE_CHECKING:
    import pandas as pd
    from matplotlib.figure import Figure

    from skcnf.evaluation import ReportTable
    from skcnf.paper import Layout

__all__ = ["add_benchmark", "environment"]

_QUICK_CLASSES = ("car",)  # the first of the five classes that did not choose the defaults
_MAIN = "table"  # the stem of the main table's files
# Known without loading what runs them.
_TABLES = [*range(1, 6), *range(7, 16)]
_ABLATIONS = [
    *("noise", "clamp", "aux-weight", "aux-size", "epochs", "warmup", "flow-ratio", "whitening"),
    *("normalisation", "ensemble", "contamination", "contamination-aux", "aux-kind", "inliers"),
]
_CLAIMS_TITLE = "The paper's claims, measured on its tables and on ours"
_CLAIMS_NOTE = (
    "holds: yes, no, open (the bootstrap interval of the difference over classes holds 0), or not measured here.\n"
    "Without an interval a lead is open if it is smaller than its standard deviation over seeds. Where the paper's\n"
    "number is below 0, its own figures do not bear the claim out."
)


def add_benchmark(commands: argparse._SubParsersAction) -> None:
    """Add the command to ``commands``."""
    command = commands.add_parser(
        "benchmark",
        help="CIFAR-10 one-vs-rest on the bundled features: the AUROC table; the paper's tables and ablations",
        description="CIFAR-10 one-vs-rest on the bundled features. Prints the AUROC table and writes results.csv, "
        "table.txt and auroc.png. With --table or --ablation that table instead, with the paper's figures beside, as "
        ".txt, .csv, .rst and .tex. A run that was cut goes on where it stopped.",
    )
    _add_choices(command)
    _add_means(command)
    command.set_defaults(run=_benchmark)


def _add_choices(command: argparse.ArgumentParser) -> None:
    """What to compute."""
    command.add_argument(
        "--quick", action="store_true", help=f"one class ({', '.join(_QUICK_CLASSES)}); under two minutes on 2 cores"
    )
    command.add_argument("--classes", type=names, metavar="A,B", help="classes to take as inliers (default: all ten)")
    command.add_argument("--detectors", type=names, metavar="A,B", help="rows of the table (default: all)")
    command.add_argument(
        "--image-detectors",
        action="store_true",
        help="also Rot+Trans and CSI in tables 1, 4 and 5, which train encoders on images: hours; needs --data",
    )
    command.add_argument("--table", type=_table, metavar="N", help="table 1 to 5 or 7 to 15 of the paper, or 'all'")
    command.add_argument("--ablation", choices=_ABLATIONS, help="one choice of the method or of the data varied")
    command.add_argument("--claims", action="store_true", help="the paper's claims, by the tables in --output")
    command.add_argument("--seeds", type=count, default=1, metavar="N", help="runs, with seeds 0 to N-1 (default: 1)")


def _add_means(command: argparse.ArgumentParser) -> None:
    """Where the data come from, where to compute, and where to write."""
    command.add_argument("--data", type=Path, metavar="DIR", help="where data sets of images are (see the guide)")
    command.add_argument("--n-jobs", type=int, default=-1, metavar="N", help="processes (default: -1, one a core)")
    command.add_argument("--device", default="auto", help="of the flows: auto, cpu, cuda (default: auto)")
    command.add_argument(
        "--engine",
        choices=("auto", "single", "batched"),
        default="auto",
        help="fit by fit, or all flows of a detector as one model (default: auto, batched on a GPU)",
    )
    command.add_argument("--output", type=Path, default=Path("results"), help="folder (default: results)")


def _table(text: str) -> int | str:
    if text != "all" and text not in map(str, _TABLES):
        raise argparse.ArgumentTypeError(f"{text!r} is no table with results; choose from {_TABLES}, or 'all'")
    return text if text == "all" else int(text)


def _benchmark(args: argparse.Namespace) -> int:
    """Run what ``args`` of the command line ask for; returns the exit status."""
    from skcnf._core.devices import resolve_device
    from skcnf._core.files import remove_abandoned
    from skcnf._core.locks import output_lock

    resolve_device(args.device)
    if args.image_detectors and args.data is None:
        raise ValueError("--image-detectors trains on images; name the folder that holds them by --data.")
    layouts = _layouts(args)
    if args.output.exists() and not args.output.is_dir():
        raise ValueError(f"--output '{args.output}' is no folder; results are several files.")
    args.output.mkdir(parents=True, exist_ok=True)
    with output_lock(args.output / "benchmark"):
        for stem in (*layouts, "auroc", "claims"):  # the lock has looked for its own name alone
            remove_abandoned(args.output / stem)
        for stem, layout in layouts.items():
            _run(args, stem, layout)
        if args.claims:
            _claims(args.output)
    return 0


def _layouts(args: argparse.Namespace) -> dict[str, Layout]:
    """The tables that are asked for, by the stem of their files."""
    from skcnf.paper import ABLATIONS, MAIN_DETECTORS, TABLES, main_layout, make_detectors

    numbers = list(TABLES) if args.table == "all" else [] if args.table is None else [args.table]
    layouts = {f"table{number}": TABLES[number] for number in numbers}
    if args.ablation is not None:
        layouts[f"ablation-{args.ablation}"] = ABLATIONS[args.ablation]
    if layouts or args.claims:
        return layouts
    classes = _classes(args)
    detectors = make_detectors(args.detectors or MAIN_DETECTORS)
    return {_MAIN: main_layout(detectors) if classes is None else main_layout(detectors, classes)}


def _run(args: argparse.Namespace, stem: str, layout: Layout) -> None:
    """Run a table's studies; write and print the table."""
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
        image_detectors=args.image_detectors,
        verbose=True,
    )
    footer = [*_comparison(results), *_footer(results, args, start)]
    written = _write(args.output, stem, layout, table, results, footer)
    print("\n".join([table.to_text(bold=sys.stdout.isatty()), *footer]))
    print(f"written: {', '.join(map(str, written))}\n")


def _claims(folder: Path) -> None:
    """Write and print the paper's claims, computed from the tables in a folder."""
    from skcnf._core.files import write_atomically
    from skcnf.paper import check_claims, claims_to_csv, claims_to_text

    claims = check_claims(folder)
    text = "\n".join([_CLAIMS_TITLE, "", claims_to_text(claims), "", _CLAIMS_NOTE, ""])
    written = [folder / "claims.txt", folder / "claims.csv"]
    for path, content in zip(written, (text, claims_to_csv(claims)), strict=True):
        write_atomically(path, content.encode())
    print(text)
    print(f"written: {', '.join(map(str, written))}")


def _write(
    folder: Path, stem: str, layout: Layout, table: ReportTable, results: pd.DataFrame, footer: list[str]
) -> list[Path]:
    """Write the table in four formats, and its figure; the paths, with that of the results."""
    from skcnf._core.files import write_atomically

    texts = {
        ".txt": "\n".join([table.to_text(), *footer, ""]),
        ".csv": table.to_csv(),
        ".rst": table.to_rst(),
        ".tex": table.to_latex(),
    }
    written = [folder / "results.csv", *(folder / f"{stem}{suffix}" for suffix in texts)]
    for path, text in zip(written[1:], texts.values(), strict=True):
        write_atomically(path, text.encode())
    figure = _figure(stem, layout, table, results)
    if figure is not None:
        written.append(folder / ("auroc.png" if stem == _MAIN else f"{stem}.png"))
        image = io.BytesIO()
        figure.savefig(image, format="png", dpi=150)
        write_atomically(written[-1], image.getvalue())
    return written


def _figure(stem: str, layout: Layout, table: ReportTable, results: pd.DataFrame) -> Figure | None:
    """A heat map of the confusion matrix, dots for each detector of a table of classes, or lines of an ablation."""
    from skcnf.display import AblationDisplay, BenchmarkDisplay, ConfusionDisplay
    from skcnf.paper import ablation_lines

    if layout.lines and len(results):
        return AblationDisplay.from_frame(*ablation_lines(layout, table), label=layout.axis).figure_
    if layout.number == 2 and len(results):
        return ConfusionDisplay.from_frame(table.mean).figure_
    if (stem == _MAIN or layout.number in (1, 4)) and len(results):
        return BenchmarkDisplay.from_results(results).figure_
    return None


def _comparison(results: pd.DataFrame) -> list[str]:
    """Paired comparisons with CF, where a table has classes to pair."""
    from skcnf.evaluation import compare_detectors, format_comparison

    results = results[results["anomalies"] == "rest"].dropna(subset=["auroc"])
    several = results["inlier_class"].nunique() > 1 and results.groupby(["dataset", "variant"]).ngroups == 1
    several = several and results.groupby("detector")["features"].nunique().max() == 1
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
