"""What a user gives as NORMAL, AUX or NEW: images or features, from wherever they are."""

from __future__ import annotations

import glob
import os
import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple, TypeAlias

import numpy as np

from skcnf.cli._feature_files import FEATURE_SUFFIXES, FeatureFile, load_array, open_features
from skcnf.cli._paths import check_exists
from skcnf.images import IMAGE_SUFFIXES, Intensity, digest, image_source, item_names

if TYPE_CHECKING:
    from skcnf.moco import MocoFeaturizer
    from skcnf.tiling import TileEncoder

Featurizer: TypeAlias = "MocoFeaturizer | TileEncoder"

__all__ = [
    "Block",
    "FeatureInput",
    "Featurizer",
    "ImageInput",
    "Input",
    "open_input",
]


class Block(NamedTuple):
    """Some inputs in their order.

    Attributes
    ----------
    names : list of str or int
        Of every input: a path, ``zip!member`` or the number of a row.
    errors : list of str or None
        Of every input: why it is unreadable.
    X : ndarray or DataFrame of shape (n, d)
        Features of those that are readable.
    """

    names: list[Any]
    errors: list[str | None]
    X: Any


@dataclass(frozen=True, eq=False)
class ImageInput:
    """Images.

    Parameters
    ----------
    source : sequence or iterator
        An `image_source`, or the paths of a stream.
    names : sequence of str or None
        Of the images; None on a stream.
    intensity : (float, float) or None
        Which values of 16-bit and float images are black and white.
    """

    source: Any
    names: Sequence[str] | None
    intensity: Intensity | None = None

    @property
    def n_rows(self) -> int | None:
        """How many images there are; None on a stream."""
        return None if self.names is None else len(self.names)

    @property
    def identity(self) -> str | None:
        """Names the content; None on a stream."""
        return None if self.names is None else digest(self.source, self.intensity)

    def blocks(self, featurizer: Featurizer, start: int = 0, stop: int | None = None) -> Iterator[Block]:
        """Features of the images as they come, in the featurizer's batches."""
        for batch in featurizer.stream(self.source, start=start, stop=stop):
            rows = [image.features for image in batch if image.features is not None]
            X = np.stack(rows) if rows else np.empty((0, featurizer.n_features_out_), np.float32)
            names = [image.name if self.names is None else self.names[image.index] for image in batch]
            yield Block(names, [image.error for image in batch], X)

    def listed(self) -> ImageInput:
        """The same with a stream read to its end.

        Raises
        ------
        ValueError
            If it holds nothing.
        """
        if self.names is not None:
            return self
        paths = list(self.source)
        if not paths:
            raise ValueError("standard input named no image.")
        return ImageInput(paths, item_names(paths, paths), self.intensity)


@dataclass(frozen=True, eq=False)
class FeatureInput:
    """Features in a file.

    Parameters
    ----------
    file : FeatureFile
    """

    file: FeatureFile

    @property
    def n_rows(self) -> int | None:
        """How many rows there are, where the file tells it."""
        return self.file.n_rows

    @property
    def identity(self) -> str:
        """Names the content."""
        state = os.stat(self.file.path)
        return f"features {os.path.abspath(self.file.path)} {state.st_size} {state.st_mtime_ns}"

    def blocks(self, size: int, start: int = 0, stop: int | None = None) -> Iterator[Block]:
        """Rows in blocks of up to ``size``; one that holds no finite numbers is unreadable."""
        for rows in self.file.blocks(size, start):
            rows = rows if stop is None else rows[: stop - start]
            good = np.asarray(np.isfinite(np.asarray(rows, dtype=np.float64)).all(axis=1))
            names = list(range(start, start + len(rows)))
            errors = [None if ok else "it holds a value that is no finite number" for ok in good]
            start += len(rows)
            yield Block(names, errors, rows[good])
            if start == stop:
                return


Input = ImageInput | FeatureInput


def open_input(texts: Sequence[str], role: str, intensity: Intensity | None = None) -> Input:
    """Find out what was given, and that it is there.

    Parameters
    ----------
    texts : sequence of str
        Arguments of the command line: one of anything, or several of folders, globs and image files.
    role : str
        The argument's name, for messages.
    intensity : (float, float), optional
        Which values of 16-bit and float images are black and white.

    Raises
    ------
    ValueError
        If something is missing, is neither images nor features, or both are mixed.
    """
    if "-" in texts:
        if len(texts) > 1:
            raise ValueError(f"{role}: '-' (paths on standard input) stands alone; got {' '.join(texts)}.")
        return ImageInput(_paths_on_standard_input(), None, intensity)
    for text in texts:
        _check_given(text, role)
    kinds = {text: Path(text).suffix.lower() in FEATURE_SUFFIXES and not os.path.isdir(text) for text in texts}
    if not any(kinds.values()):
        return _images(texts, role, intensity)
    if len(texts) > 1:
        features = next(text for text in texts if kinds[text])
        raise ValueError(f"{role}: '{features}' holds features and must be the only {role}; got {len(texts)} of them.")
    return _array_or_features(Path(texts[0]), intensity)


def _array_or_features(path: Path, intensity: Intensity | None) -> Input:
    if path.suffix.lower() in (".npy", ".npz"):
        array = load_array(path)
        if array.ndim in (3, 4):
            try:
                return ImageInput(image_source(array, intensity), item_names(array, array), intensity)
            except ValueError as error:
                raise ValueError(f"'{path}' cannot be used as images: {error}") from error
    return FeatureInput(open_features(path))


def _images(texts: Sequence[str], role: str, intensity: Intensity | None) -> ImageInput:
    if len(texts) == 1:
        source = image_source(texts[0])
        return ImageInput(source, item_names(texts[0], source), intensity)
    zips = [text for text in texts if text.lower().endswith(".zip")]
    if zips:
        raise ValueError(f"{role}: the zip '{zips[0]}' must be the only {role}; got {len(texts)} of them.")
    sources = [image_source(text) for text in texts]
    paths = [source[place] for source in sources for place in range(len(source))]
    return ImageInput(paths, item_names(paths, paths), intensity)


def _check_given(text: str, role: str) -> None:
    if glob.has_magic(text) and not os.path.lexists(text):
        if next(glob.iglob(text, recursive=True), None) is None:
            raise ValueError(f"{role} '{text}': no file matches.")
        return
    check_exists(text, role)
    if os.path.isfile(text) and not _is_known(text):
        wanted = "images (a folder, a zip, a glob, an image file) nor features (.npy, .npz, .csv, .parquet)"
        raise ValueError(f"{role} '{text}' is neither {wanted}.")


def _is_known(text: str) -> bool:
    suffix = Path(text).suffix.lower()
    return suffix in FEATURE_SUFFIXES or suffix == ".zip" or suffix in IMAGE_SUFFIXES


def _paths_on_standard_input() -> Iterator[str]:
    for line in sys.stdin.buffer:
        path = os.fsdecode(line.rstrip(b"\r\n"))
        if path:
            yield path
