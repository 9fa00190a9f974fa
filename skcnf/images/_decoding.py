"""One image of any kind as an upright uint8 RGB array."""

from __future__ import annotations

import os
from typing import Any

import numpy as np
import torch
from PIL import Image, ImageOps

from skcnf.images._archives import ZipMember
from skcnf.images._formats import check_regular_file, naming, open_image, shown

__all__ = ["WANTED", "to_array"]


WANTED = (
    "uint8 RGB images: an array (n, h, w, 3), a list of PIL images, of paths or of arrays (h, w, 3), a folder or zip "
    "file, or a torch Dataset"
)


def to_array(item: Any, index: int) -> np.ndarray:
    """Item ``index`` of an `image_source` as a uint8 array (h, w, 3).

    Raises
    ------
    ValueError
        If it is no image, has no pixels or cannot be read (naming it).
    """
    if isinstance(item, (tuple, list)) and item:  # a Dataset's (image, label)
        item = item[0]
    if isinstance(item, (str, os.PathLike)):
        return _read(item)
    if isinstance(item, ZipMember):
        with naming(f"the image '{item.name}' of '{shown(item.path)}'"):
            return _rgb(item.read())
    if isinstance(item, Image.Image):
        with naming(f"image {index} of X"):
            return _rgb(item)
    if isinstance(item, torch.Tensor) and item.dtype == torch.uint8 and item.ndim == 3 and item.shape[0] == 3:
        item = item.permute(1, 2, 0).numpy()  # a Dataset's uint8 tensor, channels first as torchvision's are
    if isinstance(item, np.ndarray) and item.dtype == np.uint8 and item.ndim == 3 and item.shape[-1] == 3:
        if item.size == 0:
            raise ValueError(f"image {index} of X has no pixels: its shape is {item.shape}.")
        return item
    kind = type(item).__name__
    if hasattr(item, "shape") and hasattr(item, "dtype"):
        kind += f" of shape {tuple(item.shape)} and type {item.dtype}"
    raise ValueError(f"image {index} of X is a {kind}; expected {WANTED}.")


def _read(path: str | os.PathLike[str]) -> np.ndarray:
    with naming(f"the image file '{shown(path)}'"):
        check_regular_file(path)
        with open(path, "rb") as file:
            return _rgb(open_image(file))


def _rgb(image: Image.Image) -> np.ndarray:
    """Upright RGB, transparent pixels over white, 16-bit values scaled to 8."""
    if 0 in image.size:
        raise ValueError(f"it has {image.width} x {image.height} pixels")
    image = ImageOps.exif_transpose(image)
    if image.mode.startswith("I"):
        values = np.asarray(image).astype(np.int64)
        values = values // 257 if values.max(initial=0) > 255 else values
        image = Image.fromarray(values.clip(0, 255).astype(np.uint8))
    if image.mode in ("RGBA", "LA", "PA", "La", "RGBa") or "transparency" in image.info:
        image = image.convert("RGBA")
        image = Image.alpha_composite(Image.new("RGBA", image.size, "white"), image)
    return np.asarray(image.convert("RGB"))
