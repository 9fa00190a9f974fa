"""Decisions of whole pipelines, and the guard that nothing before the detector has learnt from the calibration rows."""

from __future__ import annotations

from typing import Any

import numpy as np
from sklearn.base import BaseEstimator
from sklearn.frozen import FrozenEstimator
from sklearn.pipeline import Pipeline
from sklearn.utils import get_tags
from sklearn.utils.validation import check_is_fitted

from skcnf.detectors._decisions import DecisionMixin
from skcnf.detectors._validation import warn_user
from skcnf.moco import MocoFeaturizer

__all__ = ["calibrate", "p_values", "select", "warn_of_learning_steps"]


def p_values(model: BaseEstimator, X: Any, groups: Any = None) -> np.ndarray:
    """Return the conformal p-value of each row under a detector or a Pipeline that ends in one.

    Parameters
    ----------
    model : fitted detector of this package, Pipeline that ends in one, or search over such
    X : what ``model`` scores, n_samples of it
    groups : array-like of shape (n_samples,), optional
        The group of each row; required by a model calibrated with groups.

    Returns
    -------
    ndarray of shape (n_samples,), dtype float64
        In (0, 1]; small = anomalous.

    Raises
    ------
    TypeError
        If ``model`` does not end in a detector of this package.
    ValueError
        If the detector has no calibration rows (a float ``contamination``), or the groups do not fit.

    Warns
    -----
    UserWarning
        If a step before the detector, e.g. a scaler, has learnt from the very rows that ``fit`` held out to calibrate:
        the p-values then do not hold for new rows. Give `calibrate` rows that no step has seen.

    Examples
    --------
    >>> import numpy as np
    >>> from sklearn.decomposition import PCA
    >>> from sklearn.pipeline import make_pipeline
    >>> from skcnf import MSEDetector, calibrate, p_values
    >>> X = np.random.default_rng(0).normal(size=(500, 8))
    >>> pipeline = make_pipeline(PCA(4), MSEDetector(random_state=0)).fit(X[:400])
    >>> p_values(calibrate(pipeline, X[400:]), np.full((1, 8), 9.0)).round(4)
    array([0.0099])
    """
    warn_of_learning_steps(model)
    steps, detector = _taken_apart(model)
    return detector.p_values(_transformed(steps, X), groups)


def select(model: BaseEstimator, X: Any, fdr: float = 0.05, groups: Any = None) -> np.ndarray:
    """Select anomalies among the rows of X under a detector or a Pipeline that ends in one.

    Parameters
    ----------
    model : fitted detector of this package, Pipeline that ends in one, or search over such
    X : what ``model`` scores, n_samples of it
        All rows to select from.
    fdr : float in (0, 1), default=0.05
        The expected share of inliers among the rows selected is at most this.
    groups : array-like of shape (n_samples,), optional
        The group of each row; required by a model calibrated with groups.

    Returns
    -------
    ndarray of shape (n_samples,), dtype bool
        True = anomaly.

    Raises
    ------
    TypeError, ValueError
        As `p_values`, which also warns.
    """
    warn_of_learning_steps(model)
    steps, detector = _taken_apart(model)
    return detector.select(_transformed(steps, X), fdr, groups)


def calibrate(model: BaseEstimator, X: Any, groups: Any = None) -> BaseEstimator:
    """Calibrate a fitted Pipeline by rows that none of its steps has seen; nothing is trained.

    Parameters
    ----------
    model : fitted detector of this package, Pipeline that ends in one, or search over such
    X : what ``model`` scores, n_samples of it
        Inliers that had no part in fitting any step, nor in training its encoder, and were not chosen by their scores.
    groups : array-like of shape (n_samples,), optional
        The group of each row: each group gets a threshold of its own.

    Returns
    -------
    model
        The same object; threshold and p-values now rest on these rows.

    Raises
    ------
    TypeError
        If ``model`` does not end in a detector of this package.
    ValueError
        If the rows or groups are malformed; nothing has changed then.
    """
    steps, detector = _taken_apart(model)
    detector.recalibrate(_transformed(steps, X), groups)
    return model


def _taken_apart(model: BaseEstimator) -> tuple[list[tuple[str, Any]], DecisionMixin]:
    """Return the named transformers of a fitted model, in order, and its detector."""
    if isinstance(model, DecisionMixin):
        check_is_fitted(model)
        return [], model
    if hasattr(model, "best_estimator_"):
        return _taken_apart(model.best_estimator_)
    if not isinstance(model, Pipeline):
        raise TypeError(
            f"got a {type(model).__name__}; give a fitted detector of skcnf, or a Pipeline that ends in one."
        )
    steps, detector = _taken_apart(model.steps[-1][1])
    earlier = [(name, step) for name, step in model.steps[:-1] if step not in (None, "passthrough")]
    return earlier + steps, detector


def _transformed(steps: list[tuple[str, Any]], X: Any) -> Any:
    for _, step in steps:
        X = step.transform(X)
    return X


def warn_of_learning_steps(model: BaseEstimator) -> None:
    """Warn if a step before the detector has learnt from the rows that calibrate it, see `p_values`."""
    steps, detector = _taken_apart(model)
    if detector.recalibrated_:
        return
    learning = [name for name, step in steps if _learns(step)]
    if learning:
        warn_user(
            detector,
            f"its calibration rows also fitted the steps {learning} before it, so that neither p-values nor the "
            "false-alarm rate hold on new rows. Give skcnf.calibrate(pipeline, X_unseen) rows that no step has seen.",
        )


def _learns(step: Any) -> bool:
    """Tell whether a transformer learns from the rows that it is fitted on."""
    ready = isinstance(step, (MocoFeaturizer, FrozenEstimator))  # an encoder, or a step, that was trained elsewhere
    return not ready and get_tags(step).requires_fit
