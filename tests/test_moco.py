import math
from collections import deque

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

from skcnf._runtime import seeded
from skcnf.augment import Augmentation
from skcnf.encoders import EncoderSpec
from skcnf.moco import MoCo, PretrainConfig, info_nce, pretrain

SPEC = EncoderSpec("resnet10", width=8, stem="strided", out_features=8, image_size=16)
STILL = Augmentation(crop_scale=(1, 1), crop_ratio=(1, 1), jitter_probability=0, grey_probability=0, flip_probability=0)


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


def test_shuffled_splits_give_every_image_its_own_key_and_statistics_of_its_split():
    sizes = []

    class Spy(nn.Linear):
        def forward(self, x):
            sizes.append(len(x))
            return super().forward(x)

    with seeded(0):
        model = MoCo(Spy(4, 3), 3, queue_size=4)
        images = torch.randn(10, 4)
    keys = model.encode_keys(images, 4, torch.Generator().manual_seed(0))
    assert sizes == [3, 3, 3, 1]
    torch.testing.assert_close(keys, F.normalize(model.encoder_k(images), dim=1))


def test_splitting_the_batch_leaves_the_gradient_as_it_is():
    gradients = []
    for n_splits in (1, 3):
        with seeded(0):
            model = MoCo(nn.Linear(4, 3), 3, queue_size=6)
            queries, keys = torch.randn(8, 4), F.normalize(torch.randn(8, 3), dim=1)
        loss, alignment = model.backward_step(queries, keys, n_splits)
        gradients.append(model.encoder_q.weight.grad)
    torch.testing.assert_close(gradients[0], gradients[1])
    encoded = F.normalize(model.encoder_q(queries), dim=1)
    assert loss.item() == pytest.approx(info_nce(encoded, keys, model.queue, model.temperature).item(), rel=1e-5)
    assert alignment.item() == pytest.approx((encoded - keys).square().sum(1).mean().item(), rel=1e-5)


def _images(n=96):
    """Four kinds of image that only colour tells apart."""
    rng = np.random.default_rng(0)
    colours = rng.integers(0, 256, (4, 3, 1, 1))
    noise = rng.integers(-20, 20, (n, 3, 16, 16))
    return torch.from_numpy((colours[np.arange(n) % 4] + noise).clip(0, 255).astype(np.uint8))


CONFIG = PretrainConfig(epochs=4, batch_size=32, learning_rate=0.05, queue_size=64, n_splits=2, warmup_steps=2)


def test_pretraining_lowers_the_loss():
    encoder, history = pretrain(_images(256), SPEC, CONFIG, device="cpu")
    assert history[-1]["loss"] < history[0]["loss"] - 0.1
    assert not encoder.training
    assert encoder.spec == SPEC


def test_a_cut_run_resumes_to_the_same_losses(tmp_path):
    images, file = _images(), tmp_path / "checkpoint.pt"

    class Killed(Exception):
        pass

    def kill(record):
        if record["epoch"] == 1:
            raise Killed

    whole, history = pretrain(images, SPEC, CONFIG, device="cpu")
    with pytest.raises(Killed):
        pretrain(images, SPEC, CONFIG, device="cpu", checkpoint=file, on_epoch=kill)
    resumed, again = pretrain(images, SPEC, CONFIG, device="cpu", checkpoint=file)
    assert [record["loss"] for record in again] == [record["loss"] for record in history]
    assert all(torch.equal(a, b) for a, b in zip(whole.parameters(), resumed.parameters(), strict=True))
    with pytest.raises(ValueError, match="another spec or config"):
        pretrain(images, SPEC, PretrainConfig(epochs=9, batch_size=32), device="cpu", checkpoint=file)


@pytest.mark.parametrize("content", [b"junk", b""])
def test_a_file_that_is_no_checkpoint_is_named(tmp_path, content):
    file = tmp_path / "checkpoint.pt"
    file.write_bytes(content)
    with pytest.raises(ValueError, match=r"checkpoint.pt' is no checkpoint of a pretraining run"):
        pretrain(_images(), SPEC, CONFIG, device="cpu", checkpoint=file)
    torch.save({"other": 1}, file)
    with pytest.raises(ValueError, match="is no checkpoint of a pretraining run"):
        pretrain(_images(), SPEC, CONFIG, device="cpu", checkpoint=file)


def test_bad_images_and_divergence_are_named():
    with pytest.raises(ValueError, match=r"uint8 \(n, 3, h, w\); got torch.float32"):
        pretrain(torch.zeros(4, 3, 8, 8), SPEC, CONFIG, device="cpu")
    with pytest.raises(ValueError, match="fewer than one batch of 32"):
        pretrain(_images(8), SPEC, CONFIG, device="cpu")
    with pytest.raises(FloatingPointError, match=r"learning_rate=1e\+30"):
        pretrain(_images(), SPEC, PretrainConfig(batch_size=32, learning_rate=1e30, warmup_steps=0), device="cpu")


@settings(max_examples=20, deadline=None)
@given(st.integers(1, 5), st.integers(4, 20), st.integers(0, 99))
def test_augmented_images_keep_shape_and_range_and_follow_the_seed(n, size, seed):
    with seeded(seed):
        images = torch.rand(n, 3, size, size)
    first, again = (Augmentation()(images, torch.Generator().manual_seed(seed)) for _ in range(2))
    assert first.shape == images.shape
    assert first.min() >= 0
    assert first.max() <= 1
    assert torch.equal(first, again)


def test_augmentations_that_are_off_leave_images_alone():
    images = _images(5).float() / 255
    torch.testing.assert_close(STILL(images, torch.Generator()), images, atol=1e-4, rtol=0)


def test_grey_and_flip_do_what_they_say():
    from dataclasses import replace

    images = _images(5).float() / 255
    grey = replace(STILL, grey_probability=1.0)(images, torch.Generator())
    torch.testing.assert_close(grey[:, 0], grey[:, 1], atol=1e-5, rtol=0)
    luma = (images * torch.tensor([0.299, 0.587, 0.114]).view(3, 1, 1)).sum(1)
    torch.testing.assert_close(grey[:, 2], luma, atol=1e-4, rtol=0)
    flipped = replace(STILL, flip_probability=1.0)(images, torch.Generator())
    torch.testing.assert_close(flipped, images.flip(-1), atol=1e-4, rtol=0)


def test_images_of_a_batch_draw_their_own_augmentation():
    images = _images(1).repeat(8, 1, 1, 1).float() / 255
    out = Augmentation()(images, torch.Generator().manual_seed(0))
    assert len(torch.unique(out.flatten(1), dim=0)) == 8
