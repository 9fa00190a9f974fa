"""Kills commands at random moments, goes on with them until they end, and looks for what they leave behind."""

import io
import multiprocessing
import os
import random
import re
import signal
import sys
import time
import zipfile
from collections.abc import Callable
from dataclasses import dataclass
from multiprocessing import resource_tracker
from pathlib import Path

import numpy as np
from PIL import Image

_MODULES = ["skcnf.cli", "skcnf.cli._fitting", "skcnf.cli._scoring", "skcnf.cli._reporting", "skcnf.paper"]
_MODULES += ["skcnf.display", "skcnf.datasets", "skcnf.saving", "torch", "pyod.models.knn", "matplotlib.figure"]
_SHARED_MEMORY = Path("/dev/shm")
_PATIENCE = 60.0  # seconds that workers may take to see that their parent is gone


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


def _run(arguments: list[str], log: str, scratch: str) -> None:
    """In a process and a session of its own: one command, whose words go to ``log``."""
    import torch
    from joblib.externals.loky import reusable_executor

    from skcnf.cli import main

    os.setsid()
    multiprocessing.set_start_method("fork", force=True)  # as in a command, where tqdm's lock then has no name
    resource_tracker._resource_tracker.__init__()  # its own too, and not that of the tests
    torch.set_num_threads(1)
    os.environ |= {"SOURCE_DATE_EPOCH": "0", "JOBLIB_TEMP_FOLDER": scratch}
    with open(log, "a") as file:
        os.dup2(file.fileno(), 1)
        os.dup2(file.fileno(), 2)
    status = main(arguments)
    if reusable_executor._executor is not None:  # an interpreter ends it as it exits, which a fork does not
        reusable_executor._executor.shutdown(wait=True, kill_workers=True)
    sys.exit(status)


class Runner:
    """Processes that have all modules loaded already, so that kills fall into the work.

    After each it is made sure that no process of the command lives on, and that no shared memory is left.
    """

    def __init__(self, folder: Path) -> None:
        self.context = multiprocessing.get_context("forkserver")
        self.context.set_forkserver_preload(_MODULES)
        self.log, self.scratch = folder / "log.txt", folder / "scratch"
        self.scratch.mkdir(exist_ok=True)
        self.slowest_end = 0.0

    def run(self, arguments: list[str], kill_after: float | None = None) -> int | None:
        """The exit status; None if the command was killed before it ended."""
        process = self.context.Process(target=_run, args=(arguments, str(self.log), str(self.scratch)))
        process.start()
        process.join(kill_after)
        if process.is_alive():
            os.kill(process.pid, signal.SIGKILL)
        process.join()
        self._check_that_nothing_is_left(process.pid)
        return None if process.exitcode == -signal.SIGKILL else process.exitcode

    def _check_that_nothing_is_left(self, process: int) -> None:
        start = time.monotonic()
        while left := _session(process) + _shared(process) + [*self.scratch.rglob("*.pkl")]:
            assert time.monotonic() - start < _PATIENCE, f"left behind after {_PATIENCE:.0f} s: {left}"
            time.sleep(0.05)
        self.slowest_end = max(self.slowest_end, time.monotonic() - start)

    def words(self) -> str:
        """What the commands have said lately."""
        return self.log.read_text()[-2000:] if self.log.exists() else ""


def _session(leader: int) -> list[str]:
    """The command lines of living processes that a session's leader has started, at any remove."""
    found = []
    for stat in Path("/proc").glob("[0-9]*/stat"):
        try:
            state, _, _, session = stat.read_text().rpartition(")")[2].split()[:4]
            if int(session) == leader and state != "Z":
                found.append(f"{stat.parent.name} {(stat.parent / 'cmdline').read_text()[:200]}")
        except (OSError, ValueError):  # it has ended
            continue
    return found


def _shared(process: int) -> list[Path]:
    """Shared memory whose name tells the process that made it, as joblib's folders and semaphores do."""
    pattern = re.compile(rf".*[-_]{process}([-_].*)?")
    return [path for path in _SHARED_MEMORY.glob("*") if pattern.fullmatch(path.name)]


@dataclass(frozen=True)
class Job:
    """A command that writes into a folder.

    ``arguments`` are given the folder; ``content`` is what must be equal, of a run that was killed and of one that was
    not.
    """

    name: str
    arguments: Callable[[Path], list[str]]
    content: Callable[[Path], object]


def whole_folder(folder: Path) -> dict[str, bytes]:
    """Every file by name, so that nothing else may stay behind."""
    return {str(path.relative_to(folder)): path.read_bytes() for path in sorted(folder.rglob("*")) if path.is_file()}


def uncut(job: Job, runner: Runner, folder: Path) -> tuple[object, float]:
    """What a run that nobody kills comes to, and the seconds it takes; two runs must agree."""
    contents = []
    for name in ("whole", "again"):  # the first one loads what is loaded but once
        (folder / name).mkdir(parents=True)
        start = time.monotonic()
        assert runner.run(job.arguments(folder / name)) == 0, runner.words()
        seconds = time.monotonic() - start
        contents.append(job.content(folder / name))
    assert contents[0] == contents[1], "two runs that nobody killed differ"
    return contents[0], seconds


def kill_often(job: Job, folder: Path, n_kills: int, seed: int) -> str:
    """Kill runs of a job at random moments, and go on with each until it ends as an uncut run does.

    Every third run is killed again before it may end. Kills that came when the run was over do not count.

    Returns
    -------
    str
        A line that says what was done.
    """
    runner = Runner(folder)
    expected, seconds = uncut(job, runner, folder)
    number = hits = resumed = ends = 0
    while hits < n_kills:
        rng, own = random.Random(f"{seed} {number}"), folder / f"run{number}"
        own.mkdir()
        for _ in range(1 + (number % 3 == 0)):
            if runner.run(job.arguments(own), rng.uniform(0, seconds)) is None:
                hits += 1
                resumed += any(path.is_file() for path in own.rglob("*"))
        status = runner.run(job.arguments(own))
        assert status == 0, f"{job.name}, kill {number} of seed {seed}: status {status}\n{runner.words()}"
        assert job.content(own) == expected, f"{job.name}, kill {number} of seed {seed}: another result"
        number, ends = number + 1, ends + 1
    return (
        f"{job.name}: {hits} kills at random moments of a run of {seconds:.1f} s, {resumed} after files had appeared; "
        f"{ends} of {number} runs then ended as one that nobody killed; nothing left behind, "
        f"the last process was gone after {runner.slowest_end:.1f} s at most"
    )
