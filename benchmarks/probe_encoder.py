"""Probe the bundled encoder: accuracy of weighted nearest neighbours on CIFAR-10's test images. It chooses nothing.

python benchmarks/probe_encoder.py > docs/results/encoder.txt
"""

from __future__ import annotations

import numpy as np
from sklearn.neighbors import NearestNeighbors

from skcnf.cli._benchmark import environment
from skcnf.datasets import load_cifar10_features

K, TEMPERATURE = 200, 0.1


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
    print(f"kNN accuracy on CIFAR-10 (k = {K}, cosine, temperature {TEMPERATURE}): {100 * accuracy:.1f} %")


if __name__ == "__main__":
    main()
