"""A format of the package's own, for cubes, label maps and maps: a line of text with shape and dtype, then the values."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from hsiedge import files
from hsiedge.mapping.writers import MapFacts, Writer
from hsiedge.scenes.io.cube import Cube
from hsiedge.scenes.io.reader import LabelRaster, Reader

SUFFIXES = (".raw",)


def write(path: Path, array: NDArray[Any]) -> None:
    """Writes an array in this format."""
    path.write_bytes(_header(array.shape, array.dtype) + np.ascontiguousarray(array).tobytes())


class Raw(Reader):
    """Reader of this format."""

    title, suffixes = "Example raw", SUFFIXES

    @contextmanager
    def open(self, path: Path, key: str | None = None) -> Iterator[Cube]:
        """Opens a cube."""
        yield Cube.of_array(_mapped(path), path)

    def labels(self, path: Path, key: str | None = None) -> LabelRaster:
        """Reads a label map."""
        return LabelRaster(_mapped(path))


def _mapped(path: Path) -> NDArray[Any]:
    with path.open("rb") as file:
        *sizes, dtype = file.readline().decode("ascii").split()
        offset = file.tell()
    return np.memmap(path, dtype, "r", offset, tuple(map(int, sizes)))


@contextmanager
def open_map(path: Path, facts: MapFacts) -> Iterator[Callable[[NDArray[Any]], None]]:
    """Takes the rows of a map."""
    with files.atomic(path) as temporary, temporary.open("wb") as file:
        file.write(_header(facts.shape, facts.dtype))
        yield lambda rows: _write(file, rows.astype(facts.dtype))


def _header(shape: tuple[int, ...], dtype: np.dtype[Any]) -> bytes:
    return f"{' '.join(map(str, shape))} {dtype.str}\n".encode("ascii")


def _write(file: Any, rows: NDArray[Any]) -> None:
    file.write(np.ascontiguousarray(rows).tobytes())


READER = Raw()
WRITER = Writer("Example raw", SUFFIXES, open_map)
