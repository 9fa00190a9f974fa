import numpy as np
import pytest
from pyod.models.pca import PCA as OneByOne

from skcnf.datasets import load_cifar10_features
from skcnf.paper._pca import PCA


def test_scores_are_those_of_pyods_pca():
    data = load_cifar10_features()
    X, X_test = (rows.astype(np.float64) for rows in (data.X_train[:600], data.X_test[:3000]))
    ours, theirs = PCA().fit(X), OneByOne().fit(X)
    np.testing.assert_allclose(ours.decision_function(X_test), theirs.decision_function(X_test), rtol=1e-9)
    np.testing.assert_allclose(ours.decision_scores_, theirs.decision_scores_, rtol=1e-9)
    assert ours.threshold_ == pytest.approx(theirs.threshold_)
