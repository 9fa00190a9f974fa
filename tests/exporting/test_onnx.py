import ast
import re
import runpy
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from pyod.models.knn import KNN
from sklearn.datasets import load_sample_images
from sklearn.decomposition import PCA
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import MaxAbsScaler, MinMaxScaler, Normalizer, RobustScaler, StandardScaler

from skcnf import (
    ContrastiveFlowDetector,
    FlowDetector,
    FlowRatioDetector,
    GaussianDetector,
    GaussianRatioDetector,
    MocoFeaturizer,
    MSEDetector,
    MSERatioDetector,
    PyODDetector,
)
from skcnf.exporting import export_onnx
from skcnf.exporting._modules import Decisions, module_of

onnxruntime = pytest.importorskip("onnxruntime")
pytest.importorskip("onnxscript")

FLOW = {"n_blocks": 2, "hidden_units": 16, "max_epochs": 2, "random_state": 0}


def _temple(n, rng):
    photograph = load_sample_images().images[0]
    places = zip(rng.integers(0, 390, n), rng.integers(0, 600, n), strict=True)
    return np.stack([photograph[row : row + 32, column : column + 32] for row, column in places])


def _run(path, name, values):
    session = onnxruntime.InferenceSession(path, providers=["CPUExecutionProvider"])
    return session.run(["score", "p_value", "verdict"], {name: values})


@pytest.mark.filterwarnings("ignore::UserWarning")
def test_images_in_decisions_out_as_python_makes_them(tmp_path):
    rng = np.random.default_rng(0)
    images, new = _temple(300, rng), _temple(40, rng)
    new[:20] = rng.integers(0, 256, (20, 32, 32, 3), dtype=np.uint8)
    detector = ContrastiveFlowDetector(**FLOW, false_alarm_rate=0.3)
    pipeline = make_pipeline(MocoFeaturizer(), PCA(16), detector).fit(images)
    check = export_onnx(pipeline, tmp_path / "m.onnx", images[:50])
    assert check.n_rows == 50
    score, p_value, verdict = _run(tmp_path / "m.onnx", "images", new.transpose(0, 3, 1, 2))
    spread = detector.calibration_scores_.std()
    features = pipeline[:-1].transform(new)
    np.testing.assert_allclose(score, pipeline.score_samples(new), atol=1e-3 * spread)
    np.testing.assert_allclose(p_value, detector.p_values(features), atol=1e-6)
    np.testing.assert_array_equal(verdict, pipeline.predict(new))
    assert set(verdict) == {-1, 1}
    for n in (1, 7):  # the number of images is free
        np.testing.assert_allclose(
            _run(tmp_path / "m.onnx", "images", new[:n].transpose(0, 3, 1, 2))[0], score[:n], rtol=1e-5
        )


@pytest.mark.filterwarnings("ignore::UserWarning")
def test_the_example_scores_files_as_python_does(tmp_path, monkeypatch, capsys):
    pipeline = make_pipeline(MocoFeaturizer(), MSEDetector(random_state=0)).fit(_temple(300, np.random.default_rng(0)))
    export_onnx(pipeline, tmp_path / "m.onnx")
    photograph = Image.fromarray(load_sample_images().images[0])
    files = {"whole.png": (100, 100, 132, 132), "wide.png": (0, 0, 300, 200), "small.png": (50, 60, 75, 77)}
    for name, box in files.items():
        photograph.crop(box).save(tmp_path / name)
    example = Path(__file__).parents[2] / "examples" / "score_with_onnx.py"
    nodes = list(ast.walk(ast.parse(example.read_text())))
    imported = {name.name for node in nodes if isinstance(node, ast.Import) for name in node.names}
    assert imported | {node.module for node in nodes if isinstance(node, ast.ImportFrom)} == {
        "sys",
        "numpy",
        "onnxruntime",
        "PIL",
    }
    paths = [str(tmp_path / name) for name in files]
    monkeypatch.setattr(sys, "argv", [str(example), str(tmp_path / "m.onnx"), *paths])
    runpy.run_path(str(example), run_name="__main__")
    lines = [line.split(",") for line in capsys.readouterr().out.splitlines()]
    expected, spread = pipeline.score_samples(paths), pipeline[-1].calibration_scores_.std()
    assert [line[0] for line in lines] == paths
    difference = np.abs([float(line[1]) for line in lines] - expected) / spread
    assert difference[0] < 1e-3
    assert difference.max() < 0.1  # grey levels that Pillow and torchvision round differently
    assert [int(line[3]) for line in lines] == pipeline.predict(paths).tolist()


DETECTORS = [
    MSEDetector(random_state=0),
    MSERatioDetector(random_state=0),
    GaussianDetector(whiten=False, random_state=0),
    GaussianDetector(whiten=True, random_state=0),
    GaussianRatioDetector(whiten=False, random_state=0),
    GaussianRatioDetector(whiten=True, random_state=0),
    FlowDetector(**FLOW, n_flows=2),
    FlowRatioDetector(**FLOW),
]
SCALERS = [
    StandardScaler(),
    MinMaxScaler(clip=True),
    MaxAbsScaler(),
    RobustScaler(),
    Normalizer("l1"),
    PCA(whiten=True),
]


@pytest.mark.parametrize("detector", DETECTORS, ids=lambda detector: type(detector).__name__)
def test_modules_score_as_detectors_do(detector, rows):
    import torch

    X, X_aux, X_test, _ = rows
    detector.fit(X, X_aux=X_aux)
    with torch.no_grad():
        score, p_value, verdict = (out.numpy() for out in Decisions(detector)(torch.from_numpy(X_test).float()))
    np.testing.assert_allclose(score, detector.score_samples(X_test), rtol=1e-4, atol=1e-4)
    np.testing.assert_allclose(p_value, detector.p_values(X_test), atol=0.02)
    assert (verdict != detector.predict(X_test)).mean() < 0.01


@pytest.mark.parametrize("scaler", SCALERS, ids=lambda scaler: type(scaler).__name__)
def test_modules_transform_as_scalers_do(scaler, rows):
    import torch

    X, _, X_test, _ = rows
    expected = scaler.fit(X).transform(X_test)
    np.testing.assert_allclose(module_of(scaler)(torch.from_numpy(X_test).float()), expected, rtol=1e-4, atol=1e-5)


def test_a_model_whose_scores_differ_is_not_written(tmp_path, rows, monkeypatch):
    detector = MSEDetector(random_state=0).fit(rows[0])
    monkeypatch.setattr(MSEDetector, "_score_samples", lambda self, X: -np.abs(X - self.mean_).sum(axis=1))
    with pytest.raises(ValueError, match=r"the exported scores differ from Python's by .* nothing was written"):
        export_onnx(detector, tmp_path / "m.onnx")
    assert not list(tmp_path.iterdir())


def _grouped(X):
    detector = MSEDetector(random_state=0).fit(X)
    return detector.recalibrate(X[:100], groups=np.repeat(["a", "b"], 50))


@pytest.mark.parametrize(
    ("make", "error", "message"),
    [
        (_grouped, ValueError, "the model is calibrated for 2 groups"),
        (
            lambda X: MSEDetector(contamination=0.1, random_state=0).fit(X),
            ValueError,
            "MSEDetector has no calibration scores",
        ),
        (lambda X: PyODDetector(KNN(), random_state=0).fit(X), TypeError, "a PyODDetector cannot be exported"),
    ],
)
def test_what_cannot_be_exported_is_refused_and_nothing_is_written(make, error, message, tmp_path, rows):
    with pytest.raises(error, match=re.escape(message)):
        export_onnx(make(rows[0]), tmp_path / "m.onnx")
    assert not list(tmp_path.iterdir())


@pytest.mark.filterwarnings("ignore::UserWarning")
def test_noise_cannot_be_exported(tmp_path):
    images = _temple(60, np.random.default_rng(0))
    pipeline = make_pipeline(MocoFeaturizer(noise_std=0.01, random_state=0), MSEDetector(random_state=0)).fit(images)
    with pytest.raises(ValueError, match=re.escape("noise_std=0.01: features with noise cannot be exported")):
        export_onnx(pipeline, tmp_path / "m.onnx")


def test_missing_packages_are_named(tmp_path, rows, monkeypatch):
    monkeypatch.setitem(sys.modules, "onnxscript", None)
    with pytest.raises(ImportError, match=re.escape('pip install "skcnf[onnx]"')):
        export_onnx(MSEDetector(random_state=0).fit(rows[0]), tmp_path / "m.onnx")


def test_what_is_no_number_is_an_anomaly(rows):
    import torch

    X, X_aux, _, _ = rows
    module = Decisions(MSERatioDetector(random_state=0).fit(X, X_aux=X_aux))
    score, p_value, verdict = module(torch.tensor([[torch.nan] * 4, [torch.inf] * 4]))
    assert score.isnan().all()
    assert verdict.tolist() == [-1, -1]
    assert p_value.tolist() == pytest.approx([1 / (1 + len(module.calibration))] * 2)
