import re
import warnings

import numpy as np
import pandas as pd
import pytest
from pyod.models.knn import KNN
from sklearn.base import clone
from sklearn.datasets import load_sample_images
from sklearn.pipeline import make_pipeline

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
from skcnf.explanations import ReferenceImages, feature_shares, occlusion_map

FLOW = {"n_blocks": 2, "hidden_units": 16, "max_epochs": 2, "random_state": 0}
DETECTORS = [
    MSEDetector(random_state=0),
    MSERatioDetector(random_state=0),
    GaussianDetector(whiten=False, random_state=0),
    GaussianRatioDetector(whiten=True, random_state=0),
    ContrastiveFlowDetector(**FLOW),
    FlowDetector(**FLOW, n_flows=2),
    FlowRatioDetector(**FLOW),
]


@pytest.mark.parametrize("detector", DETECTORS, ids=lambda detector: type(detector).__name__)
def test_shares_add_up_to_the_difference_of_scores(detector, rows):
    X, X_aux, X_test, _ = rows
    detector.fit(X, X_aux=X_aux)
    shares = feature_shares(detector, X_test[:20], baseline=X[0])
    difference = detector.score_samples(X_test[:20]) - detector.score_samples(X[:1])
    np.testing.assert_allclose(shares.sum(axis=1), difference, rtol=1e-6)


@pytest.mark.parametrize("detector", [FlowDetector(**FLOW, standardize=False), *DETECTORS])
def test_rows_are_compared_with_the_mean_of_the_inliers(detector, rows):
    X, X_aux, X_test, _ = rows
    detector = clone(detector).set_params(validation_fraction=0.01, contamination=0.1).fit(X, X_aux=X_aux)
    difference = detector.score_samples(X_test[:5]) - detector.score_samples(X.mean(axis=0)[None])
    np.testing.assert_allclose(feature_shares(detector, X_test[:5]).sum(axis=1), difference, rtol=0.02, atol=0.02)


def test_shares_of_squared_distances_are_their_terms(rows):
    X, X_aux, X_test, _ = rows
    detector = MSERatioDetector(random_state=0).fit(X, X_aux=X_aux)
    terms = np.square(X_test - detector.aux_mean_) - np.square(X_test - detector.mean_)
    at_mean = np.square(detector.mean_ - detector.aux_mean_)
    np.testing.assert_allclose(feature_shares(detector, X_test), terms - at_mean, rtol=1e-9, atol=1e-9)


def test_shares_of_a_flow_come_from_its_gradient(rows):
    """With the remainder left out the integral must be near: a wrong gradient would be hidden by dividing it."""
    from skcnf.explanations._shares import _gradient_of, _integrated

    X, X_aux, X_test, _ = rows
    detector = FlowRatioDetector(**FLOW, n_flows=2).fit(X, X_aux=X_aux)
    start = X.mean(axis=0)
    difference = detector.score_samples(X_test[:20]) - detector.score_samples(start[None])
    shares = _integrated(_gradient_of(detector), X_test[:20], start, difference)
    np.testing.assert_allclose(shares.sum(axis=1), difference, rtol=0.01, atol=0.01)


def test_the_odd_feature_has_the_lowest_share(rows):
    X, X_aux, _, _ = rows
    detector = ContrastiveFlowDetector(**{**FLOW, "max_epochs": 8}).fit(X, X_aux=X_aux)
    odd = np.repeat(X.mean(axis=0)[None], 4, axis=0) + 4 * np.eye(4)
    np.testing.assert_array_equal(feature_shares(detector, odd).argmin(axis=1), range(4))


def test_detectors_without_a_gradient_are_refused(rows):
    with pytest.raises(TypeError, match="a PyODDetector has no gradient"):
        feature_shares(PyODDetector(KNN(), random_state=0).fit(rows[0]), rows[0])


def test_a_baseline_of_another_width_is_refused(rows):
    with pytest.raises(ValueError, match=re.escape("baseline must be finite and of shape (4,); got shape (3,)")):
        feature_shares(MSEDetector(random_state=0).fit(rows[0]), rows[0], baseline=[0, 0, 0])


def _dark_share(images):
    return -(images < 50).all(axis=-1).mean(axis=(1, 2))


def test_the_map_finds_what_lowers_the_score():
    image = np.full((40, 60, 3), 200, np.uint8)
    image[20:30, 40:50] = 0
    result = occlusion_map(_dark_share, image, patch=10, stride=5)
    assert result.strongest() == (20, 40, 30, 50)
    assert result.changes.max() == pytest.approx(100 / 2400)
    assert result.heat.shape == (40, 60)
    assert result.heat[24, 44] == result.heat.max()
    assert result.heat[0, 0] == 0


def test_patches_reach_every_pixel():
    image = np.full((23, 31, 3), 7, np.uint8)
    result = occlusion_map(lambda images: np.zeros(len(images)), image, patch=5, stride=3)
    assert result.changes.shape == (len(result.tops), len(result.lefts)) == (7, 10)
    assert (result.tops[-1] + 5, result.lefts[-1] + 5) == (23, 31)
    np.testing.assert_array_equal(result.heat, 0)


def test_the_map_of_a_pipeline_finds_a_pasted_patch():
    rng = np.random.default_rng(0)
    temple, flower = load_sample_images().images

    def patches(photograph, n, size):
        rows, columns = (rng.integers(0, extent - size, n) for extent in photograph.shape[:2])
        return np.stack([photograph[r : r + size, c : c + size] for r, c in zip(rows, columns, strict=True)])

    sky = temple[:60, :]
    pipeline = make_pipeline(MocoFeaturizer(), MSEDetector(random_state=0)).fit(patches(sky, 200, 32))
    places = [(0, 0), (16, 8), (24, 24), (8, 16), (0, 24)]
    found = 0
    for image, (top, left), patch in zip(patches(sky, 5, 32), places, patches(flower, 5, 8), strict=True):
        pasted = image.copy()
        pasted[top : top + 8, left : left + 8] = patch
        strongest = occlusion_map(pipeline.score_samples, pasted, patch=8, stride=8).strongest()
        found += strongest == (top, left, top + 8, left + 8)
    assert found >= 4  # chance is 1 of 16 each


@pytest.mark.parametrize(
    ("image", "options", "message"),
    [
        (np.zeros((8, 8)), {}, "image must be a uint8 array (h, w, 3); got float64 of shape (8, 8)"),
        (np.zeros((8, 8, 3), np.uint8), {"patch": 9}, "patch=9 must lie between 1 and the shorter side, 8"),
        (np.zeros((8, 8, 3), np.uint8), {"patch": 4, "stride": 5}, "stride=5 must lie between 1 and patch=4"),
    ],
)
def test_bad_images_and_patches_are_refused(image, options, message):
    with pytest.raises(ValueError, match=re.escape(message)):
        occlusion_map(_dark_share, image, **options)


def test_the_nearest_reference_images_come_first():
    rng = np.random.default_rng(0)
    features, thumbnails = rng.normal(size=(50, 4)), rng.integers(0, 255, (50, 2, 2, 3), dtype=np.uint8)
    reference = ReferenceImages(features, [f"{i}.png" for i in range(50)], thumbnails)
    X = features[[7, 3]] + 1e-3
    found = reference.nearest(X, 3)
    assert [row[0].name for row in found] == ["7.png", "3.png"]
    for x, row in zip(X, found, strict=True):
        distances = np.linalg.norm(features - x, axis=1)
        assert [neighbour.index for neighbour in row] == np.argsort(distances)[:3].tolist()
        np.testing.assert_allclose([neighbour.distance for neighbour in row], np.sort(distances)[:3])
        np.testing.assert_array_equal(row[0].thumbnail, thumbnails[row[0].index])


def test_reference_images_of_unequal_numbers_are_refused():
    with pytest.raises(ValueError, match="names holds 2 items, but features holds 3 rows"):
        ReferenceImages(np.eye(3), ["a", "b"])


def test_columns_of_another_order_are_refused(rows):
    frame = pd.DataFrame(rows[0], columns=list("abcd"))
    detector = MSEDetector(random_state=0).fit(frame)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        shares = feature_shares(detector, frame[:3])
    np.testing.assert_array_equal(shares, feature_shares(MSEDetector(random_state=0).fit(rows[0]), rows[0][:3]))
    with pytest.raises(ValueError, match="feature names"):
        feature_shares(detector, frame[["d", "c", "b", "a"]][:3])
