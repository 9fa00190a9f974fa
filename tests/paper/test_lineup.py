import numpy as np
import pytest
from sklearn.base import clone

from skcnf.paper import detector_names, is_deterministic, make_detectors

SEEDLESS = [name for name, detector in make_detectors(detector_names()).items() if is_deterministic(detector)]


def test_detectors_that_draw_nothing_run_with_one_seed():
    assert {"PCA", "KNN", "KDE", "Gaussian", "MSE"} <= set(SEEDLESS)
    assert not {"CF", "IForest", "INNE", "Rot+Trans"} & set(SEEDLESS)


@pytest.mark.parametrize("name", SEEDLESS)
@pytest.mark.parametrize("n_features", [6, 520])  # more than 500 make scikit-learn's PCA choose another solver
def test_no_seed_changes_their_scores(name, n_features):
    X = np.random.default_rng(0).normal(size=(120, n_features)).astype(np.float32)
    X_aux = 2 * X[:, ::-1] + 1
    scores = []
    for seed in (0, 1):
        detector = make_detectors([name])[name]
        for parameter in [name for name in detector.get_params() if name.rpartition("__")[2] == "random_state"]:
            detector.set_params(**{parameter: seed})
        scores.append(detector.fit(X, X_aux=X_aux).score_samples(X[:20] + 1))
    np.testing.assert_array_equal(*scores)


@pytest.mark.parametrize("name", ["KDE", "PCA", "INNE"])
def test_those_that_are_slow_in_pyod_are_of_this_package_and_can_be_cloned(name):
    detector = make_detectors([name])[name].detector
    assert type(detector).__module__ == f"skcnf.paper._{name.lower()}"
    assert clone(detector).get_params() == detector.get_params()
