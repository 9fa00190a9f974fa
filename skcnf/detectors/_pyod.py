"""pyod's detectors behind scikit-learn's contract: the sign is flipped here, and nowhere else."""

from __future__ import annotations

from typing import Any

import numpy as np
from sklearn.base import clone

from skcnf.detectors._base import BaseOutlierDetector

__all__ = ["PyODDetector"]


class PyODDetector(BaseOutlierDetector):
    """Any detector of pyod as a scikit-learn outlier detector.

    pyod scores abnormality and labels anomalies 1; here higher is more normal and anomalies are -1. pyod's own
    ``contamination`` and threshold are not used.

    Parameters
    ----------
    detector : pyod detector
        Cloned, then fitted. Its ``random_state``, where it has one that is None, follows ``random_state``.
    contamination : "auto" or float in (0, 0.5], default="auto"
        A float is the share of training rows that ``predict`` flags. "auto" sets the threshold for
        ``false_alarm_rate`` on held-out rows.
    false_alarm_rate : float in (0, 1), default=0.05
        With ``contamination="auto"``: the share of new inliers that may be flagged.
    validation_fraction : float in (0, 0.5), default=0.1
        Share of rows that calibrates the threshold under "auto"; the detector is then refitted on all rows.
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

    def _fit_scorer(self, X: np.ndarray, X_aux: np.ndarray | None, random_state: np.random.RandomState) -> None:
        seed = int(random_state.randint(2**31 - 1))
        calibration = None
        if self.contamination == "auto":
            train, held_out = self._split_rows(len(X), random_state)
            self.detector_ = self._fitted(X[train], seed)
            calibration = self._score_samples(X[held_out])
        self.detector_ = self._fitted(X, seed)
        train_scores = None if self.contamination == "auto" else self._score_samples(X)
        self._set_offset(train_scores, calibration)

    def _fitted(self, X: np.ndarray, seed: int) -> Any:
        detector = clone(self.detector)
        params = detector.get_params(deep=False)
        if "random_state" in params and params["random_state"] is None:
            detector.set_params(random_state=seed)
        return detector.fit(X)

    def _score_samples(self, X: np.ndarray) -> np.ndarray:
        return -np.asarray(self.detector_.decision_function(X), dtype=np.float64)
