import copy
import math
import pickle
import re

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.base import clone
from sklearn.metrics import roc_auc_score

from skcnf import GOADDetector, load_detector, save_detector
from skcnf.detectors import _goad
from skcnf.detectors._goad_network import GOADNetwork, GOADTrainer, log_probabilities, triplet_center_loss

SMALL = GOADDetector(n_transforms=8, n_outputs=8, hidden_units=8, random_state=0)


def _features(seed, n=5, n_maps=3, width=4, scale=1.0):
    generator = torch.Generator().manual_seed(seed)
    return scale * torch.randn(n, n_maps, width, generator=generator, dtype=torch.float64)


# The maths against slow references


def _slow_loss(z, margin):
    n, n_maps, _ = z.shape
    centers = [sum(z[i, m] for i in range(n)) / n for m in range(n_maps)]
    terms = []
    for i in range(n):
        for m in range(n_maps):
            distances = [float(((z[i, m] - center) ** 2).sum()) for center in centers]
            other = min(distance for k, distance in enumerate(distances) if k != m)
            terms.append(max(distances[m] + margin - other, 0.0))
    return sum(terms) / len(terms)


@settings(deadline=None, max_examples=30)
@given(st.integers(0, 1000), st.integers(1, 6), st.integers(2, 5), st.floats(0, 3))
def test_the_loss_is_equation_3(seed, n, n_maps, margin):
    z = _features(seed, n, n_maps)
    assert triplet_center_loss(z, margin).item() == pytest.approx(_slow_loss(z.numpy(), margin), abs=1e-12)


def test_separated_maps_have_no_loss_and_merged_ones_the_margin():
    spread = torch.tensor([[[0.0], [10.0]], [[0.1], [10.1]]])
    assert triplet_center_loss(spread, margin=1.0) == 0
    assert triplet_center_loss(torch.zeros(2, 2, 1), margin=0.7) == pytest.approx(0.7)


def test_gradients_of_the_loss_are_right_and_pass_through_the_centres():
    z = _features(0).requires_grad_()
    assert torch.autograd.gradcheck(lambda z: triplet_center_loss(z, 1.0), z)


@pytest.mark.parametrize("weight", [0.0, 2.5])
def test_cross_entropy_is_that_of_the_right_map(weight):
    network = GOADNetwork(4, 3, 5, 4, 2, seed=0).double()
    z = _features(1)
    slow = sum(-network.head(z[i, m]).log_softmax(0)[m].item() for i in range(5) for m in range(3)) / 15
    trainer = GOADTrainer(margin=1.0, cross_entropy_weight=weight, n_epochs=1, batch_size=8, learning_rate=0.1, seed=0)
    assert trainer.loss(network, z).item() == pytest.approx(_slow_loss(z.numpy(), 1.0) + weight * slow)


@pytest.mark.parametrize("epsilon", [0.0, 1e-6, 0.3])
def test_log_probabilities_are_equation_4(epsilon):
    z, centers = _features(2), _features(3, n=1)[0]
    fast = log_probabilities(z, centers, epsilon)
    for i in range(5):
        for m in range(3):
            kernels = [math.exp(-float(((z[i, m] - centers[k]) ** 2).sum())) for k in range(3)]
            slow = math.log((kernels[m] + epsilon) / (sum(kernels) + 3 * epsilon))
            assert fast[i, m].item() == pytest.approx(slow, abs=1e-12)


def test_epsilon_makes_far_off_rows_uncertain_and_without_it_they_stay_finite():
    z, centers = _features(2, scale=1e6), _features(3, n=1)[0]
    torch.testing.assert_close(log_probabilities(z, centers, 1e-6), torch.full((5, 3), -math.log(3)).double())
    certain = log_probabilities(z * 1e100, centers, 0.0)
    assert certain.isfinite().all()
    assert certain.max() <= 0


def test_the_maps_are_affine():
    network = GOADNetwork(4, 3, 5, 4, 2, bias_std=1.0, seed=0).double()
    x = _features(0)[:, 0]
    for m in range(3):
        slow = network.trunk(x @ network.weight[m].T + network.bias[m])
        torch.testing.assert_close(network(x)[:, m], slow)
    assert not GOADNetwork(4, 3, 5, 4, 2).bias.any()


def test_the_score_is_equation_5_with_centres_of_all_training_rows(rows):
    X, _, X_test, _ = rows
    detector = clone(SMALL).set_params(contamination=0.1, bias_std=1.0, epsilon=1e-3).fit(X)
    network = detector.network_

    def features(X):
        return network(torch.as_tensor((X - X_mean) / X_std))

    X_mean, X_std = X.mean(0), X.std(0)
    torch.testing.assert_close(network.centers, features(X).mean(0))
    slow = log_probabilities(features(X_test), features(X).mean(0), 1e-3).sum(1)
    np.testing.assert_allclose(detector.score_samples(X_test), slow)


# The detector


@pytest.mark.parametrize("params", [{}, {"n_epochs": 5}, {"bias_std": 1.0}, {"standardize": False}, {"n_layers": 3}])
def test_obvious_anomalies_score_low(rows, params):
    X, _, X_test, y_test = rows
    scores = clone(SMALL).set_params(n_transforms=32, **params).fit(X).score_samples(X_test)
    assert roc_auc_score(y_test, scores) > 0.9
    assert scores.max() <= 0


def test_training_lowers_the_loss(rows):
    history = clone(SMALL).set_params(n_epochs=5).fit(rows[0]).history_
    assert [record["epoch"] for record in history] == [1, 2, 3, 4, 5]
    assert history[-1]["loss"] < 0.8 * history[0]["loss"]


def test_one_feature_is_enough():
    rng = np.random.default_rng(0)
    detector = clone(SMALL).set_params(n_transforms=32, bias_std=1.0).fit(rng.normal(5, 2, (500, 1)))
    assert list(detector.predict([[5.0], [6.0], [40.0]])) == [1, 1, -1]


def test_auxiliary_rows_are_not_used(rows):
    X, X_aux, X_test, _ = rows
    np.testing.assert_array_equal(
        clone(SMALL).fit(X, X_aux).score_samples(X_test), clone(SMALL).fit(X).score_samples(X_test)
    )


def test_auto_holds_rows_out_and_keeps_the_false_alarm_rate(rows):
    rates, sizes = [], []
    for seed in range(10):
        rng = np.random.default_rng(seed)
        X, X_new = rng.normal(size=(400, 3)), rng.normal(size=(2000, 3))
        detector = clone(SMALL).set_params(false_alarm_rate=0.1, validation_fraction=0.25, random_state=seed).fit(X)
        rates.append((detector.predict(X_new) == -1).mean())
        sizes.append(np.abs(detector.location_ - X.mean(0)).max())
    assert np.mean(rates) == pytest.approx(0.1, abs=0.03)
    assert min(sizes) > 0  # trained on a part of the rows


@pytest.mark.parametrize("n_rows", [1, 7, 300])
def test_a_rows_score_does_not_depend_on_its_batch(rows, monkeypatch, n_rows):
    detector = clone(SMALL).fit(rows[0])
    expected = detector.score_samples(rows[2])
    monkeypatch.setattr(_goad, "_SCORING_NUMBERS", n_rows * 8 * 8)
    np.testing.assert_allclose(detector.score_samples(rows[2]), expected, rtol=1e-12)


def test_memory_of_scoring_is_bounded():
    for params in ({}, {"n_transforms": 2}, {"hidden_units": 5000}, {"n_transforms": 3000}):
        detector = GOADDetector(**params)
        widest = max(detector.n_outputs, detector.hidden_units, detector.n_transforms)
        numbers = detector._scoring_rows() * detector.n_transforms * widest
        assert 2**21 < numbers <= max(2**22, detector.n_transforms * widest)


def test_seeds_decide_everything(rows):
    X, _, X_test, _ = rows
    scores = [clone(SMALL).set_params(random_state=seed).fit(X).score_samples(X_test) for seed in (0, 0, 1)]
    np.testing.assert_array_equal(scores[0], scores[1])
    assert not np.allclose(scores[0], scores[2])


def test_copies_are_whole(rows, tmp_path):
    X, _, X_test, _ = rows
    detector = clone(SMALL).set_params(bias_std=1.0).fit(X)
    save_detector(detector, tmp_path / "goad.safetensors")
    expected = detector.score_samples(X_test)
    for other in (
        copy.deepcopy(detector),
        pickle.loads(pickle.dumps(detector)),
        load_detector(tmp_path / "goad.safetensors"),
    ):
        np.testing.assert_array_equal(other.score_samples(X_test), expected)
        assert other.network_ is not detector.network_
        assert next(other.network_.parameters()).dtype == torch.float64


# Errors


@pytest.mark.parametrize(
    ("params", "message"),
    [
        ({"n_transforms": 1}, "The 'n_transforms' parameter of GOADDetector must be an int in the range [2, inf)"),
        ({"epsilon": -1.0}, "The 'epsilon' parameter of GOADDetector must be a float in the range [0.0, inf)"),
        ({"margin": "big"}, "The 'margin' parameter of GOADDetector must be a float in the range [0.0, inf)"),
        ({"n_epochs": 0}, "The 'n_epochs' parameter of GOADDetector must be an int in the range [1, inf)"),
    ],
)
def test_bad_parameters_are_named(rows, params, message):
    with pytest.raises(ValueError, match=re.escape(message)):
        GOADDetector(**params).fit(rows[0])


def test_a_loss_that_is_not_finite_names_epoch_and_learning_rate(rows):
    detector = clone(SMALL).set_params(n_epochs=3)
    with pytest.raises(FloatingPointError, match=r"the loss is .* in epoch 1 at learning_rate=1e\+20; lower"):
        clone(detector).set_params(learning_rate=1e20).fit(rows[0])
    with pytest.raises(FloatingPointError, match="look for extreme values in X"):
        detector.set_params(standardize=False).fit(rows[0] * 1e30)
    assert not hasattr(detector, "network_")


def test_a_last_step_that_overflows_is_noticed(rows):
    """The loss of an epoch is taken before its last step; with a single step it tells nothing of the outcome."""
    with pytest.raises(FloatingPointError, match="the size of the centres is"):
        clone(SMALL).set_params(batch_size=1000, learning_rate=1e38).fit(rows[0])
