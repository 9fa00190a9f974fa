"""Zip files of images: one member an image, or lossless sheets, ``split/class/NN-COUNT.webp``, tiles row by row."""

from __future__ import annotations

import io
import os
import re
import zipfile
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from PIL import Image

__all__ = ["IMAGE_SUFFIXES", "ZipImages", "open_archive", "read_sheets"]

IMAGE_SUFFIXES = {".bmp", ".gif", ".jpeg", ".jpg", ".pgm", ".png", ".ppm", ".tif", ".tiff", ".webp"}
_SHEET = re.compile(r"[^/]+/[^/]+/\d+-\d+\.webp")


def open_archive(path: str | os.PathLike[str]) -> np.ndarray | ZipImages:
    """The images of a zip: an array (n, 32, 32, 3) for sheets, else a sequence of PIL images.

    Raises
    ------
    ValueError
        If the file is no zip, or holds no image.
    """
    try:
        with zipfile.ZipFile(path) as archive:
            names = sorted(name for name in archive.namelist() if Path(name).suffix.lower() in IMAGE_SUFFIXES)
    except zipfile.BadZipFile as error:
        raise ValueError(f"'{path}' is not a readable zip file: {error}") from error
    if not names:
        raise ValueError(f"the zip '{path}' holds no image file ({', '.join(sorted(IMAGE_SUFFIXES))}).")
    if all(_SHEET.fullmatch(name) for name in names):
        splits = sorted({name.split("/")[0] for name in names})
        return np.concatenate([read_sheets(path, split)[0] for split in splits])
    return ZipImages(path, names)


class ZipImages(Sequence):
    """The images of a zip, opened one by one; every process opens the file for itself."""

    def __init__(self, path: str | os.PathLike[str], names: list[str]) -> None:
        self.path, self.names = Path(path), names
        self._archive: tuple[int, zipfile.ZipFile] | None = None

    def __len__(self) -> int:
        return len(self.names)

    def __getitem__(self, index: int) -> Image.Image:
        if self._archive is None or self._archive[0] != os.getpid():
            self._archive = os.getpid(), zipfile.ZipFile(self.path)
        name = self.names[index]
        try:
            image = Image.open(io.BytesIO(self._archive[1].read(name)))
            image.load()
        except (OSError, SyntaxError, ValueError, zipfile.BadZipFile, Image.DecompressionBombError) as error:
            raise ValueError(f"the image '{name}' of '{self.path}' cannot be read: {error}") from error
        return image

    def __getstate__(self) -> dict[str, object]:
        return {**self.__dict__, "_archive": None}


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
