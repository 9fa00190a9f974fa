"""Detectors by name, and parameters given as text."""

from __future__ import annotations

import ast
import difflib
import importlib
from collections.abc import Iterable
from typing import Any

from sklearn.base import BaseEstimator
from sklearn.pipeline import Pipeline

from skcnf import detectors
from skcnf.cli._names import DETECTORS, PYOD
from skcnf.tiling import TiledDetector

__all__ = ["apply_settings", "make_detector", "validate"]


def make_detector(name: str, **params: Any) -> BaseEstimator:
    """The detector of that name, with those of ``params`` that it has.

    Raises
    ------
    ValueError
        If the name is unknown.
    """
    key = name.lower()
    if key in DETECTORS:
        detector = getattr(detectors, DETECTORS[key])()
    elif key in PYOD:
        module = importlib.import_module(f"pyod.models.{key}")
        detector = detectors.PyODDetector(getattr(module, PYOD[key])())
    else:
        raise ValueError(f"--detector {name!r} is unknown{_suggestion(key, [*DETECTORS, *PYOD])}")
    known = detector.get_params(deep=False)
    return detector.set_params(**{key: value for key, value in params.items() if key in known})


def apply_settings(model: BaseEstimator, settings: Iterable[tuple[str, str]]) -> None:
    """Set parameters that came as ``--set name=value``.

    A name is sought among the detector's parameters (of tiles: those of `TiledDetector` first), then among the nested
    ones (``n_neighbors`` for ``detector__n_neighbors``, ``low_res_size`` for ``moco__low_res_size``); its full name
    always works.

    Raises
    ------
    ValueError
        If the model has no such parameter (with a suggestion), or more than one.
    """
    for name, text in settings:
        model.set_params(**{_full_name(model, name): _value(text)})


def _full_name(model: BaseEstimator, name: str) -> str:
    known = model.get_params(deep=True)
    detector = model.steps[-1][0] if isinstance(model, Pipeline) else "detector"
    if isinstance(model, Pipeline):
        known = {key: value for key, value in known.items() if "__" in key}
    if isinstance(model, (Pipeline, TiledDetector)) and name not in known and f"{detector}__{name}" in known:
        return f"{detector}__{name}"
    matches = [name] if name in known else [key for key in known if key.endswith(f"__{name}")]
    if len(matches) > 1:
        raise ValueError(f"--set {name}: write one of {', '.join(sorted(matches))}.")
    if not matches:
        plain = sorted({key.rpartition("__")[2] for key in known})
        raise ValueError(f"--set {name}: there is no such parameter{_suggestion(name, plain)}")
    return matches[0]


def _value(text: str) -> Any:
    """A number, true, false, none, a tuple or list of such; anything else is the text itself."""
    words = {"true": True, "false": False, "none": None}
    if text.lower() in words:
        return words[text.lower()]
    try:
        return ast.literal_eval(text)
    except (ValueError, SyntaxError, MemoryError, RecursionError):
        return text


def _suggestion(name: str, known: list[str]) -> str:
    close = difflib.get_close_matches(name, known, 1)
    return f"; did you mean {close[0]!r}?" if close else f"; choose from {', '.join(known)}."


def validate(model: BaseEstimator) -> None:
    """Check every parameter before any work.

    Raises
    ------
    ValueError
        If one is out of its range (naming it, what it is and what is allowed).
    """
    parts = [step for _, step in model.steps] if isinstance(model, Pipeline) else [model]
    if isinstance(model, TiledDetector):
        parts += [model.featurizer, model.detector]
    for part in parts:
        part._validate_params()
