import os
import pickle
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest

from skcnf._core import workers
from skcnf._core.workers import run_all

_LARGE = np.ones((500, 1000))  # beyond the megabyte from which joblib maps an array instead of copying it


def _tens(unit):
    number, rows = unit
    return 10 * number * int(rows[0, 0])


def _tens_or_death(unit):
    """Kill the own process: always for unit 1, at the first attempt for unit 3."""
    number, folder = unit
    if number == 1 or (number == 3 and not (folder / "tried").exists()):
        (folder / "tried").touch()
        os.kill(os.getpid(), signal.SIGKILL)
    return 10 * number


@pytest.mark.parametrize("n_jobs", [1, 2])
def test_every_unit_comes_with_its_result(n_jobs):
    units = [(number, _LARGE) for number in range(5)]
    results = {unit[0]: result for unit, result in run_all(_tens, units, n_jobs)}
    assert results == {number: 10 * number for number in range(5)}


@pytest.mark.skipif(os.name != "posix", reason="signals")
def test_a_killed_worker_costs_its_own_unit_alone(tmp_path, caplog):
    units = [(number, tmp_path) for number in range(6)]
    results = {unit[0]: result for unit, result in run_all(_tens_or_death, units, 2)}
    assert results == {0: 0, 1: None, 2: 20, 3: 30, 4: 40, 5: 50}
    assert "a worker process was killed" in caplog.text


_SCRIPT = """
import os, sys, time
from pathlib import Path
import numpy as np
from skcnf._core import workers
from skcnf._core.workers import run_all

def work(unit):
    Path(sys.argv[1], str(os.getpid())).touch()
    time.sleep(60)

list(run_all(work, [(number, np.ones((500, 1000))) for number in range(4)], 2))
"""


def test_what_is_sent_to_a_worker_ties_it_to_its_parent(tmp_path):
    """An orphan ends as it reads its work, before it has imported what the work needs."""
    work = pickle.dumps((workers._Parent(os.getpid() + 1), "the work"))
    (tmp_path / "work.pkl").write_bytes(work)
    code = "import pickle, sys; print(pickle.load(open(sys.argv[1], 'rb')))"
    orphan = subprocess.run([sys.executable, "-c", code, str(tmp_path / "work.pkl")], capture_output=True, check=False)
    assert (orphan.returncode, orphan.stdout) == ((1, b"") if os.name == "posix" else (0, b"(None, 'the work')\n"))


def _is_alive(process):
    try:
        return Path(f"/proc/{process}/stat").read_text().rsplit(")", 1)[1].split()[0] != "Z"
    except FileNotFoundError:
        return False


def _wait_until(condition, seconds=60):
    end = time.monotonic() + seconds
    while not condition() and time.monotonic() < end:
        time.sleep(0.05)
    return condition()


@pytest.mark.slow
@pytest.mark.skipif(not Path("/proc/self/stat").exists(), reason="processes are looked up in /proc")
def test_a_killed_run_leaves_neither_workers_nor_their_memory(tmp_path):
    """The fits would last a minute; the workers end within seconds, and what they shared with them."""
    (tmp_path / "pids").mkdir()
    (tmp_path / "scratch").mkdir()
    environment = {**os.environ, "JOBLIB_TEMP_FOLDER": str(tmp_path / "scratch")}
    run = subprocess.Popen(
        [sys.executable, "-c", _SCRIPT, str(tmp_path / "pids")], env=environment, stderr=subprocess.DEVNULL
    )
    assert _wait_until(lambda: len(os.listdir(tmp_path / "pids")) == 2)
    assert list((tmp_path / "scratch").rglob("*.pkl"))
    run.kill()
    run.wait()
    assert _wait_until(lambda: not any(map(_is_alive, os.listdir(tmp_path / "pids"))), 10)
    assert _wait_until(lambda: not list((tmp_path / "scratch").rglob("*.pkl")), 10)


_IDLE_SCRIPT = """
import os, signal, sys
from joblib.externals.loky import reusable_executor
from skcnf._core import workers

def work(unit):
    return os.getpid()

assert len(list(workers._run(work, ["a unit"], 2, sys.argv[1]))) == 1
print(*reusable_executor._executor._processes, flush=True)
os.kill(os.getpid(), signal.SIGKILL)
"""


@pytest.mark.slow
@pytest.mark.skipif(not Path("/proc/self/stat").exists(), reason="processes are looked up in /proc")
@pytest.mark.skipif(not workers._HAS_OPTIONS, reason="this joblib gives workers nothing before their first unit")
def test_a_worker_that_has_had_no_unit_ends_with_its_parent(tmp_path):
    """It would wait for one for five minutes; or for ever, where a kill has cut the one that was on its way."""
    with (tmp_path / "processes").open("w") as file:  # no pipe, which workers that live on would hold open
        run = subprocess.run([sys.executable, "-c", _IDLE_SCRIPT, str(tmp_path)], stdout=file, check=False)
    processes = (tmp_path / "processes").read_text().split()
    assert (run.returncode, len(processes)) == (-signal.SIGKILL, 2)
    assert _wait_until(lambda: not any(map(_is_alive, processes)), 20)


def test_each_unit_is_sent_alone(monkeypatch):
    """joblib sends short units in batches that grow: long ones would queue behind them, and a kill would cost all."""
    asked = []

    class Recorded(workers.Parallel):
        def __init__(self, **options):
            asked.append(options["batch_size"])
            super().__init__(**options)

    monkeypatch.setattr(workers, "Parallel", Recorded)
    assert len(list(run_all(_tens, [(number, _LARGE) for number in range(3)], 1))) == 3
    assert asked == [1]
