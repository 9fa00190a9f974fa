"""Files of features, read block by block."""

from __future__ import annotations

import warnings
import zipfile
from abc import ABC, abstractmethod
from collections import deque
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

__all__ = ["FEATURE_SUFFIXES", "FeatureFile", "load_array", "open_features"]

FEATURE_SUFFIXES = {".npy", ".npz", ".csv", ".parquet"}


class FeatureFile(ABC):
    """Rows of numbers in a file.

    Parameters
    ----------
    path : Path
    """

    n_rows: int | None = None  # where the file tells it without being read

    def __init__(self, path: Path) -> None:
        self.path = path

    @abstractmethod
    def blocks(self, size: int, start: int = 0) -> Iterator[Any]:
        """Arrays or frames of up to ``size`` rows, from row ``start`` on."""


class _ArrayRows(FeatureFile):
    def __init__(self, path: Path, array: np.ndarray) -> None:
        super().__init__(path)
        if array.ndim != 2 or array.dtype.kind not in "fiub":
            raise ValueError(
                f"'{path}' holds an array of shape {array.shape} and type {array.dtype}; features are numbers of shape "
                "(n, n_features), and images are uint8 of shape (n, h, w, 3)."
            )
        self._array, self.n_rows = array, len(array)

    def blocks(self, size: int, start: int = 0) -> Iterator[np.ndarray]:
        for first in range(start, len(self._array), size):
            yield np.asarray(self._array[first : first + size])


class _CsvRows(FeatureFile):
    def __init__(self, path: Path) -> None:
        super().__init__(path)
        first = self._read(nrows=1, header=None, dtype=str).iloc[0]
        self._header = 0 if _are_names(first) else None
        if self._header == 0:
            if pd.isna(first.iloc[0]):
                raise ValueError(
                    f"the first column of '{path}' has no name: it seems to be the index that pandas writes. Save the "
                    "rows with index=False."
                )
            rows = self._first_rows()
            if len(rows) == 0:
                raise ValueError(f"'{path}' holds names of columns and no row.")
            _check_numeric(rows, path)

    def _first_rows(self) -> Any:
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("error", pd.errors.ParserWarning)  # values without a name would be dropped
                return self._read(nrows=100, header=0)
        except pd.errors.ParserWarning:
            raise ValueError(f"'{self.path}' has rows of more values than its first line has names.") from None

    def _read(self, **options: Any) -> Any:
        with _naming(self.path):
            return pd.read_csv(self.path, index_col=False, **options)  # the first column is a feature like the others

    def blocks(self, size: int, start: int = 0) -> Iterator[Any]:
        first = 0
        with _naming(self.path), self._read(chunksize=size, header=self._header) as chunks:
            for chunk in chunks:
                skipped = min(max(start - first, 0), len(chunk))  # parsed again, which costs little beside scoring
                if skipped < len(chunk):
                    yield _numbers(chunk.iloc[skipped:], named=self._header == 0)
                first += len(chunk)


class _ParquetRows(FeatureFile):
    def __init__(self, path: Path) -> None:
        super().__init__(path)
        try:
            from pyarrow import ArrowException
            from pyarrow.parquet import ParquetFile
        except ImportError:
            raise ValueError(
                f"reading '{path}' needs pyarrow: pip install pyarrow, or save the rows as .npy."
            ) from None
        try:
            self._file = ParquetFile(path)
        except ArrowException as error:
            raise ValueError(f"'{path}' is no readable Parquet file: {error}") from error
        self.n_rows = self._file.metadata.num_rows
        _check_numeric(self._file.schema_arrow.empty_table().to_pandas(), path)

    def blocks(self, size: int, start: int = 0) -> Iterator[Any]:
        groups = deque(range(self._file.num_row_groups))
        while groups and start >= (n_rows := self._file.metadata.row_group(groups[0]).num_rows):
            start -= n_rows  # not even read
            groups.popleft()
        for batch in self._file.iter_batches(size, row_groups=list(groups)):
            skipped, start = min(start, len(batch)), max(start - len(batch), 0)
            if skipped < len(batch):
                yield _numbers(batch.to_pandas().iloc[skipped:], named=True)


def _are_names(first: Any) -> bool:
    """Whether the first row of a CSV file holds names: texts, or the numbers by which pandas names columns."""
    given = first.dropna()
    if pd.to_numeric(given, errors="coerce").isna().any():
        return True
    values = first.iloc[1:] if pd.isna(first.iloc[0]) else first  # its index has no name
    return len(values) > 1 and values.tolist() == [str(number) for number in range(len(values))]


@contextmanager
def _naming(path: Path) -> Iterator[None]:
    try:
        yield
    except (pd.errors.ParserError, pd.errors.EmptyDataError, UnicodeDecodeError) as error:
        raise ValueError(f"'{path}' is no readable CSV file of features: {error}") from error


def _check_numeric(frame: Any, path: Path) -> None:
    text = [str(name) for name in frame.columns if not pd.api.types.is_numeric_dtype(frame[name])]
    if text:
        shown = ", ".join(repr(name) for name in text[:5]) + (" ..." if len(text) > 5 else "")
        raise ValueError(
            f"the columns {shown} of '{path}' hold no numbers; features are a table of numbers, with or without a line "
            "of names. Drop those columns."
        )


def _numbers(frame: Any, named: bool) -> Any:
    """All values as numbers, NaN where one is none; without names an array."""
    frame = frame.apply(pd.to_numeric, errors="coerce").astype(np.float64)
    return frame.rename(columns=str) if named else frame.to_numpy()


def load_array(path: Path) -> np.ndarray:
    """The array of an .npy file, mapped, or the only one of an .npz.

    Raises
    ------
    ValueError
        If the file is damaged, holds Python objects or several arrays (naming it).
    """
    try:
        loaded = np.load(path, mmap_mode="r", allow_pickle=False)
        if isinstance(loaded, np.ndarray):
            return loaded
        with loaded:
            names = loaded.files
            if len(names) == 1 or "X" in names:
                array = loaded["X" if "X" in names else names[0]]
                if not isinstance(array, np.ndarray):
                    raise ValueError("its member is no array")
                return array
    except (ValueError, EOFError, zipfile.BadZipFile) as error:
        raise ValueError(f"'{path}' is no readable array of numbers: {error}") from error
    raise ValueError(f"'{path}' holds the arrays {', '.join(names)}; save the features alone, or call them X.")


def open_features(path: Path) -> FeatureFile:
    """A file of features of one of `FEATURE_SUFFIXES`.

    Raises
    ------
    ValueError
        If it holds no table of numbers (naming it).
    """
    suffix = path.suffix.lower()
    readers: dict[str, Callable[[Path], FeatureFile]] = {".csv": _CsvRows, ".parquet": _ParquetRows}
    features = readers[suffix](path) if suffix in readers else _ArrayRows(path, load_array(path))
    if features.n_rows == 0:
        raise ValueError(f"'{path}' holds no row.")
    return features
