"""Ablations on the bundled features: what each changes in the data, and that each runs to its table and figure."""

from dataclasses import replace

import numpy as np
import pandas as pd
import pytest

from skcnf import MocoFeaturizer
from skcnf.cli import main
from skcnf.datasets import LabelledFeatures, load_cifar10_features, round_as_bundled
from skcnf.paper import ABLATIONS, BenchmarkData, Study, ablation_lines, lay_out, run_layout
from skcnf.paper._layouts import Layout
from skcnf.paper._variants import add_anomalies, limit_aux, limit_inliers, noise_images, other_classes_as_aux


@pytest.fixture(scope="module")
def data():
    """Rows that tell where they are from: training row i is (i, class), auxiliary row i is (-i - 1, -1)."""
    y = np.arange(60) % 3
    X = np.column_stack([np.arange(60), y]).astype(np.float32)
    X_aux = np.column_stack([-np.arange(40) - 1, np.full(40, -1)]).astype(np.float32)
    return LabelledFeatures(X, y, X[:9], y[:9], X_aux, ("a", "b", "c"), "toy", "raw")


def _of_class(data, number):
    return data.X_train[data.y_train == number]


def test_the_first_rows_of_each_class_are_kept(data):
    few = limit_inliers(data, 4)
    assert np.bincount(few.y_train).tolist() == [4, 4, 4]
    assert _of_class(few, 1)[:, 0].tolist() == [1, 4, 7, 10]
    assert len(limit_inliers(data, 1000).X_train) == 60
    kept = limit_aux(data, 5).X_aux[:, 0].tolist()
    assert kept == sorted(kept, reverse=True) == limit_aux(data, 5).X_aux[:, 0].tolist()
    assert len(set(kept)) == 5
    assert min(kept) < -10  # not the first, which lie class by class
    assert limit_aux(data, 1_000).X_aux is data.X_aux


def test_anomalies_of_the_tests_kind_are_other_classes_training_rows(data):
    mixed = add_anomalies(data, 0.2)
    for number in range(3):
        rows = _of_class(mixed, number)
        assert len(rows) == 25  # 20 inliers and 5 anomalies: 20 %
        assert (rows[:20] == _of_class(data, number)).all()
        assert (rows[20:, 1] != number).all()
        assert len(np.unique(rows[:, 0])) == 25
    assert mixed.X_aux is data.X_aux
    assert mixed.X_test is data.X_test
    assert add_anomalies(data, 0.2).fingerprint() == mixed.fingerprint() != data.fingerprint()


def test_anomalies_of_the_auxiliary_kind_leave_the_auxiliary_rows(data):
    mixed = add_anomalies(data, 0.2, "auxiliary")
    hidden = [set(_of_class(mixed, number)[20:, 0]) for number in range(3)]
    assert hidden[0] == hidden[1] == hidden[2]
    assert len(hidden[0]) == 5
    assert len(mixed.X_aux) == 35
    assert hidden[0] | set(mixed.X_aux[:, 0]) == set(data.X_aux[:, 0])


@pytest.mark.parametrize(
    ("arguments", "message"),
    [((1.0,), r"share=1.0 in \[0, 1\)"), ((0.1, "own"), "kind='own' must be"), ((0.9, "auxiliary"), "180 anomalies")],
)
def test_impossible_contaminations_are_named(data, arguments, message):
    with pytest.raises(ValueError, match=message):
        add_anomalies(data, *arguments)


def test_other_classes_stand_in_for_auxiliary_rows(data):
    changed = other_classes_as_aux(data, "b", 30)
    assert set(changed.X_aux[:, 1]) == {0, 2}
    assert len(np.unique(changed.X_aux[:, 0])) == 30
    assert len(other_classes_as_aux(data, "b").X_aux) == 40


def test_every_point_of_a_figure_is_a_row_that_some_study_yields():
    for name, layout in ABLATIONS.items():
        made = [(study, detector) for study in layout.studies for detector in study.detectors]
        yielded = {layout.row.format(detector=name, variant=s.variant, dataset="") for s, name in made}
        drawn = {row for points in (layout.lines or {}).values() for row in points.values()}
        assert drawn == (yielded if layout.lines else set()), name


def test_lines_hold_the_mean_over_the_classes_that_ran():
    layout = ABLATIONS["warmup"]
    classes = ["car", "cat"]
    rows = [
        {"detector": d, "inlier_class": c, "seed": s, "auroc": 0.5 + 0.1 * i + 0.02 * j + 0.01 * s}
        for i, d in enumerate(layout.rows)
        for j, c in enumerate(classes)
        for s in (0, 1)
    ]
    columns = {"variant": "", "features": "moco", "anomalies": "rest", "dataset": "CIFAR-10"}
    mean, std = ablation_lines(layout, lay_out(layout, pd.DataFrame(rows).assign(**columns)))
    assert mean.index.tolist() == [0, 1, 2, 5]
    assert mean["CF"].tolist() == pytest.approx([51.5, 61.5, 71.5, 81.5])
    assert std["CF"].isna().all()  # of two classes alone there is no mean to compare


@pytest.mark.parametrize(
    ("name", "detector", "n_rows"),
    [
        ("contamination", "MSE", 6),
        ("contamination-aux", "MSE", 6),
        ("inliers", "MSE", 5),
        ("aux-size", "MSE-ratio", 6),
        ("aux-kind", "MSE-ratio", 3),
    ],
)
def test_each_runs_to_its_table_and_figure(name, detector, n_rows, tmp_path, capsys, monkeypatch):
    monkeypatch.setattr("skcnf.paper._data.noise_images", lambda n: noise_images(64))
    arguments = ["benchmark", "--ablation", name, "--classes", "car", "--detectors", detector, "--n-jobs", "1"]
    assert main([*arguments, "--output", str(tmp_path)]) == 0
    out = capsys.readouterr().out
    assert ("data not at hand (one-vs-rest, moco): the images of celeba are wanted" in out) == (name == "aux-kind")
    table = pd.read_csv(tmp_path / f"ablation-{name}.csv").set_index("row")["mean"]
    assert len(table) == n_rows
    assert table.between(50, 100).all()
    assert pd.read_csv(tmp_path / "results.csv")["auroc"].nunique() == n_rows  # every variant changed the data
    assert (tmp_path / f"ablation-{name}.png").stat().st_size > 5000


def test_anomalies_among_the_inliers_cost_the_most_where_the_test_has_their_kind(tmp_path):
    """The mean moves towards hidden anomalies: more of them cost more."""
    shares = (0.0, 0.2, 0.5)
    studies = [Study("cifar10", "one-vs-rest", ("MSE",), anomaly_share=share, variant=f", {share}") for share in shares]
    layout = Layout("", tuple(studies), columns=("car",), row="{detector}{variant}")
    table, _ = run_layout(layout, BenchmarkData(None), seeds=[0], output=tmp_path / "results.csv", classes=["car"])
    assert (np.diff(table.mean["car"]) < -0.2).all()


def test_other_classes_as_auxiliary_rows_run_class_by_class(tmp_path):
    study = Study("cifar10", "one-vs-rest", ("MSE-ratio",), aux="other classes", n_aux=2000)
    layout = Layout("", (study,), columns=("car", "cat"))
    options = {"seeds": [0], "output": tmp_path / "results.csv"}
    table, results = run_layout(layout, BenchmarkData(None), classes=["car", "cat"], **options)
    assert results["config"].nunique() == 2  # each class has auxiliary rows of its own
    assert table.mean.loc["MSE-ratio"].between(50, 100).all()
    with pytest.raises(ValueError, match=r"\['ca'\] not in CIFAR-10"):
        run_layout(layout, BenchmarkData(None), classes=["ca"], **options)


def test_the_note_of_a_data_set_stands_below_its_table(tmp_path, monkeypatch):
    rows = replace(load_cifar10_features(), note="a partition of its own")
    monkeypatch.setattr(BenchmarkData, "load", lambda self, dataset, features: rows)
    layout = Layout("", (Study("celeba", "one-vs-rest", ("MSE",)),), columns=("car",))
    options = {"seeds": [0], "output": tmp_path / "results.csv", "classes": ["car"]}
    assert run_layout(layout, BenchmarkData(None), **options)[0].notes == ["a partition of its own"]


def test_noise_is_no_photograph(tmp_path):
    features = BenchmarkData(None)._noise("moco", 50)
    raw = MocoFeaturizer(normalize=False).fit_transform(noise_images(50))
    np.testing.assert_array_equal(features, round_as_bundled(raw))  # as the bundled rows that they are compared with
    assert features.shape == (50, 128)
    np.testing.assert_allclose(np.linalg.norm(features, axis=1), 1, rtol=1e-5)
    photographs = load_cifar10_features().X_train[:50]
    assert np.corrcoef(features).mean() > np.corrcoef(photographs).mean() + 0.2  # all noise looks alike
