"""Readers of arrays, one for each format: .mat v5 and v7.3, .npy, .npz, ENVI and GeoTIFF.

Each looks at the declared shape first and takes memory only for what can be true: a file may come from a stranger.
"""

from __future__ import annotations

import math
import warnings
from collections.abc import Callable, Iterable, Mapping
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from hsiedge.archive import open_zip
from hsiedge.errors import MissingExtraError, SceneError, needs_extra
from hsiedge.registry import Registry, instance_of
from hsiedge.scenes.io import checks
from hsiedge.scenes.io.mat5 import check_mat5


@dataclass(frozen=True)
class Raster:
    """An array as a file gives it, and what the file says beside it."""

    array: NDArray[Any]
    wavelengths: tuple[float, ...] = ()
    nodata: float | None = None
    units: str = ""
    class_names: dict[int, str] = field(default_factory=dict)
    georeference: dict[str, str] = field(default_factory=dict)
    good: tuple[bool, ...] = ()


@dataclass(frozen=True)
class RowSource:
    """A cube whose rows can be asked for.

    Attributes:
        shape: (height, width).
        bands: how many there are in the file.
        dtype: as stored, in the machine's byte order.
        good: of each band, whether the file's bad-band list lets it be; all True where there is none.
        whole: whether the format has to be read at once.
        read: `(first, count)` to an array `(count, width, bands)`.
    """

    path: Path
    shape: tuple[int, int]
    bands: int
    dtype: np.dtype[Any]
    read: Callable[[int, int], NDArray[Any]]
    wavelengths: tuple[float, ...] = ()
    good: tuple[bool, ...] = ()
    nodata: float | None = None
    units: str = ""
    georeference: dict[str, str] = field(default_factory=dict)
    whole: bool = False


@dataclass(frozen=True)
class Reader:
    """A format of files that hold cubes, label maps or both.

    Attributes:
        title: its name.
        suffixes: of its files, in lower case.
        read: `(path, key, ndim)` to a cube (`ndim` 3: height, width, bands) or a label map (2); None where a cube can only be
            read by rows. It says of a broken file what is wrong with it, by SceneError or any other error.
        open_rows: a context manager of `(path, key)` that gives a `RowSource`; None where a cube has to be read at once.
        takes: whether a file of another suffix is of this format; None where suffixes tell.
        files: the files that a cube at a path may be read from; None for the path alone.
    """

    title: str
    suffixes: tuple[str, ...]
    read: Callable[[Path, str | None, int], Raster] | None
    open_rows: Callable[[Path, str | None], AbstractContextManager[RowSource]] | None = None
    takes: Callable[[Path], bool] | None = None
    files: Callable[[Path], tuple[Path, ...]] | None = None


def reader_of(readers: Registry[Reader], path: Path) -> Reader | None:
    """The reader of a file: by its suffix, else by what lies beside it; None where no format fits."""
    suffix = path.suffix.lower()
    return readers.first(lambda entry: suffix in entry.suffixes) or readers.first(
        lambda entry: entry.takes is not None and entry.takes(path)
    )


def read(path: Path, key: str | None = None, ndim: int = 3) -> Raster:
    """Reads a cube (`ndim` 3: height, width, bands) or a label map (2).

    Args:
        path: .mat, .npy, .npz, .tif, or ENVI (.hdr, or the data file with a .hdr beside it).
        key: the variable in a .mat or .npz; not needed where only one has that many dimensions.

    Raises:
        SceneError: the file is missing, truncated, too large for the memory, of an unknown kind, or has no such variable.
        MissingExtraError: the format's package is not installed.
    """
    path = Path(path)
    if not path.is_file():
        raise SceneError(f"{path}: no such file")
    readers = CUBE_READERS if ndim == 3 else LABEL_READERS
    reader = reader_of(readers, path)
    if reader is None or reader.read is None:
        known = [suffix for _, entry in readers.items() if entry.read is not None for suffix in entry.suffixes]
        raise SceneError(f"{path}: not a format that hsiedge reads ({', '.join([*known, 'or ENVI with a .hdr beside it'])})")
    try:
        raster = reader.read(path, key, ndim)
    except (SceneError, MissingExtraError):
        raise
    except MemoryError as error:
        raise SceneError(f"{path}: does not fit into memory") from error
    except Exception as error:  # each library has its own; a broken file must end in one line whatever they raise
        reason = str(error).split("\n")[0] or type(error).__name__
        raise SceneError(f"{path}: cannot be read ({reason}); is it truncated? fetch or copy it again") from error
    if raster.array.ndim != ndim or 0 in raster.array.shape:
        raise SceneError(f"{path}: an array of {ndim} dimensions was expected, this one is {raster.array.shape}")
    if raster.array.dtype.kind not in "uif":
        raise SceneError(f"{path}: holds {raster.array.dtype}, not numbers")
    return raster


def files_of(path: Path) -> tuple[Path, ...]:
    """The files that a cube at `path` may be read from: of ENVI, its header and what may be its data."""
    reader = reader_of(CUBE_READERS, path)
    return (path,) if reader is None or reader.files is None else reader.files(path)


def _envi_files(path: Path) -> tuple[Path, ...]:
    header = _header_of(path)
    return (path,) if header is None else (path, header, header.with_suffix(""), header.with_suffix(".img"))


def _read_mat(path: Path, key: str | None, ndim: int) -> Raster:
    with path.open("rb") as file:
        head = file.read(128)
    if head.startswith((b"MATLAB 7.3", b"\x89HDF")):
        return _read_mat73(path, key, ndim)
    with needs_extra(f"reading {path.name}", "mat"):
        import scipy.io
    check_mat5(path)
    variables = [entry for entry in scipy.io.whosmat(str(path)) if entry[2] not in _NOT_ARRAYS]
    name = _choose(path, {entry: shape for entry, shape, _ in variables}, key, ndim)
    shape, kind = next((shape, kind) for entry, shape, kind in variables if entry == name)
    fits(path, shape, 2 * _MAT_BYTES.get(kind, 8))  # twice: it is turned into row-major order
    return Raster(scipy.io.loadmat(str(path), variable_names=[name])[name])


def _read_mat73(path: Path, key: str | None, ndim: int) -> Raster:
    with needs_extra(f"reading {path.name} (MATLAB v7.3)", "hdf"):
        import h5py
    with h5py.File(path, "r") as file:
        arrays = {name: item for name, item in checks.hdf5_arrays(file) if "/" not in name}
        name = _choose(path, {name: item.shape for name, item in arrays.items()}, key, ndim)
        checks.check_hdf5(path, name, arrays[name])
        fits(path, arrays[name].shape, arrays[name].dtype.itemsize)
        return Raster(np.asarray(arrays[name]).T)  # MATLAB writes column-major: HDF5 sees the axes reversed


def _read_npy(path: Path, key: str | None, ndim: int) -> Raster:
    with path.open("rb") as file:
        checks.npy_header(file)
    return Raster(np.load(path, mmap_mode="r", allow_pickle=False))


def _read_npz(path: Path, key: str | None, ndim: int) -> Raster:
    with open_zip(path) as archive:
        members = {info.filename[:-4]: info for info in archive.infolist() if info.filename.endswith(".npy")}
        shapes, sizes = {}, {}
        for name, info in members.items():
            with archive.open(info) as member:
                shapes[name], _, dtype = checks.npy_header(member)
            sizes[name] = dtype.itemsize
        name = _choose(path, shapes, key, ndim)
        fits(path, shapes[name], sizes[name])
        with archive.open(members[name]) as member:
            return Raster(checks.read_npy(member))


def _read_envi(path: Path, key: str | None, ndim: int) -> Raster:
    import spectral.io.envi as envi

    header_path = _header_of(path)
    if header_path is None:
        raise SceneError(f"{path}: an ENVI file needs its header beside it ({path.stem}.hdr)")
    checks.check_text(header_path)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of capitals in the header, which it reads all the same
        header = envi.read_envi_header(str(header_path))
        image = envi.open(str(header_path), None if path == header_path else str(path))
    if header["interleave"].lower() not in ("bsq", "bil", "bip"):  # which spectral takes for bsq
        raise SceneError(f"{header_path}: interleave {header['interleave']!r}: bsq, bil or bip was expected")
    if str(header["byte order"]).strip() not in ("0", "1"):  # which spectral takes for 1
        raise SceneError(f"{header_path}: byte order {header['byte order']!r}: 0 or 1 was expected")
    shape = tuple(int(header[name]) for name in ("lines", "samples", "bands"))
    itemsize = np.dtype(image.dtype).itemsize
    needed = math.prod(shape) * itemsize + int(header.get("header offset", 0))
    data_path = Path(image.filename)
    if min(shape) < 1 or data_path.stat().st_size < needed:
        raise SceneError(f"{data_path}: its header promises {needed} bytes, it has {data_path.stat().st_size}; truncated?")
    cube = image.open_memmap(interleave="bip", writable=False)
    if cube is None:
        raise SceneError(f"{data_path}: cannot be memory-mapped")
    return Raster(
        array=cube[:, :, 0] if ndim == 2 and shape[2] == 1 else cube,
        wavelengths=nanometres(header.get("wavelength", []), str(header.get("wavelength units", ""))),
        nodata=_number(header.get("data ignore value")),
        units=str(header.get("data units", "")),
        class_names={index: str(name) for index, name in enumerate(header.get("class names", [])) if index > 0},
        georeference={name: _text(header[name]) for name in ("map info", "coordinate system string") if name in header},
        good=tuple(_number(entry) != 0 for entry in header.get("bbl", [])),
    )


def _read_tif(path: Path, key: str | None, ndim: int) -> Raster:
    from hsiedge.scenes.io.geotiff import read_geotiff

    return read_geotiff(path, ndim)


def nanometres(said: Iterable[Any], units: str) -> tuple[float, ...]:
    """Wavelengths in nm; empty where they are missing, or one is not a number."""
    values = [_number(value) for value in said]
    numbers = [value for value in values if value is not None]
    if not numbers or len(numbers) != len(values):
        return ()
    micrometres = units.lower().startswith(("micro", "um")) or max(numbers) < 100
    return tuple(value * 1000 if micrometres else value for value in numbers)


def _text(value: str | list[str]) -> str:
    """A header's value as it stood there: what is in braces has been taken apart at the commas."""
    return value if isinstance(value, str) else ", ".join(value)


def _number(text: Any) -> float | None:
    try:
        return float(text)
    except (TypeError, ValueError):
        return None


def _header_of(path: Path) -> Path | None:
    """The ENVI header of `path`: itself, `x.img.hdr` or `x.hdr`."""
    candidates = (path,) if path.suffix.lower() == ".hdr" else (path.with_name(path.name + ".hdr"), path.with_suffix(".hdr"))
    return next((candidate for candidate in candidates if candidate.is_file()), None)


def _choose(path: Path, shapes: Mapping[str, tuple[int, ...]], key: str | None, ndim: int) -> str:
    listing = ", ".join(f"{name} {'x'.join(map(str, shape))}" for name, shape in shapes.items()) or "no arrays"
    if key is not None:
        if key not in shapes:
            raise SceneError(f"{path}: has no variable {key!r}; it has {listing}")
        return key
    fitting = [name for name, shape in shapes.items() if len(shape) == ndim]
    if len(fitting) != 1:
        option = "cube_key" if ndim == 3 else "labels_key"
        raise SceneError(f"{path}: name the variable; it has {listing}", use={option: "NAME"})
    return fitting[0]


def fits(path: Path, shape: Iterable[int], itemsize: int) -> None:
    """Raises SceneError where an array of that shape does not fit into the memory that is free."""
    import psutil

    needed, free = math.prod(shape) * itemsize, psutil.virtual_memory().available
    if needed > free:
        raise SceneError(
            f"{path}: needs {needed >> 20} MiB, {free >> 20} MiB are free; convert it to .npy, which is memory-mapped"
        )


_NOT_ARRAYS = ("cell", "struct", "object", "char", "function", "opaque", "sparse", "unknown")
_MAT_BYTES = {"int8": 1, "uint8": 1, "logical": 1, "int16": 2, "uint16": 2, "int32": 4, "uint32": 4, "single": 4}


def _rows_of_tif(path: Path, key: str | None) -> AbstractContextManager[RowSource]:
    from hsiedge.scenes.io.geotiff import rows_of

    return rows_of(path)


def _rows_of_hdf(path: Path, key: str | None) -> AbstractContextManager[RowSource]:
    from hsiedge.scenes.io.rows import hdf_rows

    return hdf_rows(path, key)


_ARRAYS = {
    "mat": Reader("MATLAB", (".mat",), _read_mat),
    "npy": Reader("NumPy", (".npy",), _read_npy),
    "npz": Reader("NumPy, compressed", (".npz",), _read_npz),
    "envi": Reader("ENVI", (".hdr",), _read_envi, takes=lambda path: _header_of(path) is not None, files=_envi_files),
    "geotiff": Reader("GeoTIFF", (".tif", ".tiff"), _read_tif, _rows_of_tif),
}
CUBE_READERS: Registry[Reader] = Registry(
    "hsiedge.cube_readers",
    "cube reader",
    {**_ARRAYS, "hdf5": Reader("NetCDF-4 or HDF5", (".nc", ".nc4", ".h5", ".hdf5", ".he5"), None, _rows_of_hdf)},
    instance_of(Reader),
)
LABEL_READERS: Registry[Reader] = Registry("hsiedge.label_readers", "label reader", dict(_ARRAYS), instance_of(Reader))
"""Readers of label maps by name; like those of cubes they are chosen by a file's suffix."""
