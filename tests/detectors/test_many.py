"""Flows that train together are the flows that train alone, up to rounding."""

import gc

import numpy as np
import pytest
import torch
from sklearn.base import clone

from skcnf import (
    ContrastiveFlowDetector,
    FlowDetector,
    FlowRatioDetector,
    MSEDetector,
    OutlierExposureDetector,
    fit_many,
    load_detector,
    save_detector,
)
from skcnf._core.rows import StreamedRows
from skcnf.detectors._validation import check_aux
from skcnf.flows import FlowData, FlowTask, FlowTrainer, RealNVP
from skcnf.flows._gradients import FlatFlows

SMALL = {"n_blocks": 2, "hidden_units": 16, "max_epochs": 6, "batch_size": 128, "learning_rate": 0.01, "patience": 1}
FLOWS = (ContrastiveFlowDetector, OutlierExposureDetector, FlowDetector, FlowRatioDetector)
every_flow = pytest.mark.parametrize("cls", FLOWS, ids=lambda cls: cls.__name__)


def _problems(n=3, rows=400):
    rng = np.random.default_rng(0)
    X = [rng.normal(size=(rows, 4)) * scale for scale in (0.5, 1.0, 2.0)[:n]]
    return X, rng.normal(size=(1500, 4)) * 3, rng.normal(size=(50, 4))


@every_flow
@pytest.mark.parametrize("batched", [True, False])
def test_fitted_together_or_alone_detectors_score_alike(cls, batched):
    X, X_aux, X_test = _problems()
    together = [cls(**SMALL, random_state=seed) for seed in range(3)]
    alone = [clone(detector).fit(rows, X_aux) for detector, rows in zip(together, X, strict=True)]
    assert fit_many(together, X, X_aux, batched=batched)[0] is together[0]
    for one, other in zip(together, alone, strict=True):
        assert one.best_epoch_ == other.best_epoch_
        assert len(one.history_) == len(other.history_)
        np.testing.assert_allclose(one.score_samples(X_test), other.score_samples(X_test), rtol=2e-3, atol=2e-3)
        assert one.offset_ == pytest.approx(other.offset_, abs=0.02)


def test_they_stop_at_their_own_time():
    X, X_aux, _ = _problems()
    detectors = [ContrastiveFlowDetector(**SMALL, random_state=0) for _ in X]
    fit_many(detectors, X, X_aux, batched=True)
    assert len({len(detector.history_) for detector in detectors}) > 1


def test_only_flows_of_one_kind_go_together():
    def kind(rows=64, blocks=1, **trainer):
        data = FlowData(torch.zeros(rows, 3), torch.zeros(5, 3))
        return FlowTask(FlowTrainer(**trainer), RealNVP(3, blocks, 8), data).kind()

    assert kind() == kind(seed=7)
    assert len({kind(), kind(rows=65), kind(blocks=2), kind(learning_rate=0.1), kind(max_epochs=3)}) == 5


@every_flow
def test_a_fit_leaves_no_rows_behind(cls):
    """Nothing waits for the garbage collector: rows and arrays go when the fit is over."""
    X, X_aux, _ = _problems()
    gc.collect()
    gc.disable()
    try:
        before = {id(item) for item in gc.get_objects()}
        detector = cls(**SMALL, random_state=0).fit(X[0], X_aux)
        kept = [
            type(item).__name__
            for item in gc.get_objects()
            if id(item) not in before and isinstance(item, (FlowTask, FlowData, FlatFlows))
        ]
    finally:
        gc.enable()
    assert kept == []
    assert detector.n_features_in_ == 4


def test_detectors_of_every_kind_are_fitted():
    X, X_aux, X_test = _problems()
    detectors = [
        FlowDetector(**SMALL, random_state=0),
        MSEDetector(random_state=0),
        FlowDetector(random_state=0, **SMALL),
    ]
    fit_many(detectors, [X[0], X[1], X[2][:390]], X_aux)
    for detector, rows in zip(detectors, [X[0], X[1], X[2][:390]], strict=True):
        expected = clone(detector).fit(rows, X_aux).score_samples(X_test)
        np.testing.assert_allclose(detector.score_samples(X_test), expected, rtol=2e-3, atol=2e-3)


def test_what_goes_wrong_is_named_and_leaves_nothing_behind():
    X, _, _ = _problems()
    with pytest.raises(ValueError, match="2 detectors, but X holds 3 arrays"):
        fit_many([FlowDetector(), FlowDetector()], X)
    with pytest.raises(TypeError, match="got a str"):
        fit_many(["flow"] * 3, X)
    with pytest.raises(ValueError, match="The 'max_epochs' parameter"):
        fit_many([FlowDetector(max_epochs=0)], X[:1])
    detectors = [
        FlowDetector(**SMALL, random_state=0),
        FlowDetector(**{**SMALL, "learning_rate": 1e30}, random_state=0),
    ]
    before = [dict(vars(detector)) for detector in detectors]
    with pytest.raises(FloatingPointError):
        fit_many(detectors, X[:2])
    assert [vars(detector) for detector in detectors] == before


@every_flow
def test_several_flows_score_by_their_mean(cls, tmp_path):
    X, X_aux, X_test = _problems()
    detector = cls(**SMALL, n_flows=3, random_state=0).fit(X[1], X_aux)
    single = clone(detector).set_params(n_flows=1).fit(X[1], X_aux)
    scores = [single.score_samples(X_test)]
    assert np.abs(detector.score_samples(X_test) - scores[0]).max() > 1e-3
    for number in range(3):
        flows = detector.flows_
        detector.flows_ = [flows[number]]
        scores.append(detector.score_samples(X_test))
        detector.flows_ = flows
    # the first is the flow that would have been trained alone
    np.testing.assert_allclose(scores[1], scores[0], rtol=2e-3, atol=2e-3)
    np.testing.assert_allclose(detector.score_samples(X_test), np.mean(scores[1:], axis=0), rtol=1e-9)
    save_detector(detector, tmp_path / "flows.safetensors")
    loaded = load_detector(tmp_path / "flows.safetensors")
    np.testing.assert_array_equal(loaded.score_samples(X_test), detector.score_samples(X_test))
    assert detector.sample(7, random_state=1).shape == (7, 4)


def test_samples_of_several_flows_come_from_all_of_them():
    X, _, _ = _problems()
    detector = FlowDetector(**SMALL, n_flows=2, random_state=0).fit(X[1])
    with torch.no_grad():
        detector.flows_[1].blocks[-1].global_offset.add_(1000)  # far away
    far = np.abs(detector.sample(400, random_state=0)).max(axis=1) > 100
    assert 150 < far.sum() < 250


# Auxiliary rows that are not in memory


@pytest.mark.parametrize("as_tuple", [False, True])
def test_auxiliary_rows_on_disk_train_the_same_flow(tmp_path, monkeypatch, as_tuple):
    X, X_aux, X_test = _problems()
    np.save(tmp_path / "aux.npy", X_aux.astype(np.float32))
    on_disk = np.load(tmp_path / "aux.npy", mmap_mode="r")
    expected = ContrastiveFlowDetector(**SMALL, random_state=0).fit(X[0], X_aux.astype(np.float32))
    monkeypatch.setattr("skcnf.detectors._flow._MAX_NUMBERS_IN_MEMORY", 0)
    monkeypatch.setattr(StreamedRows, "read", None)  # never all at once
    found = ContrastiveFlowDetector(**SMALL, random_state=0).fit(X[0], (on_disk,) if as_tuple else on_disk)
    np.testing.assert_array_equal(found.score_samples(X_test), expected.score_samples(X_test))


def test_auxiliary_rows_of_a_memory_map_are_not_copied(tmp_path):
    X, X_aux, _ = _problems()
    np.save(tmp_path / "aux.npy", X_aux)
    on_disk = np.load(tmp_path / "aux.npy", mmap_mode="r")
    detector = FlowDetector(**SMALL, random_state=0).fit(X[0])
    assert np.shares_memory(check_aux(detector, (on_disk,)), on_disk)


def test_rows_on_disk_are_scored_as_those_in_memory(tmp_path):
    X, X_aux, _ = _problems()
    detector = ContrastiveFlowDetector(**SMALL, random_state=0).fit(X[0], X_aux)
    np.save(tmp_path / "rows.npy", X_aux)
    on_disk = np.load(tmp_path / "rows.npy", mmap_mode="r")
    np.testing.assert_array_equal(detector.score_samples(on_disk), detector.score_samples(X_aux))


def test_one_object_for_two_arrays_is_refused():
    X = np.random.default_rng(0).normal(size=(2, 100, 3))
    with pytest.raises(ValueError, match="detectors hold the same object twice"):
        fit_many([FlowDetector(random_state=0)] * 2, X)
