"""Silence for libraries that print, log and warn of what is not for the user."""

from __future__ import annotations

import io
import logging
import warnings
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, redirect_stderr, redirect_stdout


@contextmanager
def quiet(*, prints: bool = True) -> Iterator[None]:
    """Silences Python's warnings inside the block, and, with `prints`, also printing and log lines up to WARNING."""
    disabled = logging.root.manager.disable
    with ExitStack() as stack:
        stack.enter_context(warnings.catch_warnings())
        warnings.simplefilter("ignore")
        if prints:
            stack.enter_context(redirect_stdout(io.StringIO()))
            stack.enter_context(redirect_stderr(io.StringIO()))
            stack.callback(logging.disable, disabled)
            logging.disable(logging.WARNING)
        yield
