"""Files that a recorder writes: one that grows, and a folder in which captures appear."""

from __future__ import annotations

import os
import time
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from hsiedge.errors import HsiedgeError, SourceError
from hsiedge.live.source import Capture, Source, SourceOptions
from hsiedge.scenes.io import envi
from hsiedge.scenes.io.cube import SceneWarning
from hsiedge.scenes.io.reader import CUBE_READERS, files_of, open_cube, reader_of
from hsiedge.scenes.references import is_reference

_LOOK_SECONDS = 0.02  # between two looks at whether a file has grown
_FOLDER_SECONDS = 0.2
_SETTLED_SECONDS = 1.0  # a capture is whole that nobody has written to for so long
_BLOCK_BYTES = 4 << 20


class GrowingFile(Source):
    """An ENVI cube that a recorder still writes; it has ended when it has not grown for `idle` seconds."""

    def __init__(self, address: str, options: SourceOptions) -> None:
        super().__init__(address, options)
        path = Path(address)
        if not path.is_file():
            raise SourceError(f"{path}: no such file")
        reader = reader_of(CUBE_READERS, path)
        if reader is None or reader.title != envi.Envi.title:
            raise SourceError(f"{path}: a file that grows is an ENVI cube; any other is played (replay:{path}@RATE)")
        self._growing = envi.open_growing(path)
        self.cube = self._growing.cube

    def captures(self) -> Iterator[Capture]:
        """The cube, with the place where its references may lie."""
        yield Capture(self.cube, self.lines(), Path(self.address))

    def lines(self) -> Iterator[NDArray[Any]]:
        """Blocks of the lines that have been written whole."""
        columns, bands = self.cube.shape[1], self.cube.bands
        size = columns * bands * self.cube.dtype.itemsize
        done, seen, until = 0, 0, time.monotonic() + self.options.idle
        with self._growing.data.open("rb", buffering=0) as file:
            while not self.stopped.is_set():
                there = max(0, os.fstat(file.fileno()).st_size - self._growing.offset)
                if there < seen:
                    raise SourceError(f"{self._growing.data}: has become shorter, from {seen} to {there} bytes of lines")
                if there > seen:
                    seen, until = there, time.monotonic() + self.options.idle
                if there // size > done:
                    count = min(there // size - done, max(1, _BLOCK_BYTES // size))
                    yield self._block(file.fileno(), self._growing.offset + done * size, count)
                    done += count
                elif time.monotonic() >= until:
                    break
                else:
                    self.stopped.wait(_LOOK_SECONDS)
            if seen > done * size and not self.stopped.is_set():
                where = f"ends in the middle of line {done}, after {seen - done * size} of its {size} bytes"
                raise SourceError(f"{self._growing.data}: {where}")

    def _block(self, file: int, place: int, count: int) -> NDArray[Any]:
        columns, bands = self.cube.shape[1], self.cube.bands
        by_line = self._growing.interleave == "bil"
        data = os.pread(file, count * columns * bands * self.cube.dtype.itemsize, place)
        if len(data) != count * columns * bands * self.cube.dtype.itemsize:
            raise SourceError(f"{self._growing.data}: has become shorter while it was read")
        block = np.frombuffer(data, self._growing.stored)
        block = block.reshape((count, bands, columns) if by_line else (count, columns, bands))
        return np.ascontiguousarray(block.transpose(0, 2, 1) if by_line else block, self.cube.dtype)


class Folder(Source):
    """A folder in which captures appear, each a cube of its own, in the order of their names as they become whole.

    Cubes that lie there already are taken, references are not. It has ended when nothing has come for `idle` seconds.
    """

    several = True

    def captures(self) -> Iterator[Capture]:
        """Each capture as soon as nobody has written to it for a second."""
        taken: set[Path] = set()
        until = time.monotonic() + self.options.idle
        while not self.stopped.is_set():
            waiting, ready = self._untaken(taken)
            if ready is not None:
                taken.add(ready)
                with open_cube(ready, self.options.cube_key) as cube:
                    yield Capture(cube, self._lines(cube.read, cube.shape[0]), ready)
            if waiting or ready is not None:
                until = time.monotonic() + self.options.idle
            elif time.monotonic() >= until:
                return
            if ready is None:
                self.stopped.wait(_FOLDER_SECONDS)

    def _untaken(self, taken: set[Path]) -> tuple[bool, Path | None]:
        """True where a capture is still being written, and the first by name that is whole."""
        waiting = False
        try:
            paths = sorted(path for path in Path(self.address).iterdir() if path not in taken and self._is_capture(path))
        except OSError as error:
            raise SourceError(f"{self.address}: cannot be read ({error.strerror})") from error
        for path in paths:
            parts = [part for part in files_of(path) if part.is_file()]
            newest = max((part.stat().st_mtime for part in parts), default=0.0)
            age = time.time() - newest
            if age >= _SETTLED_SECONDS and self._opens(path):
                return waiting, path
            waiting |= age < self.options.idle
            if age >= max(self.options.idle, _SETTLED_SECONDS):
                taken.add(path)
                warnings.warn(f"{path}: no whole cube for {self.options.idle:g} s, and left out", SceneWarning, stacklevel=2)
        return waiting, None

    def _is_capture(self, path: Path) -> bool:
        if path.name.startswith(".") or not path.is_file() or is_reference(path):
            return False
        return any(path.suffix.lower() in entry.suffixes for _, entry in CUBE_READERS.items())

    def _opens(self, path: Path) -> bool:
        """Whether all of a capture is there: of ENVI, that its data is as long as its header says."""
        try:
            with open_cube(path, self.options.cube_key):
                return True
        except HsiedgeError:
            return False

    def _lines(self, read: Any, height: int) -> Iterator[NDArray[Any]]:
        for first in range(0, height, 16):
            if self.stopped.is_set():
                return
            yield read(first, min(16, height - first))
