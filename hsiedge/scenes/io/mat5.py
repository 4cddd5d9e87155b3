"""Check of a .mat file of version 5, before scipy reads it: scipy trusts the tags in it, and one changed byte can crash it.

The structure is that of MathWorks' "MAT-File Format", level 5: elements, each a tag and its data; a matrix is an element of
elements (flags, dimensions, name, and the numbers), and may be packed by zlib as a whole.
"""

from __future__ import annotations

import io
import math
import os
import struct
import zlib
from pathlib import Path

import numpy as np

from hsiedge.archive import DEFLATE_RATIO
from hsiedge.errors import SceneError
from hsiedge.scenes.io.checks import Stream, exactly

_MATRIX, _COMPRESSED = 14, 15
_NUMBERS = {1: 1, 2: 1, 3: 2, 4: 2, 5: 4, 6: 4, 7: 4, 9: 8, 12: 8, 13: 8}  # type of an element -> bytes of a number in it
_INT8, _INT32, _UINT32, _UTF8 = 1, 5, 6, 16
_SPARSE, _NUMERIC, _OPAQUE = 5, range(6, 16), 17  # classes of a matrix
_COMPLEX = 0x0800
_MOST_DIMENSIONS, _LONGEST_NAME, _MOST_INDICES = 32, 4096, 1 << 28  # bytes, the last two
_BLOCK = 1 << 16


def check_mat5(path: Path) -> None:
    """Raises SceneError unless a .mat file of version 5 is built as its format says, in all that scipy reads unchecked.

    That is each variable's flags, dimensions and name, and of arrays of numbers the types and sizes of their data; of sparse
    ones the indices, too. A file of version 4 passes: scipy's reader of those is Python.
    """
    try:
        with path.open("rb") as file:
            if 0 not in exactly(file, 4):
                order = {b"IM": "<", b"MI": ">"}.get(file.read(124)[122:])
                if order is None:
                    raise SceneError(f"{path}: cannot be read: it is no .mat file, or cut short in its header")
                _check_elements(file, order)
    except (ValueError, struct.error, zlib.error) as error:
        raise SceneError(f"{path}: cannot be read ({error}); is it truncated? fetch or copy it again") from error
    except OSError as error:
        raise SceneError(f"{path}: cannot be read ({error.strerror})") from error


def _check_elements(file: io.BufferedReader, order: str) -> None:
    end, at = file.seek(0, os.SEEK_END), 128
    while at < end:
        file.seek(at)
        kind, size = struct.unpack(f"{order}II", exactly(file, 8))
        at += 8 + size
        if size == 0 or at > end:
            raise ValueError(f"an element of {size} bytes, where {end - at + size} are left")
        stream: Stream = file
        if kind == _COMPRESSED:
            packed, stream = size, _Inflated(file, size)
            kind, size = struct.unpack(f"{order}II", exactly(stream, 8))
            if size > DEFLATE_RATIO * packed:
                raise ValueError(f"an element that would unpack from {packed} to {size} bytes")
        if kind != _MATRIX:
            raise ValueError(f"an element of type {kind}, where a matrix was expected")
        _check_matrix(_Parts(stream, order, size))


def _check_matrix(parts: _Parts) -> None:
    flags = parts.integers(_UINT32, 8)
    kind = flags[0] & 0xFF
    if kind == _OPAQUE:
        return
    dimensions = parts.integers(_INT32, 4 * _MOST_DIMENSIONS)
    if len(dimensions) < 2 or min(dimensions) < 0:
        raise ValueError(f"dimensions of {dimensions}")
    parts.data((_INT8, _UTF8), _LONGEST_NAME)
    if kind not in (_SPARSE, *_NUMERIC):
        return  # cells, structures and text: scipy reads no more of them unless they are asked for
    least = most = math.prod(dimensions)
    if kind == _SPARSE:
        least, most = _check_indices(parts, dimensions)
    size = parts.numbers(least, most)
    if flags[0] & _COMPLEX:
        parts.skip(size)
        parts.numbers(least, most)


def _check_indices(parts: _Parts, dimensions: tuple[int, ...]) -> tuple[int, int]:
    """Checks the indices of a sparse matrix; returns how many numbers it has at least and at most."""
    rows, ends = (np.array(parts.integers(_INT32, _MOST_INDICES)) for _ in range(2))
    if len(dimensions) != 2 or len(ends) != dimensions[1] + 1 or ends[0] != 0 or (np.diff(ends) < 0).any():
        raise ValueError("a sparse matrix whose columns do not follow one another")
    if ends[-1] > len(rows) or (rows[: ends[-1]] < 0).any() or (rows[: ends[-1]] >= dimensions[0]).any():
        raise ValueError("a sparse matrix with numbers outside of it")
    return int(ends[-1]), len(rows)


class _Parts:
    """Elements of a matrix, of `size` bytes in all, one after another."""

    def __init__(self, stream: Stream, order: str, size: int) -> None:
        self._stream, self._order, self._left = stream, order, size

    def data(self, kinds: tuple[int, ...], most: int) -> bytes:
        """Data of the next element. Raises ValueError where it is of another type, or longer than `most` bytes."""
        kind, size, inline = self._tag()
        if kind not in kinds or size > most:
            raise ValueError(f"an element of type {kind} and {size} bytes, where {most} of type {kinds[0]} are the most")
        if inline is not None:
            return inline
        data = self._read(size)
        self.skip(-size % 8)
        return data

    def integers(self, kind: int, most: int) -> tuple[int, ...]:
        """Integers of 32 bits, the data of the next element. Raises ValueError, as `data`."""
        data = self.data((kind,), most)
        return struct.unpack(f"{self._order}{len(data) // 4}{'i' if kind == _INT32 else 'I'}", data)

    def numbers(self, least: int, most: int) -> int:
        """Bytes, with those that fill it up, of the next element. Raises ValueError unless it holds so many numbers."""
        kind, size, inline = self._tag()
        itemsize = _NUMBERS.get(kind, 0)
        if not itemsize or size % itemsize or not least <= size // itemsize <= most:
            raise ValueError(f"{size} bytes of type {kind} for {least} numbers")
        if inline is None and size > self._left:
            raise ValueError("cut short")
        return size + -size % 8 if inline is None else 0

    def skip(self, size: int) -> None:
        """Passes over so many bytes."""
        for start in range(0, size, _BLOCK):
            self._read(min(_BLOCK, size - start))

    def _tag(self) -> tuple[int, int, bytes | None]:
        """Type and bytes of the next element, and its data where they stand in the tag itself."""
        tag = self._read(8)
        kind, size = struct.unpack(f"{self._order}II", tag)
        if kind >> 16 == 0:
            return kind, size, None
        if kind >> 16 > 4:
            raise ValueError(f"a tag that holds {kind >> 16} bytes, where 4 are the most")
        return kind & 0xFFFF, kind >> 16, tag[4 : 4 + (kind >> 16)]

    def _read(self, size: int) -> bytes:
        if size > self._left:
            raise ValueError("an element that is longer than the one around it")
        self._left -= size
        return exactly(self._stream, size)


class _Inflated:
    """Bytes that `size` bytes of a file unpack to by zlib, no more at a time than are asked for."""

    def __init__(self, file: io.BufferedReader, size: int) -> None:
        self._file, self._left, self._inflate = file, size, zlib.decompressobj()

    def read(self, size: int, /) -> bytes:
        """Reads as many bytes, or fewer at the end."""
        data = bytearray()
        while len(data) < size and not self._inflate.eof:
            packed = self._inflate.unconsumed_tail
            if not packed:
                packed = self._file.read(min(self._left, _BLOCK))
                self._left -= len(packed)
            piece = self._inflate.decompress(packed, size - len(data))
            if not packed and not piece:
                break
            data += piece
        return bytes(data)
