"""Rows a second of ``skcnf score --scheduler`` with one worker and with two, beside a run without a cluster.

Every worker is a process with one thread, and so is the run without a cluster. Rounds of all three follow each other;
given are medians of the rounds, their range, and the median over rounds of the ratio to one worker. The files of all
runs are compared.

    python benchmarks/cluster.py > docs/results/cluster.txt
"""

from __future__ import annotations

import argparse
import os
import statistics
import tempfile
from contextlib import ExitStack
from pathlib import Path

import distributed
import numpy as np
import torch
from _measure import median_ratio, rounds_of

from skcnf.cli import main as skcnf
from skcnf.cli._benchmark import environment

ROUNDS = 5


def run(*arguments):
    if skcnf([*map(str, arguments), "-q"]):
        raise SystemExit(f"{arguments} failed")


def make_inputs(folder, n_images, n_rows):
    """A model and new inputs of images, and the same of features."""
    rng = np.random.default_rng(0)
    np.save(folder / "images.npy", rng.integers(0, 256, (n_images, 32, 32, 3), dtype=np.uint8))
    np.save(folder / "normal.npy", rng.normal(size=(2000, 128)))
    np.save(folder / "features.npy", rng.normal(size=(n_rows, 128)))
    quick = ("--set", "max_epochs=1")
    run("fit", folder / "images.npy", "-o", folder / "images.skcnf", *quick)
    run("fit", folder / "normal.npy", "-o", folder / "features.skcnf", *quick)


def measure(folder, what, n, addresses):
    command = ("score", folder / f"{what}.skcnf", folder / f"{what}.npy", "-o")
    options = {"without a cluster": (), **{name: ("--scheduler", at) for name, at in addresses.items()}}

    def scoring(name):
        return lambda: run(*command, folder / f"{name}.csv", *options[name])

    times = rounds_of({name: scoring(name) for name in options}, torch.device("cpu"), ROUNDS)
    equal = len({(folder / f"{name}.csv").read_bytes() for name in options}) == 1
    print(f"\n{what}: {n:,} rows; {'all files equal' if equal else 'THE FILES DIFFER'}")
    for name, values in times.items():
        rate, low, high = (n / value for value in (statistics.median(values), max(values), min(values)))
        ratio = median_ratio(times["1 worker"], values)
        print(f"{name:<20} {rate:9,.0f} rows/s   ({low:,.0f} to {high:,.0f})   {ratio:5.2f} times one worker")


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--images", type=int, default=4096)
    parser.add_argument("--rows", type=int, default=65_536)
    args = parser.parse_args()
    torch.set_num_threads(1)
    load = os.getloadavg()[0]
    print(f"{environment()}, distributed {distributed.__version__}; load {load:.1f} at the start")
    with ExitStack() as scope:
        folder = Path(scope.enter_context(tempfile.TemporaryDirectory()))
        make_inputs(folder, args.images, args.rows)
        addresses = {}
        for n_workers in (1, 2):
            quiet = {"dashboard_address": None, "silence_logs": "CRITICAL"}
            cluster = distributed.LocalCluster(n_workers=n_workers, threads_per_worker=1, processes=True, **quiet)
            addresses["1 worker" if n_workers == 1 else f"{n_workers} workers"] = scope.enter_context(
                cluster
            ).scheduler_address
        measure(folder, "images", args.images, addresses)
        measure(folder, "features", args.rows, addresses)


if __name__ == "__main__":
    main()
