"""Readers of cubes and label maps: the interface, the registries, and how a file finds its reader.

A reader is one class, which stands in one file with all that is known of its format. To add one, derive from `Reader`, fill a
`Cube`, and register an instance under `hsiedge.cube_readers` (or name it as FILE.py:NAME):

    class Raw(Reader):
        title, suffixes = "my camera", (".raw",)

        @contextmanager
        def open(self, path, key=None):
            yield Cube.of_array(np.memmap(path, np.uint16, "r", shape=(1000, 640, 200)), path, scale=(0.1,) * 200)
"""

from __future__ import annotations

import math
import warnings
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, NoReturn, TypeVar

import numpy as np
from numpy.typing import NDArray

from hsiedge.errors import MissingExtraError, SceneError
from hsiedge.registry import Registry, instance_of
from hsiedge.scenes.io.cube import Cube, SceneWarning, fits, nanometres, unread
from hsiedge.scenes.io.georeference import Georeference

T = TypeVar("T")


@dataclass(frozen=True)
class LabelRaster:
    """A label map as a file gives it, and what the file says beside it.

    Attributes:
        array: ids `(height, width)`, or `(height, width, 1)`; 0 is unlabelled.
        class_names: id -> name.
        nodata: the value that marks pixels without a label, besides 0.
        georeference: where its pixels lie; None where the file does not say.
        notes: what of the file is left out, a line each; for the user to read.
        path: the file, as `read_labels` was given it; None where there is none.
    """

    array: NDArray[Any]
    class_names: Mapping[int, str] = field(default_factory=dict)
    nodata: float | None = None
    georeference: Georeference | None = None
    notes: tuple[str, ...] = ()
    path: Path | None = None


class Reader:
    """A format of files that hold cubes, label maps or both.

    Attributes:
        title: its name.
        suffixes: of its files, in lower case.
    """

    title: str = ""
    suffixes: tuple[str, ...] = ()

    def takes(self, path: Path) -> bool:
        """Whether a file of another suffix is of this format."""
        return False

    def files(self, path: Path) -> tuple[Path, ...]:
        """Files that a cube at `path` is read from."""
        return (path,)

    @contextmanager
    def open(self, path: Path, key: str | None = None) -> Iterator[Cube]:
        """Opens a cube; it may be read from as long as the block lasts.

        Args:
            key: the variable, in a file that may have several.

        Raises:
            SceneError: a file that is broken, or no cube. Any other error than ours is turned into one.
            MissingExtraError: the format's package is not installed.
        """
        yield self._none(path, "cubes")

    def labels(self, path: Path, key: str | None = None) -> LabelRaster:
        """Reads a label map. Raises as `open` does."""
        return self._none(path, "label maps")

    def labels_on(self, path: Path, cube: Cube | None, key: str | None = None, class_field: str | None = None) -> LabelRaster:
        """Reads labels for a cube; a format without pixels of its own, as polygons are, burns them onto the cube's grid.

        Args:
            cube: the one that they label; None where there is none.
            class_field: the attribute that names the classes, in formats of features.
        """
        if class_field is not None:
            raise SceneError(f"{path}: {self.title} files hold no fields: their values are the classes", option="class_field")
        return self.labels(path, key)

    def _none(self, path: Path, things: str) -> NoReturn:
        raise SceneError(f"{path}: {self.title} files hold no {things}")


def reader_of(readers: Registry[Reader], path: Path) -> Reader | None:
    """The reader of a file: by its suffix, else the one that takes it; None where no format fits."""
    suffix = path.suffix.lower()
    return readers.first(lambda entry: suffix in entry.suffixes) or readers.first(lambda entry: entry.takes(path))


def files_of(path: Path) -> tuple[Path, ...]:
    """Files that a cube at `path` may be read from: of ENVI, its header and what may be its data."""
    reader = reader_of(CUBE_READERS, path)
    return (path,) if reader is None else reader.files(path)


def check_file(path: Path) -> None:
    """Raises SceneError where there is none; for a scene's name in the place of a file it says how to make one."""
    if path.is_file():
        return
    if path.is_dir():
        raise SceneError(f"{path}: a folder; a file is expected")
    from hsiedge.scenes.catalog import CATALOG

    if str(path) in CATALOG:
        raise SceneError(f"{path}: no such file; write this scene of the catalog as one", run=("scenes", "pack", str(path)))
    raise SceneError(f"{path}: no such file")


@contextmanager
def open_cube(path: Path, key: str | None = None) -> Iterator[Cube]:
    """Opens a cube; its rows may be read as long as the block lasts.

    Args:
        path: ENVI (.hdr, or its data), GeoTIFF, NetCDF-4, HDF5, .mat, .npy, .npz, or what a registered reader takes.
        key: the variable, in a .mat, .npz or HDF5 file with more than one cube.

    Raises:
        SceneError: missing, broken, of an unknown kind, or not a cube; while rows are read, one that cannot be.
        MissingExtraError: the format's package is not installed.
    """
    path = Path(path)
    check_file(path)
    reader = _known(CUBE_READERS, path)
    with ExitStack() as stack:
        cube = _guarded(path, lambda: stack.enter_context(reader.open(path, key)).checked())
        read, valid = cube.read, cube.valid
        yield replace(
            cube,
            read=lambda first, count: _guarded(path, lambda: read(first, count), first),
            valid=None if valid is None else lambda first, count: _guarded(path, lambda: valid(first, count), first),
        )


def read_labels(path: Path, key: str | None = None, *, cube: Cube | None = None, class_field: str | None = None) -> LabelRaster:
    """Reads a label map: ids `(height, width)`, 0 where its file's own nodata value stands.

    Args:
        cube: the cube that it labels; polygons need it, for they are burnt onto its grid.
        class_field: of polygons, the attribute that names the classes.

    Raises:
        SceneError: missing, broken, of an unknown kind, or no label map.
        MissingExtraError: the format's package is not installed.
    """
    path = Path(path)
    check_file(path)
    reader = _known(LABEL_READERS, path)
    labels = _guarded(path, lambda: reader.labels_on(path, cube, key, class_field))
    for note in labels.notes:
        warnings.warn(f"{path}: {note}", SceneWarning, stacklevel=2)
    array = labels.array[:, :, 0] if labels.array.ndim == 3 and labels.array.shape[2] == 1 else labels.array
    if array.dtype == bool:
        array = array.astype(np.uint8)
    if array.ndim != 2 or 0 in array.shape:
        raise SceneError(f"{path}: a label map of 2 dimensions was expected, this one is {labels.array.shape}")
    if array.dtype.kind not in "uif":
        raise SceneError(f"{path}: holds {array.dtype}, not numbers")
    if labels.nodata is not None:
        nothing = np.isnan(array) if labels.nodata != labels.nodata else array == labels.nodata
        array = np.where(nothing, 0, array).astype(array.dtype)
    names = {label: name for label, name in labels.class_names.items() if label and label != labels.nodata}
    return replace(labels, array=array, class_names=names, path=path)


def unscaled(path: Path, scale: float, offset: float) -> None:
    """Raises SceneError where a label map has a scale or an offset: what is stored are no ids then."""
    if (scale, offset) != (1, 0):
        raise SceneError(
            f"{path}: a label map with a scale of {scale:g} and an offset of {offset:g}; write it anew as plain ids"
        )


def whole(cube: Cube) -> NDArray[Any]:
    """All stored values of a cube `(height, width, bands)`: mapped where the format allows, else in memory.

    Raises:
        SceneError: more than fits into the memory.
    """
    if cube.array is not None:
        return cube.array
    fits(cube.path, (*cube.shape, cube.bands), cube.dtype.itemsize)
    return cube.read(0, cube.shape[0])


def choose(path: Path, shapes: Mapping[str, tuple[int, ...]], key: str | None, ndim: int) -> str:
    """Name of the variable that is meant: `key`, else the only one of `ndim` dimensions. Raises SceneError."""
    listing = ", ".join(f"{name} {'x'.join(map(str, shape))}" for name, shape in shapes.items()) or "no arrays"
    if key is not None:
        if key.strip("/") not in shapes:
            raise SceneError(f"{path}: has no variable {key!r}; it has {listing}")
        return key.strip("/")
    fitting = [name for name, shape in shapes.items() if len(shape) == ndim]
    if not fitting and ndim == 2:
        fitting = [name for name, shape in shapes.items() if len(shape) == 3 and shape[2] == 1]
    if len(fitting) != 1:
        option = "cube_key" if ndim == 3 else "labels_key"
        raise SceneError(f"{path}: name the variable; it has {listing}", use={option: "NAME"})
    return fitting[0]


WAVELENGTHS = ("wavelengths", "wavelength", "wl", "wavelength_centers", "center_wavelengths", "wavelength_center")
"""Names of the list, in a file of several arrays, that holds a wavelength a band."""


def listed_wavelengths(
    array: NDArray[Any], shapes: Mapping[str, tuple[int, ...]], read: Callable[[str], NDArray[Any]]
) -> dict[str, tuple[Any, ...]]:
    """Facts `wavelengths` and `notes` of a cube from the array beside it that lists them; `read` gives an array by its name."""
    names = [name for name, shape in shapes.items() if name.lower() in WAVELENGTHS and math.prod(shape) in shape]
    name = next((name for name in names if math.prod(shapes[name]) == array.shape[-1]), None) if array.ndim else None
    if name is None:
        if array.ndim != 3:
            return {}
        lengths = {name: math.prod(shapes[name]) for name in names}
        return {
            "notes": tuple(
                f"its {lengths[name]} {name} are not for {array.shape[-1]} bands, and are left out" for name in names
            )
        }
    stored = np.ravel(read(name)).tolist()
    return {"wavelengths": nanometres(stored), "notes": unread(stored, "", nanometres(stored))}


def _known(readers: Registry[Reader], path: Path) -> Reader:
    reader = reader_of(readers, path)
    if reader is None:
        known = [suffix for _, entry in readers.items() for suffix in entry.suffixes]
        raise SceneError(f"{path}: not a format that hsiedge reads ({', '.join([*known, 'or ENVI with a .hdr beside it'])})")
    return reader


def _guarded(path: Path, act: Callable[[], T], row: int | None = None) -> T:
    """Calls `act`; each library's own errors, of a broken file, become a SceneError of one line."""
    try:
        return act()
    except (SceneError, MissingExtraError):
        raise
    except MemoryError as error:
        raise SceneError(f"{path}: does not fit into memory") from error
    except Exception as error:
        cause = error.__cause__ if "previous exception" in str(error) and error.__cause__ else error  # as rasterio says
        reason = str(cause).split("\n")[0] or type(cause).__name__
        where = "cannot be read" if row is None else f"row {row} cannot be read"
        raise SceneError(f"{path}: {where} ({reason}); is it truncated? fetch or copy it again") from error


_OURS = {
    "mat": "hsiedge.scenes.io.mat:READER",
    "npy": "hsiedge.scenes.io.numpy_files:NPY",
    "npz": "hsiedge.scenes.io.numpy_files:NPZ",
    "envi": "hsiedge.scenes.io.envi:READER",
    "geotiff": "hsiedge.scenes.io.geotiff:READER",
    "hdf5": "hsiedge.scenes.io.hdf5:READER",
}
_OURS_OF_LABELS = {"image": "hsiedge.scenes.io.image:READER", "polygons": "hsiedge.scenes.io.polygons:READER"}
CUBE_READERS: Registry[Reader] = Registry("hsiedge.cube_readers", "cube reader", dict(_OURS), instance_of(Reader))
LABEL_READERS: Registry[Reader] = Registry(
    "hsiedge.label_readers", "label reader", {**_OURS, **_OURS_OF_LABELS}, instance_of(Reader)
)
"""Readers of label maps by name; like those of cubes they are chosen by a file's suffix."""
