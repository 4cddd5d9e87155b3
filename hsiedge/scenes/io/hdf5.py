"""NetCDF-4 and HDF5: CF names and dimension scales, and the products of EMIT, NEON and PRISMA; read by rows.

Which axis is the spectrum is read, not guessed: from the names of the dimensions (CF, netCDF, h5py's labels), from a product's
published structure, or from a wavelength list that is as long as one axis alone. A file that says nothing of it holds
(row, column, band), as an array would; one that says something which fits two axes is an error.

    reflectance (wavelength: 60, y: 145, x: 200), with scales x, y, wavelength   ->   rows y, columns x, bands wavelength
"""

from __future__ import annotations

import posixpath
import re
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from hsiedge.errors import SceneError, needs_extra
from hsiedge.scenes.io.checks import MOST_BANDS, check_chunks, check_ends, check_hdf5, hdf5_arrays, hdf5_number
from hsiedge.scenes.io.cube import Cube, fits, named_unit, nanometres, number, quantity_of, unread, widths_like
from hsiedge.scenes.io.georeference import Georeference, Transform, from_envi
from hsiedge.scenes.io.reader import WAVELENGTHS, LabelRaster, Reader, unscaled

_SPECTRAL = (
    r"(wave_?lengths?|wl|wvl|lambda|(spectral_?)?(bands?|channels?)|spectral|band_?(index|number)|(radiation|sensor_band)_.*)"
)
_ROWS = r"(y|rows?|lines?|lat(itude)?|down_?track|along_?track|northing|y_?dim|height|number_of_lines)"
_COLUMNS = r"(x|col(umn)?s?|samples?|pixels?|lon(gitude)?|cross_?track|across_?track|easting|x_?dim|width)"
_NORTH = ("degrees_north", "degree_north", "degrees_n", "degree_n")
_EAST = ("degrees_east", "degree_east", "degrees_e", "degree_e")
_WIDTHS = ("fwhm", "fwhms", "bandwidths", "band_widths")
_GOOD = ("good_wavelengths", "good_wavelength", "bbl", "good_bands")
_PLAIN = {"scale_factor": 1.0, "add_offset": 0.0}
_DEFAULT_FILLS = {  # of netCDF's library, which fills what is not written; bytes have none (NUG, "Attribute Conventions")
    "i2": -32767,
    "u2": 65535,
    "i4": -2147483647,
    "u4": 4294967295,
    "f4": 9.969209968386869e36,
    "f8": 9.969209968386869e36,
}
_LIMITS = ("valid_range", "valid_min", "valid_max")
_NEON = re.compile(r"\w+/Reflectance/Reflectance_Data$")
_PRISMA = re.compile(r"HDFEOS/SWATHS/PRS_L(\w+)/Data Fields/(VNIR|SWIR|Vnir|Swir)_Cube$")


@dataclass(frozen=True)
class _Variable:
    """A cube's variable, and the others of its file."""

    path: Path
    name: str
    data: Any
    others: Mapping[str, Any]

    def attribute(self, name: str) -> Any:
        """Value of an attribute; None where there is none."""
        return self.data.attrs.get(name)

    def text(self, name: str) -> str:
        """Text of an attribute; "" where there is none."""
        return _text(self.attribute(name))

    @property
    def dtype(self) -> np.dtype[Any]:
        """The dtype that is meant: netCDF's _Unsigned makes unsigned integers of signed ones."""
        stored = self.data.dtype.newbyteorder("=")
        unsigned = self.text("_Unsigned").lower() == "true" and stored.kind == "i"
        return np.dtype(f"u{stored.itemsize}") if unsigned else stored

    def declared(self, values: Any) -> NDArray[Any]:
        """Stored values, or a fill value or limit of theirs, as an array of the dtype that is meant."""
        stored = np.asarray(values)
        if self.dtype.kind == "u" and self.data.dtype.kind == "i" and stored.dtype.kind in "iu":
            return stored.astype(self.data.dtype.newbyteorder("=")).view(self.dtype)
        return stored

    def numbers(self, name: str) -> list[float]:
        """Numbers of an attribute that is told in stored values; none where there is none, or one is a word."""
        value = self.attribute(name)
        values = [] if value is None else [number(part) for part in np.ravel(self.declared(value))]
        return [part for part in values if part is not None] if None not in values else []

    def named(self, name: str) -> Any:
        """The variable that an attribute names: by its path, beside the cube, or in a group above (CF 2.7); None for none."""
        if not name:
            return None
        rooms = [""] if name.startswith("/") else _upwards(self.name.rpartition("/")[0])
        places = [posixpath.normpath(f"{room}/{name}").strip("/") for room in rooms]
        return next((self.others[place] for place in places if place in self.others), None)

    def attribute_lists(self) -> Iterator[tuple[list[Any], str]]:
        """Wavelengths that attributes of the cube, its group or the file list, and their unit."""
        for attrs in (self.data.attrs, self.data.parent.attrs, self.data.file.attrs):
            name = next((name for name in WAVELENGTHS if name in attrs), None)
            if name is not None:
                yield list(np.ravel(attrs[name])), _text(attrs.get("wavelength_units"))

    def near(self, names: tuple[str, ...], length: int | None = None) -> Any:
        """The list of one of these names that lies nearest: beside the cube, else elsewhere in the file; None without one.

        Raises:
            SceneError: two lists elsewhere that differ.
        """
        room = self.name.rpartition("/")[0]
        lists = {
            place: item
            for place, item in self.others.items()
            if place.rpartition("/")[2].lower() in names and item.ndim == 1 and length in (None, item.shape[0])
        }
        beside = [item for place, item in lists.items() if place.rpartition("/")[0] == room]
        rest = beside[:1] or list(lists.values())
        for item in rest:
            check_chunks(self.path, item)
        if any(other.shape != rest[0].shape or not np.array_equal(other[()], rest[0][()]) for other in rest[1:]):
            raise SceneError(f"{self.path}: {' and '.join(lists)} differ: which are the cube's?")
        return rest[0] if rest else None


class Hdf5(Reader):
    """Reader of NetCDF-4 and HDF5 cubes and label maps."""

    title, suffixes = "NetCDF-4 or HDF5", (".nc", ".nc4", ".h5", ".hdf5", ".he5")

    @contextmanager
    def open(self, path: Path, key: str | None = None) -> Iterator[Cube]:
        """Opens a cube, the variable `key` or the only one of three dimensions. Raises SceneError, MissingExtraError."""
        check_ends(path, lambda: _described(path, key))
        with _opened(path) as file:
            variable = _variable(path, file, key, 3)
            yield _cube(variable, file)

    def labels(self, path: Path, key: str | None = None) -> LabelRaster:
        """Reads a label map: the variable `key`, or the only one of two dimensions, or of three of which one has length 1.

        Names of the classes are those of CF's flag_values and flag_meanings. Raises SceneError, MissingExtraError.
        """
        check_ends(path, lambda: _labels_described(path, key))
        with _opened(path) as file:
            variable = _variable(path, file, key, 2)
            rows, columns = _label_axes(variable)
            fits(path, variable.data.shape, variable.data.dtype.itemsize)
            check_chunks(path, variable.data)
            unscaled(path, *(float((_by_band(variable, name, 1) or (plain,))[0]) for name, plain in _PLAIN.items()))
            rest = [axis for axis in range(variable.data.ndim) if axis not in (rows, columns)]
            array = variable.declared(variable.data[()]).transpose(rows, columns, *rest).reshape(variable.data.shape[rows], -1)
            missing = _missing(variable)
            low, high = _limits(variable)
            outside = np.isin(array, missing[1:]) | (array < low) | (array > high)
            array = np.where(outside, 0, array).astype(array.dtype) if outside.any() else array
            nodata, place = missing[0] if missing else None, _place(variable, rows, columns)
            return LabelRaster(array, _class_names(variable), nodata, place, _uneven(variable, place, (rows, columns)))


def _upwards(room: str) -> list[str]:
    """A group, and those that it lies in, the root last."""
    parts = room.split("/") if room else []
    return ["/".join(parts[:count]) for count in range(len(parts), -1, -1)]


def _described(path: Path, key: str | None) -> None:
    """Reads all that is read of a cube's file before its rows."""
    with _opened(path) as file:
        _cube(_variable(path, file, key, 3), file)


def _labels_described(path: Path, key: str | None) -> None:
    """Reads all that is read of a label map's file before its ids."""
    with _opened(path) as file:
        variable = _variable(path, file, key, 2)
        _place(variable, *_label_axes(variable))
        _class_names(variable)


@contextmanager
def _opened(path: Path) -> Iterator[Any]:
    with needs_extra(f"reading {path.name}", "hdf"):
        import h5py
    try:
        file = h5py.File(path, "r")
    except OSError as error:
        with path.open("rb") as stream:
            if stream.read(3) == b"CDF":
                raise SceneError(f"{path}: NetCDF of version 3 is not read; make it version 4: nccopy -k nc4") from error
        raise SceneError(f"{path}: not a NetCDF-4 or HDF5 file ({str(error).splitlines()[0]})") from error
    with file:
        yield file


def _variable(path: Path, file: Any, key: str | None, ndim: int) -> _Variable:
    """The variable that is meant."""
    arrays = dict(hdf5_arrays(file))
    fitting = {name: item for name, item in arrays.items() if item.ndim == ndim and item.dtype.kind in "uifb"}
    if ndim == 2 and not fitting:
        fitting = {name: item for name, item in arrays.items() if item.ndim == 3 and 1 in item.shape}
    listing = ", ".join(f"{name} {'x'.join(map(str, item.shape))}" for name, item in fitting.items()) or "none"
    if key is None and len(fitting) > 1:
        raise SceneError(
            f"{path}: name the variable; it has {listing}", use={"cube_key" if ndim == 3 else "labels_key": "NAME"}
        )
    noun, dimensions = ("cube", "three") if ndim == 3 else ("label map", "two")
    if key is None and not fitting:
        shapes = [f"{name} {'x'.join(map(str, item.shape))}" for name, item in arrays.items() if item.ndim]
        some = (", ".join(shapes[:5]) or "none") + (f" and {len(shapes) - 5} more" if len(shapes) > 5 else "")
        raise SceneError(f"{path}: has no {noun}: none of its variables has {dimensions} dimensions ({some})")
    name = next(iter(fitting)) if key is None else key.strip("/")
    if name not in fitting:
        raise SceneError(f"{path}: has no {noun} {key!r}; its variables of {dimensions} dimensions: {listing}")
    check_hdf5(path, name, fitting[name])
    return _Variable(path, name, fitting[name], {other: item for other, item in arrays.items() if other != name})


def _cube(variable: _Variable, file: Any) -> Cube:
    axes = _axes(variable)
    rows, columns, spectrum = axes
    data = variable.data
    height, width, bands = (int(data.shape[axis]) for axis in axes)
    if bands > MOST_BANDS:
        raise SceneError(f"{variable.path}: {variable.name} has {bands} bands; rows, columns, bands are expected")
    dtype = variable.dtype

    def read(first: int, count: int) -> NDArray[Any]:
        place: list[slice] = [slice(None)] * 3
        place[rows] = slice(first, min(first + count, height))
        check_chunks(variable.path, data, place)
        return np.ascontiguousarray(variable.declared(data[tuple(place)]).transpose(axes), dtype)

    if _PRISMA.search(variable.name):
        return _prisma(Cube(variable.path, (height, width), bands, dtype, read), variable, file)
    stored, unit = _wavelengths(variable, bands, spectrum)
    wavelengths = nanometres(stored, unit)
    widths, good = variable.near(_WIDTHS, bands), variable.near(_GOOD, bands)
    flags = () if good is None else tuple(bool(value) for value in np.asarray(good[()]) != 0)
    missing, units = _missing(variable)[:1], named_unit(variable.text("units"))
    place = _place(variable, rows, columns)
    notes = _uneven(variable, place, axes[:2]) or (() if place is not None else _sensor_geometry(variable, (height, width)))
    cube = Cube(
        path=variable.path,
        shape=(height, width),
        bands=bands,
        dtype=dtype,
        read=read,
        scale=_by_band(variable, "scale_factor", bands),
        offset=_by_band(variable, "add_offset", bands),
        nodata=tuple(missing) * bands,
        valid=_in_range(variable, read, flags, bands),
        good=flags,
        wavelengths=wavelengths,
        widths=() if widths is None else widths_like(list(widths[()]), stored, wavelengths),
        units=units,
        quantity=quantity_of(variable.text("standard_name"), variable.text("long_name"), units),
        georeference=place,
        notes=(*notes, *unread(stored, unit, wavelengths), *(() if stored else _of_other_length(variable, bands))),
    )
    return _neon(cube, variable) if _NEON.search(variable.name) else cube


def _axes(variable: _Variable) -> tuple[int, int, int]:
    """Axes of a cube that are its rows, columns and bands.

    Raises:
        SceneError: what the file says of them fits several.
    """
    if _PRISMA.search(variable.name):
        return 0, 2, 1  # ASI, PRISMA Products Specification Document, issue 2.3: (lines, bands, samples)
    named, shape = _named_axes(variable, 3), variable.data.shape
    spectrum = named.get("bands")
    if spectrum is None:
        listed = variable.near(WAVELENGTHS)
        lengths = [len(values) for values, _ in variable.attribute_lists()] if listed is None else [listed.shape[0]]
        length = next(iter(lengths), None)
        fitting = [axis for axis in range(3) if shape[axis] == length]
        fitting = [axis for axis in fitting if axis not in named.values()]
        if len(fitting) > 1:
            raise SceneError(
                f"{variable.path}: {variable.name} is {'x'.join(map(str, shape))}, and its {length} wavelengths fit "
                f"{len(fitting)} of its axes; name its dimensions (netCDF, or HDF5 dimension scales)"
            )
        unnamed = [axis for axis in range(3) if axis not in named.values()]
        spectrum = fitting[0] if fitting else unnamed[-1]
        if not fitting and _is_time(variable, spectrum):
            raise SceneError(f"{variable.path}: {variable.name} has an axis of time; rows, columns, bands are expected")
    rest = [axis for axis in range(3) if axis != spectrum]
    rows = named.get("rows", rest[1] if named.get("columns") == rest[0] else rest[0])
    return rows, rest[1] if rows == rest[0] else rest[0], spectrum


def _is_time(variable: _Variable, axis: int) -> bool:
    """Whether a dimension is one of time (CF 4.4), of more than one moment."""
    _, scale = _dimension(variable, axis)
    if scale is None or variable.data.shape[axis] == 1:
        return False
    standard, letter, unit = (_text(scale.attrs.get(name)).lower() for name in ("standard_name", "axis", "units"))
    return standard == "time" or letter == "t" or " since " in unit


def _of_other_length(variable: _Variable, bands: int) -> tuple[str, ...]:
    """A note on wavelengths of which there are more or fewer than bands."""
    lists = (item for place, item in variable.others.items() if place.rpartition("/")[2].lower() in WAVELENGTHS)
    lengths = [item.shape[0] for item in lists if item.ndim == 1] + [len(values) for values, _ in variable.attribute_lists()]
    other = next((length for length in lengths if length != bands), None)
    return () if other is None else (f"its {other} wavelengths are not for {bands} bands, and are left out",)


def _label_axes(variable: _Variable) -> tuple[int, int]:
    """Axes of a label map that are its rows and columns; a third one has length 1."""
    named, shape = _named_axes(variable, variable.data.ndim), variable.data.shape
    single = [axis for axis in range(len(shape)) if shape[axis] == 1 and axis not in (named.get("rows"), named.get("columns"))]
    if len(shape) == 3 and not single:
        raise SceneError(f"{variable.path}: {variable.name} is {'x'.join(map(str, shape))}, no label map")
    left_out = named["bands"] if named.get("bands") in single else single[0] if len(shape) == 3 else None
    rest = [axis for axis in range(len(shape)) if axis != left_out]
    rows = named.get("rows", rest[1] if named.get("columns") == rest[0] else rest[0])
    return rows, rest[1] if rows == rest[0] else rest[0]


def _class_names(variable: _Variable) -> dict[int, str]:
    """Id -> name, by CF's flag_values and flag_meanings; empty where they are not of one length."""
    flags = variable.attribute("flag_values")
    values = () if flags is None else np.ravel(variable.declared(flags)).tolist()
    names = variable.text("flag_meanings").split()
    whole = len(values) == len(names) and all(isinstance(value, int) for value in values)
    return dict(zip(values, names)) if whole else {}


def _named_axes(variable: _Variable, ndim: int) -> dict[str, int]:
    """Axes whose dimension says what it is: "rows", "columns", "bands"."""
    kinds = {"bands": _SPECTRAL, "rows": _ROWS, "columns": _COLUMNS}
    named: dict[str, int] = {}
    for axis in range(ndim):
        name, scale = _dimension(variable, axis)
        standard = "" if scale is None else _text(scale.attrs.get("standard_name"))
        unit = "" if scale is None else _text(scale.attrs.get("units")).lower()
        letter = "" if scale is None else _text(scale.attrs.get("axis")).upper()
        matches = [kind for kind, pattern in kinds.items() if re.fullmatch(pattern, name.lower())]
        if "wavelength" in standard or unit in ("nm", "um", "micrometers", "nanometers"):
            matches = ["bands"]
        elif standard in ("projection_y_coordinate", "latitude") or unit in _NORTH or letter == "Y":
            matches = ["rows"]
        elif standard in ("projection_x_coordinate", "longitude") or unit in _EAST or letter == "X":
            matches = ["columns"]
        for kind in matches:
            if kind in named:
                raise SceneError(f"{variable.path}: two dimensions of {variable.name} are called {kind}")
            named[kind] = axis
    return named


def _dimension(variable: _Variable, axis: int) -> tuple[str, Any]:
    """Name of a dimension, and its scale; "" and None where it has none."""
    dimension = variable.data.dims[axis]
    scale = dimension[0] if len(dimension) else None
    if scale is not None:
        check_chunks(variable.path, scale)
    own = "" if scale is None else _text(scale.attrs.get("NAME"))
    if own.startswith("This is a netCDF dimension") or not own:
        own = "" if scale is None else str(scale.name).rpartition("/")[2]
    return dimension.label or own, scale


def _wavelengths(variable: _Variable, bands: int, spectrum: int) -> tuple[list[Any], str]:
    """Wavelengths as stored, and their unit: those of the spectral dimension, else the list of that name."""
    name, scale = _dimension(variable, spectrum)
    listed = variable.near(WAVELENGTHS, bands)
    length = scale is not None and named_unit(_text(scale.attrs.get("units")))
    if not length and not re.match("wave|wl|wvl|lambda|radiation", name.lower()):
        scale = None  # what numbers or names bands, as that of xarray's "band"
    if scale is not None and scale.shape == (bands,) and scale.dtype.kind in "uif":
        unit = _text(scale.attrs.get("units"))
        values = _numbers(scale)
        if nanometres(values, unit or "x") or listed is None:
            return values, unit
    if listed is None:
        return next((entry for entry in variable.attribute_lists() if len(entry[0]) == bands), ([], ""))
    return _numbers(listed), _text(listed.attrs.get("units"))


def _unpacked(item: Any) -> NDArray[np.float64]:
    """Values of coordinates or a list, by CF's scale_factor and add_offset."""
    scale, offset = (hdf5_number(item.attrs.get(name, plain)) for name, plain in _PLAIN.items())
    return np.asarray(item[()], np.float64) * (1.0 if scale is None else scale) + (offset or 0.0)


def _numbers(item: Any) -> list[Any]:
    """Values of a list, unpacked; as they stand where they are texts."""
    return list(_unpacked(item)) if item.dtype.kind in "uif" else list(item[()])


def _by_band(variable: _Variable, name: str, bands: int) -> tuple[float, ...] | None:
    """An attribute as a number a band; None where there is none."""
    value = variable.attribute(name)
    if value is None:
        return None
    values = [number(part) for part in np.ravel(value)]
    if None in values or len(values) not in (1, bands):
        raise SceneError(f"{variable.path}: {name} of {variable.name} is not a number, nor one for each band")
    numbers = tuple(part for part in values if part is not None)
    return numbers * bands if len(numbers) == 1 else numbers


def _missing(variable: _Variable) -> list[float]:
    """Values that mark absent pixels, `_FillValue` and all of `missing_value`; words among them are none."""
    values = [*(variable.numbers("_FillValue")[:1] or _default_fill(variable)), *variable.numbers("missing_value")]
    if variable.dtype.kind == "f":
        with np.errstate(over="ignore"):  # as the cube holds them: attributes are often of double precision
            values = [float(variable.dtype.type(value)) for value in values]
    return [value for place, value in enumerate(values) if str(value) not in map(str, values[:place])]


def _default_fill(variable: _Variable) -> list[float]:
    """The value with which netCDF's library fills what is not written, where the file was made so; else nothing."""
    import h5py

    data, dtype = variable.data, variable.data.dtype.newbyteorder("=")
    fill, plan = _DEFAULT_FILLS.get(dtype.str[1:]), data.id.get_create_plist()
    if fill is None or plan.fill_value_defined() != h5py.h5d.FILL_VALUE_USER_DEFINED or data.fillvalue != dtype.type(fill):
        return []
    return [float(variable.declared(dtype.type(fill)))]


def _limits(variable: _Variable) -> tuple[float, float]:
    """Least and greatest valid value, in the values that `_are_unpacked` says; infinite where the file names none.

    Raises:
        SceneError: a range that is none.
    """
    both = variable.numbers("valid_range")
    low = max([-np.inf, *both[:1], *variable.numbers("valid_min")[:1]])
    high = min([np.inf, *both[1:2], *variable.numbers("valid_max")[:1]])
    if not low <= high:
        raise SceneError(f"{variable.path}: valid range of {variable.name} goes from {low:g} to {high:g}")
    return low, high


def _are_unpacked(variable: _Variable) -> bool:
    """Whether valid limits are those of unpacked values: real numbers for packed integers (NUG, "valid_range")."""
    limits = [np.asarray(variable.attribute(name)) for name in _LIMITS if variable.attribute(name) is not None]
    packed = variable.dtype.kind in "iu" and any(variable.attribute(name) is not None for name in _PLAIN)
    return packed and bool(limits) and all(limit.dtype.kind == "f" for limit in limits)


def _in_range(variable: _Variable, read: Any, good: tuple[bool, ...], bands: int) -> Any:
    """Mask of the pixels whose values, in good bands, all lie in CF's valid range and are no second missing value.

    Gives None where the file names neither. Raises SceneError for a range that is none.
    """
    (low, high), others = _limits(variable), _missing(variable)[1:]
    if low == -np.inf and high == np.inf and not others:
        return None
    unpacked = _are_unpacked(variable)
    scale, offset = (np.array(_by_band(variable, name, bands) or plain) for name, plain in _PLAIN.items())
    near = np.abs(scale) / 100 if unpacked else 0.0  # of a step: 3000 * 0.0001 is a little more than 0.3

    def valid(first: int, count: int) -> NDArray[np.bool_]:
        rows = read(first, count)
        values = rows * scale + offset if unpacked else rows
        inside = (values >= low - near) & (values <= high + near) & ~np.isin(rows, others)
        counted: NDArray[np.bool_] = (inside[:, :, list(good)] if good else inside).all(-1)
        return counted

    return valid


def _place(variable: _Variable, rows: int, columns: int) -> Georeference | None:
    """Georeference by CF: even coordinates of the two dimensions, and the variable that `grid_mapping` names."""
    name = variable.text("grid_mapping").split(":")[0].strip()
    mapping = variable.named(name)
    crs = "" if mapping is None else _text(mapping.attrs.get("crs_wkt")) or _text(mapping.attrs.get("spatial_ref"))
    lost = () if crs or mapping is None else ("its grid mapping, which is not given as WKT",)
    lost = (f"its grid mapping {name}, which is not in the file",) if name and mapping is None else lost
    transform = _even(variable, rows, columns)
    if transform is None and mapping is not None and mapping.attrs.get("GeoTransform") is not None:
        numbers = [number(part) for part in _text(mapping.attrs["GeoTransform"]).split()]
        if len(numbers) == 6 and None not in numbers:
            c, a, b, f, d, e = (value for value in numbers if value is not None)
            transform = a, b, c, d, e, f
    return Georeference(transform, crs, lost=lost) if transform is not None or crs else None


def _even(variable: _Variable, rows: int, columns: int) -> Transform | None:
    """Transform of evenly spaced coordinates of pixel centres; None where the dimensions have none."""
    ends = []
    for axis in (columns, rows):
        _, scale = _dimension(variable, axis)
        size = variable.data.shape[axis]
        if scale is None or scale.shape != (size,) or scale.dtype.kind not in "uif" or size < 2:
            return None
        values = _unpacked(scale)
        step = (values[-1] - values[0]) / (size - 1)
        if not np.isfinite(values).all() or step == 0 or np.abs(np.diff(values) - step).max() > _rounding(scale, values, step):
            return None
        ends.append((float(values[0] - step / 2), float(step)))
    (x, across), (y, down) = ends
    if (x, across, y, down) == (-0.5, 1.0, -0.5, 1.0):  # netCDF's own numbering of a dimension is no place
        return None
    return across, 0.0, x, 0.0, down, y


def _rounding(scale: Any, values: NDArray[np.float64], step: float) -> float:
    """Tolerance of the steps between coordinates: a thousandth, or what float32 rounds away where that is little."""
    held = float(np.finfo(scale.dtype).eps * np.abs(values).max()) if scale.dtype.kind == "f" else 0.0
    return max(1e-3 * abs(step), held if held < 0.1 * abs(step) else 0.0)


def _uneven(variable: _Variable, place: Georeference | None, axes: tuple[int, int]) -> tuple[str, ...]:
    """A note where both dimensions have coordinates, and they give no transform."""
    scales = [_dimension(variable, axis)[1] for axis in axes]
    if (place is not None and place.transform is not None) or not all(map(_has_coordinates, scales)):
        return ()
    return ("its coordinates are not evenly spaced: its map has none, and labels are not compared with them",)


def _has_coordinates(scale: Any) -> bool:
    """Whether a scale holds more than netCDF's own numbering of a dimension."""
    if scale is None or scale.ndim != 1 or scale.dtype.kind not in "uif" or scale.shape[0] < 2:
        return False
    own = _text(scale.attrs.get("NAME")).startswith("This is a netCDF dimension")
    return not own and not np.array_equal(_unpacked(scale), np.arange(scale.shape[0]))


def _sensor_geometry(variable: _Variable, shape: tuple[int, int]) -> tuple[str, ...]:
    """A note where latitude and longitude are given pixel by pixel: such a cube is not orthorectified, and its map is not."""
    arrays = [
        name
        for name, item in variable.others.items()
        if name.rpartition("/")[2].lower() in ("lat", "lon", "latitude", "longitude") and item.shape == shape
    ]
    if len(arrays) < 2:
        return ()
    return (f"in sensor geometry, not orthorectified: its map has no coordinates; {' and '.join(arrays)} have them",)


def _prisma(cube: Cube, variable: _Variable, file: Any) -> Cube:
    """A PRISMA cube with what its product says (ASI, PRISMA Products Specification Document, issue 2.3)."""
    match = _PRISMA.search(variable.name)
    assert match is not None
    level, sensor = match[1][:2].upper(), match[2].capitalize()
    facts = file.attrs
    centres = [number(value) or 0.0 for value in np.ravel(facts.get(f"List_Cw_{sensor}", []))]
    widths = [number(value) or 0.0 for value in np.ravel(facts.get(f"List_Fwhm_{sensor}", []))]
    scale = offset = None
    if level.startswith("2"):
        low, high = (number(facts.get(f"L2Scale{sensor}{end}")) for end in ("Min", "Max"))
        if low is not None and high is not None:
            scale, offset = ((high - low) / 65535,) * cube.bands, (low,) * cube.bands
    else:
        factor, shift = number(facts.get(f"ScaleFactor_{sensor}")), number(facts.get(f"Offset_{sensor}"))
        if factor:
            scale, offset = (1 / factor,) * cube.bands, (-(shift or 0.0),) * cube.bands
    known = len(centres) == cube.bands
    return Cube(
        cube.path,
        cube.shape,
        cube.bands,
        cube.dtype,
        cube.read,
        scale=scale,
        offset=offset,
        good=tuple(value > 0 for value in centres) if known else (),
        wavelengths=tuple(centres) if known else (),
        widths=tuple(widths),
        quantity="" if scale is None else "radiance" if level in ("1", "2B") else "reflectance",
        notes=("a PRISMA product: its map has no coordinates; those of its pixels stand in Geolocation Fields",),
    )


def _neon(cube: Cube, variable: _Variable) -> Cube:
    """A NEON cube with what its product says (Algorithm Theoretical Basis Document NEON.DOC.001288): ENVI's words, as HDF5."""
    factor, nodata = variable.numbers("Scale_Factor"), variable.numbers("Data_Ignore_Value")
    bad = _bad_windows(variable, cube)
    words = {
        name: _text(item[()])
        for name, place in (("map info", "Map_Info"), ("coordinate system string", "Coordinate_System_String"))
        for item in [variable.others.get(f"{variable.name.rpartition('/')[0]}/Metadata/Coordinate_System/{place}")]
        if item is not None
    }
    return replace(
        cube,
        scale=(1 / factor[0],) * cube.bands if factor and factor[0] else cube.scale,
        offset=(0.0,) * cube.bands,
        nodata=tuple(nodata[:1]) * cube.bands or cube.nodata,
        good=tuple(not flag for flag in bad) if any(bad) else cube.good,
        quantity="reflectance" if factor else "",
        georeference=from_envi(words) or cube.georeference,
    )


def _bad_windows(variable: _Variable, cube: Cube) -> list[bool]:
    """Bands in the two windows of water vapour, from and to a wavelength in nm, that NEON names beside the data."""
    windows: list[tuple[float, float]] = []
    for attrs in (variable.data.attrs, variable.data.parent.attrs):
        for place in (1, 2):
            ends = [number(part) for part in np.ravel(attrs.get(f"Band_Window_{place}_Nanometers", []))]
            low, high = ends if len(ends) == 2 else (None, None)
            windows += [(low, high)] if low is not None and high is not None else []
    return [any(low <= length <= high for low, high in windows) for length in cube.wavelengths]


def _text(value: Any) -> str:
    if isinstance(value, np.ndarray):
        value = value.ravel()[0] if value.size else ""
    return value.decode("utf-8", "replace") if isinstance(value, bytes) else "" if value is None else str(value)


READER = Hdf5()
