"""The detectors of the main table, all on the same features with the same budget."""

from __future__ import annotations

from typing import Any

from sklearn.base import BaseEstimator

from skcnf.detectors import (
    ContrastiveFlowDetector,
    FlowDetector,
    FlowRatioDetector,
    MSEDetector,
    MSERatioDetector,
    OutlierExposureDetector,
    PyODDetector,
)

__all__ = ["PYOD_DETECTORS", "main_detectors"]

PYOD_DETECTORS = ("KNN", "PCA", "KDE", "LOF", "IForest")


def main_detectors(device: str = "auto", memory: Any = None) -> dict[str, BaseEstimator]:
    """Name to detector: contrastive flow, its ablations and relatives, and pyod's.

    Parameters
    ----------
    device : str, default="auto"
        Of the flows.
    memory : str, joblib.Memory or None, default=None
        Shares the auxiliary flow of Flow-ratio among classes.
    """
    from pyod.models.iforest import IForest
    from pyod.models.kde import KDE
    from pyod.models.knn import KNN
    from pyod.models.lof import LOF
    from pyod.models.pca import PCA

    # One leaf: in 128 dimensions the tree of KDE only costs time (2.4 times), the scores are the same.
    pyod = (KNN(), PCA(), KDE(leaf_size=100_000), LOF(), IForest())
    return {
        "CF": ContrastiveFlowDetector(device=device),
        "OE": OutlierExposureDetector(device=device),
        "Flow": FlowDetector(device=device),
        "Flow (likelihood stop)": FlowDetector(device=device, stopping="likelihood"),
        "Flow-ratio": FlowRatioDetector(device=device, memory=memory),
        "MSE": MSEDetector(),
        "MSE-ratio": MSERatioDetector(),
        **{name: PyODDetector(detector) for name, detector in zip(PYOD_DETECTORS, pyod, strict=True)},
    }
