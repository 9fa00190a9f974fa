import csv
import io
import json
import re
import shutil
import sys
import zipfile

import numpy as np
import pytest
from PIL import Image

from skcnf import FlowDetector, MocoFeaturizer, MSERatioDetector, TiledDetector
from skcnf.detectors import BaseOutlierDetector
from skcnf.saving import load

pytestmark = pytest.mark.filterwarnings("default")  # the command line prints them
_SMALL = ["--set", "max_epochs=1", "--set", "n_blocks=2", "--set", "hidden_units=16"]


def test_features_are_fitted_as_in_python(run, features, tmp_path):
    arguments = ["--aux", features / "aux.npy", "--detector", "mse-ratio", "--seed", "3", "--false-alarm-rate", "0.1"]
    status, out, err = run("fit", features / "normal.npy", "-o", tmp_path / "m", *arguments)
    assert status == 0
    assert "MSERatioDetector of 4 features" in out
    assert "for a false-alarm rate of 0.1, set by 40 calibration rows" in out
    assert "--aux: 800 inputs, 4 features each" in err
    X, aux, new = (np.load(features / f"{name}.npy") for name in ("normal", "aux", "new"))
    detector = MSERatioDetector(random_state=3, false_alarm_rate=0.1).fit(X, aux)
    assert np.array_equal(load(tmp_path / "m").decision_function(new), detector.decision_function(new))
    assert [path.name for path in tmp_path.iterdir()] == ["m"]


def test_parameters_are_set_by_name(run, features, tmp_path):
    arguments = ["--detector", "flow", *_SMALL, "--set", "standardize=false", "--set", "learning_rate=1e-4"]
    assert run("fit", features / "normal.npy", "-o", tmp_path / "m", *arguments)[0] == 0
    detector = load(tmp_path / "m")
    assert isinstance(detector, FlowDetector)
    assert (detector.max_epochs, detector.standardize, detector.learning_rate) == (1, False, 1e-4)
    assert (detector.device, detector.verbose, detector.random_state) == ("auto", False, 0)
    assert (
        run("fit", features / "normal.npy", "-o", tmp_path / "k", "--detector", "knn", "--set", "n_neighbors=9")[0] == 0
    )
    assert load(tmp_path / "k").detector.n_neighbors == 9


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--set", "max_epoch=3"], "--set max_epoch: there is no such parameter; did you mean 'max_epochs'?"),
        (["--set", "qqq=3"], "--set qqq: there is no such parameter; choose from affine_clamp, "),
        (["--set", "max_epochs=many"], "The 'max_epochs' parameter of FlowDetector must be"),
        (["--set", "max_epochs"], "'max_epochs' is not name=value, e.g. max_epochs=30"),
        (["--detector", "floww"], "--detector 'floww' is unknown; did you mean 'flow'?"),
        (["--detector", "zzz"], "--detector 'zzz' is unknown; choose from cf, oe, flow"),
        (["--detector", "cf"], "--aux is needed: the bundled auxiliary features are of the bundled encoder"),
        (["--false-alarm-rate", "5"], "'5' is no number between 0 and 1; for 5 % write 0.05"),
        (["--weights", "moco_v2_800ep"], "--weights is for images, but NORMAL holds features"),
        (["--group-by-folder"], "--group-by-folder is for images, but NORMAL holds features"),
        (["--groups", "nowhere.csv"], "--groups 'nowhere.csv' does not exist"),
        (["--calibration", "nowhere"], "--calibration 'nowhere' does not exist"),
        (["--device", "cuda:99"], "device='cuda:99' was asked for"),
        (["--n-jobs", "0"], "'0' is neither a whole number above 0 nor -1, which means one a core"),
        (["--seed", "-1"], "'-1' is no whole number from 0 to 4294967295"),
        (["--intensity", "9,3"], "'9,3': LOW must be below HIGH"),
        (["--augx", "x"], "unrecognized arguments: --augx x (did you mean --aux?)"),
    ],
)
def test_wrong_use_is_told_before_any_work(run, features, tmp_path, monkeypatch, arguments, message):
    monkeypatch.setattr(BaseOutlierDetector, "fit", lambda *_, **__: pytest.fail("the work began"))
    status, _, err = run("fit", features / "normal.npy", "-o", tmp_path / "m", "--detector", "flow", *arguments)
    assert status == 2
    assert message in err
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("detector", ["lof", "pca"])
def test_what_cannot_be_saved_is_refused_before_any_work(run, features, tmp_path, monkeypatch, detector):
    monkeypatch.setattr(BaseOutlierDetector, "fit", lambda *_, **__: pytest.fail("the work began"))
    status, _, err = run("fit", features / "normal.npy", "-o", tmp_path / "m", "--detector", detector)
    assert status == 2
    assert "KNN" in err
    assert "cannot be saved" in err


def _given(kind, features, images, tmp_path):
    if kind == "typo":
        (tmp_path / "normals").mkdir()
        return tmp_path / "normal", "NORMAL '.*normal' does not exist. Did you mean '.*normals'?"
    if kind == "glob":
        return tmp_path / "*.png", r"NORMAL '.*\*.png': no file matches"
    if kind == "text":
        (tmp_path / "notes.txt").write_text("hello")
        return tmp_path / "notes.txt", "NORMAL '.*notes.txt' is neither images"
    if kind == "empty folder":
        (tmp_path / "empty").mkdir()
        return tmp_path / "empty", "the folder '.*empty' holds no image file"
    if kind == "no zip":
        (tmp_path / "x.zip").write_text("hello")
        return tmp_path / "x.zip", "x.zip' is not a readable zip file"
    if kind == "table":
        (tmp_path / "x.csv").write_text("name,a\nfoo,1\n")
        return tmp_path / "x.csv", "the columns 'name' of '.*x.csv' hold no numbers"
    np.save(tmp_path / "x.npy", np.zeros((3, 8, 8)))
    return tmp_path / "x.npy", r"x.npy' cannot be used as images: X is an array of shape \(3, 8, 8\)"


@pytest.mark.parametrize("kind", ["typo", "glob", "text", "empty folder", "no zip", "table", "grey"])
def test_a_wrong_input_is_named(run, features, images, tmp_path, kind):
    given, message = _given(kind, features, images, tmp_path)
    status, _, err = run("fit", given, "-o", tmp_path / "m", "--detector", "mse")
    assert status == 2
    assert re.search(message, err)
    assert not (tmp_path / "m").exists()


def test_images_and_features_are_not_mixed(run, features, images, model, image_model, tmp_path):
    status, _, err = run("fit", images / "normal", "-o", tmp_path / "m", "--aux", features / "aux.npy")
    assert status == 2
    assert "NORMAL holds images, but --aux holds features; all must be of one kind" in err
    status, _, err = run("fit", features / "normal.npy", "-o", tmp_path / "m", "--calibration", images / "new")
    assert status == 2
    assert "NORMAL holds features, but --calibration holds images" in err
    status, _, err = run("score", model, images / "new")
    assert status == 2
    assert "takes features (4 numbers a row), but NEW holds images" in err
    status, _, err = run("score", image_model, features / "new.npy")
    assert status == 2
    assert "takes images, but NEW '" in err
    status, _, err = run("score", image_model, features / "new.npy", images / "new")
    assert status == 2
    assert "new.npy' holds features and must be the only NEW; got 2 of them" in err


def test_the_bundled_auxiliary_features_are_taken_for_the_bundled_encoder_alone(run, images, tmp_path):
    arguments = ["fit", images / "normal", "-o", tmp_path / "m", "--detector", "mse-ratio"]
    status, _, err = run(*arguments)
    assert status == 0
    assert err.count("30,000 auxiliary features that come with the bundled encoder are used") == 1
    status, _, err = run(*arguments, "--low-res", "16")
    assert status == 2
    assert "--aux is needed: the bundled auxiliary features were made with low_res_size=None, not 16" in err
    status, _, err = run("fit", images / "normal", "-o", tmp_path / "m", "--detector", "mse", "--aux", images / "new")
    assert status == 0
    assert "warning: --detector mse does not learn from --aux; it is left unread" in err


def test_calibration_rows_of_their_own_set_the_threshold(run, features, tmp_path):
    arguments = ["--detector", "mse", "--calibration", features / "calibration.npy"]
    assert run("fit", features / "normal.npy", "-o", tmp_path / "m", *arguments)[0] == 0
    detector, rows = load(tmp_path / "m"), np.load(features / "calibration.npy")
    assert np.array_equal(detector.calibration_scores_, np.sort(detector.score_samples(rows)))


@pytest.mark.parametrize("by_folder", [True, False])
def test_groups_have_thresholds_of_their_own(run, images, tmp_path, by_folder):
    file = tmp_path / "groups.csv"
    pictures = [path for kind in ("normal", "new") for path in sorted((images / kind).rglob("*.png"))]
    file.write_text("".join(f"{path},{path.parent.name}\n" for path in pictures))
    groups = ["--group-by-folder"] if by_folder else ["--groups", file]
    arguments = ["--detector", "mse", "--false-alarm-rate", "0.3", "--set", "validation_fraction=0.4"]
    status, out, _ = run("fit", images / "normal", "-o", tmp_path / "m", *arguments, *groups)
    assert status == 0
    assert "set by 10 calibration rows in 2 groups" in out
    offsets = load(tmp_path / "m").steps[-1][1].group_offsets_
    assert sorted(offsets) == ["cam0", "cam1"]
    status, out, _ = run("score", tmp_path / "m", images / "new", *groups, "--json")
    rows = [json.loads(line) for line in out.splitlines()]
    assert {(row["group"], row["threshold"]) for row in rows} == set(offsets.items())
    assert all((row["verdict"] == 1) == (row["score"] >= offsets[row["group"]]) for row in rows)
    status, _, err = run("score", tmp_path / "m", images / "new")
    assert status == 2
    assert "has thresholds for 2 groups (cam0, cam1): tell the group of each input" in err


def test_fdr_selects_over_groups(run, features, tmp_path):
    new = np.load(features / "new.npy")
    groups = [f"cam{number % 2}" for number in range(400)]
    (tmp_path / "g.csv").write_text("".join(f"{number},{group}\n" for number, group in enumerate(groups)))
    arguments = ["--detector", "mse", "--groups", tmp_path / "g.csv", "--set", "validation_fraction=0.4"]
    assert run("fit", features / "normal.npy", "-o", tmp_path / "m", *arguments)[0] == 0
    status, out, _ = run("score", tmp_path / "m", features / "new.npy", "--groups", tmp_path / "g.csv", "--fdr", "0.1")
    rows = list(csv.DictReader(io.StringIO(out)))
    with pytest.warns(UserWarning, match="80 calibration rows can select from 120 rows at fdr=0.1"):
        selected = load(tmp_path / "m").select(new, fdr=0.1, groups=groups[:120])
    assert status == 0
    assert selected.sum() >= 60
    assert [row["verdict"] == "-1" for row in rows] == selected.tolist()
    assert [float(row["score"]) < float(row["threshold"]) for row in rows] == selected.tolist()
    assert len({row["threshold"] for row in rows}) == 2


def test_unknown_and_needless_groups_are_refused(run, images, image_model, tmp_path):
    status, _, err = run("score", image_model, images / "new", "--group-by-folder")
    assert status == 2
    assert "has one threshold for all inputs; groups are given to `skcnf fit` first" in err
    arguments = ["--detector", "mse", "--false-alarm-rate", "0.3", "--group-by-folder"]
    assert run("fit", images / "normal", "-o", tmp_path / "m", *arguments)[0] == 0
    Image.fromarray(np.zeros((8, 8, 3), np.uint8)).save(tmp_path / "a.png")
    status, _, err = run("score", tmp_path / "m", tmp_path / "a.png", "--group-by-folder")
    assert status == 2
    assert "without calibration rows; the groups calibrated are 'cam0', 'cam1'" in err


def test_broken_images_are_left_out_and_strict_stops(run, images, tmp_path):
    with zipfile.ZipFile(tmp_path / "x.zip", "w") as archive:
        for path in sorted((images / "normal").rglob("*.png")):
            archive.write(path, path.name)
        archive.writestr("99.png", b"no image")
    arguments = ["fit", tmp_path / "x.zip", "-o", tmp_path / "m", "--detector", "mse", "--set", "contamination=0.1"]
    status, _, err = run(*arguments)
    assert status == 0
    assert "unreadable: the image '99.png' of" in err
    assert "NORMAL: 1 of 25 inputs unreadable and left out" in err
    whole = tmp_path / "whole"
    assert run("fit", images / "normal", "-o", whole, *arguments[4:])[0] == 0
    offsets = [load(path).steps[-1][1].offset_ for path in (tmp_path / "m", whole)]
    assert offsets[0] == pytest.approx(offsets[1])  # the images come in another order
    status, _, err = run(*arguments[:3], tmp_path / "s", *arguments[4:], "--strict")
    assert status == 2
    assert "--strict: the image '99.png' of" in err
    assert not (tmp_path / "s").exists()


def test_what_an_earlier_run_could_not_read_is_read_again(run, images, tmp_path, monkeypatch):
    normal = shutil.copytree(images / "normal", tmp_path / "normal")
    broken = [normal / "cam0" / "00.png", normal / "cam1" / "01.png"]
    good = broken[1].read_bytes()
    for path in broken:
        path.write_bytes(b"no image")
    monkeypatch.setattr("skcnf.cli._inputs.digest", lambda *_: "")  # no file changed, but a disk failed for a while
    arguments = ["fit", normal, "-o", tmp_path / "m", "--detector", "mse", "--set", "contamination=0.1"]
    with monkeypatch.context() as patch:
        patch.setattr("skcnf.detectors.MSEDetector.fit", _interrupt)
        assert run(*arguments)[0] == 130
    broken[1].write_bytes(good)
    status, _, err = run(*arguments, "--strict")
    assert status == 2
    assert f"--strict: the image file '{broken[0]}'" in err
    status, _, err = run(*arguments)
    assert status == 0
    assert f"unreadable: the image file '{broken[0]}'" in err
    assert "NORMAL: 1 of 24 inputs unreadable and left out" in err


def _interrupt(*_, **__):
    raise KeyboardInterrupt


@pytest.mark.parametrize("step", ["features", "training"])
def test_a_cut_fit_goes_on_to_the_same_bytes(run, images, tmp_path, monkeypatch, step):
    from skcnf.detectors import MSEDetector
    from skcnf.moco import MocoFeaturizer

    arguments = ["fit", images / "normal", "--detector", "mse", "--set", "batch_size=10", "-o"]
    assert run(*arguments, tmp_path / "whole")[0] == 0
    stream, seen = MocoFeaturizer.stream, []

    def cut(self, X, **part):
        for number, batch in enumerate(stream(self, X, **part)):
            if number == 2:
                raise KeyboardInterrupt
            yield batch

    def count(self, X, **part):
        for batch in stream(self, X, **part):
            seen.append(len(batch))
            yield batch

    with monkeypatch.context() as patch:
        if step == "features":
            patch.setattr(MocoFeaturizer, "stream", cut)
        else:
            patch.setattr(MSEDetector, "fit", lambda *_, **__: (_ for _ in ()).throw(KeyboardInterrupt))
        status, _, err = run(*arguments, tmp_path / "cut")
    assert status == 130
    assert "features that are done are kept beside MODEL; run the same command to go on" in err
    assert not (tmp_path / "cut").exists()
    monkeypatch.setattr(MocoFeaturizer, "stream", count)
    assert run(*arguments, tmp_path / "cut")[0] == 0
    assert seen == ([4] if step == "features" else [])
    assert (tmp_path / "cut").read_bytes() == (tmp_path / "whole").read_bytes()
    assert sorted(path.name for path in tmp_path.iterdir()) == ["cut", "whole"]


def test_paths_on_standard_input_are_fitted(run, images, image_model, tmp_path, monkeypatch):
    paths = "\n".join(map(str, sorted((images / "normal").rglob("*.png"))))
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(paths.encode())))
    arguments = ["--detector", "mse", "--false-alarm-rate", "0.4", "-q"]
    assert run("fit", "-", "-o", tmp_path / "m", *arguments)[0] == 0
    assert (tmp_path / "m").read_bytes() == image_model.read_bytes()


def test_an_expanded_glob_is_explained(run, images, tmp_path):
    status, _, err = run("fit", images / "a.png", images / "b.png", "-o", tmp_path / "m")
    assert status == 2
    assert "b.png (a glob such as *.png needs quotes)" in err


def test_a_wrong_encoder_is_told_before_missing_auxiliary_inputs(run, images, tmp_path):
    status, _, err = run("fit", images / "normal", "-o", tmp_path / "m", "--weights", "tinyimagnet32")
    assert status == 2
    assert "weights='tinyimagnet32' is neither a bundled encoder" in err
    status, _, err = run("fit", images / "normal", "-o", tmp_path / "m", "--weights", "moco_v2_800ep")
    assert status == 2  # nothing was downloaded
    assert "--aux is needed: the bundled auxiliary features were made with weights='tinyimagenet32'" in err


def test_rows_of_another_width_are_told_by_their_argument(run, features, model, tmp_path):
    np.save(tmp_path / "wide.npy", np.zeros((50, 6)))
    arguments = ["fit", features / "normal.npy", "-o", tmp_path / "m", "--detector", "mse-ratio"]
    status, _, err = run(*arguments, "--aux", tmp_path / "wide.npy")
    assert status == 2
    assert "--aux has 6 features in each row, but NORMAL has 4; the same encoder must make both" in err
    status, _, err = run("score", model, tmp_path / "wide.npy")
    assert status == 2
    assert f"NEW has 6 features in each row, but '{model}' takes 4" in err


def test_too_few_inputs_are_told(run, tmp_path):
    np.save(tmp_path / "x.npy", [[1.0, 2.0], [np.nan, 0.0]])
    status, _, err = run("fit", tmp_path / "x.npy", "-o", tmp_path / "m", "--detector", "mse")
    assert status == 2
    assert "unreadable: row 1: it holds a value that is no finite number" in err
    assert "NORMAL: 1 of 2 inputs can be read; at least 2 are needed" in err


@pytest.mark.parametrize(
    "arguments",
    [
        ["fit", "x.npy", "-o", "x.npy", "--detector", "mse"],
        ["fit", "x.npy", "-o", "a.npy", "--aux", "a.npy", "--detector", "mse-ratio"],
        ["score", "m", "x.npy", "-o", "m"],
        ["score", "m", "x.npy", "-o", "./x.npy"],
        ["score", "m", "x.npy", "-o", "s", "--report", "s"],
        ["report", "s", "-o", "s"],
        ["features", "x.npy", "-o", "x.npy"],
        ["features", "x.npy", "-o", "m", "--weights", "m"],
        ["fit", "x.npy", "-o", "m", "--weights", "m", "--detector", "mse"],
        ["score", "m", ".", "-o", "deep.PNG"],
    ],
)
def test_no_output_overwrites_an_input(run, tmp_path, monkeypatch, arguments):
    monkeypatch.chdir(tmp_path)
    names = ("a.npy", "deep.PNG", "m", "s", "x.npy")
    for name in names:
        (tmp_path / name).write_text(name)
    status, _, err = run(*arguments)
    assert status == 2
    assert "would overwrite" in err
    assert sorted((path.name, path.read_text()) for path in tmp_path.iterdir()) == [(name, name) for name in names]


@pytest.mark.parametrize("command", ["score", "info", "report"])
def test_a_model_or_table_that_is_not_there_is_named(run, features, tmp_path, command):
    (tmp_path / "model.skcnf").mkdir()
    more = {"score": [features / "new.npy"], "info": [], "report": ["-o", tmp_path / "r.html"]}[command]
    role = "SCORES" if command == "report" else "MODEL"
    status, _, err = run(command, tmp_path / "modell.skcnf", *more)
    assert status == 2
    assert f"{role} '{tmp_path}/modell.skcnf' does not exist. Did you mean '{tmp_path}/model.skcnf'?" in err
    status, _, err = run(command, tmp_path / "model.skcnf", *more)
    assert status == 2
    assert f"{role} '{tmp_path}/model.skcnf' is a folder; a file is needed" in err


def test_info_says_what_a_file_holds(run, image_model):
    status, out, _ = run("info", image_model)
    assert status == 0
    for line in (
        "detector +MSEDetector",
        "encoder +.*tinyimagenet32|encoder +resnet",
        "features +128",
        "normal inputs +24",
    ):
        assert re.search(f"^{line}", out, re.M), line
    for line in ("false alarm rate +0.4", "calibration rows +2", "date +1970-01-01T00:00:00Z", "threshold +-"):
        assert re.search(f"^{line}", out, re.M), line
    assert json.loads(run("info", image_model, "--json")[1])["detector"] == "MSEDetector"


def test_tiles_are_fitted_as_in_python(run, images, tmp_path):
    arguments = ["--tiles", 12, "--detector", "mse-ratio", "--false-alarm-rate", "0.4", "--set", "image_size=(24,20)"]
    arguments += ["--aux", images / "new", "--set", "overlap=0.25", "--keep-thumbnails"]
    status, out, err = run("fit", images / "normal", "-o", tmp_path / "m", *arguments)
    assert status == 0, err
    assert "MSERatioDetector of 128 features for each of 6 tiles" in out
    assert "set by 2 calibration images" in out
    detector = MSERatioDetector(random_state=0, false_alarm_rate=0.4)
    expected = TiledDetector(MocoFeaturizer(), detector, tile=12, overlap=0.25, image_size=(24, 20))
    expected.fit(images / "normal", X_aux=images / "new")
    loaded = load(tmp_path / "m")
    np.testing.assert_array_equal(loaded.decision_function(images / "new"), expected.decision_function(images / "new"))
    assert [path.name for path in tmp_path.iterdir()] == ["m"]


def test_tiles_have_groups_and_other_calibration_images(run, images, tmp_path):
    arguments = ["--tiles", 16, "--detector", "mse", "--false-alarm-rate", "0.4", "--set", "validation_fraction=0.4"]
    status, out, _ = run("fit", images / "normal", "-o", tmp_path / "m", *arguments, "--group-by-folder")
    assert status == 0
    assert "set by 10 calibration images in 2 groups" in out
    status, out, _ = run("score", tmp_path / "m", images / "new", "--group-by-folder")
    assert status == 0
    assert {row["group"] for row in csv.DictReader(io.StringIO(out))} == {"cam0", "cam1"}
    status, out, _ = run(
        "fit", images / "normal" / "cam0", "-o", tmp_path / "c", *arguments, "--calibration", images / "normal" / "cam1"
    )
    assert status == 0
    assert "set by 12 calibration images" in out


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--tiles", 33], "tile=33 exceeds the shorter side of images of 20 x 24 pixels (height x width)"),
        (["--tiles", 8, "--set", "overlap=1"], "The 'overlap' parameter of TiledDetector must be a float in the range"),
        (["--tiles", 8, "--set", "image_size=(1,2,3)"], "image_size=(1, 2, 3) must be a number of pixels, or (height,"),
        (["--tiles", 0], "'0' is no whole number above 0"),
        (["--tiles", 8, "--detector", "lof"], "a PyODDetector(LOF()) cannot be saved without pickle"),
        (["--tiles", 8, "--calibration", "{images}/new"], ""),
    ],
)
def test_tiles_that_do_not_fit_are_told(run, images, tmp_path, arguments, message):
    arguments = [str(argument).format(images=images) for argument in arguments]
    if not message:  # others than those of fit may have any size
        assert run("fit", images / "normal", "-o", tmp_path / "m", "--detector", "mse", *arguments)[0] == 0
        return
    status, _, err = run("fit", images / "normal", "-o", tmp_path / "m", "--detector", "mse", *arguments)
    assert status == 2
    assert message in err
    assert not list(tmp_path.iterdir())


def test_images_of_several_sizes_need_a_size(run, images, tmp_path):
    status, _, err = run("fit", images, "-o", tmp_path / "m", "--detector", "mse", "--tiles", 8)
    assert status == 2
    assert ".png' has 20 x 24 pixels (height x width), but the first one has" in err
    assert "--set image_size=SIZE" in err
    assert "unreadable" not in err
    assert run("fit", images, "-o", tmp_path / "m", "--detector", "mse", "--tiles", 8, "--set", "image_size=16")[0] == 0


def test_tiles_are_for_images(run, features, tmp_path):
    status, _, err = run("fit", features / "normal.npy", "-o", tmp_path / "m", "--detector", "mse", "--tiles", 8)
    assert status == 2
    assert "--tiles is for images, but NORMAL holds features" in err


def test_groups_of_one_input_each_are_told(run, features, tmp_path):
    (tmp_path / "g.csv").write_text("".join(f"{number},cam{number}\n" for number in range(400)))
    arguments = ["--detector", "mse", "--groups", tmp_path / "g.csv"]
    status, _, err = run("fit", features / "normal.npy", "-o", tmp_path / "m", *arguments)
    assert status == 2
    assert "every group has one input alone ('cam0', 'cam1', 'cam10'" in err
