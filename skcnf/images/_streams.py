"""Decode images one after another in threads, in bounded memory. Each has its name, and a bad one stops no other."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial
from itertools import islice
from queue import Empty, Queue
from typing import Any

import torch
from torch import Tensor

from skcnf.images._decoding import to_array
from skcnf.images._formats import reading
from skcnf.images._sources import ImageSource, image_source, is_stream, item_name, item_names
from skcnf.images._transforms import as_tensor
from skcnf.images._values import Intensity

__all__ = ["DecodedImage", "decoded_batches", "iter_decoded", "stack_images"]

_PATIENCE = 0.1  # seconds that the first image of a stream's batch waits for others


@dataclass(frozen=True)
class DecodedImage:
    """One image that is prepared for an encoder, or the reason why it cannot be used.

    Attributes
    ----------
    index : int
        Its place in the source, from 0.
    name : str
        Its path, ``ZIP!MEMBER`` (``ZIP!SHEET#K`` for image K of a sheet, from 0), or its index. It is printable.
    image : Tensor of shape (3, s, s), dtype uint8, or None
    error : str or None
        Why it cannot be used, where ``image`` is None.
    """

    index: int
    name: str
    image: Tensor | None
    error: str | None


def iter_decoded(
    X: Any,
    prepare: Callable[[Tensor], Tensor],
    *,
    n_threads: int = 1,
    start: int = 0,
    intensity: Intensity | None = None,
) -> Iterator[DecodedImage]:
    """Yield the images of X in order, as they come. One that cannot be read comes as its error, and the rest goes on.

    Parameters
    ----------
    X : images
        A folder, a zip, a glob pattern or an image file; an array, a list or a torch Dataset of images; or an iterator
        without end of paths or images. An iterator is read in a thread of its own.
    prepare : callable
        Maps uint8 images (3, h, w) to (3, s, s).
    n_threads : int, default=1
        Threads that decode and prepare.
    start : int, default=0
        Images to pass over, undecoded.
    intensity : tuple of 2 floats, optional
        The range that values of more than 8 bits are scaled by, see `MocoFeaturizer`.

    Yields
    ------
    DecodedImage

    Raises
    ------
    ValueError
        If X is no source of images.
    """
    for batch in decoded_batches(X, prepare, 1, n_threads=n_threads, start=start, intensity=intensity):
        yield from batch


def decoded_batches(
    X: Any,
    prepare: Callable[[Tensor], Tensor],
    batch_size: int,
    *,
    n_threads: int = 1,
    start: int = 0,
    stop: int | None = None,
    intensity: Intensity | None = None,
) -> Iterator[list[DecodedImage]]:
    """Yield what `iter_decoded` yields in lists of up to ``batch_size``, and end before image number ``stop``.

    Lists are full but for the last one. An iterator's are what has come within a tenth of a second, so that the images
    of a slow camera, or of a pipe that stays open, do not wait for each other.
    """
    patience = _PATIENCE if is_stream(X) else None
    feed = _Feed(
        _jobs(X, start, stop, intensity, lambda item, index: prepare(_to_tensor(item, index, intensity))),
        batch_size,
        n_threads,
    )
    try:
        while batch := feed.take(batch_size, patience):
            yield batch
    finally:
        feed.close()


def stack_images(batch: Iterable[DecodedImage]) -> Tensor:
    """Stack the images of a batch to one tensor (n, 3, s, s), or raise the first error as a ValueError."""
    images = []
    for decoded in batch:
        if decoded.image is None:
            raise ValueError(decoded.error)
        images.append(decoded.image)
    return torch.stack(images)


def _to_tensor(item: Any, index: int, intensity: Intensity | None) -> Tensor:
    return as_tensor(to_array(item, index, intensity)).permute(2, 0, 1)


def _jobs(
    X: Any, start: int, stop: int | None, intensity: Intensity | None, decode: Callable[[Any, int], Tensor]
) -> Iterator[Callable[[], DecodedImage]]:
    """Yield a function for each image of X that decodes it."""
    for name, number in (("start", start), ("stop", stop)):
        if number is not None and number < 0:
            raise ValueError(f"{name}={number} must be at least 0.")
    if is_stream(X):
        for index, item in enumerate(islice(X, start, stop), start):
            yield partial(_decode, decode, index, item_name(item, index), [item], 0)
        return
    source = image_source(X, intensity)
    names = item_names(X, source)
    for index in range(start, len(source) if stop is None else min(stop, len(source))):
        yield partial(_decode, decode, index, names[index], source, index)


def _decode(
    decode: Callable[[Any, int], Tensor], index: int, name: str, source: ImageSource, place: int
) -> DecodedImage:
    try:
        return DecodedImage(index, name, decode(_item(source, place, index), index), None)
    except ValueError as error:
        return DecodedImage(index, name, None, str(error))
    except Exception as error:  # one that ends the whole run: whoever catches it can tell at which image
        error.add_note(name)
        raise


def _item(source: ImageSource, place: int, index: int) -> Any:
    """An item of a source; a Dataset's may be read only now, by its own code."""
    try:
        return source[place]
    except (OSError, SyntaxError) as error:  # which Pillow raises for files that are broken
        with reading(f"image {index} of X"):
            raise error


class _Feed:
    """Does jobs in threads and hands out their results in order. It is never more than a batch ahead.

    The jobs are drawn in a thread of their own, which may wait long for the next one, as on a pipe that stays open.
    """

    def __init__(self, jobs: Iterator[Callable[[], DecodedImage]], ahead: int, n_threads: int) -> None:
        self._pool = ThreadPoolExecutor(n_threads)
        self._results: Queue[Future[DecodedImage]] = Queue(max(ahead, n_threads))
        self._undone = threading.Semaphore(2 * n_threads)  # jobs not yet done hold their raw images
        self._closed = False
        self._end: BaseException | None = None
        threading.Thread(target=self._draw, args=(jobs,), daemon=True).start()

    def _draw(self, jobs: Iterator[Callable[[], DecodedImage]]) -> None:
        last: Future[DecodedImage] = Future()
        try:
            while not self._closed:
                self._undone.acquire()
                future = self._pool.submit(next(jobs))
                future.add_done_callback(lambda _: self._undone.release())
                self._results.put(future)
        except BaseException as error:  # StopIteration too: what ended the source ends whoever takes from it
            last.set_exception(error)
            self._results.put(last)

    def take(self, size: int, patience: float | None) -> list[DecodedImage]:
        """Return up to ``size`` next images, those within ``patience`` seconds of the first; none at the end."""
        batch: list[DecodedImage] = []
        deadline = None
        while len(batch) < size and self._end is None:
            try:
                future = self._results.get(timeout=deadline and max(deadline - time.monotonic(), 0))
            except Empty:
                break
            try:
                batch.append(future.result())
            except BaseException as error:  # raised when the images before it are handed out
                self._end = error
            if patience is not None and deadline is None:
                deadline = time.monotonic() + patience
        if self._end and not batch and not isinstance(self._end, StopIteration):
            raise self._end
        return batch

    def close(self) -> None:
        """Let the threads end. The one that draws ends when its source gives the next item."""
        self._closed = True
        self._undone.release()
        while not self._results.empty():
            self._results.get_nowait().cancel()
        self._pool.shutdown(wait=False, cancel_futures=True)
