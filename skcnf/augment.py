"""MoCo's augmentations on whole batches: every image of a batch draws its own, and the device does the work.

Differences from torchvision's per-image transforms, none of which changes the distribution much: the colour operations
come in one fixed order, hue is a rotation in YIQ space, and crops are bilinear without antialiasing (at 32 px crops are
enlarged, not shrunk). Sources: He et al. (CVPR 2020), section 3.3, and Chen et al. (arXiv:2003.04297), section 3.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

__all__ = ["Augmentation", "standardize_images"]

_LUMA = (0.299, 0.587, 0.114)
_RGB_TO_YIQ = ((0.299, 0.587, 0.114), (0.595716, -0.274453, -0.321263), (0.211456, -0.522591, 0.311135))


@dataclass(frozen=True)
class Augmentation:
    """Random crop, flip, colour jitter and grey images, as MoCo v2 (without its blur, which 32 px images do not need).

    Parameters
    ----------
    crop_scale : (float, float)
        Range of the crop's area as a share of the image's.
    crop_ratio : (float, float)
        Range of the crop's aspect ratio, log-uniform.
    brightness, contrast, saturation : float
        Factors are uniform on [1 - value, 1 + value].
    hue : float
        Rotation of the hue, as a share of the circle, uniform on [-hue, hue].
    jitter_probability, grey_probability, flip_probability : float
        Chance of each operation for one image.
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

    def __call__(self, images: Tensor, generator: torch.Generator) -> Tensor:
        """Augment ``images`` (n, 3, h, w), float in [0, 1]; returns the same shape and range."""
        return self._colour(self._crop(images, generator), generator)

    def _crop(self, images: Tensor, generator: torch.Generator) -> Tensor:
        n = len(images)
        area = _uniform(n, *self.crop_scale, generator)
        ratio = _uniform(n, *map(math.log, self.crop_ratio), generator).exp()
        width, height = (area * ratio).sqrt().clamp(max=1), (area / ratio).sqrt().clamp(max=1)
        theta = torch.zeros(n, 2, 3)
        theta[:, 0, 0] = width * torch.where(_coin(n, self.flip_probability, generator), -1.0, 1.0)
        theta[:, 1, 1] = height
        theta[:, 0, 2] = (1 - width) * _uniform(n, -1, 1, generator)
        theta[:, 1, 2] = (1 - height) * _uniform(n, -1, 1, generator)
        grid = F.affine_grid(theta.to(images.device), list(images.shape), align_corners=False)
        return F.grid_sample(images, grid, padding_mode="reflection", align_corners=False)

    def _colour(self, images: Tensor, generator: torch.Generator) -> Tensor:
        n = len(images)
        jitter = _coin(n, self.jitter_probability, generator)

        def factor(strength: float) -> Tensor:
            return torch.where(jitter, _uniform(n, 1 - strength, 1 + strength, generator), 1.0)

        brightness, contrast, saturation = map(factor, (self.brightness, self.contrast, self.saturation))
        angle = torch.where(jitter, _uniform(n, -self.hue, self.hue, generator), 0.0) * 2 * math.pi
        saturation = torch.where(_coin(n, self.grey_probability, generator), 0.0, saturation)
        colour = _colour_matrices(saturation, angle).to(images.device)
        images = (images * _column(brightness, images)).clamp_(0, 1)
        luma = torch.tensor(_LUMA, device=images.device).view(3, 1, 1)
        grey = (images * luma).sum(1, keepdim=True).mean((2, 3), keepdim=True)
        images = torch.lerp(grey, images, _column(contrast, images)).clamp_(0, 1)
        return (colour @ images.flatten(2)).view_as(images).clamp_(0, 1)


def _uniform(n: int, low: float, high: float, generator: torch.Generator) -> Tensor:
    return torch.rand(n, generator=generator) * (high - low) + low


def _coin(n: int, probability: float, generator: torch.Generator) -> Tensor:
    return torch.rand(n, generator=generator) < probability


def _column(values: Tensor, images: Tensor) -> Tensor:
    return values.to(images.device).view(-1, 1, 1, 1)


def _colour_matrices(saturation: Tensor, angle: Tensor) -> Tensor:
    """One 3 x 3 matrix per image: hue rotated by ``angle``, then saturation scaled; 0 gives grey."""
    to_yiq = torch.tensor(_RGB_TO_YIQ)
    rotation = torch.zeros(len(angle), 3, 3)
    rotation[:, 0, 0] = 1
    rotation[:, 1, 1] = rotation[:, 2, 2] = saturation * angle.cos()
    rotation[:, 1, 2], rotation[:, 2, 1] = -saturation * angle.sin(), saturation * angle.sin()
    return torch.linalg.inv(to_yiq) @ rotation @ to_yiq


def standardize_images(images: Tensor, mean: tuple[float, ...], std: tuple[float, ...]) -> Tensor:
    """``(images - mean) / std`` per channel for images (n, 3, h, w) in [0, 1]."""
    shift = torch.tensor(mean, device=images.device).view(3, 1, 1)
    scale = torch.tensor(std, device=images.device).view(3, 1, 1)
    return (images - shift) / scale
