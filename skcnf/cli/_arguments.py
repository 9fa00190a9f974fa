"""Types of arguments, and arguments that commands share."""

from __future__ import annotations

import argparse
import math
from pathlib import Path

__all__ = [
    "add_cluster",
    "add_computing",
    "add_encoder",
    "add_groups",
    "add_quiet",
    "count",
    "intensity",
    "jobs",
    "names",
    "rate",
    "seed",
    "setting",
]

IMAGES = (
    "a folder of images (searched through), a zip, a glob in quotes, an image file, or - for paths on standard input"
)
FEATURES = "a .npy, .npz, .csv or .parquet file of features"


def names(text: str) -> list[str]:
    """A list separated by commas."""
    return [name.strip() for name in text.split(",") if name.strip()]


def count(text: str) -> int:
    """A whole number above 0."""
    if not text.isdigit() or int(text) < 1:
        raise argparse.ArgumentTypeError(f"{text!r} is no whole number above 0")
    return int(text)


def jobs(text: str) -> int:
    """How many at a time: a whole number above 0, or -1."""
    if text != "-1" and not (text.isdigit() and int(text)):
        raise argparse.ArgumentTypeError(f"{text!r} is neither a whole number above 0 nor -1, which means one a core")
    return int(text)


def seed(text: str) -> int:
    """What decides everything random."""
    if not text.isdigit() or int(text) >= 2**32:
        raise argparse.ArgumentTypeError(f"{text!r} is no whole number from 0 to {2**32 - 1}")
    return int(text)


def rate(text: str) -> float:
    """A share strictly between 0 and 1."""
    try:
        value = float(text)
    except ValueError:
        value = math.nan
    if not 0 < value < 1:
        hint = "; for 5 % write 0.05" if value >= 1 or text.rstrip().endswith("%") else ""
        raise argparse.ArgumentTypeError(f"{text!r} is no number between 0 and 1{hint}")
    return value


def intensity(text: str) -> tuple[float, float]:
    """Two numbers, the values that become black and white."""
    try:
        low, high = map(float, text.split(","))
    except ValueError:
        raise argparse.ArgumentTypeError(f"{text!r} is not LOW,HIGH: two numbers with a comma, e.g. 0,65535") from None
    if not (math.isfinite(low) and math.isfinite(high) and low < high):
        raise argparse.ArgumentTypeError(f"{text!r}: LOW must be below HIGH, and both must be finite")
    return low, high


def setting(text: str) -> tuple[str, str]:
    """A parameter and its value, ``name=value``."""
    name, equals, value = text.partition("=")
    if not equals or not name.strip():
        raise argparse.ArgumentTypeError(f"{text!r} is not name=value, e.g. max_epochs=30")
    return name.strip(), value.strip()


def add_encoder(command: argparse.ArgumentParser) -> None:
    """How images become features."""
    group = command.add_argument_group("images")
    group.add_argument(
        "--weights",
        metavar="W",
        help="bundled or official name, timm:NAME, torchvision:NAME, hf:NAME, or a file (default: tinyimagenet32)",
    )
    group.add_argument("--low-res", type=count, metavar="PX", help="shrink images to this size first")
    group.add_argument(
        "--precision",
        choices=("float32", "bfloat16"),
        help="of the encoder; bfloat16 is twice as fast on many CPUs (default: float32)",
    )
    group.add_argument(
        "--intensity",
        type=intensity,
        metavar="LOW,HIGH",
        help="for 16-bit and float images: the values that become black and white",
    )


def add_groups(command: argparse.ArgumentParser) -> None:
    """Which group, a camera for instance, an input belongs to."""
    group = command.add_argument_group("groups, each with a threshold of its own").add_mutually_exclusive_group()
    group.add_argument("--groups", type=Path, metavar="FILE", help="a CSV file with a line path,group for each input")
    group.add_argument("--group-by-folder", action="store_true", help="the name of an image's folder is its group")


def add_computing(command: argparse.ArgumentParser) -> None:
    """Where and how the work is done."""
    command.add_argument(
        "--n-jobs", type=jobs, metavar="N", help="images decoded at a time; -1: one a core (default: 1)"
    )
    command.add_argument("--device", default="auto", help="auto, cpu, cuda (default: auto)")


def add_cluster(command: argparse.ArgumentParser) -> None:
    """Whose workers do the work."""
    command.add_argument(
        "--scheduler",
        metavar="ADDRESS",
        help="spread the work over a Dask cluster, whose workers see the same files; the address of its scheduler, "
        "e.g. tcp://host:8786",
    )


def add_quiet(command: argparse.ArgumentParser) -> None:
    """Whether notes and progress are shown."""
    command.add_argument("-q", "--quiet", action="store_true", help="say nothing unless something is wrong")
