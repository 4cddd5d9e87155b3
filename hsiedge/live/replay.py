"""Replay, a camera simulator: a cube's lines at a line rate."""

from __future__ import annotations

import re
import time
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from hsiedge.errors import OptionError
from hsiedge.live.source import Capture, Source, SourceOptions
from hsiedge.scenes.io.reader import open_cube
from hsiedge.scenes.open import open_scene

_AHEAD = 16  # lines that are read at a time
_LOOK_SECONDS = 0.1


class Replay(Source):
    """Lines of a cube, CUBE@RATE[*TIMES]: a file or a scene of the catalog, at RATE lines a second, TIMES over.

    Line k is due k periods after the first; one that is late follows at once, as those that a camera has buffered do.
    """

    def __init__(self, address: str, options: SourceOptions) -> None:
        super().__init__(address, options)
        match = re.fullmatch(r"(.+)@(\d*\.?\d+(?:[eE]\d+)?)(?:\*(\d{1,9}))?", address)
        if match is None or not 0 < float(match[2]) < 1e7:
            raise OptionError(f"replay:{address}: CUBE@RATE was expected, RATE in lines a second")
        self.line_rate, self._times = float(match[2]), int(match[3] or 1)
        self._stack = ExitStack()
        path = Path(match[1])
        self._path = path if path.suffix or path.exists() else None
        if self._path is None:
            self.cube = open_scene(match[1]).as_cube()
        else:
            self.cube = self._stack.enter_context(open_cube(path, options.cube_key))

    def captures(self) -> Iterator[Capture]:
        """The cube, with the place where its references may lie."""
        yield Capture(self.cube, self.lines(), self._path)

    def lines(self) -> Iterator[NDArray[Any]]:
        """Blocks of the lines that are due."""
        assert self.line_rate is not None
        height, began, sent = self.cube.shape[0], time.perf_counter(), 0
        while sent < height * self._times:
            first = sent % height
            ahead = self.cube.read(first, min(_AHEAD, height - first))
            while len(ahead):
                wait = began + sent / self.line_rate - time.perf_counter()
                while wait > 0:
                    if self.stopped.wait(min(wait, _LOOK_SECONDS)):
                        return
                    wait = began + sent / self.line_rate - time.perf_counter()
                due = int(np.clip((time.perf_counter() - began) * self.line_rate + 1 - sent, 1, len(ahead)))
                yield ahead[:due]
                ahead, sent = ahead[due:], sent + due

    def close(self) -> None:
        """Closes the cube."""
        self._stack.close()
