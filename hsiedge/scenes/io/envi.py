"""ENVI: a text header and its data, band sequential (BSQ), by line (BIL) or by pixel (BIP); memory-mapped.

The header is read as cameras and people write it: keys in any case, Latin-1, no byte order (0 is meant), `interleave = Bip`.
What it says and cannot be honoured (compression, frame offsets, complex numbers) is an error. The format is described in the
ENVI manual, "ENVI Header Files".
"""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from hsiedge.errors import MissingExtraError, SceneError
from hsiedge.scenes.io.cube import (
    Cube,
    fits,
    is_percent,
    lengths_of_names,
    named_unit,
    nanometres,
    nm_of_text,
    number,
    quantity_of,
    unread,
    widths_like,
)
from hsiedge.scenes.io.georeference import from_envi
from hsiedge.scenes.io.geotiff import opened
from hsiedge.scenes.io.pam import band_tags, tagged_wavelengths
from hsiedge.scenes.io.reader import LabelRaster, Reader, unscaled

_LARGEST_HEADER = 16 << 20  # bytes; that of a 400-band scene takes some 20 kB, and class tables may be long
_DTYPES = {1: "u1", 2: "i2", 3: "i4", 4: "f4", 5: "f8", 12: "u2", 13: "u4", 14: "i8", 15: "u8"}
_MASK = ".msk"  # what GDAL appends to a name for a mask of its own
_AXES = {"bsq": (1, 2, 0), "bil": (0, 2, 1), "bip": (0, 1, 2)}
_DATA_SUFFIXES = ("", ".img", ".dat", ".bsq", ".bil", ".bip", ".raw", ".bin", ".hyspex", ".envi")
_EXPOSURE = ("tint", "integration time", "exposure time", "exposure", "shutter")  # Specim, Headwall, others, Resonon
_ENTRY = re.compile(r"^[ \t]*([^={};\n][^={}\n]*?)[ \t]*=[ \t]*(\{[^}]*\}|[^\n]*)", re.M)


class Envi(Reader):
    """Reader of ENVI cubes and classifications: `x.hdr` with `x`, `x.img`, `x.dat`, ..., or `x.img` with `x.img.hdr`."""

    title, suffixes = "ENVI", (".hdr",)

    def takes(self, path: Path) -> bool:
        """Whether a header lies beside the file."""
        return _header_of(path) is not None

    def files(self, path: Path) -> tuple[Path, ...]:
        """Header, and what may be its data."""
        header = _header_of(path)
        if header is None:
            return (path,)
        data = dict.fromkeys((path, *_candidates(header)))
        return tuple(dict.fromkeys((path, header, *data, *(part.with_name(part.name + _MASK) for part in data))))

    @contextmanager
    def open(self, path: Path, key: str | None = None) -> Iterator[Cube]:
        """Opens a cube. Raises SceneError."""
        header, where = _header(path)
        cube = _cube(path, where, header, *_mapped(path, where, header))
        with _mask(_data_of(path, where), cube.shape) as (valid, notes):
            yield replace(cube, valid=valid, notes=(*cube.notes, *notes))

    def labels(self, path: Path, key: str | None = None) -> LabelRaster:
        """Reads a label map, of one band, with the names of its classes. Raises SceneError."""
        header, where = _header(path)
        array, notes = _mapped(path, where, header)
        scale, offset, _ = _scaling(where, header, array.shape[2])
        unscaled(path, *(1.0 if scale is None else scale[0], 0.0 if offset is None else offset[0]))
        names = dict(enumerate(_listed(header.get("class names", ""))))
        with _mask(_data_of(path, where), array.shape[:2]) as (valid, left_out):
            if valid is not None:
                array = np.where(valid(0, len(array))[:, :, None], array, 0).astype(array.dtype)
        nodata = next(iter(_nodata(where, header, 1)), None)
        return LabelRaster(array, names, nodata, from_envi(header), (*notes, *left_out))


Valid = Callable[[int, int], NDArray[np.bool_]]
"""Pixels with data, of rows `(first, count)`, as bool `(count, width)`."""


@contextmanager
def _mask(data: Path, shape: tuple[int, int]) -> Iterator[tuple[Valid | None, tuple[str, ...]]]:
    """The mask that GDAL keeps beside the data, in FILE.msk, None without one; and a note on one that is left out.

    Raises:
        SceneError: a mask that is no GeoTIFF.
    """
    place = data.with_name(data.name + _MASK)
    notes: tuple[str, ...] = ()
    with ExitStack() as stack:
        try:
            mask = stack.enter_context(opened(place)) if place.is_file() else None
        except MissingExtraError as error:
            mask, notes = None, (f"{place.name}, a mask, is left out: {error}",)
        if mask is not None and (mask.count, mask.shape) != (1, shape):
            notes = (f"{place.name} is no mask of {shape[0]} x {shape[1]} pixels, and is left out",)
        yield None if mask is None or notes else _valid(mask), notes


def _valid(mask: Any) -> Valid:
    def valid(first: int, count: int) -> NDArray[np.bool_]:
        rows: NDArray[Any] = mask.read(1, window=((first, min(first + count, mask.height)), (0, mask.width)))
        with_data: NDArray[np.bool_] = rows != 0
        return with_data

    return valid


@dataclass(frozen=True)
class Growing:
    """An ENVI cube whose data a recorder still writes, a line after the other.

    Attributes:
        cube: the header's facts, of a height of one line; it cannot be read from.
        data: the file that grows; offset: bytes before its first line.
        stored: dtype in the file's byte order; interleave: "bil" or "bip".
    """

    cube: Cube
    data: Path
    offset: int
    stored: np.dtype[Any]
    interleave: str


def open_growing(path: Path) -> Growing:
    """Facts of an ENVI cube that still grows; how many lines its header promises is of no account.

    Raises:
        SceneError: no header, or one that lacks or contradicts something; no data yet; bands one after the other (bsq).
    """
    header, where = _header(path)
    samples, bands = (_whole_number(where, header, name, 1) for name in ("samples", "bands"))
    interleave = _interleave(where, header, bands)
    if interleave == "bsq" and bands > 1:
        raise SceneError(f"{where}: interleave bsq: a cube that grows has its bands by line (bil) or by pixel (bip)")
    stored, offset = _dtype(where, header), _whole_number(where, header, "header offset", 0, default=0)
    _check_plain(where, header)
    fits(path, (samples, bands), stored.itemsize)
    line = np.broadcast_to(np.zeros((), stored.newbyteorder("=")), (1, samples, bands))
    cube = _cube(path, where, header, line, ())
    return Growing(cube, _data_of(path, where), offset, stored, "bip" if interleave == "bsq" else interleave)


def _cube(path: Path, where: Path, header: Mapping[str, str], array: NDArray[Any], notes: tuple[str, ...]) -> Cube:
    bands = array.shape[2]
    scale, offset, quantity = _scaling(where, header, bands)
    unit = named_unit(header.get("data units", ""))
    stored, length = _wavelengths(header, _data_of(path, where), bands)
    wavelengths = nanometres(stored, length)
    return Cube.of_array(
        array,
        path,
        scale=scale,
        offset=offset,
        nodata=_nodata(where, header, bands),
        good=_good(where, header, bands),
        wavelengths=wavelengths,
        widths=widths_like(_listed(header.get("fwhm", ""), numbers=True), stored, wavelengths),
        units="" if quantity and is_percent(unit) else unit,  # of what is stored: a factor leads to reflectance of 0 to 1
        quantity=quantity or quantity_of(unit),
        georeference=from_envi(header),
        exposure=_exposure(header),
        notes=(*notes, *unread(stored, length, wavelengths), *_dark_lines(header, array.shape[0])),
    )


def _dark_lines(header: Mapping[str, str], lines: int) -> tuple[str, ...]:
    """A note on lines at the end that a camera of Specim took with its shutter closed."""
    start = number(header.get("autodarkstartline", "").strip("{} "))
    if start is None or not 0 < start < lines:
        return ()
    return (
        f"its lines from {start:g} on are dark ones (autodarkstartline): they are no part of the scene, and are not left out",
    )


def read_header(path: Path) -> dict[str, str]:
    """Entries of an ENVI header: keys in lower case, values as they stand, braces too.

    Raises:
        SceneError: not a header, or too long for one.
    """
    with path.open("rb") as file:
        content = file.read(_LARGEST_HEADER + 1)
    if len(content) > _LARGEST_HEADER:
        raise SceneError(f"{path}: more than {_LARGEST_HEADER >> 20} MiB is no ENVI header")
    try:
        text = content.decode("utf-8-sig")
    except UnicodeDecodeError:
        text = content.decode("latin-1")
    first, _, rest = text.replace("\r\n", "\n").replace("\r", "\n").lstrip("\n").partition("\n")
    if first.strip().upper() != "ENVI" or "\0" in text:
        raise SceneError(f"{path}: not an ENVI header: its first line is not ENVI")
    rest = re.sub(r"^[ \t]*;.*$", "", rest, flags=re.M)
    entries: dict[str, str] = {}
    for name, value in _ENTRY.findall(rest):
        key = " ".join(name.lower().split())
        if value.startswith("{") and ("}" not in value or re.search(r"\n[^\n]*=\s*\{", value)):
            raise SceneError(f"{path}: the brace that {key} opens is not closed")
        value = value if value.startswith("{") else re.sub(r"[ \t];.*", "", value)
        if entries.setdefault(key, value.strip()) != value.strip():
            raise SceneError(f"{path}: says {key} twice, and not the same")
    return entries


def _header(path: Path) -> tuple[dict[str, str], Path]:
    where = _header_of(path)
    if where is None:
        raise SceneError(f"{path}: an ENVI file needs its header beside it ({path.stem}.hdr)")
    return read_header(where), where


def _header_of(path: Path) -> Path | None:
    """The ENVI header of `path`: itself, `x.img.hdr` or `x.hdr`."""
    if path.suffix.lower() == ".hdr":
        return path if path.is_file() else None
    names = (f"{path.name}.hdr", f"{path.name}.HDR", f"{path.stem}.hdr", f"{path.stem}.HDR")
    return next((path.with_name(name) for name in names if path.with_name(name).is_file()), None)


def _candidates(header: Path) -> list[Path]:
    """Files that may be the data of a header, the likeliest first."""
    stem = header.with_suffix("").name
    names = [f"{stem}{spelt}" for suffix in _DATA_SUFFIXES for spelt in (suffix, suffix.upper())]
    return [header.with_name(name) for name in dict.fromkeys(names)]


def _mapped(path: Path, where: Path, header: Mapping[str, str]) -> tuple[NDArray[Any], tuple[str, ...]]:
    """The data `(lines, samples, bands)`, mapped, and what is odd about it.

    Raises:
        SceneError: a header that lacks or contradicts something; no data, or less than the header says.
    """
    lines, samples, bands = (_whole_number(where, header, name, 1) for name in ("lines", "samples", "bands"))
    offset = _whole_number(where, header, "header offset", 0, default=0)
    dtype = _dtype(where, header)
    interleave = _interleave(where, header, bands)
    _check_plain(where, header)
    data = _data_of(path, where)
    size, needed = data.stat().st_size, lines * samples * bands * dtype.itemsize + offset
    if size < needed:
        raise SceneError(f"{data}: its header promises {needed} bytes, it has {size}; truncated?")
    notes = (f"{data.name} has {size} bytes, its header promises {needed}: what follows is left out",) if size > needed else ()
    order = {"bsq": (bands, lines, samples), "bil": (lines, bands, samples), "bip": (lines, samples, bands)}[interleave]
    return np.memmap(data, dtype, "r", offset, order).transpose(_AXES[interleave]), notes


def _interleave(where: Path, header: Mapping[str, str], bands: int) -> str:
    interleave = header.get("interleave", "bsq" if bands == 1 else "").strip("\"' ").lower()
    if interleave not in _AXES:
        raise SceneError(f"{where}: interleave {interleave!r}: bsq, bil or bip was expected")
    return interleave


def _check_plain(where: Path, header: Mapping[str, str]) -> None:
    """Raises SceneError where the data is packed, has gaps between lines, or is no image."""
    for name, plain in (("file compression", "0"), ("major frame offsets", "0"), ("minor frame offsets", "0")):
        if any(part not in ("", plain) for part in _listed(header.get(name, ""))):
            raise SceneError(f"{where}: {name} = {header[name]}: such data is not read; write it anew without")
    kind = header.get("file type", "").lower()
    if "library" in kind or "tiff" in kind or "meta" in kind:
        raise SceneError(f"{where}: file type = {header['file type']}: not the raw data of an image")


def _data_of(path: Path, where: Path) -> Path:
    if path != where:
        return path
    present = [candidate for candidate in _candidates(where) if candidate.is_file() and candidate != where]
    distinct = [one for place, one in enumerate(present) if not any(one.samefile(other) for other in present[:place])]
    if not distinct:
        raise SceneError(f"{where}: its data is not beside it ({where.stem}, {where.stem}.img, {where.stem}.dat, ...)")
    if len(distinct) > 1:
        names = ", ".join(one.name for one in distinct)
        raise SceneError(f"{where}: which is its data, {names}? name that file in its place")
    return distinct[0]


def _whole_number(where: Path, header: Mapping[str, str], name: str, least: int, default: int | None = None) -> int:
    text = header.get(name, "" if default is None else str(default))
    if not re.fullmatch(r"\d{1,40}", text.strip("\"' ")) or int(text.strip("\"' ")) < least:
        raise SceneError(f"{where}: {name} = {text or 'nothing'}: a whole number from {least} on was expected")
    return int(text.strip("\"' "))


def _dtype(where: Path, header: Mapping[str, str]) -> np.dtype[Any]:
    code, order = header.get("data type", ""), header.get("byte order", "0").strip().lower()
    if code.strip() in ("6", "9"):
        raise SceneError(f"{where}: data type = {code} is complex numbers, not counts")
    if not code.strip().isdigit() or int(code) not in _DTYPES:
        raise SceneError(f"{where}: data type = {code or 'nothing'}: one of {', '.join(map(str, _DTYPES))} was expected")
    orders = {"0": "<", "1": ">", "host (intel)": "<", "network (ieee)": ">"}
    if order not in orders:
        raise SceneError(f"{where}: byte order = {order}: 0 or 1 was expected")
    return np.dtype(orders[order] + _DTYPES[int(code)])


def _listed(value: str, *, numbers: bool = False) -> list[str]:
    """Parts of `{a, b, c}`; a value without braces is one part, nothing is none. Numbers may have spaces between them alone."""
    inside = value.strip()
    if inside.startswith("{"):
        inside = inside[1:].removesuffix("}")
    parts = [" ".join(part.split()) for part in inside.strip().removesuffix(",").split(",")]
    if numbers and len(parts) == 1:
        parts = parts[0].split()
    return parts if any(parts) else []


def _wavelengths(header: Mapping[str, str], data: Path, bands: int) -> tuple[list[Any], str]:
    """Wavelengths as they stand, and their unit, which may stand beside each.

    Where the header has none, they are those of GDAL's side-car, which keeps there what another format's tags said, or those in
    the names of the bands.
    """
    stored: list[Any] = _listed(header.get("wavelength", ""))
    if not stored:
        tagged = tagged_wavelengths(band_tags(data, bands))
        return tagged if tagged[0] else (list(lengths_of_names(_listed(header.get("band names", "")))), "nm")
    lengths = [nm_of_text(part) for part in stored]
    if None not in lengths:
        return lengths, "nm"
    return _listed(header.get("wavelength", ""), numbers=True), header.get("wavelength units", "").strip("{} ")


def _nodata(where: Path, header: Mapping[str, str], bands: int) -> tuple[float, ...]:
    """Nodata value of each band; empty where the header has none, or says so in words."""
    parts = _listed(header.get("data ignore value", ""), numbers=True)
    if not parts or parts[0].lower() in ("none", "n/a", "na", "null", "undefined"):
        return ()
    values = [value for value in map(number, parts) if value is not None]
    if len(values) != len(parts) or len(values) not in (1, bands):
        raise SceneError(f"{where}: data ignore value = {header['data ignore value'][:60]}: a number was expected")
    return tuple(values * bands if len(values) == 1 else values)


def _numbers(where: Path, header: Mapping[str, str], name: str, bands: int) -> tuple[float, ...] | None:
    """Numbers a band; None where the header does not name them."""
    if name not in header:
        return None
    values = [number(part) for part in _listed(header[name], numbers=True)]
    finite = tuple(value for value in values if value is not None and math.isfinite(value))
    if len(finite) != len(values) or len(finite) not in (1, bands):
        raise SceneError(f"{where}: {name}: a number for each of its {bands} bands was expected")
    return finite * bands if len(finite) == 1 else finite


def _scaling(where: Path, header: Mapping[str, str], bands: int) -> tuple[Any, Any, str]:
    """Scale and offset a band, and the quantity that they lead to; None, None and "" where the header names none."""
    factor = _numbers(where, header, "reflectance scale factor", bands)
    scales = {"reflectance scale factor": None if factor is None else tuple(1 / value if value else 0.0 for value in factor)}
    scales |= {name: _numbers(where, header, name, bands) for name in ("data gain values", "data reflectance gain values")}
    offsets = {name: _numbers(where, header, name, bands) for name in ("data offset values", "data reflectance offset values")}
    named = {name: values for name, values in scales.items() if values is not None and set(values) != {1.0}}
    moved = {name: values for name, values in offsets.items() if values is not None and set(values) != {0.0}}
    both = [*named, *moved]
    mixed = bool(named and moved) and both[0] != both[-1].replace("offset", "gain")
    if len(named) > 1 or len(moved) > 1 or mixed:
        raise SceneError(f"{where}: two scales, {' and '.join(both)}: leave the one in that its values are to be read by")
    quantity = "reflectance" if any("reflectance" in name for name in named) else ""
    return next(iter(named.values()), None), next(iter(moved.values()), None), quantity


def _exposure(header: Mapping[str, str]) -> float | None:
    """Exposure time of a line; None where the header names none."""
    values = [number(header[name].strip("{} ")) for name in _EXPOSURE if name in header]
    return next((value for value in values if value is not None and 0 < value < math.inf), None)


def _good(where: Path, header: Mapping[str, str], bands: int) -> tuple[bool, ...]:
    listed = _numbers(where, header, "bbl", bands) if _listed(header.get("bbl", "")) else None
    return () if listed is None else tuple(value != 0 for value in listed)


READER = Envi()
