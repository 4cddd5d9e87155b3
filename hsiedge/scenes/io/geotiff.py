"""GeoTIFF: a file, or a mosaic of tiles on one grid. Needs rasterio, the extra `[geo]`."""

from __future__ import annotations

import csv
import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from hsiedge.errors import SceneError, needs_extra
from hsiedge.scenes.io.arrays import Raster, RowSource, fits, nanometres
from hsiedge.scenes.io.pam import category_names

SUFFIXES = (".tif", ".tiff")
LISTS = ("train_files.csv", "validation_files.csv", "test_files.csv")
"""Which tiles train, validate and test, in the order of the parts of a split."""
_ALIGNED = 1e-3  # of a pixel: by how much tiles may lie off the grid
_LONGEST_LIST = 1 << 20  # bytes


@dataclass(frozen=True)
class Tile:
    """A GeoTIFF file by its header."""

    path: Path
    shape: tuple[int, int]
    bands: tuple[int, ...]
    dtype: str
    transform: tuple[float, ...]
    raster: Raster

    @property
    def crs(self) -> str:
        """The coordinate reference system, in words."""
        return self.raster.georeference.get("crs", "")


@dataclass(frozen=True)
class Grid:
    """Grid on which all tiles of a mosaic lie: pixel (0, 0) is the upper left corner of all."""

    crs: str
    transform: tuple[float, ...]
    shape: tuple[int, int]

    def place(self, tile: Tile) -> tuple[slice, slice]:
        """Rows and columns that a tile covers. Raises SceneError where it is not of this grid."""
        a, b, c, d, e, f = self.transform[:6]
        if tile.crs != self.crs:
            raise SceneError(f"{tile.path}: its coordinates are {tile.crs or 'unknown'}, those of the others {self.crs}")
        if not np.allclose(tile.transform[:2] + tile.transform[3:5], (a, b, d, e), rtol=1e-9, atol=0):
            raise SceneError(f"{tile.path}: its pixels are not those of the other tiles in size and direction")
        across, down = np.linalg.solve(np.array([[a, b], [d, e]]), np.array([tile.transform[2] - c, tile.transform[5] - f]))
        column, row = round(across), round(down)
        if abs(across - column) > _ALIGNED or abs(down - row) > _ALIGNED:
            raise SceneError(f"{tile.path}: lies between the pixels of the other tiles")
        return slice(row, row + tile.shape[0]), slice(column, column + tile.shape[1])


@dataclass(frozen=True)
class Mosaic:
    """A raster made of tiles, and the rows and columns that each covers, by the stem of its file."""

    raster: Raster
    grid: Grid
    tiles: dict[str, tuple[slice, slice]]


def read_geotiff(path: Path, ndim: int) -> Raster:
    """A cube `(height, width, bands)`, without the bands that its bad-band list (`bbl`) rules out, or a label map (`ndim` 2).

    A label map has the class names of its side-car (`hsiedge.scenes.io.pam`).

    Raises:
        SceneError: not a GeoTIFF, a broken side-car, or too large for the memory.
        MissingExtraError: rasterio is not installed.
    """
    tile = _header(path)
    fits(path, (*tile.shape, len(tile.bands)), np.dtype(tile.dtype).itemsize)
    return replace(tile.raster, array=_pixels(tile, ndim), class_names=category_names(path) if ndim == 2 else {})


@contextmanager
def rows_of(path: Path) -> Iterator[RowSource]:
    """A GeoTIFF to be read by rows; bad bands are among its bands, and marked.

    Raises:
        SceneError: not a GeoTIFF.
        MissingExtraError: rasterio is not installed.
    """
    with _opened(path) as data:
        tile = _tile(path, data, every_band=True)
        height, width = tile.shape

        def read(first: int, count: int) -> NDArray[Any]:
            rows = min(count, height - first)
            try:
                planes = data.read(list(tile.bands), window=((first, first + rows), (0, width)))
            except Exception as error:  # rasterio's own, of a file that is cut short
                raise SceneError(f"{path}: row {first} cannot be read ({str(error).splitlines()[0]})") from error
            return np.ascontiguousarray(planes.transpose(1, 2, 0))

        yield RowSource(
            path=path,
            shape=tile.shape,
            bands=len(tile.bands),
            dtype=np.dtype(tile.dtype),
            read=read,
            wavelengths=tile.raster.wavelengths if len(tile.raster.wavelengths) == len(tile.bands) else (),
            good=tuple(data.tags(band).get("bbl", "1") != "0" for band in tile.bands),
            nodata=tile.raster.nodata,
            units=tile.raster.units,
            georeference=tile.raster.georeference,
        )


def read_mosaic(folder: Path, ndim: int, grid: Grid | None = None) -> Mosaic:
    """All GeoTIFF tiles of a folder as one raster; what lies between them is nodata, in a label map 0.

    Args:
        grid: that of the cube, for its labels; left out, the smallest that covers all tiles.

    Raises:
        SceneError: no tiles; tiles of other coordinates, grids, bands or dtypes than the first; tiles that overlap and
            differ; gaps without a nodata value; label tiles that name a class differently; or more than fits into the memory.
    """
    tiles = [_header(path) for path in sorted(folder.iterdir()) if path.suffix.lower() in SUFFIXES]
    if not tiles:
        raise SceneError(f"{folder}: holds no GeoTIFF tiles (.tif)")
    first = tiles[0]
    for tile in tiles[1:]:
        if (tile.bands, tile.dtype, tile.raster.nodata) != (first.bands, first.dtype, first.raster.nodata):
            raise SceneError(f"{tile.path}: has other bands, another dtype or another nodata value than {first.path.name}")
    grid = grid or _covering(folder, tiles)
    places = {tile.path.stem: grid.place(tile) for tile in tiles}
    fits(folder, (*grid.shape, len(first.bands)), np.dtype(first.dtype).itemsize)
    array = _composed(tiles, places, grid, ndim)
    georeference = {**first.raster.georeference, "transform": _words(grid.transform)}
    names = _shared_names(tiles) if ndim == 2 else {}
    return Mosaic(replace(first.raster, array=array, class_names=names, georeference=georeference), grid, places)


def read_lists(folder: Path, mosaic: Mosaic) -> NDArray[np.uint8] | None:
    """uint8 `(height, width)`: 1, 2, 3 where a list says that a tile trains, validates, tests; None without lists.

    A list is a CSV file whose first column names tiles; of a name only the last part counts, and it must be a tile's.

    Raises:
        SceneError: only some of the lists are there, one names what is no tile, or a tile stands in two.
    """
    lists = [name for name in LISTS if (folder / name).is_file()]
    if not lists:
        return None
    if len(lists) < len(LISTS):
        raise SceneError(f"{folder}: has {', '.join(lists)}, but all of {', '.join(LISTS)} are needed")
    parts = np.zeros(mosaic.grid.shape, np.uint8)
    for part, name in enumerate(LISTS, 1):
        for stem in _named(folder / name):
            if stem not in mosaic.tiles:
                raise SceneError(f"{folder / name}: names {stem}, which is no tile of {folder}")
            if parts[mosaic.tiles[stem]].any():
                raise SceneError(f"{folder / name}: {stem} stands in two lists, or overlaps a tile of another")
            parts[mosaic.tiles[stem]] = part
    return parts


def _named(path: Path) -> list[str]:
    if path.stat().st_size > _LONGEST_LIST:
        raise SceneError(f"{path}: too long for a list of tiles")
    try:
        rows = list(csv.reader(path.read_text().splitlines()))
    except (UnicodeDecodeError, csv.Error) as error:
        raise SceneError(f"{path}: not a list of tiles ({error})") from error
    return [Path(row[0].strip()).stem for row in rows if row and row[0].lower().strip().endswith(SUFFIXES)]


def _covering(folder: Path, tiles: Sequence[Tile]) -> Grid:
    start = Grid(tiles[0].crs, tiles[0].transform, tiles[0].shape)
    places = [start.place(tile) for tile in tiles]
    top, left = min(rows.start for rows, _ in places), min(columns.start for _, columns in places)
    shape = max(rows.stop for rows, _ in places) - top, max(columns.stop for _, columns in places) - left
    a, b, c, d, e, f = start.transform[:6]
    grid = Grid(start.crs, (a, b, c + left * a + top * b, d, e, f + left * d + top * e), shape)
    covered = sum(tile.shape[0] * tile.shape[1] for tile in tiles)
    if covered * 1000 < shape[0] * shape[1]:
        raise SceneError(f"{folder}: its tiles cover less than a thousandth of the {shape[0]} x {shape[1]} pixels around them")
    return grid


def _shared_names(tiles: Sequence[Tile]) -> dict[int, str]:
    """The class names of all tiles; one may name what another does not."""
    names: dict[int, str] = {}
    for tile in tiles:
        for label, name in category_names(tile.path).items():
            if names.setdefault(label, name) != name:
                raise SceneError(f"{tile.path}: names class {label} {name}, another tile {names[label]}")
    return names


def _composed(tiles: Sequence[Tile], places: dict[str, tuple[slice, slice]], grid: Grid, ndim: int) -> NDArray[Any]:
    first = tiles[0]
    gap = 0 if ndim == 2 else first.raster.nodata
    shape = grid.shape if ndim == 2 else (*grid.shape, len(first.bands))
    array, seen = np.zeros(shape, first.dtype), np.zeros(grid.shape, bool)
    for tile in tiles:
        rows, columns = places[tile.path.stem]
        if rows.start < 0 or columns.start < 0 or rows.stop > grid.shape[0] or columns.stop > grid.shape[1]:
            raise SceneError(f"{tile.path}: lies outside of the cube")
        pixels, before = _pixels(tile, ndim), seen[rows, columns]
        if (array[rows, columns][before] != pixels[before]).any():
            raise SceneError(f"{tile.path}: overlaps another tile, and differs from it")
        array[rows, columns], seen[rows, columns] = pixels, True
    if not seen.all():
        if gap is None:
            raise SceneError(
                f"{first.path.parent}: has gaps between its tiles, and they name no nodata value to fill them with"
            )
        array[~seen] = gap
    return array


def _header(path: Path) -> Tile:
    with _opened(path) as data:
        return _tile(path, data)


def _tile(path: Path, data: Any, every_band: bool = False) -> Tile:
    tags = [data.tags(band) for band in data.indexes]
    bands = tuple(band for band, entry in zip(data.indexes, tags) if every_band or entry.get("bbl", "1") != "0")
    if not bands:
        raise SceneError(f"{path}: its bad-band list rules out every band")
    band_tags = [tags[band - 1] for band in bands]
    units = band_tags[0].get("wavelength_units", "")
    scale = data.scales[0]
    left_out = len(tags) - len(bands)
    raster = Raster(
        np.zeros((0, 0, 0), data.dtypes[0]),
        nanometres([entry.get("wavelength") for entry in band_tags], units),
        None if data.nodata is None else float(data.nodata),
        data.units[0] or (f"counts of {scale:g}" if scale != 1 else ""),
        georeference={
            "crs": data.crs.to_string() if data.crs else "",
            "transform": _words(tuple(data.transform)[:6]),
            **({"bands left out": f"{left_out} of {len(tags)}, by the bad-band list"} if left_out else {}),
        },
    )
    return Tile(path, data.shape, bands, str(data.dtypes[0]), tuple(data.transform)[:6], raster)


def _pixels(tile: Tile, ndim: int) -> NDArray[Any]:
    with _opened(tile.path) as data:
        if ndim == 2:
            if len(tile.bands) != 1:
                raise SceneError(f"{tile.path}: a label map has one band, this one has {len(tile.bands)}")
            labels: NDArray[Any] = data.read(tile.bands[0])
            return labels if tile.raster.nodata is None else np.where(labels == tile.raster.nodata, 0, labels)
        return np.ascontiguousarray(data.read(list(tile.bands)).transpose(1, 2, 0))


@contextmanager
def _opened(path: Path) -> Iterator[Any]:
    """The file, read as GeoTIFF and nothing else: other formats of GDAL point into other files."""
    with needs_extra(f"reading {path.name}", "geo"):
        import rasterio
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of files without coordinates
        try:
            with rasterio.Env(GDAL_DISABLE_READDIR_ON_OPEN="EMPTY_DIR"), rasterio.open(path, driver="GTiff") as data:
                yield data
        except rasterio.errors.RasterioError as error:
            raise SceneError(f"{path}: not a whole GeoTIFF ({str(error).splitlines()[0]})") from error


def _words(transform: Sequence[float]) -> str:
    return " ".join(f"{value:.17g}" for value in transform)
