"""The adapter of pyod's detectors: what it takes, and scores that do not depend on what is scored beside them."""

import re
import warnings

import numpy as np
import pytest
from pyod.models.base import BaseDetector
from pyod.models.copod import COPOD
from pyod.models.ecod import ECOD
from pyod.models.iforest import IForest
from pyod.models.knn import KNN
from pyod.models.pca import PCA
from pyod.models.sod import SOD
from sklearn.ensemble import IsolationForest
from sklearn.utils.estimator_checks import parametrize_with_checks

from skcnf import MSEDetector, PyODDetector

TAILS = [COPOD, ECOD]
every_tail = pytest.mark.parametrize("cls", TAILS)


@pytest.mark.parametrize(
    ("detector", "message"),
    [
        (
            IsolationForest(),
            "got IsolationForest. scikit-learn's outlier detectors, and those of this package, work as",
        ),
        (MSEDetector(), "got MSEDetector"),
        (PyODDetector(KNN()), "got PyODDetector"),
        (None, "got NoneType"),
        (KNN, "got the class KNN, not an instance"),
    ],
)
def test_what_is_not_pyods_is_refused(detector, message, rows):
    with pytest.raises(TypeError, match=f"detector must be .*{re.escape(message)}"):
        PyODDetector(detector, random_state=0).fit(rows[0])


@parametrize_with_checks([PyODDetector(cls(), random_state=0, contamination=0.1) for cls in TAILS])
@pytest.mark.moves_generators
@pytest.mark.filterwarnings("ignore::UserWarning")
def test_scikit_learns_checks(estimator, check):
    check(estimator)


@pytest.fixture(scope="module")
def odd_rows():
    """Rows with skew either way, ties, a rare value and outliers: (X, X_test)."""
    rng = np.random.default_rng(0)

    def draw(n):
        skewed = rng.exponential(size=n)
        return np.c_[skewed, -(skewed**2), rng.integers(0, 4, n), rng.normal(size=n), rng.integers(0, 30, n) == 0]

    X_test = np.concatenate([draw(40), draw(10) * 20, draw(10) * -20])
    return draw(300).astype(float), X_test.astype(float)


@every_tail
def test_a_row_has_the_score_that_pyod_gives_it_alone(cls, odd_rows):
    X, X_test = odd_rows
    adapter = PyODDetector(cls(), contamination=0.1, random_state=0).fit(X)
    alone = np.concatenate([-cls().fit(X).decision_function(row[None]) for row in X_test])
    np.testing.assert_allclose(adapter.score_samples(X_test), alone, rtol=1e-12)
    assert not np.allclose(alone, -cls().fit(X).decision_function(X_test), rtol=0.01)


@every_tail
def test_the_row_itself_counts_for_the_skew(cls):
    """Among few rows it decides which tail is the heavy one."""
    rng = np.random.default_rng(0)
    X, X_test = rng.normal(size=(12, 40)), rng.normal(size=(20, 40))
    adapter = PyODDetector(cls(), contamination=0.1, random_state=0).fit(X)
    alone = np.concatenate([-cls().fit(X).decision_function(row[None]) for row in X_test])
    np.testing.assert_allclose(adapter.score_samples(X_test), alone, rtol=1e-12)


@every_tail
def test_constant_features_tell_nothing_until_a_row_departs_from_them(cls, odd_rows):
    X, X_test = odd_rows
    constant = PyODDetector(cls(), contamination=0.1, random_state=0)
    with_constant = constant.fit(np.c_[X, np.full(300, 0.1)])
    plain = PyODDetector(cls(), contamination=0.1, random_state=0).fit(X).score_samples(X_test)
    np.testing.assert_allclose(with_constant.score_samples(np.c_[X_test, np.full(60, 0.1)]), plain)
    assert (with_constant.score_samples(np.c_[X_test, np.full(60, 0.2)]) < plain - 1).all()


class _ByTheOthers(BaseDetector):
    """Scores a row by its distance to the mean of the rows that come with it."""

    def __init__(self, contamination=0.1):
        super().__init__(contamination=contamination)

    def fit(self, X, y=None):
        self.decision_scores_ = self.decision_function(X)
        return self

    def decision_function(self, X):
        return np.linalg.norm(X - X.mean(axis=0), axis=1)


def test_scores_that_depend_on_the_others_warn(rows):
    with pytest.warns(
        UserWarning, match=r"_ByTheOthers scores a row by the rows .* score -0 alone and -.* among 63"
    ) as w:
        PyODDetector(_ByTheOthers(), random_state=0).fit(rows[0])
    assert w[0].filename == __file__
    with pytest.warns(UserWarning, match="SOD scores a row by the rows .* cannot score a row alone"):
        PyODDetector(SOD(), random_state=0, validation_fraction=0.2).fit(rows[0])


@pytest.mark.parametrize("detector", [KNN(), IForest(), COPOD(), ECOD()], ids=lambda detector: type(detector).__name__)
def test_scores_that_do_not_depend_on_the_others_do_not_warn(detector, rows):
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        PyODDetector(detector, random_state=0).fit(rows[0])


def test_features_that_depend_on_each_other_give_finite_scores_or_an_error():
    rng = np.random.default_rng(0)
    X = rng.normal(size=(500, 6)) @ rng.normal(size=(6, 8))
    X += 1e-5 * rng.normal(size=X.shape)  # the variance of two dimensions: less than float32 can tell from 0
    X = X.astype(np.float32)
    scores = PyODDetector(PCA(), random_state=0).fit(X).score_samples(X)
    assert np.isfinite(scores).all()
    with pytest.raises(ValueError, match="PCA gives no row of X a finite score"), np.errstate(all="ignore"):
        PyODDetector(PCA(standardization=False), random_state=0).fit(np.c_[X, np.zeros(500)])
