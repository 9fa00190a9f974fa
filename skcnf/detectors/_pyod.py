"""pyod's detectors behind scikit-learn's contract: the sign is flipped here, and nowhere else."""

from __future__ import annotations

from typing import Any

import numpy as np
from sklearn.base import clone

from skcnf.detectors._base import BaseOutlierDetector, FitRows

__all__ = ["PyODDetector"]


class PyODDetector(BaseOutlierDetector):
    """Any detector of pyod as a scikit-learn outlier detector.

    pyod scores abnormality and labels anomalies 1; here higher is more normal and anomalies are -1. pyod's own
    ``contamination`` and threshold are not used.

    Parameters
    ----------
    detector : pyod detector
        It is cloned, then fitted. Where its own ``random_state`` is None, it follows ``random_state``. Detectors
        without one, e.g. OCSVM and LODA, draw from NumPy's global generator.
    contamination : "auto" or float in (0, 0.5], default="auto"
        A float is the share of training rows that ``predict`` flags. "auto" sets the threshold for
        ``false_alarm_rate`` on held-out rows.
    false_alarm_rate : float in (0, 1), default=0.05
        With ``contamination="auto"``: the share of new inliers that may be flagged.
    validation_fraction : float in (0, 0.5), default=0.1
        With ``contamination="auto"``: the share of the rows that is held out to calibrate the threshold.
    random_state : int, RandomState instance or None, default=None
        Draws the held-out rows and seeds the detector.

    Attributes
    ----------
    detector_ : pyod detector
        The fitted clone.
    offset_ : float
    n_features_in_ : int

    Examples
    --------
    >>> import numpy as np
    >>> from pyod.models.knn import KNN
    >>> from skcnf import PyODDetector
    >>> X = np.random.default_rng(0).normal(size=(500, 8))
    >>> PyODDetector(KNN(), random_state=0).fit(X).predict([[0.0] * 8, [9.0] * 8])
    array([ 1, -1])
    """

    def __init__(
        self,
        detector: Any,
        *,
        contamination: str | float = "auto",
        false_alarm_rate: float = 0.05,
        validation_fraction: float = 0.1,
        random_state: Any = None,
    ) -> None:
        self.detector = detector
        self.contamination = contamination
        self.false_alarm_rate = false_alarm_rate
        self.validation_fraction = validation_fraction
        self.random_state = random_state

    def _fit_rows(self, rows: FitRows) -> None:
        detector = clone(self.detector)
        params = detector.get_params(deep=False)
        if "random_state" in params and params["random_state"] is None:
            detector.set_params(random_state=rows.seed)
        self.detector_ = detector.fit(rows.train)

    def _score_samples(self, X: np.ndarray) -> np.ndarray:
        return -np.asarray(self.detector_.decision_function(X), dtype=np.float64)
