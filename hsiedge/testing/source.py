"""The check of a source of lines."""

from __future__ import annotations

import threading
import time
from typing import Any

import numpy as np
from numpy.typing import NDArray

from hsiedge.errors import CheckError, HsiedgeError
from hsiedge.live.source import Source, SourceOptions, open_source

_STOP_SECONDS = 3.0


def check_source(
    text: str, expected: NDArray[Any] | None = None, *, lines: int = 64, options: SourceOptions | None = None
) -> None:
    """Checks that a source gives lines as it says, and ends when it is told to.

    Args:
        text: that names it, as `hsiedge run` takes it: FILE.py:NAME[:ADDRESS], or the name of an installed one and its address.
        expected: its first lines `(n, width, bands)`; left out, values are not compared.
        lines: that are taken before it is told to stop; those of `expected`, where they are given.

    Raises:
        CheckError: the first thing that it does not do, in one line.
        OptionError: no such source.
    """
    wanted = lines if expected is None else len(expected)
    try:
        source = open_source(text, options or SourceOptions())
        try:
            _check(source, expected, wanted)
        finally:
            source.close()
    except CheckError as error:
        raise CheckError(f"source {text}: {error}") from error
    except HsiedgeError as error:
        if error.option is not None:
            raise
        raise CheckError(f"source {text}: {error}") from error
    except Exception as error:
        raise CheckError(f"source {text}: {type(error).__name__}: {error}") from error


def _check(source: Source, expected: NDArray[Any] | None, wanted: int) -> None:
    capture = next(iter(source.captures()), None)
    if capture is None:
        raise CheckError("it has no capture")
    cube, blocks = capture.cube, capture.lines
    if not cube.dtype.isnative or cube.dtype.kind not in "uif":
        raise CheckError(f"its dtype is {cube.dtype}; numbers in the machine's byte order were expected")
    shape, seen = (cube.shape[1], cube.bands), 0
    for block in blocks:
        if not isinstance(block, np.ndarray) or block.ndim != 3 or block.shape[1:] != shape or block.dtype != cube.dtype:
            what = f"{block.dtype} {block.shape}" if isinstance(block, np.ndarray) else type(block).__name__
            raise CheckError(f"it gives {what}; its cube tells of {cube.dtype} (n, {shape[0]}, {shape[1]})")
        if not len(block):
            raise CheckError("it gives a block without lines; it must wait for one")
        if expected is not None and not np.array_equal(block[: wanted - seen], expected[seen : seen + len(block)]):
            raise CheckError(f"lines {seen} to {seen + len(block) - 1} have other values than were expected")
        seen += len(block)
        if seen >= wanted:
            _check_stops(source, blocks)
            return
    if expected is not None:
        raise CheckError(f"it ended after {seen} lines; {wanted} were expected")
    if not seen:
        raise CheckError("it ended without a line")


def _check_stops(source: Source, blocks: Any) -> None:
    """Raises CheckError unless it ends soon once `stopped` is set, as at Ctrl-C."""
    source.stopped.set()
    errors: list[Exception] = []

    def drain() -> None:
        try:
            for _ in blocks:
                pass
        except Exception as error:
            errors.append(error)

    thread = threading.Thread(target=drain, daemon=True)
    began = time.monotonic()
    thread.start()
    thread.join(_STOP_SECONDS)
    if thread.is_alive():
        raise CheckError(f"it does not end {time.monotonic() - began:.0f} s after `stopped` was set")
    if errors:
        raise CheckError(f"once `stopped` is set it must end, not raise {type(errors[0]).__name__} ({errors[0]})")
