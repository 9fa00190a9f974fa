import re

import numpy as np
import pytest
from PIL import Image
from sklearn.base import clone
from sklearn.datasets import load_sample_images
from sklearn.decomposition import PCA
from sklearn.exceptions import NotFittedError

import skcnf
from skcnf import FlowDetector, MocoFeaturizer, MSEDetector, MSERatioDetector, TiledDetector
from skcnf.detectors import BaseOutlierDetector, conformal_p_values
from skcnf.evaluation import auroc
from skcnf.images import TileGrid

SMALL = {"n_blocks": 2, "hidden_units": 16, "max_epochs": 2}
pytestmark = pytest.mark.filterwarnings("ignore:.*calibration rows cannot assure:UserWarning")


class Corners:
    """A featurizer that shows what it is given: the four corner pixels' red, exact for tiles of any size."""

    n_features_out_ = 4

    def fit(self, X, y=None):
        return self

    def transform(self, X):
        red = X[..., 0].astype(np.float32)
        return np.stack([red[:, 0, 0], red[:, 0, -1], red[:, -1, 0], red[:, -1, -1]], axis=1)

    def get_params(self, deep=True):
        return {}

    def set_params(self):
        return self


def _tiled(detector=None, **options):
    return TiledDetector(Corners(), detector or MSEDetector(random_state=0), **{"tile": 8, **options})


@pytest.fixture(scope="module")
def images():
    return np.random.default_rng(0).integers(0, 256, (60, 20, 24, 3), dtype=np.uint8)


def _features(images, tiled):
    """Tiles' features (n, k, 4), by slices in place of a grid."""
    stride = round(tiled.tile * (1 - tiled.overlap))
    height, width = images.shape[1:3]
    tops = [*range(0, height - tiled.tile, stride), height - tiled.tile]
    lefts = [*range(0, width - tiled.tile, stride), width - tiled.tile]
    tile = tiled.tile
    tiles = [images[:, top : top + tile, left : left + tile] for top in tops for left in lefts]
    return np.stack([Corners().transform(part) for part in tiles], axis=1)


def test_a_grid_reaches_every_pixel_and_ends_at_the_border():
    grid = TileGrid.over((20, 25), 8, 5)
    assert grid.tops.tolist() == [0, 5, 10, 12]
    assert grid.lefts.tolist() == [0, 5, 10, 15, 17]
    assert len(grid) == 20
    np.testing.assert_array_equal(grid.heat(np.ones((4, 5))), np.ones((20, 25)))
    values = np.arange(20.0).reshape(4, 5)
    assert grid.heat(values)[0, 0] == 0
    assert grid.heat(values)[19, 24] == 19
    assert grid.heat(values)[6, 1] == (0 + 5) / 2


@pytest.mark.parametrize("overlap", [0.0, 0.5, 0.6])
def test_an_image_has_the_score_of_its_lowest_tile(images, overlap):
    tiled = _tiled(overlap=overlap).fit(images)
    features = _features(images, tiled)
    scores = tiled.detector_.score_samples(features.reshape(-1, 4)).reshape(features.shape[:2])
    np.testing.assert_array_equal(tiled.score_samples(images), scores.min(axis=1))
    np.testing.assert_array_equal(tiled.heat_map(images[3]).scores.ravel(), scores[3])


@pytest.mark.parametrize(
    "detector", [MSEDetector(random_state=3), FlowDetector(random_state=3, **SMALL)], ids=["rows", "flow"]
)
def test_images_are_split_and_never_tiles(images, monkeypatch, detector):
    """Of each image all tiles train, or stop, or calibrate; what calibrates is the score of the lowest tile."""
    seen = {}
    split = type(detector)._split

    def watched(self, X, X_aux, random_state):
        seen["rows"] = split(self, X, X_aux, random_state)
        return seen["rows"]

    monkeypatch.setattr(type(detector), "_split", watched)
    tiled = _tiled(detector, tile=4).fit(images)
    rows, features = seen["rows"], _features(images, tiled)
    n_tiles = features.shape[1]

    def origin(part):
        """Which images the tiles of a part come from, each with how many."""
        places = {tile.tobytes(): image for image, tiles in enumerate(features) for tile in tiles}
        return np.bincount([places[tile.tobytes()] for tile in part.reshape(-1, 4).astype(np.float32)], minlength=60)

    parts = [rows.train, rows.calibration, *([rows.validation] if hasattr(rows, "validation") else [])]
    counts = np.stack([origin(part) for part in parts])
    assert set(counts.ravel().tolist()) == {0, n_tiles}
    np.testing.assert_array_equal(counts.sum(axis=0), n_tiles)
    held_out = np.flatnonzero(counts[1])
    np.testing.assert_allclose(tiled.calibration_scores_, np.sort(tiled.score_samples(images[held_out])), rtol=1e-6)
    assert len(tiled.calibration_scores_) == len(held_out) == (6 if len(parts) == 2 else 3)


def test_one_tile_an_image_is_the_detector_itself(images):
    small = images[:, :8, :8]
    detector = MSEDetector(random_state=0).fit(Corners().transform(small))
    tiled = _tiled().fit(small)
    np.testing.assert_array_equal(tiled.score_samples(small), detector.score_samples(Corners().transform(small)))
    np.testing.assert_array_equal(tiled.calibration_scores_, detector.calibration_scores_)
    assert tiled.offset_ == detector.offset_


def test_decisions_are_those_of_images(images):
    tiled = _tiled(MSEDetector(false_alarm_rate=0.2, validation_fraction=0.4, random_state=0)).fit(images[:40])
    new = images[40:]
    scores = tiled.score_samples(new)
    p = conformal_p_values(scores, tiled.calibration_scores_)
    np.testing.assert_array_equal(tiled.p_values(new), p)
    np.testing.assert_array_equal(skcnf.p_values(tiled, new), p)
    np.testing.assert_array_equal(tiled.predict(new), np.where(p <= 0.2, -1, 1))
    np.testing.assert_array_equal(tiled.decision_function(new), scores - tiled.offset_)
    assert tiled.set_threshold(false_alarm_rate=0.4).false_alarm_rate_ == 0.4
    assert tiled.detector_.offset_ == tiled.offset_
    groups = ["a", "b"] * 10
    tiled.recalibrate(new, groups=groups)
    assert tiled.recalibrated_
    np.testing.assert_array_equal(np.sort(scores), tiled.calibration_scores_)
    assert set(tiled.group_offsets_) == {"a", "b"}
    assert tiled.predict(new, groups=groups).shape == (20,)


def test_a_float_contamination_flags_that_share_of_images(images):
    tiled = _tiled(MSEDetector(contamination=0.25, random_state=0)).fit(images)
    assert (tiled.predict(images) == -1).sum() == 15
    with pytest.raises(ValueError, match="TiledDetector has no calibration rows"):
        tiled.p_values(images)


def test_images_marked_as_anomalies_are_left_out(images):
    y = np.where(np.arange(60) < 50, 1, -1)
    marked, plain = _tiled().fit(images, y), _tiled().fit(images[:50])
    np.testing.assert_array_equal(marked.score_samples(images), plain.score_samples(images))


def test_mixed_sizes_become_one(images):
    mixed = [np.asarray(Image.fromarray(image).resize((20 + k % 5, 16 + k % 3))) for k, image in enumerate(images)]
    with pytest.raises(
        ValueError, match=re.escape("image '1' has 17 x 21 pixels (height x width), but the first one has 16")
    ):
        _tiled().fit(mixed)
    tiled = _tiled(image_size=(16, 20)).fit(mixed)
    assert tiled.size_ == (16, 20)
    assert tiled.heat_map(mixed[1]).scores.shape == (3, 4)
    assert tiled.score_samples(mixed).shape == (60,)
    assert _tiled(image_size=16).fit(mixed).size_ == (16, 16)
    same = _tiled().fit(images)
    assert same.score_samples(mixed).shape == (60,)  # new images may have any size


def test_maps_are_in_pixels_of_the_image():
    images = np.random.default_rng(0).integers(0, 40, (30, 32, 32, 3), dtype=np.uint8)
    tiled = _tiled(image_size=32).fit(images)
    image = images[0].copy()
    image[8:16, 24:32] = 200
    large = np.repeat(np.repeat(image, 2, axis=0), 3, axis=1)  # 64 x 96
    result = tiled.heat_map(large)
    assert result.lowest() == (16, 72, 32, 96)
    assert result.heat.shape == (64, 96)
    assert result.heat[24, 84] == result.heat.min()
    assert result.scores.min() == tiled.score_samples([large])[0]
    np.testing.assert_array_equal(result.grid.heat(result.scores), result.heat[::2, ::3])


def test_auxiliary_images_count_by_their_tiles(images):
    aux = np.random.default_rng(1).integers(0, 90, (12, 20, 24, 3), dtype=np.uint8)
    tiled = _tiled(MSERatioDetector(random_state=0)).fit(images, X_aux=aux)
    features = _features(aux, tiled).reshape(-1, 4)
    np.testing.assert_allclose(tiled.detector_.aux_mean_, features.mean(axis=0), rtol=1e-6)
    for X_aux in ((aux[:5], aux[5:]), features, (aux[:5], _features(aux[5:], tiled).reshape(-1, 4)), list(aux)):
        again = _tiled(MSERatioDetector(random_state=0)).fit(images, X_aux=X_aux)
        np.testing.assert_allclose(again.detector_.aux_mean_, tiled.detector_.aux_mean_, rtol=1e-6)


def test_files_score_as_their_arrays(images, tmp_path):
    for number, image in enumerate(images[:20]):
        Image.fromarray(image).save(tmp_path / f"{number:02d}.png")
    arrays, files = _tiled().fit(images[:20]), _tiled().fit(tmp_path)
    np.testing.assert_array_equal(arrays.score_samples(images[:20]), files.score_samples(tmp_path))
    np.testing.assert_array_equal(files.score_samples(iter(images[:5])), arrays.score_samples(images[:5]))
    np.testing.assert_array_equal(files.heat_map(tmp_path / "03.png").scores, arrays.heat_map(images[3]).scores)


def test_a_stream_begins_and_ends_anywhere_and_goes_on_after_an_error(images, tmp_path):
    tiled = _tiled().fit(images)
    rows = tiled._encoder.transform(images)
    np.testing.assert_array_equal(rows, _features(images, tiled).reshape(60, -1))
    (tmp_path / "broken.png").write_bytes(b"no image")
    mixed = [*images[:10], tmp_path / "broken.png", *images[10:]]
    found = [image for batch in tiled._encoder.stream(mixed, start=7, stop=33) for image in batch]
    assert [image.index for image in found] == list(range(7, 33))
    assert [image.index for image in found if image.features is None] == [10]
    assert "broken.png' cannot be read" in found[3].error
    expected = np.concatenate([rows[7:10], rows[10:32]])
    np.testing.assert_array_equal(np.stack([image.features for image in found if image.error is None]), expected)


@pytest.mark.parametrize(
    ("options", "error", "message"),
    [
        ({"tile": 21}, ValueError, "tile=21 exceeds the shorter side of images of 20 x 24 pixels"),
        ({"tile": 0}, ValueError, "The 'tile' parameter of TiledDetector must be an int in the range [1, inf)"),
        ({"overlap": 1.0}, ValueError, "The 'overlap' parameter of TiledDetector must be a float in the range [0"),
        ({"image_size": (8, 8, 3)}, ValueError, "image_size=(8, 8, 3) must be a number of pixels, or (height, width)"),
        ({"image_size": (0, 8)}, ValueError, "image_size=(0, 8) must be a number of pixels"),
        ({"detector": PCA()}, ValueError, "The 'detector' parameter of TiledDetector must be an instance of"),
        ({"featurizer": 3}, ValueError, "The 'featurizer' parameter of TiledDetector must be an object implementing"),
        ({"detector": MSEDetector(false_alarm_rate=5)}, ValueError, "The 'false_alarm_rate' parameter of MSEDetector"),
    ],
)
def test_wrong_parameters_are_named_and_leave_nothing(images, options, error, message):
    tiled = _tiled().set_params(**options)
    before = dict(vars(tiled))
    with pytest.raises(error, match=re.escape(message)):
        tiled.fit(images)
    assert vars(tiled) == before


def test_wrong_images_are_named_and_leave_nothing(images, tmp_path):
    (tmp_path / "broken.png").write_bytes(b"no image")
    tiled = _tiled()
    for X, message in (
        ([images[0], tmp_path / "broken.png"], "broken.png' cannot be read"),
        ([], "X holds no image"),
        (iter(images), "whose length is unknown"),
        (images[:1], "X holds 1 inlier image(s)"),
    ):
        with pytest.raises(ValueError, match=re.escape(message)):
            tiled.fit(X)
    with pytest.raises(ValueError, match="X_aux was given twice"):
        tiled.fit(images, np.ones((9, 4)), X_aux=np.ones((9, 4)))
    assert set(vars(tiled)) == {"featurizer", "detector", "tile", "overlap", "image_size"}
    with pytest.raises(NotFittedError):
        tiled.score_samples(images)
    with pytest.raises(AttributeError, match="'TiledDetector' object has no attribute 'offset_'"):
        tiled.offset_  # noqa: B018


def test_a_small_patch_counts_for_tiles():
    """Under the bundled encoder."""
    rng = np.random.default_rng(0)
    temple, flower = load_sample_images().images
    tops, lefts = rng.integers(0, 10, 80), rng.integers(0, 500, 80)
    images = np.stack([temple[top : top + 64, left : left + 64] for top, left in zip(tops, lefts, strict=True)])
    new, spoilt = images[60:], images[60:].copy()
    spoilt[:, 16:32, 32:48] = flower[200:216, 300:316]
    tiled = TiledDetector(MocoFeaturizer(), MSEDetector(false_alarm_rate=0.2, random_state=0), tile=16).fit(images[:60])
    y = np.repeat([1, -1], 20)
    assert auroc(y, tiled.score_samples(np.concatenate([new, spoilt]))) > 0.9
    assert np.mean([tiled.heat_map(image).lowest() == (16, 32, 32, 48) for image in spoilt]) >= 0.9


def test_tiled_detectors_are_cloned_and_take_nested_parameters():
    tiled = clone(_tiled()).set_params(detector__false_alarm_rate=0.1, tile=16)
    assert (tiled.false_alarm_rate, tiled.tile) == (0.1, 16)
    assert isinstance(tiled.detector, BaseOutlierDetector)
    assert "TiledDetector" in tiled._repr_html_()
