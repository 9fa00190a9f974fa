"""Images from wherever users keep them, as uint8 RGB arrays, in batches."""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image, ImageOps, UnidentifiedImageError
from torchvision.transforms.v2 import functional as tvf

from skcnf._runtime import row_batches

__all__ = ["image_source", "iter_image_batches", "list_images", "resize_and_crop"]

_SUFFIXES = {".bmp", ".gif", ".jpeg", ".jpg", ".pgm", ".png", ".ppm", ".tif", ".tiff", ".webp"}
_WANTED = (
    "uint8 RGB images: an array (n, h, w, 3), a list of PIL images, of paths or of arrays (h, w, 3), a folder, or a "
    "torch Dataset"
)


def image_source(X: Any) -> Sequence[Any]:
    """Something with a length whose items are images, from anything a featurizer takes.

    Raises
    ------
    ValueError
        If X is none of these; the message says how to convert it.
    """
    if isinstance(X, (str, os.PathLike)):
        return list_images(X)
    if isinstance(X, np.ndarray) and X.dtype != object:
        _check_array(X)
        return X
    if isinstance(X, torch.Tensor):
        raise ValueError(f"X is a torch tensor of shape {tuple(X.shape)}; expected {_WANTED}. Use X.numpy().")
    if not (hasattr(X, "__len__") and hasattr(X, "__getitem__")) or isinstance(X, dict):
        raise ValueError(f"X is a {type(X).__name__}; expected {_WANTED}.")
    if len(X) == 0:
        raise ValueError("X holds no image; at least 1 is needed.")
    return X


def _check_array(X: np.ndarray) -> None:
    hint = None
    if X.ndim == 2:
        hint = "it looks like features; pass them to the detector without a MocoFeaturizer"
    elif X.ndim == 3 and X.shape[-1] == 3:
        hint = "for a single image pass X[None]"
    elif X.ndim == 3 or (X.ndim == 4 and X.shape[-1] == 1):
        hint = "grey images become RGB by np.repeat(X.reshape(*X.shape[:3], 1), 3, axis=-1)"
    elif X.ndim == 4 and X.shape[-1] == 4:
        hint = "RGBA images become RGB by X[..., :3], or blend them over a background first"
    elif X.ndim == 4 and X.shape[1] in (1, 3) and X.shape[-1] != 3:
        hint = "channels-first images become channels-last by X.transpose(0, 2, 3, 1)"
    elif X.ndim == 4 and X.shape[-1] == 3 and X.dtype != np.uint8:
        hint = "values in [0, 1] become uint8 by (X * 255).round().astype('uint8'), in [0, 255] by X.astype('uint8')"
    elif X.ndim == 4 and X.shape[-1] == 3:
        if len(X) == 0:
            raise ValueError(f"X holds no image (shape {X.shape}); at least 1 is needed.")
        return
    raise ValueError(
        f"X is an array of shape {X.shape} and type {X.dtype}; expected {_WANTED}" + (f": {hint}." if hint else ".")
    )


def list_images(folder: str | os.PathLike[str]) -> list[Path]:
    """The image files below ``folder``, sorted by path."""
    folder = Path(folder)
    if not folder.is_dir():
        raise ValueError(f"'{folder}' is not a folder; give a folder of images, or a list of image files.")
    files = sorted(path for path in folder.rglob("*") if path.suffix.lower() in _SUFFIXES)
    if not files:
        raise ValueError(f"the folder '{folder}' holds no image file ({', '.join(sorted(_SUFFIXES))}).")
    return files


def iter_image_batches(source: Sequence[Any], batch_size: int) -> Iterator[list[np.ndarray]]:
    """Lists of uint8 arrays (h, w, 3), ``batch_size`` at a time, in order."""
    for rows in row_batches(len(source), batch_size):
        yield [_to_array(source[index], index) for index in range(rows.start, rows.stop)]


def _to_array(item: Any, index: int) -> np.ndarray:
    if isinstance(item, (tuple, list)) and item:  # a Dataset's (image, label)
        item = item[0]
    if isinstance(item, (str, os.PathLike)):
        return _read(item)
    if isinstance(item, Image.Image):
        return _rgb(item)
    if isinstance(item, torch.Tensor) and item.dtype == torch.uint8 and item.ndim == 3 and item.shape[0] == 3:
        return item.permute(1, 2, 0).numpy()  # a Dataset's uint8 tensor, channels first as torchvision's are
    if isinstance(item, np.ndarray) and item.dtype == np.uint8 and item.ndim == 3 and item.shape[-1] == 3:
        return item
    kind = type(item).__name__
    if hasattr(item, "shape") and hasattr(item, "dtype"):
        kind += f" of shape {tuple(item.shape)} and type {item.dtype}"
    raise ValueError(f"image {index} of X is a {kind}; expected {_WANTED}.")


def _read(path: str | os.PathLike[str]) -> np.ndarray:
    try:
        with Image.open(path) as image:
            return _rgb(image)
    except FileNotFoundError:
        raise ValueError(f"the image file '{path}' does not exist.") from None
    except (UnidentifiedImageError, OSError, SyntaxError, ValueError, Image.DecompressionBombError) as error:
        raise ValueError(f"the image file '{path}' cannot be read: {error}") from error


def _rgb(image: Image.Image) -> np.ndarray:
    """Upright RGB, transparent pixels over white, 16-bit values scaled to 8."""
    image = ImageOps.exif_transpose(image)
    if image.mode.startswith("I"):
        values = np.asarray(image).astype(np.int64)
        values = values // 257 if values.max(initial=0) > 255 else values
        image = Image.fromarray(values.clip(0, 255).astype(np.uint8))
    if image.mode in ("RGBA", "LA", "PA", "La", "RGBa") or "transparency" in image.info:
        image = image.convert("RGBA")
        image = Image.alpha_composite(Image.new("RGBA", image.size, "white"), image)
    return np.asarray(image.convert("RGB"))


def resize_and_crop(image: torch.Tensor, size: int) -> torch.Tensor:
    """The short side of ``image`` (..., 3, h, w), uint8, resized to ``size`` with antialiasing, then centre-cropped."""
    height, width = image.shape[-2:]
    if min(height, width) != size:
        scale = size / min(height, width)
        shape = [max(size, round(height * scale)), max(size, round(width * scale))]
        image = tvf.resize(image, shape, antialias=True)
    return tvf.center_crop(image, [size, size])
