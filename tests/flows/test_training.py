import math

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from sklearn.metrics import roc_auc_score

from skcnf.flows import (
    FlowData,
    FlowTask,
    FlowTrainer,
    LogisticMixtureFlow,
    RealNVP,
    Stage,
    contrastive_loss,
    train_together,
)
from skcnf.flows._loop import auroc

scores = arrays(np.float32, st.integers(1, 20), elements=st.integers(-5, 5).map(float))


@given(scores, scores)
def test_auroc_is_scikit_learns(positive, negative):
    y = np.repeat([1, 0], [len(positive), len(negative)])
    expected = roc_auc_score(y, np.concatenate([positive, negative]))
    assert auroc(torch.from_numpy(positive), torch.from_numpy(negative)) == pytest.approx(expected)


@given(scores, scores)
def test_auroc_is_invariant_under_monotone_maps(positive, negative):
    positive, negative = torch.from_numpy(positive).double(), torch.from_numpy(negative).double()
    assert auroc(positive, negative) == pytest.approx(auroc(positive.exp() * 3 - 1, negative.exp() * 3 - 1))


def _data(n=300, seed=0, **changes):
    generator = torch.Generator().manual_seed(seed)
    X, X_aux = torch.randn(n, 3, generator=generator) * 0.3, torch.randn(2 * n, 3, generator=generator) * 2
    return FlowData(**{"X": X[50:], "X_val": X[:50], "X_aux": X_aux[100:], "X_aux_val": X_aux[:100], **changes})


def _objective(nll, nll_aux):
    return contrastive_loss(nll, nll_aux, clamp=10.0)


def _train(data=None, objective=_objective, on_epoch=None, warmup_epochs=0, **changes):
    flow = RealNVP(3, 2, 16, seed=0)
    trainer = FlowTrainer(**{"max_epochs": 6, "batch_size": 64, "patience": 6, "learning_rate": 0.01, **changes})
    return flow, trainer.train(flow, data or _data(), Stage(objective, warmup_epochs=warmup_epochs), on_epoch)


def test_likelihood_training_lowers_the_held_out_nll():
    _, result = _train(objective=None, stopping="likelihood")
    values = [record["val_nll"] for record in result.history]
    assert values[-1] < values[0] - 0.5


def test_the_best_weights_are_kept():
    states = {}

    def keep(flow, record):
        states[record["epoch"]] = {k: v.clone() for k, v in flow.state_dict().items()}

    flow, result = _train(on_epoch=keep, max_epochs=12, learning_rate=0.05)
    best = max(result.history, key=lambda record: record["val_auroc"])
    assert result.best_epoch == best["epoch"]
    assert all(torch.equal(value, states[best["epoch"]][key]) for key, value in flow.state_dict().items())


def test_training_stops_after_patience_epochs_without_improvement():
    _, result = _train(tol=1.0, patience=2, max_epochs=50)  # no AUROC improves by more than 1
    assert result.best_epoch == 1
    assert len(result.history) == 3


def test_without_stopping_the_last_weights_are_kept():
    flow, result = _train(stopping="none", patience=1, max_epochs=9, learning_rate=0.05)
    assert max(result.history, key=lambda record: record["val_auroc"])["epoch"] < 9
    assert (result.best_epoch, len(result.history)) == (9, 9)
    assert -flow.log_prob(_data().X_val).mean().item() == pytest.approx(result.history[-1]["val_nll"])


def test_noise_may_be_one_number_for_all_features():
    scores = [
        _train(_data(noise_std=noise))[0].log_prob(torch.zeros(1, 3)).item()
        for noise in (0.0, 0.5, torch.full((3,), 0.5))
    ]
    assert scores[1] == scores[2] != scores[0]


def test_equal_seeds_give_equal_weights_and_others_do_not():
    x = torch.zeros(1, 3)
    first, again, other = (_train(seed=seed)[0].nll(x).item() for seed in (1, 1, 2))
    assert first == again
    assert first != other


@pytest.mark.parametrize("setting", ["one thread", "lower precision"])
def test_other_arithmetic_gives_the_same_scores_to_a_tolerance(setting):
    """One thread rounds otherwise; bfloat16 products, where there are any, keep two to three digits."""
    x = _data(seed=5).X_val

    def scores():
        flow, _ = _train(max_epochs=3)
        with torch.no_grad():
            return flow.double().log_prob(x.double())

    expected, n_threads, precision = scores(), torch.get_num_threads(), torch.get_float32_matmul_precision()
    try:
        if setting == "one thread":
            torch.set_num_threads(1)
        else:
            torch.set_float32_matmul_precision("medium")
        found = scores()
    finally:
        torch.set_num_threads(n_threads)
        torch.set_float32_matmul_precision(precision)
    tolerance = 1e-3 if setting == "one thread" else 0.2
    torch.testing.assert_close(found, expected, rtol=0, atol=tolerance)


def test_noise_is_fresh_in_every_batch():
    seen = []

    class Spy(RealNVP):
        architecture = None

        def nll(self, x):
            if self.training:
                seen.append(x.detach().clone())
            return super().nll(x)

    data = _data(X=torch.zeros(128, 3), noise_std=torch.tensor([0.0, 1.0, 2.0]))
    FlowTrainer(max_epochs=1, batch_size=64).train(Spy(3, 1, 8), data)
    assert len(seen) == 2
    assert not torch.equal(seen[0], seen[1])
    assert seen[0][:, 0].abs().max() == 0
    assert seen[0][:, 2].std().item() == pytest.approx(2, rel=0.3)


def test_inliers_and_auxiliary_rows_share_one_forward_pass_and_every_row_comes_once():
    seen = []

    class Spy(RealNVP):
        architecture = None

        def nll(self, x):
            if self.training:
                seen.append(x.detach().clone())
            return super().nll(x)

    data = _data(X=torch.arange(300.0).view(100, 3), X_aux=torch.arange(900.0).view(300, 3) + 1000)
    FlowTrainer(max_epochs=1, batch_size=40).train(Spy(3, 1, 8), data, Stage(_objective))
    assert [len(x) for x in seen] == [80, 80, 60]
    every = torch.cat(seen)[:, 0]
    inliers, aux = every[every < 1000], every[every >= 1000]
    assert sorted(inliers.tolist()) == list(range(0, 300, 3))
    assert len(set(aux.tolist())) == len(aux) == 120


def test_warmup_is_plain_likelihood():
    _, result = _train(warmup_epochs=2, max_epochs=4)
    active = [math.isnan(record["aux_active_fraction"]) for record in result.history]
    assert active == [True, True, False, False]


def test_a_reference_turns_the_criterion_into_a_ratio():
    data = _data()
    flow = RealNVP(3, 2, 16, seed=0)
    with torch.no_grad():
        data.reference, data.reference_aux = flow.log_prob(data.X_val), flow.log_prob(data.X_aux_val)
    result = FlowTrainer(max_epochs=1, learning_rate=1e-12).train(flow, data)
    assert result.history[0]["val_auroc"] == pytest.approx(0.5, abs=0.2)


def test_a_loss_that_is_not_finite_names_epoch_and_learning_rate():
    with pytest.raises(FloatingPointError, match=r"epoch 1 at learning_rate=0\.5"):
        _train(objective=lambda a, b: a.mean() * math.nan, learning_rate=0.5)


def test_weights_that_are_not_finite_are_never_kept():
    """A loss may still be finite in the only epoch while its last step ruins the weights."""
    with pytest.raises(FloatingPointError, match=r"held-out rows have no finite score after epoch 1"):
        _train(objective=lambda a, b: a.mean() * 1e20, learning_rate=1e30, max_epochs=1, batch_size=999)


def test_the_best_epoch_is_not_one_of_the_warm_up():
    _, result = _train(warmup_epochs=3, max_epochs=5, tol=1.0)
    assert result.best_epoch == 4
    _, result = _train(warmup_epochs=3, max_epochs=3)
    assert result.best_epoch == 3


def test_an_objective_without_auxiliary_rows_is_refused():
    with pytest.raises(ValueError, match=r"objective, which needs X_aux, but data\.X_aux is None"):
        FlowTask(FlowTrainer(), RealNVP(3, 1, 8), _data(X_aux=None), Stage(_objective))


def _states(**changes):
    """The flow's weights at the end of each epoch, as validation sees them."""
    states = []

    def keep(flow, record):
        states.append(torch.cat([p.detach().flatten() for p in flow.parameters() if p.requires_grad]).double())

    flow, result = _train(on_epoch=keep, batch_size=250, **changes)  # one step an epoch
    return flow, result, states


@pytest.mark.parametrize("decay", [0.5, 0.97])
def test_averaged_weights_are_the_running_mean_of_the_plain_ones(decay):
    _, plain_result, plain = _states()
    _, result, averaged = _states(weight_averaging=decay)
    assert [a["loss"] for a in result.history] == [a["loss"] for a in plain_result.history]  # training is the same
    mean = plain[0]
    for n, (own, found) in enumerate(zip(plain, averaged, strict=True)):
        kept = min(decay, (1 + n) / (4 + n)) if n else 0.0
        mean = kept * mean + (1 - kept) * own
        torch.testing.assert_close(found, mean, rtol=0, atol=1e-6)


def test_the_averaged_weights_of_the_best_epoch_are_kept():
    flow, result, states = _states(weight_averaging=0.9, max_epochs=9, learning_rate=0.05)
    best = max(result.history, key=lambda record: record["val_auroc"])
    assert result.best_epoch == best["epoch"]
    kept = torch.cat([p.detach().flatten() for p in flow.parameters() if p.requires_grad]).double()
    assert torch.equal(kept, states[best["epoch"] - 1])
    with torch.no_grad():
        data = _data()
        value = auroc(flow.log_prob(data.X_val), flow.log_prob(data.X_aux_val))
    assert value == pytest.approx(best["val_auroc"])


def test_the_mean_starts_anew_after_the_warm_up():
    _, _, plain = _states(warmup_epochs=2, max_epochs=3)
    _, _, averaged = _states(warmup_epochs=2, max_epochs=3, weight_averaging=0.97)
    assert torch.equal(averaged[2], plain[2])
    assert not torch.equal(averaged[1], plain[1])


def test_flows_trained_together_are_averaged_as_alone():
    def tasks():
        trainer = {"max_epochs": 4, "batch_size": 64, "learning_rate": 0.01, "weight_averaging": 0.97}
        return [
            FlowTask(
                FlowTrainer(**trainer, seed=seed), RealNVP(3, 2, 16, seed=seed), _data(seed=seed), Stage(_objective)
            )
            for seed in range(3)
        ]

    together, alone = tasks(), tasks()
    train_together(together, batched=True)
    train_together(alone, batched=False)
    for one, other in zip(together, alone, strict=True):
        for record, expected in zip(one.result.history, other.result.history, strict=True):
            assert record["val_nll"] == pytest.approx(expected["val_nll"], abs=1e-3)


def test_a_flow_without_batched_form_is_averaged_too():
    data = FlowData(torch.linspace(-1, 1, 40)[:, None], torch.zeros(5, 1))
    values = {}
    for decay in (0.0, 0.9):
        flow = LogisticMixtureFlow(3)
        trainer = FlowTrainer(max_epochs=3, batch_size=10, weight_averaging=decay, stopping="likelihood")
        values[decay] = trainer.train(flow, data).history[-1]["val_nll"]
    assert values[0.0] != values[0.9]
