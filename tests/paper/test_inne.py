import numpy as np
from pyod.models.inne import INNE as SetBySet

from skcnf.datasets import load_cifar10_features
from skcnf.paper._inne import INNE


def test_scores_are_those_of_pyods_inne():
    data = load_cifar10_features()
    X, X_test = data.X_train[:700].astype(np.float64), data.X_test[:900].astype(np.float64)
    X_test *= np.linspace(1, 3, 900)[:, None]  # the last ones are outside all spheres
    ours, theirs = INNE(random_state=3).fit(X), SetBySet(random_state=3).fit(X)
    np.testing.assert_allclose(ours.decision_function(X_test), theirs.decision_function(X_test), rtol=1e-12)
    # a centre lies on the edge of the sphere around its nearest one, so that rounding decides whether that holds it
    np.testing.assert_allclose(ours.decision_scores_, theirs.decision_scores_, atol=0.03)
