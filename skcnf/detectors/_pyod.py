"""pyod's detectors behind scikit-learn's contract: the sign is flipped here, and nowhere else."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import numpy as np
from sklearn.base import clone

from skcnf.detectors._base import BaseOutlierDetector, FitRows
from skcnf.detectors._docs import with_shared_parameters
from skcnf.detectors._pyod_tails import TailScorer
from skcnf.detectors._validation import warn_user

__all__ = ["PyODDetector"]

_N_NEIGHBOURS = 64  # rows that are scored twice to see whether a score depends on the others


@with_shared_parameters
@dataclass(kw_only=True, eq=False, repr=False)
class PyODDetector(BaseOutlierDetector):
    """Any detector of pyod as a scikit-learn outlier detector.

    pyod scores abnormality and labels anomalies 1; here higher is more normal and anomalies are -1. The score is the
    negative of pyod's, in pyod's unit. pyod's own ``contamination`` and threshold are not used.

    Parameters
    ----------
    detector : pyod detector
        It is cloned, then fitted. Where its own ``random_state`` is None, it follows ``random_state``. Some
        detectors without one draw from NumPy's global generator.
    {calibration_parameters}

    Attributes
    ----------
    detector_ : pyod detector
        The fitted clone.
    {fitted_attributes}

    Raises
    ------
    TypeError
        By ``fit``, if ``detector`` is none of pyod's.

    Notes
    -----
    pyod's COPOD and ECOD rank a row among the training rows and all rows that are scored with it. Here a row's score
    is the one that pyod gives it alone, whatever is scored beside it. Some other detectors of pyod, e.g. ROD and SOD,
    score a row differently alone and among others, or at random: then ``fit`` warns.

    Examples
    --------
    >>> import numpy as np
    >>> from pyod.models.knn import KNN
    >>> from skcnf import PyODDetector
    >>> X = np.random.default_rng(0).normal(size=(500, 8))
    >>> PyODDetector(KNN(), random_state=0).fit(X).predict([[0.0] * 8, [9.0] * 8])
    array([ 1, -1])
    """

    detector: Any = field(kw_only=False)

    def _fit_rows(self, rows: FitRows) -> None:
        _check_is_pyod(self.detector)
        detector = clone(self.detector)
        params = detector.get_params(deep=False)
        if "random_state" in params and params["random_state"] is None:
            detector.set_params(random_state=rows.seed)
        # in float64: pyod's PCA divides by eigenvalues, which float32 may round to 0
        self.detector_ = detector.fit(np.asarray(rows.train, dtype=np.float64))
        self._tails = TailScorer.of(self.detector_)
        self._warn_of_neighbours(rows.train[:_N_NEIGHBOURS])
        if not np.isfinite(self.detector_.decision_scores_).any():
            raise ValueError(
                f"{type(detector).__name__} gives no row of X a finite score; features that are constant or depend on "
                "each other can be the reason. Leave some out, or use another detector."
            )

    def _warn_of_neighbours(self, X: np.ndarray) -> None:
        """Warn where the score of a row is another one alone than among others."""
        try:
            alone, among = self._score_samples(X[:1])[0], self._score_samples(X)[0]
        except Exception as error:  # COF and SOD cannot score fewer rows than they take for neighbours
            found = f"it cannot score a row alone, or {len(X)} rows ({error})"
        else:
            if np.isclose(alone, among, rtol=1e-5):
                return
            found = f"a row of X has the score {alone:.6g} alone and {among:.6g} among {len(X) - 1} others"
        warn_user(
            self,
            f"{type(self.detector_).__name__} scores a row by the rows that come with it, or at random: {found}. The "
            "threshold holds only for rows that are scored as those that calibrated it, all at once.",
        )

    def _score_samples(self, X: np.ndarray) -> np.ndarray:
        if self._tails is not None:
            return -self._tails.score(X)
        return -np.asarray(self.detector_.decision_function(np.asarray(X, dtype=np.float64)), dtype=np.float64)


def _check_is_pyod(detector: Any) -> None:
    from pyod.models.base import BaseDetector

    if isinstance(detector, BaseDetector):
        return
    if isinstance(detector, type):
        raise TypeError(
            f"detector must be a fresh detector of pyod; got the class {detector.__name__}, not an instance."
        )
    raise TypeError(
        f"detector must be a detector of pyod, a subclass of pyod.models.base.BaseDetector; got "
        f"{type(detector).__name__}. scikit-learn's outlier detectors, and those of this package, work as they are: "
        "their signs need no adapter."
    )
