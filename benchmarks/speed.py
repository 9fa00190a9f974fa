"""Fitting, scoring and sampling beside the bare matrix products, a plain FrEIA loop, zuko and normflows, in one run.

All have the paper's architecture (RealNVP, 8 blocks, subnetworks 64-512-128, d = 128) and random float32 rows. A step
of fitting sees 256 inliers and 256 auxiliary rows. Rounds of all candidates follow each other, so that a busy machine
slows all alike; given are medians of the rounds, their range, and the median over rounds of the ratio to the bare
products of the same round. Bare products are those of the subnetworks alone, forward and, in fitting, backward.

    pip install zuko normflows
    python benchmarks/speed.py > docs/results/speed.txt
"""

from __future__ import annotations

import argparse
import copy
import statistics
import subprocess
import sys
import warnings
from functools import partial

import normflows
import numpy as np
import torch
import zuko
from _measure import BLOCKS, HIDDEN, bare_products, median_ratio, memory_mib, rounds_of, seconds

from skcnf import ContrastiveFlowDetector
from skcnf._core.devices import resolve_device
from skcnf.cli._benchmark import environment
from skcnf.datasets import load_cifar10_features
from skcnf.evaluation import auroc
from skcnf.flows import (
    FlowData,
    FlowTask,
    FlowTrainer,
    RealNVP,
    Stage,
    contrastive_loss,
    negative_log_likelihood,
    train_together,
)

D, BATCH, STEPS, EPOCHS = 128, 256, 20, 2
CLAMP = 1e6  # every auxiliary row has a gradient
TILE = 1024  # rows of a pass in scoring, for all candidates
IMPORTS = ("import skcnf", "import torch", "import FrEIA.modules", "import zuko", "import normflows")
CPU = torch.device("cpu")
FITS = {
    "the default": {},
    "plain weights, at most 20 epochs": {"weight_averaging": 0.0, "max_epochs": 20},
}


def freia_log_prob(flow):
    def log_prob(x):
        log_det = x.new_zeros(len(x))
        for block in flow.blocks:
            (x,), block_log_det = block((x,))
            log_det = log_det + block_log_det
        return -negative_log_likelihood(x, log_det)

    return log_prob


def zuko_flow(device):
    flow = zuko.flows.RealNVP(D, transforms=BLOCKS, hidden_features=[HIDDEN]).to(device)
    return flow, lambda x: flow().log_prob(x), lambda n: flow().sample((n,))


def normflows_flow(device):
    layers = []
    for _ in range(BLOCKS):
        subnet = normflows.nets.MLP([D // 2, HIDDEN, D], init_zeros=True)
        layers += [normflows.flows.AffineCouplingBlock(subnet), normflows.flows.Permute(D, mode="shuffle")]
    flow = normflows.NormalizingFlow(normflows.distributions.DiagGaussian(D, trainable=False), layers).to(device)
    return flow, flow.log_prob, lambda n: flow.sample(n)[0]


def random_rows(device):
    return tuple(torch.randn(STEPS * BATCH, D, device=device) * spread for spread in (1.0, 2.0))


def loop(module, log_prob, device, *, passes, fused):
    """``EPOCHS`` of ``STEPS`` of the contrastive objective, in one pass of both kinds of rows or two."""
    X, X_aux = random_rows(device)
    parameters = [parameter for parameter in module.parameters() if parameter.requires_grad]
    optimizer = torch.optim.Adam(parameters, lr=1e-3, fused=fused or None)

    def steps():
        for x, x_aux in EPOCHS * list(zip(X.split(BATCH), X_aux.split(BATCH), strict=True)):
            if passes == 2:
                nll, nll_aux = -log_prob(x), -log_prob(x_aux)
            else:
                nll, nll_aux = (-log_prob(torch.cat([x, x_aux]))).split(BATCH)
            loss = contrastive_loss(nll, nll_aux, CLAMP)
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()

    return steps


def package_steps(device, *, n_flows=1, weight_averaging=0.97):
    """A run of ``EPOCHS`` of ``STEPS``: batches drawn, noise, averaged weights, held-out rows, best weights."""
    X, X_aux = random_rows(device)
    noise = torch.full((D,), 0.01, device=device)
    flows = [RealNVP(D, seed=seed).to(device) for seed in range(n_flows)]
    trainer = FlowTrainer(max_epochs=EPOCHS, batch_size=BATCH, weight_averaging=weight_averaging)
    data = FlowData(X, X[:1], X_aux, X_aux[:1], noise_std=noise)

    def run():
        stage = Stage(partial(contrastive_loss, clamp=CLAMP))
        train_together([FlowTask(trainer, flow, data, stage) for flow in flows], batched=True)

    return run


def without_grad(function, rows):
    def score():
        with torch.no_grad():
            for part in rows.split(TILE):
                function(part)

    return score


def table(title, functions, device, rounds, unit, *, per_second):
    """``unit`` is what one call handles; of several flows, each by each."""
    times = rounds_of(functions, device, rounds)
    base = next(iter(times.values()))
    print(f"\n{title}")
    for name, values in times.items():
        units = unit * (int(name.split()[1]) if name.endswith("flows together") else 1)
        shown = sorted(units / t if per_second else 1e3 * t / units for t in values)
        ratio = median_ratio(base, values) * units / unit
        low, middle, high = (f"{value:,.4g}" for value in (shown[0], statistics.median(shown), shown[-1]))
        print(f"  {name:<54}{middle:>10}  {f'({low} to {high})':<22}{ratio:>6.2f} of the bare rate", flush=True)


def fitting(device, rounds):
    flow, freia = RealNVP(D).to(device), RealNVP(D).to(device)
    theirs = {"zuko": zuko_flow(device), "normflows": normflows_flow(device)}
    products = bare_products(2 * BATCH, D, device, torch.float32, backward=True)
    functions = {
        "bare products, float32": lambda: [products() for _ in range(EPOCHS * STEPS)],
        "skcnf, the whole run": package_steps(device),
        "skcnf, the whole run, weights not averaged": package_steps(device, weight_averaging=0.0),
        "skcnf, 5 flows together": package_steps(device, n_flows=5),
        "FrEIA's blocks, 2 passes, Adam": loop(flow, freia_log_prob(flow), device, passes=2, fused=False),
        "FrEIA's blocks, 1 pass, fused Adam": loop(freia, freia_log_prob(freia), device, passes=1, fused=True),
        **{
            f"{name}, 1 pass, fused Adam": loop(module, log_prob, device, passes=1, fused=True)
            for name, (module, log_prob, _) in theirs.items()
        },
    }
    title = f"fit: ms a step of {BATCH} inliers and {BATCH} auxiliary rows, and flow"
    table(title, functions, device, rounds, EPOCHS * STEPS, per_second=False)


def profile(device):
    """Where the time of a step goes, by operation."""
    run = package_steps(device)
    run()
    activities = [torch.profiler.ProfilerActivity.CPU]
    with torch.profiler.profile(activities=activities) as recorded:
        wall = seconds(run, device)
    operations = sorted(recorded.key_averages(), key=lambda event: -event.self_cpu_time_total)
    products = {"aten::bmm", "aten::baddbmm", "aten::baddbmm_"}
    shares = {event.key: event.self_cpu_time_total / 1e6 / wall for event in operations}
    print("\nfit, skcnf: share of a step's time by operation (the profiler's own work included)")
    print(f"  {'products':<54}{sum(shares[name] for name in products):>10.1%}")
    for name, share in [item for item in shares.items() if item[0] not in products][:14]:
        print(f"  {name:<54}{share:>10.1%}")


def stopping(device):
    data = load_cifar10_features()
    X = data.X_train[data.y_train == 0]
    print(f"\nfit to the stopping point: CIFAR-10, plane, {len(X):,} inliers, {len(data.X_aux):,} auxiliary")
    for name, settings in FITS.items():
        detector = ContrastiveFlowDetector(device=device, random_state=0, **settings)
        took = seconds(partial(detector.fit, X, data.X_aux), device)
        epochs = len(detector.history_)
        rate = 2 * 0.9 * len(X) * epochs / took
        print(f"  {name:<54}{took:>10.2f} s  {epochs} epochs, {rate:,.0f} rows a second, validation included")


def precision(device):
    """How far scores in float32 are from those in float64, on CIFAR-10's test images with plane as the normal class."""
    data = load_cifar10_features()
    detector = ContrastiveFlowDetector(device=device, random_state=0).fit(data.X_train[data.y_train == 0], data.X_aux)
    scores = detector.score_samples(data.X_test)
    detector.flows_ = [copy.deepcopy(flow).double().requires_grad_(False) for flow in detector.flows_]
    precise = detector.score_samples(data.X_test)
    difference, y = np.abs(scores - precise), np.where(data.y_test == 0, 1, -1)
    ranks = [values.argsort().argsort() for values in (scores, precise)]
    moved = np.abs(ranks[0] - ranks[1])
    aurocs = [auroc(y, values) for values in (scores, precise)]
    print(f"\nscores in float32 and in float64: {len(y):,} rows, of standard deviation {precise.std():.1f} nats")
    print(f"  difference in nats: median {np.median(difference):.1e}, largest {difference.max():.1e}")
    print(f"  ranks that differ: {np.mean(moved > 0):.2%} of the rows, by {moved.max()} at most")
    print(f"  AUROC: {aurocs[0]:.8f} and {aurocs[1]:.8f}")


def scoring(device, rounds):
    rng = np.random.default_rng(0)
    X, X_aux = rng.normal(size=(600, D)), 2 * rng.normal(size=(600, D))
    detectors = {}
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)  # of the clamp: one epoch does not reach it
        for name in ("float64", "float32"):
            detector = ContrastiveFlowDetector(max_epochs=1, score_precision=name, device=device, random_state=0)
            detectors[name] = detector.fit(X, X_aux)
    peers = {
        "FrEIA's blocks, float64": (freia_log_prob(RealNVP(D).to(device).double()), torch.float64),
        "FrEIA's blocks, float32": (freia_log_prob(RealNVP(D).to(device)), torch.float32),
        "zuko, float32": (zuko_flow(device)[1], torch.float32),
        "normflows, float32": (normflows_flow(device)[1], torch.float32),
    }
    for n in (1, 256, 100_000):
        score_rows(n, detectors, peers, device, rounds if n < 1000 else max(3, rounds // 3))


def score_rows(n, detectors, peers, device, rounds):
    rows = torch.randn(n, D, device=device)
    X = rows.cpu().numpy()
    repeat = -(-n // TILE)
    products = {
        name: bare_products(min(n, TILE), D, device, dtype, backward=False)
        for name, dtype in (("float64", torch.float64), ("float32", torch.float32))
    }
    calls = 100 if n == 1 else 1
    functions = {
        **{
            f"bare products, {name}": lambda call=call: [call() for _ in range(repeat * calls)]
            for name, call in products.items()
        },
        **{
            f"skcnf, score_samples, {name}": lambda detector=detector: [detector.score_samples(X) for _ in range(calls)]
            for name, detector in detectors.items()
        },
    }
    for name, (log_prob, dtype) in peers.items():
        score = without_grad(log_prob, rows.to(dtype))
        functions[name] = lambda score=score: [score() for _ in range(calls)]
    table(f"score: rows a second, {n:,} rows a call", functions, device, rounds, n * calls, per_second=True)


def sampling(device, rounds):
    n = 4096
    flow, zuko_sample, normflows_sample = RealNVP(D).to(device), zuko_flow(device)[2], normflows_flow(device)[2]
    products = bare_products(TILE, D, device, torch.float32, backward=False)
    sizes = torch.full((n // TILE,), TILE)
    functions = {
        "bare products, float32": lambda: [products() for _ in sizes],
        "skcnf, float32": lambda: [flow.sample(TILE) for _ in sizes],
        "zuko, float32": lambda: [without_grad(lambda _: zuko_sample(TILE), sizes[:1])() for _ in sizes],
        "normflows, float32": lambda: [without_grad(lambda _: normflows_sample(TILE), sizes[:1])() for _ in sizes],
    }
    table(f"sample: rows a second, {n:,} rows", functions, device, rounds, n, per_second=True)


def memory_tasks(device):
    """Name to what a process of its own does; their peaks say what each needs beyond torch and the rows."""
    theirs = {"zuko": partial(zuko_flow, device), "normflows": partial(normflows_flow, device)}
    freia = RealNVP(D).to(device)
    return {
        "nothing but the imports": lambda: None,
        "fit, skcnf": package_steps(device),
        "fit, FrEIA's blocks, 1 pass": loop(freia, freia_log_prob(freia), device, passes=1, fused=True),
        **{
            f"fit, {name}, 1 pass": lambda make=make: loop(*make()[:2], device, passes=1, fused=True)()
            for name, make in theirs.items()
        },
        "score 1,000 rows, skcnf": partial(score_some, 1000),
        "score 200,000 rows (98 MiB), skcnf": partial(score_some, 200_000),
    }


def score_some(n):
    rng = np.random.default_rng(0)
    rows = rng.normal(size=(n, D)).astype(np.float32)
    detector = ContrastiveFlowDetector(max_epochs=1, device="cpu", random_state=0)
    warnings.simplefilter("ignore", UserWarning)
    detector.fit(rng.normal(size=(600, D)), 2 * rng.normal(size=(600, D))).score_samples(rows)


def memory(device):
    print("\nmemory: peak of a process, MiB" + ("" if device.type == "cpu" else " (of the host)"))
    for name in memory_tasks(device):
        command = [sys.executable, __file__, "--device", str(device), "--peak", name]
        print(f"  {name:<54}{subprocess.run(command, check=True, capture_output=True, text=True).stdout.strip():>10}")


def importing(rounds):
    print("\nimport: seconds in a fresh process, less an empty one")
    commands = {code: ["-c", code] for code in IMPORTS} | {"python -m skcnf --help": ["-m", "skcnf", "--help"]}

    def run(command):
        return seconds(lambda: subprocess.run([sys.executable, *command], check=True, stdout=subprocess.DEVNULL), CPU)

    for name, command in commands.items():
        times = sorted(run(command) - run(["-c", ""]) for _ in range(rounds))
        spread = f"({times[0]:.3f} to {times[-1]:.3f})"
        print(f"  {name:<54}{statistics.median(times):>10.3f}  {spread}", flush=True)


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--device", default="auto")
    parser.add_argument("--rounds", type=int, default=9)
    parser.add_argument("--threads", type=int, help="of torch; its own choice by default")
    parser.add_argument("--peak", help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.threads:
        torch.set_num_threads(args.threads)
    device = resolve_device(args.device)
    if args.peak:
        memory_tasks(device)[args.peak]()
        print(f"{memory_mib('VmHWM'):,.0f}")
        return
    print(f"medians of {args.rounds} rounds (range); {torch.get_num_threads()} threads, device {device}")
    fitting(device, args.rounds)
    profile(device)
    stopping(device)
    scoring(device, args.rounds)
    precision(device)
    sampling(device, args.rounds)
    memory(device)
    importing(args.rounds)
    print(f"\n{environment()}")


if __name__ == "__main__":
    main()
