"""``score``, ``info`` and ``report`` with models of tiles."""

import csv
import io
import json

import numpy as np
import pytest

from skcnf.cli import main
from skcnf.images import read_image
from skcnf.saving import load

pytestmark = pytest.mark.filterwarnings("default")  # the command line prints them


@pytest.fixture(scope="session")
def tiled_model(images, tmp_path_factory):
    """A model of 16 px tiles, at a rate that its few calibration images assure."""
    path = tmp_path_factory.mktemp("tiled-model") / "model.skcnf"
    arguments = ["--detector", "mse", "--tiles", "16", "--false-alarm-rate", "0.2", "--set", "validation_fraction=0.4"]
    assert main(["fit", str(images / "normal"), "-o", str(path), *arguments, "--keep-thumbnails", "-q"]) == 0
    return path


def _rows(text):
    return list(csv.DictReader(io.StringIO(text)))


def test_rows_are_of_images_and_say_what_the_model_says(run, tiled_model, images):
    status, out, err = run("score", tiled_model, images / "new")
    rows, tiled = _rows(out), load(tiled_model)
    assert status == 0
    assert [row["input"] for row in rows] == sorted(map(str, (images / "new").rglob("*.png")))
    paths = [row["input"] for row in rows]
    assert [float(row["score"]) for row in rows] == tiled.score_samples(paths).tolist()
    assert [float(row["p_value"]) for row in rows] == tiled.p_values(paths).tolist()
    assert [int(row["verdict"]) for row in rows] == tiled.predict(paths).tolist()
    assert "12 inputs:" in err
    noisy = [row for row in rows if int(row["input"][-6:-4]) >= 6]
    assert {row["verdict"] for row in noisy} == {"-1"}


def test_a_selection_is_one_of_images(run, tiled_model, images, tmp_path):
    status, out, _ = run("score", tiled_model, images / "new", "--fdr", "0.3")
    paths = [row["input"] for row in _rows(out)]
    assert status == 0
    with pytest.warns(UserWarning, match="10 calibration rows can select from 12 rows at fdr=0.3"):
        selected = load(tiled_model).select(paths, fdr=0.3)
    assert [row["verdict"] == "-1" for row in _rows(out)] == selected.tolist()
    status, out, _ = run("score", tiled_model, images / "new", "--false-alarm-rate", "0.5")
    assert [int(row["verdict"]) for row in _rows(out)] == load(tiled_model).set_threshold(false_alarm_rate=0.5).predict(
        paths
    ).tolist()


def test_a_broken_image_stops_none(run, tiled_model, images, tmp_path):
    (tmp_path / "a.png").write_bytes(b"no image")
    (tmp_path / "b.png").write_bytes((images / "new" / "cam0" / "00.png").read_bytes())
    status, out, err = run("score", tiled_model, tmp_path)
    assert status == 0
    assert [row["status"] for row in _rows(out)] == ["unreadable", "ok"]
    assert "a.png' cannot be read" in err


def test_info_tells_of_tiles(run, tiled_model):
    status, out, _ = run("info", tiled_model, "--json")
    held = json.loads(out)
    assert status == 0
    assert held["tiles"] == "16 px, overlap 0.5, of images of 20 x 24 px"
    assert (held["detector"], held["steps"]) == ("MSEDetector", ["MocoFeaturizer", "MSEDetector"])
    assert (held["features"], held["calibration_rows"], held["thumbnails"]) == (128, 10, 24)
    assert held["threshold"] == load(tiled_model).offset_


def test_a_report_shows_the_tiles(run, tiled_model, images, tmp_path, monkeypatch):
    shown = {}

    def watched(image, heat):
        shown["image"], shown["heat"] = image, heat
        return image

    monkeypatch.setattr("skcnf.cli._explaining._painted", watched)
    run("score", tiled_model, images / "new", "-o", tmp_path / "s.csv", "--report", tmp_path / "r.html")
    status, _, err = run("report", tmp_path / "s.csv", "-o", tmp_path / "again.html", "--model", tiled_model)
    assert status == 0, err
    page = (tmp_path / "again.html").read_text()
    assert page == (tmp_path / "r.html").read_text()
    assert "TiledDetector of MSEDetector" in page
    assert page.count("yellow: the least normal tiles") == 12
    assert page.count("normal, at distance") == 24
    rows = sorted(_rows((tmp_path / "s.csv").read_text()), key=lambda row: float(row["score"]))
    image = read_image(rows[11]["input"])
    heat = load(tiled_model).heat_map(image).heat
    np.testing.assert_array_equal(shown["image"], image)
    np.testing.assert_allclose(shown["heat"], np.median(heat) - heat)
