"""Checks of files before a library reads them: what they promise is there, and no more is taken than they can hold.

A file may come from a stranger, and some libraries trust it: scipy crashes on a .mat with wrong tags, h5py follows circles.
"""

from __future__ import annotations

import faulthandler
import io
import itertools
import math
import os
import signal
import time
import zlib
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any, Protocol
from xml.etree import ElementTree

import numpy as np
from numpy.typing import NDArray

from hsiedge.archive import DEFLATE_RATIO
from hsiedge.errors import SceneError
from hsiedge.quiet import quiet
from hsiedge.scenes.io.cube import fits

MOST_BANDS = 1 << 16
_NPY = b"\x93NUMPY"
_HEADER_BYTES = 1 << 16  # of a .npy; numpy believes 10,000
_MOST_OBJECTS = 10_000  # that an HDF5 file is looked through for
_DEEPEST_GROUP = 8
_DEFLATE, _FLETCHER32 = 1, 3  # filters of HDF5, by their registered numbers
_UNPACKED_UNSEEN, _PIECE = 128 << 20, 1 << 20  # bytes


class Stream(Protocol):
    """Bytes that are read forward."""

    def read(self, size: int, /) -> bytes:
        """Reads as many bytes, or fewer at the end."""


def exactly(stream: Stream, size: int) -> bytes:
    """Reads exactly `size` bytes. Raises ValueError where the stream has fewer."""
    data = stream.read(size)
    if len(data) != size:
        raise ValueError("cut short")
    return data


def check_text(path: Path, most: int = 16 << 20) -> None:
    """Raises SceneError where a text file (a header, a list) is longer than `most` bytes."""
    if path.stat().st_size > most:
        raise SceneError(f"{path}: {path.stat().st_size >> 20} MiB, too long for what it should be")


def parse_xml(path: Path, target: Any, most: int) -> Any:
    """Parses an XML file of at most `most` bytes, and gives what the parser's `target` makes of it.

    Raises:
        ValueError: it is larger, or the target refuses it.
        ParseError, LookupError, OSError: not XML, of an unknown encoding, or it cannot be read.
    """
    with path.open("rb") as file:
        content = file.read(most + 1)
    if len(content) > most:
        raise ValueError(f"more than {most >> 20} MiB")
    parser: ElementTree.XMLParser[Any] = ElementTree.XMLParser(target=target)  # noqa: S314 (its targets refuse entities)
    parser.feed(content)
    return parser.close()


def npy_header(file: Stream) -> tuple[tuple[int, ...], bool, np.dtype[Any]]:
    """Shape, whether it is column-major, and dtype, by the header of a .npy file, which is read no further.

    Raises:
        ValueError: not a .npy file, a header that is too long, or a shape that is none.
    """
    start = file.read(6)
    if not _NPY.startswith(start):
        raise ValueError("not a .npy file")
    start += exactly(file, 8 - len(start))
    if start[6:] not in (b"\1\0", b"\2\0", b"\3\0"):
        raise ValueError("not a .npy file")
    width = 2 if start[6] == 1 else 4
    length = int.from_bytes(exactly(file, width), "little")
    if length > _HEADER_BYTES:
        raise ValueError(f"its .npy header is {length} bytes long")
    header = length.to_bytes(4, "little") + exactly(file, length)
    shape, column_major, dtype = np.lib.format.read_array_header_2_0(io.BytesIO(header))
    if any(size < 0 for size in shape):
        raise ValueError(f"a shape of {shape}")
    return shape, column_major, dtype


def read_npy(file: Stream) -> NDArray[Any]:
    """The array of a .npy file that can only be read forward, as a member of an archive.

    Raises:
        ValueError: as `npy_header`; not numbers; or cut short.
    """
    shape, column_major, dtype = npy_header(file)
    if dtype.hasobject or dtype.itemsize == 0:
        raise ValueError(f"it holds {dtype}, not numbers")
    array = np.empty(math.prod(shape), dtype)
    left = array.view(np.uint8).data
    while left:
        block = file.read(min(len(left), 1 << 18))
        if not block:
            raise ValueError("cut short")
        left[: len(block)] = block
        left = left[len(block) :]
    return array.reshape(shape, order="F" if column_major else "C")


# HDF5


def check_ends(path: Path, act: Callable[[], object], seconds: float = 5.0) -> None:
    """Raises SceneError where reading something of a file does not end, or crashes: it is tried in a child process first.

    libhdf5 may do either of a file with one damaged byte, and nothing can be done about it in the same process. What `act`
    raises counts when it is called again. Where processes cannot fork (Windows), nothing is tried.
    """
    if not hasattr(os, "fork"):
        return
    with quiet(prints=False):  # Python warns of threads; the child calls nothing but `act`, and leaves
        child = os.fork()
    if child == 0:
        faulthandler.disable()
        with suppress(BaseException):
            act()
        os._exit(0)
    status, until = None, time.monotonic() + seconds
    try:
        while status is None and time.monotonic() < until:
            ended, code = os.waitpid(child, os.WNOHANG)
            status = code if ended else None
            time.sleep(0.002 if status is None else 0)
    finally:
        if status is None:
            os.kill(child, signal.SIGKILL)
            os.waitpid(child, 0)
    if status is None:
        raise SceneError(f"{path}: reading what it says of its data does not end; it is damaged")
    if os.WIFSIGNALED(status):
        raise SceneError(f"{path}: reading what it says of its data ends in signal {os.WTERMSIG(status)}; it is damaged")


def hdf5_arrays(file: Any) -> Iterator[tuple[str, Any]]:
    """Names and datasets of an open HDF5 file, groups within groups too; each group once, however many links lead to it.

    Links into other files are not followed.

    Raises:
        ValueError: more objects than any cube's file has.
    """
    return _within(file, "", 0, {_address(file)}, itertools.count(1))


def _within(group: Any, above: str, depth: int, seen: set[tuple[int, int]], count: Iterator[int]) -> Iterator[tuple[str, Any]]:
    import h5py

    for name in group:
        if next(count) > _MOST_OBJECTS:
            raise ValueError(f"it holds more than {_MOST_OBJECTS} objects")
        if not isinstance(group.get(name, getlink=True), h5py.HardLink):
            continue
        item = group[name]
        if isinstance(item, h5py.Dataset):
            yield above + name, item
        elif isinstance(item, h5py.Group) and depth < _DEEPEST_GROUP and _address(item) not in seen:
            seen.add(_address(item))
            yield from _within(item, f"{above}{name}/", depth + 1, seen, count)


def _address(group: Any) -> tuple[int, int]:
    import h5py

    place = h5py.h5o.get_info(group.id)
    return place.fileno, place.addr


def check_hdf5(path: Path, name: str, dataset: Any) -> None:
    """Raises SceneError where a dataset, cube or map, points into other files, is empty, or unpacks to more than it can be.

    A chunk is unpacked whole: its size counts, not that of the rows which are asked for.
    """
    if dataset.is_virtual or dataset.external:
        raise SceneError(f"{path}: {name} points into other files; copy its data into one")
    if 0 in dataset.shape or max(dataset.shape) >= 1 << 31:
        raise SceneError(f"{path}: {name} is empty, or no cube: {dataset.shape}")
    if dataset.chunks is None:
        return
    fits(path, dataset.chunks, dataset.dtype.itemsize)
    pipeline = dataset.id.get_create_plist()
    filters = [pipeline.get_filter(index)[0] for index in range(pipeline.get_nfilters())]
    if len(set(filters)) < len(filters):
        raise SceneError(f"{path}: {name} is packed twice by one filter; unpack it first: h5repack -f NONE")


def check_chunks(path: Path, dataset: Any, selection: Sequence[slice] = ()) -> None:
    """Raises SceneError where a chunk of a selection unpacks to more than a chunk has.

    libhdf5 unpacks deflate to its end, however much that is: a chunk that could become large is unpacked here first, no further
    than it may be. Those of less than some 130 kB cannot, and are left to libhdf5.

    Args:
        selection: a slice an axis, as the dataset is going to be read; left out, all of it.
    """
    if dataset.chunks is None:
        return
    plan = dataset.id.get_create_plist()
    kinds = [plan.get_filter(index)[0] for index in range(plan.get_nfilters())]
    whole = math.prod(dataset.chunks) * dataset.dtype.itemsize
    if _DEFLATE not in kinds or any(kind not in (_DEFLATE, _FLETCHER32) for kind in kinds[kinds.index(_DEFLATE) :]):
        return
    starts = []
    for axis, (size, step) in enumerate(zip(dataset.shape, dataset.chunks)):
        first, last, _ = (selection[axis] if selection else slice(None)).indices(size)
        starts.append(range(first // step * step, last, step))
    for offset in itertools.product(*starts):
        stored = dataset.id.get_chunk_info_by_coord(offset)
        if stored.byte_offset is None or stored.size * DEFLATE_RATIO <= _UNPACKED_UNSEEN:
            continue
        _, packed = dataset.id.read_direct_chunk(offset)
        inflater, unpacked = zlib.decompressobj(), 0
        while packed and unpacked <= whole and not inflater.eof:
            unpacked += len(inflater.decompress(packed, _PIECE))
            packed = inflater.unconsumed_tail
        if unpacked > whole:
            raise SceneError(f"{path}: {dataset.name} has a chunk that unpacks to more than its {whole} bytes")


def hdf5_number(value: Any) -> float | None:
    """The number of an attribute, such as _FillValue; None where it is empty, or no number."""
    try:
        return float(np.ravel(value)[0])
    except (TypeError, ValueError, IndexError):
        return None
