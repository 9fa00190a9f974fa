"""Rows a second of ``skcnf score --scheduler`` with one worker and with two, beside a run without a cluster.

Every worker is a process with one thread, and so is the run without a cluster, which decodes in a second one. Rounds of
all three follow each other; given are medians of the rounds, their range, and the median over rounds of the ratio to
one worker. Where other work shares the cores, seconds of processor time in the processes that score tell what a worker
more would bring. The files of all runs are compared.

    python benchmarks/cluster.py > docs/results/cluster.txt
"""

from __future__ import annotations

import argparse
import os
import statistics
import tempfile
import time
from contextlib import ExitStack
from pathlib import Path

import distributed
import numpy as np
import torch
from _measure import median_ratio, rounds_of

from skcnf.cli import main as skcnf
from skcnf.cli._benchmark import environment

ROUNDS = 3


def run(*arguments):
    if skcnf([*map(str, arguments), "-q"]):
        raise SystemExit(f"{arguments} failed")


def make_inputs(folder, n_images, n_rows):
    """A model and new inputs of images, and the same of features."""
    rng = np.random.default_rng(0)
    np.save(folder / "images.npy", rng.integers(0, 256, (n_images, 32, 32, 3), dtype=np.uint8))
    np.save(folder / "normal.npy", rng.normal(size=(2000, 128)))
    np.save(folder / "features.npy", rng.normal(size=(n_rows, 128)))
    quick = ("--detector", "flow", "--set", "max_epochs=1")
    run("fit", folder / "images.npy", "-o", folder / "images.skcnf", *quick)
    run("fit", folder / "normal.npy", "-o", folder / "features.skcnf", *quick)


def processor_seconds(client):
    """Of this process, or of the workers so far."""
    return time.process_time() if client is None else sum(client.run(time.process_time).values())


def measure(folder, what, n, clients):
    command = ("score", folder / f"{what}.skcnf", folder / f"{what}.npy", "-o")
    options = {
        name: () if client is None else ("--scheduler", client.scheduler.address) for name, client in clients.items()
    }
    processor = {name: [] for name in clients}

    def scoring(name):
        def score():
            before = processor_seconds(clients[name])
            run(*command, folder / f"{name}.csv", *options[name])
            processor[name].append(processor_seconds(clients[name]) - before)

        return score

    times = rounds_of({name: scoring(name) for name in options}, torch.device("cpu"), ROUNDS)
    equal = len({(folder / f"{name}.csv").read_bytes() for name in options}) == 1
    print(f"\n{what}: {n:,} rows; {'all files equal' if equal else 'THE FILES DIFFER'}")
    for name, values in times.items():
        rate, low, high = (n / value for value in (statistics.median(values), max(values), min(values)))
        ratio = median_ratio(times["1 worker"], values)
        spent = 1e6 * statistics.median(processor[name][1:]) / n
        print(
            f"{name:<20} {rate:9,.0f} rows/s   ({low:,.0f} to {high:,.0f})   {ratio:5.2f} times one worker   "
            f"{spent:7,.0f} processor seconds for a million rows"
        )


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
        clients = {"without a cluster": None}
        for n_workers in (1, 2):
            quiet = {"dashboard_address": ":0", "silence_logs": "CRITICAL"}
            cluster = distributed.LocalCluster(n_workers=n_workers, threads_per_worker=1, processes=True, **quiet)
            name = "1 worker" if n_workers == 1 else f"{n_workers} workers"
            clients[name] = scope.enter_context(distributed.Client(scope.enter_context(cluster), set_as_default=False))
        measure(folder, "images", args.images, clients)
        measure(folder, "features", args.rows, clients)


if __name__ == "__main__":
    main()
