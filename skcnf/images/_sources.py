"""Find images in the places where users keep them, and tell one collection from another."""

from __future__ import annotations

import glob
import hashlib
import os
import warnings
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import torch

from skcnf._core.rows import row_batches
from skcnf.images._archives import ZipImages, archive_members, open_archive, sheet_count
from skcnf.images._decoding import WANTED, to_array
from skcnf.images._formats import IMAGE_SUFFIXES, is_image_name, reading, shown
from skcnf.images._values import Intensity, is_grey, to_bytes

__all__ = ["ImageSource", "digest", "image_source", "is_stream", "item_name", "item_names", "list_glob", "list_images"]


class ImageSource(Protocol):
    """Something with a length whose items are images."""

    def __len__(self) -> int: ...
    def __getitem__(self, index: Any, /) -> Any: ...


def image_source(X: Any, intensity: Intensity | None = None) -> ImageSource:
    """Return something with a length whose items are images, from anything that a featurizer takes.

    ``intensity`` is the range that values of more than 8 bits are scaled by, see `to_bytes`.

    Raises
    ------
    ValueError
        If X is none of these; the message says how to convert it.
    """
    if isinstance(X, (str, os.PathLike)):
        return _source_at(X)
    if (isinstance(X, np.ndarray) and X.dtype.kind in "OU" and X.ndim == 1) or hasattr(X, "to_list"):
        X = (
            X.to_list() if hasattr(X, "to_list") else X.tolist()
        )  # paths in an object array or a Series: by position, whatever its labels
    if isinstance(X, torch.Tensor):
        X = _from_torch(X)
    if isinstance(X, np.ndarray):
        _check_array(X, intensity)
        return X
    if is_stream(X):
        raise ValueError(f"X is a {type(X).__name__}, whose length is unknown; here it must be a list: use list(X).")
    if not (hasattr(X, "__len__") and hasattr(X, "__getitem__")) or isinstance(X, Mapping) or hasattr(X, "columns"):
        hint = " Use list(X.values())." if isinstance(X, Mapping) else ""
        raise ValueError(f"X is a {type(X).__name__}; expected {WANTED}.{hint}")
    if len(X) == 0:
        raise ValueError("X holds no image; at least 1 is needed.")
    return X


def _from_torch(X: torch.Tensor) -> np.ndarray:
    """Return torch's images (n, 3, h, w) as an array (n, h, w, 3)."""
    if X.ndim != 4 or X.shape[1] != 3:
        raise ValueError(
            f"X is a torch tensor of shape {tuple(X.shape)}; torch's images are (n, 3, h, w). Use X.numpy() for others "
            "of channels last."
        )
    return X.detach().cpu().permute(0, 2, 3, 1).numpy()


def is_stream(X: Any) -> bool:
    """Return whether X gives its images one after another and only once, as a generator does."""
    return isinstance(X, Iterator)


def _source_at(path: str | os.PathLike[str]) -> ImageSource:
    if os.path.isdir(path):
        return list_images(path)
    if os.path.exists(path):
        if Path(path).suffix.lower() == ".zip":
            return open_archive(path)
        if is_image_name(path):
            return [Path(path)]
    pattern = os.fspath(path)
    if glob.has_magic(pattern):
        return list_glob(pattern)
    what = "does not exist" if not os.path.lexists(path) else "is neither a folder, nor a zip, nor an image file"
    raise ValueError(f"'{shown(path)}' {what}; give a folder or zip of images, an image file or a list of these files.")


def item_names(X: Any, source: ImageSource) -> Sequence[str]:
    """Return a printable name for each item of ``source``, which is ``image_source(X)``."""
    if isinstance(source, ZipImages):
        return [f"{shown(source.path)}!{name}" for name in source.names]
    if isinstance(source, np.ndarray) and isinstance(X, (str, os.PathLike)):  # a zip of sheets
        return [f"{shown(X)}!{name}#{k}" for name in archive_members(X) for k in range(sheet_count(name) or 0)]
    if isinstance(source, (list, tuple)):
        return [item_name(item, index) for index, item in enumerate(source)]
    return _Numbers(len(source))


class _Numbers(Sequence[str]):
    """The names of images that have none."""

    def __init__(self, n: int) -> None:
        self._range = range(n)

    def __len__(self) -> int:
        return len(self._range)

    def __getitem__(self, index: Any) -> Any:
        return str(self._range[index])


def item_name(item: Any, index: int) -> str:
    """Return a path as it is printed, or the index of an item that is no path."""
    return shown(item) if isinstance(item, (str, os.PathLike)) else str(index)


def _check_array(X: np.ndarray, intensity: Intensity | None) -> None:
    if X.ndim in (3, 4) and len(X) == 0:
        raise ValueError(f"X holds no image (shape {X.shape}); at least 1 is needed.")
    if X.ndim == 4 and X.shape[-1] == 3 and X.size == 0:
        raise ValueError(f"X holds images without pixels (shape {X.shape}).")
    if (X.ndim == 4 and X.shape[-1] == 3) or (X.ndim in (3, 4) and is_grey(X.shape[1:])):
        with reading(f"X is an array of shape {X.shape}, which", "used"):
            to_bytes(X[:1], intensity)
        return
    hint = None
    if X.ndim == 2:
        hint = (
            "it looks like features; pass them to the detector without a MocoFeaturizer. For a grey image pass X[None]"
        )
    elif X.ndim == 3 and X.shape[-1] == 3:
        hint = "for a single image pass X[None]"
    elif X.ndim == 4 and X.shape[-1] == 4:
        hint = "RGBA images become RGB by X[..., :3], or blend them over a background first"
    elif X.ndim == 4 and X.shape[1] in (1, 3):
        hint = "channels-first images become channels-last by X.transpose(0, 2, 3, 1)"
    raise ValueError(
        f"X is an array of shape {X.shape} and type {X.dtype}; expected {WANTED}" + (f": {hint}." if hint else ".")
    )


def list_images(folder: str | os.PathLike[str]) -> list[Path]:
    """Return the image files below ``folder``, sorted by path. Other files are passed over.

    Linked folders are searched too, each folder once. A folder that cannot be read is warned of, by name.

    Raises
    ------
    ValueError
        If ``folder`` holds no image file.
    """
    files = sorted(_walk(Path(folder)))
    if not files:
        raise ValueError(f"the folder '{shown(folder)}' holds no image file ({', '.join(sorted(IMAGE_SUFFIXES))}).")
    return files


def list_glob(pattern: str) -> list[Path]:
    """Return the image files that a glob pattern matches, sorted by path; ``**`` goes through folders of any depth.

    Raises
    ------
    ValueError
        If it matches no image file.
    """
    files = sorted(Path(name) for name in glob.glob(pattern, recursive=True) if is_image_name(name))
    files = [file for file in files if not os.path.exists(file) or file.is_file()]
    if not files:
        raise ValueError(f"the pattern '{shown(pattern)}' matches no image file ({', '.join(sorted(IMAGE_SUFFIXES))}).")
    return files


def _walk(folder: Path) -> Iterator[Path]:
    seen: set[str] = set()
    for place, folders, names in os.walk(folder, onerror=_warn_of_folder, followlinks=True):
        if (real := os.path.realpath(place)) in seen:
            folders.clear()  # reached by another way already: its images count once
            continue
        seen.add(real)
        # in one order, so that which way comes first does not hang on the file system
        folders[:] = sorted(name for name in folders if name != "__MACOSX")
        yield from (Path(place, name) for name in names if is_image_name(name) and not _is_special(place, name))


def _is_special(place: str, name: str) -> bool:
    """Return whether a name is that of a pipe, socket or device. A link that leads nowhere is a broken image."""
    path = os.path.join(place, name)
    return os.path.exists(path) and not os.path.isfile(path)


def _warn_of_folder(error: OSError) -> None:
    place = shown(error.filename)
    warnings.warn(f"the folder '{place}' cannot be read, its images are left out: {error.strerror}", stacklevel=2)


def digest(source: ImageSource, intensity: Intensity | None = None) -> str | None:
    """Return a name for the content of an `image_source`, or None for a Dataset, which would have to be read.

    The name depends on the pixels of images in memory, and on path, size and time of files.
    """
    hasher = hashlib.blake2b(digest_size=16)
    if isinstance(source, np.ndarray):
        hasher.update(f"array {source.shape} {source.dtype}".encode())
        for rows in row_batches(len(source), 4096):
            hasher.update(np.ascontiguousarray(source[rows]).data)
        return hasher.hexdigest()
    if isinstance(source, ZipImages):
        source = [source.path]
    if not isinstance(source, (list, tuple)):
        return None
    for index, item in enumerate(source):
        if isinstance(item, (str, os.PathLike)):
            state = os.stat(item) if os.path.exists(item) else None
            hasher.update(b"file " + os.fsencode(item))  # names need not be UTF-8
            hasher.update(f" {state and (state.st_size, state.st_mtime_ns)};".encode())
        else:
            pixels = to_array(item, index, intensity)
            hasher.update(f"pixels {pixels.shape};".encode())
            hasher.update(np.ascontiguousarray(pixels).data)
    return hasher.hexdigest()
