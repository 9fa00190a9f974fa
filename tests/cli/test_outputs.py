"""Outputs are checked, and held, before the work."""

import re
import subprocess
import sys

import numpy as np
import pytest
from PIL import Image

from skcnf._core.files import _machine
from skcnf._core.locks import output_lock
from skcnf.cli import main


@pytest.fixture
def images(tmp_path):
    folder = tmp_path / "images"
    folder.mkdir()
    for number in range(3):
        Image.fromarray(np.full((16, 16, 3), 80 * number, np.uint8)).save(folder / f"{number}.png")
    return folder


def _command(name, images, output):
    """What writes ``output``, and the name that a run of it holds."""
    if name == "benchmark":
        return ["benchmark", "--output", str(output), "--classes", "ship", "--detectors", "MSE"], output / "benchmark"
    return [name, str(images), "-o", str(output)], output


@pytest.mark.parametrize("name", ["features", "pretrain", "benchmark"])
def test_a_second_run_is_refused_and_told_of_the_first(name, images, tmp_path, capsys):
    command, held = _command(name, images, tmp_path / "out.pth")
    held.parent.mkdir(exist_ok=True)
    with output_lock(held):
        assert main(command) == 2
    message = rf"skcnf {name}: '{re.escape(str(held))}' is being written by process \d+; wait until it ends"
    assert re.match(message, capsys.readouterr().err)


@pytest.mark.parametrize("name", ["features", "pretrain"])
@pytest.mark.parametrize(
    ("output", "message"),
    [("nowhere/x.pth", "does not exist; create it"), ("images.pth", "is a folder"), ("x" * 250 + ".pth", "too long")],
)
def test_outputs_that_cannot_be_written_are_refused_before_the_work(
    name, images, tmp_path, capsys, monkeypatch, output, message
):
    import skcnf.images

    (tmp_path / "images.pth").mkdir()
    monkeypatch.setattr(skcnf.images, "image_source", lambda *_: pytest.fail("the work began"))
    assert main(_command(name, images, tmp_path / output)[0]) == 2
    assert message in capsys.readouterr().err
    assert {path.name for path in tmp_path.iterdir()} == {"images", "images.pth"}


def test_the_benchmark_deletes_what_killed_runs_have_half_written(tmp_path, capsys):
    ended = subprocess.Popen([sys.executable, "-c", ""])
    ended.wait()
    for name in ("table.txt", "auroc.png", "results.csv"):
        (tmp_path / f"{name}.{_machine()}-{ended.pid}-1.part").write_bytes(b"half")
    command, _ = _command("benchmark", None, tmp_path)
    assert main(command) == 0
    assert not list(tmp_path.glob("*.part"))
    assert "ship" in capsys.readouterr().out


def test_a_file_is_no_folder_of_results(tmp_path, capsys):
    (tmp_path / "results").write_text("a file")
    command, _ = _command("benchmark", None, tmp_path / "results")
    assert main(command) == 2
    assert f"--output '{tmp_path / 'results'}' is no folder; results are several files" in capsys.readouterr().err
    assert (tmp_path / "results").read_text() == "a file"
