"""The check of a writer of maps."""

from __future__ import annotations

import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from hsiedge.errors import CheckError
from hsiedge.mapping.writers import WRITERS, MapFacts, files_of, writer
from hsiedge.scenes.io.reader import CUBE_READERS, LABEL_READERS, open_cube, read_labels, reader_of

_SHAPE = (37, 23)
_PIECES = (1, 16, 20)  # rows that come at a time


class _StoppedError(Exception):
    """Stops a map halfway."""


def check_writer(name: str, read: Callable[[Path], NDArray[Any]] | None = None) -> None:
    """Checks that a writer takes maps piece by piece, and leaves them whole or not at all.

    Args:
        name: a name in the registry of map writers, or FILE.py:NAME.
        read: gives the labels `(height, width)`, or probabilities `(height, width, bands)`, of a file; left out, the reader of
            label maps or cubes that takes it. Where there is none, or maps are pictures, values are not compared.

    Raises:
        CheckError: the first thing that it does not do, in one line.
        OptionError: no such writer.
    """
    name = WRITERS.name_of(name)
    entry = WRITERS[name]
    rng = np.random.default_rng(0)
    for ids in ({1: "water", 255: "trees, and {more}"}, {1: "water", 300: "trees"}):
        labels = rng.choice([0, *ids], _SHAPE).astype(np.uint16)
        _check(name, entry.suffixes[0], MapFacts(_SHAPE, ids, None), labels, labels, read)
    if entry.probabilities:
        facts = MapFacts(_SHAPE, {1: "water", 2: "trees"}, None, ("water", "trees"))
        likely = rng.random((2, *_SHAPE), np.float32)
        _check(name, entry.suffixes[0], facts, likely, likely.transpose(1, 2, 0), read)


def _check(
    name: str,
    suffix: str,
    facts: MapFacts,
    values: NDArray[Any],
    expected: NDArray[Any],
    read: Callable[[Path], NDArray[Any]] | None,
) -> None:
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, f"map{suffix}")
        _stopped(name, path, facts, values)
        _write(path, facts, values, len(_PIECES))
        unknown = set(path.parent.iterdir()) - set(files_of(path))
        if not path.is_file() or unknown:
            listed = ", ".join(sorted(entry.name for entry in unknown)) or "nothing"
            raise CheckError(f"writer {name}: leaves {listed} beside what its `files` tells of")
        written = None if WRITERS[name].picture and read is None else _read_back(path, expected.ndim, read)
        if written is not None and not np.array_equal(written, expected):
            raise CheckError(f"writer {name}: the file holds other values than were written ({written.dtype} {written.shape})")


def _write(path: Path, facts: MapFacts, values: NDArray[Any], pieces: int) -> None:
    """Writes the first pieces of a map, and stops unless these are all."""
    with writer(path, facts) as take:
        first = 0
        for count in _PIECES[:pieces]:
            rows = values[..., first : first + count, :].copy()
            take(rows)
            rows[...] = 0  # the writer must have taken what it needs
            first += count
        if pieces < len(_PIECES):
            raise _StoppedError


def _stopped(name: str, path: Path, facts: MapFacts, values: NDArray[Any]) -> None:
    """Stops halfway. Raises CheckError where anything is left."""
    try:
        _write(path, facts, values, 2)
    except _StoppedError:
        left = sorted(entry.name for entry in path.parent.iterdir())
        if left:
            raise CheckError(f"writer {name}: a map that is stopped halfway leaves {', '.join(left)}") from None
        return
    raise CheckError(f"writer {name}: swallows an error that is raised while it is written")


def _read_back(path: Path, ndim: int, read: Callable[[Path], NDArray[Any]] | None) -> NDArray[Any] | None:
    if read is not None:
        return read(path)
    if reader_of(LABEL_READERS if ndim == 2 else CUBE_READERS, path) is None:
        return None
    if ndim == 2:
        return read_labels(path).array
    with open_cube(path) as cube:
        return cube.read(0, cube.shape[0])
