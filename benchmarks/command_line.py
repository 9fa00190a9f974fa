"""The command line from zip to report: time, memory of ``score``, and kills at random moments.

``python benchmarks/command_line.py {time,memory,kills} FOLDER`` works in FOLDER and prints what docs/results holds.
"""

from __future__ import annotations

import argparse
import multiprocessing
import os
import random
import subprocess
import sys
import time
import zipfile
from pathlib import Path

import numpy as np
from PIL import Image

from skcnf.cli._benchmark import environment

SKCNF = (sys.executable, "-m", "skcnf")
os.environ.setdefault("SOURCE_DATE_EPOCH", "0")  # a model file holds the date of its fit


def run(*arguments):
    """Run a command to its end; returns its seconds, its seconds of processor time, and its peak memory in MiB."""
    start = time.perf_counter()
    process = subprocess.Popen([*SKCNF, *map(str, arguments)], stdout=subprocess.DEVNULL)
    _, status, usage = os.wait4(process.pid, 0)
    if status:
        raise SystemExit(f"{arguments}: status {os.waitstatus_to_exitcode(status)}")
    return time.perf_counter() - start, usage.ru_utime + usage.ru_stime, usage.ru_maxrss / 1024


def forked(arguments, moment=None):
    """Run a command in a fork, which spares the imports, and kill it after so many seconds.

    Returns its seconds; None if it was killed.
    """
    process = multiprocessing.get_context("fork").Process(target=_end_with, args=(arguments,))
    start = time.perf_counter()
    process.start()
    process.join(moment)
    if process.exitcode is None:
        process.kill()
        process.join()
        return None
    if process.exitcode:
        raise SystemExit(f"{arguments}: status {process.exitcode}")
    return time.perf_counter() - start


def _end_with(arguments):
    from skcnf.cli import main

    os._exit(main([str(argument) for argument in arguments]))


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


def make_dogs(folder, cifar10):
    """CIFAR-10's dogs as normal images, and 1,000 test images, half of them dogs, as new ones.

    Once as PNG files of 32 px, the normal ones in a zip; once as PNG and JPEG files of 32 to 400 px a side.
    """
    from skcnf.images import read_sheets

    rng = np.random.default_rng(0)
    (train, labels), (test, test_labels) = read_sheets(cifar10, "train"), read_sheets(cifar10, "test")
    dogs = train[labels == "dog"]
    others = rng.choice(np.flatnonzero(test_labels != "dog"), 500, replace=False)
    chosen = rng.permutation([*rng.choice(np.flatnonzero(test_labels == "dog"), 500, replace=False), *others])
    with zipfile.ZipFile(folder / "dogs.zip", "w") as archive:
        for number, image in enumerate(dogs):
            with archive.open(f"{number:05d}.png", "w") as file:
                Image.fromarray(image).save(file, "PNG")
    for name, images in (("dogs-mixed", dogs), ("new", test[chosen]), ("new-mixed", test[chosen])):
        (folder / name).mkdir(exist_ok=True)
        for number, image in enumerate(images):
            size = rng.integers(32, 401, 2) if "mixed" in name else (32, 32)
            suffix = "jpg" if "mixed" in name and number % 3 else "png"
            resized = Image.fromarray(image).resize(tuple(map(int, size)), Image.Resampling.BICUBIC)
            resized.save(folder / name / f"{number:05d}.{suffix}")
    sources = {"a zip": ("dogs.zip", "new"), "folders": ("dogs-mixed", "new-mixed")}
    return {name: (folder / normal, folder / new) for name, (normal, new) in sources.items()}


def measure_time(folder, cifar10, aux):
    """Two commands, from images to a report."""
    for name, (normal, new) in make_dogs(folder, cifar10).items():
        model, report = folder / "model.skcnf", folder / "report.html"
        commands = {
            "fit": ("fit", normal, "--aux", aux, "-o", model, "-q"),
            "score --report": ("score", model, new, "-o", folder / "scores.csv", "--report", report, "-q"),
        }
        for what, command in commands.items():
            seconds, processor, _ = run(*command)
            print(f"from {name}: skcnf {what}: {seconds:.0f} s, {processor:.0f} s of processor time", flush=True)


def measure_memory(folder):
    """Peak memory of ``score`` on few and on many images."""
    few, many = make_images(folder, 1_000), make_images(folder, 100_000)
    model = folder / "memory.skcnf"
    run("fit", few, "--detector", "mse", "-o", model, "-q")
    peaks = {}
    for images in (few, many):
        seconds, _, peaks[images] = run("score", model, images, "-o", folder / "memory.csv", "-q")
        print(f"{images.name}: peak {peaks[images]:,.0f} MiB, {seconds:.0f} s", flush=True)
    print(f"difference: {peaks[many] - peaks[few]:+.0f} MiB")


def measure_kills(folder, n_kills, seed):
    """Kills at random moments; each run is then repeated and must end in the bytes of an uncut one."""
    import torch

    import skcnf.cli._fitting
    import skcnf.cli._scoring  # noqa: F401 - forks begin with the work

    torch.set_num_threads(1)
    images, draw = make_images(folder, 600), random.Random(seed)
    model, table = folder / "whole.skcnf", folder / "whole.csv"
    options = ("--set", "moco__batch_size=16", "--set", "max_epochs=2", "--set", "hidden_units=64", "-q")
    commands = {"fit": (("fit", images, *options), model), "score": (("score", model, images, "-q"), table)}
    for name, (command, whole) in commands.items():
        seconds = forked((*command, "-o", whole))
        counts = dict.fromkeys(("kills", "left a .part", "ended in the same bytes"), 0)
        while counts["kills"] < n_kills:
            output = folder / f"cut-{name}"
            if forked((*command, "-o", output), draw.uniform(0, seconds)) is None:
                counts["kills"] += 1
                counts["left a .part"] += any(path.name.endswith(".part") for path in folder.glob(f"cut-{name}*"))
                forked((*command, "-o", output))
                counts["ended in the same bytes"] += output.read_bytes() == whole.read_bytes()
            output.unlink()
        text = ", ".join(f"{count} {what}" for what, count in counts.items())
        left = [path.name for path in folder.glob(f"cut-{name}*")]
        print(f"skcnf {name}: {text}; files left over: {left}", flush=True)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("what", choices=("time", "memory", "kills"))
    parser.add_argument("folder", type=Path)
    parser.add_argument("--cifar10", type=Path, help="time: the zip of CIFAR-10's sheets")
    parser.add_argument("--aux", type=Path, help="time: auxiliary images")
    parser.add_argument("--kills", type=int, default=20)
    parser.add_argument("--seed", type=int, default=0)
    args = parser.parse_args()
    args.folder.mkdir(parents=True, exist_ok=True)
    print(environment(), f"OMP_NUM_THREADS={os.environ.get('OMP_NUM_THREADS', 'not set')}", sep=", ")
    if args.what == "time":
        measure_time(args.folder, args.cifar10, args.aux)
    elif args.what == "memory":
        measure_memory(args.folder)
    else:
        measure_kills(args.folder, args.kills, args.seed)
