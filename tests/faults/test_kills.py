"""Every command that says it goes on where it was cut: killed at 50 random moments, it ends in the same bytes.

``pytest -s -m faults tests/faults/test_kills.py`` runs them; the tests of `features` and `pretrain` hold a kill each
for every day. The environment variable SKCNF_KILLS asks for fewer kills of each, and SKCNF_SEED for other moments.
"""

import os
import random
import sys

import pandas as pd
import pytest

from skcnf.evaluation import ResultLog
from tests.faults.kills import Job, Runner, images_zip, kill_often, uncut, whole_folder

_N_KILLS = int(os.environ.get("SKCNF_KILLS", "50"))
_SEED = int(os.environ.get("SKCNF_SEED", "1"))
_NUMBERS = ("auroc", "aupr", "fpr95")
_BENCHMARK = ["benchmark", "--classes", "ship,car", "--detectors", "MSE,MSE-ratio", "--seeds", "2"]

pytestmark = [
    pytest.mark.faults,
    pytest.mark.skipif(not sys.platform.startswith("linux"), reason="processes are looked up in /proc"),
]


def _results(folder):
    """The numbers of a benchmark but for times, in any order; and the names of its files."""
    table = pd.read_csv(folder / "results.csv", keep_default_na=False)
    table = table.drop(columns=["fit_seconds", "score_seconds", "checksum"])
    names = sorted(path.name for path in folder.iterdir())
    return names, sorted(map(tuple, table.astype(str).itertuples(index=False)))


@pytest.fixture(scope="module")
def jobs(tmp_path_factory):
    folder = tmp_path_factory.mktemp("inputs")
    few, many = images_zip(folder / "few.zip", 64, 16), images_zip(folder / "many.zip", 768, 32)
    model = folder / "model.skcnf"
    small = ["--arch", "resnet10", "--width", "8", "--image-size", "16", "--batch-size", "16", "--device", "cpu"]
    fit = ["fit", str(many), "--detector", "mse", "--set", "moco__batch_size=64", "--device", "cpu", "-q", "-o"]
    assert Runner(folder).run([*fit, str(model)]) == 0
    made = [
        Job("features", lambda out: ["features", str(many), "--device", "cpu", "-o", str(out / "x.npy")], whole_folder),
        Job(
            "pretrain",
            lambda out: ["pretrain", str(few), *small, "--epochs", "8", "-o", str(out / "e.safetensors")],
            whole_folder,
        ),
        Job("benchmark", lambda out: [*_BENCHMARK, "--n-jobs", "1", "--output", str(out)], _results),
        Job("fit", lambda out: [*fit, str(out / "model.skcnf")], whole_folder),
        Job(
            "score",
            lambda out: ["score", str(model), str(many), "--device", "cpu", "-q", "-o", str(out / "scores.csv")],
            whole_folder,
        ),
    ]
    return {job.name: job for job in made}


@pytest.mark.parametrize("name", ["features", "pretrain", "benchmark", "fit", "score"])
def test_kills_at_random_moments(jobs, tmp_path, name):
    print(kill_often(jobs[name], tmp_path, _N_KILLS, _SEED))


def _numbers(folder):
    """AUROC and its like for each key that the file of results holds, as the next run reads it."""
    file = folder / "results.csv"
    rows = ResultLog(file)._rows if file.exists() else {}
    return {key: tuple(row[name] for name in _NUMBERS) for key, row in rows.items()}


def test_kills_of_a_benchmark_with_workers_in_a_row(tmp_path):
    """Each kill hits what the one before it has left: no row is lost, and the workers end with their run."""
    job = Job("benchmark", lambda out: [*_BENCHMARK, "--n-jobs", "2", "--output", str(out)], _numbers)
    runner, moments, output = Runner(tmp_path), random.Random(_SEED), tmp_path / "cut"
    expected, seconds = uncut(job, runner, tmp_path)
    output.mkdir()
    hits = grown = 0
    while hits < _N_KILLS:
        before = job.content(output)
        hits += runner.run(job.arguments(output), moments.uniform(0, seconds)) is None
        rows = job.content(output)
        assert before.items() <= rows.items() <= expected.items()
        grown += len(rows) > len(before)
        if rows == expected:  # what is finished is not disturbed by a kill; begin again
            (output / "results.csv").unlink()
    assert runner.run(job.arguments(output)) == 0, runner.words()
    assert job.content(output) == expected
    print(
        f"benchmark of 2 workers: {hits} kills in a row at random moments of a run of {seconds:.1f} s, {grown} after "
        f"new rows; no row lost, none changed; nothing left behind, the last process was gone after "
        f"{runner.slowest_end:.1f} s at most"
    )
