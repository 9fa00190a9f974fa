import copy
import pickle

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from skcnf.flows import RealNVP


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
