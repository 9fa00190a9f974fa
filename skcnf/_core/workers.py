"""Work shared out to processes that end with this one, and that may be killed without loss of the others' results."""

from __future__ import annotations

import logging
import os
import threading
import time
import warnings
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures.process import BrokenProcessPool
from functools import cache
from inspect import signature
from typing import Any, TypeVar

from joblib import Parallel, delayed, effective_n_jobs
from joblib._parallel_backends import LokyBackend, MultiprocessingBackend
from joblib.externals.loky import get_reusable_executor
from joblib.parallel import get_active_backend

from skcnf._core.scratch import scratch_folder

__all__ = ["run_all"]

_log = logging.getLogger(__name__)
_POLL = 0.5  # seconds between looks at the parent
_HAS_OPTIONS = any(parameter.kind is parameter.VAR_KEYWORD for parameter in signature(Parallel).parameters.values())
_Unit = TypeVar("_Unit")
_Result = TypeVar("_Result")


def run_all(
    function: Callable[[_Unit], _Result], units: Iterable[_Unit], n_jobs: int | None
) -> Iterator[tuple[_Unit, _Result | None]]:
    """Yield each unit with its result, as they come; the result is None where the unit's process was killed twice.

    joblib's process pool breaks as a whole when one of its workers is killed, and does not tell what ran in it. So the
    units that may have run are put off; the others go on in a new pool, and those put off then run again, one by one.

    Parameters
    ----------
    function : callable of a unit
        It must not return None.
    units : iterable
        They are started in this order.
    n_jobs : int or None
        The number of joblib workers, at most one for each unit: the processor's cores are shared out among them.
    """
    waiting, suspects = list(units), []
    with scratch_folder() as folder:
        while waiting:
            n_workers = min(effective_n_jobs(n_jobs), len(waiting))
            done = set()
            try:
                for number, result in _run(function, waiting, n_workers, folder):
                    done.add(number)
                    yield waiting[number], result
            except BrokenProcessPool:
                _log.warning("a worker process was killed; what it was doing is done again")
                _discard_pool()
            left = [unit for number, unit in enumerate(waiting) if number not in done]
            suspects += left[:n_workers]
            waiting = left[n_workers:]
        for unit in suspects:
            yield unit, _run_alone(function, unit, folder)


def _run_alone(function: Callable[[_Unit], _Result], unit: _Unit, folder: str) -> _Result | None:
    """The result of one unit in a process of its own; None where that is killed."""
    try:
        ((_, result),) = _run(function, [unit], 2, folder)  # to its end: joblib kills the pool of one that is left
        return result
    except BrokenProcessPool:
        _discard_pool()
        return None


def _discard_pool() -> None:
    """End what is left of joblib's process pool, so that nobody is given the broken one again."""
    get_reusable_executor().shutdown(wait=True, kill_workers=True)


def _run(
    function: Callable[[_Unit], _Result], units: Sequence[_Unit], n_workers: int, folder: str
) -> Iterator[tuple[int, _Result]]:
    backend = get_active_backend()[0]
    # batch_size="auto" would put long units behind short ones of the same worker, and lose all of a batch by a kill
    parallel = Parallel(
        n_jobs=n_workers, return_as="generator_unordered", batch_size=1, temp_folder=folder, **_watching(backend)
    )
    parent = _Parent(os.getpid()) if isinstance(backend, (LokyBackend, MultiprocessingBackend)) else None
    calls = (delayed(_call)(parent, function, number, unit) for number, unit in enumerate(units))
    with warnings.catch_warnings():
        # joblib's process pool replaces workers that have grown; no unit is lost
        warnings.filterwarnings("ignore", "A worker stopped while some jobs were given", UserWarning)
        yield from parallel(calls)


def _watching(backend: Any) -> dict[str, Any]:
    """Options by which a worker watches its parent from the start, where joblib has them.

    A kill can cut a unit that is on its way to a worker. That worker waits for the rest for ever, in a call without a
    time limit, and has not seen the `_Parent` in it.
    """
    if not _HAS_OPTIONS or not isinstance(backend, LokyBackend):
        return {}
    return {"initializer": _end_with, "initargs": (os.getpid(),)}


class _Parent:
    """The process that shares the work out. Its copy in another process makes that one end with it.

    It stands first among the arguments, so that a worker whose parent is killed ends even while it still imports what
    the work needs.
    """

    def __init__(self, process: int) -> None:
        self.process = process

    def __reduce__(self) -> tuple[Callable[[int], None], tuple[int]]:
        return _end_with, (self.process,)


def _call(
    parent: _Parent | None, function: Callable[[_Unit], _Result], number: int, unit: _Unit
) -> tuple[int, _Result]:
    return number, function(unit)


@cache
def _end_with(parent: int) -> None:
    """Make this process end soon after its parent has ended, by a kill too.

    A worker of joblib would finish its fit, and then wait five minutes for another.
    """
    if os.name != "posix":
        return  # the number of a parent says nothing there once it has ended
    if os.getppid() != parent:
        os._exit(1)
    threading.Thread(target=_watch, args=(parent,), daemon=True).start()


def _watch(parent: int) -> None:
    while os.getppid() == parent:
        time.sleep(_POLL)
    os._exit(1)
