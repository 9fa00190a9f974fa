"""Commands whose inputs are worked off block by block, here or by the workers of a Dask cluster."""

from __future__ import annotations

import argparse
import socket
import threading
from collections.abc import Callable, Iterator
from typing import Any, Protocol

from skcnf._core.cluster import Cluster
from skcnf._core.rows import row_batches
from skcnf.cli._inputs import FeatureInput, Input

__all__ = ["Job", "blocks_of", "check_spreadable"]


class Job(Protocol):
    """What a command line asks for; ``JOB(args)`` opens model and inputs, here or at a worker."""

    block_size: int  # how many inputs are worked off at a time

    @property
    def identity(self) -> str | None:
        """Names all that the results depend on; None where they cannot be had again."""

    @property
    def inputs(self) -> Input:
        """What is worked off."""

    def blocks(self, start: int, stop: int | None = None) -> Iterator[Any]:
        """Results of the inputs from number ``start`` on, to the one before ``stop``."""


def check_spreadable(inputs: Input, role: str, args: argparse.Namespace) -> None:
    """Refuse inputs that several workers cannot read at once, and a cluster that is not there, if ``args`` name one.

    Raises
    ------
    ValueError
        If they are a stream, or a file of features without a place for each row.
    ClusterError
        If no scheduler answers.
    """
    if args.scheduler is None:
        return
    if inputs.n_rows is not None:
        with Cluster(args.scheduler):  # before anything is written
            return
    if isinstance(inputs, FeatureInput):
        raise ValueError(
            f"--scheduler shares out rows by their place, and {role} '{inputs.file.path}' must be read from its "
            "beginning; save the features as .npy or .parquet."
        )
    raise ValueError(f"--scheduler shares out inputs that workers can open, so {role} cannot be '-'.")


def blocks_of(kind: Callable[[argparse.Namespace], Job], job: Job, args: argparse.Namespace, start: int) -> Iterator:
    """Results of ``job``, which is ``kind(args)``, in order, from the input number ``start`` on.

    With ``args.scheduler`` the workers of a Dask cluster open the same model and inputs and do a block at a time.

    Raises
    ------
    ClusterError
        If the cluster cannot do it.
    """
    if args.scheduler is None:
        yield from job.blocks(start)
        return
    n_left = (job.inputs.n_rows or 0) - start  # check_spreadable
    parts = ((start + rows.start, start + rows.stop) for rows in row_batches(n_left, job.block_size))
    with Cluster(args.scheduler) as cluster:
        for blocks in cluster.in_order(_work, ((kind, args, job.identity, *part) for part in parts)):
            yield from blocks


_lock = threading.Lock()
_opened: dict[str | None, Job] = {}  # the last job of this worker: its parts come one after another


def _work(
    kind: Callable[[argparse.Namespace], Job], args: argparse.Namespace, identity: str | None, start: int, stop: int
) -> list[Any]:
    """In a worker: the results of some inputs."""
    with _lock:
        if identity not in _opened:
            _opened.clear()
            _opened[identity] = _open(kind, args, identity)
        job = _opened[identity]
    return list(job.blocks(start, stop))


def _open(kind: Callable[[argparse.Namespace], Job], args: argparse.Namespace, identity: str | None) -> Job:
    try:
        job = kind(args)
    except (OSError, ValueError) as error:
        raise ValueError(
            f"a worker on '{socket.gethostname()}' cannot begin: {error} Workers must see the same files under the "
            "same names; names that begin at the root help where they run in another folder."
        ) from error
    if job.identity != identity:
        raise ValueError(
            f"a worker on '{socket.gethostname()}' has other inputs, another model or device, or another version of "
            "skcnf under the names of this command; rows would not be those of a run without --scheduler."
        )
    return job
