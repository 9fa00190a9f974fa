"""What ``features`` does: images to an array of features."""

from __future__ import annotations

import argparse
from collections.abc import Iterator

import numpy as np

from skcnf._core.files import check_output
from skcnf._core.row_files import RowFile
from skcnf.cli._console import Console
from skcnf.cli._featurizing import make_featurizer
from skcnf.cli._inputs import ImageInput, open_input
from skcnf.cli._paths import check_not_overwritten
from skcnf.cli._spreading import blocks_of, check_spreadable

__all__ = ["FeaturesJob", "run_features"]


class FeaturesJob:
    """The encoder and the images of a command line.

    Parameters
    ----------
    args : argparse.Namespace

    Raises
    ------
    ValueError
        If one cannot be used (naming it).
    """

    def __init__(self, args: argparse.Namespace) -> None:
        inputs = open_input([args.images], "IMAGES", args.intensity)
        if not isinstance(inputs, ImageInput):
            raise ValueError(f"IMAGES '{args.images}' holds features already.")
        self.inputs = inputs
        self.featurizer = make_featurizer(args, verbose=not args.quiet).fit(inputs.source)
        self.block_size = self.featurizer.batch_size

    @property
    def identity(self) -> str:
        """Names all that the rows depend on."""
        return f"{self.inputs.identity} {self.featurizer._identity}"

    def blocks(self, start: int, stop: int | None = None) -> Iterator[np.ndarray]:
        """Features of the images from number ``start`` on, to the one before ``stop``."""
        for block in self.inputs.blocks(self.featurizer, start, stop):
            for error in filter(None, block.errors):
                raise ValueError(error)
            yield block.X


def run_features(args: argparse.Namespace) -> int:
    """Run what ``args`` of the command line ask for; returns the exit status."""
    console = Console("features", args.quiet)
    check_not_overwritten([args.output], [args.images, args.weights])
    check_output(args.output)
    with console.plain_warnings():
        job = FeaturesJob(args)
        check_spreadable(job.inputs, "IMAGES", args)
        n_rows, n_features = _to_file(job, args, console).shape
    console.result(f"{args.output}: {n_rows} images, {n_features} features")
    return 0


def _to_file(job: FeaturesJob, args: argparse.Namespace, console: Console) -> np.ndarray:
    inputs = job.inputs.listed()
    if args.scheduler is None:
        return job.featurizer.transform_to_file(inputs.source, args.output)
    assert inputs.n_rows is not None  # it is listed
    with RowFile(args.output, (inputs.n_rows, job.featurizer.n_features_out_), "float32", job.identity) as rows:
        with console.bar(inputs.n_rows, rows.n_done) as bar:
            for block in blocks_of(FeaturesJob, job, args, rows.n_done):
                rows.append(block)
                bar.update(len(block))
        return rows.finish()
