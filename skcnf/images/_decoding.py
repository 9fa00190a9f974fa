"""Turn one image of any kind into an upright uint8 RGB array."""

from __future__ import annotations

import os
import re
from typing import IO, Any

import numpy as np
from PIL import Image, ImageOps
from torch import Tensor

from skcnf.images._archives import ZipMember, open_zip, read_sheet, sheet_count
from skcnf.images._formats import check_regular_file, open_image, reading, shown
from skcnf.images._values import Intensity, is_grey, to_rgb

__all__ = ["WANTED", "read_image", "to_array"]

WANTED = (
    "images: a uint8 array (n, h, w, 3), or (n, h, w) for grey ones, a torch tensor (n, 3, h, w), a list of PIL "
    "images, of paths or of arrays, a folder or zip, a glob pattern, an image file, or a torch Dataset"
)


def to_array(item: Any, index: int, intensity: Intensity | None = None) -> np.ndarray:
    """Return item ``index`` of an `image_source` as a uint8 array (h, w, 3).

    Raises
    ------
    ValueError
        If it is no image, has no pixels or cannot be read (naming it).
    """
    if isinstance(item, (tuple, list)) and item:  # a Dataset's (image, label)
        if len(item) > 1 and isinstance(item[0], (str, os.PathLike)) and isinstance(item[1], (str, os.PathLike)):
            raise ValueError(f"image {index} of X is a {type(item).__name__} of paths; X must be one list of them all.")
        item = item[0]
    if isinstance(item, (str, os.PathLike)):
        return _read(item, intensity)
    if isinstance(item, ZipMember):
        with reading(f"the image '{item.name}' of '{shown(item.path)}'"), item.archive.open(item.name) as file:
            return _decode(file, intensity)
    with reading(f"image {index} of X", "used"):
        if isinstance(item, Image.Image):
            return _rgb(item, intensity)
        pixels = item.permute(1, 2, 0).numpy() if isinstance(item, Tensor) and item.ndim == 3 else item
        if isinstance(pixels, np.ndarray) and (is_grey(pixels.shape) or (pixels.ndim == 3 and pixels.shape[2] == 3)):
            if pixels.size == 0:
                raise ValueError(f"it has no pixels: its shape is {pixels.shape}")
            return to_rgb(pixels, pixels.ndim, intensity)
    kind = type(item).__name__
    if hasattr(item, "shape") and hasattr(item, "dtype"):
        kind += f" of shape {tuple(item.shape)} and type {item.dtype}"
    raise ValueError(f"image {index} of X is a {kind}; expected {WANTED}.")


def read_image(name: str | os.PathLike[str], intensity: Intensity | None = None) -> np.ndarray:
    """Read the image that a path or ``ZIP!MEMBER`` names, as `item_names` writes them.

    Parameters
    ----------
    name : str or path
        A path, ``ZIP!MEMBER``, or ``ZIP!SHEET#K`` for image K of a sheet, from 0.
    intensity : tuple of 2 floats, optional
        The range that values of more than 8 bits are scaled by, see `MocoFeaturizer`.

    Returns
    -------
    ndarray of shape (h, w, 3), dtype uint8

    Raises
    ------
    ValueError
        If it cannot be read (naming it).
    """
    parts = re.split(r"(?<=\.zip)!", os.fspath(name), maxsplit=1, flags=re.IGNORECASE)
    if len(parts) == 1 or os.path.exists(name):
        return _read(name, intensity)
    path, member = parts
    sheet, _, number = member.rpartition("#")
    with reading(f"the image '{member}' of '{shown(path)}'"):
        if sheet_count(sheet) is not None:
            return read_sheet(path, sheet)[int(number)]
        with open_zip(path) as archive, archive.open(member) as file:
            return _decode(file, intensity)


def _read(path: str | os.PathLike[str], intensity: Intensity | None) -> np.ndarray:
    with reading(f"the image file '{shown(path)}'"):
        check_regular_file(path)
        with open(path, "rb") as file:
            return _decode(file, intensity)


def _decode(file: IO[bytes], intensity: Intensity | None) -> np.ndarray:
    return _rgb(open_image(file, _refuse_lost_bits if intensity is not None else None), intensity)


def _refuse_lost_bits(image: Image.Image) -> None:
    """Refuse values that Pillow changes where a range is given in their unit.

    It keeps the upper 8 bits of colours of 16 bits, and scales the values of a PGM to 16 bits.
    """
    if image.format == "PPM" and any(tile[0] == "ppm" for tile in getattr(image, "tile", ())):
        raise ValueError("Pillow scales its values to 16 bits; intensity needs them as they are: pass it as an array")
    if any(";16" in str(tile[3]) for tile in getattr(image, "tile", ())) and not image.mode.startswith("I"):
        raise ValueError("its colours have 16 bits, of which Pillow keeps 8; intensity needs all: pass it as an array")


def _rgb(image: Image.Image, intensity: Intensity | None) -> np.ndarray:
    """Turn an image upright, lay it over white, scale values of more than 8 bits by `to_bytes`, and make it RGB."""
    if 0 in image.size:
        raise ValueError(f"it has {image.width} x {image.height} pixels")
    is_16_bit = image.format in ("PNG", "PPM")  # whose mode "I" can be nothing else
    image = ImageOps.exif_transpose(image)
    if image.mode.startswith(("I", "F")):
        values = np.asarray(image)
        if values.dtype.itemsize == 2 or (image.mode == "I" and is_16_bit):
            values = values.astype(np.uint16)
        return to_rgb(values, 2, intensity)
    if image.mode in ("RGBA", "LA", "PA", "La", "RGBa") or "transparency" in image.info:
        image = image.convert("RGBA")
        image = Image.alpha_composite(Image.new("RGBA", image.size, "white"), image)
    return np.asarray(image.convert("RGB"))
