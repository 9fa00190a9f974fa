"""Kills commands at random moments, and goes on with them until they end."""

import io
import multiprocessing
import os
import random
import signal
import sys
import time
import zipfile
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from PIL import Image

_MODULES = ["skcnf.cli", "skcnf.cli._fitting", "skcnf.cli._scoring", "skcnf.cli._reporting", "skcnf.paper"]
_MODULES += ["skcnf.display", "skcnf.datasets", "skcnf.saving", "torch", "pyod.models.knn", "matplotlib.figure"]


def images_zip(path: Path, n_images: int, size: int, seed: int = 0) -> Path:
    """A zip of images of noise, each about a colour of its own."""
    rng = np.random.default_rng(seed)
    with zipfile.ZipFile(path, "w") as file:
        for number in range(n_images):
            pixels = (rng.integers(0, 256, 3) + rng.integers(-40, 40, (size, size, 3))).clip(0, 255).astype(np.uint8)
            data = io.BytesIO()
            Image.fromarray(pixels).save(data, "PNG")
            file.writestr(f"{number:04d}.png", data.getvalue())
    return path


def _run(arguments: list[str], log: str) -> None:
    """In a process of its own: one command, whose words go to ``log``."""
    import torch

    from skcnf.cli import main

    torch.set_num_threads(1)
    os.environ["SOURCE_DATE_EPOCH"] = "0"
    with open(log, "a") as file:
        os.dup2(file.fileno(), 1)
        os.dup2(file.fileno(), 2)
    sys.exit(main(arguments))


class Runner:
    """Processes that have all modules loaded already, so that kills fall into the work."""

    def __init__(self, folder: Path) -> None:
        self.context = multiprocessing.get_context("forkserver")
        self.context.set_forkserver_preload(_MODULES)
        self.log = folder / "log.txt"

    def run(self, arguments: list[str], kill_after: float | None = None) -> int | None:
        """The exit status; None if the command was killed before it ended."""
        process = self.context.Process(target=_run, args=(arguments, str(self.log)))
        process.start()
        process.join(kill_after)
        if process.is_alive():
            os.kill(process.pid, signal.SIGKILL)
        process.join()
        return None if process.exitcode == -signal.SIGKILL else process.exitcode

    def words(self) -> str:
        """What the commands have said lately."""
        return self.log.read_text()[-2000:] if self.log.exists() else ""


@dataclass(frozen=True)
class Job:
    """A command that writes into a folder.

    ``arguments`` are given the folder; ``content`` is what must be equal, of a run that was killed and of one that was
    not.
    """

    name: str
    arguments: object
    content: object


def whole_folder(folder: Path) -> dict[str, bytes]:
    """Every file by name, so that nothing else may stay behind."""
    return {str(path.relative_to(folder)): path.read_bytes() for path in sorted(folder.rglob("*")) if path.is_file()}


def kill_often(job: Job, folder: Path, n_kills: int, seed: int) -> dict[str, int]:
    """Kill runs of a job at ``n_kills`` random moments, and go on with each until it ends as an uncut run does.

    Every third run is killed again before it may end. The number of kills that hit a run, and of those that came when
    a part of the output was there already.
    """
    runner = Runner(folder)
    whole = folder / "whole"
    whole.mkdir(parents=True)
    assert runner.run(job.arguments(whole)) == 0, runner.words()  # the first one loads what is loaded but once
    expected = job.content(whole)
    again = folder / "again"
    again.mkdir()
    start = time.monotonic()
    assert runner.run(job.arguments(again)) == 0
    seconds = time.monotonic() - start
    assert job.content(again) == expected, "two runs that nobody killed differ"
    hits = resumed = 0
    for number in range(n_kills):
        rng = random.Random(f"{seed} {number}")
        own = folder / f"run{number}"
        own.mkdir()
        for _ in range(1 + (number % 3 == 0)):
            if runner.run(job.arguments(own), rng.uniform(0, seconds)) is None:
                hits += 1
                resumed += any(path.is_file() for path in own.rglob("*"))
        status = runner.run(job.arguments(own))
        assert status == 0, f"{job.name}, kill {number} of seed {seed}: status {status}\n{runner.words()}"
        assert job.content(own) == expected, f"{job.name}, kill {number} of seed {seed}: another result"
    return {"kills": hits, "with something to go on with": resumed}
