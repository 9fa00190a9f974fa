import csv
import io
import json
import os
import re
import shutil
import sys
import threading
import zipfile
from contextlib import ExitStack
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
from PIL import Image

from skcnf.cli import main
from skcnf.cli._scorer import Scorer
from skcnf.saving import load

pytestmark = pytest.mark.filterwarnings("default")  # the command line prints them


def _rows(text):
    return list(csv.DictReader(io.StringIO(text)))


def _stdin(monkeypatch, paths):
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO("\n".join(map(str, paths)).encode())))


def test_rows_say_what_the_model_says(run, model, features):
    status, out, err = run("score", model, features / "new.npy")
    rows, detector, X = _rows(out), load(model), np.load(features / "new.npy")
    assert status == 0
    assert [row["input"] for row in rows] == [str(number) for number in range(120)]
    assert [float(row["score"]) for row in rows] == detector.score_samples(X).tolist()
    assert [float(row["p_value"]) for row in rows] == detector.p_values(X).tolist()
    assert [int(row["verdict"]) for row in rows] == detector.predict(X).tolist()
    assert {float(row["threshold"]) for row in rows} == {detector.offset_}
    assert {row["status"] for row in rows} == {"ok"}
    n_flagged = int((detector.predict(X) == -1).sum())
    assert n_flagged >= 60
    assert f"skcnf score: 120 inputs: {n_flagged} anomalies" in err


def test_json_has_the_same_keys_and_values(run, model, features, tmp_path):
    _, out, _ = run("score", model, features / "new.npy")
    assert run("score", model, features / "new.npy", "--json", "-o", tmp_path / "s.jsonl")[0] == 0
    objects = [json.loads(line) for line in (tmp_path / "s.jsonl").read_text().splitlines()]
    assert [list(entry) for entry in objects] == [out.splitlines()[0].split(",")] * 120
    assert [entry["score"] for entry in objects] == [float(row["score"]) for row in _rows(out)]
    assert {entry["error"] for entry in objects} == {None}


def test_without_calibration_rows_there_are_no_p_values(run, features, tmp_path):
    arguments = ["--detector", "mse", "--set", "contamination=0.1"]
    status, out, _ = run("fit", features / "normal.npy", "-o", tmp_path / "m", *arguments)
    assert status == 0
    assert "no calibration rows, so no p-values" in out
    status, out, _ = run("score", tmp_path / "m", features / "new.npy")
    assert {row["p_value"] for row in _rows(out)} == {""}
    status, _, err = run("score", tmp_path / "m", features / "new.npy", "--fdr", "0.1")
    assert status == 2
    assert "--fdr needs p-values" in err


def test_images_score_alike_wherever_they_are(run, image_model, images, tmp_path, monkeypatch):
    paths = sorted((images / "new").rglob("*.png"))
    with zipfile.ZipFile(tmp_path / "new.zip", "w") as archive:
        for path in paths:
            archive.write(path, path.relative_to(images))
    arrays = [np.asarray(Image.open(path)) for path in paths]
    np.save(tmp_path / "new.npy", np.stack(arrays))
    _stdin(monkeypatch, paths)
    sources = {
        "folder": [images / "new"],
        "glob": [images / "new" / "*" / "*.png"],
        "several": paths,
        "stdin": ["-"],
        "zip": [tmp_path / "new.zip"],
        "array": [tmp_path / "new.npy"],
    }
    rows = {name: _rows(run("score", image_model, *source)[1]) for name, source in sources.items()}
    scores = {name: [row["score"] for row in own] for name, own in rows.items()}
    assert all(own == scores["folder"] for own in scores.values())
    names = {name: [row["input"] for row in own] for name, own in rows.items()}
    for name in ("folder", "glob", "several", "stdin"):
        assert names[name] == list(map(str, paths))
    assert names["zip"] == [f"{tmp_path}/new.zip!{path.relative_to(images)}" for path in paths]
    assert names["array"] == [str(number) for number in range(12)]


@pytest.fixture
def broken(images, tmp_path):
    """A copy of the new images, two of which are broken."""
    shutil.copytree(images / "new", tmp_path / "broken")
    for name in ("cam0/04.png", "cam1/07.png"):
        (tmp_path / "broken" / name).write_bytes(b"no image")
    return tmp_path / "broken"


def test_one_broken_image_stops_none(run, image_model, images, broken):
    whole = _rows(run("score", image_model, images / "new")[1])
    status, out, err = run("score", image_model, broken)
    rows = _rows(out)
    assert status == 0
    assert [row["status"] == "unreadable" for row in rows] == [
        Path(row["input"]).name in ("04.png", "07.png") for row in rows
    ]
    for row, before in zip(rows, whole, strict=True):
        if row["status"] == "ok":
            assert row["score"] == before["score"]
        else:
            assert (
                row["error"].endswith("cannot be read: cannot identify image file") or "cannot be read" in row["error"]
            )
            assert row["score"] == row["p_value"] == row["threshold"] == row["verdict"] == ""
    assert len(re.findall("^skcnf score: unreadable: .*0[47].png' cannot be read", err, re.M)) == 2
    assert "12 inputs:" in err
    assert "2 unreadable" in err


def test_strict_stops_at_a_broken_image_and_two_wins_over_one(run, image_model, broken, tmp_path):
    arguments = ["score", image_model, broken, "--strict", "--check", "-o", tmp_path / "s.csv"]
    status, _, err = run(*arguments)
    assert status == 2
    assert re.search("skcnf score: --strict: .*04.png' cannot be read", err)
    assert not (tmp_path / "s.csv").exists()


def test_nothing_readable_is_an_error(run, image_model, tmp_path, monkeypatch):
    (tmp_path / "a.png").write_bytes(b"no image")
    status, out, err = run("score", image_model, tmp_path / "a.png")
    assert status == 2
    assert _rows(out)[0]["status"] == "unreadable"
    assert "1 input: 0 anomalies, 1 unreadable\nskcnf score: NEW: nothing is readable" in err
    _stdin(monkeypatch, [])
    status, _, err = run("score", image_model, "-")
    assert status == 2
    assert "NEW holds no input" in err


@pytest.mark.parametrize(("n_rows", "status"), [(60, 0), (120, 1)])
def test_check_tells_of_anomalies_by_the_status(run, features, tmp_path, n_rows, status):
    model = tmp_path / "m"
    arguments = ["--detector", "mse", "--false-alarm-rate", "0.01", "--calibration", features / "calibration.npy"]
    assert run("fit", features / "normal.npy", "-o", model, *arguments)[0] == 0
    rows = np.load(features / "new.npy")
    inliers = rows[:60][load(model).predict(rows[:60]) == 1]
    np.save(tmp_path / "x.npy", np.concatenate([inliers, rows[60:n_rows]]))
    assert run("score", model, tmp_path / "x.npy")[0] == 0
    assert run("score", model, tmp_path / "x.npy", "--check")[0] == status


def test_rows_appear_as_paths_arrive(image_model, images, monkeypatch):
    paths = sorted((images / "new").rglob("*.png"))
    (command_in, our_out), (our_in, command_out) = os.pipe(), os.pipe()
    with ExitStack() as scope:
        writer, reader = scope.enter_context(open(our_out, "w")), scope.enter_context(open(our_in))
        monkeypatch.setattr(sys, "stdin", scope.enter_context(open(command_in)))
        monkeypatch.setattr(sys, "stdout", scope.enter_context(open(command_out, "w")))
        thread = threading.Thread(target=main, args=(["score", str(image_model), "-", "-q"],))
        thread.start()
        assert reader.readline().startswith("input,status")
        for path in paths[:3]:
            print(path, file=writer, flush=True)
            assert reader.readline().startswith(f"{path},ok,")  # the pipe is still open
        writer.close()
        thread.join()
        monkeypatch.undo()


def test_the_rate_can_be_moved(run, model, features):
    X, detector = np.load(features / "new.npy"), load(model)
    _, out, _ = run("score", model, features / "new.npy", "--false-alarm-rate", "0.3")
    expected = detector.set_threshold(false_alarm_rate=0.3).predict(X)
    assert [int(row["verdict"]) for row in _rows(out)] == expected.tolist()


@pytest.mark.parametrize("to_file", [True, False])
def test_fdr_selects_over_all_rows(run, model, features, tmp_path, to_file):
    X, detector = np.load(features / "new.npy"), load(model)
    arguments = ["-o", tmp_path / "s.csv"] if to_file else []
    status, out, _ = run("score", model, features / "new.npy", "--fdr", "0.2", *arguments)
    assert status == 0
    rows = _rows((tmp_path / "s.csv").read_text() if to_file else out)
    with pytest.warns(UserWarning, match="40 calibration rows can select from 120 rows at fdr=0.2"):
        selected = detector.select(X, fdr=0.2)
    assert selected.sum() >= 60
    assert [row["verdict"] == "-1" for row in rows] == selected.tolist()
    assert [float(row["score"]) < float(row["threshold"]) for row in rows] == selected.tolist()


def test_fdr_without_a_selection_has_no_threshold(run, model, features, tmp_path):
    np.save(tmp_path / "x.npy", np.load(features / "new.npy")[:60])
    _, out, err = run("score", model, tmp_path / "x.npy", "--fdr", "0.001")
    assert {(row["verdict"], row["threshold"]) for row in _rows(out)} == {("1", "")}
    assert "60 inputs: 0 anomalies" in err
    assert "calibration rows can select from 60 rows at fdr=0.001 only if" in err


class _Cut:
    """Stands in for `Scorer.rows` and presses Ctrl-C at a block."""

    def __init__(self, at):
        self.at, self.rows = at, Scorer.rows

    def __call__(self, scorer, block):
        self.at -= 1
        if self.at < 0:
            raise KeyboardInterrupt
        return self.rows(scorer, block)


@pytest.fixture
def small_blocks(monkeypatch):
    import skcnf.cli._scorer as module

    monkeypatch.setattr(module, "_BLOCK", 25)
    return module


@pytest.mark.parametrize("more", [[], ["--json"], ["--fdr", "0.2"]])
@pytest.mark.parametrize("at", [0, 1, 3])
def test_a_cut_run_goes_on_to_the_same_bytes(run, model, features, tmp_path, monkeypatch, small_blocks, more, at):
    arguments = ["score", model, features / "new.npy", *more, "-o"]
    assert run(*arguments, tmp_path / "whole")[0] == 0
    with monkeypatch.context() as patch:
        cut = _Cut(at)
        patch.setattr(Scorer, "rows", lambda self, block: cut(self, block))
        status, _, err = run(*arguments, tmp_path / "cut")
    assert status == 130
    assert "run the same command to go on" in err
    assert not (tmp_path / "cut").exists()
    counting = _Cut(100)
    monkeypatch.setattr(Scorer, "rows", lambda self, block: counting(self, block))
    status, _, err = run(*arguments, tmp_path / "cut")
    assert status == 0
    assert 100 - counting.at == 5 - at  # no block is scored twice
    assert ("goes on after" in err) == (at > 0)
    assert (tmp_path / "cut").read_bytes() == (tmp_path / "whole").read_bytes()
    assert sorted(path.name for path in tmp_path.iterdir()) == ["cut", "whole"]


def test_rows_of_another_run_are_not_gone_on_with(run, model, features, tmp_path, monkeypatch, small_blocks):
    np.save(tmp_path / "other.npy", np.load(features / "new.npy") + 1)
    with monkeypatch.context() as patch:
        cut = _Cut(2)
        patch.setattr(Scorer, "rows", lambda self, block: cut(self, block))
        assert run("score", model, tmp_path / "other.npy", "-o", tmp_path / "s.csv")[0] == 130
    assert (tmp_path / "s.csv.part").exists()
    _, out, _ = run("score", model, features / "new.npy")
    _, _, err = run("score", model, features / "new.npy", "-o", tmp_path / "s.csv")
    assert "goes on" not in err
    assert (tmp_path / "s.csv").read_text() == out


def test_standard_input_starts_anew(run, image_model, images, tmp_path, monkeypatch):
    paths = sorted((images / "new").rglob("*.png"))
    (tmp_path / "s.csv.part").write_text("left over")
    _stdin(monkeypatch, paths)
    assert run("score", image_model, "-", "-o", tmp_path / "s.csv")[0] == 0
    assert [row["input"] for row in _rows((tmp_path / "s.csv").read_text())] == list(map(str, paths))
    assert [path.name for path in tmp_path.iterdir()] == ["s.csv"]


def test_what_a_stream_wrote_before_ctrl_c_is_kept(run, image_model, images, tmp_path, monkeypatch):
    paths = sorted((images / "new").rglob("*.png"))

    def interrupted():
        yield from (os.fsencode(path) + b"\n" for path in paths)
        raise KeyboardInterrupt

    monkeypatch.setattr("sys.stdin", SimpleNamespace(buffer=interrupted()))
    status, _, err = run("score", image_model, "-", "-o", tmp_path / "s.csv")
    assert status == 130
    assert err.strip().endswith("skcnf score: interrupted; the rows so far are kept with -o")
    kept = [row["input"] for row in _rows((tmp_path / "s.csv").read_text())]
    assert 0 < len(kept) <= len(paths)
    assert kept == [str(path) for path in paths[: len(kept)]]
    assert [path.name for path in tmp_path.iterdir()] == ["s.csv"]


def test_strict_holds_for_rows_of_an_earlier_run(run, model, features, tmp_path, monkeypatch, small_blocks):
    X = np.load(features / "new.npy")
    X[0, 0] = np.nan
    np.save(tmp_path / "x.npy", X)
    arguments = ["score", model, tmp_path / "x.npy", "-o", tmp_path / "s.csv"]
    with monkeypatch.context() as patch:
        cut = _Cut(2)
        patch.setattr(Scorer, "rows", lambda self, block: cut(self, block))
        assert run(*arguments)[0] == 130
    status, _, err = run(*arguments, "--strict")
    assert status == 2
    assert "--strict: row 0: it holds a value that is no finite number" in err


def test_a_page_promises_no_rate_for_thresholds_of_another(run, model, features, tmp_path):
    scores, page = tmp_path / "s.csv", tmp_path / "r.html"
    assert run("score", model, features / "new.npy", "--false-alarm-rate", "0.5", "-o", scores)[0] == 0
    report = ["report", scores, "-o", page, "--model", model]
    assert run(*report)[0] == 0
    assert "The thresholds of these rows are not those of the model" in page.read_text()
    assert "with a probability of at most" not in page.read_text()
    assert run(*report, "--false-alarm-rate", "0.5")[0] == 0
    assert "with a probability of at most 50" in page.read_text()
    status, _, err = run("report", scores, "-o", page, "--false-alarm-rate", "0.5")
    assert status == 2
    assert "--false-alarm-rate needs a --model with calibration rows" in err


def test_a_row_of_features_that_is_not_finite_is_unreadable(run, model, features, tmp_path):
    X = np.load(features / "new.npy")
    X[5, 2], X[7, 0] = np.nan, np.inf
    np.save(tmp_path / "x.npy", X)
    status, out, _ = run("score", model, tmp_path / "x.npy")
    bad = [row for row in _rows(out) if row["status"] == "unreadable"]
    assert status == 0
    assert [row["input"] for row in bad] == ["5", "7"]
    assert bad[0]["error"] == "it holds a value that is no finite number"


def test_quiet_says_nothing_unless_something_is_wrong(run, model, image_model, features, broken):
    assert run("score", model, features / "new.npy", "-q")[2] == ""
    assert "unreadable" in run("score", image_model, broken, "-q")[2]


@pytest.fixture
def two_explained(monkeypatch):
    monkeypatch.setattr("skcnf.cli._explaining._N_EXPLAINED", 2)


@pytest.mark.usefixtures("two_explained")
def test_a_report_comes_with_the_rows(run, image_model, images, tmp_path):
    arguments = ["score", image_model, images / "new", "--report"]
    status, out, _ = run(*arguments, tmp_path / "r.html")
    assert status == 0
    assert len(_rows(out)) == 12
    page = (tmp_path / "r.html").read_text()
    assert page.count("data:image/") >= 12
    assert "40\N{NO-BREAK SPACE}%" in page
    assert run(*arguments, tmp_path / "again.html", "-o", tmp_path / "s.csv")[0] == 0
    assert (tmp_path / "s.csv").read_text() == out
    later = tmp_path / "later.html"
    assert run("report", tmp_path / "s.csv", "-o", later, "--model", image_model)[0] == 0
    assert later.read_text() == page


@pytest.mark.usefixtures("two_explained")
def test_a_report_shows_why_and_the_nearest_normal_images(run, images, tmp_path):
    arguments = ["--detector", "mse", "--false-alarm-rate", "0.4", "--keep-thumbnails", "-q"]
    assert run("fit", images / "normal", "-o", tmp_path / "m", *arguments)[0] == 0
    assert json.loads(run("info", tmp_path / "m", "--json")[1])["thumbnails"] == 24
    assert run("score", tmp_path / "m", images / "new", "--report", tmp_path / "r.html", "-q")[0] == 0
    page = (tmp_path / "r.html").read_text()
    assert page.count("yellow, coarsely: what lowers the score") == 2
    assert page.count("normal, at distance") == 4


def test_the_heat_lies_where_covering_helps():
    from skcnf.cli._explaining import _map_of

    class DarkCornerIsNormal:
        def score_samples(self, X):
            return -X[:, :8, :8].mean(axis=(1, 2, 3))

    image = np.full((32, 32, 3), 40, np.uint8)
    image[:8, :8] = 250
    heat = _map_of(image, DarkCornerIsNormal())[1].astype(float)
    assert heat.shape == (32, 32, 3)
    yellow = heat[..., 0] - heat[..., 2]
    assert yellow[:8, :8].mean() > 100
    assert yellow[16:, 16:].max() == 0


def test_a_closed_pipe_is_no_traceback(run, model, features, monkeypatch):
    from skcnf.cli._lines import LineStream

    def closed(self, text, n_rows):
        raise BrokenPipeError

    monkeypatch.setattr(LineStream, "append", closed)
    with os.fdopen(os.dup(1), "w") as out:
        monkeypatch.setattr(sys, "stdout", out)
        assert run("score", model, features / "new.npy")[0] == 141
