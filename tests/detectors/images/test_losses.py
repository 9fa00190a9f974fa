"""The mathematics of Rot+Trans and CSI, against slow references and closed forms."""

import itertools
import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from skcnf.detectors.images._losses import (
    TRANSFORM_CHOICES,
    contrast_and_shift_weights,
    csi_score,
    nt_xent,
    transform_log_likelihood,
)
from skcnf.detectors.images._transforms import N_ROTATIONS, rotate, translate


def _draw(seed, *shape):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def _units(seed, n, d):
    return torch.nn.functional.normalize(_draw(seed, n, d), dim=1)


# Transformations


def _slow_place(place, size):
    """Walk from ``place`` into the image, turning at its outermost pixels."""
    while not 0 <= place < size:
        place = -place if place < 0 else 2 * (size - 1) - place
    return place


@settings(deadline=None, max_examples=30)
@given(st.integers(2, 6), st.data())
def test_translations_move_pixels_and_reflect_at_the_border(size, data):
    steps = st.lists(st.integers(1 - size, size - 1), min_size=3, max_size=3)
    down, right = data.draw(steps), data.draw(steps)
    mirrored = data.draw(st.lists(st.booleans(), min_size=3, max_size=3))
    images = torch.arange(3 * size * size * 2).view(3, size, size, 2)
    moved = translate(images, torch.tensor(down), torch.tensor(right), torch.tensor(mirrored))
    assert moved.shape == (3, 2, size, size)
    for i, row, column in itertools.product(range(3), range(size), range(size)):
        from_row, from_column = _slow_place(row - down[i], size), _slow_place(column - right[i], size)
        from_column = size - 1 - from_column if mirrored[i] else from_column
        assert moved[i, :, row, column].tolist() == images[i, from_row, from_column].tolist()


def test_no_translation_is_the_image_and_four_rotations_make_a_circle():
    images = torch.arange(2 * 5 * 5 * 3).view(2, 5, 5, 3)
    still = torch.zeros(2, dtype=torch.long)
    assert torch.equal(translate(images, still, still), images.permute(0, 3, 1, 2))
    x = images.permute(0, 3, 1, 2)
    assert torch.equal(rotate(rotate(x, 1), N_ROTATIONS - 1), x)
    assert torch.equal(rotate(x, 1)[:, :, 0], x[:, :, :, -1])  # anticlockwise: the right border comes to the top


# Rot+Trans


@settings(deadline=None, max_examples=20)
@given(st.integers(0, 1000), st.integers(1, 6))
def test_the_log_likelihood_is_the_sum_over_the_heads(seed, n):
    logits = _draw(seed, n, sum(TRANSFORM_CHOICES))
    labels = torch.stack([torch.randint(k, (n,), generator=torch.Generator().manual_seed(seed)) for k in (3, 3, 4)], 1)
    fast = transform_log_likelihood(logits, labels)
    for i in range(n):
        down, right, turn = labels[i].tolist()
        parts = [logits[i, :3].tolist(), logits[i, 3:6].tolist(), logits[i, 6:].tolist()]
        slow = sum(
            math.log(math.exp(part[choice]) / sum(map(math.exp, part)))
            for part, choice in zip(parts, (down, right, turn), strict=True)
        )
        assert fast[i].item() == pytest.approx(slow, abs=1e-12)


def test_a_network_that_knows_nothing_and_one_that_knows_all():
    labels = torch.tensor([[0, 2, 3], [1, 1, 0]])
    guess = transform_log_likelihood(torch.zeros(2, 10), labels)
    torch.testing.assert_close(guess, torch.full((2,), -math.log(3 * 3 * 4)))
    sure = torch.cat([1000.0 * torch.nn.functional.one_hot(labels[:, j], k) for j, k in enumerate((3, 3, 4))], 1)
    assert transform_log_likelihood(sure, labels).tolist() == [0, 0]


# CSI


def _slow_nt_xent(first, second, temperature):
    z = [*first.tolist(), *second.tolist()]
    n, total = len(first), 0.0

    def weight(a, b):
        return math.exp(sum(x * y for x, y in zip(a, b, strict=True)) / temperature)

    for i in range(2 * n):
        partner = (i + n) % (2 * n)
        others = sum(weight(z[i], z[j]) for j in range(2 * n) if j != i)
        total -= math.log(weight(z[i], z[partner]) / others)
    return total / (2 * n)


@settings(deadline=None, max_examples=30)
@given(st.integers(0, 1000), st.integers(1, 5), st.floats(0.05, 2))
def test_nt_xent_is_equation_2(seed, n, temperature):
    first, second = _units(seed, n, 4), _units(seed + 1, n, 4)
    loss = nt_xent(first, second, temperature).item()
    assert loss == pytest.approx(_slow_nt_xent(first, second, temperature), abs=1e-10)
    assert nt_xent(second, first, temperature).item() == pytest.approx(loss)


def test_nt_xent_in_closed_form():
    same = torch.ones(3, 1, dtype=torch.float64)
    assert nt_xent(same, same, 0.5).item() == pytest.approx(math.log(5))  # nothing tells the partner among five
    apart = torch.eye(4, dtype=torch.float64)
    assert nt_xent(apart, apart, 0.5).item() == pytest.approx(math.log(math.exp(2) + 6) - 2)
    assert nt_xent(same[:1], same[:1], 0.5).item() == 0  # the partner is the only other


def test_gradients_of_nt_xent_are_right():
    first, second = _draw(0, 3, 4).requires_grad_(), _draw(1, 3, 4).requires_grad_()
    assert torch.autograd.gradcheck(lambda a, b: nt_xent(a, b, 0.7), (first, second))


def test_weights_make_the_terms_1_on_average():
    z, logits = _draw(0, 4, 9, 5), _draw(1, 4, 9).abs()
    contrast, shift = contrast_and_shift_weights(z, logits)
    torch.testing.assert_close((contrast[:, None] * z.norm(dim=2)).mean(1), torch.ones(4).double())
    torch.testing.assert_close((shift[:, None] * logits).mean(1), torch.ones(4).double())
    directions = z / z.norm(dim=2, keepdim=True)  # each training image is nearest to itself
    assert csi_score(z, logits, directions, contrast, shift).mean().item() == pytest.approx(8)


def test_weights_never_turn_the_score_around_and_stay_finite():
    contrast, shift = contrast_and_shift_weights(torch.zeros(2, 3, 4), torch.tensor([[-2.0] * 3, [0.0] * 3]))
    assert torch.isfinite(torch.cat([contrast, shift])).all()
    assert shift[0] == 0.5


@settings(deadline=None, max_examples=20)
@given(st.integers(0, 1000), st.integers(1, 4), st.integers(1, 6))
def test_the_csi_score_is_equations_6_to_8(seed, n, m):
    z, logits = _draw(seed, 4, n, 3), _draw(seed + 1, 4, n)
    training = _draw(seed + 2, 4, m, 3)
    contrast, shift = _draw(seed + 3, 4).abs(), _draw(seed + 4, 4).abs()
    fast = csi_score(z, logits, training / training.norm(dim=2, keepdim=True), contrast, shift)
    for i in range(n):
        slow = 0.0
        for k in range(4):
            cosines = [torch.cosine_similarity(z[k, i], training[k, j], dim=0).item() for j in range(m)]
            slow += contrast[k].item() * max(cosines) * z[k, i].norm().item()
            slow += shift[k].item() * logits[k, i].item()
        assert fast[i].item() == pytest.approx(slow, abs=1e-9)
