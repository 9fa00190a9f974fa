"""The benchmark is killed at random moments: no row is lost, no worker and no shared memory stays behind."""

import os
import random
import subprocess
import sys
import time
from pathlib import Path

import pytest

from skcnf.evaluation import ResultLog

_COMMAND = "benchmark --detectors MSE,MSE-ratio,PCA,KNN --n-jobs 2 --output"
_NUMBERS = ("auroc", "aupr", "fpr95")
pytestmark = [
    pytest.mark.faults,
    pytest.mark.skipif(not Path("/proc/self/environ").exists(), reason="processes are looked up in /proc"),
]


class _Benchmark:
    """The command on one folder; its processes are told from others by where they keep what they share."""

    def __init__(self, folder):
        self.output, self.scratch = folder / "results", folder / "scratch"
        self.scratch.mkdir()
        self.environment = {**os.environ, "JOBLIB_TEMP_FOLDER": str(self.scratch)}

    def start(self):
        command = [sys.executable, "-m", "skcnf", *_COMMAND.split(), str(self.output)]
        return subprocess.Popen(command, env=self.environment, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)

    def finish(self):
        assert self.start().wait() == 0
        return self.rows()

    def rows(self):
        """AUROC and its like for each key that the file holds, as the next run reads it."""
        file = self.output / "results.csv"
        rows = ResultLog(file)._rows if file.exists() else {}
        return {key: tuple(row[name] for name in _NUMBERS) for key, row in rows.items()}

    def workers(self):
        """Processes of the command that are alive."""
        mark = f"JOBLIB_TEMP_FOLDER={self.scratch}\0".encode()
        return [process for process in Path("/proc").glob("[0-9]*") if mark in _read(process / "environ")]


def _read(path):
    try:
        return path.read_bytes()
    except OSError:  # it has ended, or belongs to another user
        return b""


def _wait_until(condition, seconds=60):
    end = time.monotonic() + seconds
    while not condition() and time.monotonic() < end:
        time.sleep(0.05)
    return condition()


def _campaign(folder, n_kills):
    (folder / "whole").mkdir(parents=True)
    start = time.monotonic()
    expected = _Benchmark(folder / "whole").finish()
    duration = time.monotonic() - start
    (folder / "cut").mkdir()
    benchmark, moments = _Benchmark(folder / "cut"), random.Random(0)
    for _ in range(n_kills):
        before = benchmark.rows()
        run = benchmark.start()
        time.sleep(moments.uniform(0, duration))
        run.kill()
        run.wait()
        rows = benchmark.rows()
        assert before.items() <= rows.items() <= expected.items()
        assert _wait_until(lambda: not benchmark.workers())
        assert not list(benchmark.scratch.rglob("*.pkl"))
        if rows == expected:  # what is finished is not disturbed by a kill; begin again
            (benchmark.output / "results.csv").unlink()
    assert benchmark.finish() == expected


def test_twenty_kills_of_the_benchmark(tmp_path):
    _campaign(tmp_path, n_kills=20)
