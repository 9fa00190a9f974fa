"""Rows that stay where they are look like an array."""

import numpy as np
import pytest
import torch
from torch.utils.data import TensorDataset

from skcnf._core.rows import DatasetRows, ShardedRows, StreamedRows

X = np.random.default_rng(0).normal(size=(20, 3)).astype(np.float32)


def _lazy():
    shards = ShardedRows([X[:7], X[7:8], DatasetRows(TensorDataset(torch.from_numpy(X[8:]), torch.zeros(12)), "X_aux")])
    return {"shards": shards, "dataset": DatasetRows(list(X), "X_aux")}


@pytest.mark.parametrize("name", ["shards", "dataset"])
@pytest.mark.parametrize(
    "index",
    [3, -1, slice(None), slice(5, 12), slice(2, 19, 4), slice(3, 3), np.array([19, 0, 7, 7, 3]), np.array([], int)],
    ids=str,
)
def test_rows_are_those_of_the_array(name, index):
    found = _lazy()[name][index]
    np.testing.assert_array_equal(found, X[index])
    assert found.dtype == np.float32


@pytest.mark.parametrize("name", ["shards", "dataset"])
def test_the_rest_is_that_of_the_array(name):
    lazy = _lazy()[name]
    assert (len(lazy), lazy.shape, lazy.ndim, lazy.size, lazy.dtype) == (20, (20, 3), 2, 60, X.dtype)
    np.testing.assert_array_equal(lazy[:, 1], X[:, 1])
    assert lazy[4, 2] == X[4, 2]
    np.testing.assert_array_equal(np.asarray(lazy), X)
    np.testing.assert_allclose(lazy.mean(axis=0, dtype=np.float64), X.mean(axis=0, dtype=np.float64), rtol=1e-12)
    with pytest.raises(IndexError):
        lazy[20]
    streamed = StreamedRows(lazy, np.arange(20)[::-1], lambda rows: rows, torch.device("cpu"))
    np.testing.assert_array_equal(streamed.read(), X[::-1])


def test_shards_of_both_precisions_are_read_in_the_higher():
    lazy = ShardedRows([X[:10], X[10:].astype(np.float64)])
    assert lazy[np.array([0, 15])].dtype == np.float64


def test_items_of_another_shape_are_named():
    with pytest.raises(ValueError, match=r"item 2 of X_aux has shape \(4,\); the first one has \(3,\)"):
        DatasetRows([X[0], X[1], np.zeros(4)], "X_aux")[:]
    with pytest.raises(ValueError, match="its items must be rows of numbers; the first has shape"):
        DatasetRows(TensorDataset(torch.zeros(3, 8, 8)), "X_aux")
