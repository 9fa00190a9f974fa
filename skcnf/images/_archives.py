"""Read images from zip files.

A member of a zip is either one image or a sheet. A sheet is called ``split/class/NN-COUNT.webp`` and holds COUNT images
of one class as tiles, row by row.
"""

from __future__ import annotations

import os
import re
import zipfile
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from skcnf.images._formats import IMAGE_SUFFIXES, check_regular_file, is_image_name, open_image, reading, shown

__all__ = [
    "ZipImages",
    "ZipMember",
    "archive_members",
    "open_archive",
    "open_zip",
    "read_sheet",
    "read_sheets",
    "sheet_count",
]

_SHEET = re.compile(r"[^/]+/[^/]+/\d+-(\d+)\.webp")
_SPARE_TILES = 1024  # what a sheet may hold beyond its images; a larger one is a bomb


def archive_members(path: str | os.PathLike[str]) -> list[str]:
    """Return the sorted names of the image files in a zip.

    Raises
    ------
    ValueError
        If the file is no zip, or holds no image.
    """
    with open_zip(path) as archive:
        infos = archive.infolist()
    names = sorted(info.filename for info in infos if not info.is_dir() and is_image_name(info.filename))
    if not names:
        raise ValueError(f"the zip '{shown(path)}' holds no image file ({', '.join(sorted(IMAGE_SUFFIXES))}).")
    return names


def open_archive(path: str | os.PathLike[str]) -> np.ndarray | ZipImages:
    """Open the images of a zip: an array (n, 32, 32, 3) for sheets, else a sequence of members.

    Raises
    ------
    ValueError
        If the file is no zip, holds no image, or a sheet cannot be read (naming it).
    """
    names = archive_members(path)
    if all(sheet_count(name) is not None for name in names):
        return _read_all(path, names, 32)[0]
    return ZipImages(path, names)


def sheet_count(name: str) -> int | None:
    """Return how many images a sheet holds, or None if a member's name is not the name of a sheet."""
    match = _SHEET.fullmatch(name)
    return int(match[1]) if match else None


@dataclass(frozen=True)
class ZipMember:
    """One image of a zip that has not been read yet."""

    archive: zipfile.ZipFile
    path: Path
    name: str


class ZipImages(Sequence):
    """The images of a zip, which are opened one by one. Every process opens the file for itself."""

    def __init__(self, path: str | os.PathLike[str], names: list[str]) -> None:
        self.path, self.names = Path(path), names
        self._archive: tuple[int, zipfile.ZipFile] | None = None  # of which process; threads may share it

    def __len__(self) -> int:
        return len(self.names)

    def __getitem__(self, index: Any) -> Any:
        if isinstance(index, slice):
            return ZipImages(self.path, self.names[index])
        if self._archive is None or self._archive[0] != os.getpid():
            self._archive = os.getpid(), open_zip(self.path)
        return ZipMember(self._archive[1], self.path, self.names[index])

    def __getstate__(self) -> dict[str, object]:
        return {**self.__dict__, "_archive": None}


def open_zip(path: str | os.PathLike[str]) -> zipfile.ZipFile:
    """Open a zip file, or raise a ValueError that names it."""
    try:
        check_regular_file(path)
        return zipfile.ZipFile(path)
    except Exception as error:  # zipfile raises BadZipFile, but also struct's and Unicode errors on altered files
        raise ValueError(f"'{shown(path)}' is not a readable zip file: {error}") from error


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
        If the zip holds no such split, or a sheet cannot be read or is not what its name says (naming it).
    """
    names = [name for name in archive_members(path) if name.startswith(f"{split}/")]
    if not names:
        raise ValueError(f"'{shown(path)}' holds no split {split!r}.")
    return _read_all(path, names, tile)


def _read_all(path: str | os.PathLike[str], names: Iterable[str], tile: int) -> tuple[np.ndarray, np.ndarray]:
    images, labels = [], []
    with open_zip(path) as archive:
        for name in names:
            with reading(f"the sheet '{name}' of '{shown(path)}'"):
                images.append(_read_sheet(archive, name, tile))
            labels += [name.split("/")[1]] * len(images[-1])
    return np.concatenate(images), np.asarray(labels)


def read_sheet(path: str | os.PathLike[str], name: str, tile: int = 32) -> np.ndarray:
    """Read the images (n, tile, tile, 3), uint8, of one sheet of a zip."""
    with open_zip(path) as archive:
        return _read_sheet(archive, name, tile)


def _read_sheet(archive: zipfile.ZipFile, name: str, tile: int) -> np.ndarray:
    count = sheet_count(name) or 0
    with archive.open(name) as file:
        return _tiles(open_image(file, partial(_check_sheet, count=count, tile=tile)), tile)[:count]


def _check_sheet(image: Image.Image, count: int, tile: int) -> None:
    columns, rows = image.width // tile, image.height // tile
    whole = (columns * tile, rows * tile) == image.size
    if not (whole and 0 < count <= rows * columns <= count + _SPARE_TILES):
        raise ValueError(
            f"it has {image.width} x {image.height} pixels and its name says {count} images of {tile} x {tile}; "
            "a sheet is called split/class/NN-COUNT.webp and holds COUNT images, left to right and top to bottom"
        )


def _tiles(image: Image.Image, tile: int) -> np.ndarray:
    sheet = np.asarray(image.convert("RGB"))
    rows, columns = sheet.shape[0] // tile, sheet.shape[1] // tile
    return sheet.reshape(rows, tile, columns, tile, 3).swapaxes(1, 2).reshape(-1, tile, tile, 3)
