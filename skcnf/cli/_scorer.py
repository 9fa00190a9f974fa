"""A loaded model as the command line uses it: blocks of inputs in, rows out."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
from sklearn.base import BaseEstimator
from sklearn.pipeline import Pipeline

from skcnf.cli._groups import GroupOf
from skcnf.cli._inputs import Block, FeatureInput, Featurizer, ImageInput, Input
from skcnf.cli._rows import Row
from skcnf.detectors._pipelines import warn_of_learning_steps
from skcnf.moco import MocoFeaturizer
from skcnf.tiling import TiledDetector

__all__ = ["Scorer"]

_BLOCK = 4096


class _Lowest:
    """The end of a `TiledDetector` as that of a pipeline: from rows, one for each image, to scores."""

    def __init__(self, tiled: TiledDetector) -> None:
        self.n_features_in_ = tiled._encoder.n_features_out_
        self.score_samples = tiled._score_rows


class Scorer:
    """Scores inputs with a fitted detector or pipeline.

    Parameters
    ----------
    model : estimator
        A detector, or a pipeline that ends in one.
    path : Path
        Where it came from, for messages.
    group_of : callable or None
        The group of an input by its name.

    Attributes
    ----------
    featurizer : MocoFeaturizer, TileEncoder or None
        What makes rows of images.
    tail : estimator
        What scores rows.
    detector : estimator
        What judges scores.
    parts : list of estimator
        Those with parameters of how and where to compute.

    Raises
    ------
    ValueError
        If the model has groups and ``group_of`` is missing, or the other way round.
    """

    def __init__(self, model: BaseEstimator, path: Path, group_of: GroupOf | None) -> None:
        self.model = model
        self.featurizer: Featurizer | None
        if isinstance(model, TiledDetector):
            self.featurizer, self.tail, self.detector = model._encoder, _Lowest(model), model.detector_
            self.parts = [model.featurizer_, model.detector_]
        else:
            steps = list(model.steps) if isinstance(model, Pipeline) else [("detector", model)]
            self.featurizer = steps.pop(0)[1] if isinstance(steps[0][1], MocoFeaturizer) else None
            self.tail = Pipeline(steps) if len(steps) > 1 else steps[0][1]
            self.detector = steps[-1][1]
            self.parts = [part for part in (self.featurizer, self.detector) if part is not None]
        self._path, self._group_of = path, group_of
        self._check_groups()

    def _check_groups(self) -> None:
        known = list(self.detector.group_offsets_)
        if known and self._group_of is None:
            shown = ", ".join(known[:5]) + (", ..." if len(known) > 5 else "")
            raise ValueError(
                f"'{self._path}' has thresholds for {len(known)} groups ({shown}): tell the group of each input by "
                "--groups FILE or --group-by-folder."
            )
        if not known and self._group_of is not None:
            raise ValueError(f"'{self._path}' has one threshold for all inputs; groups are given to `skcnf fit` first.")

    @property
    def calibrated(self) -> bool:
        """Whether there are calibration rows, and so p-values."""
        return hasattr(self.detector, "calibration_scores_")

    def check_kind(self, inputs: Input) -> None:
        """Refuse images where the model takes features, and features where it takes images."""
        if isinstance(inputs, ImageInput) and self.featurizer is None:
            raise ValueError(
                f"'{self._path}' takes features ({self.detector.n_features_in_} numbers a row), but NEW holds images. "
                "Make features by `skcnf features`, with the encoder of those it was fitted on."
            )
        if isinstance(inputs, FeatureInput) and self.featurizer is not None:
            raise ValueError(f"'{self._path}' takes images, but NEW '{inputs.file.path}' holds features.")

    def warn(self) -> None:
        """Warn of p-values that do not hold for new rows."""
        if self.calibrated and isinstance(self.tail, BaseEstimator):
            warn_of_learning_steps(self.tail)

    @property
    def block_size(self) -> int:
        """How many inputs are scored at a time."""
        return _BLOCK if self.featurizer is None else self.featurizer.batch_size

    def blocks(self, inputs: Input, start: int, stop: int | None = None) -> Iterator[Block]:
        """Features of the inputs from number ``start`` on, to the one before ``stop``."""
        if isinstance(inputs, FeatureInput):
            return inputs.blocks(_BLOCK, start, stop)
        assert self.featurizer is not None  # check_kind
        return inputs.blocks(self.featurizer, start, stop)

    def rows(self, block: Block) -> list[Row]:
        """A row for each input of a block.

        Raises
        ------
        ValueError
            If the features do not fit the model, or the group of an input has no calibration rows.
        """
        groups = [None if self._group_of is None else self._group_of(str(name)) for name in block.names]
        readable = [place for place, error in enumerate(block.errors) if error is None]
        rows = [
            Row(name, "unreadable", group=group, error=error)
            for name, group, error in zip(block.names, groups, block.errors, strict=True)
        ]
        if readable:
            decisions = self._decisions(block.X, [groups[place] for place in readable])
            for place, decision in zip(readable, decisions, strict=True):
                rows[place] = Row(block.names[place], "ok", *decision, group=groups[place])
        return rows

    def _fitting(self, X: Any) -> Any:
        """X with the width of the rows of ``fit``, and with names only where those had names."""
        if X.shape[1] != self.tail.n_features_in_:
            raise ValueError(
                f"NEW has {X.shape[1]} features in each row, but '{self._path}' takes {self.tail.n_features_in_}; they "
                "must come from the encoder that made those of `skcnf fit`."
            )
        return X if hasattr(self.tail, "feature_names_in_") else np.asarray(X)

    def _decisions(self, X: Any, groups: list[str | None]) -> Iterator[tuple[float, float | None, float, int]]:
        """Score, p-value, threshold and verdict of each readable input."""
        X = self._fitting(X)
        own = self.detector._checked_groups(None if self._group_of is None else groups, len(X))
        scores = self.tail.score_samples(X)
        p = self.detector._calibration().p_values(scores, own).tolist() if self.calibrated else [None] * len(X)
        thresholds = np.broadcast_to(self.detector._thresholds(own), len(X)).tolist()
        verdicts = self.detector._verdicts(scores, own).tolist()
        return zip(scores.tolist(), p, thresholds, verdicts, strict=True)
