"""Augment batches of images at random, on the device that they are on.

What is random is drawn first, for the whole batch, from one generator on the CPU (`Augmentation.draw`) and applied
afterwards (`Draws.rows`, `Augmentation.apply`): several processes that share a batch draw alike and each works on its
own rows. Sources: He et al. (CVPR 2020), section 3.3, and Chen et al. (arXiv:2003.04297), section 3.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import partial

import torch
import torch.nn.functional as F
from torch import Tensor

__all__ = ["Augmentation", "Draws"]

_LUMA = (0.299, 0.587, 0.114)
_CROP_ATTEMPTS = 10


@dataclass(frozen=True)
class Draws:
    """Random numbers of a batch of n images: ``affine`` (n, 2, 3), ``colour`` (n, 4), ``grey`` (n,), ``sigma`` (n,).

    ``colour`` holds the factors of brightness, contrast and saturation and the turn of the hue; ``order`` the order in
    which the four are applied; ``sigma`` the blur in pixels, 0 for none.
    """

    affine: Tensor
    colour: Tensor
    grey: Tensor
    sigma: Tensor
    order: tuple[int, ...]

    def rows(self, index: Tensor) -> Draws:
        """Return the draws of some of the images."""
        return Draws(self.affine[index], self.colour[index], self.grey[index], self.sigma[index], self.order)

    def to(self, device: torch.device) -> Draws:
        """Return the same draws on a device."""
        affine, colour, grey, sigma = (part.to(device) for part in (self.affine, self.colour, self.grey, self.sigma))
        return Draws(affine, colour, grey, sigma, self.order)


@dataclass(frozen=True)
class Augmentation:
    """Random crop, flip, colour jitter, grey images and blur: MoCo's transforms, for batches.

    The defaults are MoCo v2's without its blur, which images of 32 px do not need; `moco_v1` and `moco_v2` are the
    published ones. Two things differ from the transforms of single images: crops lie at fractions of a pixel, and the
    order of the colour operations is drawn for the batch, not for each image.

    Parameters
    ----------
    crop_scale : (float, float)
        Range of the crop's area as a share of the image's.
    crop_ratio : (float, float)
        Range of the crop's aspect ratio, log-uniform. A crop that does not fit is drawn again, ten times; then the
        whole image is taken.
    brightness, contrast, saturation : float
        Factors are uniform on [1 - value, 1 + value].
    hue : float
        Rotation of HSV's hue, as a share of the circle, uniform on [-hue, hue].
    jitter_probability, grey_probability, flip_probability, blur_probability : float
        Chance of each operation for one image.
    blur_sigma : (float, float)
        Range of the standard deviation of the Gaussian blur, in pixels.
    grey_first : bool
        Whether images are turned grey before the colour jitter (v1) or after it (v2).
    """

    crop_scale: tuple[float, float] = (0.2, 1.0)
    crop_ratio: tuple[float, float] = (3 / 4, 4 / 3)
    brightness: float = 0.4
    contrast: float = 0.4
    saturation: float = 0.4
    hue: float = 0.1
    jitter_probability: float = 0.8
    grey_probability: float = 0.2
    flip_probability: float = 0.5
    blur_probability: float = 0.0
    blur_sigma: tuple[float, float] = (0.1, 2.0)
    grey_first: bool = False

    @classmethod
    def moco_v1(cls) -> Augmentation:
        """Return the augmentation of He et al.: every image jittered, hue by up to 0.4, no blur."""
        return cls(hue=0.4, jitter_probability=1.0, grey_first=True)

    @classmethod
    def moco_v2(cls) -> Augmentation:
        """Return the augmentation of Chen et al.: jitter for four images in five, hue by up to 0.1, blur for half."""
        return cls(blur_probability=0.5)

    def __call__(self, images: Tensor, generator: torch.Generator) -> Tensor:
        """Augment ``images`` (n, 3, h, w), float in [0, 1]; returns the same shape and range."""
        return self.apply(images, self.draw(len(images), generator))

    def draw(self, n: int, generator: torch.Generator) -> Draws:
        """Draw for a batch of ``n`` images."""
        jittered = _coin(n, self.jitter_probability, generator)
        factors = [
            torch.where(jittered, _uniform(n, 1 - strength, 1 + strength, generator), 1.0)
            for strength in (self.brightness, self.contrast, self.saturation)
        ]
        turn = torch.where(jittered, _uniform(n, -self.hue, self.hue, generator), 0.0)
        sigma = _uniform(n, *self.blur_sigma, generator)
        return Draws(
            affine=self._draw_crops(n, generator),
            colour=torch.stack([*factors, turn], 1),
            grey=_coin(n, self.grey_probability, generator),
            sigma=torch.where(_coin(n, self.blur_probability, generator), sigma, 0.0),
            order=tuple(torch.randperm(4, generator=generator).tolist()),
        )

    def _draw_crops(self, n: int, generator: torch.Generator) -> Tensor:
        shape = (n, _CROP_ATTEMPTS)
        area = _uniform(shape, *self.crop_scale, generator)
        narrowest, widest = self.crop_ratio
        ratio = _uniform(shape, math.log(narrowest), math.log(widest), generator).exp()
        sides = torch.stack([(area * ratio).sqrt(), (area / ratio).sqrt()], -1)  # n x attempts x (width, height)
        fits = (sides <= 1 + 1e-6).all(-1)
        first = sides[torch.arange(n), fits.int().argmax(1)]
        width, height = torch.where(fits.any(1, keepdim=True), first, 1.0).unbind(1)
        affine = torch.zeros(n, 2, 3)
        affine[:, 0, 0] = width * torch.where(_coin(n, self.flip_probability, generator), -1.0, 1.0)
        affine[:, 1, 1] = height
        affine[:, 0, 2] = (1 - width) * _uniform(n, -1, 1, generator)
        affine[:, 1, 2] = (1 - height) * _uniform(n, -1, 1, generator)
        return affine

    def apply(self, images: Tensor, draws: Draws, size: int | None = None) -> Tensor:
        """Augment ``images`` (n, 3, h, w), float in [0, 1], as ``draws`` says; the range stays.

        Crops get the images' own shape, or become squares of ``size`` pixels.
        """
        draws = draws.to(images.device)
        shape = images.shape if size is None else (*images.shape[:2], size, size)
        grid = F.affine_grid(draws.affine, list(shape), align_corners=False)
        images = F.grid_sample(images, grid, padding_mode="reflection", align_corners=False)
        steps = [partial(_OPERATIONS[index], amount=_column(draws.colour[:, index])) for index in draws.order]
        steps.insert(0 if self.grey_first else len(steps), partial(_saturate, amount=_column(1 - draws.grey.float())))
        for step in steps:
            images = step(images)
        return _blur(images, draws.sigma, self.blur_sigma[1]) if self.blur_probability > 0 else images


def _brighten(images: Tensor, amount: Tensor) -> Tensor:
    return (images * amount).clamp_(0, 1)


def _contrast(images: Tensor, amount: Tensor) -> Tensor:
    return torch.lerp(_grey(images).mean((2, 3), keepdim=True), images, amount).clamp_(0, 1)


def _saturate(images: Tensor, amount: Tensor) -> Tensor:
    return torch.lerp(_grey(images), images, amount).clamp_(0, 1)


def _turn_hue(images: Tensor, amount: Tensor) -> Tensor:
    """Turn HSV's hue by ``amount`` of the circle."""
    red, green, blue = images.unbind(1)
    value = images.amax(1)
    chroma = value - images.amin(1)
    safe = chroma.clamp_min(1e-8)
    hue = torch.where(
        value == red,
        (green - blue) / safe,
        torch.where(value == green, 2 + (blue - red) / safe, 4 + (red - green) / safe),
    )
    hue = hue + 6 * amount[:, 0]

    def channel(offset: int) -> Tensor:
        position = (hue + offset) % 6
        return value - chroma * torch.minimum(position, 4 - position).clamp_(0, 1)

    return torch.stack([channel(5), channel(3), channel(1)], 1)


_OPERATIONS = (_brighten, _contrast, _saturate, _turn_hue)


def _blur(images: Tensor, sigma: Tensor, max_sigma: float) -> Tensor:
    """Blur with a Gaussian that ends at three standard deviations; a sigma of 0 leaves an image alone."""
    n, _, height, width = images.shape
    radius = min(math.ceil(3 * max_sigma), height - 1, width - 1)
    offsets = torch.arange(-radius, radius + 1, device=images.device)
    kernel = torch.exp(-0.5 * (offsets / sigma[:, None].clamp_min(1e-3)).square())
    kernel = (kernel / kernel.sum(1, keepdim=True)).repeat_interleave(3, 0)  # one row per image and channel
    channels = F.pad(images, (radius,) * 4, mode="reflect").flatten(0, 1)[None]
    channels = F.conv2d(channels, kernel[:, None, None, :], groups=3 * n)
    return F.conv2d(channels, kernel[:, None, :, None], groups=3 * n).view(n, 3, height, width)


def _grey(images: Tensor) -> Tensor:
    return (images * torch.tensor(_LUMA, device=images.device).view(3, 1, 1)).sum(1, keepdim=True)


def _uniform(shape: int | tuple[int, ...], low: float, high: float, generator: torch.Generator) -> Tensor:
    return torch.rand(shape, generator=generator) * (high - low) + low


def _coin(n: int, probability: float, generator: torch.Generator) -> Tensor:
    return torch.rand(n, generator=generator) < probability


def _column(values: Tensor) -> Tensor:
    return values.view(-1, 1, 1, 1)
