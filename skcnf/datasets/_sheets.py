"""Images stored as lossless sheets in a zip: ``split/class/NN-COUNT.webp``, tiles of one side, row by row."""

from __future__ import annotations

import io
import os
import zipfile

import numpy as np
from PIL import Image

__all__ = ["read_sheets"]


def read_sheets(path: str | os.PathLike[str], split: str, tile: int = 32) -> tuple[np.ndarray, np.ndarray]:
    """Read one split of a zip of sheets.

    Parameters
    ----------
    path : path
        The zip file.
    split : str
        Its top folder, e.g. ``"train"``.
    tile : int, default=32
        Side of the images in pixels.

    Returns
    -------
    images : ndarray of shape (n, tile, tile, 3), dtype uint8
    labels : ndarray of shape (n,), dtype str
        The name of the folder each image came from.

    Raises
    ------
    ValueError
        If the zip holds no such split.
    """
    images, labels = [], []
    with zipfile.ZipFile(path) as archive:
        for name in sorted(name for name in archive.namelist() if name.startswith(f"{split}/")):
            _, label, sheet = name.split("/")
            count = int(sheet.rsplit(".", 1)[0].split("-")[1])
            images.append(_tiles(archive.read(name), tile)[:count])
            labels += [label] * count
    if not images:
        raise ValueError(f"'{path}' holds no split {split!r}.")
    return np.concatenate(images), np.asarray(labels)


def _tiles(data: bytes, tile: int) -> np.ndarray:
    sheet = np.asarray(Image.open(io.BytesIO(data)).convert("RGB"))
    rows, columns = sheet.shape[0] // tile, sheet.shape[1] // tile
    return sheet.reshape(rows, tile, columns, tile, 3).swapaxes(1, 2).reshape(-1, tile, tile, 3)
