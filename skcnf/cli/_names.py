"""Names that the command line knows without loading what they stand for."""

from __future__ import annotations

__all__ = ["COLUMNS", "DETECTORS", "GO_ON", "PYOD"]

GO_ON = "run the same command to go on"

DETECTORS = {
    "cf": "ContrastiveFlowDetector",
    "oe": "OutlierExposureDetector",
    "flow": "FlowDetector",
    "flow-ratio": "FlowRatioDetector",
    "gaussian": "GaussianDetector",
    "gaussian-ratio": "GaussianRatioDetector",
    "goad": "GOADDetector",
    "mse": "MSEDetector",
    "mse-ratio": "MSERatioDetector",
}
# Module of pyod and class. Only KNN can be saved; the others are here so that the refusal can say so.
PYOD = {
    "knn": "KNN",
    "abod": "ABOD",
    "copod": "COPOD",
    "ecod": "ECOD",
    "hbos": "HBOS",
    "iforest": "IForest",
    "inne": "INNE",
    "kde": "KDE",
    "loda": "LODA",
    "lof": "LOF",
    "mcd": "MCD",
    "ocsvm": "OCSVM",
    "pca": "PCA",
    "sampling": "Sampling",
}
COLUMNS = ("input", "status", "score", "p_value", "threshold", "verdict", "group", "error")
