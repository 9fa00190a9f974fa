import copy
import pickle
from functools import partial

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import norm

from skcnf.flows import (
    FlowData,
    FlowTrainer,
    LogisticMixtureFlow,
    RealNVP,
    Stage,
    contrastive_loss,
    negative_log_likelihood,
    optimal_density,
)


def _flow(d=5, blocks=3, soft=False, seed=0):
    flow = RealNVP(d, blocks, 16, permute_soft=soft, seed=seed).double()
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():  # away from the initial near-identity
        for parameter in flow.parameters():
            if parameter.requires_grad:
                parameter.add_(torch.randn(parameter.shape, generator=generator, dtype=torch.float64), alpha=0.3)
    return flow


def _x(n, d, seed=1):
    return torch.randn(n, d, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


flows = st.tuples(st.integers(2, 9), st.integers(1, 4), st.booleans(), st.integers(0, 99))


@settings(max_examples=30, deadline=None)
@given(flows)
def test_inverse_of_latent_is_the_identity(arguments):
    flow = _flow(*arguments)
    x = _x(6, arguments[0])
    torch.testing.assert_close(flow.inverse(flow.latent(x)[0]), x, rtol=0, atol=1e-5 if arguments[2] else 1e-9)


@settings(max_examples=15, deadline=None)
@given(flows)
def test_log_det_is_that_of_autograds_jacobian(arguments):
    flow = _flow(*arguments)
    x = _x(3, arguments[0])
    _, log_det = flow.latent(x)
    for row, value in zip(x, log_det, strict=True):
        jacobian = torch.autograd.functional.jacobian(lambda r: flow.latent(r[None])[0][0], row)
        assert torch.linalg.slogdet(jacobian).logabsdet.item() == pytest.approx(value.item(), abs=1e-5)


def test_permutations_follow_the_weights():
    flow, other, x = _flow(seed=1), _flow(seed=2), _x(4, 5)
    with torch.no_grad():
        flow.nll(x)
        flow.load_state_dict(other.state_dict())
        assert torch.equal(flow.nll(x), other.nll(x))
        torch.testing.assert_close(flow.float().nll(x.float()).double(), other.nll(x), rtol=1e-3, atol=1e-3)


@given(st.permutations(range(7)))
def test_nll_ignores_row_order(order):
    flow, x = _flow(), _x(7, 5)
    order = list(order)
    torch.testing.assert_close(flow.nll(x[order]), flow.nll(x)[order])


def test_log_prob_integrates_to_one():
    flow = _flow(2, 2)
    axis = torch.linspace(-40, 40, 1001, dtype=torch.float64)
    grid = torch.cartesian_prod(axis, axis)
    cell = (axis[1] - axis[0]).item() ** 2
    with torch.no_grad():
        assert (flow.log_prob(grid).exp().sum() * cell).item() == pytest.approx(1, abs=2e-3)


def test_samples_follow_the_density():
    flow = _flow(3)
    sample = flow.sample(20_000, seed=3)
    z, _ = flow.latent(sample)
    assert z.mean(0).abs().max().item() < 0.03
    assert (z.std(0) - 1).abs().max().item() < 0.03
    assert torch.equal(sample, flow.sample(20_000, seed=3))
    assert not torch.equal(sample, flow.sample(20_000, seed=4))


@pytest.mark.parametrize(
    "copy_of", [copy.deepcopy, lambda f: pickle.loads(pickle.dumps(f))], ids=["deepcopy", "pickle"]
)
@pytest.mark.parametrize("soft", [False, True])
def test_copies_are_equal_and_independent(copy_of, soft):
    flow, x = _flow(soft=soft), _x(4, 5)
    before = flow.nll(x).detach()
    copied = copy_of(flow)
    assert torch.equal(copied.nll(x), before)
    assert copied.arguments == flow.arguments
    with torch.no_grad():
        next(copied.parameters()).add_(1)
    assert torch.equal(flow.nll(x), before)


def test_the_seed_decides_weights_and_permutations():
    x = _x(4, 5)
    assert torch.equal(RealNVP(5, seed=1).double().nll(x), RealNVP(5, seed=1).double().nll(x))
    assert not torch.equal(RealNVP(5, seed=1).double().nll(x), RealNVP(5, seed=2).double().nll(x))


@pytest.mark.parametrize("shape", [(4, 1), (4, 6), (5,)])
def test_rows_of_another_width_are_refused(shape):
    flow = _flow().requires_grad_(False)
    for direction in (flow.latent, flow.inverse):
        with pytest.raises(ValueError, match=r"this flow takes \(n, 5\)"):
            direction(torch.zeros(shape, dtype=torch.float64))


def test_one_feature_is_refused():
    with pytest.raises(ValueError, match="n_features=1"):
        RealNVP(1)


def test_the_default_is_the_papers_architecture():
    flow = RealNVP(128)
    assert len(flow.blocks) == 8
    assert flow.blocks[0].clamp == 3.0
    assert [tuple(layer.weight.shape) for layer in flow.blocks[0].subnet[::2]] == [(512, 64), (128, 512)]


def test_scores_do_not_depend_on_neighbours():
    flow, x = RealNVP(128, 4).double(), _x(300, 128)
    with torch.no_grad():
        whole = flow.log_prob(x)
        single = torch.cat([flow.log_prob(row[None]) for row in x])
    np.testing.assert_allclose(whole, single, rtol=1e-12)


def _mixture(n_components=5, seed=0):
    flow = LogisticMixtureFlow(n_components).double()
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for parameter in flow.parameters():
            parameter.add_(torch.randn(parameter.shape, generator=generator, dtype=torch.float64), alpha=0.5)
    return flow


mixtures = st.tuples(st.integers(1, 9), st.integers(0, 99))


@settings(max_examples=30, deadline=None)
@given(mixtures)
def test_the_density_of_one_feature_is_the_change_of_variables(arguments):
    flow, x = _mixture(*arguments), (4 * _x(20, 1)).requires_grad_()
    z, log_det = flow.latent(x)
    (slope,) = torch.autograd.grad(z.sum(), x)
    assert (slope > 0).all()
    torch.testing.assert_close(slope.log().squeeze(1), log_det)
    of_z = torch.distributions.Normal(0.0, 1.0).log_prob(z.squeeze(1))
    torch.testing.assert_close(flow.log_prob(x), of_z + slope.log().squeeze(1))
    torch.testing.assert_close(flow.nll(x), negative_log_likelihood(z, log_det))


def test_the_density_of_one_feature_integrates_to_one():
    flow = _mixture()
    axis = torch.linspace(-80, 80, 20_001, dtype=torch.float64)
    with torch.no_grad():
        mass = torch.trapezoid(flow.log_prob(axis[:, None]).exp(), axis)
    assert mass.item() == pytest.approx(1, abs=1e-6)


@settings(max_examples=30, deadline=None)
@given(mixtures)
def test_latent_of_inverse_is_the_identity_far_out_on_both_sides(arguments):
    flow = _mixture(*arguments)
    z = torch.linspace(-30, 30, 61, dtype=torch.float64)[:, None]
    torch.testing.assert_close(flow.latent(flow.inverse(z))[0], z, rtol=0, atol=1e-9)


def test_samples_of_one_feature_follow_the_density():
    flow = _mixture()
    sample = flow.sample(20_000, seed=3)
    z, _ = flow.latent(sample)
    assert sample.shape == (20_000, 1)
    assert abs(z.mean().item()) < 0.03
    assert abs(z.std().item() - 1) < 0.03
    assert torch.equal(sample, flow.sample(20_000, seed=3))
    assert not torch.equal(sample, flow.sample(20_000, seed=4))


def test_far_rows_of_one_feature_have_a_finite_likelihood_with_a_gradient():
    flow, x = LogisticMixtureFlow(), torch.tensor([[-1e4], [1e4]], requires_grad=True)
    flow.nll(x).sum().backward()
    assert torch.isfinite(flow.nll(x)).all()
    assert x.grad[0].item() < -0.1
    assert x.grad[1].item() > 0.1
    assert torch.isfinite(flow.latent(x)[0]).all()


def test_a_contrastive_flow_of_one_feature_comes_near_the_optimum():
    p, q, clamp, grid = norm(0, 1), norm(1, 2), 3.0, np.linspace(-9, 9, 1801)
    cell = grid[1] - grid[0]
    levels = (np.arange(10_000) + 0.5) / 10_000  # quantiles: samples without the noise of a draw
    X, X_aux = (torch.from_numpy(density.ppf(levels)[:, None]).float() for density in (p, q))
    flow, last = LogisticMixtureFlow(), {}

    def keep_last(flow, record):
        last.update({name: value.clone() for name, value in flow.state_dict().items()})

    trainer = FlowTrainer(max_epochs=30, batch_size=1000, learning_rate=0.03, patience=99)
    trainer.train(flow, FlowData(X, X, X_aux), Stage(partial(contrastive_loss, clamp=clamp)), keep_last)
    flow.load_state_dict(last)
    with torch.no_grad():
        learnt = flow.double().log_prob(torch.from_numpy(grid)[:, None]).exp().numpy()
    best = optimal_density(p.pdf(grid), q.pdf(grid), cell, clamp=clamp)
    to_best, to_p = (0.5 * np.abs(learnt - density).sum() * cell for density in (best, p.pdf(grid)))
    assert to_best < 0.05  # total variation; measured: 0.031, and 0.189 to p
    assert to_p > 4 * to_best


@pytest.mark.parametrize(
    ("arguments", "message"), [({"n_components": 0}, "n_components=0 must"), ({"spread": 0.0}, "spread=0.0 must")]
)
def test_bad_arguments_of_the_mixture_are_named(arguments, message):
    with pytest.raises(ValueError, match=message):
        LogisticMixtureFlow(**arguments)


def test_several_features_are_refused_by_the_mixture():
    with pytest.raises(ValueError, match=r"x has shape \(4, 2\); .* \(n, 1\)"):
        LogisticMixtureFlow(2).nll(torch.zeros(4, 2))
