"""NumPy files: .npy, memory-mapped, and .npz, read at once. They hold values, and .npz may list wavelengths beside them."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from hsiedge.archive import open_zip
from hsiedge.scenes.io.checks import npy_header, read_npy
from hsiedge.scenes.io.cube import Cube, fits
from hsiedge.scenes.io.reader import LabelRaster, Reader, choose, listed_wavelengths


class Npy(Reader):
    """Reader of .npy files."""

    title, suffixes = "NumPy", (".npy",)

    @contextmanager
    def open(self, path: Path, key: str | None = None) -> Iterator[Cube]:
        """Opens a cube. Raises SceneError."""
        yield Cube.of_array(_mapped(path), path)

    def labels(self, path: Path, key: str | None = None) -> LabelRaster:
        """Reads a label map. Raises SceneError."""
        return LabelRaster(_mapped(path))


class Npz(Reader):
    """Reader of .npz files."""

    title, suffixes = "NumPy, compressed", (".npz",)

    @contextmanager
    def open(self, path: Path, key: str | None = None) -> Iterator[Cube]:
        """Opens a cube, the array `key` or the only one of three dimensions. Raises SceneError."""
        array = read_npz(path, key, 3)
        yield Cube.of_array(array, path, **listed_wavelengths(array, _shapes(path), lambda name: read_npz(path, name, 1)))

    def labels(self, path: Path, key: str | None = None) -> LabelRaster:
        """Reads a label map. Raises SceneError."""
        return LabelRaster(read_npz(path, key, 2))


def read_npz(path: Path, key: str | None, ndim: int) -> NDArray[Any]:
    """The array `key` of a .npz, or its only one of `ndim` dimensions. Raises SceneError where there is none, or no room."""
    with open_zip(path) as archive:
        members = {info.filename[:-4]: info for info in archive.infolist() if info.filename.endswith(".npy")}
        shapes, sizes = {}, {}
        for name, info in members.items():
            with archive.open(info) as member:
                shapes[name], _, dtype = npy_header(member)
            sizes[name] = dtype.itemsize
        name = choose(path, shapes, key, ndim)
        fits(path, shapes[name], sizes[name])
        with archive.open(members[name]) as member:
            return read_npy(member)


def _shapes(path: Path) -> dict[str, tuple[int, ...]]:
    """Shapes of the arrays of a .npz, by their names. Raises SceneError."""
    with open_zip(path) as archive:
        shapes = {}
        for info in archive.infolist():
            if info.filename.endswith(".npy"):
                with archive.open(info) as member:
                    shapes[info.filename[:-4]] = npy_header(member)[0]
        return shapes


def _mapped(path: Path) -> NDArray[Any]:
    with path.open("rb") as file:
        npy_header(file)
    array: NDArray[Any] = np.load(path, mmap_mode="r", allow_pickle=False)
    return array


NPY, NPZ = Npy(), Npz()
