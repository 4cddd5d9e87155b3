"""Writers of maps, one for each format: GeoTIFF, ENVI classification, PNG, .npy. A map is there whole, or not at all."""

from __future__ import annotations

import io
import math
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, ExitStack, contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, BinaryIO
from xml.sax.saxutils import escape

import numpy as np
from numpy.typing import NDArray

from hsiedge import files
from hsiedge.errors import OptionError, OutputError, needs_extra
from hsiedge.mapping.palette import UNLABELLED, colours, rgb
from hsiedge.mapping.stream import Strip
from hsiedge.quiet import quiet
from hsiedge.registry import Registry, instance_of
from hsiedge.scenes.io import pam
from hsiedge.scenes.io.georeference import Georeference, to_envi
from hsiedge.scenes.io.reader import files_of as cube_files
from hsiedge.words import printable

Take = Callable[[NDArray[Any]], None]
_TILE = 256
_LARGEST_PICTURE = 64 << 20  # pixels


@dataclass(frozen=True)
class MapFacts:
    """Facts that a map is written with.

    Attributes:
        shape: (height, width).
        classes: label id -> name.
        georeference: the cube's; None where its file says nothing.
        bands: names of the bands, where these are probabilities; a label map has none.
        drift: first and last line of each stretch of a live run whose values lay beyond the calibrated range.
    """

    shape: tuple[int, int]
    classes: dict[int, str]
    georeference: Georeference | None
    bands: tuple[str, ...] = ()
    drift: tuple[tuple[int, int], ...] = ()

    @property
    def dtype(self) -> np.dtype[Any]:
        """Dtype of the map: for labels as small as ids allow; float32 for probabilities."""
        if self.bands:
            return np.dtype(np.float32)
        return np.dtype(np.uint8 if max(self.classes, default=0) <= 255 else np.uint16)


@dataclass(frozen=True)
class Writer:
    """A format of maps.

    Attributes:
        title: its name.
        suffixes: of its files, in lower case.
        open: a context manager of `(path, facts)`, as `writer`: the file is there once the block has ended well, or not at all.
        probabilities: whether it also holds probabilities, float32, a band a class.
        files: all that a map at a path leaves; None for the path alone.
        lost: what of a georeference the format cannot keep, in words; None for one that keeps nothing of it.
        picture: whether its maps are for people to look at, and hold no ids.
    """

    title: str
    suffixes: tuple[str, ...]
    open: Callable[[Path, MapFacts], AbstractContextManager[Take]]
    probabilities: bool = False
    files: Callable[[Path], tuple[Path, ...]] | None = None
    lost: Callable[[Georeference], tuple[str, ...]] | None = None
    picture: bool = False


def check_suffix(path: Path, probabilities: bool = False) -> None:
    """Raises OptionError where a path does not name a format that is written."""
    if _writer_of(path, probabilities) is None:
        known = [
            suffix for _, entry in WRITERS.items() if entry.probabilities or not probabilities for suffix in entry.suffixes
        ]
        subject = "probabilities are" if probabilities else "a map is"
        raise OptionError(f"{path}: {subject} written as one of {', '.join(known)}")


def _writer_of(path: Path, probabilities: bool = False) -> Writer | None:
    suffix = path.suffix.lower()
    return WRITERS.first(lambda entry: suffix in entry.suffixes and (entry.probabilities or not probabilities))


def files_of(path: Path) -> tuple[Path, ...]:
    """All that a map at `path` leaves: an ENVI header and its data, a GeoTIFF and its side-car."""
    entry = _writer_of(path)
    return (path,) if entry is None or entry.files is None else entry.files(path)


def not_kept(path: Path, place: Georeference | None) -> tuple[str, ...]:
    """Parts of a cube's georeference that a map at `path` does not keep, in words."""
    entry = _writer_of(path) or _writer_of(path, True)
    if place is None or entry is None:
        return ()
    return place.lost + (entry.lost(place) if entry.lost is not None else ("its coordinates",) if place else ())


@contextmanager
def writer(path: Path, facts: MapFacts) -> Iterator[Take]:
    """Yields what takes the next rows `(n, width)`, or `(bands, n, width)` of probabilities, from the top on.

    The file takes its place when the block ends well.

    Raises:
        OptionError: a suffix of no known format, or a picture that is too large.
        MissingExtraError: the format's package is not installed.
        OutputError: it cannot be written.
    """
    check_suffix(path, bool(facts.bands))
    entry = _writer_of(path, bool(facts.bands))
    assert entry is not None
    with entry.open(path, facts) as take:
        yield take


@contextmanager
def writers(paths: list[Path], facts: MapFacts) -> Iterator[Take]:
    """Opens the writers of several maps at once."""
    with ExitStack() as stack:
        takes = [stack.enter_context(writer(path, facts)) for path in paths]

        def take(rows: NDArray[Any]) -> None:
            for one in takes:
                one(rows)

        yield take


@contextmanager
def maps(paths: list[Path], probabilities: Path | None, facts: MapFacts) -> Iterator[Callable[[Strip], None]]:
    """Yields what takes the strips of a map from the top on: labels go to all of `paths`, probabilities where they are wanted.

    Raises:
        OptionError, MissingExtraError, OutputError: see `writer`.
    """
    with ExitStack() as stack:
        labels = stack.enter_context(writers(paths, facts))
        named = replace(facts, bands=tuple(facts.classes.values()))
        likely = stack.enter_context(writer(probabilities, named)) if probabilities is not None else None

        def take(strip: Strip) -> None:
            labels(strip.labels)
            if likely is not None and strip.probabilities is not None:
                likely(strip.probabilities)

        yield take


def check_places(outputs: list[Path], inputs: list[Path]) -> None:
    """Looks before any work whether maps can be written.

    Raises:
        OptionError: two would be written to one place.
        OutputError: one would lie where something is that is read, or where nothing can be written.
    """
    read = {part.resolve() for path in inputs for part in cube_files(path) if part.exists()}
    written: set[Path] = set()
    for path in outputs:
        for part in map(Path.resolve, files_of(path)):
            if part in read:
                raise OutputError(f"{path}: {part.name} is what is read; choose another place")
            if part in written:
                raise OptionError(f"{path}: two maps would be written there; give each a place of its own")
            written.add(part)
        files.check_writable(path)


@contextmanager
def _geotiff(path: Path, facts: MapFacts) -> Iterator[Take]:
    """Tiled and compressed, with the cube's coordinates and a palette; class names in the side-car that GDAL reads."""
    with needs_extra(f"writing {path.name}", "geo"):
        import rasterio
    height, width = facts.shape
    place = facts.georeference or Georeference()
    profile: dict[str, Any] = {
        "driver": "GTiff",
        "height": height,
        "width": width,
        "count": len(facts.bands) or 1,
        "dtype": facts.dtype.name,
        "compress": "deflate",
        "tiled": True,
        "blockxsize": _TILE,
        "blockysize": _TILE,
        "BIGTIFF": "IF_SAFER",
    }
    if place.transform is not None:
        profile["transform"] = rasterio.Affine(*place.transform)
    if place.points:
        from rasterio.control import GroundControlPoint

        profile["gcps"] = [GroundControlPoint(row, column, x, y, z) for column, row, x, y, z in place.points]
    if place.crs:
        profile["crs"] = rasterio.crs.CRS.from_user_input(place.crs, morph_from_esri_dialect=True)
    if not facts.bands:
        profile["nodata"] = 0
    environment = rasterio.Env(GDAL_CACHEMAX=16 << 20, GDAL_PAM_ENABLED=False)
    with files.atomic(path) as temporary, quiet(prints=False), environment:  # of a cube without coordinates
        with rasterio.open(temporary, "w", **profile) as data:
            if facts.dtype == np.uint8:
                data.write_colormap(1, _palette(facts.classes, 256))
            for band, name in enumerate(facts.bands, 1):
                data.set_band_description(band, printable(name))
            if facts.drift:
                data.update_tags(drift_lines=drift_lines(facts.drift))
            if place.pixel_is_point:
                data.update_tags(AREA_OR_POINT="Point")
            done, sums = 0, np.zeros((height, -(-width // _TILE)), np.uint64)

            def take(rows: NDArray[Any]) -> None:
                nonlocal done
                part, values = slice(done, done + rows.shape[-2]), rows.astype(facts.dtype)
                sums[part], done = _tile_sums(values), part.stop
                with _full_disk(path):
                    data.write(values, window=((part.start, part.stop), (0, width)), **({} if facts.bands else {"indexes": 1}))

            yield take
        with _full_disk(path):
            _read_back(temporary, facts, sums)
        if not facts.bands:
            files.write_bytes(_side_car(path), _category_names(facts.classes).encode())


def _tile_sums(values: NDArray[Any]) -> NDArray[np.uint64]:
    """Sums of rows `(..., n, width)` as integers, a row and a tile's width each: `(n, tiles)`."""
    bits = np.ascontiguousarray(values).view(f"u{values.itemsize}")
    line = bits if bits.ndim == 2 else bits.sum(0, dtype=np.uint64)
    return np.add.reduceat(line, range(0, line.shape[1], _TILE), axis=1, dtype=np.uint64)


def _read_back(path: Path, facts: MapFacts, sums: NDArray[np.uint64]) -> None:
    """Reads a GeoTIFF tile by tile: of a disk that is full, GDAL says nothing when it closes a file. Raises ValueError."""
    import rasterio

    height, width = facts.shape
    with rasterio.open(path, driver="GTiff") as data:
        for top in range(0, height, _TILE):
            for left in range(0, width, _TILE):
                rows, columns = (top, min(top + _TILE, height)), (left, min(left + _TILE, width))
                tile = data.read(window=(rows, columns), **({} if facts.bands else {"indexes": 1}))
                if (_tile_sums(tile)[:, 0] != sums[slice(*rows), left // _TILE]).any():
                    raise ValueError(f"rows {rows[0]} to {rows[1]} do not read back as they were written")


@contextmanager
def _full_disk(path: Path) -> Iterator[None]:
    """Whatever is raised of a file that GDAL could not write, or that does not read back, becomes an OutputError."""
    try:
        yield
    except (OSError, ValueError) as error:
        raise OutputError(f"cannot write {path}: {str(error).splitlines()[0]}; is the disk full?") from error


def envi_files(path: Path) -> tuple[Path, ...]:
    """Header and data of an ENVI map."""
    return path.with_suffix(".hdr"), path.with_suffix(".img")


def _side_car(path: Path) -> Path:
    return path.with_name(path.name + pam.SUFFIX)


def _category_names(classes: dict[int, str]) -> str:
    """GDAL's persistent auxiliary metadata (gdal.org, PAM): a name for each value from 0 on."""
    names = ["unknown", *(classes.get(label, "") for label in range(1, max(classes, default=0) + 1))]
    listed = "".join(f"<Category>{escape(printable(name))}</Category>" for name in names)
    return f'<PAMDataset><PAMRasterBand band="1"><CategoryNames>{listed}</CategoryNames></PAMRasterBand></PAMDataset>\n'


@contextmanager
def _envi(path: Path, facts: MapFacts) -> Iterator[Take]:
    """An ENVI classification: a header, and the ids as they are beside it."""
    header, data = envi_files(path)
    with files.atomic(data) as temporary, files.atomic(header) as text:  # they take their names one right after the other
        with _whole(temporary, facts.shape[0] * facts.shape[1] * facts.dtype.itemsize) as file:
            yield lambda rows: _write(file, rows.astype(facts.dtype))
        text.write_bytes(envi_header(facts).encode())


def _write(file: BinaryIO, rows: NDArray[Any]) -> None:
    file.write(np.ascontiguousarray(rows).tobytes())


@contextmanager
def _whole(path: Path, size: int) -> Iterator[BinaryIO]:
    """A file to be written. Raises OutputError where it has not `size` bytes then."""
    with path.open("wb") as file:
        yield file
    if path.stat().st_size != size:
        raise OutputError(f"cannot write {path}: it has {path.stat().st_size} bytes, {size} were written; is the disk full?")


def drift_lines(drift: Sequence[tuple[int, int]]) -> str:
    """Text of stretches of lines, as an ENVI header and a GeoTIFF's tag have it: "200-303, 510-640"."""
    return ", ".join(f"{first}-{last}" for first, last in drift)


def envi_header(facts: MapFacts) -> str:
    """Text of an ENVI classification's header."""
    height, width = facts.shape
    last = max(facts.classes, default=0)
    names = ["Unclassified", *(facts.classes.get(label, f"unused {label}") for label in range(1, last + 1))]
    palette = _palette(facts.classes, last + 1)
    lookup = [str(part) for label in range(last + 1) for part in palette[label][:3]]
    kept = to_envi(facts.georeference)[0] if facts.georeference is not None else {}
    entries = {
        "samples": width,
        "lines": height,
        "bands": 1,
        "header offset": 0,
        "file type": "ENVI Classification",
        "data type": 1 if facts.dtype == np.uint8 else 12,
        "interleave": "bsq",
        "byte order": 0,
        "classes": last + 1,
        "class lookup": "{" + ", ".join(lookup) + "}",
        "class names": "{" + ", ".join(printable(name).translate(_NOT_IN_ENVI) for name in names) + "}",
        **{name: "{" + printable(value).translate(_NO_BRACES) + "}" for name, value in kept.items()},
        **({"drift lines": "{" + drift_lines(facts.drift) + "}"} if facts.drift else {}),
    }
    return "ENVI\n" + "".join(f"{name} = {value}\n" for name, value in entries.items())


@contextmanager
def _png(path: Path, facts: MapFacts) -> Iterator[Take]:
    """A picture with a legend."""
    with needs_extra(f"writing {path.name}", "report"):
        from hsiedge.mapping.picture import map_png
    height, width = facts.shape
    if height * width > _LARGEST_PICTURE:
        raise OptionError(f"{path}: a picture of {height} x {width} pixels is too large; write a .tif")
    labels, done = np.zeros((height, width), facts.dtype), 0

    def take(rows: NDArray[Any]) -> None:
        nonlocal done
        labels[done : done + len(rows)] = rows
        done += len(rows)

    yield take
    files.write_bytes(path, map_png(labels, facts.classes))


@contextmanager
def _npy(path: Path, facts: MapFacts) -> Iterator[Take]:
    """Numpy's own: `(height, width)`, or `(height, width, bands)` of probabilities."""
    with files.atomic(path) as temporary:
        shape = (*facts.shape, len(facts.bands)) if facts.bands else facts.shape
        head = io.BytesIO()
        np.lib.format.write_array_header_2_0(head, {"descr": facts.dtype.str, "fortran_order": False, "shape": shape})
        with _whole(temporary, len(head.getvalue()) + math.prod(shape) * facts.dtype.itemsize) as file:
            file.write(head.getvalue())
            yield lambda rows: _write(file, (rows.transpose(1, 2, 0) if facts.bands else rows).astype(facts.dtype))


def _palette(classes: dict[int, str], size: int) -> dict[int, tuple[int, int, int, int]]:
    table = {label: (*rgb(UNLABELLED), 255) for label in range(size)}
    table[0] = (0, 0, 0, 0)
    return table | {label: (*rgb(colour), 255) for label, colour in colours(classes).items() if label < size}


_NOT_IN_ENVI, _NO_BRACES = str.maketrans("{},", "();"), str.maketrans("", "", "{}")
WRITERS: Registry[Writer] = Registry(
    "hsiedge.map_writers",
    "map writer",
    {
        "geotiff": Writer("GeoTIFF", (".tif", ".tiff"), _geotiff, True, lambda path: (path, _side_car(path)), lambda place: ()),
        "envi": Writer("ENVI classification", (".hdr", ".img"), _envi, files=envi_files, lost=lambda place: to_envi(place)[1]),
        "png": Writer("PNG", (".png",), _png, picture=True),
        "numpy": Writer("NumPy", (".npy",), _npy, True),
    },
    instance_of(Writer),
)
"""Writers of maps by name; a path's suffix chooses among them."""
