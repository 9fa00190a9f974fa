"""Images from wherever users keep them, as uint8 RGB arrays, in batches."""

from __future__ import annotations

import hashlib
import os
import warnings
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from joblib import effective_n_jobs
from PIL import Image, ImageOps, UnidentifiedImageError
from torch.utils.data import DataLoader, Dataset
from torchvision.transforms.v2 import functional as tvf
from tqdm import tqdm

from skcnf._archives import IMAGE_SUFFIXES, ZipImages, open_archive
from skcnf._files import RowArray, RowFile
from skcnf._runtime import row_batches

__all__ = ["digest", "image_source", "iter_batches", "load_images", "resize_and_crop"]

_WANTED = (
    "uint8 RGB images: an array (n, h, w, 3), a list of PIL images, of paths or of arrays (h, w, 3), a folder or zip "
    "file, or a torch Dataset"
)


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
            pixels = _to_array(item, 0)
            hasher.update(f"pixels {pixels.shape};".encode())
            hasher.update(np.ascontiguousarray(pixels))
    return hasher.hexdigest()


def iter_batches(
    source: Sequence[Any],
    batch_size: int,
    prepare: Callable[[torch.Tensor], torch.Tensor],
    *,
    device: torch.device | None = None,
    n_workers: int = 0,
    start: int = 0,
) -> Iterator[torch.Tensor]:
    """Batches (n, 3, s, s), uint8, of an `image_source`, in order from row ``start``.

    ``prepare`` maps uint8 (..., 3, h, w) to (..., 3, s, s). Arrays are moved to ``device`` and prepared there, a batch
    at a time; anything else is decoded and prepared image by image, in ``n_workers`` processes (0: in this one).
    """
    device = device or torch.device("cpu")
    if isinstance(source, np.ndarray):
        for rows in row_batches(len(source) - start, batch_size):
            batch = as_tensor(source[rows.start + start : rows.stop + start]).to(device)
            yield prepare(batch.permute(0, 3, 1, 2))
        return
    loader = DataLoader(
        _Prepared(source, prepare, start),
        batch_size=batch_size,
        num_workers=n_workers,
        collate_fn=_stack,
        generator=torch.Generator(),  # the loader draws a seed, and not from the global generator
    )
    for batch in loader:
        if isinstance(batch, Exception):
            raise batch
        yield batch.to(device)


class _Prepared(Dataset):
    """Decoded and prepared images; one that cannot be read comes as the error, so that a worker need not die."""

    def __init__(self, source: Sequence[Any], prepare: Callable[[torch.Tensor], torch.Tensor], start: int) -> None:
        self.source, self.prepare, self.start = source, prepare, start

    def __len__(self) -> int:
        return len(self.source) - self.start

    def __getitem__(self, index: int) -> torch.Tensor | ValueError:
        try:
            image = _to_array(self.source[index + self.start], index + self.start)
        except ValueError as error:
            return error
        return self.prepare(as_tensor(image).permute(2, 0, 1))


def _stack(items: list[torch.Tensor | ValueError]) -> torch.Tensor | ValueError:
    errors = [item for item in items if isinstance(item, ValueError)]
    return errors[0] if errors else torch.stack(items)


def as_tensor(array: np.ndarray) -> torch.Tensor:
    """A tensor that shares the array's memory; read-only arrays are fine, as nothing here writes to images."""
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "The given NumPy array is not writable", UserWarning)
        return torch.from_numpy(np.ascontiguousarray(array))


def load_images(
    X: Any,
    size: int,
    output: str | os.PathLike[str] | None = None,
    *,
    n_jobs: int | None = None,
    verbose: bool = False,
) -> np.ndarray:
    """Images from anywhere as one uint8 array of one size.

    Parameters
    ----------
    X : images
        Whatever `MocoFeaturizer` takes.
    size : int
        The short side is resized to this many pixels, with antialiasing, and the rest is cropped off evenly.
    output : path, optional
        An ``.npy`` file to write instead of filling memory. A run that was cut goes on where it stopped.
    n_jobs : int, optional
        Processes that decode files; -1 takes all cores.
    verbose : bool, default=False
        A progress bar where standard error is a terminal.

    Returns
    -------
    ndarray of shape (n, size, size, 3), dtype uint8
        A read-only memory map where ``output`` is given.

    Raises
    ------
    ValueError
        If X is malformed or an image cannot be read (naming it).
    """
    source = image_source(X)
    shape = (len(source), size, size, 3)
    identity = f"images {size} {digest(source)}"
    prepare = partial(resize_and_crop, size=size)
    rows = RowFile(output, shape, "uint8", identity) if output is not None else RowArray(shape, "uint8")
    batches = iter_batches(source, 256, prepare, n_workers=count_workers(n_jobs), start=rows.n_done)
    with progress(len(source), rows.n_done, verbose) as bar:
        for batch in batches:
            rows.append(batch.permute(0, 2, 3, 1).numpy())
            bar.update(len(batch))
    return rows.finish()


def count_workers(n_jobs: int | None) -> int:
    """Decoding processes for ``n_jobs`` as joblib counts; 0, this process, for one."""
    n_workers = effective_n_jobs(n_jobs)
    return n_workers if n_workers > 1 else 0


def progress(total: int, done: int, verbose: bool) -> tqdm:
    """A bar of images on a terminal; nothing in a log."""
    return tqdm(total=total, initial=done, unit="image", leave=False, disable=None if verbose else True)


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
