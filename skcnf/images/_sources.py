"""Images from wherever users keep them, and what tells one collection from another."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch

from skcnf._core.rows import row_batches
from skcnf.images._archives import IMAGE_SUFFIXES, ZipImages, open_archive
from skcnf.images._decoding import WANTED, to_array

__all__ = ["digest", "image_source", "list_images"]


def image_source(X: Any) -> Sequence[Any]:
    """Something with a length whose items are images, from anything a featurizer takes.

    Raises
    ------
    ValueError
        If X is none of these; the message says how to convert it.
    """
    if isinstance(X, (str, os.PathLike)):
        return open_archive(X) if Path(X).suffix.lower() == ".zip" and Path(X).is_file() else list_images(X)
    if isinstance(X, np.ndarray) and X.dtype != object:
        _check_array(X)
        return X
    if isinstance(X, torch.Tensor):
        raise ValueError(f"X is a torch tensor of shape {tuple(X.shape)}; expected {WANTED}. Use X.numpy().")
    if not (hasattr(X, "__len__") and hasattr(X, "__getitem__")) or isinstance(X, dict):
        raise ValueError(f"X is a {type(X).__name__}; expected {WANTED}.")
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
        f"X is an array of shape {X.shape} and type {X.dtype}; expected {WANTED}" + (f": {hint}." if hint else ".")
    )


def list_images(folder: str | os.PathLike[str]) -> list[Path]:
    """The image files below ``folder``, sorted by path."""
    folder = Path(folder)
    if not folder.is_dir():
        raise ValueError(
            f"'{folder}' is neither a folder nor a zip file; give one of images, or a list of image files."
        )
    files = sorted(path for path in folder.rglob("*") if path.suffix.lower() in IMAGE_SUFFIXES)
    if not files:
        raise ValueError(f"the folder '{folder}' holds no image file ({', '.join(sorted(IMAGE_SUFFIXES))}).")
    return files


def digest(source: Sequence[Any]) -> str | None:
    """Names the content of an `image_source`: pixels of what is in memory; path, size and time of what is on disk.

    None for a Dataset, which tells nothing without being read.
    """
    hasher = hashlib.blake2b(digest_size=16)
    if isinstance(source, np.ndarray):
        hasher.update(f"array {source.shape}".encode())
        for rows in row_batches(len(source), 4096):
            hasher.update(np.ascontiguousarray(source[rows]))
        return hasher.hexdigest()
    if isinstance(source, ZipImages):
        source = [source.path]
    if not isinstance(source, (list, tuple)):
        return None
    for item in source:
        if isinstance(item, (str, os.PathLike)):
            state = os.stat(item) if os.path.exists(item) else None
            hasher.update(f"file {os.fspath(item)} {state and (state.st_size, state.st_mtime_ns)};".encode())
        else:
            pixels = to_array(item, 0)
            hasher.update(f"pixels {pixels.shape};".encode())
            hasher.update(np.ascontiguousarray(pixels))
    return hasher.hexdigest()
