"""Deterministic transforms of batches of images."""

from __future__ import annotations

import torch
from torch import Tensor
from torchvision.transforms.v2 import functional as tvf

__all__ = ["resize_and_crop", "standardize_images"]


def resize_and_crop(image: torch.Tensor, size: int) -> torch.Tensor:
    """The short side of ``image`` (..., 3, h, w), uint8, resized to ``size`` with antialiasing, then centre-cropped."""
    height, width = image.shape[-2:]
    if min(height, width) != size:
        scale = size / min(height, width)
        shape = [max(size, round(height * scale)), max(size, round(width * scale))]
        image = tvf.resize(image, shape, antialias=True)
    return tvf.center_crop(image, [size, size])


def standardize_images(images: Tensor, mean: tuple[float, ...], std: tuple[float, ...]) -> Tensor:
    """``(images - mean) / std`` per channel for images (n, 3, h, w) in [0, 1]."""
    shift = torch.tensor(mean, device=images.device).view(3, 1, 1)
    scale = torch.tensor(std, device=images.device).view(3, 1, 1)
    return (images - shift) / scale
