"""A Dask cluster of real processes, that the command which is tested did not start."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

ROOT = Path(__file__).parents[1]
_WORKER = "from distributed.cli.dask_worker import main; main()"
STRANGER = f"import sys; sys.modules['hsiedge'] = None; {_WORKER}"
"""Code of a worker that has no hsiedge."""


@contextmanager
def cluster(
    workers: int, folder: Path | None = None, code: str = _WORKER
) -> Iterator[tuple[str, list[subprocess.Popen[bytes]]]]:
    """Yields the scheduler's address, and the processes of the workers, which have one thread each and run in `folder`."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        address = f"tcp://127.0.0.1:{free.getsockname()[1]}"
    environment = {
        **os.environ,
        "OMP_NUM_THREADS": "1",
        "PYTHONPATH": str(ROOT),
    }
    quiet = {"stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL, "env": environment, "cwd": folder}
    dask = [sys.executable, "-m", "distributed.cli.dask_scheduler", "--host", address, "--no-dashboard"]
    work = [sys.executable, "-c", code, address, "--nthreads", "1", "--no-dashboard", "--no-nanny"]
    scheduler = subprocess.Popen(dask, **quiet)
    started = [subprocess.Popen(work, **quiet) for _ in range(workers)]
    try:
        yield address, started
    finally:
        for process in (scheduler, *started):
            process.kill()
            process.wait()
