"""Decode and resize images, and put them into batches."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from contextlib import nullcontext
from functools import partial
from typing import Any

import numpy as np
import torch
from joblib import effective_n_jobs

from skcnf._core.progress import progress_bar
from skcnf._core.row_files import RowArray, RowFile
from skcnf._core.rows import row_batches
from skcnf.images._formats import reading
from skcnf.images._sources import ImageSource, digest, image_source
from skcnf.images._streams import decoded_batches, stack_images
from skcnf.images._transforms import as_tensor, resize_and_crop
from skcnf.images._values import Intensity, check_intensity, to_rgb

__all__ = ["count_threads", "iter_batches", "load_images"]


def iter_batches(
    source: ImageSource,
    batch_size: int,
    prepare: Callable[[torch.Tensor], torch.Tensor],
    *,
    device: torch.device | None = None,
    n_threads: int = 1,
    start: int = 0,
    intensity: Intensity | None = None,
) -> Iterator[torch.Tensor]:
    """Yield batches (n, 3, s, s), uint8, of an `image_source`, in order from row ``start``.

    ``prepare`` maps uint8 (..., 3, h, w) to (..., 3, s, s). Arrays are moved to ``device`` and prepared there, a batch
    at a time; anything else is decoded and prepared image by image, in ``n_threads`` threads.
    """
    device = device or torch.device("cpu")
    if isinstance(source, np.ndarray):
        for rows in row_batches(len(source) - start, batch_size):
            first, end = rows.start + start, rows.stop + start
            with reading(f"one of the images {first} to {end - 1} of X", "used"):
                pixels = to_rgb(source[first:end], source.ndim - 1, intensity)
            yield prepare(as_tensor(pixels).to(device).permute(0, 3, 1, 2))
        return
    for decoded in decoded_batches(source, prepare, batch_size, n_threads=n_threads, start=start, intensity=intensity):
        yield stack_images(decoded).to(device)


def load_images(
    X: Any,
    size: int,
    output: str | os.PathLike[str] | None = None,
    *,
    intensity: Intensity | None = None,
    n_jobs: int | None = None,
    verbose: bool = False,
) -> np.ndarray:
    """Load images from any source as one uint8 array of one size.

    Parameters
    ----------
    X : images
        Whatever `MocoFeaturizer` takes.
    size : int
        The short side is resized to this many pixels, with antialiasing, and the rest is cropped off evenly.
    output : path, optional
        An ``.npy`` file to write instead of filling memory. A run that was cut goes on where it stopped.
    intensity : tuple of 2 floats, optional
        The range that values of more than 8 bits are scaled by, see `MocoFeaturizer`.
    n_jobs : int, optional
        Threads that decode what is not in an array; -1 takes all cores.
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
    intensity = check_intensity(intensity)
    source = image_source(X, intensity)
    shape = (len(source), size, size, 3)
    identity = f"images {size} {intensity} {digest(source, intensity)}"
    prepare = partial(resize_and_crop, size=size)
    with nullcontext(RowArray(shape, "uint8")) if output is None else RowFile(output, shape, "uint8", identity) as rows:
        batches = iter_batches(
            source, 256, prepare, n_threads=count_threads(n_jobs), start=rows.n_done, intensity=intensity
        )
        with progress_bar(total=len(source), initial=rows.n_done, unit="image", verbose=verbose) as bar:
            for batch in batches:
                rows.append(batch.permute(0, 2, 3, 1).numpy())
                bar.update(len(batch))
        return rows.finish()


def count_threads(n_jobs: int | None) -> int:
    """Return the number of decoding threads for ``n_jobs``, which counts as joblib's does."""
    return int(effective_n_jobs(n_jobs))
