"""Probe the bundled encoder: its training, and its weighted nearest neighbours on CIFAR-10's test images.

It chooses nothing::

    python benchmarks/probe_encoder.py > docs/results/encoder.txt
"""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
from sklearn.neighbors import NearestNeighbors

import skcnf.datasets
from skcnf.cli._benchmark import environment
from skcnf.datasets import load_cifar10_features

K, TEMPERATURE = 200, 0.1
HISTORY = Path(skcnf.datasets.__file__).parent / "bundled" / "encoder-history.json"
N_IMAGES = 100_000 // 256 * 256  # that an epoch of tools/build_bundle.py uses


def training():
    """A line for each run that trained the encoder; a run's first epoch is number 0."""
    records = json.loads(HISTORY.read_text())
    starts = [i for i, record in enumerate(records) if record["epoch"] == 0]
    for number, (start, stop) in enumerate(zip(starts, [*starts[1:], len(records)], strict=True), 1):
        run = records[start:stop]
        speeds = [record["images_per_second"] for record in run]
        hours = sum(N_IMAGES / speed for speed in speeds) / 3600
        yield (
            f"run {number}: {len(run)} epochs in {hours:.1f} h, loss {run[0]['loss']:.2f} to {run[-1]['loss']:.2f}, "
            f"images a second: median {np.median(speeds):.0f}, {min(speeds):.0f} to {max(speeds):.0f}"
        )


def main():
    data = load_cifar10_features()
    neighbours = NearestNeighbors(n_neighbors=K, algorithm="brute").fit(data.X_train)
    distances, indices = neighbours.kneighbors(data.X_test)
    weights = np.exp((1 - distances**2 / 2) / TEMPERATURE)  # cosine of unit vectors
    votes = np.zeros((len(data.X_test), len(data.class_names)))
    rows = np.arange(len(data.X_test))[:, None]
    np.add.at(votes, (rows, data.y_train[indices]), weights)
    accuracy = (votes.argmax(1) == data.y_test).mean()
    print(environment())
    print(*training(), sep="\n")
    shares = np.linalg.eigvalsh(np.cov(data.X_train.T.astype(np.float64)))
    n_used = int((shares > 1e-5 * shares.sum()).sum())
    print(f"directions with more than 1e-5 of the variance: {n_used} of {len(shares)}")
    print(f"kNN accuracy on CIFAR-10 (k = {K}, cosine, temperature {TEMPERATURE}): {100 * accuracy:.1f} %")


if __name__ == "__main__":
    main()
