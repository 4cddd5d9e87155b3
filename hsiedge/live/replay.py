"""Replay, a camera simulator: a cube's lines at a line rate."""

from __future__ import annotations

import re
import time
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from hsiedge.errors import OptionError
from hsiedge.live.source import Capture, Source, SourceOptions
from hsiedge.scenes.io.cube import Cube
from hsiedge.scenes.io.reader import open_cube
from hsiedge.scenes.open import open_scene

_AHEAD_BYTES = 1 << 20  # that are read at a time
_LOOK_SECONDS = 0.1


class Player(Source):
    """Lines of a cube at `rate` lines a second, `times` over.

    Line k is due k periods after the first; one that is late follows at once, as those that a camera has buffered do.

    Raises:
        OptionError: a rate or number of times that is none.
    """

    def __init__(self, cube: Cube, rate: float, times: int = 1, options: SourceOptions | None = None) -> None:
        super().__init__(str(cube.path), options or SourceOptions())
        if not (0 < rate < 1e7 and times >= 1):
            raise OptionError("lines a second, above 0, were expected, and at least once", option="rate", value=rate)
        self.cube = cube if cube.valid is None else replace(cube, valid=self._valid)
        self.line_rate, self._times, self._mask = rate, times, cube.valid
        self.title = f"replay of {cube.path.name} at {rate:.4g} lines a second"

    def _valid(self, first: int, count: int) -> NDArray[np.bool_]:
        """Mask of lines of the cube, which is played over and over."""
        assert self._mask is not None
        return np.concatenate([self._mask((first + line) % self.cube.shape[0], 1) for line in range(count)])

    def lines(self) -> Iterator[NDArray[Any]]:
        """Blocks of the lines that are due."""
        assert self.line_rate is not None
        height, width = self.cube.shape
        count = max(1, _AHEAD_BYTES // (width * self.cube.bands * self.cube.dtype.itemsize))
        began, sent = time.perf_counter(), 0
        while sent < height * self._times:
            first = sent % height
            ahead = self.cube.read(first, min(count, height - first))
            while len(ahead):
                wait = began + sent / self.line_rate - time.perf_counter()
                while wait > 0:
                    if self.stopped.wait(min(wait, _LOOK_SECONDS)):
                        return
                    wait = began + sent / self.line_rate - time.perf_counter()
                due = int(np.clip((time.perf_counter() - began) * self.line_rate + 1 - sent, 1, len(ahead)))
                yield ahead[:due]
                ahead, sent = ahead[due:], sent + due


class Replay(Player):
    """Lines of a cube that CUBE@RATE[*TIMES] names: a file or a scene of the catalog."""

    def __init__(self, address: str, options: SourceOptions) -> None:
        match = re.fullmatch(r"(.+)@(\d*\.?\d+(?:[eE]\d+)?)(?:\*(\d{1,9}))?", address)
        if match is None:
            raise OptionError(f"replay:{address}: CUBE@RATE was expected, RATE in lines a second")
        self._stack = ExitStack()
        path = Path(match[1])
        self._path = path if path.suffix or path.exists() else None
        cube = (
            open_scene(match[1]).as_cube()
            if self._path is None
            else self._stack.enter_context(open_cube(path, options.cube_key))
        )
        super().__init__(cube, float(match[2]), int(match[3] or 1), options)

    def captures(self) -> Iterator[Capture]:
        """The cube, with the place where its references may lie."""
        yield Capture(self.cube, self.lines(), self._path)

    def close(self) -> None:
        """Closes the cube."""
        self._stack.close()
