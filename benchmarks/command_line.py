"""The command line from zip to report: time, memory of ``score``, and kills at random moments.

``python benchmarks/command_line.py {time,memory,kills} FOLDER`` works in FOLDER and prints what docs/results holds.
"""

from __future__ import annotations

import argparse
import os
import random
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
from PIL import Image

SKCNF = (sys.executable, "-m", "skcnf")
os.environ.setdefault("SOURCE_DATE_EPOCH", "0")  # a model file holds the date of its fit


def run(*arguments):
    """Run a command to its end; returns its seconds and its peak memory in MiB."""
    start = time.perf_counter()
    process = subprocess.Popen([*SKCNF, *map(str, arguments)], stdout=subprocess.DEVNULL)
    _, status, usage = os.wait4(process.pid, 0)
    if status:
        raise SystemExit(f"{arguments}: status {os.waitstatus_to_exitcode(status)}")
    return time.perf_counter() - start, usage.ru_maxrss / 1024


def killed(moment, *arguments):
    """Run a command and kill it after so many seconds; returns whether it was still running."""
    process = subprocess.Popen([*SKCNF, *map(str, arguments)], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    try:
        process.wait(moment)
    except subprocess.TimeoutExpired:
        process.send_signal(signal.SIGKILL)
        process.wait()
        return True
    return False


def make_images(folder, n_files, n_pictures=1000, side=32):
    """A folder of n_files image files, links to n_pictures different ones."""
    rng, sources = np.random.default_rng(0), folder / "sources"
    sources.mkdir(parents=True, exist_ok=True)
    for number in range(n_pictures):
        colour = rng.integers(0, 256, 3) + rng.normal(0, 20, (side, side, 3))
        Image.fromarray(colour.clip(0, 255).astype(np.uint8)).save(sources / f"{number}.png")
    target = folder / f"images-{n_files}"
    target.mkdir(exist_ok=True)
    for number in range(n_files):
        link = target / f"{number:06d}.png"
        if not link.exists():
            os.link(sources / f"{number % n_pictures}.png", link)
    return target


def measure_time(folder, normal, aux, new):
    """Two commands, from images to a report."""
    model = folder / "model.skcnf"
    fit, _ = run("fit", normal, "--aux", aux, "-o", model)
    score, _ = run("score", model, new, "-o", folder / "scores.csv", "--report", folder / "report.html")
    print(f"skcnf fit: {fit:.0f} s; skcnf score --report: {score:.0f} s; together {fit + score:.0f} s")


def measure_memory(folder):
    """Peak memory of ``score`` on few and on many images."""
    few, many = make_images(folder, 1_000), make_images(folder, 100_000)
    model = folder / "memory.skcnf"
    run("fit", few, "--detector", "mse", "-o", model, "-q")
    peaks = {}
    for images in (few, many):
        seconds, peaks[images] = run("score", model, images, "-o", folder / "memory.csv", "-q")
        print(f"{images.name}: peak {peaks[images]:,.0f} MiB, {seconds:.0f} s")
    print(f"difference: {peaks[many] - peaks[few]:+.0f} MiB")


def measure_kills(folder, n_kills, seed):
    """Kills at random moments; each run is then repeated and must end in the bytes of an uncut one."""
    images, draw = make_images(folder, 2_000), random.Random(seed)
    model, table = folder / "whole.skcnf", folder / "whole.csv"
    options = ("--set", "moco__batch_size=32", "--set", "max_epochs=2", "--set", "hidden_units=64", "-q")
    commands = {
        "fit": (("fit", images, *options), model),
        "score": (("score", model, images, "-q"), table),
    }
    for name, (command, whole) in commands.items():
        seconds, _ = run(*command, "-o", whole)
        n_cut = n_equal = 0
        while n_cut < n_kills:
            output = folder / f"cut-{name}"
            if killed(draw.uniform(0, seconds), *command, "-o", output):
                n_cut += 1
                run(*command, "-o", output)
                n_equal += output.read_bytes() == whole.read_bytes()
            output.unlink()
        left = [path.name for path in folder.glob(f"cut-{name}*")]
        print(
            f"skcnf {name}: {n_cut} kills within {seconds:.0f} s, {n_equal} ended in the same bytes; left over: {left}"
        )


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("what", choices=("time", "memory", "kills"))
    parser.add_argument("folder", type=Path)
    parser.add_argument("--normal", type=Path, help="time: normal images")
    parser.add_argument("--aux", type=Path, help="time: auxiliary images")
    parser.add_argument("--new", type=Path, help="time: new images")
    parser.add_argument("--kills", type=int, default=20)
    parser.add_argument("--seed", type=int, default=0)
    args = parser.parse_args()
    args.folder.mkdir(parents=True, exist_ok=True)
    if args.what == "time":
        measure_time(args.folder, args.normal, args.aux, args.new)
    elif args.what == "memory":
        measure_memory(args.folder)
    else:
        measure_kills(args.folder, args.kills, args.seed)
