"""``--scheduler`` on a real Dask cluster of two worker processes: the rows of a run without it, whatever dies."""

import json
import os
import signal
import threading
import time

import numpy as np
import pytest
from PIL import Image
from tqdm import tqdm

from skcnf._core.row_files import RowFile
from skcnf.cli._console import Console
from skcnf.cli._lines import LineFile

distributed = pytest.importorskip("distributed")
pytestmark = [pytest.mark.slow, pytest.mark.filterwarnings("ignore")]


@pytest.fixture(scope="module")
def many(tmp_path_factory):
    """200 images of noise in one file."""
    path = tmp_path_factory.mktemp("many") / "many.npy"
    np.save(path, np.random.default_rng(0).integers(0, 256, (200, 32, 32, 3), dtype=np.uint8))
    return path


@pytest.fixture(scope="module")
def in_blocks(many, tmp_path_factory):
    """A model that scores 8 images at a time."""
    from skcnf.cli import main

    path = tmp_path_factory.mktemp("model") / "model.skcnf"
    options = ["--detector", "mse", "--set", "moco__batch_size=8", "--false-alarm-rate", "0.4", "-q"]
    assert main(["fit", str(many), "-o", str(path), *options]) == 0
    return path


class _Killer(threading.Thread):
    """Kills a worker that is at work once rows of ``output`` are written, and before all are."""

    def __init__(self, cluster, output):
        super().__init__(daemon=True)
        self.client = distributed.Client(cluster.scheduler_address, set_as_default=False)
        self.log, self.output = output.with_name(f"{output.name}.part.json"), output
        self.processes, self.killed = self.client.run(os.getpid), None

    def run(self):
        while self.killed is None and not self.output.exists():
            busy = [worker for worker, tasks in self.client.processing().items() if tasks]
            if busy and self.log.exists() and json.loads(self.log.read_bytes())["rows"] > 50:
                os.kill(self.processes[busy[0]], signal.SIGKILL)
                self.killed, self.unfinished = busy[0], not self.output.exists()
            time.sleep(0.01)

    def end(self):
        self.join()
        self.client.close()
        assert self.killed, "the run was over before a worker could be killed"
        assert self.unfinished


def test_scores_with_a_killed_worker_are_the_same_bytes(run, cluster, in_blocks, many, tmp_path):
    arguments = ["score", in_blocks, many, "-o"]
    assert run(*arguments, tmp_path / "serial.csv")[0] == 0
    killer = _Killer(cluster, tmp_path / "spread.csv")
    killer.start()
    status, _, err = run(*arguments, tmp_path / "spread.csv", "--scheduler", cluster.scheduler_address)
    assert status == 0, err
    assert "200 inputs" in err
    killer.end()
    assert (tmp_path / "spread.csv").read_bytes() == (tmp_path / "serial.csv").read_bytes()
    assert sorted(path.name for path in tmp_path.iterdir()) == ["serial.csv", "spread.csv"]


def test_features_with_a_killed_worker_are_the_same_bytes(run, cluster, many, tmp_path, monkeypatch):
    from skcnf.moco import MocoFeaturizer

    assert run("features", many, "-o", tmp_path / "serial.npy", "-q")[0] == 0
    monkeypatch.setattr(MocoFeaturizer.__init__, "__kwdefaults__", _smaller_batches(MocoFeaturizer))
    killer = _Killer(cluster, tmp_path / "spread.npy")
    killer.start()
    status, out, err = run("features", many, "-o", tmp_path / "spread.npy", "--scheduler", cluster.scheduler_address)
    assert status == 0, err
    assert out == f"{tmp_path}/spread.npy: 200 images, 128 features\n"
    killer.end()
    assert (tmp_path / "spread.npy").read_bytes() == (tmp_path / "serial.npy").read_bytes()
    assert sorted(path.name for path in tmp_path.iterdir()) == ["serial.npy", "spread.npy"]


def _smaller_batches(cls):
    return {**cls.__init__.__kwdefaults__, "batch_size": 8}


class _Interruption:
    """Presses Ctrl-C when so many blocks have been written."""

    def __init__(self, monkeypatch, cls, at):
        self.left, append = at, cls.append

        def interrupted(own, *block):
            self.left -= 1
            if self.left < 0:
                raise KeyboardInterrupt
            return append(own, *block)

        monkeypatch.setattr(cls, "append", interrupted)


@pytest.mark.parametrize("spread_first", [True, False])
def test_a_cut_run_goes_on_with_or_without_a_cluster(
    run, cluster, in_blocks, images, tmp_path, monkeypatch, spread_first
):
    options = ["--scheduler", cluster.scheduler_address]
    first, second = (options, []) if spread_first else ([], options)
    commands = {
        "score": (["score", in_blocks, images / "normal"], LineFile),
        "features": (["features", images], RowFile),
    }
    for name, (command, cls) in commands.items():
        whole, cut = tmp_path / f"{name}-whole.npy", tmp_path / f"{name}-cut.npy"
        assert run(*command, "-o", whole)[0] == 0
        with monkeypatch.context() as patch:
            _Interruption(patch, cls, at=2 if name == "score" else 0)  # the header is the first; one block of features
            assert run(*command, "-o", cut, *first)[0] == 130
        status, _, err = run(*command, "-o", cut, *second)
        assert (status, ("goes on after 8 rows" in err)) == (0, name == "score")
        assert cut.read_bytes() == whole.read_bytes()


def test_the_bar_counts_all_rows_of_all_workers(run, cluster, in_blocks, images, tmp_path, monkeypatch):
    bars, bar = [], Console.bar
    monkeypatch.setattr(Console, "bar", lambda *args: bars.append(bar(*args)) or bars[-1])
    monkeypatch.setattr(tqdm, "update", lambda self, n: setattr(self, "n", getattr(self, "n", 0) + n))
    for command in (["score", in_blocks], ["features", "-o", tmp_path / "x.npy"]):
        assert run(*command, images / "normal", "--scheduler", cluster.scheduler_address)[0] == 0
    assert [(bar.total, bar.n) for bar in bars] == [(24, 24), (24, 24)]


def test_features_in_files_are_spread_too(run, cluster, model, features, tmp_path):
    pd = pytest.importorskip("pandas")
    pytest.importorskip("pyarrow")
    X = np.repeat(np.load(features / "new.npy"), 80, axis=0)  # more than two blocks
    np.save(tmp_path / "x.npy", X)
    pd.DataFrame(X).rename(columns=str).to_parquet(tmp_path / "x.parquet", row_group_size=1000)
    for name in ("x.npy", "x.parquet"):
        for more in ([], ["--fdr", "0.2", "--json"]):
            arguments = ["score", model, tmp_path / name, *more]
            status, out, _ = run(*arguments, "--scheduler", cluster.scheduler_address)
            assert (status, out.count("\n")) == (0, 9600 + (not more))
            assert out == run(*arguments)[1]


@pytest.fixture
def broken(tmp_path):
    """20 images, number 13 of which is broken."""
    folder = tmp_path / "broken"
    folder.mkdir()
    for number in range(20):
        Image.new("RGB", (32, 32), (number, 0, 0)).save(folder / f"{number:02d}.png")
    (folder / "13.png").write_bytes(b"no image")
    return folder


def test_an_unreadable_image_is_told_as_without_a_cluster(run, cluster, in_blocks, broken, tmp_path):
    options = ["--scheduler", cluster.scheduler_address]
    for command in (["score", in_blocks, broken], ["score", in_blocks, broken, "--strict"]):
        assert run(*command, *options) == run(*command)
    command = ["features", broken, "-o", tmp_path / "x.npy"]
    status, _, err = run(*command, *options)
    assert (status, "13.png" in err) == (2, True)
    assert err == run(*command)[2]


def test_a_worker_that_sees_other_files_is_told(run, cluster, in_blocks, images, tmp_path, monkeypatch):
    monkeypatch.chdir(images)  # the workers run elsewhere
    status, out, err = run("score", in_blocks, "new", "--scheduler", cluster.scheduler_address)
    assert (status, out.count("\n")) == (2, 1)
    assert "cannot begin: NEW 'new' does not exist. Workers must see the same files under the same names" in err
    monkeypatch.setattr("skcnf.__version__", "0.0")
    status, _, err = run("score", in_blocks, images / "new", "--scheduler", cluster.scheduler_address)
    assert (status, "another version of skcnf" in err) == (2, True)


def test_what_cannot_be_spread_is_refused(run, model, image_model, features, tmp_path):
    np.savetxt(tmp_path / "x.csv", np.load(features / "new.npy"), delimiter=",")
    options = ["--scheduler", "tcp://127.0.0.1:1"]
    refused = {
        f"NEW '{tmp_path}/x.csv' must be read from its beginning": ["score", model, tmp_path / "x.csv"],
        "so NEW cannot be '-'": ["score", image_model, "-"],
        "so IMAGES cannot be '-'": ["features", "-", "-o", tmp_path / "f.npy"],
    }
    for message, command in refused.items():
        status, _, err = run(*command, *options)
        assert (status, message in err) == (2, True)
    assert [path.name for path in tmp_path.iterdir()] == ["x.csv"]


def test_a_cluster_that_does_not_answer_is_told_before_any_row(run, in_blocks, many, monkeypatch):
    monkeypatch.setattr("skcnf._core.cluster._CONNECTING", 1.0)
    status, out, err = run("score", in_blocks, many, "--scheduler", "tcp://127.0.0.1:9")
    assert status == 2
    assert out == ""
    assert "no Dask scheduler answers at 'tcp://127.0.0.1:9'" in err
