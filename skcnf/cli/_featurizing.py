"""Features of all inputs, kept beside the output so that a run that was cut goes on."""

from __future__ import annotations

import argparse
import glob
import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from skcnf._core.row_files import RowFile
from skcnf.cli._console import Console
from skcnf.cli._inputs import Block, FeatureInput, Featurizer, ImageInput, Input
from skcnf.moco import MocoFeaturizer

__all__ = ["Features", "features_of", "make_featurizer", "report_unreadable", "stored_features"]

_BLOCK = 4096


@dataclass(frozen=True, eq=False)
class Features:
    """Rows of readable inputs, with the inputs' names.

    Parameters
    ----------
    names : ndarray of shape (n,)
    X : ndarray or DataFrame of shape (n, d)
    """

    names: np.ndarray
    X: Any


def make_featurizer(args: argparse.Namespace, verbose: bool = False) -> MocoFeaturizer:
    """The featurizer of the options that `add_encoder` adds; those not given keep its defaults."""
    asked = {"weights": args.weights, "low_res_size": args.low_res, "precision": args.precision}
    given = {name: value for name, value in {**asked, "intensity": args.intensity}.items() if value is not None}
    return MocoFeaturizer(device=args.device, n_jobs=args.n_jobs, verbose=verbose, **given)


def features_of(
    inputs: Input, featurizer: Featurizer | None, role: str, args: argparse.Namespace, console: Console
) -> Features:
    """Features of all readable inputs; the others are told one by one.

    Raises
    ------
    ValueError
        If less than two inputs are readable, or ``args.strict`` and one is not.
    """
    if isinstance(inputs, FeatureInput):
        n_rows, names, X = _read(inputs, args.strict, console)
    else:
        assert featurizer is not None  # it is there where NORMAL holds images, and all are of one kind
        n_rows, names, X = _featurized(inputs.listed(), featurizer, args, console)
    if len(X) < n_rows:
        console.warn(f"{role}: {n_rows - len(X):,} of {n_rows:,} inputs unreadable and left out")
    if len(X) < 2:
        raise ValueError(f"{role}: {len(X)} of {n_rows:,} inputs can be read; at least 2 are needed.")
    console.note(f"{role}: {len(X):,} inputs, {X.shape[1]} features each")
    return Features(names, X)


def _read(inputs: FeatureInput, strict: bool, console: Console) -> tuple[int, np.ndarray, Any]:
    parts, names, n_rows = [], [], 0
    for block in inputs.blocks(_BLOCK):
        report_unreadable(block.names, block.errors, strict, console)
        parts.append(block.X)
        names += [str(name) for name, error in zip(block.names, block.errors, strict=True) if error is None]
        n_rows += len(block.names)
    if not parts:
        raise ValueError(f"'{inputs.file.path}' holds no row.")
    X = np.concatenate(parts) if isinstance(parts[0], np.ndarray) else pd.concat(parts, ignore_index=True)
    return n_rows, np.array(names, dtype=object), X


def _featurized(
    inputs: ImageInput, featurizer: Featurizer, args: argparse.Namespace, console: Console
) -> tuple[int, np.ndarray, np.ndarray]:
    names = np.array(inputs.names, dtype=object)
    identity = f"{inputs.identity} {featurizer._identity}"
    key = hashlib.blake2b(identity.encode(), digest_size=8).hexdigest()
    path, n_before = args.output.with_name(f"{args.output.name}.features-{key}.npy"), len(names)
    if not path.exists():  # else it is whole, and its name tells whose
        with RowFile(path, (len(names), featurizer.n_features_out_), "float32", identity) as rows:
            n_before = rows.n_done
            _fill(rows, inputs, featurizer, args.strict, console)
    X = _once_more(np.load(path, mmap_mode="r", allow_pickle=False), n_before, inputs, featurizer, args.strict, console)
    readable = ~np.isnan(X).any(axis=1)
    return len(names), names[readable], X if readable.all() else X[readable]


def _fill(rows: RowFile, inputs: ImageInput, featurizer: Featurizer, strict: bool, console: Console) -> None:
    """Write the features of all images, NaN for those that cannot be read."""
    with console.bar(inputs.n_rows, rows.n_done) as bar:
        for block in inputs.blocks(featurizer, rows.n_done):
            report_unreadable(block.names, block.errors, strict, console)
            rows.append(_with_gaps(block))
            bar.update(len(block.names))
    rows.finish()


def _once_more(
    X: np.ndarray, n_before: int, inputs: ImageInput, featurizer: Featurizer, strict: bool, console: Console
) -> np.ndarray:
    """Try again what an earlier run could not read of the first ``n_before`` images; tell why if that fails too."""
    found = {}
    for number in np.flatnonzero(np.isnan(X[:n_before]).any(axis=1)).tolist():
        (block,) = inputs.blocks(featurizer, number, number + 1)
        report_unreadable(block.names, block.errors, strict, console)
        if len(block.X):
            found[number] = block.X[0]
    if found:
        X = np.array(X)  # the file is mapped, and stays as it is
        X[list(found)] = list(found.values())
    return X


def _with_gaps(block: Block) -> np.ndarray:
    rows = np.full((len(block.names), block.X.shape[1]), np.nan, np.float32)
    rows[[error is None for error in block.errors]] = block.X
    return rows


def report_unreadable(names: Sequence[Any], errors: Sequence[str | None], strict: bool, console: Console) -> None:
    """Say of each unreadable input why; raise at the first where ``strict``."""
    for name, error in zip(names, errors, strict=True):
        if error is not None:
            text = error if str(name).rpartition("!")[2] in error else f"row {name}: {error}"
            if strict:
                raise ValueError(f"--strict: {text}")
            console.warn(f"unreadable: {text}")


def stored_features(output: Path) -> list[Path]:
    """What `features_of` keeps beside ``output``."""
    return list(output.parent.glob(f"{glob.escape(output.name)}.features-*"))
