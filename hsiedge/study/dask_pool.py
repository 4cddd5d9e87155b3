"""Workers of a study: Dask processes on this machine, or a cluster that runs already.

Nothing listens but on the loopback, no dashboard is served, and logs stay quiet: what fails comes back as a result.
"""

from __future__ import annotations

import logging
import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from typing import Any

from hsiedge import __version__
from hsiedge.device.facts import default_threads
from hsiedge.errors import MissingExtraError, needs_extra

with needs_extra("the study", "study"):
    import dask
    from distributed import Client, LocalCluster, WorkerPlugin

from hsiedge.cluster import joined, quiet_dask

_LOOPBACK = "127.0.0.1"
_SETTINGS = {
    "distributed.scheduler.allowed-failures": 2,  # a cell at which three processes died is not tried a fourth time
    "distributed.worker.memory.terminate": False,  # a net may be large; the kernel decides
    "distributed.worker.memory.pause": False,
    "distributed.worker.memory.spill": False,
    "distributed.worker.memory.target": False,
}


@dataclass(frozen=True)
class Pool:
    """A Dask client, and how many cells are worked on at once."""

    client: Any
    workers: int


@contextmanager
def open_pool(scheduler: str | None, workers: int | None) -> Iterator[Pool]:
    """Starts processes of one thread each, by default one a physical core, or joins a cluster.

    Args:
        scheduler: address of a Dask scheduler ("tcp://host:8786"); None for processes on this machine.
        workers: how many processes; None for one a physical core.

    Raises:
        ClusterError: no scheduler answers at the address, it has no workers, or they have another hsiedge.
    """
    with quiet_dask(), dask.config.set(_SETTINGS):
        if scheduler is None:
            with _local(workers or default_threads()) as client:
                yield Pool(client, workers or default_threads())
        else:
            with joined(scheduler, _version, "study") as client:
                yield Pool(client, len(client.nthreads()))


@contextmanager
def _local(workers: int) -> Iterator[Any]:
    cluster = LocalCluster(
        n_workers=workers,
        threads_per_worker=1,
        processes=True,
        host=_LOOPBACK,
        scheduler_kwargs={"dashboard": False, "dashboard_address": f"{_LOOPBACK}:0"},
        worker_dashboard_address=None,
        memory_limit=0,
        silence_logs=logging.CRITICAL,
    )
    try:
        with Client(cluster) as client:
            client.register_plugin(_Killable())
            yield client
    finally:
        _end(cluster)


def _version() -> str | None:
    """Version of hsiedge on a worker; None where it cannot train."""
    try:
        import hsiedge.study.cells  # noqa: F401
    except (ImportError, MissingExtraError):
        return None
    return __version__


def _end(cluster: Any) -> None:
    """Ends the processes at once: their work is begun anew the next time, and nobody waits for it."""
    for nanny in list(cluster.workers.values()):
        process = getattr(nanny.process, "process", None)
        if process is not None:
            with suppress(Exception):
                process.kill()
    with suppress(Exception):
        cluster.close(timeout=5)


class _Killable(WorkerPlugin):  # type: ignore[misc]
    """Preparation of a process that is to end silently.

    Ctrl-C goes to all processes of a terminal; the client's end is the workers' end, without tracebacks of their own. And tqdm,
    which torch uses where it is installed, locks across processes by default: Python warns of a lock left behind.
    """

    def setup(self, worker: Any) -> None:
        with suppress(ValueError):  # not in the main thread
            signal.signal(signal.SIGINT, signal.SIG_IGN)
        with suppress(ImportError):
            from tqdm import tqdm

            tqdm.set_lock(threading.RLock())
