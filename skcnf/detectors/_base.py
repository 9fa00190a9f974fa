"""What every detector shares: the arguments of ``fit``, the threshold, and the sign of the scores."""

from __future__ import annotations

from abc import ABCMeta, abstractmethod
from collections.abc import Generator, Sequence
from dataclasses import dataclass
from numbers import Real
from typing import Any, ClassVar, TypeAlias

import numpy as np
from sklearn.base import OutlierMixin, _fit_context
from sklearn.utils import check_random_state
from sklearn.utils._param_validation import Interval, StrOptions
from sklearn.utils.validation import check_is_fitted

from skcnf._core.rows import LazyRows
from skcnf.detectors._calibration import Calibration
from skcnf.detectors._decisions import DecisionMixin
from skcnf.detectors._validation import (
    all_or_nothing,
    check_aux,
    check_rows,
    inlier_mask,
    split_y_and_aux,
    warn_of_extremes,
    warn_user,
)
from skcnf.flows import FlowTask, train_together

__all__ = ["AuxiliaryRows", "BaseOutlierDetector", "FitRows", "FitSteps", "rows_of"]

AuxiliaryRows: TypeAlias = np.ndarray | LazyRows | None
FitSteps = Generator[Sequence[FlowTask]]  # of flows that the caller trains before it asks for more


@dataclass(frozen=True, kw_only=True)
class FitRows:
    """The rows of one fit by what they are for, and the seed of what the fit draws.

    Parameters
    ----------
    train : ndarray of shape (n, d)
        Inliers to learn from.
    calibration : ndarray of shape (n_calibration, d) or (n_calibration, k, d), or None
        Inliers that nothing learns from, as units of one row or of k; None where ``contamination`` is a float.
    X_aux : ndarray or LazyRows of shape (m, d), or None
    seed : int
    """

    train: np.ndarray
    calibration: np.ndarray | None
    X_aux: np.ndarray | LazyRows | None
    seed: int


def rows_of(units: np.ndarray) -> np.ndarray:
    """Return the rows (n * k, d) of units (n, k, d); rows (n, d) and images (n, s, s, 3) come back as they are."""
    return units.reshape(-1, units.shape[-1]) if units.ndim == 3 else units


@dataclass(kw_only=True, eq=False, repr=False)
class BaseOutlierDetector(OutlierMixin, DecisionMixin, metaclass=ABCMeta):
    """Base of the detectors.

    ``fit`` checks its arguments, splits the rows (``_split``), lets the subclass learn from its share (``_fit_rows``,
    or ``_training`` where flows are trained), scores the calibration rows, and sets ``offset_``. Nothing is fitted
    after that: what is calibrated is what scores. A subclass gives ``_fit_rows`` and ``_score_samples``.
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

    validation_fraction: float = 0.1
    contamination: str | float = "auto"
    false_alarm_rate: float = 0.05
    random_state: Any = None

    @_fit_context(prefer_skip_nested_validation=True)
    def fit(self, X: Any, y: Any = None, X_aux: Any = None) -> BaseOutlierDetector:
        """Learn what is normal.

        Parameters
        ----------
        X : array-like of shape (n_samples, n_features)
            Inliers.
        y : array-like of shape (n_samples,) or (n_samples, 1), optional
            Ignored, unless it holds both +1 (inlier) and -1 (anomaly) and nothing else, as numbers or as text: then
            rows of -1 are left out of training and calibration. Two other values warn that they are ignored. A second
            positional argument of two dimensions and more than one column, or a tuple of such, is ``X_aux``.
        X_aux : array-like of shape (n_aux, n_features), torch Dataset of rows, or tuple or list of such, optional
            Broad unlabelled rows. Several shards count as one array and are not copied, so that memory maps may be
            larger than memory together; the items of a Dataset, rows or tuples that begin with one, are read as they
            are needed. In cross-validation always pass a tuple: scikit-learn would slice what is as long as X.

        Returns
        -------
        self : object

        Raises
        ------
        TypeError
            If an argument is no array of numbers: a generator, a dict, a set, a path, or sparse rows.
        ValueError
            If an argument is malformed; ``self`` is then left as it was.
        FloatingPointError
            If training diverges; ``self`` is then left as it was.
        """
        for tasks in self._fit_in_steps(X, y, X_aux):
            train_together(tasks)
        return self

    def _fit_units(self, X: Any, rows_per_unit: int, X_aux: Any) -> BaseOutlierDetector:
        """``fit`` to units of several rows that follow each other in X, as an image's tiles do.

        Units are what is held out and calibrated: no unit has rows on both sides of the split, and a unit's score is
        that of its lowest row.
        """
        for tasks in self._fit_in_steps(X, None, X_aux, rows_per_unit):
            train_together(tasks)
        return self

    def _fit_in_steps(self, X: Any, y: Any, X_aux: Any, rows_per_unit: int = 1) -> FitSteps:
        """``fit``, but for the training of flows: whoever iterates does the tasks before asking for the next."""
        with all_or_nothing(self):
            X, X_aux = self._checked(X, y, X_aux)
            if X_aux is None and self._uses_aux:
                warn_user(self, self._without_aux)
            units = X if rows_per_unit == 1 else X.reshape(-1, rows_per_unit, X.shape[1])
            rows = self._split(units, X_aux, check_random_state(self.random_state))
            yield from self._training(rows)
            self._learn_offset(units, rows.calibration)

    def _checked(self, X: Any, y: Any, X_aux: Any, reset: bool = True) -> tuple[np.ndarray, AuxiliaryRows]:
        y, X_aux = split_y_and_aux(y, X_aux)
        min_features = self._min_features if reset else 1  # otherwise X must have as many as before
        X = check_rows(self, X, reset=reset, min_samples=2, min_features=min_features)
        X_aux = check_aux(self, X_aux)
        mask = inlier_mask(self, y, len(X))
        X = X if mask is None else X[mask]
        if len(X) < 2:
            raise ValueError(f"y marks {len(X)} rows of X as inliers (+1); at least 2 are needed.")
        warn_of_extremes(self, X, "X", None if mask is None else np.flatnonzero(mask))
        return X, X_aux

    _without_aux: ClassVar[str] = "fitted without X_aux."

    def _split(self, X: np.ndarray, X_aux: AuxiliaryRows, random_state: np.random.RandomState) -> FitRows:
        """Hold out units to calibrate with; where ``contamination`` is a float, every row is learnt from.

        X holds units: rows (n, d), or several rows each (n, k, d).
        """
        seed = int(random_state.randint(2**31 - 1))
        if self.contamination != "auto":
            return FitRows(train=rows_of(X), calibration=None, X_aux=X_aux, seed=seed)
        train, held_out = self._hold_out(len(X), random_state)
        return FitRows(train=rows_of(X[train]), calibration=X[held_out], X_aux=X_aux, seed=seed)

    def _hold_out(
        self, n_units: int, random_state: np.random.RandomState, at_least: int = 1
    ) -> tuple[np.ndarray, np.ndarray]:
        """Draw numbers of units (train, held out): ``at_least`` so many are held out, but one is left to train on."""
        n_held_out = min(n_units - 1, max(at_least, round(self.validation_fraction * n_units)))
        order = random_state.permutation(n_units)
        return order[n_held_out:], order[:n_held_out]

    def _training(self, rows: Any) -> FitSteps:
        """Learn from ``rows``, as ``_split`` made them; each step is a batch of flows that the caller trains."""
        self._fit_rows(rows)
        yield from ()

    def _fit_rows(self, rows: FitRows) -> None:
        """Learn from ``rows.train``, and from ``rows.X_aux`` where it is of use."""
        raise NotImplementedError(f"{type(self).__name__} must define _fit_rows or _training.")

    @abstractmethod
    def _score_samples(self, X: np.ndarray) -> np.ndarray:
        """Scores of validated rows, float64, higher = more normal."""

    def _learn_offset(self, X: np.ndarray, calibration: np.ndarray | None) -> None:
        """Set ``offset_`` by the scores of held-out units, or of all units where ``contamination`` is a float."""
        if calibration is not None:
            self._apply(Calibration.of(self._score_units(calibration)), self.false_alarm_rate, recalibrated=False)
            return
        self._forget_calibration()
        self.offset_ = float(np.percentile(self._score_units(X), 100.0 * float(self.contamination)))

    def _score_units(self, X: np.ndarray) -> np.ndarray:
        """Scores (n,) of rows (n, d), or of units of several rows (n, k, d): a unit has that of its lowest row."""
        return self._score_samples(rows_of(X)).reshape(len(X), -1).min(axis=1)

    def score_samples(self, X: Any) -> np.ndarray:
        """Return the score of each row; higher = more normal.

        Parameters
        ----------
        X : array-like of shape (n_samples, n_features), or images where ``fit`` takes them
            Rows of the features that ``fit`` saw.

        Returns
        -------
        ndarray of shape (n_samples,), dtype float64
            In the unit that the description of the class names: nats for flows (a log-density in the space of X, or a
            log-ratio) and GOAD, squared units of X for distances to means, pyod's own unit for its detectors.

        Raises
        ------
        sklearn.exceptions.NotFittedError
            Before ``fit``.
        ValueError
            If X is no finite two-dimensional array of as many features as in ``fit``.
        """
        check_is_fitted(self)
        return self._score_samples(self._rows(X))

    @property
    def _takes_aux(self) -> bool:
        """Whether auxiliary rows make a difference."""
        return self._uses_aux

    def _rows(self, X: Any) -> np.ndarray:
        """Validate what is to be scored."""
        return check_rows(self, X, reset=False)

    def fit_predict(self, X: Any, y: Any = None, X_aux: Any = None) -> np.ndarray:
        """``fit(X, y, X_aux)``, then ``predict(X)``."""
        return self.fit(X, y, X_aux=X_aux).predict(X)
