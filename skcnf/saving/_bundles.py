"""Save and load fitted models without pickle: one file of JSON and tensors; loading executes nothing."""

from __future__ import annotations

import json
import math
import os
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any

import numpy as np
from sklearn.base import BaseEstimator
from sklearn.utils.validation import check_is_fitted
from torch import nn

import skcnf
from skcnf._core.container import read_container, refusing, write_container
from skcnf._core.files import check_output, remove_abandoned
from skcnf.saving._estimators import NotSavableError, estimator_node, estimator_of, steps_of
from skcnf.saving._featurizers import encoder_name
from skcnf.saving._kinds import Store, require

__all__ = ["NotSavableError", "check_savable", "info", "load", "load_thumbnails", "save"]

_FORMAT = "skcnf-model-1"
_WHAT = "a model saved by skcnf.save"
_MAX_THUMBNAILS, _MAX_SIDE = 1000, 256
_THUMBNAILS = "thumbnails"
_DATE = "%Y-%m-%dT%H:%M:%SZ"


def check_savable(model: BaseEstimator) -> None:
    """Find out whether `save` will take a model once it is fitted, before it is.

    Parameters
    ----------
    model : estimator
        A detector or Pipeline; it need not be fitted.

    Raises
    ------
    NotSavableError
        A TypeError and ValueError that names what cannot be saved and lists what can.

    Examples
    --------
    >>> from sklearn.cluster import KMeans
    >>> from sklearn.pipeline import make_pipeline
    >>> from skcnf import MSEDetector, check_savable
    >>> check_savable(MSEDetector())
    >>> check_savable(make_pipeline(KMeans(), MSEDetector()))
    Traceback (most recent call last):
      ...
    skcnf.saving._estimators.NotSavableError: a KMeans cannot be saved without pickle. These can: ...
    """
    _now()
    estimator_node(model, "", None)


def save(
    model: BaseEstimator,
    path: str | os.PathLike[str],
    *,
    thumbnails: np.ndarray | None = None,
    about: Mapping[str, Any] | None = None,
) -> None:
    """Write a fitted model to one file without code in it; the file appears whole or not at all.

    Parameters
    ----------
    model : estimator
        A fitted detector of this package (of `PyODDetector`, one of pyod's KNN), or a Pipeline of `MocoFeaturizer`,
        scikit-learn's StandardScaler, MinMaxScaler, RobustScaler, MaxAbsScaler, Normalizer and PCA, and a detector, or
        a `TiledDetector` of `MocoFeaturizer` and such a detector.
        Encoders of this package, and those named ``timm:``, ``torchvision:`` or ``hf:``, are stored in the file. Of a
        module of your own the digest of its weights is stored, and `load` must be given the module. Caches (``memory``)
        and ``n_jobs`` are not saved.
    path : path
        Any name; by convention it ends in ``.skcnf``.
    thumbnails : ndarray of shape (n, h, w, 3), dtype uint8, optional
        Small images to keep with the model, at most 1,000 of at most 256 pixels a side.
    about : mapping of str to str, number, bool or None, optional
        What else `info` should tell, e.g. ``n_training_images``. ``date`` is now (UTC) unless it is given here, or by
        the environment variable SOURCE_DATE_EPOCH; equal models of equal dates give equal bytes.

    Raises
    ------
    NotSavableError
        A TypeError and ValueError that names what cannot be saved and lists what can.
    ValueError
        If ``thumbnails`` or ``about`` is malformed.
    sklearn.exceptions.NotFittedError
        If the model is not fitted.
    OSError
        If the file cannot be written.

    Examples
    --------
    >>> import numpy as np, tempfile
    >>> from skcnf import MSEDetector, load, save
    >>> X = np.random.default_rng(0).normal(size=(500, 8))
    >>> detector = MSEDetector(random_state=0).fit(X)
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     save(detector, f"{folder}/model.skcnf")
    ...     loaded = load(f"{folder}/model.skcnf")
    >>> bool((loaded.score_samples(X) == detector.score_samples(X)).all())
    True
    """
    check_savable(model)
    for _, step in steps_of(model):
        check_is_fitted(step)
    store = Store()
    header = {"model": estimator_node(model, "", store), "about": _about(about)}
    if thumbnails is not None:
        store.put(_THUMBNAILS, _checked_thumbnails(thumbnails))
    check_output(path)
    remove_abandoned(path)
    write_container(path, _FORMAT, header, store.tensors)


def _about(about: Mapping[str, Any] | None) -> dict[str, Any]:
    about = {"date": _now().strftime(_DATE), "skcnf_version": skcnf.__version__, **(about or {})}
    about = {name: value.item() if isinstance(value, np.generic) else value for name, value in about.items()}
    return _checked_about(about)


def _now() -> datetime:
    """The present, or that of the environment: see reproducible-builds.org/specs/source-date-epoch."""
    seconds = os.environ.get("SOURCE_DATE_EPOCH")
    try:
        return datetime.now(UTC) if seconds is None else datetime.fromtimestamp(int(seconds), UTC)
    except (ValueError, OverflowError, OSError) as error:
        raise ValueError(f"the environment variable SOURCE_DATE_EPOCH={seconds!r} is no time in seconds.") from error


def _checked_about(about: Any) -> dict[str, Any]:
    require(isinstance(about, dict) and len(about) <= 100, "about is no mapping of at most 100 entries")
    for name, value in about.items():
        plain = value is None or type(value) in (str, int, bool) or (type(value) is float and math.isfinite(value))
        require(isinstance(name, str) and plain, f"about[{name!r}]={value!r} is no str, number, bool or None")
    require(len(json.dumps(about)) <= 2**16, "about takes more than 65,536 characters")
    return about


def _checked_thumbnails(images: np.ndarray) -> np.ndarray:
    fits = isinstance(images, np.ndarray) and images.dtype == np.uint8 and images.ndim == 4 and images.shape[3] == 3
    fits = fits and len(images) <= _MAX_THUMBNAILS and max(images.shape[1:3]) <= _MAX_SIDE
    require(fits, f"thumbnails must be uint8 (n, h, w, 3) of at most {_MAX_THUMBNAILS} images of {_MAX_SIDE} px a side")
    return images


def load(path: str | os.PathLike[str], encoder: nn.Module | None = None) -> BaseEstimator:
    """Load the model that `save` wrote, on the CPU.

    Every byte is under a checksum, and every field is checked before anything is built: a file that was altered is
    refused, and nothing in it is executed. The checksum is no signature. Whoever can write files can write a model that
    misjudges, so take models from people whom you trust with the verdicts.

    Parameters
    ----------
    path : path
    encoder : nn.Module, optional
        The module that the model was fitted with, where the file holds only its digest.

    Returns
    -------
    estimator
        The fitted detector or Pipeline.

    Raises
    ------
    ValueError
        If the file is none of `save`, was altered, or needs another ``encoder`` (naming the file).
    OSError
        If it cannot be read.
    """
    with refusing(path, _WHAT):
        header, store = _read(path)
        store.tensors.pop(_THUMBNAILS, None)
        model = estimator_of(header["model"], "", store, encoder)
        require(not store.tensors, f"it holds tensors of no attribute: {sorted(store.tensors)[:3]}")
        held = any(step.get("spec", 0) is None for step in _nodes(header["model"]))
        require(encoder is None or held, "it holds no featurizer that needs encoder=; leave it out")
        return model


def load_thumbnails(path: str | os.PathLike[str]) -> np.ndarray | None:
    """Load the small images (n, h, w, 3), dtype uint8, that were saved with a model; None if there are none.

    Raises
    ------
    ValueError
        If the file is none of `save`, or was altered (naming the file).
    """
    with refusing(path, _WHAT):
        _, store = _read(path)
        tensor = store.tensors.get(_THUMBNAILS)
        return None if tensor is None else _checked_thumbnails(tensor.numpy())


def info(path: str | os.PathLike[str]) -> dict[str, Any]:
    """Tell what a file of `save` holds, without building the model.

    Parameters
    ----------
    path : path

    Returns
    -------
    dict
        Plain values: ``format``, ``detector``, ``steps`` (of a pipeline), ``encoder`` (with a featurizer), ``features``
        (how many the detector takes), ``threshold``, ``false_alarm_rate``, ``calibration_rows``, ``groups``,
        ``thumbnails``, ``tiles`` (of a `TiledDetector`), ``parameters`` (of the detector), and all that ``about`` told,
        ``date`` and ``skcnf_version`` among it. What a model does not have is None.

    Raises
    ------
    ValueError
        If the file is none of `save`, or was altered (naming the file).
    """
    with refusing(path, _WHAT):
        header, store = _read(path)
        nodes = _nodes(header["model"])
        detector, attributes = nodes[-1], nodes[-1].get("attributes", {})
        featurizer = next((node for node in nodes if node["class"] == "MocoFeaturizer"), None)
        prefix = "" if len(nodes) == 1 and header["model"]["class"] != "Pipeline" else f"{len(nodes) - 1}/"
        scores, thumbnails = (store.tensors.get(name) for name in (f"{prefix}calibration_scores_", _THUMBNAILS))
        rates = attributes.get("false_alarm_rate_", detector["params"].get("false_alarm_rate"))
        return {
            "format": _FORMAT,
            "detector": detector["class"],
            "steps": [node["class"] for node in nodes],
            "encoder": None if featurizer is None else encoder_name(featurizer),
            "features": attributes.get("n_features_in_"),
            "threshold": attributes.get("offset_"),
            "false_alarm_rate": rates,
            "calibration_rows": None if scores is None else len(scores),
            "groups": len(attributes.get("group_offsets_", ())),
            "thumbnails": 0 if thumbnails is None else len(thumbnails),
            "tiles": _tiles(header["model"]),
            "parameters": detector["params"],
            **header["about"],
        }


def _tiles(model: dict[str, Any]) -> str | None:
    if model["class"] != "TiledDetector":
        return None
    (height, width), params = model["size"], model["params"]
    return f"{params['tile']} px, overlap {params['overlap']:g}, of images of {height} x {width} px"


def _read(path: str | os.PathLike[str]) -> tuple[dict[str, Any], Store]:
    _, header, tensors = read_container(path, [_FORMAT])
    require(set(header) == {"model", "about"}, f"its header has the fields {sorted(header)}")
    _checked_about(header["about"])
    return header, Store(tensors)


def _nodes(model: dict[str, Any]) -> list[dict[str, Any]]:
    """Return the nodes of the steps; their tensors are numbered in this order, unless the detector is alone."""
    if model["class"] == "TiledDetector":
        return [model["featurizer"], model["detector"]]
    return [node for _, node in model["steps"]] if model["class"] == "Pipeline" else [model]
