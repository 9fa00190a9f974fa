"""Images decoded, resized and batched."""

from __future__ import annotations

import os
import warnings
from collections.abc import Callable, Iterator, Sequence
from contextlib import nullcontext
from functools import partial
from typing import Any

import numpy as np
import torch
from joblib import effective_n_jobs
from torch.utils.data import DataLoader, Dataset
from tqdm import tqdm

from skcnf._core.row_files import RowArray, RowFile
from skcnf._core.rows import row_batches
from skcnf.images._decoding import to_array
from skcnf.images._sources import digest, image_source
from skcnf.images._transforms import resize_and_crop

__all__ = ["as_tensor", "count_workers", "iter_batches", "load_images", "progress"]


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
            image = to_array(self.source[index + self.start], index + self.start)
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
    OSError
        If ``output`` cannot be written, another run is writing it (naming its process), or the disk is full.
    """
    source = image_source(X)
    shape = (len(source), size, size, 3)
    identity = f"images {size} {digest(source)}"
    prepare = partial(resize_and_crop, size=size)
    with nullcontext(RowArray(shape, "uint8")) if output is None else RowFile(output, shape, "uint8", identity) as rows:
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
