"""Outlier detectors with scikit-learn's contract, and auxiliary data where they can use it."""

from skcnf.detectors._base import BaseOutlierDetector
from skcnf.detectors._calibration import conformal_p_values, conformal_threshold
from skcnf.detectors._contrastive import ContrastiveFlowDetector, OutlierExposureDetector
from skcnf.detectors._flow import BaseFlowDetector, FlowDetector
from skcnf.detectors._gaussian import GaussianDetector, GaussianRatioDetector
from skcnf.detectors._goad import GOADDetector
from skcnf.detectors._many import fit_many
from skcnf.detectors._mean import MSEDetector, MSERatioDetector
from skcnf.detectors._pipelines import calibrate, p_values, select
from skcnf.detectors._pyod import PyODDetector
from skcnf.detectors._ratio import FlowRatioDetector
from skcnf.detectors.images import BaseImageDetector, CSIDetector, RotTransDetector

__all__ = [
    "BaseFlowDetector",
    "BaseImageDetector",
    "BaseOutlierDetector",
    "CSIDetector",
    "ContrastiveFlowDetector",
    "FlowDetector",
    "FlowRatioDetector",
    "GOADDetector",
    "GaussianDetector",
    "GaussianRatioDetector",
    "MSEDetector",
    "MSERatioDetector",
    "OutlierExposureDetector",
    "PyODDetector",
    "RotTransDetector",
    "calibrate",
    "conformal_p_values",
    "conformal_threshold",
    "fit_many",
    "p_values",
    "select",
]
