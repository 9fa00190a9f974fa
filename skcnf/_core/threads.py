"""Items worked on by threads of one core each, for operations that are too small to be shared by several cores."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import TypeVar

import torch

__all__ = ["in_threads"]

Item = TypeVar("Item")
Result = TypeVar("Result")


def in_threads(function: Callable[[Item], Result], items: Iterable[Item], n_threads: int) -> Iterator[Result]:
    """The results of ``function``, in the order of ``items``, which ``n_threads`` threads take in turn.

    No gradient is recorded. Each thread computes on one core: torch keeps this number for the process, so that it is
    set back when the threads have ended.
    """
    before = torch.get_num_threads()

    def run(item: Item) -> Result:
        with torch.no_grad():
            return function(item)

    try:
        with ThreadPoolExecutor(n_threads, initializer=torch.set_num_threads, initargs=(1,)) as pool:
            yield from pool.map(run, items)
    finally:  # once all threads have ended: one that began late would set the number again
        torch.set_num_threads(before)
