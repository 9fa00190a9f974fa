"""A fitted model as one ONNX file, checked against Python before it appears."""

from __future__ import annotations

import logging
import os
import tempfile
import warnings
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from sklearn.pipeline import Pipeline

from skcnf._core.files import write_atomically
from skcnf.exporting._modules import Decisions, steps_of
from skcnf.moco import MocoFeaturizer

__all__ = ["ExportCheck", "export_onnx"]

_N_CHECKED = 64
_TOLERANCE = 1e-3  # of the standard deviation of the calibration scores


@dataclass(frozen=True)
class ExportCheck:
    """How far the exported model is from Python's, on the rows it was checked with.

    Attributes
    ----------
    n_rows : int
    score_difference : float
        The largest, in standard deviations of the calibration scores.
    n_other_verdicts : int
        Rows whose score lies so near the threshold that rounding decided.
    """

    n_rows: int
    score_difference: float
    n_other_verdicts: int


def export_onnx(model: Any, path: str | os.PathLike[str], X: Any = None) -> ExportCheck:
    """Write a fitted model as an ONNX file that scores without torch and this package.

    The file takes ``images`` (n, 3, s, s), uint8, at the encoder's size where the model begins with a `MocoFeaturizer`,
    and ``features`` (n, d), float32, elsewhere; n is free. It gives ``score`` (n,), ``p_value`` (n,) and ``verdict``
    (n,), +1 or -1.

    Parameters
    ----------
    model : fitted detector or Pipeline
        Calibrated (``contamination="auto"`` or `recalibrate`), without groups. Steps are those that `skcnf.save` takes;
        the detector is a flow detector, a Gaussian one, `MSEDetector` or `MSERatioDetector`.
    path : path
        The ``.onnx`` file. It appears only if its scores agree with Python's.
    X : array-like, optional
        Rows to check with: uint8 images (n, s, s, 3) at the encoder's size, or features. Random ones if left out.

    Returns
    -------
    ExportCheck

    Raises
    ------
    TypeError
        If a step cannot be exported; the message lists those that can.
    ValueError
        If the model has groups, noise, no calibration rows, or its exported scores differ from Python's by more than a
        thousandth of the standard deviation of the calibration scores.
    ImportError
        If onnx, onnxscript or onnxruntime is missing (``pip install "skcnf[onnx]"``).
    """
    _require_packages()
    detector = _checked(model)
    decisions = Decisions(model).eval()
    name, rows, for_python = _rows(model, detector, X)
    data = _exported(decisions, name, rows, {"skcnf": type(detector).__name__})
    check = _compare(data, name, rows, for_python, model, detector)
    if not check.score_difference <= _TOLERANCE:
        raise ValueError(
            f"the exported scores differ from Python's by {check.score_difference:.2g} standard deviations of the "
            f"calibration scores, more than {_TOLERANCE:g}; nothing was written to '{path}'."
        )
    write_atomically(path, data)
    return check


def _require_packages() -> None:
    try:
        import onnx  # noqa: F401
        import onnxruntime  # noqa: F401
        import onnxscript  # noqa: F401
    except ImportError as error:
        raise ImportError(f'export_onnx needs {error.name}; install it by: pip install "skcnf[onnx]"') from error


def _checked(model: Any) -> Any:
    detector = steps_of(model)[-1]
    if getattr(detector, "group_offsets_", None):
        raise ValueError(
            f"the model is calibrated for {len(detector.group_offsets_)} groups; an exported model has one threshold. "
            "Call recalibrate(X) without groups first."
        )
    if not hasattr(detector, "calibration_scores_"):
        raise ValueError(
            f"{type(detector).__name__} has no calibration scores; fit it with contamination='auto', or call "
            "recalibrate(X_new_inliers) first."
        )
    return detector


def _rows(model: Any, detector: Any, X: Any) -> tuple[str, torch.Tensor, np.ndarray]:
    """The name of the input, rows for the exported model, and the same for Python's."""
    first, rng = steps_of(model)[0], np.random.default_rng(0)
    if isinstance(first, MocoFeaturizer):
        size = first._size
        images = rng.integers(0, 256, (_N_CHECKED, size, size, 3), dtype=np.uint8) if X is None else np.asarray(X)
        if images.dtype != np.uint8 or images.shape[1:] != (size, size, 3):
            raise ValueError(
                f"X must be uint8 images (n, {size}, {size}, 3), the encoder's size; got {images.dtype} of shape "
                f"{images.shape}."
            )
        return "images", torch.from_numpy(images.transpose(0, 3, 1, 2).copy()), images
    if X is None:
        X = rng.normal(size=(_N_CHECKED, first.n_features_in_)) * getattr(first, "scale_", 1.0)
        X = X + getattr(first, "location_", getattr(first, "mean_", 0.0))
    features = np.asarray(X, dtype=np.float32)
    return "features", torch.from_numpy(features), features


def _exported(decisions: Decisions, name: str, rows: torch.Tensor, about: dict[str, str]) -> bytes:
    """The bytes of the ONNX model; the exporter's chatter is kept to itself."""
    import onnx

    logger = logging.getLogger("torch.onnx")
    level = logger.level
    logger.setLevel(logging.ERROR)
    try:
        with tempfile.TemporaryDirectory() as folder, warnings.catch_warnings():
            warnings.simplefilter("ignore")
            file = Path(folder) / "model.onnx"
            torch.onnx.export(
                decisions,
                (rows[:2],),
                file,
                input_names=[name],
                output_names=["score", "p_value", "verdict"],
                dynamic_shapes=({0: torch.export.Dim("n", min=1)},),
                dynamo=True,
                external_data=False,
                verbose=False,
            )
            exported = onnx.load(file)
    finally:
        logger.setLevel(level)
    onnx.helper.set_model_props(exported, about)
    return exported.SerializeToString()


def _compare(
    data: bytes, name: str, rows: torch.Tensor, for_python: np.ndarray, model: Any, detector: Any
) -> ExportCheck:
    import onnxruntime

    session = onnxruntime.InferenceSession(data, providers=["CPUExecutionProvider"])
    outputs = [session.run(None, {name: part.numpy()}) for part in rows.split(3 + len(rows) // 2)]  # unequal batches
    score, _, verdict = (np.concatenate(parts) for parts in zip(*outputs, strict=True))
    expected = model.score_samples(for_python)
    spread = float(np.std(detector.calibration_scores_)) or 1.0
    difference = float(np.abs(score - expected).max()) / spread
    predicted = model[-1] if isinstance(model, Pipeline) else model
    n_other = int((verdict != predicted._verdicts(expected, None)).sum())
    return ExportCheck(len(rows), difference, n_other)
