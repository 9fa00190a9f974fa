"""X_aux in shards, as memory maps and as torch Datasets."""

import re
import tracemalloc

import numpy as np
import pandas as pd
import pytest
import torch
from sklearn.base import clone
from torch.utils.data import Dataset, IterableDataset, TensorDataset

from skcnf import ContrastiveFlowDetector, FlowDetector, MSEDetector, MSERatioDetector
from skcnf.detectors import _flow
from tests.detectors.test_detectors import EVERY

SMALL = {"n_blocks": 2, "hidden_units": 8, "max_epochs": 2, "device": "cpu", "random_state": 0}


class Items(Dataset):
    """Rows with labels, one at a time; counts how often it is asked."""

    def __init__(self, X):
        self.X, self.n_asked = X, 0

    def __len__(self):
        return len(self.X)

    def __getitem__(self, index):
        self.n_asked += 1
        return torch.from_numpy(self.X[index]), 7


def _memory_maps(X, folder, n):
    paths = [folder / f"{number}.npy" for number in range(n)]
    for path, part in zip(paths, np.array_split(X, n), strict=True):
        np.save(path, part)
    return [np.load(path, mmap_mode="r") for path in paths]


@pytest.mark.parametrize("detector", EVERY, ids=lambda detector: type(detector).__name__)
def test_shards_count_as_one_array(detector, rows, tmp_path):
    X, X_aux, X_test, _ = rows
    expected = clone(detector).fit(X, X_aux=X_aux).score_samples(X_test)
    maps, items = _memory_maps(X_aux, tmp_path, 3), Items(X_aux)
    for shards in ((X_aux[:700], X_aux[700:]), list(maps), (maps[0], Items(np.asarray(X_aux[667:]))), items):
        found = clone(detector).fit(X, X_aux=shards).score_samples(X_test)
        np.testing.assert_allclose(found, expected, rtol=1e-6)


def test_shards_and_datasets_may_come_second(rows):
    X, X_aux, X_test, _ = rows
    expected = MSERatioDetector(random_state=0).fit(X, X_aux).score_samples(X_test)
    for second in ((X_aux[:9], X_aux[9:]), [X_aux[:9], X_aux[9:]], Items(X_aux), (Items(X_aux[:9]), X_aux[9:])):
        found = MSERatioDetector(random_state=0).fit(X, second).score_samples(X_test)
        np.testing.assert_allclose(found, expected, rtol=1e-9)


def test_flows_train_from_shards_that_are_not_in_memory(rows, tmp_path, monkeypatch):
    X, X_aux, X_test, _ = rows
    expected = ContrastiveFlowDetector(**SMALL).fit(X, X_aux).score_samples(X_test)
    monkeypatch.setattr(_flow, "_MAX_NUMBERS_IN_MEMORY", 100)
    items = Items(X_aux)
    for shards in (tuple(_memory_maps(X_aux, tmp_path, 4)), items):
        found = ContrastiveFlowDetector(**SMALL).fit(X, X_aux=shards).score_samples(X_test)
        np.testing.assert_array_equal(found, expected)
    # the first item, the check of all and of a sample of 2,000, the validation rows, then two epochs of 3 batches
    assert items.n_asked == 1 + len(X_aux) + 2000 + round(0.1 * len(X_aux)) + 2 * 3 * 256


def test_shards_are_not_copied(tmp_path, monkeypatch):
    """Sixteen maps of 4 MiB each; a fit to them takes a fraction of these 64 MiB."""
    rng = np.random.default_rng(0)
    X, part = rng.normal(size=(400, 16)), rng.normal(size=(65_536, 16)).astype(np.float32)
    np.save(tmp_path / "part.npy", part)
    shards = tuple(np.load(tmp_path / "part.npy", mmap_mode="r") for _ in range(16))
    monkeypatch.setattr(_flow, "_MAX_NUMBERS_IN_MEMORY", 1000)
    peaks = {}
    for name, X_aux in {"maps": shards, "copy": np.concatenate(shards)}.items():
        tracemalloc.start()
        FlowDetector(**SMALL).fit(X, X_aux=X_aux)
        peaks[name] = tracemalloc.get_traced_memory()[1] / 2**20
        tracemalloc.stop()
    # a permutation of a million numbers takes 8 MiB, its parts as much again, the validation rows and a reading batch 4
    assert peaks["maps"] < 40
    assert peaks["maps"] < peaks["copy"] + 8


class _Endless(IterableDataset):
    def __iter__(self):
        return iter(())


@pytest.mark.parametrize(
    ("X_aux", "error", "message"),
    [
        ((), ValueError, "X_aux is an empty tuple"),
        ([], ValueError, "X_aux is an empty list"),
        ((np.ones((5, 4)), np.ones((5, 3))), ValueError, "X_aux[1] has 3 features, but X has 4"),
        ((np.ones((5, 4)), Items(np.ones((5, 3)))), ValueError, "X_aux[1] has 3 features, but X has 4"),
        (Items(np.ones((1, 4))), ValueError, "X_aux is a Items of 1 items; at least 2 are needed"),
        (_Endless(), TypeError, "X_aux is a _Endless, whose length is unknown; give a Dataset with a length"),
        (TensorDataset(torch.zeros(9, 8, 8)), ValueError, "X_aux is a TensorDataset that cannot be used as rows of"),
        (Items(np.full((5, 4), np.nan)), ValueError, "Input X_aux contains NaN"),
        ([np.ones((5, 4)), np.full((5, 4), np.inf)], ValueError, "Input X_aux[1] contains infinity"),
        ([[1.0, 2.0], [3.0, 4.0]], ValueError, "X_aux has 2 features, but X has 4"),
    ],
)
def test_bad_shards_are_named(rows, X_aux, error, message):
    detector = MSERatioDetector(random_state=0)
    with pytest.raises(error, match=re.escape(message)):
        detector.fit(rows[0], X_aux=X_aux)
    assert not hasattr(detector, "offset_")


def test_a_dataset_is_no_X(rows):
    with pytest.raises(TypeError, match=r"X must be an array .*; got a Items\. X_aux alone may be a Dataset"):
        MSEDetector().fit(Items(rows[0]))


def test_frames_may_be_shards(rows):
    X, X_aux, X_test, _ = rows
    X, X_aux, X_test = (pd.DataFrame(part, columns=list("abcd")) for part in (X, X_aux, X_test))
    found = MSERatioDetector(random_state=0).fit(X, X_aux=[X_aux[:9], X_aux[9:]]).score_samples(X_test)
    expected = MSERatioDetector(random_state=0).fit(X, X_aux=X_aux).score_samples(X_test)
    np.testing.assert_allclose(found, expected, rtol=1e-9)


def test_a_second_fit_starts_anew(rows):
    """There is no warm start: rows that trained before would calibrate now."""
    X, X_aux, X_test, _ = rows
    once = ContrastiveFlowDetector(**SMALL).fit(X, X_aux)
    twice = ContrastiveFlowDetector(**SMALL).partial_fit(X - 1, X_aux=X_aux).fit(X_aux[:600], X_aux).fit(X, X_aux)
    np.testing.assert_array_equal(twice.decision_function(X_test), once.decision_function(X_test))
    np.testing.assert_array_equal(twice.calibration_scores_, once.calibration_scores_)
    with pytest.raises(TypeError, match="warm_start"):
        ContrastiveFlowDetector(warm_start=True)
