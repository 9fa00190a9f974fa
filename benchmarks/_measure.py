"""What the benchmarks of speed share."""

from __future__ import annotations

import resource
import statistics
import time
from pathlib import Path

import torch

HIDDEN, BLOCKS = 512, 8


def seconds(function, device):
    """How long a call takes, its work on a GPU included."""
    start = time.perf_counter()
    function()
    if device.type == "cuda":
        torch.cuda.synchronize(device)
    return time.perf_counter() - start


def rounds_of(functions, device, rounds):
    """Name to times: rounds of all functions follow each other; the first, which warms up, is left out."""
    times = {name: [] for name in functions}
    for _ in range(rounds + 1):
        for name, function in functions.items():
            times[name].append(seconds(function, device))
    return {name: values[1:] for name, values in times.items()}


def median_ratio(numerators, denominators):
    """Of times of the same rounds."""
    return statistics.median(a / b for a, b in zip(numerators, denominators, strict=True))


def bare_products(n, d, device, dtype, *, backward):
    """The matrix products of a flow's subnetworks for n rows, forward and, if asked for, backward."""

    def random(*shape):
        return torch.randn(*shape, device=device, dtype=dtype)

    x, hidden, out = random(n, d // 2), random(n, HIDDEN), random(n, d)
    layers = [(random(HIDDEN, d // 2), random(d, HIDDEN)) for _ in range(BLOCKS)]

    def products():
        for first, second in layers:
            x @ first.T, hidden @ second.T
            if backward:
                out @ second, out.T @ hidden, hidden @ first, hidden.T @ x

    return products


def memory_mib(field):
    """``VmHWM`` (peak), ``RssAnon`` (now, without pages of files) or the like of this process; elsewhere the peak."""
    status = Path("/proc/self/status")
    if status.exists():
        line = next(line for line in status.read_text().splitlines() if line.startswith(field))
        return int(line.split()[1]) / 1024
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
