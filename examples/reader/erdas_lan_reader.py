"""ERDAS 7.4 images for hsiedge: .lan cubes and .gis label maps, as those in which Indian Pines was first given out.

A file is a header of 128 bytes, little-endian, then rows, band after band in each (BIL). The header says:

    bytes 0 to 5     "HEAD74"
    bytes 6 and 7    0: values of 8 bits, 1: of 4 bits, 2: of 16 bits
    bytes 8 and 9    bands
    bytes 16 to 23   columns and rows, 4 bytes each
"""

import struct
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np

from hsiedge.errors import SceneError
from hsiedge.scenes.io.cube import Cube
from hsiedge.scenes.io.reader import LabelRaster, Reader

HEADER = struct.Struct("<6s H H 6x I I")
HEADER_BYTES = 128
DTYPES = {0: "u1", 2: "<i2"}


class ErdasLan(Reader):
    """Reader of .lan and .gis files."""

    title, suffixes = "ERDAS 7.4", (".lan", ".gis")

    @contextmanager
    def open(self, path: Path, key: str | None = None) -> Iterator[Cube]:
        """Opens a cube; its rows are read from the file when they are asked for. Raises SceneError."""
        yield Cube.of_array(mapped(path), path)

    def labels(self, path: Path, key: str | None = None) -> LabelRaster:
        """Reads a label map, an image of one band. Raises SceneError."""
        return LabelRaster(mapped(path))


def mapped(path: Path) -> np.ndarray:
    """The values `(rows, columns, bands)` of a file, mapped into memory. Raises SceneError where its header makes no sense."""
    with path.open("rb") as file:
        header = file.read(HEADER_BYTES)
    if len(header) < HEADER_BYTES:
        raise SceneError(f"{path}: shorter than the header of an ERDAS file")
    magic, packing, bands, columns, rows = HEADER.unpack_from(header)
    if magic != b"HEAD74":
        raise SceneError(f"{path}: not an ERDAS 7.4 file")
    if packing not in DTYPES:
        raise SceneError(f"{path}: values of 4 bits are not read")
    dtype = np.dtype(DTYPES[packing])
    expected = HEADER_BYTES + rows * bands * columns * dtype.itemsize
    if path.stat().st_size < expected:
        raise SceneError(f"{path}: {path.stat().st_size} bytes; its header tells of {expected}")
    return np.memmap(path, dtype, "r", HEADER_BYTES, (rows, bands, columns)).transpose(0, 2, 1)


READER = ErdasLan()
