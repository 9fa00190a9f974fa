"""Small pictures as data addresses, for a page that needs no other file."""

from __future__ import annotations

import base64
import io

import numpy as np
from PIL import Image

__all__ = ["data_address"]


def data_address(image: np.ndarray, size: int = 128) -> str:
    """A ``data:`` address of the image, shrunk to ``size`` pixels.

    Parameters
    ----------
    image : ndarray of shape (h, w, 3), dtype uint8
    size : int, default=128
        The longer side at most, in pixels. Smaller images stay as they are: the page enlarges them without blur.
    """
    picture = Image.fromarray(image)
    picture.thumbnail((size, size))
    data = io.BytesIO()
    if max(picture.size) <= 48:
        picture.save(data, "png", optimize=True)
        return f"data:image/png;base64,{base64.b64encode(data.getvalue()).decode()}"
    picture.save(data, "jpeg", quality=80, optimize=True)
    return f"data:image/jpeg;base64,{base64.b64encode(data.getvalue()).decode()}"
