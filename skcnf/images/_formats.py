"""Decide which files are images, and open them so that neither their format nor their size can do harm."""

from __future__ import annotations

import os
import stat
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import PurePath
from typing import IO, Any, cast

from PIL import Image, UnidentifiedImageError

__all__ = ["IMAGE_SUFFIXES", "check_regular_file", "is_image_name", "open_image", "reading", "shown"]

_FORMAT_OF_SUFFIX = {
    ".bmp": "BMP",
    ".gif": "GIF",
    ".jpeg": "JPEG",
    ".jpg": "JPEG",
    ".pgm": "PPM",
    ".png": "PNG",
    ".ppm": "PPM",
    ".tif": "TIFF",
    ".tiff": "TIFF",
    ".webp": "WEBP",
}
IMAGE_SUFFIXES = frozenset(_FORMAT_OF_SUFFIX)
_FORMATS = sorted(set(_FORMAT_OF_SUFFIX.values()))
# What a decoder may read beside the pixels: headers, colour profiles, and files of WebP, which it reads in one piece.
_ALLOWANCE = 2**27
_BYTES_A_PIXEL = 16


def is_image_name(name: str | os.PathLike[str]) -> bool:
    """Return whether a path names an image file; the shadow files of macOS (``__MACOSX/``, ``._a.jpg``) do not."""
    path = PurePath(name)
    return path.suffix.lower() in IMAGE_SUFFIXES and not path.name.startswith("._") and "__MACOSX" not in path.parts


def shown(path: str | os.PathLike[str]) -> str:
    r"""Return a path for messages and tables. Bytes that are no UTF-8 become ``\xNN``, which any stream can print."""
    return os.fsencode(path).decode("utf-8", "backslashreplace")


def check_regular_file(path: str | os.PathLike[str]) -> None:
    """Refuse pipes and devices, which could keep a reader waiting for ever.

    Raises
    ------
    ValueError
        If ``path`` exists but is no regular file.
    OSError
        If its state cannot be read.
    """
    mode = os.stat(path).st_mode
    if not stat.S_ISREG(mode):
        raise ValueError("it is a folder" if stat.S_ISDIR(mode) else "it is no regular file but a pipe or a device")


def open_image(file: IO[bytes], check: Callable[[Image.Image], None] | None = None) -> Image.Image:
    """Decode the first frame of an open file of one of the listed formats.

    Pillow tells formats by content and knows some that run programs, PostScript for one; these are never tried.
    Memory is bounded by the image and not by the file: a decoder that asks for more bytes than its pixels justify
    is stopped. ``check`` sees the image's size before its pixels are decoded.

    Raises
    ------
    Exception
        Pillow's many, and ValueError where the file asks for too much; `reading` makes one of all.
    """
    bounded = _Bounded(file)
    image = Image.open(cast(IO[bytes], bounded), formats=_FORMATS)
    if check is not None:
        check(image)
    bounded.left = _ALLOWANCE + _BYTES_A_PIXEL * image.width * image.height
    image.load()
    return image


class _Bounded:
    """A file that refuses to give more than a number of bytes."""

    def __init__(self, file: IO[bytes]) -> None:
        self._file, self.left = file, _ALLOWANCE

    def read(self, size: int | None = -1) -> bytes:
        most = self.left + 1
        data = self._file.read(most if size is None or size < 0 else min(size, most))
        self.left -= len(data)
        if self.left < 0:
            raise ValueError("it is far larger than its image")
        return data

    def __getattr__(self, name: str) -> Any:
        return getattr(self._file, name)


@contextmanager
def reading(where: str, how: str = "read") -> Iterator[None]:
    """Turn every failure of reading an image into a ValueError that says where."""
    try:
        yield
    except FileNotFoundError as error:
        raise ValueError(f"{where} does not exist.") from error
    except UnidentifiedImageError as error:  # its text names an object in memory
        raise ValueError(f"{where} cannot be read: it is no image of a known format ({', '.join(_FORMATS)})") from error
    except Exception as error:  # decoders raise a class of their own for every way a file can be broken
        reason = " ".join(str(error).split()) or type(error).__name__
        raise ValueError(f"{where} cannot be {how}: {reason}") from error
