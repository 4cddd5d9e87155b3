"""Cubes read by rows: of a flight as long as it may be, only the rows that are being classified lie in memory."""

from __future__ import annotations

import mmap
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from hsiedge.errors import SceneError, needs_extra
from hsiedge.scenes.io import arrays, checks
from hsiedge.scenes.io.arrays import Raster, RowSource


@contextmanager
def open_rows(path: Path, key: str | None = None) -> Iterator[RowSource]:
    """Opens a cube: ENVI, GeoTIFF, NetCDF-4 or HDF5, .npy; .mat and .npz, which are read at once.

    Args:
        path: the file.
        key: the variable, in a .mat, .npz or HDF5 file with more than one cube.

    Raises:
        SceneError: missing, broken, of an unknown kind, or not a cube.
        MissingExtraError: the format's package is not installed.
    """
    check_file(path)
    reader = arrays.reader_of(arrays.CUBE_READERS, path)
    if reader is not None and reader.open_rows is not None:
        with reader.open_rows(path, key) as source:
            yield source
    else:
        yield rows_of(path, arrays.read(path, key, 3))


def check_file(path: Path) -> None:
    """Raises SceneError where there is none."""
    if not path.is_file():
        raise SceneError(f"{path}: {'a folder; a file is expected' if path.is_dir() else 'no such file'}")


def rows_of(path: Path, raster: Raster) -> RowSource:
    """Rows of a cube that is mapped, or in memory; `path` is what errors call it."""
    array = raster.array
    height, width, bands = array.shape
    dtype = array.dtype.newbyteorder("=")

    def read(first: int, count: int) -> NDArray[Any]:
        rows = np.array(array[first : first + count], dtype, order="C")
        _let_go(array)
        return rows

    return RowSource(
        path=path,
        shape=(height, width),
        bands=bands,
        dtype=dtype,
        read=read,
        wavelengths=raster.wavelengths if len(raster.wavelengths) == bands else (),
        good=raster.good if len(raster.good) == bands else (True,) * bands,
        nodata=raster.nodata,
        units=raster.units,
        georeference=raster.georeference,
        whole=not isinstance(array, np.memmap),
    )


def _let_go(array: NDArray[Any]) -> None:
    """Releases pages of a mapped file: what has been read counts as memory of this process until the kernel may drop it."""
    owner: Any = array
    while isinstance(owner, np.ndarray):
        owner = owner.base
    if isinstance(owner, mmap.mmap) and hasattr(mmap, "MADV_DONTNEED"):
        owner.madvise(mmap.MADV_DONTNEED)


@contextmanager
def hdf_rows(path: Path, key: str | None) -> Iterator[RowSource]:
    """A NetCDF-4 or HDF5 file to be read by rows. Raises SceneError, or MissingExtraError where h5py is not installed."""
    with needs_extra(f"reading {path.name}", "hdf"):
        import h5py
    try:
        file = h5py.File(path, "r")
    except OSError as error:
        raise SceneError(f"{path}: not a NetCDF-4 or HDF5 file ({str(error).splitlines()[0]})") from error
    with file:
        yield _hdf_source(path, file, key)


def _hdf_source(path: Path, file: Any, key: str | None) -> RowSource:
    with _broken(path):
        cube = _hdf_cube(path, file, key)
        height, width, bands = cube.shape
        if bands > checks.MOST_BANDS:
            raise SceneError(f"{path}: {cube.name} has {bands} bands; rows, columns, bands are expected")
        dtype = cube.dtype.newbyteorder("=")

        def read(first: int, count: int) -> NDArray[Any]:
            with _broken(path):
                return np.ascontiguousarray(cube[first : first + count], dtype)

        return RowSource(
            path=path,
            shape=(height, width),
            bands=bands,
            dtype=dtype,
            read=read,
            wavelengths=arrays.nanometres(*_hdf_wavelengths(file, bands)),
            good=_hdf_good(file, bands),
            nodata=checks.hdf5_number(cube.attrs.get("_FillValue")),
            units=_hdf_text(cube.attrs.get("units", "")),
        )


@contextmanager
def _broken(path: Path) -> Iterator[None]:
    """Whatever h5py raises of a broken file becomes a SceneError."""
    try:
        yield
    except (ArithmeticError, LookupError, OSError, RuntimeError, TypeError, ValueError) as error:
        raise SceneError(
            f"{path}: not a whole NetCDF-4 or HDF5 file ({str(error).splitlines()[0] if str(error) else error!r})"
        ) from error


def _hdf_cube(path: Path, file: Any, key: str | None) -> Any:
    """The variable that holds the cube, rows first."""
    cubes = {name: item for name, item in checks.hdf5_arrays(file) if item.ndim == 3 and item.dtype.kind in "uif"}
    listing = ", ".join(f"{name} {'x'.join(map(str, item.shape))}" for name, item in cubes.items()) or "none"
    if key is None and len(cubes) > 1:
        raise SceneError(f"{path}: name the variable; it has {listing}", use={"cube_key": "NAME"})
    name = key if key is not None else next(iter(cubes), "")
    if name not in cubes:
        raise SceneError(f"{path}: has no cube {name!r}; its variables of three dimensions: {listing}")
    cube = cubes[name]
    checks.check_hdf5(path, name, cube)
    return cube


def _hdf_wavelengths(file: Any, bands: int) -> tuple[list[Any], str]:
    """The first variable called wavelengths that has one a band, as EMIT's sensor_band_parameters/wavelengths."""
    for name, item in checks.hdf5_arrays(file):
        if name.rsplit("/", 1)[-1].lower() in ("wavelengths", "wavelength") and item.shape == (bands,):
            return list(item[()]), _hdf_text(item.attrs.get("units", ""))
    return [], ""


def _hdf_good(file: Any, bands: int) -> tuple[bool, ...]:
    for name, item in checks.hdf5_arrays(file):
        if (
            name.rsplit("/", 1)[-1].lower() in ("good_wavelengths", "good_wavelength", "bbl")
            and item.shape == (bands,)
            and item.dtype.kind in "biuf"
        ):
            return tuple(bool(value) for value in item[()] != 0)
    return (True,) * bands


def _hdf_text(value: Any) -> str:
    return value.decode("utf-8", "replace") if isinstance(value, bytes) else str(value)
