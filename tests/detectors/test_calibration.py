"""What is calibrated is what scores, and the promised rate of false alarms holds."""

import numpy as np
import pytest
from pyod.models.iforest import IForest
from pyod.models.knn import KNN
from pyod.models.ocsvm import OCSVM
from sklearn.base import clone
from sklearn.utils import check_random_state

from skcnf import (
    ContrastiveFlowDetector,
    FlowDetector,
    FlowRatioDetector,
    GaussianDetector,
    GaussianRatioDetector,
    GOADDetector,
    MSEDetector,
    MSERatioDetector,
    OutlierExposureDetector,
    PyODDetector,
)
from skcnf.detectors import conformal_threshold
from skcnf.detectors._calibration import rows_needed

SMALL = {"n_blocks": 2, "hidden_units": 16, "max_epochs": 3, "batch_size": 128, "random_state": 0}
FLOWS = (ContrastiveFlowDetector, OutlierExposureDetector, FlowDetector, FlowRatioDetector)
EVERY = [
    *[cls(**SMALL) for cls in FLOWS],
    GOADDetector(n_transforms=8, n_outputs=8, hidden_units=8, random_state=0),
    *[cls(random_state=0) for cls in (MSEDetector, MSERatioDetector, GaussianDetector, GaussianRatioDetector)],
    *[PyODDetector(detector, random_state=0) for detector in (KNN(), OCSVM(), IForest(n_estimators=20))],
]


def _name(detector):
    return type(getattr(detector, "detector", detector)).__name__


every_detector = pytest.mark.parametrize("detector", EVERY, ids=_name)


# Thresholds


@pytest.mark.parametrize(
    ("n", "rate", "rank"), [(19, 0.05, 1), (39, 0.05, 2), (20, 0.05, 1), (99, 0.1, 10), (18, 0.05, 0)]
)
def test_the_conformal_rank(n, rate, rank):
    scores = np.random.default_rng(0).permutation(n).astype(float)
    threshold, holds = conformal_threshold(scores, rate)
    assert threshold == max(rank, 1) - 1
    assert holds == (rank >= 1)


def test_the_false_alarm_rate_holds_on_new_inliers():
    rates = []
    for seed in range(40):
        rng = np.random.default_rng(seed)
        X, X_new = rng.normal(size=(400, 3)), rng.normal(size=(2000, 3))
        detector = MSEDetector(false_alarm_rate=0.1, validation_fraction=0.25, random_state=seed).fit(X)
        rates.append((detector.predict(X_new) == -1).mean())
    assert np.mean(rates) == pytest.approx(0.1 * 100 / 101, abs=0.015)


@pytest.mark.parametrize("n", [18, 19, 99, 100, 1234])
@pytest.mark.parametrize("rate", [0.01, 0.05, 0.07, 0.29, 1 / 3, 0.05 - 1e-13])
def test_the_threshold_flags_exactly_the_p_values_up_to_the_rate(n, rate):
    scores = np.random.default_rng(n).permutation(n).astype(float)
    new = np.arange(-0.5, n + 1, 0.5)
    p = [(1 + (scores <= s).sum()) / (n + 1) for s in new]
    threshold, holds = conformal_threshold(scores, rate)
    assert holds == (n >= rows_needed(rate))
    assert holds == (1 / (n + 1) <= rate)
    if holds:
        np.testing.assert_array_equal(new < threshold, np.array(p) <= rate)


def test_too_few_rows_for_the_rate_warn(rows):
    with pytest.warns(UserWarning, match=r"10 calibration rows cannot assure false_alarm_rate=0.05 \(at least 19"):
        MSEDetector(random_state=0).fit(rows[0][:100])


# What is calibrated is what scores


@pytest.mark.moves_generators  # OCSVM does
@every_detector
@pytest.mark.parametrize("fraction", [0.1, 0.4])
def test_calibration_scores_are_those_of_the_detector_that_scores(detector, fraction, rows):
    X, X_aux, _, _ = rows
    detector = clone(detector).set_params(validation_fraction=fraction).fit(X, X_aux)
    calibration = detector._split(X, X_aux, check_random_state(0)).calibration
    assert detector.calibration_scores_.dtype == np.float64
    np.testing.assert_array_equal(detector.calibration_scores_, np.sort(detector.score_samples(calibration)))
    assert detector.offset_ == conformal_threshold(detector.calibration_scores_, 0.05)[0]


@pytest.mark.moves_generators
@every_detector
def test_nothing_is_learnt_from_calibration_rows(detector, rows):
    X, X_aux, X_test, _ = rows
    numbers = clone(detector)._split(np.arange(600)[:, None], X_aux, check_random_state(0)).calibration.ravel()
    moved = X.copy()
    moved[numbers] += 1.0
    one, two = clone(detector).fit(X, X_aux), clone(detector).fit(moved, X_aux)
    np.testing.assert_array_equal(one.score_samples(X_test), two.score_samples(X_test))
    assert one.offset_ != two.offset_


@every_detector
def test_no_row_is_both_learnt_from_and_calibrated_with(detector, rows):
    X, X_aux, _, _ = rows
    split = clone(detector)._split(X, X_aux, check_random_state(0))
    held_out = [split.calibration, getattr(split, "validation", split.calibration[:0])]
    together = np.concatenate([split.train, *held_out])
    assert len(split.train) == 540
    np.testing.assert_array_equal(np.unique(together, axis=0), np.unique(X, axis=0))
    assert len(together) == len(X)


@pytest.mark.moves_generators
@every_detector
def test_with_a_float_contamination_nothing_is_calibrated(detector, rows):
    X, X_aux, _, _ = rows
    detector = clone(detector).fit(X, X_aux)
    detector.set_params(contamination=0.2).fit(X, X_aux)
    assert not hasattr(detector, "calibration_scores_")
    if not isinstance(detector, FLOWS):
        assert len(detector._split(X, X_aux, check_random_state(0)).train) == len(X)


@pytest.mark.moves_generators
@pytest.mark.parametrize("fraction", [0.1, 0.4])
def test_a_one_class_svm_keeps_its_promise(fraction):
    """Refitted on all rows under the old threshold it flags 7 % and 17 % at a rate of 5 %."""
    rates = []
    for seed in range(30):
        rng = np.random.default_rng(seed)
        X, X_new = rng.normal(size=(400, 8)), rng.normal(size=(1000, 8))
        detector = PyODDetector(OCSVM(), validation_fraction=fraction, random_state=seed).fit(X)
        rates.append((detector.predict(X_new) == -1).mean())
    n = round(400 * fraction)
    error = 3 * np.std(rates, ddof=1) / np.sqrt(len(rates))
    assert np.floor((n + 1) * 0.05) / (n + 1) - error <= np.mean(rates) <= 0.05 + error
