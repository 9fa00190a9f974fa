"""Transform batches of images without chance."""

from __future__ import annotations

import warnings

import numpy as np
import torch
from torch import Tensor
from torchvision.transforms.v2 import functional as tvf

__all__ = ["as_tensor", "resize_and_crop", "resize_image", "standardize_images"]


def as_tensor(array: np.ndarray) -> Tensor:
    """Return a tensor that shares the array's memory. The array may be read-only, as nothing here writes to images."""
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "The given NumPy array is not writable", UserWarning)
        return torch.from_numpy(np.ascontiguousarray(array))


def resize_and_crop(image: Tensor, size: int) -> Tensor:
    """Resize the central square of ``image`` (..., 3, h, w), uint8, to side ``size`` with antialiasing.

    The crop comes first: what is resized is never larger than the image, however long and narrow that is.
    """
    height, width = image.shape[-2:]
    side = min(height, width)
    top, left = (height - side) // 2, (width - side) // 2
    square = image[..., top : top + side, left : left + side]
    return square if side == size else tvf.resize(square, [size, size], antialias=True)


def resize_image(image: Tensor, shape: tuple[int, int]) -> Tensor:
    """Resize ``image`` (..., 3, h, w), uint8, to ``shape`` = (height, width) with antialiasing. Nothing is cropped."""
    return image if tuple(image.shape[-2:]) == shape else tvf.resize(image, list(shape), antialias=True)


def standardize_images(images: Tensor, mean: tuple[float, ...], std: tuple[float, ...]) -> Tensor:
    """Return ``(images - mean) / std`` per channel for images (n, 3, h, w) in [0, 1]."""
    shift = torch.tensor(mean, device=images.device).view(3, 1, 1)
    scale = torch.tensor(std, device=images.device).view(3, 1, 1)
    return (images - shift) / scale
