"""``partial_fit``: training goes on, held-out rows are kept, errors change nothing."""

import pickle

import numpy as np
import pytest
from sklearn.base import clone

import skcnf
from skcnf import ContrastiveFlowDetector, FlowDetector, FlowRatioDetector, OutlierExposureDetector

SMALL = {"n_blocks": 2, "hidden_units": 16, "max_epochs": 3, "batch_size": 64, "learning_rate": 0.01, "random_state": 0}
FLOWS = [cls(**SMALL) for cls in (ContrastiveFlowDetector, OutlierExposureDetector, FlowDetector, FlowRatioDetector)]
every_flow = pytest.mark.parametrize("detector", FLOWS, ids=lambda detector: type(detector).__name__)


@pytest.fixture(scope="module")
def new():
    return np.random.default_rng(2).normal(1.0, 0.5, (400, 4))


@every_flow
def test_the_first_call_is_fit(detector, rows):
    X, X_aux, X_test, _ = rows
    one, two = clone(detector).fit(X, X_aux), clone(detector).partial_fit(X, X_aux)
    np.testing.assert_array_equal(one.score_samples(X_test), two.score_samples(X_test))
    assert one.offset_ == two.offset_


@every_flow
def test_training_goes_on_from_the_weights_reached(detector, rows, new):
    X, X_aux, X_test, _ = rows
    detector = clone(detector).partial_fit(X, X_aux)
    scores, history, best_epoch = detector.score_samples(X_test), detector.history_, detector.best_epoch_
    detector.set_params(learning_rate=1e-12).partial_fit(new, X_aux=X_aux)
    np.testing.assert_allclose(detector.score_samples(X_test), scores, rtol=1e-4, atol=1e-4)
    assert detector.history_[: len(history)] == history
    assert detector.best_epoch_ > best_epoch
    detector.set_params(learning_rate=0.01).partial_fit(new, X_aux=X_aux)
    assert np.abs(detector.score_samples(X_test) - scores).max() > 0.01


@every_flow
def test_rows_once_held_out_are_kept_and_scored_anew(detector, rows, new):
    X, X_aux, _, _ = rows
    detector = clone(detector).partial_fit(X, X_aux)
    first = detector._kept_rows
    detector.partial_fit(new, X_aux=X_aux)
    validation, calibration = detector._kept_rows
    assert (len(validation), len(calibration)) == (50, 50)
    for kept, before in zip((validation, calibration), first, strict=True):
        np.testing.assert_array_equal(kept[:30], before)
    np.testing.assert_array_equal(detector.calibration_scores_, np.sort(detector.score_samples(calibration)))
    np.testing.assert_array_equal(pickle.loads(pickle.dumps(detector))._kept_rows[1], calibration)


def test_after_fit_and_after_loading_only_new_rows_calibrate(rows, new, tmp_path):
    detector = FlowDetector(**SMALL).partial_fit(rows[0])
    skcnf.save(detector, tmp_path / "flow.skcnf")
    loaded = skcnf.load(tmp_path / "flow.skcnf")
    assert not hasattr(loaded, "_kept_rows")
    for other in (loaded, FlowDetector(**SMALL).fit(rows[0]), clone(detector).partial_fit(rows[0]).fit(rows[0])):
        assert len(other.partial_fit(new).calibration_scores_) == 20


def test_auxiliary_rows_that_were_learnt_with_are_required(rows, new):
    X, X_aux, X_test, _ = rows
    for detector in (FLOWS[0], FLOWS[1], FLOWS[3]):
        detector = clone(detector).fit(X, X_aux)
        before = dict(vars(detector))
        with pytest.raises(ValueError, match="learnt with X_aux; partial_fit needs X_aux too"):
            detector.partial_fit(new)
        assert vars(detector) == before
    flow = FlowDetector(**SMALL).fit(X, X_aux).partial_fit(new)  # it only stops by them
    assert np.isfinite(flow.score_samples(X_test)).all()


@every_flow
def test_errors_leave_the_detector_as_it_was(detector, rows, new):
    X, X_aux, X_test, _ = rows
    detector = clone(detector).partial_fit(X, X_aux)
    before, scores = dict(vars(detector)), detector.score_samples(X_test)
    with pytest.raises(ValueError, match="X has 3 features"):
        detector.partial_fit(new[:, :3], X_aux=X_aux)
    with pytest.raises(ValueError, match="NaN"):
        detector.partial_fit(new * np.nan, X_aux=X_aux)
    assert vars(detector) == before
    detector.set_params(learning_rate=1e30)
    with pytest.raises(FloatingPointError, match="learning_rate"):
        detector.partial_fit(new, X_aux=X_aux)
    np.testing.assert_array_equal(detector.score_samples(X_test), scores)
    fresh = clone(detector)
    with pytest.raises(FloatingPointError):
        fresh.partial_fit(X, X_aux)
    assert not [name for name in vars(fresh) if name.endswith("_")]


def test_rows_marked_as_anomalies_are_left_out(rows, new):
    marked, plain = FlowDetector(**SMALL).fit(rows[0]), FlowDetector(**SMALL).fit(rows[0])
    y = np.where(np.arange(500) < 400, 1, -1)
    marked.partial_fit(np.concatenate([new, 100 * new[:100]]), y)
    np.testing.assert_array_equal(marked.score_samples(rows[2]), plain.partial_fit(new).score_samples(rows[2]))


def test_the_false_alarm_rate_holds_after_updates():
    rates = []
    for seed in range(25):
        rng = np.random.default_rng(seed)
        parts, X_new = np.split(rng.normal(size=(600, 3)), 3), rng.normal(size=(500, 3))
        small = {**SMALL, "max_epochs": 2, "random_state": seed, "validation_fraction": 0.3, "false_alarm_rate": 0.1}
        detector = FlowDetector(**small)
        for part in parts:
            detector.partial_fit(part)
        assert len(detector.calibration_scores_) == 90
        rates.append((detector.predict(X_new) == -1).mean())
    error = 3 * np.std(rates, ddof=1) / np.sqrt(len(rates))
    assert 9 / 91 - error <= np.mean(rates) <= 0.1 + error


def test_warming_up_with_auxiliary_rows_is_learning_with_them(rows):
    X, X_aux, _, _ = rows
    detector = ContrastiveFlowDetector(**{**SMALL, "max_epochs": 2}, warmup_epochs=2).fit(X, X_aux)
    with pytest.raises(ValueError, match="partial_fit needs X_aux too"):
        detector.partial_fit(X)


def test_outlier_exposure_counts_the_auxiliary_rows_within_its_margin(rows):
    X, X_aux, _, _ = rows
    active = [
        OutlierExposureDetector(**SMALL, margin=margin).fit(X, X_aux).aux_active_fraction_
        for margin in (0.0, 4.0, 99.0)
    ]
    assert 0 < active[0] < active[1] < active[2] <= 1


def test_another_architecture_is_no_update(rows):
    X, X_aux, _, _ = rows
    detector = FlowDetector(**SMALL).partial_fit(X, X_aux=X_aux)
    for name, value in (("n_flows", 2), ("n_blocks", 3), ("hidden_units", 8)):
        with pytest.raises(ValueError, match=f"{name}={value} cannot be changed between calls of partial_fit"):
            detector.set_params(**{name: value}).partial_fit(X, X_aux=X_aux)
        detector.set_params(**{name: getattr(FlowDetector(**SMALL), name)})
