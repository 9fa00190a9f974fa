"""Every example runs, at a small size."""

import io
import runpy
import sys
import zipfile
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from sklearn.datasets import load_sample_images
from sklearn.pipeline import make_pipeline

from skcnf import MocoFeaturizer, MSEDetector
from skcnf.datasets import load_cifar10_features
from skcnf.exporting import export_onnx

EXAMPLES = Path(__file__).parents[1] / "examples"
# What each is called with, and the files that it writes; {tmp} is a folder that holds images/ and sheets.zip.
RUNS = {
    "alarm_on_images": (["{tmp}/alarm.png"], ["alarm.png"]),
    "camera_loop": (["--frames", "30"], []),
    "low_resolution": (["{tmp}/images", "--epochs", "1", "--output", "{tmp}/correlation.png"], ["correlation.png"]),
    "plot_closed_form": (["--output", "{tmp}/closed_form.png"], ["closed_form.png"]),
    "plot_decisions": (["--output", "{tmp}/decisions.png"], ["decisions.png"]),
    "plot_figure1_histograms": (["--max-epochs", "1", "--output", "{tmp}/figure1.png"], ["figure1.png"]),
    "plot_figure3_difference_density": (
        ["--n-rows", "2000", "--epochs", "1", "--output", "{tmp}/figure3.png"],
        ["figure3.png"],
    ),
    "plot_flow_and_contrast": (["--max-epochs", "1", "--output", "{tmp}/start.png"], ["start.png"]),
    "plot_optimum": (["--output", "{tmp}/optimum.png"], ["optimum.png"]),
    "plot_ranked_images": (
        ["{tmp}/sheets.zip", "--classes", "car", "--max-epochs", "1", "--output", "{tmp}"],
        ["figure4.png", "figure6.png", "figure7.png", "figure8.png"],
    ),
    "score_with_onnx": (["{tmp}/model.onnx", "{tmp}/images/000.png", "{tmp}/images/001.png"], []),
}


def _write_patches(folder, n):
    rng = np.random.default_rng(0)
    photograph = load_sample_images().images[0]
    folder.mkdir()
    for number in range(n):
        row, column = (rng.integers(0, extent - 32) for extent in photograph.shape[:2])
        Image.fromarray(photograph[row : row + 32, column : column + 32]).save(folder / f"{number:03d}.png")


def _write_sheets(path):
    """A zip with as many test images of each class, all grey, as the bundled features have."""
    labels = load_cifar10_features().y_test
    with zipfile.ZipFile(path, "w") as archive:
        for label in range(10):
            count = int((labels == label).sum())
            data = io.BytesIO()
            Image.new("RGB", (32 * 32, 32 * -(-count // 32)), (12 * label, 128, 128)).save(data, "webp", lossless=True)
            archive.writestr(f"test/{label}/00-{count}.webp", data.getvalue())


def test_every_example_is_run():
    assert set(RUNS) == {path.stem for path in EXAMPLES.glob("*.py")}


@pytest.mark.filterwarnings("ignore::UserWarning")
@pytest.mark.parametrize("name", RUNS)
def test_example_runs(name, tmp_path, monkeypatch, capsys):
    arguments, files = RUNS[name]
    if name in ("low_resolution", "score_with_onnx"):
        _write_patches(tmp_path / "images", 300)
    if name == "score_with_onnx":
        pytest.importorskip("onnxscript")
        pipeline = make_pipeline(MocoFeaturizer(), MSEDetector(random_state=0)).fit(tmp_path / "images")
        export_onnx(pipeline, tmp_path / "model.onnx")
    if name == "plot_ranked_images":
        _write_sheets(tmp_path / "sheets.zip")
    path = EXAMPLES / f"{name}.py"
    monkeypatch.setattr(sys, "argv", [str(path), *(argument.format(tmp=tmp_path) for argument in arguments)])
    runpy.run_path(str(path), run_name="__main__")
    output = capsys.readouterr().out
    assert output
    assert "nan" not in output
    for file in files:
        with Image.open(tmp_path / file) as picture:
            assert min(picture.size) > 100
