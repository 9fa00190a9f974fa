"""Scores in float32: the same for a row wherever it stands, and near those in float64."""

import numpy as np
import pytest
import torch
from sklearn.base import clone

from skcnf import ContrastiveFlowDetector, FlowDetector, FlowRatioDetector, load_detector, save_detector
from skcnf.evaluation import auroc
from skcnf.flows import FlowData, Stage

_SMALL = {"n_blocks": 3, "hidden_units": 32, "max_epochs": 3, "random_state": 0}


@pytest.mark.parametrize("cls", [FlowDetector, ContrastiveFlowDetector, FlowRatioDetector])
@pytest.mark.parametrize("n_flows", [1, 3])
def test_rows_score_alone_in_any_order_and_from_a_memory_map_as_together(cls, n_flows, rows, tmp_path):
    X, X_aux, X_test, _ = rows
    detector = cls(**_SMALL, n_flows=n_flows).fit(X, X_aux=X_aux)
    expected = detector.score_samples(X_test)
    order = np.random.default_rng(0).permutation(len(X_test))
    np.testing.assert_array_equal(detector.score_samples(X_test[order]), expected[order])
    alone = [detector.score_samples(row[None]).item() for row in X_test[:20]]
    np.testing.assert_array_equal(alone, expected[:20])
    np.save(tmp_path / "rows.npy", X_test)
    mapped = np.load(tmp_path / "rows.npy", mmap_mode="r")
    np.testing.assert_array_equal(detector.score_samples(mapped[7:90]), expected[7:90])


def test_float64_is_a_parameter_and_changes_little(rows, tmp_path):
    X, X_aux, X_test, y_test = rows
    detector = ContrastiveFlowDetector(**_SMALL).fit(X, X_aux)
    precise = clone(detector).set_params(score_precision="float64").fit(X, X_aux)
    assert next(detector.flow_.parameters()).dtype == torch.float32
    assert next(precise.flow_.parameters()).dtype == torch.float64
    scores, expected = detector.score_samples(X_test), precise.score_samples(X_test)
    assert scores.dtype == expected.dtype == np.float64
    assert not np.array_equal(scores, expected)
    np.testing.assert_allclose(scores, expected, rtol=1e-5, atol=1e-5)
    assert auroc(y_test, scores) == pytest.approx(auroc(y_test, expected), abs=1e-4)
    save_detector(precise, tmp_path / "precise.skcnf")
    loaded = load_detector(tmp_path / "precise.skcnf")
    np.testing.assert_array_equal(loaded.score_samples(X_test), expected)


def test_rows_far_out_have_finite_scores_below_all_others(rows):
    X, X_aux, X_test, _ = rows
    detector = ContrastiveFlowDetector(**_SMALL).fit(X, X_aux)
    far = np.full((3, X.shape[1]), [[1e6], [1e12], [1e40]])
    scores = detector.score_samples(far)
    assert np.isfinite(scores).all()
    assert (np.diff(scores) < 0).all()
    assert scores.max() < detector.score_samples(X_test).min()


def test_averaged_weights_are_the_default_and_can_be_turned_off(rows):
    X, X_aux, X_test, _ = rows
    averaged = ContrastiveFlowDetector(**_SMALL).fit(X, X_aux)
    plain = clone(averaged).set_params(weight_averaging=0.0).fit(X, X_aux)
    assert [record["loss"] for record in averaged.history_] == [record["loss"] for record in plain.history_]
    assert np.abs(averaged.score_samples(X_test) - plain.score_samples(X_test)).max() > 1e-3
    with pytest.raises(ValueError, match="'weight_averaging' parameter"):
        ContrastiveFlowDetector(weight_averaging=1.0).fit(X, X_aux)


@pytest.mark.parametrize(
    ("n_rows", "changes", "expected"),
    [
        (5000, {}, 6),
        (3000, {}, 10),
        (900, {}, 20),
        (50_000, {}, 6),
        (5000, {"stopping": "likelihood"}, 20),
        (5000, {"max_epochs": 3}, 3),
        (5000, {"batch_size": 1024}, 20),
        (5000, {"warmup_epochs": 2}, 8),
        (5000, {"weight_averaging": 0.0}, 20),
    ],
)
def test_auto_epochs_are_as_many_as_a_hundred_steps_take(n_rows, changes, expected):
    detector = ContrastiveFlowDetector(**changes)
    X = torch.zeros(round(0.9 * n_rows), 2)
    data = FlowData(X, X[:5], X_aux=X, X_aux_val=X[:5])
    assert detector._epochs(data, Stage(warmup_epochs=detector.warmup_epochs)) == expected
    assert detector._epochs(FlowData(X, X[:5]), Stage()) == changes.get("max_epochs", 20)


def test_the_flow_of_a_ratio_has_the_epochs_that_it_takes():
    X = torch.zeros(4500, 2)
    data = FlowData(X, X[:5], X_aux=X, X_aux_val=X[:5])
    assert FlowRatioDetector()._epochs(data, Stage()) == 6
    assert FlowRatioDetector(fine_tune=True)._epochs(data, Stage()) == 20
