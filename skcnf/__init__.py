"""Anomaly detection with contrastive normalizing flows, for scikit-learn."""

from __future__ import annotations

import importlib
from typing import Any

__version__ = "0.2.0.dev0"

_HOME = {
    "CSIDetector": "skcnf.detectors",
    "ContrastiveFlowDetector": "skcnf.detectors",
    "FlowDetector": "skcnf.detectors",
    "FlowRatioDetector": "skcnf.detectors",
    "GOADDetector": "skcnf.detectors",
    "GaussianDetector": "skcnf.detectors",
    "GaussianRatioDetector": "skcnf.detectors",
    "MSEDetector": "skcnf.detectors",
    "MSERatioDetector": "skcnf.detectors",
    "OutlierExposureDetector": "skcnf.detectors",
    "PyODDetector": "skcnf.detectors",
    "RotTransDetector": "skcnf.detectors",
    "calibrate": "skcnf.detectors",
    "fit_many": "skcnf.detectors",
    "p_values": "skcnf.detectors",
    "select": "skcnf.detectors",
    "TiledDetector": "skcnf.tiling",
    "MocoFeaturizer": "skcnf.moco",
    "check_savable": "skcnf.saving",
    "info": "skcnf.saving",
    "load": "skcnf.saving",
    "load_detector": "skcnf.saving",
    "save": "skcnf.saving",
    "save_detector": "skcnf.saving",
    "load_encoder": "skcnf.moco",
    "save_encoder": "skcnf.moco",
    "InlierKFold": "skcnf.evaluation",
    "auxiliary_scorer": "skcnf.evaluation",
    "class_vs_class": "skcnf.evaluation",
    "dataset_vs_dataset": "skcnf.evaluation",
    "one_vs_rest": "skcnf.evaluation",
    "outlier_scorer": "skcnf.evaluation",
}
__all__ = sorted(_HOME)


def __getattr__(name: str) -> Any:
    """Load a public name, and with it torch, when it is first used."""
    if name not in _HOME:
        raise AttributeError(f"module 'skcnf' has no attribute {name!r}")
    value = getattr(importlib.import_module(_HOME[name]), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
