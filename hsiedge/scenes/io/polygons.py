"""Polygons as labels: GeoPackage, GeoJSON and shapefile, burnt onto a cube's grid by an attribute.

Needs pyogrio, shapely and rasterio, the extra `[geo]`. A pixel takes the class of the polygon in which its centre lies. For
example `crop` of "maize", "wheat", "maize" gives the classes 1 maize and 2 wheat, and `crop` of 7, 3 the classes 7 and 3.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from hsiedge.decoding import parse_json
from hsiedge.errors import SceneError, needs_extra
from hsiedge.scenes.io.cube import Cube, fits
from hsiedge.scenes.io.georeference import inverse, same_crs, transformed
from hsiedge.scenes.io.reader import LabelRaster, Reader

_LARGEST = 256 << 20  # bytes of a file
_MOST_FEATURES = 1_000_000
_MOST_IDS = 65535
_BESIDE = (".shx", ".dbf", ".prj", ".cpg")
_LONGITUDE_LATITUDE = "OGC:CRS84"  # which GeoJSON is in (RFC 7946), unless it has the `crs` member of its first edition


@dataclass(frozen=True)
class _Features:
    """Geometries of a layer (shapely's, None for none), the value of the class field of each, and their reference system."""

    geometries: Sequence[Any]
    values: Sequence[Any]
    crs: str


class Polygons(Reader):
    """Reader of polygons with a field of classes, for cubes with coordinates."""

    title, suffixes = "polygon", (".gpkg", ".geojson", ".json", ".shp")

    def labels_on(self, path: Path, cube: Cube | None, key: str | None = None, class_field: str | None = None) -> LabelRaster:
        """Burns polygons onto the grid of a cube.

        Args:
            key: the layer, in a GeoPackage of several.
            class_field: its whole numbers are ids; its words are sorted and numbered from 1. Features without a value (or of
                value 0) or without a geometry are left out, and counted in a note.

        Raises:
            SceneError: no cube with coordinates; no such layer or field; not polygons; polygons of different classes overlap
                in pixels of the cube, or no polygon has one.
            MissingExtraError: pyogrio, shapely or rasterio is not installed.
        """
        if cube is None or cube.georeference is None or cube.georeference.transform is None:
            raise SceneError(f"{path}: polygons are burnt onto the grid of a cube, which must have coordinates")
        with needs_extra(f"reading {path.name}", "geo"):
            import pyogrio  # noqa: F401
            import rasterio  # noqa: F401
            import shapely  # noqa: F401
        _check(path)
        features = (_of_json if path.suffix.lower() in (".geojson", ".json") else _of_layer)(path, key, class_field)
        ids, names = _classes(path, features.values)
        usable = np.array([shape is not None and not shape.is_empty for shape in features.geometries], bool) & (ids > 0)
        left_out = len(ids) - int(usable.sum())
        notes = (f"{left_out} of {len(ids)} features, without a class or a geometry, are left out",) if left_out else ()
        shapes = np.array(features.geometries, object)[usable]
        array = _burnt(path, _in_pixels(path, shapes, features.crs, cube), ids[usable], cube.shape)
        return LabelRaster(array, names, None, cube.georeference, notes)


def _check(path: Path) -> None:
    """Raises SceneError where a file is not what its suffix says, too large, or has a part that lies elsewhere."""
    parts = [path.with_suffix(spelt) for suffix in _BESIDE for spelt in (suffix, suffix.upper())]
    files = [path, *(part for part in parts if path.suffix.lower() == ".shp" and part.exists())]
    for file in files:
        if file.stat().st_size > _LARGEST:
            raise SceneError(f"{file}: {file.stat().st_size >> 20} MiB, more than {_LARGEST >> 20} MiB of polygons")
        if file.resolve().parent != path.resolve().parent:
            raise SceneError(f"{file}: a link to another folder; a shapefile's parts lie together")
    with path.open("rb") as stream:
        start = stream.read(100)
    if path.suffix.lower() == ".gpkg" and not (start.startswith(b"SQLite format 3\0") and start[68:70] == b"GP"):
        raise SceneError(f"{path}: not a GeoPackage")
    if path.suffix.lower() == ".shp":
        if start[:4] != b"\0\0\x27\x0a":
            raise SceneError(f"{path}: not a shapefile")
        if 2 * int.from_bytes(start[24:28], "big") > path.stat().st_size:  # GDAL gives geometries that are cut off as none
            raise SceneError(f"{path}: not a whole shapefile: its header promises more than it has")


def _of_json(path: Path, key: str | None, class_field: str | None) -> _Features:
    """Features of a GeoJSON file. It is not left to GDAL, which takes JSON of many kinds, such as that of its own pipelines."""
    from shapely.geometry import shape

    content = parse_json(path.read_bytes())
    if (
        not isinstance(content, dict)
        or content.get("type") != "FeatureCollection"
        or not isinstance(content.get("features"), list)
    ):
        raise SceneError(f"{path}: not a GeoJSON FeatureCollection")
    features = content["features"]
    if not all(isinstance(feature, dict) for feature in features):
        raise SceneError(f"{path}: not a GeoJSON FeatureCollection: one of its features is none")
    properties = [feature.get("properties") or {} for feature in features]
    _check_field(path, class_field, sorted({name for entry in properties for name in entry}))
    return _Features(
        [None if feature.get("geometry") is None else shape(feature["geometry"]) for feature in features],
        [entry.get(class_field) for entry in properties],
        _crs_of_json(path, content.get("crs", {"properties": {"name": _LONGITUDE_LATITUDE}})),
    )


def _crs_of_json(path: Path, crs: Any) -> str:
    """Reference system by the `crs` member, "" where that is null. Raises SceneError where it is no name, but a link."""
    try:
        return "" if crs is None else str(crs["properties"]["name"])
    except (KeyError, TypeError, IndexError) as error:
        raise SceneError(
            f"{path}: its crs names no coordinate reference system; a name such as EPSG:32633 is expected"
        ) from error


def _of_layer(path: Path, key: str | None, class_field: str | None) -> _Features:
    """Features of a layer of a GeoPackage or shapefile."""
    import pyogrio
    import shapely

    layers = [str(name) for name, geometry in pyogrio.list_layers(path) if geometry is not None]
    if key is None and len(layers) != 1:
        raise SceneError(f"{path}: name the layer; it has {', '.join(layers) or 'none'}", use={"labels_key": "NAME"})
    layer = layers[0] if key is None else key
    if layer not in layers:
        raise SceneError(f"{path}: has no layer {layer!r}; it has {', '.join(layers) or 'none'}")
    facts = pyogrio.read_info(path, layer=layer)
    if facts["features"] > _MOST_FEATURES:
        raise SceneError(f"{path}: {facts['features']:,} features; {_MOST_FEATURES:,} are the most")
    _check_field(path, class_field, [str(name) for name in facts["fields"]])
    _, _, geometries, (values,) = pyogrio.raw.read(path, layer=layer, columns=[class_field], force_2d=True)
    return _Features(shapely.from_wkb(geometries), values.tolist(), facts["crs"] or "")


def _check_field(path: Path, class_field: str | None, fields: list[str]) -> None:
    listing = ", ".join(fields) or "none"
    if class_field is None:
        raise SceneError(f"{path}: which field holds the classes? it has {listing}", use={"class_field": "NAME"})
    if class_field not in fields:
        raise SceneError(f"{path}: has no field {class_field!r}; it has {listing}", option="class_field")


def _classes(path: Path, values: Sequence[Any]) -> tuple[NDArray[np.int64], dict[int, str]]:
    """Id of each value, 0 for none, and names of the ids where the values are words.

    Raises:
        SceneError: other values than words or whole numbers from 0 to 65535.
    """
    try:
        texts = [_text(value) for value in values]
    except TypeError as error:
        raise SceneError(f"{path}: its classes are no words or numbers ({error})", option="class_field") from error
    words = sorted({text for text in texts if text})
    names: dict[int, str] = {}
    if any(isinstance(value, str) for value in values) and not all(word.isdecimal() for word in words):
        names = dict(enumerate(words, 1))
        numbers = {word: number for number, word in names.items()}
    else:
        try:
            numbers = {word: int(word) for word in words}
        except ValueError as error:
            raise SceneError(f"{path}: its classes are not whole numbers ({error})", option="class_field") from error
    outside = [number for number in numbers.values() if not 0 <= number <= _MOST_IDS]
    if outside:
        raise SceneError(f"{path}: a class of {outside[0]}; 0 to {_MOST_IDS} is allowed", option="class_field")
    return np.array([numbers.get(text, 0) for text in texts], np.int64), names


def _text(value: Any) -> str:
    """A class as text; "" for none."""
    if value is None or value != value:
        return ""
    if isinstance(value, str):
        return " ".join(value.split())
    return str(int(value)) if float(value).is_integer() else str(value)


def _in_pixels(path: Path, shapes: NDArray[Any], crs: str, cube: Cube) -> NDArray[Any]:
    """The polygons in columns and rows of a cube.

    Raises:
        SceneError: other shapes than polygons, no reference system, or one that does not reach them.
    """
    import shapely

    odd = {shape.geom_type for shape in shapes} - {"Polygon", "MultiPolygon"}
    if odd:
        raise SceneError(f"{path}: holds {', '.join(sorted(odd))}; polygons are expected")
    assert cube.georeference is not None
    assert cube.georeference.transform is not None
    own, back = cube.georeference.crs, inverse(cube.georeference.transform)
    if bool(crs) != bool(own):
        raise SceneError(f"{path if own else cube.path}: does not say in which coordinate reference system it is")
    other = bool(own) and not same_crs(crs, own)

    if other:
        shapes = _with_short_edges(path, shapes, crs)

    def place(points: NDArray[np.float64]) -> NDArray[np.float64]:
        x, y = points.T
        if other:
            x, y = transformed(crs, own, x, y)
        if not (np.isfinite(x).all() and np.isfinite(y).all()):
            raise SceneError(f"{path}: has corners that are none in the coordinates of the cube")
        return np.stack([back[0] * x + back[1] * y + back[2], back[3] * x + back[4] * y + back[5]], 1)

    return np.asarray(shapely.transform(shapely.force_2d(shapes), place), object)


def _with_short_edges(path: Path, shapes: NDArray[Any], crs: str) -> NDArray[Any]:
    """The polygons with points along their edges, for an edge that is straight in one reference system is bent in another.

    Edges become 0.01 degrees or 1000 units long, where they bend by centimetres; of huge polygons a thousandth of their extent.
    """
    import shapely
    from rasterio.crs import CRS

    west, south, east, north = shapely.bounds(shapes).T
    longest = np.maximum(0.01 if CRS.from_user_input(crs).is_geographic else 1000.0, np.fmax(east - west, north - south) / 1024)
    fits(path, (int(np.nansum(shapely.length(shapes) / longest)),), 4 * 16)
    return np.asarray(shapely.segmentize(shapes, longest), object)


def _burnt(path: Path, shapes: NDArray[Any], ids: NDArray[np.int64], shape: tuple[int, int]) -> NDArray[np.uint16]:
    """Ids `(height, width)` of the polygons in which pixel centres lie, 0 elsewhere.

    Raises:
        SceneError: polygons of different ids overlap, or none holds a pixel centre.
    """
    from rasterio.features import rasterize

    fits(path, shape, 6)
    order = np.argsort(ids, kind="stable")
    ascending = [(shapes[place], int(ids[place])) for place in order]
    if not ascending:
        raise SceneError(f"{path}: no feature has a class and a geometry")
    # Burnt by ascending id, a pixel keeps the highest one of its polygons, and by descending id the lowest.
    highest, lowest = (rasterize(burnt, shape, dtype="uint16") for burnt in (ascending, ascending[::-1]))
    overlap = int((highest != lowest).sum())
    if overlap:
        row, column = np.argwhere(highest != lowest)[0]
        pair = f"{lowest[row, column]} and {highest[row, column]}"
        raise SceneError(f"{path}: polygons of different classes overlap in {overlap:,} pixels of the cube, first {pair}")
    if not highest.any():
        raise SceneError(f"{path}: no pixel of the cube has its centre in one of the {len(ids)} polygons")
    return np.asarray(highest, np.uint16)


READER = Polygons()
