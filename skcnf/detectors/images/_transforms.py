"""Transformations that change what an image shows: translations with reflected borders, and quarter turns."""

from __future__ import annotations

import torch
from torch import Tensor

__all__ = ["N_ROTATIONS", "rotate", "translate"]

N_ROTATIONS = 4


def rotate(images: Tensor, quarters: int) -> Tensor:
    """Turn square images (n, c, s, s) anticlockwise by some quarters of a circle."""
    return torch.rot90(images, quarters, (2, 3))


def translate(images: Tensor, down: Tensor, right: Tensor, mirrored: Tensor | None = None) -> Tensor:
    """Move each image by whole pixels; what comes in at a border is the image reflected at its outermost pixels.

    Parameters
    ----------
    images : Tensor of shape (n, s, s, c)
    down, right : Tensor of int of shape (n,)
        How far each image moves; less than s.
    mirrored : Tensor of bool of shape (n,), optional
        Which images are flipped from left to right before they move.

    Returns
    -------
    Tensor of shape (n, c, s, s)
        Its channels are last in memory.
    """
    places = torch.arange(images.shape[1], device=images.device)
    rows, columns = (_reflected(places - by[:, None], len(places)) for by in (down, right))
    if mirrored is not None:
        columns = torch.where(mirrored[:, None], len(places) - 1 - columns, columns)
    which = torch.arange(len(images), device=images.device)[:, None, None]
    return images[which, rows[:, :, None], columns[:, None, :]].permute(0, 3, 1, 2)


def _reflected(places: Tensor, size: int) -> Tensor:
    """Places from -(size - 1) to 2 (size - 1), as places of an image of ``size`` pixels."""
    return size - 1 - (size - 1 - places.abs()).abs()
