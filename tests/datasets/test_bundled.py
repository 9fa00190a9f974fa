import io
import re
import zipfile

import numpy as np
import pytest
from PIL import Image

from skcnf import MocoFeaturizer, load_encoder
from skcnf.datasets import (
    CIFAR10_CLASSES,
    LabelledFeatures,
    load_cifar10_features,
    read_sheets,
    round_as_bundled,
    save_features,
)
from skcnf.moco import BUNDLED_ENCODERS


def test_bundled_features_are_whole():
    data = load_cifar10_features()
    assert (data.X_train.shape, data.X_test.shape, data.X_aux.shape) == ((50_000, 128), (10_000, 128), (30_000, 128))
    assert data.X_train.dtype == np.float32
    assert data.class_names == CIFAR10_CLASSES
    for y, n in ((data.y_train, 5000), (data.y_test, 1000)):
        np.testing.assert_array_equal(np.bincount(y), np.full(10, n))
    for X in (data.X_train, data.X_test, data.X_aux):
        np.testing.assert_allclose(np.linalg.norm(X, axis=1), 1, rtol=1e-5)
    raw = load_cifar10_features(normalize=False)
    assert raw.features != data.features
    assert raw.fingerprint() != data.fingerprint()
    np.testing.assert_allclose(raw.X_test / np.linalg.norm(raw.X_test, axis=1, keepdims=True), data.X_test, rtol=1e-4)


def test_bundled_features_tell_classes_apart():
    data = load_cifar10_features()
    means = np.stack([data.X_train[data.y_train == k].mean(0) for k in range(10)])
    nearest = ((data.X_test[:, None] - means) ** 2).sum(-1).argmin(1)
    assert (nearest == data.y_test).mean() > 0.35  # chance is 0.1


def test_the_bundled_encoder_knows_its_images():
    spec = load_encoder(BUNDLED_ENCODERS["tinyimagenet32"]).spec
    assert (spec.image_size, spec.out_features) == (32, 128)
    flat = np.full((1, 32, 32, 3), 128, np.uint8)
    assert np.isfinite(MocoFeaturizer(normalize=False).fit_transform(flat)).all()


def test_int8_rows_are_within_half_a_unit(tmp_path):
    rng = np.random.default_rng(0)
    train, test, aux = (rng.normal(size=(n, 5)).astype(np.float32) * [1, 2, 3, 4, 0] for n in (40, 20, 30))
    y = np.arange(40) % 10
    save_features(tmp_path / "f.npz", train, y, test, y[:20], aux)
    data = load_cifar10_features(normalize=False, path=tmp_path / "f.npz")
    unit = np.abs(np.concatenate([train, test, aux])).max(0) / 127
    for stored, X in ((data.X_train, train), (data.X_test, test), (data.X_aux, aux)):
        assert (np.abs(stored - X) <= unit / 2 + 1e-6).all()
    np.testing.assert_array_equal(data.y_train, y)


def test_other_features_are_rounded_to_the_grid_of_the_bundled_ones():
    X = load_cifar10_features(normalize=False).X_test[:500]
    for normalize in (True, False):
        expected = load_cifar10_features(normalize=normalize).X_test[:500]
        np.testing.assert_array_equal(round_as_bundled(X, normalize), expected)
        np.testing.assert_allclose(round_as_bundled(X * 1.0001, normalize), expected, rtol=1e-6)
    other = X + np.random.default_rng(0).normal(scale=0.01, size=X.shape).astype(np.float32)
    for values, n_most in ((other, 500), (round_as_bundled(other, False), 260)):
        n_values = [len(np.unique(values[:, column])) for column in range(128)]
        assert n_most - 260 < min(n_values) <= max(n_values) <= n_most


_X, _Y = np.zeros((4, 3), np.float32), np.arange(4) % 2


@pytest.mark.parametrize(
    ("changed", "message"),
    [
        ({"y_train": _Y[:3]}, "X_train holds 4 rows and y_train 3 labels"),
        ({"y_test": _Y[:, None]}, r"y_test must be a one-dimensional array of integers; got shape (4, 1)"),
        ({"y_train": _Y.astype(str)}, "y_train must be a one-dimensional array of integers; got shape (4,) of <U"),
        ({"y_test": _Y + 1}, "y_test must be in 0 to 1; it goes from 1 to 2"),
        ({"X_test": _X[:, :2]}, "one d for all; got the shapes X_train (4, 3), X_test (4, 2), X_aux (4, 3)"),
        ({"X_aux": _X[:, 0]}, "X_aux (4,)"),
    ],
)
def test_features_and_labels_must_match(changed, message):
    parts = {"X_train": _X, "y_train": _Y, "X_test": _X, "y_test": _Y, "X_aux": _X}
    LabelledFeatures(**parts, class_names=("a", "b"), name="toy", features="raw")
    with pytest.raises(ValueError, match=re.escape(message)):
        LabelledFeatures(**{**parts, **changed}, class_names=("a", "b"), name="toy", features="raw")


def test_sheets_are_read_tile_by_tile(tmp_path):
    rng = np.random.default_rng(0)
    tiles = rng.integers(0, 256, (6, 4, 4, 3), dtype=np.uint8)
    sheet = np.concatenate([np.concatenate(tiles[:3], 1), np.concatenate(tiles[3:], 1)], 0)
    buffer = io.BytesIO()
    Image.fromarray(sheet).save(buffer, "webp", lossless=True)
    with zipfile.ZipFile(tmp_path / "s.zip", "w") as archive:
        archive.writestr("train/cat/00-5.webp", buffer.getvalue())
        archive.writestr("train/ant/00-2.webp", buffer.getvalue())
        archive.writestr("test/cat/00-1.webp", buffer.getvalue())
    images, labels = read_sheets(tmp_path / "s.zip", "train", tile=4)
    np.testing.assert_array_equal(images, np.concatenate([tiles[:2], tiles[:5]]))
    assert labels.tolist() == ["ant"] * 2 + ["cat"] * 5
    with pytest.raises(ValueError, match="no split 'valid'"):
        read_sheets(tmp_path / "s.zip", "valid")
