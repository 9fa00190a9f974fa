"""What decides a detector's results, as text: results on file are taken only for a detector of the same text."""

from __future__ import annotations

import hashlib
import os
from typing import Any

import numpy as np
from sklearn.base import BaseEstimator
from torch import nn

from skcnf.moco._encoding import weights_digest

__all__ = ["signature"]

_NOT_DECISIVE = ("checkpoints", "device", "memory", "verbose")  # where it computes and caches


def signature(detector: BaseEstimator) -> str:
    """The class and the parameters of a detector, and of the estimators it is made of.

    A digest of their content represents weights, arrays and files.
    """
    return repr(_told(detector))


def _told(value: Any) -> Any:
    if isinstance(value, BaseEstimator):
        params = value.get_params(deep=False)
        return type(value).__name__, {name: _told(params[name]) for name in params if name not in _NOT_DECISIVE}
    if isinstance(value, (list, tuple)):
        return [*map(_told, value)] if isinstance(value, list) else (*map(_told, value),)
    if isinstance(value, dict):  # as a search's grid
        return {name: _told(part) for name, part in value.items()}
    if isinstance(value, nn.Module):
        return type(value).__name__, weights_digest(value)
    if isinstance(value, np.ndarray) and value.dtype != object:
        return value.shape, value.dtype.str, _digest(np.ascontiguousarray(value).data)
    if isinstance(value, (str, os.PathLike)) and os.path.isfile(value):
        with open(value, "rb") as file:
            return os.fspath(value), _digest(file.read())
    return value


def _digest(content: Any) -> str:
    return hashlib.blake2b(content, digest_size=16).hexdigest()
