"""Training that goes on as new inliers come."""

from __future__ import annotations

import copy
import dataclasses
import math
from abc import abstractmethod
from typing import Any, ClassVar

import numpy as np
from sklearn.base import _fit_context
from sklearn.utils import check_random_state

from skcnf._core.devices import resolve_device
from skcnf.detectors._base import BaseOutlierDetector, FitSteps
from skcnf.detectors._validation import all_or_nothing, warn_user
from skcnf.flows import FlowData, RealNVP, Stage, train_together

__all__ = ["UpdateMixin"]


class UpdateMixin(BaseOutlierDetector):
    """``partial_fit`` for detectors that have flows."""

    # Pipelines have no partial_fit; who routes metadata by hand needs no set_partial_fit_request.
    __metadata_request__partial_fit: ClassVar[dict[str, bool]] = {"X_aux": True}

    flows_: list[RealNVP]
    history_: list[dict[str, float]]
    best_epoch_: int
    aux_active_fraction_: float
    _kept_rows: tuple[np.ndarray, np.ndarray | None]  # that stop training, and that calibrate

    @_fit_context(prefer_skip_nested_validation=True)
    def partial_fit(self, X: Any, y: Any = None, X_aux: Any = None) -> UpdateMixin:
        """Continue training on new inliers, and calibrate anew.

        The first call is ``fit``. Every call holds out the same share of its rows, ``validation_fraction``, and no call
        trains on them. The rows held out by earlier calls of ``partial_fit`` are kept: they stop training and calibrate
        together with the new ones, all scored anew. ``fit`` keeps no rows, and neither do files: after either the new
        rows alone stop and calibrate. Calibration rows and groups of `recalibrate` are forgotten.

        There is no ``warm_start``: a second ``fit`` draws held-out rows anew, among them rows that trained before, so
        that it starts from fresh weights. This method is the way to go on from those at hand.

        Standardisation, the automatic clamp and, for `FlowRatioDetector`, the auxiliary flow stay those of the first
        call. Of several stages of training only the last is continued. With a float ``contamination`` the threshold
        follows the rows of this call.

        Parameters
        ----------
        X : array-like of shape (n_samples, n_features)
            New inliers.
        y : array-like of shape (n_samples,), optional
            As in ``fit``: where it holds both +1 and -1 and nothing else, rows of -1 are left out.
        X_aux : array-like of shape (n_aux, n_features), torch Dataset of rows, or tuple or list of such, optional
            Auxiliary rows, the same as before or others. Required if the detector learnt with such.

        Returns
        -------
        self : object

        Raises
        ------
        ValueError
            If an argument is malformed, or ``X_aux`` is missing; ``self`` is then left as it was.
        FloatingPointError
            If training diverges; ``self`` is then left as it was.

        Examples
        --------
        >>> import numpy as np
        >>> from skcnf import FlowDetector
        >>> X = np.random.default_rng(0).normal(size=(1000, 4))
        >>> flow = FlowDetector(n_blocks=2, hidden_units=16, max_epochs=3, random_state=0).partial_fit(X[:500])
        >>> [len(flow.partial_fit(rows).calibration_scores_) for rows in (X[500:700], X[700:])]
        [35, 50]
        """
        with all_or_nothing(self):
            for tasks in self._update_in_steps(X, y, X_aux):
                train_together(tasks)
        return self

    def _update_in_steps(self, X: Any, y: Any, X_aux: Any) -> FitSteps:
        is_first = not hasattr(self, "flows_")
        X, X_aux = self._checked(X, y, X_aux, reset=is_first)
        if X_aux is None and self._uses_aux:
            self._check_missing_aux(is_first)
        rows: Any = self._split(X, X_aux, check_random_state(self.random_state))
        if is_first:
            yield from self._training(rows)
        else:
            rows = self._with_kept_rows(rows)
            yield from self._continued(rows)
        self._learn_offset(X, rows.calibration)
        self._kept_rows = (rows.validation, rows.calibration)

    def _check_missing_aux(self, is_first: bool) -> None:
        if is_first:
            warn_user(self, self._without_aux)
        elif self._learnt_with_aux():
            raise ValueError(
                f"{type(self).__name__} learnt with X_aux; partial_fit needs X_aux too: the same rows as before, or "
                "others."
            )

    def _learnt_with_aux(self) -> bool:
        return not math.isnan(self.history_[-1]["val_auroc"])

    def _check_architecture(self) -> None:
        known = {"n_flows": len(self.flows_), **self.flows_[0].arguments}
        for name in ("n_flows", "n_blocks", "hidden_units"):
            if getattr(self, name) != known[name]:
                raise ValueError(
                    f"{name}={getattr(self, name)} cannot be changed between calls of partial_fit; the flows have "
                    f"{name}={known[name]}. Call fit to start anew."
                )

    def _with_kept_rows(self, rows: Any) -> Any:
        """Add the rows that earlier calls held out to those held out now."""
        validation, calibration = getattr(self, "_kept_rows", (rows.validation[:0], None))
        joined = {"validation": np.concatenate([validation, rows.validation])}
        if rows.calibration is not None and calibration is not None:
            joined["calibration"] = np.concatenate([calibration, rows.calibration])
        return dataclasses.replace(rows, **joined)

    def _continued(self, rows: Any) -> FitSteps:
        self._check_architecture()
        device = resolve_device(self.device)
        history, best_epoch = self.history_, self.best_epoch_
        flows = [copy.deepcopy(flow).float().to(device) for flow in self.flows_]
        data = self._data(rows, device)
        last = dataclasses.replace(self._stages(data)[-1], warmup_epochs=0)
        yield from self._train(flows, data, rows.seed, [last])
        self.aux_active_fraction_ = self.history_[-1]["aux_active_fraction"]
        self.history_, self.best_epoch_ = history + self.history_, best_epoch + self.best_epoch_

    # What a detector of flows gives

    device: Any

    @abstractmethod
    def _training(self, rows: Any) -> FitSteps:
        """Train for the first time, on ``rows``."""

    @abstractmethod
    def _data(self, rows: Any, device: Any) -> FlowData:
        """Return ``rows`` as tensors on ``device``."""

    @abstractmethod
    def _stages(self, data: FlowData) -> list[Stage]:
        """Return what to train for, one stage after the other."""

    @abstractmethod
    def _train(self, flows: list[RealNVP], data: FlowData, seed: int, stages: list[Stage]) -> FitSteps:
        """Train ``flows``, stage by stage, and set ``flows_``, ``history_`` and ``best_epoch_``."""
