"""Joblib's Dask backend, on a real cluster of two worker processes, one of which is killed in mid-run."""

import os
import signal
import time

import numpy as np
import pytest
from joblib import parallel_config

from skcnf import MSEDetector, one_vs_rest
from skcnf.datasets import LabelledFeatures

distributed = pytest.importorskip("distributed")


class _SlowMSE(MSEDetector):
    def __init__(self, *, pids=None, pause=0.0, contamination=0.1, random_state=None):
        super().__init__(contamination=contamination, random_state=random_state)
        self.pids = pids
        self.pause = pause

    def fit(self, X, y=None, X_aux=None):
        with open(os.path.join(self.pids, str(os.getpid())), "a") as file:
            file.write("x")
        time.sleep(self.pause)
        return super().fit(X, y, X_aux)


def _data():
    rng = np.random.default_rng(0)
    y = np.arange(300) % 3
    X = (rng.normal(0, 2, (3, 4))[y] + rng.normal(size=(300, 4))).astype(np.float32)
    return LabelledFeatures(X[:200], y[:200], X[200:], y[200:], None, ("a", "b", "c"), "toy", "raw")


@pytest.mark.slow
@pytest.mark.moves_generators
@pytest.mark.filterwarnings("ignore")
def test_no_result_is_lost_when_a_worker_of_two_is_killed(tmp_path):
    data, seeds = _data(), range(8)
    (tmp_path / "pids").mkdir()
    slow = {"MSE": _SlowMSE(pids=str(tmp_path / "pids"), pause=0.25)}
    quiet = {"silence_logs": "CRITICAL", "dashboard_address": None}
    with (
        distributed.LocalCluster(n_workers=2, threads_per_worker=1, processes=True, **quiet) as cluster,
        distributed.Client(cluster) as client,
        parallel_config(backend="dask"),
    ):
        pids = list(client.run(os.getpid).values())
        killed = []

        def kill_one(*_):
            # a worker that has begun at least one fit, while others are still to come
            begun = [pid for pid in pids if (tmp_path / "pids" / str(pid)).exists()]
            if len(begun) == 2 and not killed:
                os.kill(begun[0], signal.SIGKILL)
                killed.append(begun[0])

        client.loop.add_callback(_every, 0.05, kill_one, client.loop)
        table = one_vs_rest(slow, data, seeds=seeds, output=tmp_path / "results.csv")
    assert killed
    assert (tmp_path / "results.csv").read_text().count("\n") == 1 + len(table) == 25
    assert (table["error"] == "").all()
    expected = one_vs_rest({"MSE": MSEDetector(contamination=0.1)}, data, seeds=seeds)
    np.testing.assert_array_equal(table["auroc"], expected["auroc"])


def _every(seconds, function, loop):
    function()
    loop.call_later(seconds, _every, seconds, function, loop)
