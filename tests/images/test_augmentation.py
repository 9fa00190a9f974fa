import colorsys
import math
from dataclasses import replace

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torchvision.transforms.v2 import functional as tvf

from skcnf._core.generators import seeded
from skcnf.images import Augmentation, Draws

STILL = Augmentation(crop_scale=(1, 1), crop_ratio=(1, 1), jitter_probability=0, grey_probability=0, flip_probability=0)


def _images(n=5, size=16, seed=0):
    return torch.rand(n, 3, size, size, generator=torch.Generator().manual_seed(seed))


def _draws(n, colour=(1, 1, 1, 0), grey=False, sigma=0.0, order=(0, 1, 2, 3)):
    return Draws(
        torch.eye(2, 3).repeat(n, 1, 1),
        torch.tensor([colour], dtype=torch.float32).repeat(n, 1),
        torch.full((n,), grey),
        torch.full((n,), sigma),
        order,
    )


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
    images = _images(5)
    torch.testing.assert_close(STILL(images, torch.Generator()), images, atol=1e-4, rtol=0)


def test_crops_come_in_another_size_on_demand():
    images = _images(size=16)
    smaller = STILL.apply(images, _draws(5), size=8)
    # half the size samples where four pixels meet
    torch.testing.assert_close(smaller, torch.nn.functional.avg_pool2d(images, 2))


def test_grey_and_flip_do_what_they_say():
    images = _images(5)
    grey = replace(STILL, grey_probability=1.0)(images, torch.Generator())
    torch.testing.assert_close(grey[:, 0], grey[:, 1], atol=1e-5, rtol=0)
    luma = (images * torch.tensor([0.299, 0.587, 0.114]).view(3, 1, 1)).sum(1)
    torch.testing.assert_close(grey[:, 2], luma, atol=1e-4, rtol=0)
    flipped = replace(STILL, flip_probability=1.0)(images, torch.Generator())
    torch.testing.assert_close(flipped, images.flip(-1), atol=1e-4, rtol=0)


def test_images_of_a_batch_draw_their_own_augmentation():
    images = _images(1).repeat(8, 1, 1, 1)
    out = Augmentation()(images, torch.Generator().manual_seed(0))
    assert len(torch.unique(out.flatten(1), dim=0)) == 8


@pytest.mark.parametrize(
    ("index", "amount", "reference"),
    [
        (0, 1.3, tvf.adjust_brightness),
        (1, 0.7, tvf.adjust_contrast),
        (1, 1.4, tvf.adjust_contrast),
        (2, 0.6, tvf.adjust_saturation),
        (2, 1.4, tvf.adjust_saturation),
        (3, 0.1, tvf.adjust_hue),
        (3, -0.4, tvf.adjust_hue),
    ],
)
def test_colour_operations_are_torchvisions(index, amount, reference):
    images = _images()
    colour = [1, 1, 1, 0]
    colour[index] = amount
    out = replace(STILL, jitter_probability=1.0).apply(images, _draws(5, colour))
    torch.testing.assert_close(out, reference(images, amount), atol=2e-3, rtol=0)


@given(st.floats(-0.5, 0.5), st.tuples(*3 * [st.floats(0, 1)]))
def test_the_hue_turns_as_colorsys_has_it(turn, rgb):
    images = torch.tensor(rgb).view(1, 3, 1, 1).expand(1, 3, 4, 4)
    hue, saturation, value = colorsys.rgb_to_hsv(*rgb)
    expected = colorsys.hsv_to_rgb((hue + turn) % 1, saturation, value)
    out = STILL.apply(images, _draws(1, (1, 1, 1, turn)))[0, :, 1, 1]
    torch.testing.assert_close(out, torch.tensor(expected), atol=1e-4, rtol=0)


def test_the_order_of_the_colour_operations_counts_and_is_drawn():
    images = _images()
    first, second = (
        STILL.apply(images, _draws(5, (1.4, 1.4, 1.4, 0.2), order=o)) for o in ((0, 1, 2, 3), (1, 0, 3, 2))
    )
    assert (first - second).abs().max() > 0.05
    generator = torch.Generator().manual_seed(0)
    assert len({Augmentation().draw(2, generator).order for _ in range(20)}) > 5


def test_blur_is_torchvisions_and_spares_images_without_it():
    images = _images(2, size=32)
    draws = _draws(2, sigma=1.5)
    draws.sigma[1] = 0
    out = Augmentation.moco_v2().apply(images, draws)
    torch.testing.assert_close(out[0], tvf.gaussian_blur(images[0], [13, 13], [1.5, 1.5]), atol=1e-3, rtol=0)
    torch.testing.assert_close(out[1], images[1], atol=1e-4, rtol=0)


def test_crops_have_the_area_and_ratio_asked_for():
    draws = Augmentation().draw(20_000, torch.Generator().manual_seed(0))
    width, height = draws.affine[:, 0, 0].abs(), draws.affine[:, 1, 1]
    area, ratio = width * height, width / height
    assert 0.2 - 1e-6 <= area.min() < 0.21
    assert 0.98 < area.max() <= 1
    assert ratio.min() >= 3 / 4 - 1e-5
    assert ratio.max() <= 4 / 3 + 1e-5
    assert ratio.log().mean().abs() < 0.01
    assert (width <= 1 + 1e-6).all()
    assert (height <= 1 + 1e-6).all()
    assert (draws.affine[:, :, 2].abs() <= 1 - torch.stack([width, height], 1) + 1e-6).all()
    assert (draws.affine[:, 0, 0] < 0).float().mean().item() == pytest.approx(0.5, abs=0.02)
    # a crop fits where area <= exp(-|log ratio|): the mean area of those that do, in closed form
    edge, longest = 3 / 4, math.log(4 / 3)
    mean = ((1 - edge**2) / 2 - 0.04 * longest) / 2 / ((1 - edge) - 0.2 * longest)
    assert area.mean().item() == pytest.approx(mean, abs=0.005)


def test_a_batch_shared_out_is_augmented_as_one():
    images, augmentation = _images(6), Augmentation.moco_v2()
    draws = augmentation.draw(6, torch.Generator().manual_seed(0))
    whole = augmentation.apply(images, draws)
    rows = torch.tensor([4, 1])
    torch.testing.assert_close(augmentation.apply(images[rows], draws.rows(rows)), whole[rows])


def test_the_published_transforms():
    v1, v2 = Augmentation.moco_v1(), Augmentation.moco_v2()
    n = 5000
    one, two = (kind.draw(n, torch.Generator().manual_seed(0)) for kind in (v1, v2))
    assert v1.grey_first
    assert (one.sigma == 0).all()
    assert one.colour[:, 3].abs().max().item() == pytest.approx(0.4, abs=0.01)
    assert (one.colour[:, 0] != 1).float().mean() > 0.99
    assert not v2.grey_first
    assert (two.sigma > 0).float().mean().item() == pytest.approx(0.5, abs=0.03)
    assert two.sigma.max().item() == pytest.approx(2, abs=0.05)
    assert two.colour[:, 3].abs().max().item() == pytest.approx(0.1, abs=0.01)
    assert (two.colour[:, 0] != 1).float().mean().item() == pytest.approx(0.8, abs=0.03)
    for draws in (one, two):
        assert draws.grey.float().mean().item() == pytest.approx(0.2, abs=0.03)
        assert math.isclose(draws.colour[:, 0].max(), 1.4, abs_tol=0.01)
