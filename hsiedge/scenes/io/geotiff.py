"""GeoTIFF: a file, read by rows. Needs rasterio, the extra `[geo]`.

Bands carry their wavelengths, bad-band flags, scale, offset and nodata in several places, all of which GDAL's users write:
the default and IMAGERY domains of a band's tags, its description, and the file's own tags, ENVI's words among them.
"""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from hsiedge.errors import SceneError, needs_extra
from hsiedge.quiet import quiet
from hsiedge.scenes.io.cube import (
    Cube,
    fits,
    is_percent,
    lengths_of_names,
    named_unit,
    nanometres,
    number,
    quantity_of,
    unread,
    widths_like,
)
from hsiedge.scenes.io.dlr import described
from hsiedge.scenes.io.georeference import Georeference
from hsiedge.scenes.io.pam import WAVELENGTHS, category_names, tagged_wavelengths
from hsiedge.scenes.io.reader import LabelRaster, Reader, unscaled

SUFFIXES = (".tif", ".tiff")
_WIDTHS = ("fwhm", "FWHM", "bandwidth")


class GeoTiff(Reader):
    """Reader of GeoTIFF cubes and label maps."""

    title, suffixes = "GeoTIFF", SUFFIXES

    @contextmanager
    def open(self, path: Path, key: str | None = None) -> Iterator[Cube]:
        """Opens a cube. Raises SceneError, or MissingExtraError where rasterio is not installed."""
        with opened(path) as data:
            yield described(cube_of(path, data))

    def labels(self, path: Path, key: str | None = None) -> LabelRaster:
        """Reads a label map of one band, with the class names of its side-car. Raises SceneError, MissingExtraError."""
        with opened(path) as data:
            return labels_of(path, data)


@contextmanager
def opened(path: Path, driver: str = "GTiff") -> Iterator[Any]:
    """The file, read as GeoTIFF (or by another driver) and nothing else: some formats of GDAL point into other files.

    Raises:
        SceneError: not a whole file of the format.
        MissingExtraError: rasterio is not installed.
    """
    with needs_extra(f"reading {path.name}", "geo"):
        import rasterio
    try:
        # The environment is that of a thread, and ends before one around it: a file may be read for longer.
        with rasterio.Env(GDAL_DISABLE_READDIR_ON_OPEN="TRUE"), quiet(prints=False):  # of files without coordinates
            data = rasterio.open(path, driver=driver)
        with data:
            yield data
    except rasterio.errors.RasterioError as error:
        name = "GeoTIFF" if driver == "GTiff" else driver
        raise SceneError(f"{path}: not a whole {name} ({str(error).splitlines()[0]})") from error


def cube_of(path: Path, data: Any) -> Cube:
    """Cube of an open file; alpha bands are its mask, and bad bands are among its bands, marked."""
    bands = _image_bands(data)
    (height, width), dtypes = data.shape, {data.dtypes[band - 1] for band in bands}
    _check_pages(path, data)
    if len(dtypes) != 1 or not re.match("u?int|float", min(dtypes)):
        raise SceneError(f"{path}: its bands hold {', '.join(sorted(dtypes))}; numbers of one kind were expected")
    dtype = np.dtype(dtypes.pop())
    _check_blocks(path, data)

    def read(first: int, count: int) -> NDArray[Any]:
        window = ((first, min(first + count, height)), (0, width))
        return np.ascontiguousarray(data.read(bands, window=window).transpose(1, 2, 0))

    tags = [_band_tags(data, band) for band in bands]
    stored, unit = _wavelengths(data, bands, tags)
    file_tags = _file_tags(data)
    if not stored:  # a list of another length, which is named in a note
        stored, unit = _listed_wavelengths(file_tags)
    wavelengths = nanometres(stored, unit)
    units = named_unit(next((text for text in (data.units[band - 1] for band in bands) if text), ""))
    scales, offsets = ([values[band - 1] for band in bands] for values in (data.scales, data.offsets))
    factor, ignored = number(file_tags.get("reflectance scale factor")), number(file_tags.get("data ignore value"))
    if factor and set(scales) == {1.0}:  # ENVI's words, which GDAL copies into a GeoTIFF and does not heed
        scales = [1 / factor] * len(bands)
        units = "" if is_percent(units) else units  # of what is stored: the factor leads to reflectance of 0 to 1
    nodata = [data.nodatavals[band - 1] for band in bands]
    return Cube(
        path=path,
        shape=(height, width),
        bands=len(bands),
        dtype=dtype,
        read=read,
        scale=tuple(map(float, scales)),
        offset=tuple(map(float, offsets)),
        nodata=tuple(ignored if value is None else float(value) for value in nodata),
        valid=_mask(data, bands),
        good=_good(path, data, bands, tags),
        wavelengths=wavelengths,
        widths=_widths(tags, stored, wavelengths),
        units=units,
        quantity=quantity_of(units, *(file_tags.get(name, "") for name in ("standard name", "long name")))
        or ("reflectance" if factor and factor != 1 else ""),
        georeference=georeference_of(data),
        notes=unread(stored, unit, wavelengths)
        + _partial(tags, stored)
        + tuple(f"its band {band} is an alpha band, and taken as a mask" for band in data.indexes if band not in bands),
    )


def _check_pages(path: Path, data: Any) -> None:
    """Raises SceneError where a TIFF has several pages, of which GDAL reads the first."""
    if len(data.subdatasets) > 1:
        raise SceneError(f"{path}: a TIFF of {len(data.subdatasets)} pages; one page with all bands is expected")


def _check_blocks(path: Path, data: Any) -> None:
    """Raises SceneError where a block, which is unpacked whole, does not fit into the memory that is free."""
    fits(path, max(data.block_shapes, key=math.prod), max(np.dtype(name).itemsize for name in data.dtypes))


def labels_of(path: Path, data: Any) -> LabelRaster:
    """Label map of an open file of one band, with the class names of its side-car; 0 where its mask says so."""
    bands = _image_bands(data)
    _check_pages(path, data)
    if len(bands) != 1:
        raise SceneError(f"{path}: a label map has one band, this one has {len(bands)}")
    structure = data.tags(ns="IMAGE_STRUCTURE")
    if structure.get("COMPRESSION", "").endswith("JPEG") or structure.get("COMPRESSION_REVERSIBILITY", "") == "LOSSY":
        raise SceneError(f"{path}: packed with loss (JPEG), which changes ids; write it anew with a compression without loss")
    unscaled(path, data.scales[bands[0] - 1], data.offsets[bands[0] - 1])
    fits(path, data.shape, np.dtype(data.dtypes[bands[0] - 1]).itemsize)
    _check_blocks(path, data)
    array = data.read(bands[0])
    mask = _mask(data, bands)
    if mask is not None:
        array = np.where(mask(0, data.height), array, 0).astype(array.dtype)
    return LabelRaster(array, category_names(path), data.nodatavals[bands[0] - 1], georeference_of(data))


def georeference_of(data: Any) -> Georeference | None:
    """Georeference of an open file; None where it says nothing of it."""
    points, system = data.gcps
    crs = data.crs or system
    identity = tuple(data.transform)[:6] == (1, 0, 0, 0, 1, 0)
    wkt = crs.to_wkt() if crs else ""
    wkt = "" if re.match(r'(LOCAL_CS|ENGCRS)\["(unnamed|unknown)"', wkt, re.I) else wkt  # GDAL's word for none, beside a point
    lost = ("rational polynomial coefficients",) if data.rpcs is not None else ()
    a, b, c, d, e, f = tuple(data.transform)[:6]
    place = Georeference(
        None if identity and (points or not wkt) else (a, b, c, d, e, f),
        wkt,
        () if not identity else tuple((point.col, point.row, point.x, point.y, point.z or 0.0) for point in points),
        data.tags().get("AREA_OR_POINT", "") == "Point",
        lost=lost,
    )
    return place if place or lost else None


def _image_bands(data: Any) -> list[int]:
    """Numbers of the bands that are no mask: an alpha band is one, unless it has a wavelength."""
    from rasterio.enums import ColorInterp

    alpha = [band for band, kind in zip(data.indexes, data.colorinterp) if kind == ColorInterp.alpha and data.count > 1]
    return [band for band in data.indexes if band not in alpha or _wavelengths(data, [band], [_band_tags(data, band)])[0]]


def _mask(data: Any, bands: Sequence[int]) -> Callable[[int, int], NDArray[np.bool_]] | None:
    """Pixels with data, `(first, count)` to `(count, width)`, by the file's mask and its alpha bands; None without either.

    Alpha is read here: GDAL gives a nodata value as the mask where there are both.
    """
    from rasterio.enums import MaskFlags

    alpha = [band for band in data.indexes if band not in bands]
    masked = any(MaskFlags.per_dataset in flags and MaskFlags.alpha not in flags for flags in data.mask_flag_enums)
    if not alpha and not masked:
        return None

    def valid(first: int, count: int) -> NDArray[np.bool_]:
        window = ((first, min(first + count, data.height)), (0, data.width))
        layers = [*(data.read(band, window=window) for band in alpha), *([data.dataset_mask(window=window)] if masked else [])]
        mask: NDArray[np.bool_] = np.logical_and.reduce([layer != 0 for layer in layers])
        return mask

    return valid


def _band_tags(data: Any, band: int) -> dict[str, str]:
    """Tags of a band, those of GDAL's IMAGERY domain among them, keys in lower case."""
    tags = {key.lower(): value for key, value in data.tags(band).items()}
    return tags | {f"imagery:{key.lower()}": value for key, value in data.tags(band, ns="IMAGERY").items()}


def _file_tags(data: Any) -> dict[str, str]:
    """Tags of the file, those of ENVI's domain among them, keys in lower case with spaces."""
    tags = {**data.tags(), **data.tags(ns="ENVI")}
    return {key.lower().replace("_", " "): value for key, value in tags.items()}


def _wavelengths(data: Any, bands: Sequence[int], tags: Sequence[Mapping[str, str]]) -> tuple[list[Any], str]:
    """Wavelengths as written, and their unit, from the first place that has one for each band; else nothing."""
    file_tags = _file_tags(data)
    tagged, unit = tagged_wavelengths(tags, file_tags.get("wavelength units", ""))
    if tagged:
        return tagged, unit
    listed, unit = _listed_wavelengths(file_tags)
    if len(listed) == data.count:
        return [listed[band - 1] for band in bands], unit
    for texts in (
        [data.descriptions[band - 1] or "" for band in bands],
        [file_tags.get(f"band {band}", "") for band in bands],
    ):
        lengths = lengths_of_names(texts)
        if lengths:
            return list(lengths), "nm"
    return [], ""


def _listed_wavelengths(file_tags: Mapping[str, str]) -> tuple[list[Any], str]:
    """Wavelengths in the file's own tags, as many as there are, and their unit."""
    return _listed(file_tags.get("wavelength", file_tags.get("wavelengths", ""))), file_tags.get("wavelength units", "")


def _partial(tags: Sequence[Mapping[str, str]], stored: Sequence[Any]) -> tuple[str, ...]:
    """A note where some bands have a wavelength, and others none."""
    count = sum(any(name in entry for name in WAVELENGTHS) for entry in tags)
    return (f"only {count} of its {len(tags)} bands have a wavelength: they are left out",) if count and not stored else ()


def _widths(tags: Sequence[Mapping[str, str]], stored: Sequence[Any], wavelengths: tuple[float, ...]) -> tuple[float, ...]:
    for name, unit in (("imagery:fwhm_um", "um"), ("imagery:fwhm_nm", "nm")):
        values = [entry.get(name) for entry in tags]
        if None not in values:
            return tuple((number(value) or 0.0) * (1e3 if unit == "um" else 1.0) for value in values)
    for name in _WIDTHS:
        values = [entry.get(name.lower()) for entry in tags]
        if None not in values:
            return widths_like(values, stored, wavelengths)
    return ()


def _good(path: Path, data: Any, bands: Sequence[int], tags: Sequence[Mapping[str, str]]) -> tuple[bool, ...]:
    """Bands that the bad-band list (`bbl`), of each band or of the file, lets be; a list of another length as it stands."""
    listed, tagged = _listed(_file_tags(data).get("bbl", "")), any("bbl" in entry for entry in tags)
    if len(listed) == data.count:
        flags = [listed[band - 1] for band in bands]
    else:
        flags = listed if listed and not tagged else [entry.get("bbl", "1") for entry in tags]
    values = [number(flag) for flag in flags]
    if None in values:
        raise SceneError(f"{path}: its bad-band list (bbl) holds {flags[values.index(None)]!r}, which is no number")
    return tuple(value != 0 for value in values)


def _listed(text: str) -> list[str]:
    return [part for part in re.split(r"[\s,{}\[\]]+", text) if part]


READER = GeoTiff()
