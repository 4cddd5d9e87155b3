"""Scenes drawn at random, and their files in each format, in the many ways in which people and programs write them."""

from __future__ import annotations

import math
import warnings
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from hypothesis import strategies as st
from hypothesis.strategies import DrawFn
from numpy.typing import NDArray

from hsiedge.scenes.io.georeference import Transform

CODES = {"u1": 1, "i2": 2, "i4": 3, "f4": 4, "f8": 5, "u2": 12, "u4": 13, "i8": 14, "u8": 15}
COUNTS = ("u1", "i2", "u2", "i4", "f4", "f8")  # dtypes that each format has
SHORTEST = 400.0  # nm


@dataclass(frozen=True)
class Sample:
    """A scene: stored values `(height, width, bands)` and what they mean, as `Cube` has it."""

    array: NDArray[Any]
    nodata: float | None = None
    scale: tuple[float, ...] | None = None
    offset: tuple[float, ...] | None = None
    wavelengths: tuple[float, ...] = ()
    good: tuple[bool, ...] = ()
    transform: Transform | None = None
    epsg: int = 0
    mask: NDArray[np.bool_] | None = None

    @property
    def bands(self) -> int:
        return int(self.array.shape[2])

    @property
    def empty(self) -> NDArray[np.bool_]:
        """Pixels without data in a good band."""
        good = list(self.good) if self.good else [True] * self.bands
        values = self.array[:, :, good]
        absent = ~np.isfinite(values) if values.dtype.kind == "f" else np.zeros(values.shape, bool)
        if self.nodata is not None and not math.isnan(self.nodata):
            absent |= values == values.dtype.type(self.nodata)
        masked = np.zeros(absent.shape[:2], bool) if self.mask is None else ~self.mask
        return np.asarray(absent.any(-1) | masked)

    def only(self, *facts: str) -> Sample:
        """The scene as a format tells it that has only these facts."""
        plain = {"nodata": None, "scale": None, "offset": None, "wavelengths": (), "good": (), "transform": None, "epsg": 0}
        plain |= {"mask": None}
        return replace(self, **{name: value for name, value in plain.items() if name not in facts})


@st.composite
def samples(draw: DrawFn) -> Sample:
    height, width, bands = draw(st.integers(2, 6)), draw(st.integers(2, 6)), draw(st.integers(1, 5))
    dtype = np.dtype(draw(st.sampled_from(COUNTS)))
    random = np.random.default_rng(draw(st.integers(0, 1 << 32)))
    array = random.integers(1, 100, (height, width, bands)).astype(dtype)
    if dtype.kind == "f":
        array += random.random(array.shape).astype(dtype)
    choices = {"u": [0.0, float(np.iinfo(dtype).max)] if dtype.kind == "u" else [], "i": [-1.0, 0.0], "f": [-9999.0, math.nan]}
    nodata = draw(st.sampled_from([None, *choices[dtype.kind]]))
    if nodata is not None:
        array[random.random(array.shape) < 0.1] = nodata
    by_band = draw(st.booleans())
    scale, offset = (
        None if draw(st.booleans()) else tuple(draw(values) for _ in range(bands)) if by_band else (draw(values),) * bands
        for values in (st.sampled_from([0.0001, 0.5, 2.0]), st.sampled_from([-0.1, 10.0]))
    )
    if scale is not None or offset is not None:
        scale, offset = scale or (1.0,) * bands, offset or (0.0,) * bands
    steps = draw(st.lists(st.integers(1, 300), min_size=bands, max_size=bands))
    wavelengths = tuple(SHORTEST + float(sum(steps[: band + 1])) for band in range(bands)) if draw(st.booleans()) else ()
    good = tuple(draw(st.lists(st.booleans(), min_size=bands, max_size=bands))) if draw(st.booleans()) else ()
    transform, epsg = draw(places())
    good = good if any(good) and not all(good) else ()
    mask = random.random((height, width)) < 0.8 if draw(st.booleans()) else None
    return Sample(array, nodata, scale, offset, wavelengths, good, transform, epsg, mask)


@st.composite
def places(draw: DrawFn) -> tuple[Transform | None, int]:
    """North-up, south-up or turned pixels, with a reference system or without; or no place at all."""
    kind, size = draw(st.sampled_from(["north", "south", "turned", "none"])), draw(st.sampled_from([0.5, 30.0]))
    east, north = draw(st.integers(200000, 800000)) + 0.25, draw(st.integers(100000, 9000000)) + 0.5
    angle = math.radians(draw(st.integers(1, 80)))
    across, down = size * math.cos(angle), size * math.sin(angle)
    transforms: dict[str, Transform | None] = {
        "none": None,
        "north": (size, 0.0, east, 0.0, -size * 2, north),
        "south": (size, 0.0, east, 0.0, size * 2, north),
        "turned": (across, down, east, down, -across, north),
    }
    return transforms[kind], draw(st.sampled_from([0, 32633, 32733])) if kind != "none" else 0


# ENVI


def envi(draw: DrawFn, folder: Path, sample: Sample, encodings: Sequence[str] = ("utf-8", "latin-1", "utf-8-sig")) -> Path:
    """A header with its keys in any case and order, lists broken anywhere, Latin-1 comments, and the data under any name."""
    interleave, order = draw(st.sampled_from(["bsq", "bil", "bip"])), draw(st.sampled_from("<>"))
    axes = {"bsq": (2, 0, 1), "bil": (0, 2, 1), "bip": (0, 1, 2)}[interleave]
    offset = draw(st.sampled_from([0, 7, 512]))
    dtype = sample.array.dtype.newbyteorder(order)
    fields: dict[str, Any] = {
        "samples": sample.array.shape[1],
        "lines": sample.array.shape[0],
        "bands": sample.bands,
        "data type": CODES[sample.array.dtype.str[1:]],
        "interleave": _cased(draw, interleave),
        "byte order": int(order == ">"),
        "description": "{made = by hand,\n  not by ENVI}",
    }
    if offset or draw(st.booleans()):
        fields["header offset"] = offset
    if order == "<" and draw(st.booleans()):
        del fields["byte order"]
    fields |= _envi_meaning(draw, sample)
    lines = [draw(st.sampled_from(["", "; a comment = 3"])) for _ in fields]
    equals = st.sampled_from(["=", " = ", "  =\t"])
    texts = [f"{_cased(draw, key)}{draw(equals)}{value}" for key, value in fields.items()]
    shuffled = draw(st.permutations([text for pair in zip(lines, texts) for text in pair if text]))
    end = draw(st.sampled_from(["\n", "\r\n"]))
    content = end.join(["ENVI", *(text.replace("\n", end) for text in shuffled), ""])
    stem, suffix = draw(st.sampled_from(["flight", "flight.v2"])), draw(st.sampled_from(["", ".img", ".DAT", ".bsq", ".raw"]))
    header = folder / (f"{stem}{suffix}.hdr" if draw(st.booleans()) else f"{stem}.hdr")
    header.write_bytes(content.encode(draw(st.sampled_from(encodings))))
    data = folder / f"{stem}{suffix}"
    data.write_bytes(bytes(offset) + sample.array.transpose(axes).astype(dtype).tobytes())
    return draw(st.sampled_from([header, data]))


def _envi_meaning(draw: DrawFn, sample: Sample) -> dict[str, Any]:
    fields: dict[str, Any] = {}
    if sample.nodata is not None:
        fields["data ignore value"] = draw(st.sampled_from(["{:g}", "{:.8e}"])).format(sample.nodata)
    if sample.scale is not None:
        inverse = {repr(1 / value) for value in sample.scale}
        if len(inverse) == 1 and set(sample.offset or ()) == {0.0} and draw(st.booleans()):
            fields["reflectance scale factor"] = inverse.pop()
        else:
            fields["data gain values"] = _listed(draw, sample.scale)
            fields["data offset values"] = _listed(draw, sample.offset or ())
    if sample.wavelengths:
        unit, factor = draw(st.sampled_from([("Nanometers", 1.0), ("um", 1e3), ("\xb5m", 1e3), ("", 1.0), ("Unknown", 1.0)]))
        fields["wavelength"] = _listed(draw, [value / factor for value in sample.wavelengths])
        fields["wavelength units"] = unit
    if sample.good:
        fields["bbl"] = _listed(draw, [int(flag) for flag in sample.good])
    if sample.transform is not None:
        fields["map info"] = map_info(draw, sample.transform, sample.epsg)
    return fields


def map_info(draw: DrawFn, transform: Transform, epsg: int) -> str:
    """ENVI's words for a transform: tied to any pixel, where that is one thing to all readers."""
    a, b, x, d, e, y = transform
    column = row = 1.0
    if b == d == 0 and e < 0:
        column, row = draw(st.sampled_from([1.0, 1.5, 3.0])), draw(st.sampled_from([1.0, 1.5, 2.0]))
        x, y = x + (column - 1) * a, y + (row - 1) * e
    rotation = 180.0 if b == 0 and e > 0 else math.degrees(math.atan2(d, a)) if b else 0.0
    zone = epsg % 100
    name = f"UTM, {column}, {row}" if epsg else f"Arbitrary, {column}, {row}"
    size = (math.hypot(a, d), math.hypot(b, e))
    text = f"{name}, {x!r}, {y!r}, {size[0]!r}, {size[1]!r}"
    if epsg:
        text += f", {zone}, {'North' if epsg < 32700 else 'South'}, WGS-84, units=Meters"
    return "{" + text + (f", rotation={rotation!r}" if rotation else "") + "}"


def _cased(draw: DrawFn, text: str) -> str:
    return draw(st.sampled_from([text, text.upper(), text.capitalize(), text.title()]))


def _listed(draw: DrawFn, values: Sequence[Any]) -> str:
    joint = draw(st.sampled_from([", ", ",", " ,\n ", ",\n"]))
    return draw(st.sampled_from(["{{{}}}", "{{\n {}\n}}"])).format(joint.join(map(repr, values)))


# GeoTIFF


def geotiff(draw: DrawFn, folder: Path, sample: Sample) -> Path:
    import rasterio

    height, width, bands = sample.array.shape
    options: dict[str, Any] = {
        "interleave": draw(st.sampled_from(["pixel", "band"])),
        "compress": draw(st.sampled_from(["none", "deflate", "lzw"])),
        "ENDIANNESS": draw(st.sampled_from(["BIG", "LITTLE"])),
        "BIGTIFF": draw(st.sampled_from(["YES", "NO"])),
        "photometric": "minisblack",  # else GDAL makes an alpha band of the fourth one of bytes
    }
    if draw(st.booleans()):
        options |= {"tiled": True, "blockxsize": 16, "blockysize": 16}
    if sample.transform is not None:
        options["transform"] = rasterio.Affine(*sample.transform)
    path = folder / draw(st.sampled_from(["flight.tif", "flight.TIFF"]))
    shape = {"height": height, "width": width, "count": bands, "dtype": sample.array.dtype, "nodata": sample.nodata}
    crs = f"EPSG:{sample.epsg}" if sample.epsg else None
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of files without coordinates
        data = rasterio.open(path, "w", driver="GTiff", crs=crs, **shape, **options)
    with data:
        data.write(sample.array.transpose(2, 0, 1))
        if sample.scale is not None and sample.offset is not None:
            data.scales, data.offsets = sample.scale, sample.offset
        _tag(draw, data, sample)
        if sample.mask is not None:
            data.write_mask(sample.mask)
        if sample.transform is not None and draw(st.booleans()):
            data.update_tags(AREA_OR_POINT="Point")
    return path


def _tag(draw: DrawFn, data: Any, sample: Sample) -> None:
    """Wavelengths and bad bands, in one of the places that GDAL's users keep them in."""
    place = draw(st.sampled_from(["tags", "imagery", "description", "file"]))
    for band, value in enumerate(sample.wavelengths, 1):
        if place == "tags":
            data.update_tags(band, wavelength=repr(value), wavelength_units="Nanometers")
        elif place == "imagery":
            data.update_tags(band, ns="IMAGERY", CENTRAL_WAVELENGTH_UM=repr(value / 1e3))
        elif place == "description":
            data.set_band_description(band, f"band {band} ({value} nm)")
    if sample.wavelengths and place == "file":
        data.update_tags(wavelength="{" + ", ".join(map(repr, sample.wavelengths)) + "}", wavelength_units="nm")
    for band, flag in enumerate(sample.good, 1):
        data.update_tags(band, bbl=str(int(flag)))


# NetCDF-4 and HDF5

NAMES = {
    "rows": ("y", "lat", "row", "downtrack", "Northing"),
    "columns": ("x", "lon", "column", "crosstrack", "Easting"),
    "bands": ("wavelength", "band", "bands", "channel", "wl"),
}


def netcdf(draw: DrawFn, folder: Path, sample: Sample, axes: Sequence[str] | None = None) -> Path:
    """A variable with any order of axes, whose dimensions have scales; CF's words for the rest."""
    import h5py

    order = list(axes or draw(st.permutations(["rows", "columns", "bands"])))
    names = [draw(st.sampled_from(NAMES[kind])) for kind in order]
    places = {"rows": 0, "columns": 1, "bands": 2}
    array = sample.array.transpose([places[kind] for kind in order])
    path = folder / draw(st.sampled_from(["flight.nc", "flight.h5", "flight.NC4"]))
    chunks = draw(st.sampled_from([None, True]))
    with h5py.File(path, "w") as file:
        data = file.create_dataset(
            "reflectance", data=array.astype(array.dtype.newbyteorder(draw(st.sampled_from("<>")))), chunks=chunks
        )
        for axis, (kind, name) in enumerate(zip(order, names)):
            file[name] = _coordinates(sample, kind)
            file[name].make_scale(name)
            if kind == "bands" and sample.wavelengths:
                file[name].attrs["units"] = "nm"
            elif kind != "bands" and sample.epsg:
                file[name].attrs["standard_name"] = f"projection_{'y' if kind == 'rows' else 'x'}_coordinate"
            data.dims[axis].attach_scale(file[name])
        if sample.nodata is not None:
            data.attrs["_FillValue"] = array.dtype.type(sample.nodata)
        if sample.scale is not None:
            data.attrs["scale_factor"], data.attrs["add_offset"] = sample.scale[0], (sample.offset or (0.0,))[0]
        if sample.good:
            file["good_wavelengths"] = np.array(sample.good, np.uint8)
        if sample.epsg:
            _grid_mapping(file, data, sample.epsg)
    return path


def _grid_mapping(file: Any, data: Any, epsg: int) -> None:
    from rasterio.crs import CRS

    file["crs"] = np.int32(0)
    file["crs"].attrs["crs_wkt"] = CRS.from_epsg(epsg).to_wkt()
    file["crs"].attrs["grid_mapping_name"] = "transverse_mercator"
    data.attrs["grid_mapping"] = "crs"


def _coordinates(sample: Sample, kind: str) -> NDArray[np.float64]:
    size = sample.array.shape[{"rows": 0, "columns": 1, "bands": 2}[kind]]
    if kind == "bands":
        return np.array(sample.wavelengths or range(size), np.float64)
    a, _, c, _, e, f = sample.transform or (1.0, 0.0, -0.5, 0.0, 1.0, -0.5)
    start, step = (f, e) if kind == "rows" else (c, a)
    return start + step * (np.arange(size) + 0.5)


# MATLAB and NumPy


def mat5(draw: DrawFn, folder: Path, sample: Sample) -> Path:
    import scipy.io

    scipy.io.savemat(folder / "flight.mat", {"cube": sample.array, "n": 3}, do_compression=draw(st.booleans()))
    return folder / "flight.mat"


def mat73(draw: DrawFn, folder: Path, sample: Sample) -> Path:
    """As MATLAB writes it (512 bytes in front, axes reversed), or as hdf5storage does (an attribute says whose it is)."""
    import h5py

    by_matlab, path = draw(st.booleans()), folder / "flight.mat"
    with h5py.File(path, "w", userblock_size=512 if by_matlab else 0) as file:
        file["cube"] = sample.array.T
        if not by_matlab or draw(st.booleans()):
            file["cube"].attrs["MATLAB_class"] = np.bytes_("double")
    if by_matlab:
        with path.open("r+b") as raw:
            raw.write(b"MATLAB 7.3 MAT-file, Platform: GLNXA64".ljust(116) + bytes(8) + b"\x00\x02IM")
    return path


def mat_h5py(draw: DrawFn, folder: Path, sample: Sample) -> Path:
    """As Python's users write it with h5py: axes as they stand."""
    import h5py

    with h5py.File(folder / "flight.mat", "w") as file:
        file.create_dataset("cube", data=sample.array, compression=draw(st.sampled_from([None, "gzip"])))
    return folder / "flight.mat"


def npy(draw: DrawFn, folder: Path, sample: Sample) -> Path:
    array = sample.array.astype(sample.array.dtype.newbyteorder(draw(st.sampled_from("<>"))))
    np.save(folder / "flight.npy", np.asfortranarray(array) if draw(st.booleans()) else array)
    return folder / "flight.npy"


def npz(draw: DrawFn, folder: Path, sample: Sample) -> Path:
    save = draw(st.sampled_from([np.savez, np.savez_compressed]))
    save(folder / "flight.npz", cube=sample.array, n=np.arange(3))
    return folder / "flight.npz"


Write = Callable[[DrawFn, Path, Sample], Path]
ALL = ("nodata", "scale", "offset", "wavelengths", "good", "transform", "epsg")
FORMATS: dict[str, tuple[Write, tuple[str, ...]]] = {
    "envi": (envi, ALL),
    "geotiff": (geotiff, (*ALL, "mask")),
    "netcdf": (netcdf, ALL),
    "mat5": (mat5, ()),
    "mat73": (mat73, ()),
    "mat_h5py": (mat_h5py, ()),
    "npy": (npy, ()),
    "npz": (npz, ()),
}
"""How each format is written, and which facts it has room for."""


def written_as(name: str, sample: Sample) -> Sample:
    """The scene as a format can tell it: netCDF has one scale for all bands, and no turned pixels."""
    kept = sample.only(*FORMATS[name][1])
    if name == "netcdf":
        turned = kept.transform is not None and kept.transform[1] != 0
        kept = replace(kept, transform=None, epsg=0) if turned else kept
        if kept.scale is not None and kept.offset is not None:
            kept = replace(kept, scale=kept.scale[:1] * kept.bands, offset=kept.offset[:1] * kept.bands)
    return kept
