"""Connection to a running Dask cluster. Logs stay quiet: what fails comes back as a result, or as one line."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from typing import Any

from hsiedge import __version__
from hsiedge.errors import ClusterError, needs_extra
from hsiedge.quiet import quiet

with needs_extra("a Dask cluster", "dask"):
    import dask
    from distributed import CancelledError, Client, KilledWorker, wait
    from distributed import TimeoutError as Late

PATIENCE_SECONDS = 20.0
"""How long a scheduler may take to answer, and may be without a worker."""
_LOOK_SECONDS = 2.0


@contextmanager
def quiet_dask() -> Iterator[None]:
    """Hides what Dask logs and warns of, which is not for the user."""
    for name in ("distributed", "distributed.client"):  # which Dask's own configuration sets apart
        logging.getLogger(name).setLevel(logging.CRITICAL)
    with dask.config.set({"distributed.diagnostics.nvml": False}), quiet(prints=False):
        yield


@contextmanager
def joined(scheduler: str, version: Callable[[], str | None], extra: str) -> Iterator[Any]:
    """Yields the client of a cluster whose workers can do the work.

    Args:
        scheduler: its address, "tcp://host:8786".
        version: asked on each worker: the version of hsiedge there, None where what the work needs is not installed.
        extra: of hsiedge, that a worker needs; "" where it needs none.

    Raises:
        ClusterError: no scheduler answers at the address, it has no workers, or they have another hsiedge.
    """
    with quiet_dask(), _client(scheduler) as client:
        with suppress(Late):
            client.wait_for_workers(1, timeout=PATIENCE_SECONDS)
        versions = client.run(version, on_error="return")
        if not versions:
            raise ClusterError(f"has no workers; start some with: dask worker {scheduler}", option="scheduler", value=scheduler)
        package = f"hsiedge[{extra}]" if extra else "hsiedge"
        for address, installed in versions.items():
            if installed != __version__:  # an exception, where a worker has no hsiedge that could be asked
                other = installed if isinstance(installed, str) else "no"
                raise ClusterError(
                    f"its worker {address} has {other} {package}, "
                    f"here it is {__version__}; all must have the same: pip install '{package}=={__version__}'",
                    option="scheduler",
                    value=scheduler,
                )
        yield client


def awaited(client: Any, scheduler: str, task: Any, title: str) -> Any:
    """Waits for the result of a task; where its worker died, until another has done it.

    Raises:
        ClusterError: no worker is left, the scheduler is gone, or worker after worker died at this task.
    """
    seen = time.monotonic()
    try:
        while not task.done():
            with suppress(Late):
                wait([task], timeout=_LOOK_SECONDS)
            if task.done() or client.nthreads():
                seen = time.monotonic()
            elif time.monotonic() - seen > PATIENCE_SECONDS:
                raise ClusterError("all its workers are gone", option="scheduler", value=scheduler)
        return task.result()
    except KilledWorker as error:
        raise ClusterError(f"{title}: the workers that were given it died, one after another; out of memory?") from error
    except (CancelledError, OSError) as error:
        raise ClusterError("the connection to it was lost", option="scheduler", value=scheduler) from error


def _client(scheduler: str) -> Any:
    try:
        return Client(scheduler, timeout=f"{PATIENCE_SECONDS}s")
    except (OSError, ValueError, Late, TypeError) as error:
        raise ClusterError(
            "no Dask scheduler answers there; as tcp://HOST:8786", option="scheduler", value=scheduler
        ) from error
