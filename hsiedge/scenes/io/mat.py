"""MATLAB files: v5 by scipy, v7.3 and what h5py writes by h5py; read at once."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from hsiedge.errors import SceneError, needs_extra
from hsiedge.scenes.io.checks import check_chunks, check_hdf5, hdf5_arrays
from hsiedge.scenes.io.cube import Cube, fits
from hsiedge.scenes.io.mat5 import check_mat5
from hsiedge.scenes.io.reader import LabelRaster, Reader, choose, listed_wavelengths

_NOT_ARRAYS = ("cell", "struct", "object", "char", "function", "opaque", "unknown")
_BYTES = {"int8": 1, "uint8": 1, "logical": 1, "int16": 2, "uint16": 2, "int32": 4, "uint32": 4, "single": 4}


class Mat(Reader):
    """Reader of .mat files, which hold values, and may list wavelengths beside them."""

    title, suffixes = "MATLAB", (".mat",)

    @contextmanager
    def open(self, path: Path, key: str | None = None) -> Iterator[Cube]:
        """Opens a cube, the variable `key` or the only one of three dimensions. Raises SceneError, MissingExtraError."""
        array = _read(path, key, 3)
        yield Cube.of_array(array, path, **listed_wavelengths(array, _shapes(path), lambda name: _read(path, name, 1)))

    def labels(self, path: Path, key: str | None = None) -> LabelRaster:
        """Reads a label map, sparse ones too. Raises SceneError, MissingExtraError."""
        return LabelRaster(_read(path, key, 2))


def _shapes(path: Path) -> dict[str, tuple[int, ...]]:
    """Shapes of the arrays of a file that was read before, by their names."""
    if _is_hdf(path):
        import h5py

        with h5py.File(path, "r") as arrays:
            return {name: item.shape for name, item in hdf5_arrays(arrays) if "/" not in name}
    import scipy.io

    return {name: shape for name, shape, kind in scipy.io.whosmat(str(path)) if kind not in _NOT_ARRAYS}


def _read(path: Path, key: str | None, ndim: int) -> NDArray[Any]:
    if _is_hdf(path):
        return _read_hdf(path, key, ndim)
    with needs_extra(f"reading {path.name}", "mat"):
        import scipy.io
    check_mat5(path)
    variables = [entry for entry in scipy.io.whosmat(str(path)) if entry[2] not in _NOT_ARRAYS]
    name = choose(path, {entry: shape for entry, shape, _ in variables}, key, ndim)
    shape, kind = next((shape, kind) for entry, shape, kind in variables if entry == name)
    fits(path, shape, 2 * _BYTES.get(kind, 8))  # twice: it is turned into row-major order
    array = scipy.io.loadmat(str(path), variable_names=[name])[name]
    return np.asarray(array.toarray()) if kind == "sparse" else array


def _is_hdf(path: Path) -> bool:
    with path.open("rb") as file:
        head = file.read(516)
    return head.startswith(b"MATLAB 7.3") or b"\x89HDF" in (head[:4], head[512:])


def _read_hdf(path: Path, key: str | None, ndim: int) -> NDArray[Any]:
    with needs_extra(f"reading {path.name} (MATLAB v7.3)", "hdf"):
        import h5py
    with h5py.File(path, "r") as file:
        every = dict(hdf5_arrays(file))
        arrays = {name: item for name, item in every.items() if "/" not in name}
        sparse = [name[:-3] for name in every if name.endswith("/jc") and "MATLAB_sparse" in file[name[:-3]].attrs]
        if key in sparse or (key is None and sparse and not any(item.ndim == ndim for item in arrays.values())):
            raise SceneError(
                f"{path}: {key or sparse[0]} is sparse, which is not read of v7.3; save it as full(...), or with -v7"
            )
        name = choose(path, {name: item.shape for name, item in arrays.items()}, key, ndim)
        check_hdf5(path, name, arrays[name])
        fits(path, arrays[name].shape, arrays[name].dtype.itemsize)
        check_chunks(path, arrays[name])
        array = np.asarray(arrays[name])
        # MATLAB, and who writes for it, stores column-major, so that HDF5 sees the axes reversed, and says so in the first word
        # of the file or an attribute of the array; what another program put into a .mat has its axes as they stand.
        return array.T if _by_matlab(path) or "MATLAB_class" in arrays[name].attrs else array


def _by_matlab(path: Path) -> bool:
    with path.open("rb") as file:
        return file.read(6) == b"MATLAB"


READER = Mat()
