"""Files that many tests read, each made once a session: by the worker of pytest-xdist that needs it first."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

FOLDER = "HSIEDGE_TESTS_FOLDER"
"""The environment variable that names the session's folder, to workers and to processes that tests start."""


@contextmanager
def session_folder() -> Iterator[None]:
    """Makes the session's folder, and removes it in the end; within another session, that one's is taken."""
    if FOLDER in os.environ:
        yield
        return
    with tempfile.TemporaryDirectory(prefix="hsiedge-tests-") as folder:
        os.environ[FOLDER] = folder
        try:
            yield
        finally:
            del os.environ[FOLDER]


def made_once(name: str, make: Callable[[Path], object]) -> Path:
    """Gives the file or folder of that name, and has it made where no worker has done so.

    Args:
        name: names what is made, and with which options: who asks for the same name gets the same file.
        make: makes it, whole or not at all, at the path that it is given.
    """
    from filelock import FileLock  # the device wing's tests run without it

    path = Path(os.environ[FOLDER]) / name
    with FileLock(f"{path}.lock"):
        if not path.exists():
            make(path)
    return path
