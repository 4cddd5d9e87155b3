"""Cube: the stored values of a hyperspectral image, read by rows, and what its file says that they mean.

Every reader fills one, and says None where its file says nothing; nothing is guessed. A GeoTIFF of uint16 counts with
scale 0.0001 and nodata 65535 becomes

    Cube(path, (1000, 640), 200, uint16, read, scale=(0.0001,) * 200, nodata=(65535.0,) * 200, ...)

whose `read(0, 16)` gives `(16, 640, 200)` uint16, and a value means `stored * 0.0001`.
"""

from __future__ import annotations

import math
import mmap
import re
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from hsiedge.errors import SceneError
from hsiedge.scenes.io.georeference import Georeference

if TYPE_CHECKING:
    from hsiedge.scenes.references import RawCounts

_NO_UNIT = ("", "1", "none", "unitless", "dimensionless", "unknown", "n/a", "na", "-")
_PERCENT = ("%", "percent", "per cent")
_TO_NM = {
    ("nm", "nanometer", "nanometre", "nanometers", "nanometres"): 1.0,
    ("um", "\xb5m", "\u03bcm", "micron", "microns", "micrometer", "micrometre", "micrometers", "micrometres"): 1e3,
    ("mm", "millimeter", "millimetre", "millimeters", "millimetres"): 1e6,
    ("m", "meter", "metre", "meters", "metres"): 1e9,
    ("a", "\xe5", "\u212b", "angstrom", "angstroms"): 0.1,
}
_FACTORS = {name: factor for names, factor in _TO_NM.items() for name in names}
_WAVENUMBERS = ("cm-1", "cm^-1", "1/cm", "wavenumber", "wavenumbers")
_LONGEST_UM = 100.0  # numbers without a unit that are all below this can only be micrometres
_SHORTEST_NM = 100.0


class SceneWarning(UserWarning):
    """A scene that can be used, but not believed in every respect."""


@dataclass(frozen=True)
class Cube:
    """Stored values `(height, width, bands)` of an image, read by rows, and what its file says of them.

    Attributes:
        path: file that it is read from; errors name it.
        shape: (height, width) in pixels.
        bands: number of bands in the file, bad ones too.
        dtype: as stored, in the machine's byte order.
        read: `(first, count)` to an array of its own `(count, width, bands)`, C-contiguous; fewer rows at the end.
        scale, offset: a band each, value = stored * scale + offset; None where the file names none.
        nodata: a band each, the stored value that marks absent pixels, NaN included; None for a band without one; () for none.
        valid: `(first, count)` to bool `(count, width)`, False where the file's own mask says that there is no data; or None.
        good: a band each, False where the file's bad-band list rules a band out; () where it has no such list.
        wavelengths, widths: nm, a band each; () where the file does not say.
        units: of the values, in the file's words; "" where it says nothing.
        quantity: "counts", "radiance" or "reflectance" where the file says so; else "".
        georeference: where the pixels lie; None where the file does not say.
        exposure: time that the sensor was exposed for a line, in the file's unit, ms as a rule; None where it does not say.
        array: the whole of it, mapped or in memory, where there is one; `(height, width, bands)`.
        raw: counts that `read` makes reflectance, where it does.
        notes: what the file says that cannot be honoured, a line each; for the user to read.
    """

    path: Path
    shape: tuple[int, int]
    bands: int
    dtype: np.dtype[Any]
    read: Callable[[int, int], NDArray[Any]]
    scale: tuple[float, ...] | None = None
    offset: tuple[float, ...] | None = None
    nodata: tuple[float | None, ...] = ()
    valid: Callable[[int, int], NDArray[np.bool_]] | None = None
    good: tuple[bool, ...] = ()
    wavelengths: tuple[float, ...] = ()
    widths: tuple[float, ...] = ()
    units: str = ""
    quantity: str = ""
    georeference: Georeference | None = None
    exposure: float | None = None
    array: NDArray[Any] | None = field(default=None, repr=False)
    raw: RawCounts | None = field(default=None, repr=False)
    notes: tuple[str, ...] = ()

    @staticmethod
    def of_array(array: NDArray[Any], path: Path = Path("the array"), **facts: Any) -> Cube:
        """A cube of an array `(height, width, bands)`, mapped or in memory; `facts` are the other attributes.

        Raises:
            SceneError: not three axes, an empty one, or no numbers.
        """
        if array.ndim != 3 or 0 in array.shape:
            raise SceneError(f"{path}: an array of {array.shape} is no cube (height, width, bands)")
        if array.dtype.kind not in "uif":
            raise SceneError(f"{path}: holds {array.dtype}, not numbers")
        height, width, bands = array.shape
        dtype = array.dtype.newbyteorder("=")

        def read(first: int, count: int) -> NDArray[Any]:
            rows = np.array(array[first : first + count], dtype, order="C")
            let_go(array)
            return rows

        return Cube(path, (height, width), bands, dtype, read, array=array, **facts).checked()

    @property
    def whole(self) -> bool:
        """Whether the cube lies in memory already, for its format cannot be read by rows."""
        return self.array is not None and not isinstance(_owner(self.array), mmap.mmap)

    @property
    def good_bands(self) -> NDArray[np.intp]:
        """Indices of the bands that the bad-band list lets be."""
        return np.flatnonzero(self.good) if self.good else np.arange(self.bands)

    def checked(self) -> Cube:
        """The cube, facts of no use left out: a scale that changes nothing, band lists of another length; percent as a scale.

        Raises:
            SceneError: a scale of zero, or scale or offset that is no number; every band is ruled out.
        """
        for name, values in (("scale", self.scale), ("offset", self.offset)):
            if values is not None and (len(values) != self.bands or not np.isfinite(values).all()):
                raise SceneError(f"{self.path}: its {name} is not a number for each of its {self.bands} bands")
        if self.scale is not None and 0 in self.scale:
            raise SceneError(f"{self.path}: a scale of 0 makes all its values alike")
        scale, offset = self.scale or (1.0,) * self.bands, self.offset or (0.0,) * self.bands
        percent = is_percent(self.units)
        if percent:  # once: a checked cube has no such unit
            scale, offset = tuple(value / 100 for value in scale), tuple(value / 100 for value in offset)
        same = set(scale) == {1.0} and set(offset) == {0.0}
        odd = tuple(
            f"its {len(values)} {noun} are not for {self.bands} bands, and are left out"
            for noun, values in (("wavelengths", self.wavelengths), ("band widths", self.widths), ("bad-band flags", self.good))
            if len(values) not in (0, self.bands)
        )
        if self.good and not any(self.good):
            raise SceneError(f"{self.path}: its bad-band list rules out every band")
        return replace(
            self,
            scale=None if same else scale,
            offset=None if same else offset,
            good=self.good if len(self.good) == self.bands and not all(self.good) else (),
            nodata=self.nodata if len(self.nodata) == self.bands and self.nodata.count(None) < self.bands else (),
            wavelengths=self.wavelengths if len(self.wavelengths) == self.bands else (),
            widths=self.widths if len(self.widths) == self.bands else (),
            units="" if percent else named_unit(self.units),
            notes=(*self.notes, *odd),
        )

    def without_data(
        self, rows: NDArray[Any], first: int, bands: Sequence[int] | NDArray[np.intp] | None = None
    ) -> NDArray[np.bool_]:
        """Pixels of stored rows without data in a band: nodata, not a finite number, or masked; bool `(n, width)`.

        Args:
            rows: `(n, width, bands)` as `read` gives them, all bands of the file.
            first: row of the cube that they begin with.
            bands: those that count; left out, the good ones.
        """
        chosen = self.good_bands if bands is None else np.asarray(bands)
        taken = rows if len(chosen) == self.bands and (chosen == np.arange(self.bands)).all() else rows[:, :, chosen]
        empty = absent(taken, [self.nodata[band] for band in chosen] if self.nodata else ())
        return empty if self.valid is None else empty | ~self.valid(first, len(rows))


def absent(rows: NDArray[Any], nodata: Sequence[float | None]) -> NDArray[np.bool_]:
    """Pixels of rows `(n, width, bands)` that hold, in a band, its nodata value or no finite number; bool `(n, width)`."""
    empty = np.zeros(rows.shape[:2], bool)
    distinct = {value: _as_dtype(value, rows.dtype) for value in dict.fromkeys(nodata)}
    values = [distinct[value] for value in nodata]
    known = [band for band, value in enumerate(values) if value is not None]
    if len(known) == rows.shape[2] and len(set(values)) == 1:
        empty |= (rows == values[0]).any(-1)
    elif known:
        empty |= (rows[:, :, known] == np.array([values[band] for band in known], rows.dtype)).any(-1)
    return empty | ~np.isfinite(rows).all(-1) if rows.dtype.kind == "f" else empty


def _as_dtype(value: float | None, dtype: np.dtype[Any]) -> Any:
    """A nodata value as the stored dtype holds it; None where it cannot, or it is NaN, which is looked for apart."""
    if value is None or math.isnan(value):
        return None
    if dtype.kind == "f":
        with np.errstate(over="ignore"):
            return dtype.type(value)
    limits = np.iinfo(dtype)
    return dtype.type(int(value)) if float(value).is_integer() and limits.min <= value <= limits.max else None


def named_unit(text: str) -> str:
    """Unit of a text; "" where the text says that there is none, as "1" and "unitless" do."""
    text = " ".join(text.split())
    return "" if text.lower() in _NO_UNIT else text


def is_percent(unit: str) -> bool:
    """Whether a unit is that of hundredths."""
    return " ".join(unit.lower().split()) in _PERCENT


def quantity_of(*texts: str) -> str:
    """Quantity that a standard name, a long name or a unit names: "reflectance", "radiance", "counts", or ""."""
    words = " ".join(texts).lower()
    named = [name for name, pattern in _QUANTITIES.items() if re.search(pattern, words)]
    return named[0] if len(named) == 1 else ""


_QUANTITIES = {
    "reflectance": r"reflectance",
    "radiance": r"(?<!ir)radiance|\bsr\b|sr-1|sr\^-1|/sr",
    "counts": r"\bcounts?\b|\bdn\b|digital number",
}


def nanometres(values: Iterable[Any], units: str = "") -> tuple[float, ...]:
    """Wavelengths in nm; empty where there are none, one is not a positive number, or their unit is no length.

    Without a unit, numbers below 100 are micrometres, and others nm: no sensor of the other kind gives such numbers; but 1, 2,
    3, ... are the numbers of the bands.
    """
    numbers = [number(value) for value in values]
    unit = " ".join(units.split()).lower()
    if not numbers or any(value is None or not 0 < value < math.inf for value in numbers):
        return ()
    finite = [value for value in numbers if value is not None]
    if unit in _WAVENUMBERS:
        return tuple(1e7 / value for value in finite)
    if unit in _FACTORS:
        return tuple(value * _FACTORS[unit] for value in finite)
    if unit in _NO_UNIT and _numbers_of_bands(finite):
        return ()
    if unit in _NO_UNIT and (max(finite) < _LONGEST_UM or min(finite) > _SHORTEST_NM):
        return tuple(value * 1e3 for value in finite) if max(finite) < _LONGEST_UM else tuple(finite)
    return ()


def unread(stored: Sequence[Any], units: str, wavelengths: tuple[float, ...]) -> tuple[str, ...]:
    """A note on wavelengths that a file has, and that are no lengths for us; none where they are read, or number the bands."""
    if not len(stored) or wavelengths or _numbers_of_bands([number(value) for value in stored]):
        return ()
    unit = f" in {' '.join(units.split())[:40]!r}" if named_unit(units) else ""
    return (f"its wavelengths{unit} are no lengths that can be told, and are left out",)


def _numbers_of_bands(values: Sequence[float | None]) -> bool:
    return list(values) in (list(range(len(values))), list(range(1, len(values) + 1)))


def widths_like(values: Iterable[Any], stored: Sequence[Any], wavelengths: tuple[float, ...]) -> tuple[float, ...]:
    """Band widths in nm, given in the unit of the `stored` wavelengths; empty where that unit is no length, or unknown."""
    widths, first = [number(value) for value in values], number(stored[0]) if len(stored) else None
    if not wavelengths or not first or any(width is None or not 0 <= width < math.inf for width in widths):
        return ()
    factor = wavelengths[0] / first
    same = all(math.isclose(known, (number(value) or 0) * factor, rel_tol=1e-6) for known, value in zip(wavelengths, stored))
    return tuple(width * factor for width in widths if width is not None) if same else ()


def nm_of_text(text: str) -> float | None:
    """Wavelength in nm that a band's description names with its unit, as "band 7 (0.5531 um)"; None where it names none."""
    match = _LENGTH.search(text)
    return None if match is None else float(match[1]) * _FACTORS[match[2].lower()]


_LENGTH = re.compile(
    r"(?<![A-Za-z0-9.])(\d+(?:\.\d*)?|\.\d+)\s*(nm|nanomet(?:er|re)s?|um|\xb5m|\u03bcm|microns?|micromet(?:er|re)s?)(?![A-Za-z])",
    re.I,
)


def lengths_of_names(names: Sequence[str]) -> tuple[float, ...]:
    """Wavelengths in nm that all names of bands hold, with their unit, or as bare numbers of 200 to 20,000 nm; else empty.

    Bare numbers are micrometres or nm as in `nanometres`, and all differ; 1, 2, 3, ... are the numbers of the bands.
    """
    lengths = [nm_of_text(name) for name in names]
    if None not in lengths:
        return tuple(length for length in lengths if length is not None)
    bare = [_BARE.fullmatch(name.strip()) for name in names]
    numbers = nanometres([None if match is None else match[1] for match in bare])
    apart = len(set(numbers)) == len(numbers) > 1
    return numbers if apart and all(200 <= length <= 20_000 for length in numbers) else ()


_BARE = re.compile(r"(?:wavelength\s*[=:]?\s*)?\(?(\d+(?:\.\d*)?|\.\d+)\)?", re.I)


def number(text: Any) -> float | None:
    """Number that a text or value is; None where it is none."""
    try:
        return float(text)
    except (TypeError, ValueError, OverflowError):
        return None


def fits(path: Path, shape: Iterable[int], itemsize: int) -> None:
    """Raises SceneError where an array of that shape does not fit into the memory that is free."""
    import psutil

    needed, free = math.prod(shape) * itemsize, psutil.virtual_memory().available
    if needed > free:
        raise SceneError(
            f"{path}: needs {needed >> 20} MiB, {free >> 20} MiB are free; convert it to .npy, which is memory-mapped"
        )


def let_go(array: NDArray[Any]) -> None:
    """Releases pages of a mapped file: what has been read counts as memory of this process until the kernel may drop it."""
    owner = _owner(array)
    if isinstance(owner, mmap.mmap) and hasattr(mmap, "MADV_DONTNEED"):
        owner.madvise(mmap.MADV_DONTNEED)


def _owner(array: Any) -> Any:
    while isinstance(array, np.ndarray):
        array = array.base
    return array
