import json
import re
import warnings

import numpy as np
import pandas as pd
import pytest
import sklearn
import torch
from pyod.models.iforest import IForest
from pyod.models.knn import KNN
from safetensors import safe_open
from sklearn.base import clone
from sklearn.cluster import KMeans
from sklearn.decomposition import PCA
from sklearn.exceptions import NotFittedError
from sklearn.pipeline import Pipeline, make_pipeline
from sklearn.preprocessing import MaxAbsScaler, MinMaxScaler, Normalizer, RobustScaler, StandardScaler
from torch import nn

from skcnf import (
    ContrastiveFlowDetector,
    MocoFeaturizer,
    MSEDetector,
    PyODDetector,
    TiledDetector,
    check_savable,
    info,
    load,
    save,
)
from skcnf._core.generators import seeded
from skcnf.moco import EncoderSpec, build_encoder, save_encoder
from skcnf.saving import NotSavableError, load_detector, load_thumbnails, save_detector
from tests.detectors.test_detectors import EVERY
from tests.saving.fixtures.write import HERE as FIXTURES
from tests.saving.fixtures.write import rows as rows_of_fixture

OWN = [detector for detector in EVERY if not isinstance(detector, PyODDetector)]


def _same_state(loaded, fitted):
    """Equal parameters and attributes, of equal types."""
    assert type(loaded) is type(fitted)
    assert loaded.get_params(deep=False).keys() == fitted.get_params(deep=False).keys()
    assert set(vars(loaded)) == set(vars(fitted))
    for name, value in vars(fitted).items():
        if isinstance(value, np.ndarray):
            np.testing.assert_array_equal(vars(loaded)[name], value)
            assert vars(loaded)[name].dtype == value.dtype
        elif isinstance(value, (int, float, str, dict)):
            np.testing.assert_equal(vars(loaded)[name], value)  # NaN too


@pytest.mark.parametrize("detector", OWN, ids=lambda detector: type(detector).__name__)
def test_saved_detectors_come_back_whole(detector, rows, tmp_path):
    X, X_aux, X_test, _ = rows
    detector = clone(detector).fit(X, X_aux)
    save(detector, tmp_path / "x.skcnf")
    loaded = load(tmp_path / "x.skcnf")
    np.testing.assert_array_equal(loaded.decision_function(X_test), detector.decision_function(X_test))
    _same_state(loaded, detector)
    assert loaded.get_params() == detector.get_params()
    assert str(getattr(loaded, "history_", None)) == str(getattr(detector, "history_", None))


def test_decisions_with_groups_come_back(rows, tmp_path):
    X, _, X_test, _ = rows
    groups = np.array(["north", "süd", "7"] * 200)
    detector = MSEDetector(random_state=0).fit(X).recalibrate(X, groups=groups)
    save(detector, tmp_path / "x.skcnf")
    loaded = load(tmp_path / "x.skcnf")
    _same_state(loaded, detector)
    for decide in ("p_values", "predict"):
        np.testing.assert_array_equal(
            getattr(loaded, decide)(X_test, groups=groups), getattr(detector, decide)(X_test, groups=groups)
        )
    np.testing.assert_array_equal(
        loaded.recalibrate(X).calibration_scores_, detector.recalibrate(X).calibration_scores_
    )


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("method", ["largest", "median"])
def test_pyods_knn_is_saved_as_its_rows(rows, tmp_path, dtype, method):
    X, _, X_test, _ = (part.astype(dtype) for part in rows)
    detector = PyODDetector(KNN(n_neighbors=3, method=method, n_jobs=1), random_state=0).fit(X)
    save(detector, tmp_path / "x.skcnf")
    loaded = load(tmp_path / "x.skcnf")
    np.testing.assert_array_equal(loaded.decision_function(X_test), detector.decision_function(X_test))
    assert loaded.detector.n_neighbors == 3
    assert set(vars(loaded)) == set(vars(detector))


@pytest.mark.parametrize(
    "steps",
    [
        [StandardScaler()],
        [StandardScaler(with_mean=False, with_std=False)],
        [MinMaxScaler(feature_range=(-1, 2))],
        [RobustScaler(quantile_range=(10.0, 80.0))],
        [RobustScaler(with_centering=False)],
        [MaxAbsScaler(), Normalizer("l1")],
        [PCA(2, whiten=True, random_state=0)],
        [StandardScaler(), PCA(0.9), Normalizer()],
    ],
    ids=lambda steps: "-".join(type(step).__name__ for step in steps),
)
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_pipelines_come_back_whole(steps, dtype, rows, tmp_path):
    X, _, X_test, _ = (part.astype(dtype) for part in rows)
    pipeline = make_pipeline(*map(clone, steps), MSEDetector(random_state=0)).fit(X)
    save(pipeline, tmp_path / "x.skcnf")
    loaded = load(tmp_path / "x.skcnf")
    np.testing.assert_array_equal(loaded.decision_function(X_test), pipeline.decision_function(X_test))
    for (name, step), (expected, fitted) in zip(loaded.steps, pipeline.steps, strict=True):
        assert name == expected
        _same_state(step, fitted)
        assert step.get_params() == fitted.get_params()
    clone(loaded).fit(X)


def _fitted_tiles(**options):
    images = np.random.default_rng(0).integers(0, 256, (40, 20, 24, 3), dtype=np.uint8)
    detector = MSEDetector(random_state=0, false_alarm_rate=0.2, validation_fraction=0.4)
    return images, TiledDetector(MocoFeaturizer(**options), detector, tile=12, overlap=0.25).fit(images)


def test_tiled_detectors_come_back_whole(tmp_path):
    images, tiled = _fitted_tiles(n_jobs=2)
    tiled.recalibrate(images, groups=["a", "b"] * 20)
    save(tiled, tmp_path / "x.skcnf")
    loaded = load(tmp_path / "x.skcnf")
    groups = ["a", "b"] * 20
    for decide in ("p_values", "predict", "decision_function"):
        np.testing.assert_array_equal(
            getattr(loaded, decide)(images, groups=groups), getattr(tiled, decide)(images, groups=groups)
        )
    assert set(vars(loaded)) == set(vars(tiled))
    assert (loaded.size_, loaded.tile, loaded.overlap, loaded.image_size) == ((20, 24), 12, 0.25, None)
    _same_state(loaded.detector_, tiled.detector_)
    assert loaded.featurizer_.n_jobs is None
    clone(loaded).fit(images)
    save(loaded, tmp_path / "y.skcnf", about={"date": info(tmp_path / "x.skcnf")["date"]})
    assert (tmp_path / "y.skcnf").read_bytes() == (tmp_path / "x.skcnf").read_bytes()


def test_tiled_detectors_of_a_foreign_encoder_need_it(tmp_path):
    encoder = nn.Sequential(nn.AdaptiveAvgPool2d(2), nn.Flatten())
    images, tiled = _fitted_tiles(weights=encoder)
    save(tiled, tmp_path / "x.skcnf")
    with pytest.raises(ValueError, match="its encoder is a module that is not in the file"):
        load(tmp_path / "x.skcnf")
    loaded = load(tmp_path / "x.skcnf", encoder=encoder)
    np.testing.assert_array_equal(loaded.score_samples(images), tiled.score_samples(images))


def test_tiled_detectors_of_other_parts_are_refused():
    check_savable(TiledDetector(MocoFeaturizer(), MSEDetector(), tile=8))
    for model, message in (
        (TiledDetector(PCA(), MSEDetector(), tile=8), "a TiledDetector of PCA cannot be saved"),
        (TiledDetector(MocoFeaturizer(), PyODDetector(IForest()), tile=8), r"a PyODDetector\(IForest\(\)\) cannot be"),
        (make_pipeline(TiledDetector(MocoFeaturizer(), MSEDetector(), tile=8)), "a TiledDetector inside a Pipeline"),
    ):
        with pytest.raises(NotSavableError, match=message):
            check_savable(model)


def test_names_of_features_and_routing_come_back(rows, tmp_path):
    import pandas as pd

    frame = pd.DataFrame(rows[0], columns=["a", "b", "c", "d"])
    steps = [("scale", StandardScaler()), ("detector", MSEDetector(random_state=0))]
    pipeline = Pipeline(steps, transform_input=["X_aux"])
    with sklearn.config_context(enable_metadata_routing=True):
        save(pipeline.fit(frame), tmp_path / "x.skcnf")
    loaded = load(tmp_path / "x.skcnf")
    assert loaded.transform_input == ["X_aux"]
    assert loaded.feature_names_in_.tolist() == ["a", "b", "c", "d"]
    loaded.transform_input = None
    with pytest.raises(ValueError, match="feature names"):
        loaded.predict(frame[["b", "a", "c", "d"]])


@pytest.fixture
def images():
    return np.random.default_rng(0).integers(0, 256, (12, 16, 16, 3), dtype=np.uint8)


@pytest.mark.parametrize("frames", ["pandas", "polars"])
def test_frames_between_steps_come_back(rows, tmp_path, frames):
    pytest.importorskip(frames)
    pipeline = make_pipeline(StandardScaler(), MSEDetector(random_state=0)).set_output(transform=frames)
    pipeline.fit(pd.DataFrame(rows[0], columns=list("abcd")))
    save(pipeline, tmp_path / "x.skcnf")
    loaded = load(tmp_path / "x.skcnf")
    X = pd.DataFrame(rows[2], columns=list("abcd"))
    with warnings.catch_warnings():
        warnings.simplefilter("error")  # of features without names
        np.testing.assert_array_equal(loaded.score_samples(X), pipeline.score_samples(X))
    assert type(loaded[0].transform(X)) is type(pipeline[0].transform(X))


def _featurized(weights, images, **parameters):
    moco = MocoFeaturizer(weights, image_size=16, device="cpu", **parameters)
    return make_pipeline(moco, MSEDetector(random_state=0, false_alarm_rate=0.5)).fit(images)


@pytest.mark.parametrize(
    "parameters",
    [
        {},
        {"noise_std": 0.1, "random_state": 3},
        {"normalize": False, "low_res_size": 8},
        {"precision": "bfloat16"},
    ],
)
def test_a_bundled_encoder_lies_in_the_file(images, tmp_path, parameters, monkeypatch):
    from skcnf.moco import BUNDLED_ENCODERS

    pipeline = _featurized("tinyimagenet32", images, memory=str(tmp_path / "cache"), n_jobs=2, **parameters)
    expected = pipeline.decision_function(images)
    save(pipeline, tmp_path / "x.skcnf")
    n_bytes = BUNDLED_ENCODERS["tinyimagenet32"].stat().st_size
    assert (tmp_path / "x.skcnf").stat().st_size < 1.1 * n_bytes  # in float16, as there
    monkeypatch.setitem(BUNDLED_ENCODERS, "tinyimagenet32", tmp_path / "not there")
    loaded = load(tmp_path / "x.skcnf")
    np.testing.assert_array_equal(loaded.decision_function(images), expected)
    assert set(vars(loaded[0])) == set(vars(pipeline[0]))
    assert ("bfloat16" in info(tmp_path / "x.skcnf")["encoder"]) is ("precision" in parameters)
    params = {**pipeline[0].get_params(), "memory": None, "n_jobs": None}
    assert loaded[0].get_params() == params


@pytest.mark.parametrize("as_file", [False, True])
def test_an_encoder_of_this_package_lies_in_the_file(images, tmp_path, as_file):
    with seeded(0):
        encoder = build_encoder(EncoderSpec("resnet10", width=8, stem="strided", out_features=6, image_size=16)).eval()
    save_encoder(encoder, tmp_path / "e.safetensors")
    pipeline = _featurized(tmp_path / "e.safetensors" if as_file else encoder, images)
    save(pipeline, tmp_path / "x.skcnf")
    (tmp_path / "e.safetensors").unlink()
    loaded = load(tmp_path / "x.skcnf")
    np.testing.assert_array_equal(loaded.decision_function(images), pipeline.decision_function(images))
    clone(loaded).fit(images)  # its parameter is the module, and no path of another machine
    with pytest.raises(ValueError, match="holds its own encoder"):
        load(tmp_path / "x.skcnf", encoder=encoder)


class _Mean(nn.Module):
    def __init__(self, scale=1.0):
        super().__init__()
        self.register_buffer("scale", torch.tensor(scale))

    def forward(self, x):
        return x.mean((2, 3)) * self.scale


def test_another_module_is_asked_for_and_held_against_its_digest(images, tmp_path):
    pipeline = _featurized(_Mean(), images)
    file = tmp_path / "x.skcnf"
    save(pipeline, file)
    loaded = load(file, encoder=_Mean())
    np.testing.assert_array_equal(loaded.decision_function(images), pipeline.decision_function(images))
    with pytest.raises(ValueError, match=r"x.skcnf' .*its encoder is a module that is not in the file; give it as enc"):
        load(file)
    with pytest.raises(ValueError, match=r"x.skcnf' .*encoder has weights of digest \w+, but the model was fitted wi"):
        load(file, encoder=_Mean(2.0))
    assert "not in the file" in info(file)["encoder"]
    save(pipeline[-1], file)
    with pytest.raises(ValueError, match="holds no featurizer that needs encoder="):
        load(file, encoder=_Mean())


def test_what_cannot_be_saved_is_named_before_it_is_fitted_and_leaves_no_file(rows, tmp_path):
    file = tmp_path / "x.skcnf"
    cases = [
        (KMeans(2), "a KMeans cannot be saved without pickle. These can: CSIDetector, ContrastiveFlowDetector, "),
        (make_pipeline(KMeans(2), MSEDetector()), "a KMeans cannot be saved"),
        (PyODDetector(IForest()), "a PyODDetector(IForest()) cannot be saved without pickle"),
        (
            PyODDetector(KNN(metric="wminkowski")),
            "this KNN cannot be saved without pickle: metric='wminkowski' is none of",
        ),
        (PyODDetector(KNN(metric=lambda a, b: 0.0)), "the parameter metric=<function"),
        (MSEDetector(random_state=np.random.RandomState(0)), "the parameter random_state="),
        (Pipeline([("a", "passthrough"), ("b", MSEDetector())]), "the step 'a' of the pipeline, 'passthrough'"),
    ]
    for model, message in cases:
        for error in (TypeError, ValueError):
            with pytest.raises(error, match=re.escape(message)):
                check_savable(model)
        with pytest.raises(TypeError, match=re.escape(message)):
            save(model, file)
    with pytest.raises(NotFittedError):
        save(MSEDetector(), file)
    fitted = MSEDetector(random_state=0).fit(rows[0])
    fitted.colour_ = "red"
    with pytest.raises(TypeError, match=r"MSEDetector holds \['colour_'\]"):
        save(fitted, file)
    del fitted.colour_
    fitted.offset_ = np.inf
    with pytest.raises(TypeError, match=r"MSEDetector.offset_ cannot be saved: it is not finite"):
        save(fitted, file)
    assert not list(tmp_path.iterdir())


def test_unfitted_models_that_can_be_saved_pass():
    for model in (*OWN, PyODDetector(KNN()), make_pipeline(MocoFeaturizer(), PCA(8), MSEDetector())):
        check_savable(model)


def test_equal_models_of_equal_dates_give_equal_bytes(rows, tmp_path, monkeypatch):
    monkeypatch.setenv("SOURCE_DATE_EPOCH", "0")
    detector = MSEDetector(random_state=0)
    for name in "ab":
        save(detector.fit(rows[0]), tmp_path / name)
    save(load(tmp_path / "a"), tmp_path / "c")
    assert len({path.read_bytes() for path in tmp_path.iterdir()}) == 1
    assert info(tmp_path / "a")["date"] == "1970-01-01T00:00:00Z"
    for seconds in ("soon", "1" * 30):
        monkeypatch.setenv("SOURCE_DATE_EPOCH", seconds)
        with pytest.raises(ValueError, match=f"SOURCE_DATE_EPOCH='{seconds}' is no time in seconds"):
            check_savable(detector)  # before it is fitted


def test_what_a_file_holds_is_told(images, rows, tmp_path):
    file = tmp_path / "x.skcnf"
    pipeline = _featurized("tinyimagenet32", images, random_state=0)
    small = images[:3, :8, :8]
    save(pipeline, file, thumbnails=small, about={"n_training_images": np.int64(12), "date": "today"})
    held = info(file)
    assert json.loads(json.dumps(held)) == held
    assert held["detector"] == "MSEDetector"
    assert held["steps"] == ["MocoFeaturizer", "MSEDetector"]
    assert held["encoder"].startswith("tinyimagenet32 (resnet18, ")
    assert (held["features"], held["threshold"]) == (128, pipeline[-1].offset_)
    assert (held["false_alarm_rate"], held["calibration_rows"], held["groups"]) == (0.5, 1, 0)
    assert (held["n_training_images"], held["date"], held["thumbnails"]) == (12, "today", 3)
    np.testing.assert_array_equal(load_thumbnails(file), small)
    save(MSEDetector(contamination=0.1, random_state=0).fit(rows[0]), file)
    assert (info(file)["encoder"], info(file)["calibration_rows"]) == (None, None)
    assert load_thumbnails(file) is None
    for option, value in (("thumbnails", images / 255), ("about", {"a": [1]}), ("about", {"a": float("nan")})):
        with pytest.raises(ValueError, match=option):
            save(pipeline, file, **{option: value})


def test_the_file_is_a_safetensors_file(rows, tmp_path):
    detector = ContrastiveFlowDetector(n_blocks=np.int64(1), hidden_units=8, max_epochs=1, random_state=0)
    save_detector(detector.fit(*rows[:2]), tmp_path / "x")
    with safe_open(tmp_path / "x", "np") as file:
        np.testing.assert_array_equal(file.get_tensor("location_"), detector.location_)
    assert load_detector(tmp_path / "x").n_blocks == 1


@pytest.mark.parametrize("file", sorted(FIXTURES.glob("*.skcnf")), ids=lambda file: file.stem)
def test_files_of_every_format_are_still_read(file):
    """Kept as they were written; `tests.saving.fixtures.write` makes one of a new format."""
    expected = json.loads(file.with_suffix(".json").read_text())
    pipeline = load(file)
    np.testing.assert_allclose(pipeline.score_samples(rows_of_fixture(10, 2)), expected["score_samples"], rtol=1e-9)
    groups = ["north", "south"] * 5
    X = pipeline[:-1].transform(rows_of_fixture(10, 2))
    assert pipeline[-1].predict(X, groups=groups).tolist() == expected["predict"]
    assert info(file)["n_training_images"] == 300
    assert load_thumbnails(file).shape == (2, 4, 4, 3)


def test_there_is_a_file_of_the_present_format(rows, tmp_path):
    save(MSEDetector(random_state=0).fit(rows[0]), tmp_path / "x")
    assert (FIXTURES / f"{info(tmp_path / 'x')['format']}.skcnf").is_file()
