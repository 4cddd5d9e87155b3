"""The check of a reader of cubes or label maps."""

from __future__ import annotations

import shutil
import tempfile
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from hsiedge.errors import CheckError, HsiedgeError
from hsiedge.scenes.io import arrays
from hsiedge.scenes.io.arrays import RowSource
from hsiedge.scenes.io.rows import open_rows


def check_reader(reader: str, path: Path, expected: NDArray[Any], key: str | None = None) -> None:
    """Checks that a reader gives what a file holds, at once and by rows, and refuses a file that is cut short.

    Args:
        reader: a name in the registry of readers, or FILE.py:NAME.
        path: a file of its format, in a folder where nothing else has its name.
        expected: what the file holds: a cube `(height, width, bands)`, or a label map `(height, width)`.
        key: the variable in the file, where it takes one.

    Raises:
        CheckError: the first thing that it does not do, in one line.
        OptionError: no such reader.
    """
    registry = arrays.CUBE_READERS if expected.ndim == 3 else arrays.LABEL_READERS
    name = registry.name_of(reader)
    if arrays.reader_of(registry, path) is not registry[name]:
        raise CheckError(
            f"reader {name}: another reader takes {path.name}; its suffixes are {', '.join(registry[name].suffixes)}"
        )
    try:
        if registry[name].read is not None:
            _whole(arrays.read(path, key, expected.ndim), expected)
        if expected.ndim == 3:
            with open_rows(path, key) as source:
                _by_rows(source, expected)
    except HsiedgeError as error:
        raise CheckError(f"reader {name}: {error}") from error
    _cut_short(name, path, expected, key)


def _whole(raster: arrays.Raster, expected: NDArray[Any]) -> None:
    _same("the array", np.asarray(raster.array), expected)
    if len(raster.wavelengths) not in (0, expected.shape[-1]) and expected.ndim == 3:
        raise CheckError(f"it gives {len(raster.wavelengths)} wavelengths for {expected.shape[-1]} bands; one a band, or none")


def _by_rows(source: RowSource, expected: NDArray[Any]) -> None:
    height, width, bands = expected.shape
    if (source.shape, source.bands) != ((height, width), bands):
        raise CheckError(f"by rows it tells of {source.shape} pixels and {source.bands} bands; there are {expected.shape}")
    if not source.dtype.isnative or source.dtype != expected.dtype:
        raise CheckError(f"by rows its dtype is {source.dtype}; {expected.dtype} in the machine's byte order was expected")
    if len(source.good) != bands or len(source.wavelengths) not in (0, bands):
        raise CheckError("good and wavelengths of its rows must have an entry for each band; wavelengths may be empty")
    for first, count in ((0, height), (height // 2, 1), (height - 1, 3), (0, 1)):
        rows = source.read(first, count)
        _same(f"rows {first} to {first + count - 1}", rows, expected[first : first + count])
        if not (rows.flags.c_contiguous and rows.flags.writeable):
            raise CheckError("rows must be an array of their own: C-contiguous, and free to be written to")
        rows[...] = 0  # what is read later must not know of it


def _same(subject: str, array: NDArray[Any], expected: NDArray[Any]) -> None:
    if array.shape != expected.shape or array.dtype.newbyteorder("=") != expected.dtype:
        raise CheckError(f"{subject} is {array.dtype} {array.shape}; {expected.dtype} {expected.shape} was expected")
    if not np.array_equal(array, expected):
        raise CheckError(f"{subject} has other values than the file holds")


def _cut_short(name: str, path: Path, expected: NDArray[Any], key: str | None) -> None:
    """Raises CheckError where half a file is read as if it were whole."""
    with tempfile.TemporaryDirectory() as folder:
        for part in {*path.parent.glob(f"{path.stem}.*"), path}:
            shutil.copy(part, folder)
        copies = [Path(folder, part.name) for part in arrays.files_of(path) if Path(folder, part.name).is_file()]
        largest = max(copies, key=lambda part: part.stat().st_size)
        largest.write_bytes(largest.read_bytes()[: largest.stat().st_size // 2])
        try:
            if expected.ndim == 3:
                with open_rows(Path(folder, path.name), key) as source:
                    source.read(0, source.shape[0])
            else:
                arrays.read(Path(folder, path.name), key, 2)
        except HsiedgeError:
            return
        except Exception as error:
            raise CheckError(f"reader {name}: a file cut short ends in {type(error).__name__}, not in a SceneError") from error
    raise CheckError(f"reader {name}: a file cut short is read as if it were whole; it must be a SceneError")
