import logging
import os
import re
import signal
import socket
import subprocess
import sys
import threading
import time

import pytest

from skcnf._core import cluster as module
from skcnf._core.cluster import Cluster, ClusterError

distributed = pytest.importorskip("distributed")
pytestmark = pytest.mark.filterwarnings("ignore")  # distributed's own


def _slow_start(number):
    time.sleep(0.2 if number == 0 else 0)
    return number, os.getpid()


def _third_fails(number):
    if number == 3:
        raise ValueError("number 3")
    return number


def _kill_worker(number):
    os.kill(os.getpid(), signal.SIGKILL)


def _units(n):
    return ((number,) for number in range(n))


@pytest.mark.slow
def test_results_come_in_order_from_all_workers(cluster):
    with Cluster(cluster.scheduler_address) as connection:
        results = list(connection.in_order(_slow_start, _units(40)))
    assert [number for number, _ in results] == list(range(40))
    assert len({process for _, process in results}) == 2


@pytest.mark.slow
def test_an_error_comes_after_the_results_before_it(cluster):
    results = []
    with (
        Cluster(cluster.scheduler_address) as connection,
        pytest.raises(ValueError, match=r"^number 3$"),
    ):
        results.extend(connection.in_order(_third_fails, _units(40)))
    assert results == [0, 1, 2]


@pytest.mark.slow
def test_what_ends_every_worker_is_given_up(cluster):
    with (
        Cluster(cluster.scheduler_address) as connection,
        pytest.raises(ClusterError, match=r"gave a part of the work up, since it ended one worker after another"),
    ):
        list(connection.in_order(_kill_worker, _units(1)))


@pytest.fixture
def scheduler():
    """A scheduler without workers: its process and address."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    command = [sys.executable, "-m", "distributed.cli.dask_scheduler", "--host", "127.0.0.1", "--port", str(port)]
    process = subprocess.Popen([*command, "--no-dashboard", "--no-show"], stderr=subprocess.DEVNULL)
    yield process, f"tcp://127.0.0.1:{port}"
    process.kill()
    process.wait()


@pytest.mark.slow
def test_a_cluster_without_workers_and_a_scheduler_that_is_killed_end_the_wait(scheduler, monkeypatch):
    process, address = scheduler
    level = logging.getLogger("distributed").level
    monkeypatch.setattr(module, "_POLL", 0.05)
    with Cluster(address) as connection:
        with monkeypatch.context() as patch:
            patch.setattr(module, "_LONELY", 0.2)
            with pytest.raises(ClusterError, match=f"has had no worker for 0 s; start some by `dask worker {address}`"):
                list(connection.in_order(_slow_start, _units(3)))
        killer = threading.Timer(0.3, process.kill)
        killer.start()
        with pytest.raises(ClusterError, match=f"^the Dask scheduler at '{address}' is gone"):
            list(connection.in_order(_slow_start, _units(3)))
        killer.join()
    assert logging.getLogger("distributed").level == level


@pytest.mark.parametrize("address", ["tcp://127.0.0.1:1", "host", "http://127.0.0.1:1", ""])
def test_an_address_that_does_not_answer_is_named(address, monkeypatch):
    monkeypatch.setattr(module, "_CONNECTING", 0.2)
    with pytest.raises(ClusterError, match=re.escape(f"no Dask scheduler answers at '{address}' (")), Cluster(address):
        pass


def test_a_missing_package_is_named(monkeypatch):
    monkeypatch.setitem(sys.modules, "distributed", None)
    with pytest.raises(ValueError, match=re.escape('pip install "skcnf[cluster]"')), Cluster("tcp://127.0.0.1:1"):
        pass
