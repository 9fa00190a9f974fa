"""Rot+Trans and CSI as rows of tables: on request, on images, CSI with one seed, and never twice."""

import numpy as np
import pytest

from skcnf.cli import main
from skcnf.datasets import CIFAR10_CLASSES, LabelledFeatures, LabelledImages, stack_labelled_images
from skcnf.detectors import BaseImageDetector
from skcnf.evaluation import one_vs_rest
from skcnf.paper import IMAGE_DETECTORS, TABLES, BenchmarkData, main_layout, make_detectors, run_layout

SMALL = {"arch": "resnet10", "width": 8, "image_size": 8, "n_epochs": 1, "contamination": 0.1}


@pytest.fixture
def labelled():
    """Planes are dark below, cars dark above."""
    rng, y = np.random.default_rng(0), np.arange(60) % 2
    ramp = np.linspace(0, 200, 12).astype(np.uint8)[:, None, None]
    X = rng.integers(0, 50, (60, 12, 12, 3)).astype(np.uint8) + np.where(y[:, None, None, None] == 0, ramp, ramp[::-1])
    return LabelledImages(X.astype(np.uint8), y, X[:20].astype(np.uint8), y[:20], CIFAR10_CLASSES, "CIFAR-10")


@pytest.fixture
def small(monkeypatch, labelled):
    monkeypatch.setattr("skcnf.paper._lineup._ON_NEARLY_ALL_ROWS", SMALL)
    monkeypatch.setattr("skcnf.paper._data.load_image_dataset", lambda name, root: labelled)


def _run(tmp_path, **options):
    options = {"seeds": [0, 1], "classes": ["plane", "car"], "n_jobs": 1, **options}
    return run_layout(TABLES[1], BenchmarkData(tmp_path), output=tmp_path / "results.csv", **options)


def test_images_of_one_size_are_rows_of_a_protocol(labelled):
    images = stack_labelled_images(labelled, size=8)
    assert images.X_train.shape == (60, 8, 8, 3)
    assert images.X_train.dtype == np.uint8
    assert images.features == "images"
    detector = make_detectors(["rot+trans"])["Rot+Trans"].set_params(**SMALL)
    results = one_vs_rest({"Rot+Trans": detector}, images, classes=["plane"])
    assert results["error"].tolist() == [""]
    assert results["auroc"].notna().all()
    with pytest.raises(ValueError, match=r"must be images \(n, s, s, 3\) of one size, or .* X_train \(60, 8, 8, 3\)"):
        LabelledFeatures(images.X_train, images.y_train, images.X_test[:, :7], images.y_test, None, ("a", "b"), "", "")


def test_without_a_request_the_papers_figures_stand_alone(small, tmp_path):
    table, results = _run(tmp_path, detectors=["MSE"])
    assert set(results["detector"]) == {"MSE"}
    layout = main_layout(["CF"])
    assert [study.features for study in layout.studies] == ["moco"]
    study = TABLES[1].studies[1]
    table, results = run_layout(
        main_layout(IMAGE_DETECTORS), BenchmarkData(tmp_path), seeds=[0], output=tmp_path / "results.csv"
    )
    assert study.detectors == IMAGE_DETECTORS
    assert results.empty
    assert "Rot+Trans, CSI: not run, since training takes long; --image-detectors runs it" in table.notes


def test_on_request_they_run_once_and_csi_with_one_seed(small, tmp_path, monkeypatch):
    table, results = _run(tmp_path, detectors=["Rot+Trans", "CSI"])
    assert results["error"].tolist() == [""] * 6
    seeds = results.groupby("detector")["seed"].apply(lambda seeds: sorted(set(seeds))).to_dict()
    assert seeds == {"Rot+Trans": [0, 1], "CSI": [0]}
    assert set(results["features"]) == {"images"}
    assert table.mean.loc[["Rot+Trans", "CSI"], ["plane", "car"]].notna().all(axis=None)
    assert table.paper.loc["CSI", "horse"] == 98.7
    monkeypatch.setattr(BaseImageDetector, "fit", lambda *arguments: pytest.fail("it was fitted again"))
    _, again = _run(tmp_path, detectors=["Rot+Trans", "CSI"])
    assert again["auroc"].tolist() == results["auroc"].tolist()


def test_the_command_line_runs_them_beside_detectors_of_features(small, tmp_path, capsys):
    arguments = ["benchmark", "--table", "1", "--classes", "plane,car", "--n-jobs", "1", "--data", str(tmp_path)]
    arguments += ["--output", str(tmp_path / "out")]
    assert main([*arguments, "--detectors", "MSE,Rot+Trans"]) == 0
    assert "Rot+Trans" in (tmp_path / "out" / "results.csv").read_text()
    capsys.readouterr()
    assert main([*arguments, "--detectors", "CSI", "--image-detectors"]) == 0
    assert "CSI" in capsys.readouterr().out


def test_images_are_wanted_before_anything_is_written(tmp_path, capsys):
    output = tmp_path / "results"
    assert main(["benchmark", "--detectors", "CSI", "--image-detectors", "--output", str(output)]) == 2
    assert "--image-detectors trains on images; name the folder that holds them by --data." in capsys.readouterr().err
    assert not output.exists()
