"""Fitting many detectors at once."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import ExitStack, closing
from typing import Any, TypeVar

from skcnf.detectors._base import BaseOutlierDetector
from skcnf.flows import train_together

__all__ = ["fit_many"]

_DetectorT = TypeVar("_DetectorT", bound=BaseOutlierDetector)


def fit_many(
    detectors: Sequence[_DetectorT], X: Sequence[Any], X_aux: Any = None, *, batched: bool | None = None
) -> list[_DetectorT]:
    """Fit each detector to rows of its own; flows of one kind train together, as one batched model.

    Flows are of one kind where detectors have the same parameters but for ``random_state``, and as many inliers. Each
    keeps its own batches, noise and stopping time, so the results are those of ``fit``, up to rounding.

    Parameters
    ----------
    detectors : sequence of detectors of this package
    X : sequence of array-like of shape (n_samples, n_features)
        Inliers, one array for each detector.
    X_aux : array-like of shape (n_aux, n_features), torch Dataset of rows, or tuple or list of such, optional
        Auxiliary rows, the same for all.
    batched : bool, optional
        If left out, batched products where they pay: on a GPU, and for small flows on the CPU. There larger flows are
        no faster together, and train one by one.

    Returns
    -------
    list
        The detectors, fitted.

    Raises
    ------
    ValueError
        If the numbers of detectors and of arrays differ, a detector comes twice, or an argument of one fit is
        malformed: all detectors are then left as they were, but for those whose fit was complete.

    Examples
    --------
    >>> import numpy as np
    >>> from skcnf import FlowDetector, fit_many
    >>> X = np.random.default_rng(0).normal(size=(2, 500, 3))
    >>> flows = [FlowDetector(n_blocks=2, hidden_units=16, max_epochs=2, random_state=0) for _ in X]
    >>> [flow.n_features_in_ for flow in fit_many(flows, X)]
    [3, 3]
    """
    detectors = list(detectors)
    if len(detectors) != len(X):
        raise ValueError(f"{len(detectors)} detectors, but X holds {len(X)} arrays; give one for each.")
    for detector in detectors:
        if not isinstance(detector, BaseOutlierDetector):
            raise TypeError(f"fit_many takes the detectors of skcnf; got a {type(detector).__name__}.")
        detector._validate_params()
    if len({id(detector) for detector in detectors}) < len(detectors):
        raise ValueError(
            "detectors hold the same object twice, which cannot be fitted to two arrays; use sklearn's clone."
        )
    with ExitStack() as stack:
        fits = [
            stack.enter_context(closing(detector._fit_in_steps(rows, None, X_aux)))
            for detector, rows in zip(detectors, X, strict=True)
        ]
        while True:
            wanted = [tasks for fit in fits if (tasks := next(fit, None)) is not None]
            if not wanted:
                return detectors
            train_together([task for tasks in wanted for task in tasks], batched=batched)
