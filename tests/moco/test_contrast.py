import math
from collections import deque

import pytest
import torch
import torch.nn.functional as F
from hypothesis import given
from hypothesis import strategies as st
from torch import nn

from skcnf._core.generators import seeded
from skcnf.moco import MoCo, info_nce, uniformity


def _unit(n, c, seed):
    return F.normalize(torch.randn(n, c, generator=torch.Generator().manual_seed(seed), dtype=torch.float64), dim=1)


@given(st.integers(1, 6), st.integers(2, 5), st.integers(1, 9), st.floats(0.05, 2))
def test_info_nce_is_the_slow_formula(n, c, k, temperature):
    queries, keys, queue = _unit(n, c, 0), _unit(n, c, 1), _unit(k, c, 2)
    total = 0.0
    for query, key in zip(queries, keys, strict=True):
        positive = math.exp((query @ key).item() / temperature)
        negatives = sum(math.exp((query @ other).item() / temperature) for other in queue)
        total -= math.log(positive / (positive + negatives))
    assert info_nce(queries, keys, queue, temperature).item() == pytest.approx(total / n)


def test_info_nce_of_orthogonal_keys_has_a_closed_form():
    keys, queue = torch.eye(16)[:3], torch.eye(16)[3:]
    assert info_nce(keys, keys, queue, 0.2).item() == pytest.approx(math.log(1 + 13 * math.exp(-1 / 0.2)))


@given(st.lists(st.integers(1, 7), max_size=8))
def test_the_queue_is_a_deque(sizes):
    with seeded(0):
        model = MoCo(nn.Linear(2, 3), 3, queue_size=5)
    reference = deque(model.queue.tolist(), maxlen=5)
    counter = 0
    for size in sizes:
        keys = torch.arange(counter, counter + 3 * size, dtype=torch.float32).view(size, 3)
        counter += 3 * size
        model.enqueue(keys)
        reference.extend(keys.tolist())
    position = model.position.item()
    assert torch.roll(model.queue, -position, 0).tolist() == list(reference)


def test_the_key_encoder_follows_by_momentum():
    with seeded(0):
        model = MoCo(nn.Linear(2, 3), 3, queue_size=4, key_momentum=0.9)
    before = model.encoder_k.weight.clone()
    with torch.no_grad():
        model.encoder_q.weight.add_(1)
    model.update_key_encoder()
    torch.testing.assert_close(model.encoder_k.weight, 0.9 * before + 0.1 * (before + 1))
    assert not model.encoder_k.weight.requires_grad


def test_keys_are_unit_and_every_split_has_statistics_of_its_own():
    with seeded(0):
        model = MoCo(nn.BatchNorm1d(3, affine=False), 3, queue_size=4)
        images = torch.randn(12, 3) + torch.arange(12).view(-1, 1)
    keys = model.train().encode_keys(images, 3)
    for part in (slice(0, 4), slice(4, 8), slice(8, 12)):
        expected = (images[part] - images[part].mean(0)) / (images[part].var(0, correction=0) + 1e-5).sqrt()
        torch.testing.assert_close(keys[part], F.normalize(expected, dim=1))
    assert not keys.requires_grad


@given(st.integers(2, 6), st.integers(2, 5))
def test_uniformity_is_the_slow_formula(n, c):
    features = _unit(n, c, 3)
    pairs = [math.exp(-2 * (features[i] - features[j]).square().sum()) for i in range(n) for j in range(i)]
    assert uniformity(features).item() == pytest.approx(math.log(sum(pairs) / len(pairs)))
    assert uniformity(features[:1].repeat(3, 1)).item() == pytest.approx(0, abs=1e-12)
