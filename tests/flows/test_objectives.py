import math

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import norm

from skcnf.flows import (
    contrastive_loss,
    likelihood_loss,
    negative_log_likelihood,
    optimal_density,
    outlier_exposure_loss,
)
from skcnf.flows._objectives import LOG_2PI

GRID = np.linspace(-30, 30, 60_001)
CELL = GRID[1] - GRID[0]


def _nlls(n, m, seed=0):
    generator = torch.Generator().manual_seed(seed)
    return [torch.randn(k, generator=generator, dtype=torch.float64).mul(2).requires_grad_() for k in (n, m)]


def test_nll_is_the_normal_density_without_its_constant():
    z = torch.tensor([[1.0, 2.0], [0.0, 0.0]], dtype=torch.float64)
    log_det = torch.tensor([0.5, -1.0], dtype=torch.float64)
    expected = -norm.logpdf(z.numpy()).sum(1) - LOG_2PI - log_det.numpy()
    np.testing.assert_allclose(negative_log_likelihood(z, log_det), expected)


@given(st.integers(1, 9), st.integers(1, 9), st.floats(-3, 3), st.floats(0, 3))
def test_contrastive_gradient_is_the_closed_form(n, m, clamp, weight):
    nll, nll_aux = _nlls(n, m)
    contrastive_loss(nll, nll_aux, clamp, weight).backward()
    np.testing.assert_allclose(nll.grad, np.full(n, 1 / n))
    active = (nll_aux.detach() < clamp).double()
    np.testing.assert_allclose(nll_aux.grad, -weight / m * active)


def test_a_clamped_row_has_zero_gradient():
    nll, nll_aux = _nlls(4, 4)
    contrastive_loss(nll, nll_aux + 100, clamp=0.0).backward()
    assert torch.count_nonzero(nll_aux.grad) == 0


@pytest.mark.parametrize(
    "loss",
    [
        lambda a, b: likelihood_loss(a),
        lambda a, b: contrastive_loss(a, b, 0.1, 0.7),
        lambda a, b: outlier_exposure_loss(torch.tensor([0.1, -0.4], dtype=torch.float64), a, 0.3),
    ],
    ids=["likelihood", "contrastive", "outlier exposure in the auxiliary rows"],
)
def test_gradients_agree_with_finite_differences(loss):
    assert torch.autograd.gradcheck(loss, tuple(_nlls(5, 7)))


@given(st.integers(1, 6), st.integers(1, 6), st.floats(0, 4), st.floats(0, 2))
def test_outlier_exposure_is_the_mean_over_pairs(n, m, margin, weight):
    nll, nll_aux = _nlls(n, m)
    hinges = [max(0.0, margin + a.item() - b.item()) for a in nll for b in nll_aux]
    expected = nll.mean().item() + weight * sum(hinges) / len(hinges)
    loss = outlier_exposure_loss(nll, nll_aux, margin, weight)
    assert loss.item() == pytest.approx(expected)
    loss.backward()
    np.testing.assert_allclose(nll.grad, np.full(n, 1 / n))  # no gradient through the hinge


@pytest.mark.parametrize(
    ("scale", "tv", "support"), [(2.0, 0.3901, (-1.848, 1.181)), (math.sqrt(2), 0.3456, (-2.840, 0.840))]
)
def test_figure_3_has_its_known_total_variation_and_support(scale, tv, support):
    p, q = norm.pdf(GRID), norm.pdf(GRID, 1, scale)
    density = optimal_density(p, q, CELL, clamp=math.inf)
    assert density.sum() * CELL == pytest.approx(1)
    inside = GRID[density > 0]
    assert (inside[0], inside[-1]) == pytest.approx(support, abs=2e-3)
    middle = len(GRID) // 2
    assert (p - q)[middle] / density[middle] == pytest.approx(tv, abs=1e-4)


@given(st.floats(-3, 6), st.floats(0, 2))
def test_optimal_density_is_a_density_between_its_limits(clamp, weight):
    p, q = norm.pdf(GRID), norm.pdf(GRID, 1, 2)
    density = optimal_density(p, q, CELL, clamp=clamp, aux_weight=weight)
    assert density.sum() * CELL == pytest.approx(1)
    assert (density >= 0).all()


def test_a_clamp_that_never_acts_gives_p():
    p, q = norm.pdf(GRID), norm.pdf(GRID, 1, 2)
    np.testing.assert_allclose(optimal_density(p, q, CELL, clamp=-math.inf), p, atol=1e-9)
    np.testing.assert_allclose(optimal_density(p, q, CELL, aux_weight=0.0, clamp=3.0), p, atol=1e-9)


@settings(max_examples=25, deadline=None)
@given(st.integers(0, 10_000), st.floats(-1, 4), st.floats(0.2, 1.5))
def test_no_other_density_has_a_lower_loss(seed, clamp, weight):
    """Optimality itself: mixing in any other density of the same grid never lowers the clamped objective."""
    grid = np.linspace(-8, 8, 801)
    cell = grid[1] - grid[0]
    p, q = norm.pdf(grid), norm.pdf(grid, 1, 2)

    def loss(density):
        nll = -np.log(np.maximum(density, 1e-300)) - 0.5 * LOG_2PI
        return (p * nll - weight * q * np.minimum(nll, clamp)).sum() * cell

    best = optimal_density(p, q, cell, clamp=clamp, aux_weight=weight)
    rng = np.random.default_rng(seed)
    other = norm.pdf(grid, rng.uniform(-3, 3), rng.uniform(0.2, 3))
    other /= other.sum() * cell
    for share in (1e-4, 1e-2, 0.3, 1.0):
        assert loss((1 - share) * best + share * other) >= loss(best) - 1e-9


def test_optimal_density_names_what_it_cannot_do():
    p = norm.pdf(GRID)
    with pytest.raises(ValueError, match="no density is optimal"):
        optimal_density(p, p, CELL, clamp=math.inf)
    with pytest.raises(ValueError, match="one grid"):
        optimal_density(p, p[:-1], CELL)
