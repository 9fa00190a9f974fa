"""The command line, over the public API. Heavy imports wait until a command runs."""

from __future__ import annotations

import argparse
import os
import platform
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path

__all__ = ["main"]

# The classes whose training images chose the defaults (docs/defaults.rst); the table gives the others' mean too.
TUNING_CLASSES = ("plane", "bird", "deer", "frog", "ship")
QUICK_CLASSES = ("car",)  # the first of the classes that chose no default


def main(argv: Sequence[str] | None = None) -> int:
    """Run a command; returns the exit status, 2 for bad input."""
    args = _parser().parse_args(argv)
    try:
        return args.run(args)
    except (ValueError, OSError) as error:
        print(f"skcnf {args.command}: {error}", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        print("interrupted; finished rows are kept, run the same command to go on", file=sys.stderr)
        return 130


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m skcnf", description="Anomaly detection with contrastive flows.")
    commands = parser.add_subparsers(dest="command", required=True, metavar="command")
    _add_benchmark(commands)
    _add_features(commands)
    return parser


def _add_benchmark(commands: argparse._SubParsersAction) -> None:
    command = commands.add_parser(
        "benchmark",
        help="CIFAR-10 one-vs-rest on the bundled features: the AUROC table",
        description="CIFAR-10 one-vs-rest on the bundled features. Prints the AUROC table and writes results.csv, "
        "table.txt and auroc.png. A run that was cut goes on where it stopped.",
    )
    command.add_argument(
        "--quick", action="store_true", help=f"one class ({', '.join(QUICK_CLASSES)}); under two minutes on 2 cores"
    )
    command.add_argument("--classes", type=_names, metavar="A,B", help="classes to take as inliers (default: all ten)")
    command.add_argument("--detectors", type=_names, metavar="A,B", help="rows of the table (default: all)")
    command.add_argument("--seeds", type=_count, default=1, metavar="N", help="runs, with seeds 0 to N-1 (default: 1)")
    command.add_argument("--n-jobs", type=int, default=-1, metavar="N", help="processes (default: -1, one a core)")
    command.add_argument("--device", default="auto", help="of the flows: auto, cpu, cuda (default: auto)")
    command.add_argument("--output", type=Path, default=Path("results"), help="folder (default: results)")
    command.set_defaults(run=_benchmark)


def _add_features(commands: argparse._SubParsersAction) -> None:
    command = commands.add_parser(
        "features",
        help="MoCo features of a folder of images, as .npy",
        description="Featurise a folder of images and write an array (n_images, n_features), in the order of the "
        "sorted paths.",
    )
    command.add_argument("images", type=Path, help="a folder of images, searched through")
    command.add_argument("-o", "--output", type=Path, required=True, help="the .npy file to write")
    command.add_argument("--weights", default="tinyimagenet32", help="bundled name or encoder file")
    command.add_argument("--low-res", type=int, metavar="PX", help="shrink images to this size first")
    command.add_argument("--device", default="auto", help="auto, cpu, cuda (default: auto)")
    command.set_defaults(run=_features)


def _names(text: str) -> list[str]:
    return [name.strip() for name in text.split(",") if name.strip()]


def _count(text: str) -> int:
    if not text.isdigit() or int(text) < 1:
        raise argparse.ArgumentTypeError(f"{text!r} is no whole number above 0")
    return int(text)


def _benchmark(args: argparse.Namespace) -> int:
    from skcnf._runtime import resolve_device
    from skcnf.datasets import load_cifar10_features
    from skcnf.display import BenchmarkDisplay
    from skcnf.evaluation import format_table, one_vs_rest
    from skcnf.evaluation._lineup import main_detectors

    start = time.perf_counter()
    resolve_device(args.device)
    data = load_cifar10_features()
    classes = args.classes or list(QUICK_CLASSES if args.quick else data.class_names)
    args.output.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory() as cache:
        detectors = _chosen(main_detectors(args.device, cache), args.detectors)
        results = one_vs_rest(
            detectors,
            data,
            seeds=range(args.seeds),
            classes=classes,
            n_jobs=args.n_jobs,
            output=args.output / "results.csv",
            verbose=True,
        )
    others = [name for name in data.class_names if name not in TUNING_CLASSES]
    groups = {"mean of other 5": others} if set(data.class_names) <= set(classes) else {}
    title = f"AUROC in %, {data.name} one-vs-rest, features under the bundled encoder, seeds: {args.seeds}"
    legend = "best of a column: *; epochs: mean over classes and seeds of the epoch whose weights were kept"
    table = format_table(results, groups=groups)
    text = "\n".join([title, "", table, "", legend, _environment(), f"{time.perf_counter() - start:.0f} s"])
    (args.output / "table.txt").write_text(text + "\n")
    BenchmarkDisplay.from_results(results).figure_.savefig(args.output / "auroc.png", dpi=150)
    if sys.stdout.isatty():
        text = text.replace(table, format_table(results, groups=groups, bold=True)).replace(": *;", ": bold;")
    print(text)
    print(f"written: {', '.join(str(args.output / name) for name in ('results.csv', 'table.txt', 'auroc.png'))}")
    return 0


def _chosen(detectors: dict, names: list[str] | None) -> dict:
    by_lower = {name.lower(): name for name in detectors}
    unknown = [name for name in names or () if name.lower() not in by_lower]
    if unknown:
        raise ValueError(f"--detectors: {unknown} unknown; choose from {list(detectors)}.")
    return detectors if names is None else {by_lower[name.lower()]: detectors[by_lower[name.lower()]] for name in names}


def _environment() -> str:
    from importlib.metadata import version

    import torch

    packages = ("torch", "scikit-learn", "pyod", "FrEIA", "numpy")
    versions = ", ".join(f"{name} {version(name)}" for name in packages)
    gpu = torch.cuda.get_device_name() if torch.cuda.is_available() else "no GPU"
    return f"Python {platform.python_version()}, {versions}; {os.cpu_count()} cores {platform.machine()}, {gpu}"


def _features(args: argparse.Namespace) -> int:

    from skcnf.encoders import write_atomically
    from skcnf.features import MocoFeaturizer

    featurizer = MocoFeaturizer(args.weights, low_res_size=args.low_res, device=args.device, verbose=True)
    features = featurizer.fit_transform(args.images)
    buffer = _npy_bytes(features)
    write_atomically(args.output, buffer)
    print(f"{args.output}: {features.shape[0]} images, {features.shape[1]} features")
    return 0


def _npy_bytes(array: object) -> bytes:
    import io

    import numpy as np

    buffer = io.BytesIO()
    np.save(buffer, array, allow_pickle=False)
    return buffer.getvalue()
