"""Estimators as nodes of a JSON tree, and back: detectors, scalers, PCA, pyod's KNN, featurizers, pipelines, tiles."""

from __future__ import annotations

import os
from typing import Any

import numpy as np
import torch
from pyod.models.knn import KNN
from sklearn.base import BaseEstimator, clone
from sklearn.pipeline import Pipeline
from torch import nn

from skcnf.detectors import BaseOutlierDetector, PyODDetector
from skcnf.moco import MocoFeaturizer
from skcnf.saving._featurizers import featurizer_node, featurizer_of
from skcnf.saving._kinds import Array, Store, require
from skcnf.saving._schema import CLASSES, kinds_of, may_be_missing
from skcnf.tiling import TiledDetector

__all__ = ["NotSavableError", "estimator_node", "estimator_of", "steps_of"]

_PIPELINES = "a Pipeline of these"
_TILED = "a TiledDetector of MocoFeaturizer and one of these detectors"
_TILED_PARTS: tuple[tuple[str, type[BaseEstimator]], ...] = (
    ("featurizer", MocoFeaturizer),
    ("detector", BaseOutlierDetector),
)
# Parameters of the machine that fitted, which another may not follow: a cache holds pickles, `n_jobs` starts processes,
# a folder of checkpoints is there or not.
_LEFT_OUT = ("checkpoints", "memory", "n_jobs")
_NODES = ("detector", "featurizer")  # parameters that have nodes, or fields, of their own; MocoFeaturizer's weights too
_KNN_CHOICES = {
    "method": ("largest", "mean", "median"),
    "algorithm": ("auto", "ball_tree", "kd_tree", "brute"),
    "metric": ("minkowski", "euclidean", "manhattan", "chebyshev", "cosine", "l1", "l2", "cityblock"),
    "metric_params": (None,),
}


class NotSavableError(TypeError, ValueError):
    """What cannot be saved without pickle."""


def steps_of(model: BaseEstimator) -> list[tuple[str, BaseEstimator]]:
    """The steps of a pipeline; of another estimator, itself."""
    return list(model.steps) if isinstance(model, Pipeline) else [("", model)]


# Saving


def estimator_node(estimator: BaseEstimator, prefix: str, store: Store | None) -> dict[str, Any]:
    """What JSON holds of an estimator; with ``store``, of its fitted state too.

    Raises
    ------
    NotSavableError
        If it is, or holds, what this format does not know.
    """
    if type(estimator) is Pipeline:
        return _pipeline_node(estimator, prefix, store)
    name = type(estimator).__name__
    node = {"class": name, "params": _plain_params(estimator)}
    if type(estimator) is TiledDetector:
        return node | _tiled_parts(estimator, prefix, store)
    if type(estimator) is MocoFeaturizer:
        return node if store is None else node | featurizer_node(estimator, prefix, store)
    if type(estimator) is PyODDetector:
        node |= {"detector": _knn_params(estimator.detector)}
    elif CLASSES.get(name) is not type(estimator):
        raise NotSavableError(_refusal(name))
    return node if store is None else node | {"attributes": _attributes(estimator, prefix, store)}


def _refusal(name: str) -> str:
    known = ", ".join([*sorted(CLASSES), "MocoFeaturizer", "PyODDetector(KNN())", _TILED, _PIPELINES])
    return f"a {name} cannot be saved without pickle. These can: {known}. joblib.dump saves others."


def _pipeline_node(pipeline: Pipeline, prefix: str, store: Store | None) -> dict[str, Any]:
    steps = []
    for number, (name, step) in enumerate(pipeline.steps):
        if not isinstance(step, BaseEstimator) or isinstance(step, Pipeline):
            raise NotSavableError(f"the step {name!r} of the pipeline, {step!r}, cannot be saved without pickle.")
        steps.append([name, estimator_node(step, f"{prefix}{number}/", store)])
    inputs = pipeline.transform_input
    node = {"class": "Pipeline", "steps": steps, "transform_input": None if inputs is None else list(inputs)}
    outputs = {name: getattr(step, _OUTPUT, {}).get("transform") for name, step in pipeline.steps}
    outputs = {name: frames for name, frames in outputs.items() if frames in _FRAMES}
    return node | ({"outputs": outputs} if outputs else {})


def _tiled_parts(tiled: TiledDetector, prefix: str, store: Store | None) -> dict[str, Any]:
    """The featurizer and the detector, as nodes; with ``store``, the fitted ones, and the size of images."""
    if prefix:
        raise NotSavableError(_refusal("TiledDetector inside a Pipeline"))
    parts = {}
    for number, (name, cls) in enumerate(_TILED_PARTS):
        part = getattr(tiled, name if store is None else f"{name}_")
        if not isinstance(part, cls):
            raise NotSavableError(_refusal(f"TiledDetector of {type(part).__name__}"))
        parts[name] = estimator_node(part, f"{prefix}{number}/", store)
    return parts if store is None else parts | {"size": list(tiled.size_)}


def _plain_params(estimator: BaseEstimator) -> dict[str, Any]:
    params = estimator.get_params(deep=False)
    return {name: _plain(name, value) for name, value in params.items() if name not in _left_out(type(estimator))}


def _left_out(cls: type) -> set[str]:
    """Parameters that are not among the plain values of a node."""
    return {*_LEFT_OUT, *_NODES, *(["weights"] if cls is MocoFeaturizer else [])}


def _plain(name: str, value: Any) -> Any:
    if isinstance(value, np.generic):
        value = value.item()
    if isinstance(value, (torch.device, os.PathLike)):
        value = str(value)
    if isinstance(value, nn.Module):
        raise NotSavableError(
            f"the parameter {name} is a {type(value).__name__}, which cannot be saved without pickle; write it by "
            f"save_encoder, and set {name} to the path of that file."
        )
    if isinstance(value, (tuple, list)):
        return [_plain(name, part) for part in value]
    if value is None or type(value) in (bool, int, float, str):
        return value
    raise NotSavableError(
        f"the parameter {name}={value!r} cannot be saved without pickle; use a number, string, tuple or None."
    )


def _knn_params(detector: Any) -> dict[str, Any]:
    if type(detector) is not KNN:
        raise NotSavableError(_refusal(f"PyODDetector({type(detector).__name__}())"))
    params = _plain_params(detector)
    try:
        _check_knn(params)
    except ValueError as error:
        raise NotSavableError(f"this KNN cannot be saved without pickle: {error}") from error
    return params


def _attributes(estimator: BaseEstimator, prefix: str, store: Store) -> dict[str, Any]:
    store.sizes.clear()
    params, values = estimator.get_params(deep=False), dict(vars(estimator))
    stored = {}
    values.pop("_kept_rows", None)  # of partial_fit: a model that is shared holds no rows of training
    if isinstance(estimator, PyODDetector):
        values["detector_"] = estimator.detector_.neigh_._fit_X
        del values["_tails"]  # None, as KNN has none
    kinds = _kinds(type(estimator))
    unknown = [name for name in values if name not in kinds and name not in params and name != _OUTPUT]
    if unknown:
        raise NotSavableError(f"{type(estimator).__name__} holds {unknown}, of which the format knows nothing.")
    for name, kind in kinds.items():
        if name in values or not may_be_missing(name):
            try:
                require(name in values, "it is missing")
                stored[name] = kind.store(values[name], prefix + name, store)
            except (ValueError, TypeError) as error:
                raise NotSavableError(f"{type(estimator).__name__}.{name} cannot be saved: {error}") from error
    return stored


_OUTPUT = "_sklearn_output_config"  # of set_output: how a transformer wraps what it gives, and not what it gives
_FRAMES = ("pandas", "polars")
_PIPELINE = ("class", "steps", "transform_input")


def _kinds(cls: type[BaseEstimator]) -> dict[str, Any]:
    return kinds_of(cls) | ({"detector_": Array("rows", "d")} if issubclass(cls, PyODDetector) else {})


# Loading


def estimator_of(node: Any, prefix: str, store: Store, encoder: nn.Module | None) -> BaseEstimator:
    """The estimator of a node.

    Raises
    ------
    ValueError
        If the node is malformed in any way.
    """
    require(isinstance(node, dict) and isinstance(node.get("class"), str), "a node has no class")
    if node["class"] == "Pipeline":
        return _pipeline_of(node, prefix, store, encoder)
    if node["class"] == "MocoFeaturizer":
        return featurizer_of(node, _params_of(MocoFeaturizer, node), prefix, store, encoder)
    if node["class"] == "PyODDetector":
        return _pyod_of(node, prefix, store)
    if node["class"] == "TiledDetector":
        return _tiled_of(node, prefix, store, encoder)
    require(node["class"] in CLASSES, f"{node['class']!r} is no class that can be loaded")
    cls = CLASSES[node["class"]]
    _check_keys(node, "attributes")
    estimator = cls(**_params_of(cls, node))
    estimator._validate_params()
    for name, value in _attributes_of(cls, node, prefix, store).items():
        setattr(estimator, name, value)
    return estimator


def _check_keys(node: dict[str, Any], *names: str) -> None:
    require(set(node) == {"class", "params", *names}, f"{node['class']} has the fields {sorted(node)}")


def _pipeline_of(node: dict[str, Any], prefix: str, store: Store, encoder: nn.Module | None) -> Pipeline:
    require(prefix == "" and {*node, "outputs"} == {*_PIPELINE, "outputs"}, "a pipeline is malformed")
    steps, inputs = node["steps"], node["transform_input"]
    pairs = (
        isinstance(steps, list)
        and 0 < len(steps) <= 100
        and all(type(step) is list and len(step) == 2 for step in steps)
    )
    require(pairs and all(isinstance(name, str) for name, _ in steps), "the steps of the pipeline are malformed")
    names = inputs is None or (isinstance(inputs, list) and all(isinstance(name, str) for name in inputs))
    require(names, "transform_input is no list of names")
    built = [(name, estimator_of(step, f"{number}/", store, encoder)) for number, (name, step) in enumerate(steps)]
    pipeline = Pipeline(built, transform_input=inputs)
    pipeline._validate_steps()
    _check_widths(pipeline)
    outputs = node.get("outputs", {})
    require(isinstance(outputs, dict), "the outputs of the pipeline are malformed")
    for name, frames in outputs.items():
        require(name in dict(built[:-1]) and frames in _FRAMES, "the outputs of the pipeline are malformed")
        pipeline[name].set_output(transform=frames)
    return pipeline


def _check_widths(pipeline: Pipeline) -> None:
    """What one step gives is as wide as what the next one takes."""
    width = None
    for name, step in pipeline.steps:
        taken = getattr(step, "n_features_in_", None)
        require(None in (width, taken) or width == taken, f"the step {name!r} takes {taken} features, but gets {width}")
        width = getattr(step, "n_features_out_", getattr(step, "n_components_", taken))


def _params_of(cls: type[BaseEstimator], node: dict[str, Any]) -> dict[str, Any]:
    """The parameters of a node; those that its version did not know keep their defaults."""
    params: Any = node.get("params")
    known = set(cls._get_param_names()) - _left_out(cls)
    require(isinstance(params, dict) and set(params) <= known, f"the parameters of {cls.__name__} are malformed")
    return {name: tuple(value) if isinstance(value, list) else value for name, value in params.items()}


def _attributes_of(cls: type[BaseEstimator], node: dict[str, Any], prefix: str, store: Store) -> dict[str, Any]:
    store.sizes.clear()
    data, kinds = node["attributes"], _kinds(cls)
    require(isinstance(data, dict) and set(data) <= set(kinds), f"the attributes of {cls.__name__} are malformed")
    values = {}
    for name, kind in kinds.items():
        if name in data or not may_be_missing(name):
            try:
                require(name in data, "it is missing")
                values[name] = kind.restore(data[name], prefix + name, store)
            except (ValueError, RuntimeError) as error:
                raise ValueError(f"{cls.__name__}.{name}: {error}") from error
    return values


def _tiled_of(node: dict[str, Any], prefix: str, store: Store, encoder: nn.Module | None) -> TiledDetector:
    require(prefix == "", "a TiledDetector is a part of something else")
    _check_keys(node, "featurizer", "detector", "size")
    require(isinstance(node["params"], dict) and "tile" in node["params"], "TiledDetector has no tile")
    fitted, size = {}, node["size"]
    for number, (name, cls) in enumerate(_TILED_PARTS):
        fitted[name] = estimator_of(node[name], f"{prefix}{number}/", store, encoder)
        require(isinstance(fitted[name], cls), f"the {name} of TiledDetector is a {type(fitted[name]).__name__}")
    tiled = TiledDetector(**{name: clone(part) for name, part in fitted.items()}, **_params_of(TiledDetector, node))
    tiled._validate_params()
    sides = isinstance(size, list) and len(size) == 2 and all(type(side) is int and 0 < side < 2**16 for side in size)
    require(sides, "the size of TiledDetector is no height and width")
    tiled.featurizer_, tiled.detector_, tiled.size_ = fitted["featurizer"], fitted["detector"], tuple(size)
    require(tiled.image_size is None or tiled._wanted_size() == tiled.size_, "size and image_size differ")
    tiled._grid(tiled.size_)
    width, taken = tiled.featurizer_.n_features_out_, tiled.detector_.n_features_in_
    require(width == taken, f"the detector takes {taken} features, but the featurizer gives {width}")
    return tiled


def _pyod_of(node: dict[str, Any], prefix: str, store: Store) -> PyODDetector:
    _check_keys(node, "attributes", "detector")
    params = node["detector"]
    require(isinstance(params, dict), "the parameters of KNN are malformed")
    _check_knn(params)
    estimator = PyODDetector(KNN(**params), **_params_of(PyODDetector, node))
    estimator._validate_params()
    attributes = _attributes_of(PyODDetector, node, prefix, store)
    attributes["detector_"] = KNN(**params).fit(attributes["detector_"])
    for name, value in {**attributes, "_tails": None}.items():
        setattr(estimator, name, value)
    return estimator


def _check_knn(params: dict[str, Any]) -> None:
    require(set(params) == set(KNN().get_params()) - set(_LEFT_OUT), f"the parameters of KNN are {sorted(params)}")
    for name, choices in _KNN_CHOICES.items():
        require(params[name] in choices, f"{name}={params[name]!r} is none of {list(choices)}")
    for name in ("n_neighbors", "leaf_size"):
        require(type(params[name]) is int and params[name] > 0, f"{name}={params[name]!r} is no whole number above 0")
    for name in ("contamination", "p", "radius"):
        number = params[name]
        require(type(number) in (int, float) and 0 < number < 1e300, f"{name}={number!r} is no number above 0")
