"""What every detector shares: the arguments of ``fit``, the threshold, and the sign of the scores."""

from __future__ import annotations

from abc import ABCMeta, abstractmethod
from collections.abc import Iterator, Sequence
from numbers import Real
from typing import Any, ClassVar

import numpy as np
from sklearn.base import BaseEstimator, OutlierMixin, _fit_context
from sklearn.utils import check_random_state
from sklearn.utils._param_validation import Interval, StrOptions
from sklearn.utils.validation import check_is_fitted

from skcnf.detectors._validation import check_aux, check_rows, inlier_mask, split_y_and_aux, warn_user
from skcnf.flows import FlowTask, train_together

__all__ = ["BaseOutlierDetector", "FitSteps", "conformal_threshold"]

FitSteps = Iterator[Sequence[FlowTask]]


def conformal_threshold(scores: np.ndarray, false_alarm_rate: float) -> tuple[float, bool]:
    """The threshold below which a new inlier falls with probability at most ``false_alarm_rate``.

    Parameters
    ----------
    scores : ndarray of shape (n,)
        Of inliers that took no part in training, exchangeable with the new one.
    false_alarm_rate : float
        Between 0 and 1.

    Returns
    -------
    threshold : float
        The score of rank floor((n + 1) * rate); the smallest where that rank is 0.
    holds : bool
        Whether n is large enough for the rate: n >= 1 / rate - 1.

    References
    ----------
    Vovk, Gammerman and Shafer, "Algorithmic Learning in a Random World", 2005, chapter 2 (inductive conformal
    predictors).
    """
    # 1e-9: (n + 1) * rate may fall short of a whole number by rounding alone, e.g. 20 * 0.05 for other pairs
    rank = int(np.floor((len(scores) + 1) * false_alarm_rate + 1e-9))
    return float(np.partition(scores, max(rank, 1) - 1)[max(rank, 1) - 1]), rank >= 1


class BaseOutlierDetector(OutlierMixin, BaseEstimator, metaclass=ABCMeta):
    """Base of the detectors. A subclass gives ``_fit_scorer`` and ``_score_samples``.

    ``fit`` splits inliers into training and held-out rows as the subclass asks, and learns ``offset_``.
    """

    _uses_aux: ClassVar[bool] = False
    _min_features: ClassVar[int] = 1
    # Pipelines route X_aux to fit without a call of set_fit_request.
    __metadata_request__fit: ClassVar[dict[str, bool]] = {"X_aux": True}

    _parameter_constraints: ClassVar[dict[str, list[Any]]] = {
        "contamination": [StrOptions({"auto"}), Interval(Real, 0, 0.5, closed="right")],
        "false_alarm_rate": [Interval(Real, 0, 1, closed="neither")],
        "validation_fraction": [Interval(Real, 0, 0.5, closed="neither")],
        "random_state": ["random_state"],
    }

    contamination: str | float
    false_alarm_rate: float
    validation_fraction: float
    random_state: Any

    @_fit_context(prefer_skip_nested_validation=True)
    def fit(self, X: Any, y: Any = None, X_aux: Any = None) -> BaseOutlierDetector:
        """Learn what is normal.

        Parameters
        ----------
        X : array-like of shape (n_samples, n_features)
            Inliers.
        y : array-like of shape (n_samples,), optional
            Ignored, unless it holds both +1 (inlier) and -1 (anomaly) and nothing else: then rows of -1 are left out
            of training and calibration. A second positional argument of two dimensions and more than one column, or a
            tuple of such, is ``X_aux``.
        X_aux : array-like of shape (n_aux, n_features) or tuple of such, optional
            Broad unlabelled rows. In cross-validation always pass a tuple: scikit-learn would slice an array as long
            as X.

        Returns
        -------
        self : object

        Raises
        ------
        ValueError
            If an argument is malformed; ``self`` is then left as it was.
        """
        for tasks in self._fit_in_steps(X, y, X_aux):
            train_together(tasks)
        return self

    def _fit_in_steps(self, X: Any, y: Any, X_aux: Any) -> FitSteps:
        """``fit``, but for the training of flows: whoever iterates does the tasks before asking for the next."""
        before = dict(vars(self))
        try:
            X, X_aux = self._checked(X, y, X_aux)
            if X_aux is None and self._uses_aux:
                warn_user(self, self._without_aux)
            yield from self._fit_scorer(X, X_aux, check_random_state(self.random_state)) or ()
        except BaseException:  # also on an interrupt: never leave a half-fitted detector
            vars(self).clear()
            vars(self).update(before)
            raise

    def _checked(self, X: Any, y: Any, X_aux: Any) -> tuple[np.ndarray, np.ndarray | None]:
        y, X_aux = split_y_and_aux(y, X_aux)
        X = check_rows(self, X, reset=True, min_samples=2, min_features=self._min_features)
        X_aux = check_aux(self, X_aux)
        mask = inlier_mask(y, len(X))
        X = X if mask is None else X[mask]
        if len(X) < 2:
            raise ValueError(f"y marks {len(X)} rows of X as inliers (+1); at least 2 are needed.")
        return X, X_aux

    _without_aux: ClassVar[str] = "fitted without X_aux."

    @abstractmethod
    def _fit_scorer(
        self, X: np.ndarray, X_aux: np.ndarray | None, random_state: np.random.RandomState
    ) -> FitSteps | None:
        """Fit on validated rows; must call ``_set_offset``. With flows to train, yields their tasks."""

    @abstractmethod
    def _score_samples(self, X: np.ndarray) -> np.ndarray:
        """Scores of validated rows, float64, higher = more normal."""

    def _split_rows(self, n_rows: int, random_state: np.random.RandomState) -> tuple[np.ndarray, np.ndarray]:
        """Row numbers (train, held out); at least one row is held out and at least one trained on."""
        n_held_out = min(n_rows - 1, max(1, round(self.validation_fraction * n_rows)))
        order = random_state.permutation(n_rows)
        return order[n_held_out:], order[:n_held_out]

    def _set_offset(self, train_scores: np.ndarray | None, calibration_scores: np.ndarray | None) -> None:
        """Learn ``offset_`` from scores of training rows (a float contamination) or of held-out ones ("auto")."""
        if self.contamination != "auto":
            self.offset_ = float(np.percentile(train_scores, 100.0 * self.contamination))
            return
        self.offset_, holds = conformal_threshold(calibration_scores, self.false_alarm_rate)
        if not holds:
            warn_user(
                self,
                f"{len(calibration_scores)} calibration rows cannot assure false_alarm_rate={self.false_alarm_rate:g} "
                f"(at least {np.ceil(1 / self.false_alarm_rate - 1 - 1e-9):.0f} are needed); the smallest of their "
                "scores is the threshold. Give more rows or a larger validation_fraction.",
            )

    def score_samples(self, X: Any) -> np.ndarray:
        """Score rows; higher = more normal.

        Parameters
        ----------
        X : array-like of shape (n_samples, n_features)

        Returns
        -------
        ndarray of shape (n_samples,), dtype float64
        """
        check_is_fitted(self)
        return self._score_samples(check_rows(self, X, reset=False))

    def decision_function(self, X: Any) -> np.ndarray:
        """``score_samples(X) - offset_``: negative for anomalies; shape (n_samples,)."""
        return self.score_samples(X) - self.offset_

    def predict(self, X: Any) -> np.ndarray:
        """+1 for inliers, -1 for anomalies; shape (n_samples,)."""
        return np.where(self.decision_function(X) >= 0, 1, -1)

    def fit_predict(self, X: Any, y: Any = None, X_aux: Any = None) -> np.ndarray:
        """``fit(X, y, X_aux)``, then ``predict(X)``."""
        return self.fit(X, y, X_aux=X_aux).predict(X)
