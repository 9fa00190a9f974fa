import numpy as np
import pytest
from pyod.models.kde import KDE as TreeKDE

from skcnf.datasets import load_cifar10_features
from skcnf.paper._kde import KDE


@pytest.mark.parametrize("bandwidth", [0.05, 1.0, 7.0])
def test_scores_are_those_of_pyods_kde(bandwidth):
    data = load_cifar10_features()
    X, X_test = data.X_train[:600], data.X_test[:700]
    # one leaf: a tree of many loses the digits of small bandwidths
    ours, theirs = KDE(bandwidth=bandwidth).fit(X), TreeKDE(bandwidth=bandwidth, leaf_size=1000).fit(X)
    np.testing.assert_allclose(ours.decision_function(X_test), theirs.decision_function(X_test), rtol=1e-10)
    np.testing.assert_allclose(ours.decision_scores_, theirs.decision_scores_, rtol=1e-10)
    assert ours.threshold_ == pytest.approx(theirs.threshold_)


def test_a_row_far_from_all_others_has_a_finite_score():
    X = np.random.default_rng(0).normal(size=(50, 3))
    score = KDE(bandwidth=0.01).fit(X).decision_function([[100.0, 0, 0]])
    assert np.isfinite(score).all()
    np.testing.assert_allclose(score, TreeKDE(bandwidth=0.01).fit(X).decision_function([[100.0, 0, 0]]))
