"""What the benchmarks of promises share: small detectors by name, and bounds that hold or do not."""

from __future__ import annotations

import importlib
import warnings
from collections.abc import Callable

import numpy as np
from sklearn.base import BaseEstimator

import skcnf
from skcnf.detectors import BaseFlowDetector, BaseImageDetector, BaseOutlierDetector

FLOW = {"n_blocks": 2, "hidden_units": 16, "max_epochs": 3, "batch_size": 64, "learning_rate": 0.01, "device": "cpu"}
SMALL = {"GOADDetector": {"n_transforms": 8, "n_outputs": 8, "hidden_units": 8, "device": "cpu"}}
PYOD = {
    "KNN": ("knn", {}),
    "OCSVM": ("ocsvm", {}),
    "IForest": ("iforest", {"n_estimators": 25}),
    "LOF": ("lof", {}),
}


def detectors() -> dict[str, Callable[..., BaseEstimator]]:
    """Every detector of features by its class's name, and four of pyod's by theirs; flows and GOAD are small."""
    own = [name for name in skcnf.__all__ if name.endswith("Detector") and _takes_rows(getattr(skcnf, name))]
    return {**{name: _own(name) for name in own}, **{name: _pyod(name) for name in PYOD}}


def _takes_rows(cls: type) -> bool:
    """Whether a detector takes rows of features and not images, and needs no other detector."""
    return issubclass(cls, BaseOutlierDetector) and not issubclass(cls, (BaseImageDetector, skcnf.PyODDetector))


def _own(name: str) -> Callable[..., BaseEstimator]:
    cls = getattr(skcnf, name)
    small = FLOW if issubclass(cls, BaseFlowDetector) else SMALL.get(name, {})
    return lambda **params: cls(**{**small, **params})


def _pyod(name: str) -> Callable[..., BaseEstimator]:
    module, small = PYOD[name]

    def make(**params):
        cls = getattr(importlib.import_module(f"pyod.models.{module}"), name)
        return skcnf.PyODDetector(cls(**small), **params)

    return make


def quiet(function, *args, **kwargs):
    """Call ``function`` without its warnings: of few rows, of a detector without auxiliary rows."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return function(*args, **kwargs)


def mean_and_error(values) -> tuple[float, float]:
    """The mean over seeds, and its standard error from the spread between them."""
    values = np.asarray(values)
    return float(values.mean()), float(values.std(ddof=1) / np.sqrt(len(values)))


def lowest_rate(n: int, rate: float) -> float:
    """What the false-alarm rate is at least where scores have no ties: floor((n + 1) rate) / (n + 1)."""
    return np.floor((n + 1) * rate + 1e-9) / (n + 1)
