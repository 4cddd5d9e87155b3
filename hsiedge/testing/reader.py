"""The check of a reader of cubes or label maps."""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from hsiedge.arguments import PathLike, path_of
from hsiedge.errors import CheckError, HsiedgeError
from hsiedge.scenes.io.cube import Cube
from hsiedge.scenes.io.reader import CUBE_READERS, LABEL_READERS, files_of, open_cube, read_labels, reader_of


def check_reader(
    reader: str,
    path: PathLike,
    expected: NDArray[Any],
    key: str | None = None,
    *,
    cube: Cube | None = None,
    class_field: str | None = None,
) -> None:
    """Checks that a reader gives what a file holds, at once and by rows, and refuses a file that is cut short.

    Args:
        reader: a name in the registry of readers, or FILE.py:NAME.
        path: a file of its format, in a folder where nothing else has its name.
        expected: what the file holds: a cube `(height, width, bands)`, or a label map `(height, width)`.
        key: the variable in the file, where it takes one.
        cube, class_field: the cube whose grid takes the labels, and the attribute that names their classes, where it burns
            features as polygons are.

    Raises:
        CheckError: the first thing that it does not do, in one line.
        OptionError: no such reader.
    """
    registry = CUBE_READERS if expected.ndim == 3 else LABEL_READERS
    name, path = registry.name_of(reader), path_of(path, "path")
    if reader_of(registry, path) is not registry[name]:
        raise CheckError(
            f"reader {name}: another reader takes {path.name}; its suffixes are {', '.join(registry[name].suffixes)}"
        )
    try:
        if expected.ndim == 3:
            with open_cube(path, key) as cube:
                _check_cube(cube, expected)
        else:
            _same("the label map", read_labels(path, key, cube=cube, class_field=class_field).array, expected)
    except HsiedgeError as error:
        raise CheckError(f"reader {name}: {error}") from error
    _cut_short(name, path, lambda copy: _read(copy, expected.ndim, key, cube, class_field))


def _check_cube(cube: Cube, expected: NDArray[Any]) -> None:
    height, width, bands = expected.shape
    if (cube.shape, cube.bands) != ((height, width), bands):
        raise CheckError(f"it tells of {cube.shape} pixels and {cube.bands} bands; there are {expected.shape}")
    if not cube.dtype.isnative or cube.dtype != expected.dtype:
        raise CheckError(f"its dtype is {cube.dtype}; {expected.dtype} in the machine's byte order was expected")
    if odd := [note for note in cube.notes if " are not for " in note]:
        raise CheckError(odd[0])
    for first, count in ((0, height), (height // 2, 1), (height - 1, 3), (0, 1)):
        rows = cube.read(first, count)
        _same(f"rows {first} to {first + count - 1}", rows, expected[first : first + count])
        if not (rows.flags.c_contiguous and rows.flags.writeable):
            raise CheckError("rows must be an array of their own: C-contiguous, and free to be written to")
        if cube.valid is not None and cube.valid(first, count).shape != rows.shape[:2]:
            raise CheckError("its mask must have a value for each pixel of the rows")
        rows[...] = 0  # what is read later must not know of it


def _same(subject: str, array: NDArray[Any], expected: NDArray[Any]) -> None:
    if array.shape != expected.shape or array.dtype.newbyteorder("=") != expected.dtype:
        raise CheckError(f"{subject} is {array.dtype} {array.shape}; {expected.dtype} {expected.shape} was expected")
    if not np.array_equal(array, expected):
        raise CheckError(f"{subject} has other values than the file holds")


def _read(path: Path, ndim: int, key: str | None, cube: Cube | None, class_field: str | None) -> None:
    if ndim == 2:
        read_labels(path, key, cube=cube, class_field=class_field)
        return
    with open_cube(path, key) as source:
        source.read(0, source.shape[0])


def _cut_short(name: str, path: Path, read: Callable[[Path], None]) -> None:
    """Raises CheckError where half a file is read as if it were whole."""
    with tempfile.TemporaryDirectory() as folder:
        for part in {*path.parent.glob(f"{path.stem}.*"), path}:
            shutil.copy(part, folder)
        copies = [Path(folder, part.name) for part in files_of(path) if Path(folder, part.name).is_file()]
        largest = max(copies, key=lambda part: part.stat().st_size)
        largest.write_bytes(largest.read_bytes()[: largest.stat().st_size // 2])
        try:
            read(Path(folder, path.name))
        except HsiedgeError:
            return
        except Exception as error:
            raise CheckError(f"reader {name}: a file cut short ends in {type(error).__name__}, not in a SceneError") from error
    raise CheckError(f"reader {name}: a file cut short is read as if it were whole; it must be a SceneError")
