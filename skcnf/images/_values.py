"""Turn pixel values of any type into uint8 RGB, by a declared rule."""

from __future__ import annotations

from typing import Any

import numpy as np

__all__ = ["Intensity", "check_intensity", "is_grey", "to_bytes", "to_rgb"]

Intensity = tuple[float, float]
_FULL_RANGE: Intensity = (0.0, 65535.0)
_FEWEST_PIXELS = 5  # a shorter side could as well be an axis of channels


def check_intensity(intensity: Any) -> Intensity | None:
    """Return the pair (low, high) as floats, or None.

    Raises
    ------
    ValueError
        If it is no pair of finite numbers, low below high.
    """
    if intensity is None:
        return None
    try:
        low, high = map(float, intensity)
    except (TypeError, ValueError):
        low = high = float("nan")
    if not (np.isfinite([low, high]).all() and low < high):
        raise ValueError(f"intensity must be two numbers (low, high), low below high; got {intensity!r}.")
    return low, high


def to_bytes(values: np.ndarray, intensity: Intensity | None) -> np.ndarray:
    """Scale pixel values to uint8, so that ``intensity`` = (low, high) become 0 and 255.

    Values outside are clipped, those between are scaled and rounded. uint8 values stay what they are. Without
    ``intensity``, uint16 values are scaled by their full range, 0 to 65,535, and no other type is taken: an image's own
    maximum would make a dark and a bright image alike.

    Raises
    ------
    ValueError
        If the range is needed and not given, or a value is not finite.
    """
    if values.dtype == np.uint8:
        return values
    if values.dtype.kind not in "uif":
        raise ValueError(
            f"its values are of type {values.dtype}; expected uint8, uint16, or other numbers with intensity"
        )
    if intensity is None and values.dtype != np.uint16:
        raise ValueError(
            f"its values are of type {values.dtype}; say which of them are black and white, "
            "e.g. MocoFeaturizer(intensity=(0, 1)) or --intensity 0,1, or convert them to uint8"
        )
    if values.dtype.kind == "f" and not np.isfinite(values).all():
        raise ValueError("it holds values that are not finite")
    low, high = intensity or _FULL_RANGE
    scaled = values.astype(np.result_type(values.dtype, np.float32))
    np.clip(scaled, low, high, out=scaled)
    scaled -= low
    scaled *= 255 / (high - low)
    return np.rint(scaled, out=scaled).astype(np.uint8)


def is_grey(shape: tuple[int, ...]) -> bool:
    """Return whether an image of this shape is plainly grey: (h, w) or (h, w, 1), and no side can be of channels."""
    sides = shape[:2]
    return (len(shape) == 2 or (len(shape) == 3 and shape[2] == 1)) and min(sides) >= _FEWEST_PIXELS


def to_rgb(images: np.ndarray, image_ndim: int, intensity: Intensity | None) -> np.ndarray:
    """Return uint8 images (..., h, w, 3) for RGB or grey ones of any type, of which each has ``image_ndim`` axes."""
    pixels = to_bytes(images, intensity)
    if image_ndim == 2:
        pixels = pixels[..., None]
    return pixels if pixels.shape[-1] == 3 else np.repeat(pixels, 3, axis=-1)
