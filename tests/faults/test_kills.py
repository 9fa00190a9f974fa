"""Every command that says it goes on where it was cut: killed at 50 random moments, it ends in the same bytes.

``pytest -m faults tests/faults`` runs them; the tests of `features` and `pretrain` hold a kill each for every day.
"""

import multiprocessing
import os

import pandas as pd
import pytest

from tests.faults.kills import Job, images_zip, kill_often, whole_folder

_N_KILLS = int(os.environ.get("SKCNF_KILLS", "50"))  # of each command; fewer for a first look

pytestmark = pytest.mark.skipif("forkserver" not in multiprocessing.get_all_start_methods(), reason="no forkserver")


def _results(folder):
    """The numbers of a benchmark but for times, in any order; and the names of its files."""
    table = pd.read_csv(folder / "results.csv", keep_default_na=False)
    table = table.drop(columns=["fit_seconds", "score_seconds", "checksum"])
    names = sorted(path.name for path in folder.iterdir())
    return names, sorted(map(tuple, table.astype(str).itertuples(index=False)))


@pytest.fixture(scope="module")
def jobs(tmp_path_factory):
    folder = tmp_path_factory.mktemp("inputs")
    few, many = images_zip(folder / "few.zip", 64, 16), images_zip(folder / "many.zip", 1200, 32)
    model = folder / "model.skcnf"
    small = ["--arch", "resnet10", "--width", "8", "--image-size", "16", "--batch-size", "16", "--device", "cpu"]
    fit = ["fit", str(many), "--detector", "mse", "--device", "cpu", "-q", "-o"]
    from tests.faults.kills import Runner

    assert Runner(folder).run([*fit, str(model)]) == 0
    made = [
        Job("features", lambda out: ["features", str(many), "--device", "cpu", "-o", str(out / "x.npy")], whole_folder),
        Job(
            "pretrain",
            lambda out: ["pretrain", str(few), *small, "--epochs", "8", "-o", str(out / "e.safetensors")],
            whole_folder,
        ),
        Job(
            "benchmark",
            lambda out: [
                *["benchmark", "--classes", "ship,car,cat", "--detectors", "MSE,MSE-ratio", "--seeds", "2"],
                *["--n-jobs", "1", "--output", str(out)],
            ],
            _results,
        ),
        Job("fit", lambda out: [*fit, str(out / "model.skcnf")], whole_folder),
        Job(
            "score",
            lambda out: ["score", str(model), str(many), "--device", "cpu", "-q", "-o", str(out / "scores.csv")],
            whole_folder,
        ),
    ]
    return {job.name: job for job in made}


@pytest.mark.faults
@pytest.mark.parametrize("name", ["features", "pretrain", "benchmark", "fit", "score"])
def test_kills_at_random_moments(jobs, tmp_path, name):
    outcome = kill_often(jobs[name], tmp_path, _N_KILLS, seed=1)
    print(f"\n{name}: {outcome}")
    assert outcome["kills"] >= _N_KILLS / 2
