"""How training grows: with inliers, with auxiliary rows from a memory map, and with the number of features.

Times are of `ContrastiveFlowDetector` at its defaults but for a fixed number of epochs. The auxiliary rows are random,
in a .npy file below the temporary folder (the largest takes 5 GB there), each size in a process of its own. Prints
text; ``--figure`` draws fit time against inliers.

    python benchmarks/scale.py --figure docs/results/scale.png > docs/results/scale.txt
"""

from __future__ import annotations

import argparse
import statistics
import subprocess
import sys
import tempfile
import time
import warnings
from functools import partial
from pathlib import Path

import numpy as np
import torch
from _measure import bare_products, median_ratio, memory_mib, rounds_of
from numpy.lib.format import open_memmap

from skcnf import ContrastiveFlowDetector
from skcnf._core.devices import resolve_device
from skcnf.cli._benchmark import environment
from skcnf.flows import FlowData, FlowTrainer, RealNVP, Stage, contrastive_loss

D, EPOCHS, BATCH, STEPS = 128, 2, 256, 20
STAGE = Stage(partial(contrastive_loss, clamp=1e6))
INLIERS = (1_000, 2_000, 4_000, 8_000, 16_000, 32_000)
AUX_ROWS = (10_000, 100_000, 1_000_000, 10_000_000)
FEATURES = (2, 8, 32, 128, 512, 2_048)


def fitted_in(X, X_aux, device, epochs):
    detector = ContrastiveFlowDetector(max_epochs=epochs, patience=epochs, device=device, random_state=0)
    start = time.perf_counter()
    detector.fit(X, X_aux)
    return time.perf_counter() - start


def by_inliers(device, rounds):
    rng = np.random.default_rng(0)
    X_aux = (2 * rng.normal(size=(10_000, D))).astype(np.float32)
    times = {n: [] for n in INLIERS}
    for _ in range(rounds):
        for n in INLIERS:
            times[n].append(fitted_in(rng.normal(size=(n, D)).astype(np.float32), X_aux, device, EPOCHS))
    medians = [statistics.median(times[n]) for n in INLIERS]
    slope, start = np.polyfit(INLIERS, medians, 1)
    print(f"fit by inliers: d = {D}, 10,000 auxiliary rows, {EPOCHS} epochs, median of {rounds} (range)")
    for n, seconds in zip(INLIERS, medians, strict=True):
        print(f"  {n:>7,} inliers {seconds:>8.2f} s  ({min(times[n]):.2f} to {max(times[n]):.2f})")
    correlation = np.corrcoef(INLIERS, medians)[0, 1]
    print(f"  line: {1e3 * slope:.3f} ms an inlier + {start:.2f} s; correlation {correlation:.4f}")
    return medians, (slope, start)


def draw(medians, line, file):
    import matplotlib

    matplotlib.use("Agg")
    import matplotlib.pyplot as plt

    figure, axes = plt.subplots(figsize=(5, 3.5), layout="constrained")
    axes.plot(INLIERS, medians, "o", label="measured")
    axes.plot(INLIERS, np.polyval(line, INLIERS), "-", label="least squares")
    axes.set(
        xlabel="inliers", ylabel="seconds to fit", title=f"{EPOCHS} epochs, d = {D}", xlim=(0, None), ylim=(0, None)
    )
    axes.legend()
    figure.savefig(file, dpi=120)


def write_rows(file, n):
    """Random rows, written in parts."""
    rng = np.random.default_rng(0)
    rows = open_memmap(file, mode="w+", dtype=np.float32, shape=(n, D))
    part = (2 * rng.normal(size=(100_000, D))).astype(np.float32)
    for start in range(0, n, len(part)):
        size = min(len(part), n - start)
        rows[start : start + size] = np.roll(part[:size], start // len(part), axis=1)
    rows.flush()


def with_aux_on_disk(n, device):
    """One line: rows, ms a step, seconds before the first step, peak memory. In a process of its own."""
    rng = np.random.default_rng(0)
    X = rng.normal(size=(5_000, D)).astype(np.float32)
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "aux.npy"
        write_rows(file, n)
        X_aux = np.load(file, mmap_mode="r")
        fitted_in(X, X[:2_000], device, 1)  # warms up
        short, long = (fitted_in(X, X_aux, device, epochs) for epochs in (1, 11))
    steps = 10 * -(-4_500 // BATCH)
    own, peak = memory_mib("RssAnon"), memory_mib("VmHWM")
    return f"  {n:>10,} {1e3 * (long - short) / steps:>10.1f} {short:>17.2f} {own:>12,.0f} {peak:>10,.0f}"


def by_aux_rows(device):
    print(
        f"\nfit by auxiliary rows in a memory map: d = {D}, 5,000 inliers (a step's ms include its share of validation)"
    )
    print(
        "        rows  ms a step   seconds, 1 epoch  MiB at end   peak MiB, pages of the map that are cached included"
    )
    for n in AUX_ROWS:
        command = [sys.executable, __file__, "--device", str(device), "--aux-rows", str(n)]
        print(subprocess.run(command, check=True, capture_output=True, text=True).stdout.rstrip(), flush=True)


def by_features(device, rounds):
    print("\nby features: ms a step of fitting; bare products' share of it; rows scored a second, in float32")
    for d in FEATURES:
        X, X_aux = (torch.randn(STEPS * BATCH, d, device=device) * spread for spread in (1.0, 2.0))
        data = FlowData(X, X[:1], X_aux, X_aux[:1], noise_std=torch.full((d,), 0.01, device=device))
        flow, scorer = RealNVP(d).to(device), RealNVP(d).requires_grad_(False).to(device)
        products = bare_products(2 * BATCH, d, device, torch.float32, backward=True)
        functions = {
            "fit": partial(FlowTrainer(max_epochs=1, batch_size=BATCH).train, flow, data, STAGE),
            "products": lambda products=products: [products() for _ in range(STEPS)],
            "score": partial(scorer.log_prob, X),
        }
        times = rounds_of(functions, device, rounds)
        fit, score = (statistics.median(times[name]) for name in ("fit", "score"))
        share = median_ratio(times["products"], times["fit"])
        print(f"  d = {d:>5,} {1e3 * fit / STEPS:>9.1f} {share:>8.0%} {len(X) / score:>12,.0f}", flush=True)


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--device", default="auto")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--figure", type=Path)
    parser.add_argument("--aux-rows", type=int, help=argparse.SUPPRESS)
    args = parser.parse_args()
    warnings.simplefilter("ignore", UserWarning)  # of the clamp: the rows are random
    device = resolve_device(args.device)
    if args.aux_rows:
        print(with_aux_on_disk(args.aux_rows, device))
        return
    print(f"{torch.get_num_threads()} threads, device {device}\n")
    medians, line = by_inliers(device, args.rounds)
    if args.figure:
        draw(medians, line, args.figure)
    by_aux_rows(device)
    by_features(device, args.rounds)
    print(f"\n{environment()}")


if __name__ == "__main__":
    main()
