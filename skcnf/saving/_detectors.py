"""Save and load fitted detectors without pickle: tensors and JSON in one safetensors file; loading executes nothing."""

from __future__ import annotations

import json
import os
from typing import Any

import numpy as np
import torch
from safetensors.torch import save as safetensors_bytes
from sklearn.base import BaseEstimator
from sklearn.utils.validation import check_is_fitted

import skcnf
from skcnf import detectors
from skcnf._core.files import read_safetensors, write_atomically
from skcnf.detectors._goad_network import GOADNetwork
from skcnf.flows import RealNVP

__all__ = ["load_detector", "save_detector"]

_FORMAT = "skcnf-detector-3"
_CLASSES = {
    name: getattr(detectors, name) for name in detectors.__all__ if name.endswith("Detector") and name != "PyODDetector"
}
# Modules that are rebuilt from their `arguments` and a state_dict, by `from_state`
_MODULES = {cls.__name__: cls for cls in (RealNVP, GOADNetwork)}


def save_detector(detector: BaseEstimator, path: str | os.PathLike[str]) -> None:
    """Write a fitted detector of this package; the file appears whole or not at all.

    Parameters
    ----------
    detector : estimator
        Any fitted detector of `skcnf.detectors` but `PyODDetector`, whose state only joblib can save.
    path : path

    Raises
    ------
    TypeError
        If the detector is of another class, or a parameter is no number, string or None.
    sklearn.exceptions.NotFittedError
        If it is not fitted.
    """
    name = type(detector).__name__
    if _CLASSES.get(name) is not type(detector):
        raise TypeError(f"a {name} cannot be saved without pickle; choose from {sorted(_CLASSES)}, or use joblib.dump.")
    check_is_fitted(detector)
    tensors, attributes = _taken_apart(_fitted_attributes(detector))
    header = {"class": name, "params": _plain_params(detector), **attributes, "version": skcnf.__version__}
    metadata = {"format": _FORMAT, "header": json.dumps(header)}
    write_atomically(path, safetensors_bytes(tensors, metadata))


def _taken_apart(values: dict[str, Any]) -> tuple[dict[str, torch.Tensor], dict[str, Any]]:
    """The tensors of fitted attributes, and what JSON holds: plain ``attributes`` and arguments of ``modules``."""
    tensors: dict[str, torch.Tensor] = {}
    plain: dict[str, Any] = {}
    modules: dict[str, Any] = {}
    for attribute, value in values.items():
        parts = value if isinstance(value, list) else [value]
        if parts and type(parts[0]) in _MODULES.values():
            arguments = [part.arguments for part in parts]
            modules[attribute] = {
                "class": type(parts[0]).__name__,
                "arguments": arguments if value is parts else arguments[0],
            }
            for number, part in enumerate(parts):
                state = part.state_dict().items()
                tensors |= {f"{attribute}/{number}/{key}": tensor.cpu().contiguous() for key, tensor in state}
        elif isinstance(value, np.ndarray) and value.dtype != object:
            tensors[attribute] = torch.from_numpy(np.ascontiguousarray(value))
        else:
            plain[attribute] = value.tolist() if isinstance(value, np.ndarray) else value
    return tensors, {"attributes": plain, "modules": modules}


def _fitted_attributes(detector: BaseEstimator) -> dict[str, Any]:
    params = detector.get_params(deep=False)
    return {name: value for name, value in vars(detector).items() if name not in params}


def _plain_params(detector: BaseEstimator) -> dict[str, Any]:
    params = detector.get_params(deep=False)
    for name, value in params.items():
        if isinstance(value, (np.integer, np.floating, np.bool_)):
            params[name] = value = value.item()
        if isinstance(value, torch.device):
            params[name] = value = str(value)
        if not (value is None or isinstance(value, (bool, int, float, str))):
            raise TypeError(
                f"the parameter {name}={value!r} cannot be saved without pickle; use a number, string or None."
            )
    return params


def load_detector(path: str | os.PathLike[str]) -> BaseEstimator:
    """The fitted detector that `save_detector` wrote, on the CPU.

    Raises
    ------
    ValueError
        If the file is none of this package's (naming the file).
    """
    metadata, tensors = read_safetensors(path)
    header = json.loads(metadata.get("header", "{}"))
    if metadata.get("format") != _FORMAT or header.get("class") not in _CLASSES:
        raise ValueError(f"'{path}' is a safetensors file, but no detector saved by skcnf.")
    detector = _CLASSES[header["class"]](**header["params"])
    for name, value in header["attributes"].items():
        setattr(detector, name, value)
    for name, spec in header["modules"].items():
        is_list = isinstance(spec["arguments"], list)
        parts = []
        for number, arguments in enumerate(spec["arguments"] if is_list else [spec["arguments"]]):
            prefix = f"{name}/{number}/"
            state = {key.removeprefix(prefix): tensors.pop(key) for key in sorted(tensors) if key.startswith(prefix)}
            module = _MODULES[spec["class"]].from_state(arguments, state)
            parts.append(module.eval().requires_grad_(False))
        setattr(detector, name, parts if is_list else parts[0])
    for name, tensor in tensors.items():
        setattr(detector, name, tensor.numpy())
    return detector
