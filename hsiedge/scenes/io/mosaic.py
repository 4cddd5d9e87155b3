"""Mosaic: a folder of GeoTIFF tiles on one grid, as one cube or one label map, and the lists that deal its tiles out."""

from __future__ import annotations

import csv
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from hsiedge.errors import SceneError
from hsiedge.scenes.io.cube import Cube, fits
from hsiedge.scenes.io.dlr import described
from hsiedge.scenes.io.georeference import Georeference, Transform, same_crs
from hsiedge.scenes.io.geotiff import READER, SUFFIXES, cube_of, opened
from hsiedge.scenes.io.pam import category_names
from hsiedge.scenes.io.reader import LabelRaster

LISTS = ("train_files.csv", "validation_files.csv", "test_files.csv")
"""Which tiles train, validate and test, in the order of the parts of a split."""
_ALIGNED = 1e-3  # of a pixel: by how much tiles may lie off the grid
_LONGEST_LIST = 1 << 20  # bytes


@dataclass(frozen=True)
class Grid:
    """Grid on which all tiles of a mosaic lie: pixel (0, 0) is the upper left corner of all."""

    crs: str
    transform: Transform
    shape: tuple[int, int]

    @staticmethod
    def of(tile: Cube) -> Grid:
        """Grid of one tile. Raises SceneError where its file says nothing of coordinates."""
        if tile.georeference is None or tile.georeference.transform is None:
            raise SceneError(f"{tile.path}: has no coordinates, which say where a tile of a mosaic lies")
        return Grid(tile.georeference.crs, tile.georeference.transform, tile.shape)

    def place(self, tile: Cube) -> tuple[slice, slice]:
        """Rows and columns that a tile covers. Raises SceneError where it is not of this grid."""
        other, (a, b, c, d, e, f) = Grid.of(tile), self.transform
        if bool(other.crs) != bool(self.crs) or (self.crs and not same_crs(other.crs, self.crs)):
            raise SceneError(f"{tile.path}: its coordinates are {_name(other.crs)}, those of the others {_name(self.crs)}")
        if not np.allclose(other.transform[:2] + other.transform[3:5], (a, b, d, e), rtol=1e-9, atol=0):
            raise SceneError(f"{tile.path}: its pixels are not those of the other tiles in size and direction")
        across, down = np.linalg.solve(np.array([[a, b], [d, e]]), np.array([other.transform[2] - c, other.transform[5] - f]))
        column, row = round(across), round(down)
        if abs(across - column) > _ALIGNED or abs(down - row) > _ALIGNED:
            raise SceneError(f"{tile.path}: lies between the pixels of the other tiles")
        return slice(row, row + tile.shape[0]), slice(column, column + tile.shape[1])


@dataclass(frozen=True)
class Mosaic:
    """A cube made of tiles, its grid, and the rows and columns that each tile covers, by the stem of its file."""

    cube: Cube
    grid: Grid
    tiles: dict[str, tuple[slice, slice]]


def read_mosaic(folder: Path) -> Mosaic:
    """All GeoTIFF tiles of a folder as one cube; what lies between them is nodata.

    Raises:
        SceneError: no tiles; tiles of other coordinates, grids, bands, dtypes or meanings than the first, or that overlap and
            differ; gaps without a nodata value; or more than fits into the memory.
    """
    tiles = [_header(path) for path in _tiles(folder)]
    first = tiles[0]
    for tile in tiles[1:]:
        if _meaning(tile) != _meaning(first):
            other = "other bands or wavelengths, another dtype, scale or nodata value"
            raise SceneError(f"{tile.path}: has {other} than {first.path.name}")
    grid = _covering(folder, tiles)
    places = {tile.path.stem: grid.place(tile) for tile in tiles}
    fits(folder, (*grid.shape, first.bands), first.dtype.itemsize)
    array, covered = _composed(tiles, places, grid, _pixels, (first.bands,))
    if not covered.all():
        if not first.nodata or None in first.nodata:
            raise SceneError(f"{folder}: has gaps between its tiles, and they name no nodata value to fill them with")
        array[~covered] = np.array(first.nodata).astype(first.dtype)
    place = Georeference(grid.transform, grid.crs)
    facts = {name: getattr(first, name) for name in _MEANING}
    notes = tuple(dict.fromkeys(note for tile in tiles for note in tile.notes))
    return Mosaic(Cube.of_array(array, folder, georeference=place, notes=notes, **facts), grid, places)


def read_label_tiles(folder: Path, grid: Grid) -> LabelRaster:
    """All GeoTIFF tiles of a folder as one label map on a cube's grid; what lies between them is 0.

    Raises:
        SceneError: no tiles; tiles that lie off the grid, overlap and differ, or name a class differently.
    """
    paths, names = _tiles(folder), dict[int, str]()
    for path in paths:
        for label, name in category_names(path).items():
            if names.setdefault(label, name) != name:
                raise SceneError(f"{path}: names class {label} {name}, another tile {names[label]}")
    tiles = [_header(path) for path in paths]
    places = {tile.path.stem: grid.place(tile) for tile in tiles}
    array, _ = _composed(tiles, places, grid, _ids, ())
    return LabelRaster(array, names, None, Georeference(grid.transform, grid.crs))


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


def _tiles(folder: Path) -> list[Path]:
    paths = [path for path in sorted(folder.iterdir()) if path.suffix.lower() in SUFFIXES]
    if not paths:
        raise SceneError(f"{folder}: holds no GeoTIFF tiles (.tif)")
    names: dict[str, Path] = {}
    for path in paths:
        if names.setdefault(path.stem, path) != path:
            raise SceneError(f"{path}: a tile of the same name as {names[path.stem].name}: leave one of them in")
    return paths


def _header(path: Path) -> Cube:
    """Cube of a tile by its header; its rows are not to be read."""
    with opened(path) as data:
        return described(cube_of(path, data)).checked()


_MEANING = ("scale", "offset", "nodata", "good", "units", "quantity", "wavelengths", "widths")


def _meaning(tile: Cube) -> tuple[Any, ...]:
    facts = {name: getattr(tile, name) for name in _MEANING}
    facts["nodata"] = tuple(map(str, tile.nodata))  # NaN is NaN
    facts["wavelengths"], facts["widths"] = (tuple(round(value, 2) for value in facts[name]) for name in _MEANING[-2:])
    return tile.bands, tile.dtype, *facts.values()


def _name(crs: str) -> str:
    return Georeference(crs=crs).crs_name or "unknown"


def _covering(folder: Path, tiles: Sequence[Cube]) -> Grid:
    start = Grid.of(tiles[0])
    places = [start.place(tile) for tile in tiles]
    top, left = min(rows.start for rows, _ in places), min(columns.start for _, columns in places)
    shape = max(rows.stop for rows, _ in places) - top, max(columns.stop for _, columns in places) - left
    a, b, c, d, e, f = start.transform
    grid = Grid(start.crs, (a, b, c + left * a + top * b, d, e, f + left * d + top * e), shape)
    covered = sum(tile.shape[0] * tile.shape[1] for tile in tiles)
    if covered * 1000 < shape[0] * shape[1]:
        raise SceneError(f"{folder}: its tiles cover less than a thousandth of the {shape[0]} x {shape[1]} pixels around them")
    return grid


def _composed(
    tiles: Sequence[Cube],
    places: dict[str, tuple[slice, slice]],
    grid: Grid,
    pixels: Callable[[Cube], NDArray[Any]],
    depth: tuple[int, ...],
) -> tuple[NDArray[Any], NDArray[np.bool_]]:
    """Pixels of all tiles `(height, width, *depth)`, and which of them a tile covers."""
    dtype = np.result_type(*(tile.dtype for tile in tiles))  # label tiles of few ids may be narrower than others
    array, covered = np.zeros((*grid.shape, *depth), dtype), np.zeros(grid.shape, bool)
    for tile in tiles:
        rows, columns = places[tile.path.stem]
        if rows.start < 0 or columns.start < 0 or rows.stop > grid.shape[0] or columns.stop > grid.shape[1]:
            raise SceneError(f"{tile.path}: lies outside of the cube")
        values, before = pixels(tile), covered[rows, columns]
        if not np.array_equal(array[rows, columns][before], values[before], equal_nan=values.dtype.kind == "f"):
            raise SceneError(f"{tile.path}: overlaps another tile, and differs from it")
        array[rows, columns], covered[rows, columns] = values, True
    return array, covered


def _pixels(tile: Cube) -> NDArray[Any]:
    """Stored values of a tile; nodata where its own mask says so."""
    with opened(tile.path) as data:
        cube = cube_of(tile.path, data)
        values = cube.read(0, cube.shape[0])
        if cube.valid is not None:
            if None in tile.nodata or not tile.nodata:
                raise SceneError(f"{tile.path}: a tile with a mask needs a nodata value")
            values[~cube.valid(0, cube.shape[0])] = np.array(tile.nodata).astype(values.dtype)
        return values


def _ids(tile: Cube) -> NDArray[Any]:
    labels = READER.labels(tile.path)
    if labels.nodata is None:
        return labels.array
    nothing = np.isnan(labels.array) if labels.nodata != labels.nodata else labels.array == labels.nodata
    return np.where(nothing, 0, labels.array)
