"""From scores to decisions: thresholds by false-alarm rate, p-values, and selection at a false discovery rate."""

from __future__ import annotations

import math
from abc import abstractmethod
from numbers import Real
from typing import Any, ClassVar

import numpy as np
from sklearn.base import BaseEstimator
from sklearn.utils.validation import check_is_fitted

from skcnf.detectors._calibration import Calibration, check_groups, conformal_threshold, discoveries, rows_needed
from skcnf.detectors._validation import warn_user

__all__ = ["DecisionMixin"]

_MORE_ROWS = "Fit more rows, raise validation_fraction, or recalibrate with rows of their own"


class DecisionMixin(BaseEstimator):
    """Add decisions to a detector that has ``score_samples``, ``contamination`` and ``false_alarm_rate``.

    Attributes
    ----------
    offset_ : float
        The threshold of ``predict``; with groups, that of all calibration rows together.
    group_offsets_ : dict of str to float
        The threshold of each group; empty without groups.
    calibration_scores_ : ndarray of shape (n_calibration,)
        The scores of the calibration rows, in ascending order. Missing where ``contamination`` is a float, until
        `recalibrate`.
    calibration_groups_ : ndarray of int of shape (n_calibration,)
        With groups alone: which group each of them belongs to, as a position in ``group_offsets_``.
    false_alarm_rate_ : float
        The rate that the thresholds stand for. Missing where ``contamination`` is a float, until `recalibrate`.
    recalibrated_ : bool
        Whether the calibration rows came from `recalibrate`; else ``fit`` held them out.
    """

    # Pipelines hand groups on to these without a call of set_predict_request.
    __metadata_request__predict: ClassVar[dict[str, bool]] = {"groups": True}
    __metadata_request__decision_function: ClassVar[dict[str, bool]] = {"groups": True}

    contamination: str | float
    false_alarm_rate: float
    offset_: float
    calibration_scores_: np.ndarray
    calibration_groups_: np.ndarray
    false_alarm_rate_: float
    recalibrated_: bool

    @abstractmethod
    def score_samples(self, X: Any) -> np.ndarray:
        """Return the score (n_samples,) of each row, in float64; higher = more normal."""

    def decision_function(self, X: Any, groups: Any = None) -> np.ndarray:
        """Return ``score_samples(X)`` less the threshold: negative for anomalies.

        Parameters
        ----------
        X : array-like of shape (n_samples, n_features), or images where ``fit`` takes them
        groups : array-like of shape (n_samples,), optional
            The group of each row, text or integer, e.g. its camera; required by a detector calibrated with groups.

        Returns
        -------
        ndarray of shape (n_samples,), dtype float64
            In the unit of ``score_samples``.
        """
        scores = self.score_samples(X)
        return scores - self._thresholds(self._checked_groups(groups, len(scores)))

    def predict(self, X: Any, groups: Any = None) -> np.ndarray:
        """Return +1 for inliers and -1 for anomalies.

        A calibrated detector gives -1 exactly where ``p_values(X, groups)`` is at most its false-alarm rate, provided
        that there are at least 1 / rate - 1 calibration rows.

        Parameters
        ----------
        X : array-like of shape (n_samples, n_features), or images where ``fit`` takes them
        groups : array-like of shape (n_samples,), optional
            The group of each row; required by a detector calibrated with groups.

        Returns
        -------
        ndarray of shape (n_samples,), dtype int
        """
        scores = self.score_samples(X)
        return self._verdicts(scores, self._checked_groups(groups, len(scores)))

    def p_values(self, X: Any, groups: Any = None) -> np.ndarray:
        """Return the conformal p-value of each row: how seldom an inlier scores as low.

        A new inlier has a p-value of at most a with probability at most a, whatever the data and the detector, on
        average over draws of the calibration rows. With n of them no p-value is below 1 / (n + 1). In a Pipeline use
        `skcnf.p_values`, which warns where an earlier step has learnt from the calibration rows.

        Parameters
        ----------
        X : array-like of shape (n_samples, n_features), or images where ``fit`` takes them
        groups : array-like of shape (n_samples,), optional
            The group of each row; required by a detector calibrated with groups. Rows are compared with the
            calibration rows of their own group, and the guarantee holds in each group.

        Returns
        -------
        ndarray of shape (n_samples,), dtype float64
            In (0, 1]; small = anomalous.

        Raises
        ------
        ValueError
            If there are no calibration rows (a float ``contamination``), or the groups do not fit.

        References
        ----------
        Vovk, Gammerman and Shafer, "Algorithmic Learning in a Random World", 2005, chapters 2 and 4.
        """
        check_is_fitted(self)
        calibration = self._calibration()
        scores = self.score_samples(X)
        return calibration.p_values(scores, self._checked_groups(groups, len(scores)))

    def select(self, X: Any, fdr: float = 0.05, groups: Any = None) -> np.ndarray:
        """Select anomalies among the rows of X, of which a share of at most ``fdr`` is false in expectation.

        The procedure of Benjamini and Hochberg over the p-values of this one call. For each batch the expected share of
        inliers among the rows selected is at most ``fdr``, on average over draws of the calibration rows. Batches that
        share them err together, and nothing is promised of their union.

        Parameters
        ----------
        X : array-like of shape (n_samples, n_features), or images where ``fit`` takes them
            All rows to select from.
        fdr : float in (0, 1), default=0.05
            The false discovery rate.
        groups : array-like of shape (n_samples,), optional
            The group of each row; required by a detector calibrated with groups.

        Returns
        -------
        ndarray of shape (n_samples,), dtype bool
            True = anomaly.

        Raises
        ------
        ValueError
            If there are no calibration rows (a float ``contamination``), or an argument is malformed.

        References
        ----------
        Bates, Candès, Lei, Romano and Sesia, "Testing for outliers with conformal p-values", Annals of Statistics 2023,
        theorem 2: the p-values of one batch are positively dependent, and the procedure holds.
        """
        _check_share("fdr", fdr)
        p_values = self.p_values(X, groups)
        self._warn_of_selection(len(p_values), fdr)
        return discoveries(p_values, fdr)

    def set_threshold(self, *, false_alarm_rate: float | None = None) -> DecisionMixin:
        """Move the threshold to another false-alarm rate, without training.

        Parameters
        ----------
        false_alarm_rate : float in (0, 1), optional
            The share of new inliers that may be flagged. If left out, the parameter of the constructor. The parameter
            itself stays as it is: ``false_alarm_rate_`` states the rate in force.

        Returns
        -------
        self : object

        Raises
        ------
        ValueError
            If there are no calibration rows (a float ``contamination``), or the rate is malformed; nothing has
            changed then.
        """
        check_is_fitted(self)
        rate = self.false_alarm_rate if false_alarm_rate is None else false_alarm_rate
        self._apply(self._calibration(), rate, self.recalibrated_)
        return self

    def recalibrate(self, X: Any, groups: Any = None) -> DecisionMixin:
        """Calibrate anew, without training: threshold and p-values then rest on these rows alone.

        The rows must be inliers that had no part in training, nor in that of an encoder, and that were not chosen by
        their scores. The false-alarm rate in force stays.

        Parameters
        ----------
        X : array-like of shape (n_samples, n_features), or images where ``fit`` takes them
            New inliers.
        groups : array-like of shape (n_samples,), optional
            The group of each row, text or integer, e.g. its camera: each group gets a threshold of its own. Left out,
            groups of before are forgotten.

        Returns
        -------
        self : object

        Raises
        ------
        ValueError
            If an argument is malformed; nothing has changed then.
        """
        return self._recalibrate_by(self.score_samples(X), groups)

    # What users of scores at hand need: the command line, which streams

    def _recalibrate_by(self, scores: np.ndarray, groups: Any) -> DecisionMixin:
        """``recalibrate`` by the scores (n,) of new inliers."""
        groups = None if groups is None else check_groups(groups, len(scores))
        self._apply(Calibration.of(scores, groups), getattr(self, "false_alarm_rate_", self.false_alarm_rate), True)
        return self

    def _verdicts(self, scores: np.ndarray, groups: np.ndarray | None) -> np.ndarray:
        """``predict`` of scores (m,) and checked groups."""
        scores = np.where(np.isnan(scores), -np.inf, scores)
        return np.where(scores >= self._thresholds(groups), 1, -1)

    def _thresholds(self, groups: np.ndarray | None) -> np.ndarray | float:
        """Return the threshold of each row of checked groups; ``offset_`` without groups."""
        if groups is None:
            return self.offset_
        names, codes = np.unique(groups, return_inverse=True)
        return np.array([self.group_offsets_[name] for name in names.tolist()])[codes]

    def _checked_groups(self, groups: Any, n_rows: int) -> np.ndarray | None:
        known = tuple(getattr(self, "group_offsets_", ()))
        if groups is None and known:
            raise ValueError(
                f"{type(self).__name__} is calibrated for {len(known)} groups; give groups of shape ({n_rows},)."
            )
        if groups is None:
            return None
        if not known:
            raise ValueError(
                f"groups were given, but {type(self).__name__} is calibrated without groups; calibrate it with "
                "recalibrate(X, groups=...) first."
            )
        return check_groups(groups, n_rows, known)

    def _calibration(self) -> Calibration:
        if not hasattr(self, "calibration_scores_"):
            raise ValueError(
                f"{type(self).__name__} has no calibration rows, since contamination={self.contamination!r} holds none "
                "out. Call recalibrate(X_new_inliers) first, or fit with contamination='auto'."
            )
        names = tuple(getattr(self, "group_offsets_", ()))
        return Calibration(self.calibration_scores_, self.calibration_groups_ if names else None, names)

    def _apply(self, calibration: Calibration, rate: float, recalibrated: bool) -> None:
        """Set all attributes of a calibration, once everything is computed."""
        _check_share("false_alarm_rate", rate)
        offset, _ = conformal_threshold(calibration.scores, rate)
        group_offsets = calibration.thresholds(rate)
        self._warn_of_few_rows(calibration, rate, "Recalibrate with more rows" if recalibrated else _MORE_ROWS)
        self._forget_calibration()
        self.calibration_scores_, self.false_alarm_rate_ = calibration.scores, float(rate)
        self.offset_, self.group_offsets_, self.recalibrated_ = offset, group_offsets, recalibrated
        if calibration.codes is not None:
            self.calibration_groups_ = calibration.codes

    def _forget_calibration(self) -> None:
        for name in ("calibration_scores_", "calibration_groups_", "false_alarm_rate_"):
            self.__dict__.pop(name, None)
        self.group_offsets_, self.recalibrated_ = {}, False

    def _warn_of_few_rows(self, calibration: Calibration, rate: float, remedy: str) -> None:
        needed = rows_needed(rate)
        few = {name: n for name, n in calibration.sizes().items() if n < needed}
        if few:
            where = "" if not calibration.names else f" of the group {min(few, key=few.__getitem__)!r}"
            several = f" ({len(few)} groups have too few)" if len(few) > 1 else ""
            n = min(few.values())
            warn_user(
                self,
                f"{n} calibration rows{where} cannot assure false_alarm_rate={rate:g} (at least {needed} are needed)"
                f"{several}; the smallest of their scores is the threshold, and no p-value is below {1 / (n + 1):.3g}. "
                f"{remedy}.",
            )

    def _warn_of_selection(self, n_rows: int, fdr: float) -> None:
        n = max(self._calibration().sizes().values())
        if n_rows > fdr * (n + 1):
            warn_user(
                self,
                f"{n} calibration rows can select from {n_rows} rows at fdr={fdr:g} only if at least "
                f"{math.ceil(n_rows / (fdr * (n + 1)) - 1e-9)} of these have the smallest p-value, {1 / (n + 1):.3g}; "
                f"from {math.ceil(n_rows / fdr - 1 - 1e-9)} calibration rows on a single one can be selected.",
            )


def _check_share(name: str, value: Any) -> None:
    if not isinstance(value, Real) or isinstance(value, bool) or not 0 < float(value) < 1:
        raise ValueError(f"{name}={value!r} must be a number between 0 and 1, both excluded.")
