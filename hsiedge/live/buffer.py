"""Bounded buffer of lines between a source's thread and the classifier."""

from __future__ import annotations

import threading
import time
from collections import deque
from dataclasses import dataclass
from typing import Any

import numpy as np
import psutil
from numpy.typing import NDArray

from hsiedge.errors import HsiedgeError, OptionError, SourceError
from hsiedge.scenes.io.cube import Cube

LATE = ("wait", "drop")
"""Words on lines that come while the buffer is full."""
_LEAST_LINES, _MOST_LINES = 16, 8192
_GATHER_SECONDS = 0.05  # that a line waits for others to be labelled with
_LOOK_SECONDS = 0.2


@dataclass(frozen=True)
class Batch:
    """Lines that come out of the buffer together, or a gap.

    Attributes:
        lines: `(n, width, bands)`, as long as no other batch is taken.
        arrived: seconds of time.perf_counter, a line each.
        dropped: lines that were dropped in their place; then there are none in `lines`.
    """

    lines: NDArray[Any]
    arrived: NDArray[np.float64]
    dropped: int = 0


class LineBuffer:
    """Lines in the order that they came, in memory that is taken once; one thread puts them in, another takes them out.

    A buffer that is full makes the source wait, or drops lines until half of it is free: a long gap spoils the surroundings of
    fewer pixels than many short ones.

    Args:
        cube: facts of the lines.
        size: bytes; 16 lines at least.
        late: "wait" or "drop".

    Raises:
        OptionError: another word; more than fits into the memory.
    """

    def __init__(self, cube: Cube, size: int, late: str = "wait") -> None:
        if late not in LATE:
            raise OptionError(f"one of {', '.join(LATE)} was expected", option="late", value=late)
        line = cube.shape[1] * cube.bands * cube.dtype.itemsize
        self.capacity = int(np.clip(size // line, _LEAST_LINES, _MOST_LINES))
        self._cube, self._drops = cube, late == "drop"
        needed, free = self.capacity * line, psutil.virtual_memory().available
        if needed > free:
            text = f"{self.capacity} lines take {needed >> 20} MiB, {free >> 20} MiB are free"
            raise OptionError(text, option="buffer", value=size)
        self._lines = np.empty((self.capacity, cube.shape[1], cube.bands), cube.dtype)
        self._lines.fill(0)  # its memory is taken now, and does not grow in flight
        self._arrived = np.empty(self.capacity)
        self._change = threading.Condition()
        self._put = self._taken = self._held = 0  # lines that went in, came out, and are lent to who took them
        self._gaps: deque[list[int]] = deque()  # place among the lines that were kept, and how many were dropped there
        self._full = self._ended = self._closed = False
        self.error: HsiedgeError | None = None
        self.lines_in = self.dropped = 0
        self.waited = 0.0

    def put(self, lines: NDArray[Any]) -> bool:
        """Takes lines `(n, width, bands)` of the cube's dtype; False where no more are wanted.

        Raises:
            SourceError: something else.
        """
        expected = self._lines.shape[1:]
        if not isinstance(lines, np.ndarray) or lines.shape[1:] != expected or lines.dtype != self._lines.dtype:
            form = f"{lines.dtype} {lines.shape}" if isinstance(lines, np.ndarray) else type(lines).__name__
            raise SourceError(
                f"{self._cube.path}: gives {form}; {self._lines.dtype} (n, {expected[0]}, {expected[1]}) was expected"
            )
        now = time.perf_counter()
        self.lines_in += len(lines)
        while len(lines):
            count = self._room(len(lines))
            if self._closed:
                return False
            if not count and self._drops:
                self._drop(len(lines))
                return True
            self._store(lines[:count], now)
            lines = lines[count:]
        return not self._closed

    def _room(self, wanted: int) -> int:
        """Places that are free, `wanted` at most; 0 where lines are to be dropped. Waits for one otherwise."""
        with self._change:
            free = self.capacity - (self._put - self._taken + self._held)
            if self._drops:
                self._full = free < self.capacity // 2 if self._full else free < 1
                return 0 if self._full else min(free, wanted)
            began = time.perf_counter()
            while free < 1 and not self._closed:
                self._change.wait(_LOOK_SECONDS)
                free = self.capacity - (self._put - self._taken + self._held)
            self.waited += time.perf_counter() - began
            return min(free, wanted)

    def _store(self, lines: NDArray[Any], now: float) -> None:
        first = self._put % self.capacity
        before_end = min(len(lines), self.capacity - first)
        self._lines[first : first + before_end] = lines[:before_end]
        self._lines[: len(lines) - before_end] = lines[before_end:]
        places = np.arange(first, first + len(lines)) % self.capacity
        self._arrived[places] = now
        with self._change:
            self._put += len(lines)
            self._change.notify_all()

    def _drop(self, count: int) -> None:
        with self._change:
            self.dropped += count
            if self._gaps and self._gaps[-1][0] == self._put:
                self._gaps[-1][1] += count
            else:
                self._gaps.append([self._put, count])
            self._change.notify_all()

    def end(self, error: HsiedgeError | None = None) -> None:
        """Says that no more lines will come, and why not where that is an error."""
        with self._change:
            self._ended, self.error = True, error
            self._change.notify_all()

    def close(self) -> None:
        """Takes no more lines: `put` answers False. Those that are in it can be taken."""
        with self._change:
            self._closed = True
            self._change.notify_all()

    @property
    def waiting(self) -> int:
        """Lines that have come, and are yet to be taken."""
        return self._put - self._taken

    def take(self, least: int, most: int) -> Batch | None:
        """The next lines, or gap; None at the end. Those of the last batch are given back with it.

        Args:
            least: lines that are waited for, for 50 ms at most. most: lines of a batch.

        Returns:
            An empty batch where nothing has come for 200 ms, so that its caller can look at other things.
        """
        with self._change:
            self._held = 0
            self._change.notify_all()
            if not self._wait(1, _LOOK_SECONDS):
                return None
            if self._gaps and self._gaps[0][0] == self._taken:
                return Batch(self._lines[:0], self._arrived[:0], self._gaps.popleft()[1])
            if self._put > self._taken:
                self._wait(least, _GATHER_SECONDS)
            ready = (self._gaps[0][0] if self._gaps else self._put) - self._taken
            first = self._taken % self.capacity
            count = min(ready, most, self.capacity - first)
            self._taken += count
            self._held = count
            return Batch(self._lines[first : first + count], self._arrived[first : first + count])

    def _wait(self, least: int, seconds: float) -> bool:
        """Waits for so many lines, a gap or the end; False where there is nothing, and nothing will come."""
        until = time.perf_counter() + seconds
        while self._put - self._taken < least and not self._gaps:
            left = until - time.perf_counter()
            if self._ended or self._closed:
                return self._put > self._taken
            if left <= 0:
                return True
            self._change.wait(left)
        return True
