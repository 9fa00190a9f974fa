"""The detectors of the tables by name. They have the defaults of this package or of pyod, unless the name says more.

The means, the Gaussians and pyod's detectors hold no rows out: a float contamination lets them learn from every inlier.
"""

from __future__ import annotations

import importlib
from collections.abc import Callable, Iterable
from functools import partial
from typing import Any

from sklearn.base import BaseEstimator

from skcnf.detectors import (
    ContrastiveFlowDetector,
    CSIDetector,
    FlowDetector,
    FlowRatioDetector,
    GaussianDetector,
    GaussianRatioDetector,
    GOADDetector,
    MSEDetector,
    MSERatioDetector,
    OutlierExposureDetector,
    PyODDetector,
    RotTransDetector,
)

__all__ = [
    "IMAGE_DETECTORS",
    "MAIN_DETECTORS",
    "PAPER_SETTINGS",
    "TABLE1_DETECTORS",
    "detector_names",
    "is_deterministic",
    "make_detectors",
]

TABLE1_DETECTORS = (
    *("CF", "CF (Table 6)", "OE", "Flow", "Flow (likelihood stop)", "Flow-ratio", "MSE", "MSE-ratio", "GOAD"),
    *("Gaussian", "Gaussian (whitened)", "Gaussian-ratio"),
    *("KNN", "PCA", "KDE", "LOF", "IForest"),
)
# The main table leaves out two rows of Table 1 that take a third of its time, and a variant.
_ASIDE = ("CF (Table 6)", "GOAD", "Gaussian (whitened)")
MAIN_DETECTORS = tuple(name for name in TABLE1_DETECTORS if name not in _ASIDE)

IMAGE_DETECTORS = ("Rot+Trans", "CSI")  # they take images, not features
_ON_NEARLY_ALL_ROWS: dict[str, Any] = {"validation_fraction": 0.01}  # scoring all of them would take minutes
_ON_ALL_ROWS = {"contamination": 0.1}  # it moves the threshold alone, which no table reads

# What Table 6 states and this package's defaults depart from: the clamp, in the space of unit-norm features, and plain
# weights, since the paper speaks of no average.
PAPER_SETTINGS: dict[str, Any] = {"nll_clamp": 0.0, "standardize": False, "weight_averaging": 0.0}

_FLOWS: dict[str, tuple[type[BaseEstimator], dict[str, Any]]] = {
    "CF": (ContrastiveFlowDetector, {}),
    "CF (Table 6)": (ContrastiveFlowDetector, PAPER_SETTINGS),
    "OE": (OutlierExposureDetector, {}),
    "Flow": (FlowDetector, {}),
    "Flow (likelihood stop)": (FlowDetector, {"stopping": "likelihood"}),
    "Flow-ratio": (FlowRatioDetector, {}),
    "Flow-ratio, fine-tuned": (FlowRatioDetector, {"fine_tune": True}),
    **{f"CF, clamp {c:+g}": (ContrastiveFlowDetector, {"nll_clamp": float(c)}) for c in (-300, -200, -100, 0, 100)},
    **{f"CF, noise {n:g}": (ContrastiveFlowDetector, {"noise_std": n}) for n in (0.0, 0.003, 0.03, 0.1)},
    **{f"CF, aux_weight {w:g}": (ContrastiveFlowDetector, {"aux_weight": w}) for w in (0.1, 0.3, 0.5, 2.0)},
    **{f"CF, {n} epochs": (ContrastiveFlowDetector, {"max_epochs": n, "stopping": "none"}) for n in (2, 5, 10, 20, 40)},
    "CF, 3 flows": (ContrastiveFlowDetector, {"n_flows": 3}),
    "Flow, 3 flows": (FlowDetector, {"n_flows": 3}),
    **{f"CF-FT, {n} epochs first": (ContrastiveFlowDetector, {"warmup_epochs": n}) for n in (1, 2, 5)},
}
_CLOSED_FORMS: dict[str, tuple[Callable[..., BaseEstimator], dict[str, Any]]] = {
    "MSE": (MSEDetector, {}),
    "MSE-ratio": (MSERatioDetector, {}),
    "Gaussian": (GaussianDetector, {}),
    "Gaussian (whitened)": (GaussianDetector, {"whiten": True}),
    "Gaussian-ratio": (GaussianRatioDetector, {}),
    # Whitened rows of unit norm are all as far from the auxiliary mean: their ratio ranks as the Gaussian alone.
    "Gaussian-ratio (whitened)": (GaussianRatioDetector, {"whiten": True}),
}
# the modules of pyod's detectors; those of this package compute the same scores faster
_PYOD = {
    **{
        name: f"pyod.models.{name.lower()}"
        for name in ("KNN", "LOF", "ABOD", "MCD", "COPOD", "IForest", "Sampling", "LODA")
    },
    **{name: f"skcnf.paper._{name.lower()}" for name in ("KDE", "PCA", "INNE")},
}


def make_detectors(names: Iterable[str], device: str = "auto", memory: Any = None) -> dict[str, BaseEstimator]:
    """Make a new detector for each name, in the order given.

    Parameters
    ----------
    names : iterable of str
        Names that `detector_names` returns; upper and lower case are the same.
    device : str, default="auto"
        Where the flows are trained and score.
    memory : str, joblib.Memory or None, default=None
        A cache through which the classes share the auxiliary flow of Flow-ratio.

    Raises
    ------
    ValueError
        If a name is unknown.
    """
    by_lower = {name.lower(): name for name in detector_names()}
    names = list(names)
    unknown = [name for name in names if name.lower() not in by_lower]
    if unknown:
        raise ValueError(f"detectors: {unknown} unknown; choose from {detector_names()}.")
    makers = _makers(device, memory)
    return {by_lower[name.lower()]: makers[by_lower[name.lower()]]() for name in names}


def detector_names() -> list[str]:
    """Every name that `make_detectors` knows."""
    return list(_makers("auto", None))


def _makers(device: str, memory: Any) -> dict[str, Callable[[], BaseEstimator]]:
    """What makes each detector; pyod's modules are loaded only when one of them is made."""
    return {
        **{name: partial(_flow, cls, params, device, memory) for name, (cls, params) in _FLOWS.items()},
        **{name: partial(cls, **params, **_ON_ALL_ROWS) for name, (cls, params) in _CLOSED_FORMS.items()},
        "GOAD": partial(GOADDetector, device=device),
        "Rot+Trans": partial(RotTransDetector, device=device, **_ON_NEARLY_ALL_ROWS),
        "CSI": partial(CSIDetector, device=device, **_ON_NEARLY_ALL_ROWS),
        **{name: partial(_pyod, module, name) for name, module in _PYOD.items()},
    }


def _flow(cls: type[BaseEstimator], params: dict[str, Any], device: str, memory: Any) -> BaseEstimator:
    shared = {"memory": memory} if cls is FlowRatioDetector else {}
    return cls(device=device, **shared, **params)


def _pyod(module: str, name: str) -> PyODDetector:
    return PyODDetector(getattr(importlib.import_module(module), name)(), **_ON_ALL_ROWS)


def is_deterministic(detector: BaseEstimator) -> bool:
    """Whether scores are the same for every seed: where no rows are held out and the detector draws nothing."""
    if not isinstance(detector, (MSEDetector, GaussianDetector, PyODDetector)) or detector.contamination == "auto":
        return False
    return not isinstance(detector, PyODDetector) or "random_state" not in detector.detector.get_params()
