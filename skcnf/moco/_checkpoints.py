"""The checkpoint of a pretraining run: one file without code, under a checksum, that names the run it belongs to."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from dataclasses import fields
from typing import Any

import torch
from torch import Tensor, nn

from skcnf._core.container import read_container, refusing, write_container
from skcnf.moco._encoders import EncoderSpec
from skcnf.moco._weights import rebuild_encoder

__all__ = ["checkpoint_encoders", "read_checkpoint", "write_checkpoint"]

_FORMAT = "skcnf-pretraining-1"
_MODEL, _MOMENTUM = "model/", "momentum/"


def write_checkpoint(
    path: str | os.PathLike[str],
    run: Mapping[str, Any],
    history: list[dict[str, float]],
    model: nn.Module,
    optimizer: torch.optim.SGD,
) -> None:
    """Write what a run needs to go on; the file appears whole or not at all.

    Parameters
    ----------
    path : path
    run : mapping
        What tells this run from others: plain values.
    history : list of dict
        A record an epoch.
    model : nn.Module
    optimizer : torch.optim.SGD
        Of its state the momentum is kept; its rates follow from the epoch.
    """
    tensors = {f"{_MODEL}{name}": tensor for name, tensor in model.state_dict().items()}
    for number, state in optimizer.state_dict()["state"].items():
        tensors[f"{_MOMENTUM}{number}"] = state["momentum_buffer"]
    write_container(path, _FORMAT, {"run": run, "history": history}, tensors)


def read_checkpoint(
    path: str | os.PathLike[str], run: Mapping[str, Any], model: nn.Module, optimizer: torch.optim.SGD
) -> list[dict[str, float]]:
    """Bring ``model`` and ``optimizer`` to where a checkpoint left them; the history until then.

    Raises
    ------
    ValueError
        If the file is no checkpoint, was altered, or belongs to another run (naming the file).
    """
    with refusing(path, "the checkpoint of a pretraining run"):
        _, header, tensors = read_container(path, [_FORMAT])
        there, history = header["run"], _checked_history(header["history"])
        if not isinstance(there, dict):
            raise ValueError("its header names no run.")
        state, momentum = _parts(tensors)
    _check_run(path, there, json.loads(json.dumps(run)))
    with refusing(path, "the checkpoint of this run"):
        shapes = {n: p.shape for n, p in enumerate(p for group in optimizer.param_groups for p in group["params"])}
        if not all(shapes.get(number) == tensor.shape for number, tensor in momentum.items()):
            raise ValueError("its momentum is of another model.")
        model.load_state_dict(state)
        whole = optimizer.state_dict()
        whole["state"] = {number: {"momentum_buffer": tensor} for number, tensor in momentum.items()}
        optimizer.load_state_dict(whole)
    return history


def checkpoint_encoders(path: str | os.PathLike[str]) -> tuple[nn.Module, nn.Module]:
    """Return the query and the key encoder of a run as of its latest checkpoint, in evaluation mode, on the CPU.

    Raises
    ------
    ValueError
        If ``path`` is no checkpoint of `pretrain` (naming the file).
    """
    with refusing(path, "the checkpoint of a pretraining run"):
        _, header, tensors = read_container(path, [_FORMAT])
        spec = {field.name: header["run"][field.name] for field in fields(EncoderSpec)}
        state, _ = _parts(tensors)
        return rebuild_encoder(spec, _of(state, "encoder_q.")), rebuild_encoder(spec, _of(state, "encoder_k."))


def _of(tensors: dict[str, Tensor], prefix: str) -> dict[str, Tensor]:
    """Those whose names begin so, by the rest of their names."""
    return {name.removeprefix(prefix): tensor for name, tensor in tensors.items() if name.startswith(prefix)}


def _parts(tensors: dict[str, Tensor]) -> tuple[dict[str, Tensor], dict[int, Tensor]]:
    """The state of the model, and the momentum by the number of the parameter."""
    if not all(bool(torch.isfinite(tensor).all()) for tensor in tensors.values()):
        raise ValueError("it holds numbers that are not finite.")
    model = _of(tensors, _MODEL)
    momentum = {int(number): tensor for number, tensor in _of(tensors, _MOMENTUM).items()}
    if len(model) + len(momentum) != len(tensors):
        raise ValueError("it holds tensors of neither the model nor the optimizer.")
    return model, momentum


def _check_run(path: object, there: dict[str, Any], here: dict[str, Any]) -> None:
    changed = [name for name in here if there.get(name) != here[name]]
    plain = [f"{name}: {there.get(name)!r} there, {here[name]!r} here" for name in changed if name != "images"]
    differences = [*(["other images"] if "images" in changed else []), *plain]
    if differences:
        raise ValueError(
            f"'{path}' is the checkpoint of another run ({'; '.join(differences)}). Repeat that run, delete the file "
            "to start anew, or give another path."
        )


def _checked_history(history: Any) -> list[dict[str, float]]:
    records = isinstance(history, list) and all(isinstance(record, dict) for record in history)
    if not records or [record.get("epoch") for record in history] != list(range(len(history))):
        raise ValueError("its history is malformed.")
    if not all(type(value) in (int, float) for record in history for value in record.values()):
        raise ValueError("its history holds what is no number.")
    return history
