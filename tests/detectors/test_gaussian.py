"""The Gaussian rivals: their formulas, when they whiten, and scores that other rows do not change."""

import re
import warnings

import numpy as np
import pytest
from scipy.stats import multivariate_normal
from sklearn.covariance import LedoitWolf

from skcnf import GaussianDetector, GaussianRatioDetector, MSEDetector
from skcnf.datasets import load_cifar10_features
from skcnf.detectors import _gaussian
from skcnf.detectors._gaussian_density import Gaussian
from skcnf.evaluation import auroc

ON_ALL = {"contamination": 0.1, "random_state": 0}
both = pytest.mark.parametrize("cls", [GaussianDetector, GaussianRatioDetector])


def _unit(X):
    return X / np.linalg.norm(X, axis=1, keepdims=True)


@pytest.fixture(scope="module")
def sphere():
    """Rows of unit norm with unequal, correlated features: (X, X_aux, X_test)."""
    rng = np.random.default_rng(0)
    mixing = rng.normal(size=(6, 6)) * np.geomspace(1, 0.03, 6)
    draw = [rng.normal(size=(n, 6)) for n in (80, 500, 50)]
    draw[0] += [0, 1, 0, 1, 0, 1]
    return [_unit(rows @ mixing) for rows in draw]


def _log_density(X, X_test):
    """By scikit-learn and scipy: the covariance is shrunk in the space of standardised features."""
    scale = X.std(axis=0)
    covariance = LedoitWolf().fit(X / scale).covariance_ * np.outer(scale, scale)
    return multivariate_normal(X.mean(axis=0), covariance).logpdf(X_test), covariance


def test_the_score_is_the_log_density_of_a_shrunk_gaussian(rows):
    X, X_aux, X_test, _ = rows
    X = X[:30] * [1, 10, 0.1, 1]  # few, so that shrinkage is felt
    detector = GaussianDetector(**ON_ALL).fit(X, X_aux)
    expected, covariance = _log_density(X, X_test)
    np.testing.assert_allclose(detector.score_samples(X_test), expected)
    np.testing.assert_allclose(detector.covariance_, covariance)
    assert not np.allclose(covariance, np.cov(X.T, bias=True), rtol=0.05)
    np.testing.assert_allclose(detector.location_, X.mean(axis=0))
    np.testing.assert_array_equal(
        GaussianDetector(**ON_ALL).fit(X).score_samples(X_test), detector.score_samples(X_test)
    )


def test_the_ratio_is_the_difference_of_two_log_densities(rows):
    X, X_aux, X_test, _ = rows
    ratio = GaussianRatioDetector(**ON_ALL).fit(X[:30], X_aux)
    expected = _log_density(X[:30], X_test)[0] - _log_density(X_aux, X_test)[0]
    np.testing.assert_allclose(ratio.score_samples(X_test), expected)


def test_the_ratio_is_the_relative_mahalanobis_distance(rows):
    X, X_aux, X_test, _ = rows
    ratio = GaussianRatioDetector(**ON_ALL).fit(X, X_aux)
    inliers, auxiliary = (_log_density(part, X_test)[1] for part in (X, X_aux))
    distances = [
        np.einsum("ij,jk,ik->i", X_test - part.mean(0), np.linalg.inv(covariance), X_test - part.mean(0))
        for part, covariance in ((X, inliers), (X_aux, auxiliary))
    ]
    constant = ratio.score_samples(X_test) + (distances[0] - distances[1]) / 2
    np.testing.assert_allclose(constant, constant[0])


@both
def test_units_move_log_densities_by_their_logarithm(cls, rows):
    X, X_aux, X_test, _ = rows
    units = np.array([1.0, 1000.0, 1e-3, 2.0])
    one = cls(**ON_ALL).fit(X, X_aux).score_samples(X_test)
    two = cls(**ON_ALL).fit(X * units, X_aux * units).score_samples(X_test * units)
    moved = np.log(units).sum() if cls is GaussianDetector else 0
    np.testing.assert_allclose(two, one - moved)


def _whitened(X_aux):
    """Whitening by the symmetric root, then unit norm."""
    values, vectors = np.linalg.eigh(np.cov(X_aux.T, bias=True))
    root = (vectors / np.sqrt(values)) @ vectors.T
    return lambda X: _unit((X - X_aux.mean(axis=0)) @ root)


def test_whitening_by_another_root_gives_the_same_scores(sphere):
    X, X_aux, X_test = sphere
    detector, ratio = (cls(**ON_ALL, whiten=True).fit(X, X_aux) for cls in (GaussianDetector, GaussianRatioDetector))
    whiten = _whitened(X_aux)
    densities = []
    for part in (X, X_aux):
        fitted = LedoitWolf().fit(whiten(part))
        densities.append(multivariate_normal(fitted.location_, fitted.covariance_).logpdf(whiten(X_test)))
    np.testing.assert_allclose(detector.score_samples(X_test), densities[0])
    np.testing.assert_allclose(ratio.score_samples(X_test), densities[0] - densities[1])


@both
def test_features_of_one_norm_and_enough_auxiliary_rows_are_whitened(cls, sphere, rows):
    X, X_aux, X_test = sphere
    auto, explicit, plain = (cls(**ON_ALL, whiten=whiten) for whiten in ("auto", True, False))
    for factor in (1, 7):
        fitted = auto.fit(X * factor, X_aux * factor)
        assert fitted.whitening_.shape == (6, 6)
        np.testing.assert_allclose(fitted.score_samples(X_test * factor), explicit.fit(X, X_aux).score_samples(X_test))
    assert plain.fit(X, X_aux).whitening_ is None
    assert auto.fit(X, X_aux[:60]).whitening_ is not None
    assert auto.fit(X, X_aux[:59]).whitening_ is None  # ten rows a feature are wanted
    assert auto.fit(X, X_aux * 1.02).whitening_ is None  # another norm
    assert auto.fit(rows[0], rows[1]).whitening_ is None
    assert np.isfinite(explicit.fit(X, X_aux[:3]).score_samples(X_test)).all()  # shrunk: three rows span no space


@pytest.mark.filterwarnings("ignore:.*without X_aux")
@both
def test_whitening_needs_auxiliary_rows(cls, sphere):
    X, _, X_test = sphere
    with pytest.raises(ValueError, match="whiten=True needs X_aux; use whiten='auto' or give X_aux"):
        cls(**ON_ALL, whiten=True).fit(X)
    np.testing.assert_allclose(cls(**ON_ALL).fit(X).score_samples(X_test), _log_density(X, X_test)[0])
    with pytest.raises(ValueError, match=re.escape("The 'whiten' parameter of")):
        cls(**ON_ALL, whiten="unit").fit(X)


def test_the_plain_gaussian_does_not_miss_auxiliary_rows(rows):
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        GaussianDetector(random_state=0).fit(rows[0])


@both
@pytest.mark.parametrize("whiten", [True, False])
def test_a_row_has_the_same_score_to_the_bit_whatever_is_beside_it(cls, whiten):
    rng = np.random.default_rng(0)
    X, X_aux, X_test = (_unit(rng.normal(size=(n, 40)) + 0.1) for n in (300, 1000, 700))
    detector = cls(**ON_ALL, whiten=whiten).fit(X, X_aux)
    scores = detector.score_samples(X_test)
    for n in (1, 2, 3, 31, 255, 256, 257, 600):
        chosen = rng.permutation(700)[:n]
        np.testing.assert_array_equal(detector.score_samples(X_test[chosen]), scores[chosen])


@pytest.mark.filterwarnings("ignore:.*without X_aux", "ignore:.*calibration rows")
@pytest.mark.parametrize(
    "X",
    [
        np.full((40, 3), 0.1),
        np.c_[np.random.default_rng(0).normal(size=(40, 2)), np.full(40, 0.1)],
        np.random.default_rng(0).normal(size=(40, 1)) * [1.0, 2.0, -3.0],
        np.array([[0.0, 1.0, 2.0], [1.0, 0.0, 2.0]]),
        np.random.default_rng(0).normal(size=(5, 30)),
        np.random.default_rng(0).normal(size=(40, 1)),
    ],
    ids=["identical", "constant feature", "collinear", "two rows", "more features than rows", "one feature"],
)
@both
def test_degenerate_rows_have_finite_scores(cls, X):
    for contamination in ("auto", 0.1):
        with warnings.catch_warnings():
            warnings.simplefilter("error", RuntimeWarning)
            detector = cls(contamination=contamination, random_state=0).fit(X)
        scores = detector.score_samples(np.concatenate([X, X + 10]))
        assert np.isfinite(scores).all()
        assert scores[: len(X)].mean() > scores[len(X) :].mean()
        assert (detector.predict(X) == 1).mean() >= 0.5


@both
@pytest.mark.parametrize("whiten", [True, False])
def test_gradients_are_those_of_finite_differences(cls, whiten, sphere):
    X, X_aux, X_test = sphere
    detector = cls(**ON_ALL, whiten=whiten).fit(X, X_aux)
    steps = np.eye(6)[:, None] * 1e-6
    differences = [detector.score_samples(X_test + step) - detector.score_samples(X_test - step) for step in steps]
    gradient = detector._score_gradient(X_test)
    np.testing.assert_allclose(
        gradient, np.stack(differences, axis=1) / 2e-6, rtol=1e-5, atol=1e-5 * np.abs(gradient).max()
    )


def test_rows_beyond_memory_are_learnt_from_in_part(sphere, monkeypatch):
    X, X_aux, X_test = sphere
    monkeypatch.setattr(_gaussian, "_MAX_NUMBERS", 1002)
    for cls in (GaussianDetector, GaussianRatioDetector):
        part = cls(**ON_ALL).fit(X, X_aux).score_samples(X_test)
        np.testing.assert_array_equal(part, cls(**ON_ALL).fit(X, X_aux[::3]).score_samples(X_test))


def test_a_gaussian_whitens_its_own_rows():
    X = np.random.default_rng(0).normal(size=(500, 5)) @ np.random.default_rng(1).normal(size=(5, 5)) + 3
    Z = Gaussian.fit(X, shrink=False).whiten(X)
    np.testing.assert_allclose(Z.mean(axis=0), 0, atol=1e-12)
    np.testing.assert_allclose(Z.T @ Z / 500, np.eye(5), atol=1e-12)


def test_a_covariance_pays_on_features_of_images():
    """A class that did not choose the default; the README has all ten."""
    data = load_cifar10_features()
    X, y = data.X_train[data.y_train == 7], np.where(data.y_test == 7, 1, -1)
    gaussian, mean = (
        auroc(y, detector.fit(X).score_samples(data.X_test))
        for detector in (GaussianDetector(**ON_ALL), MSEDetector(**ON_ALL))
    )
    assert gaussian > mean + 0.01
    assert gaussian > 0.9
