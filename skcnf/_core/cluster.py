"""Work spread over a Dask cluster. Results come in order, and a worker that dies loses none of them."""

from __future__ import annotations

import asyncio
import logging
import threading
import time
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import CancelledError
from contextlib import suppress
from itertools import islice
from typing import Any, TypeVar

__all__ = ["Cluster", "ClusterError"]

_CONNECTING = 10.0  # seconds that a scheduler may take to answer
_LONELY = 60.0  # seconds that a cluster may be without any worker
_POLL = 1.0  # seconds between looks at the cluster
_Result = TypeVar("_Result")


class ClusterError(OSError):
    """The cluster cannot do the work; the message says why."""


class Cluster:
    """A connection to a Dask scheduler, as a context.

    Parameters
    ----------
    address : str
        Of the scheduler, as ``dask scheduler`` prints it: ``tcp://host:8786``.

    Raises
    ------
    ClusterError
        On entering, if no scheduler answers there.
    ValueError
        On entering, if the package distributed is not installed.
    """

    def __init__(self, address: str) -> None:
        self.address = address
        self._logger = logging.getLogger("distributed")

    def __enter__(self) -> Cluster:
        try:
            import distributed
        except ImportError:
            raise ValueError('a Dask cluster needs distributed: pip install "skcnf[cluster]".') from None
        self._distributed, self._level = distributed, self._logger.level
        self._logger.setLevel(logging.CRITICAL + 1)  # it would tell of every worker that comes and goes
        try:
            asyncio.run(_knock(self.address))  # a client that meets no scheduler would hold the process for 20 s
            self._client = distributed.Client(self.address, timeout=_CONNECTING, set_as_default=False)
        except Exception as error:  # OSError for silence, and many others for answers that are none of Dask's
            self._logger.setLevel(self._level)
            raise ClusterError(
                f"no Dask scheduler answers at '{self.address}' ({type(error).__name__}: {error}); "
                "give the address that `dask scheduler` prints, such as tcp://host:8786."
            ) from error
        return self

    def __exit__(self, *_: object) -> None:
        with suppress(Exception):  # a scheduler that is gone
            self._client.close(timeout=_CONNECTING)
        self._logger.setLevel(self._level)

    def in_order(self, function: Callable[..., _Result], units: Iterable[tuple[Any, ...]]) -> Iterator[_Result]:
        """Yield ``function(*unit)`` for each unit, in their order.

        Dask gives what a dead worker was doing to another one. Twice as many units as the workers have threads are
        under way at a time, so that results that wait for an earlier one stay few.

        Raises
        ------
        ClusterError
            If the scheduler is gone, no worker is left for a minute, or a unit has ended one worker after another.
        Exception
            What a unit raises, once the results before it are out.
        """
        units, waiting = iter(units), deque[Any]()
        try:
            while True:
                n_free = max(max(2 * self._n_threads(), 1) - len(waiting), 0)  # below 0 where workers have died
                waiting.extend(self._client.submit(function, *unit, pure=False) for unit in islice(units, n_free))
                if not waiting:
                    return
                yield self._result(waiting[0])
                waiting.popleft()
        finally:
            with suppress(Exception):  # a scheduler that is gone
                self._client.cancel(list(waiting), force=True)

    def _result(self, future: Any) -> Any:
        last_seen, done = time.monotonic(), threading.Event()
        future.add_done_callback(lambda _: done.set())
        while not done.wait(_POLL):
            if self._n_threads() > 0:
                last_seen = time.monotonic()
            elif time.monotonic() - last_seen > _LONELY:
                raise ClusterError(
                    f"the Dask cluster at '{self.address}' has had no worker for {_LONELY:.0f} s; start some by "
                    f"`dask worker {self.address}`."
                )
        try:
            return future.result()
        except self._distributed.KilledWorker as error:
            raise ClusterError(
                f"the Dask cluster at '{self.address}' gave a part of the work up, since it ended one worker after "
                "another, perhaps because memory ran out there."
            ) from error
        except CancelledError as error:
            raise self._gone() from error

    def _n_threads(self) -> int:
        """How many units the workers do at once."""
        try:
            return sum(self._client.nthreads().values())
        except Exception as error:  # OSError, and TypeError or RuntimeError where the client has given up
            raise self._gone() from error

    def _gone(self) -> ClusterError:
        return ClusterError(f"the Dask scheduler at '{self.address}' is gone.")


async def _knock(address: str) -> None:
    from distributed import Security
    from distributed.comm import connect

    comm = await connect(address, timeout=_CONNECTING, **Security().get_connection_args("client"))
    await comm.close()
