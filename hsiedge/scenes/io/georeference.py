"""Georeference: where the pixels of a raster lie on the ground, in one form for all formats.

ENVI's `map info`, GeoTIFF's tags and CF's grid mapping all come down to six numbers and a coordinate reference system, or to
control points. For example `map info = {UTM, 1, 1, 500000, 5800000, 30, 30, 33, North, WGS-84}` is

    Georeference((30.0, 0.0, 500000.0, 0.0, -30.0, 5800000.0), "EPSG:32633")
"""

from __future__ import annotations

import math
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from hsiedge.errors import MissingExtraError, SceneError, needs_extra

Transform = tuple[float, float, float, float, float, float]
Point = tuple[float, float, float, float, float]

_SAME = 1e-3  # of a pixel: by how much two grids may differ and still be one
_UTM = {"wgs84": (32600, 32700), "northamerica1983": (26900, None), "nad83": (26900, None)}
_UTM |= {"northamerica1927": (26700, None), "nad27": (26700, None)}
_ENVI_WORDS = ("map info", "projection info", "coordinate system string", "geo points")


@dataclass(frozen=True)
class Georeference:
    """Place of a raster's pixels.

    Attributes:
        transform: a, b, c, d, e, f: the upper left corner of the pixel at (row, column) lies at x = a * column + b * row + c,
            y = d * column + e * row + f. None where the file gives none.
        crs: coordinate reference system of x and y: WKT, or "EPSG:" and a number; "" where unknown.
        points: control points (column, row, x, y, z), for a raster without a transform.
        pixel_is_point: whether its values are samples at pixel centres (GeoTIFF's AREA_OR_POINT).
        envi: what an ENVI header says of it, in its words, which go into an ENVI header as they are.
        lost: what the file says besides, and maps do not keep; for the user to read.
    """

    transform: Transform | None = None
    crs: str = ""
    points: tuple[Point, ...] = ()
    pixel_is_point: bool = False
    envi: Mapping[str, str] = field(default_factory=dict)
    lost: tuple[str, ...] = ()

    def __bool__(self) -> bool:
        return self.transform is not None or bool(self.points or self.crs or self.envi)

    @property
    def crs_name(self) -> str:
        """Name of the coordinate reference system, as "WGS 84 / UTM zone 33N"; "" where it is unknown."""
        name = re.match(r'\s*\w+\s*\[\s*"([^"]*)"', self.crs)
        return name[1] if name else self.crs

    def describe(self) -> str:
        """One line for people."""
        pixel = ""
        if self.transform is not None:
            a, b, _, d, e, _ = self.transform
            pixel = f", pixels of {math.hypot(a, d):g} x {math.hypot(b, e):g}"
        points = f", {len(self.points)} control points" if self.points else ""
        return (self.crs_name or "unknown coordinates") + pixel + points

    def to_json(self) -> dict[str, Any]:
        """Plain data, which `from_json` reads."""
        return {
            "transform": None if self.transform is None else list(self.transform),
            "crs": self.crs,
            "points": [list(point) for point in self.points],
            "pixel_is_point": self.pixel_is_point,
            "envi": dict(self.envi),
        }

    @staticmethod
    def from_json(data: Mapping[str, Any]) -> Georeference | None:
        """Reads what `to_json` gave, or the words that hsiedge 0.1 kept; None for nothing.

        Raises:
            ValueError, TypeError, KeyError: not such data.
        """
        if "map info" in data or "coordinate system string" in data:
            return from_envi({str(key): str(value) for key, value in data.items()})
        transform = data.get("transform") or None
        numbers = transform.split() if isinstance(transform, str) else transform
        points = tuple(_point(point) for point in data.get("points", []))
        words = {str(key): str(value) for key, value in dict(data.get("envi", {})).items() if key in _ENVI_WORDS}
        place = Georeference(
            None if numbers is None else _transform(numbers),
            str(data.get("crs", "")),
            points,
            bool(data.get("pixel_is_point", False)),
            words,
        )
        return place or None


def _transform(values: Any) -> Transform:
    a, b, c, d, e, f = (float(value) for value in values)
    if not all(map(math.isfinite, (a, b, c, d, e, f))):
        raise ValueError("a transform of finite numbers was expected")
    return a, b, c, d, e, f


def _point(values: Any) -> Point:
    column, row, x, y, z = (float(value) for value in values)
    return column, row, x, y, z


def from_envi(header: Mapping[str, str]) -> Georeference | None:
    """Georeference of an ENVI header, by its words `map info`, `coordinate system string` and `geo points`; None without any.

    Read as GDAL reads it: rotation=180 means rows that go north. Pixels that are rotated and not square, or rotated around
    another pixel than the first, mean different things to ENVI and GDAL: they are given no transform, and `lost` says so.
    """
    words = {name: header[name].strip().strip("{}").strip() for name in _ENVI_WORDS if header.get(name, "").strip("{} \n")}
    if not words:
        return None
    info = [part.strip() for part in words.get("map info", "").split(",")]
    lost: list[str] = []
    transform: Transform | None = None
    crs = words.get("coordinate system string", "")
    if len(info) >= 7:
        try:
            transform = _of_map_info(info)
        except ValueError as error:
            lost.append(f"its map info ({error})")
        crs = crs or _crs_of(info)
        if not crs and info[0].lower() != "arbitrary":
            lost.append(f"its projection, {info[0]}, which has no coordinate system string")
    elif "map info" in words:
        lost.append("its map info, which is not whole")
    points = () if transform is not None else _geo_points(words.get("geo points", ""))
    if points and not crs.upper().startswith("GEOGCS"):  # they are latitude and longitude, whatever the pixels' system
        crs = "EPSG:4326"
    return Georeference(transform, crs, points, False, words, tuple(lost))


def _of_map_info(info: list[str]) -> Transform:
    column, row, x, y, width, height = (float(part) for part in info[1:7])
    named = dict(part.split("=", 1) for part in (part.replace(" ", "").lower() for part in info) if "=" in part)
    rotation = float(named.get("rotation", 0))
    if not all(map(math.isfinite, (column, row, x, y, width, height, rotation))) or not width or not height:
        raise ValueError("a number in it makes no sense")
    if rotation % 360 == 0:
        return width, 0.0, x - (column - 1) * width, 0.0, -height, y + (row - 1) * height
    if abs(rotation) == 180 and (column, row) == (1, 1):
        return width, 0.0, x, 0.0, height, y
    if not math.isclose(width, height, rel_tol=1e-9) or (column, row) != (1, 1):
        raise ValueError("rotated pixels that are not square, or turned around another pixel than the first")
    sine, cosine = math.sin(math.radians(rotation)), math.cos(math.radians(rotation))
    return cosine * width, sine * width, x, sine * width, -cosine * width, y


def _crs_of(info: list[str]) -> str:
    """CRS that map info alone names: UTM zones of three datums, and latitude and longitude of one."""
    words = [re.sub(r"[\s_-]", "", part.lower()) for part in info]
    if any(word.startswith("units=") and word[6:] not in ("meters", "metres", "m", "degrees") for word in words):
        return ""
    if words[0].startswith("geographic") and "wgs84" in words:
        return "EPSG:4326"
    datum = next((_UTM[word] for word in words if word in _UTM), None)
    if words[0] != "utm" or datum is None or len(words) < 9 or not words[7].isdigit() or not 1 <= int(words[7]) <= 60:
        return ""
    base = datum[0] if words[8] == "north" else datum[1] if words[8] == "south" else None
    return "" if base is None else f"EPSG:{base + int(words[7])}"


def _geo_points(text: str) -> tuple[Point, ...]:
    """Control points of ENVI's `geo points`: column and row from 1 on, latitude, longitude."""
    try:
        values = [float(part) for part in text.split(",") if part.strip()]
    except ValueError:
        return ()
    groups = [values[start : start + 4] for start in range(0, len(values) - 3, 4)]
    return tuple((column - 1, row - 1, longitude, latitude, 0.0) for column, row, latitude, longitude in groups)


def to_envi(place: Georeference) -> tuple[dict[str, str], tuple[str, ...]]:
    """Entries of an ENVI header, and what of the georeference they cannot keep."""
    if place.envi:
        return {name: "{" + value + "}" for name, value in place.envi.items()}, ()
    if place.transform is None:
        return {}, ("its control points",) if place.points else ()
    a, b, c, d, e, f = place.transform
    size = math.hypot(a, d)
    if b == d == 0 and a > 0:
        width, height, rotation = a, abs(e), 180.0 if e > 0 else 0.0
    elif all(math.isclose(one, other, rel_tol=1e-9, abs_tol=1e-9 * size) for one, other in ((a, -e), (b, d))):
        width, height, rotation = size, size, math.degrees(math.atan2(d, a))
    else:
        return {}, ("its rotation or shear",)
    projection, wkt = _envi_crs(place.crs)
    turned = f", rotation={rotation:.15g}" if rotation else ""
    name, *datum = projection
    info = f"{name}, 1, 1, {c:.17g}, {f:.17g}, {width:.17g}, {height:.17g}" + "".join(f", {part}" for part in datum) + turned
    return {"map info": "{" + info + "}"} | ({"coordinate system string": "{" + wkt + "}"} if wkt else {}), ()


def _envi_crs(crs: str) -> tuple[list[str], str]:
    """Projection and datum as `map info` names them, and the WKT in Esri's dialect, which ENVI's is."""
    if not crs:
        return ["Arbitrary"], ""
    code, wkt = _number(crs), crs if "[" in crs else ""
    try:
        system = _rasterio_crs(crs)
    except MissingExtraError:
        pass
    else:
        code, wkt = system.to_epsg() or 0, system.to_wkt(version="WKT1_ESRI")
    zone, north = (code % 100, "North" if code < 32700 else "South") if 32600 < code <= 32760 else (0, "")
    if 1 <= zone <= 60:
        return ["UTM", str(zone), north, "WGS-84"], wkt
    if wkt.startswith("GEOGCS") or code == 4326:
        return ["Geographic Lat/Lon", *(["WGS-84"] if code == 4326 else [])], wkt
    projection = re.search(r'PROJECTION\["([^"]*)"', wkt)
    return [projection[1].replace("_", " ") if projection else "Arbitrary"], wkt


def _number(crs: str) -> int:
    code = re.fullmatch(r"EPSG:(\d+)", crs.strip(), re.I)
    return int(code[1]) if code else 0


def _rasterio_crs(crs: str) -> Any:
    with needs_extra("comparing coordinate reference systems", "geo"):
        from rasterio.crs import CRS
    return CRS.from_user_input(crs, morph_from_esri_dialect=True)


def same_crs(one: str, other: str) -> bool:
    """Whether two coordinate reference systems are the same, however they are written.

    Raises:
        MissingExtraError: they are written differently, and rasterio is not installed.
    """
    if one.split() == other.split():
        return True
    first, second = _rasterio_crs(one), _rasterio_crs(other)
    return bool(first == second) or (first.to_epsg() is not None and first.to_epsg() == second.to_epsg())


def transformed(
    source: str, target: str, x: NDArray[np.float64], y: NDArray[np.float64]
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Coordinates of one reference system in another, longitude before latitude; infinite where it has none for them.

    Raises:
        MissingExtraError: rasterio is not installed.
    """
    systems = _rasterio_crs(source), _rasterio_crs(target)
    from rasterio.warp import transform

    across, down = transform(*systems, x.ravel(), y.ravel())
    return np.array(across, np.float64).reshape(x.shape), np.array(down, np.float64).reshape(y.shape)


def inverse(transform: Transform) -> Transform:
    """The transform from coordinates back to column and row. Raises SceneError where the pixels have no size."""
    a, b, c, d, e, f = transform
    determinant = a * e - b * d
    if determinant == 0:
        raise SceneError("a transform whose pixels have no size")
    a, b, d, e = e / determinant, -b / determinant, -d / determinant, a / determinant
    return a, b, -a * c - b * f, d, e, -d * c - e * f


def _moved(points: tuple[Point, ...], others: tuple[Point, ...]) -> bool:
    """Whether control points of the same pixels lie elsewhere."""
    known = {(column, row): (x, y) for column, row, x, y, _ in others}
    pairs = [((x, y), known[column, row]) for column, row, x, y, _ in points if (column, row) in known]
    return any(not math.isclose(a, b, rel_tol=1e-6, abs_tol=1e-6) for one, other in pairs for a, b in zip(one, other))


def difference(labels: Georeference | None, cube: Georeference | None, shape: tuple[int, int]) -> str:
    """Distance or turn of a label map of `shape` against its cube's grid, in words; "" where it lies on it, or nobody can tell.

    Raises:
        SceneError: the cube's pixels have no size.
        MissingExtraError: see `same_crs`.
    """
    if labels is None or cube is None:
        return ""
    if labels.crs and cube.crs and not same_crs(labels.crs, cube.crs):
        return f"they are in {labels.crs_name}, the cube in {cube.crs_name}"
    if labels.transform is None or cube.transform is None:
        return "their control points lie elsewhere" if _moved(labels.points, cube.points) else ""
    a, b, _, d, e, _ = inverse(cube.transform)
    _, _, c, _, _, f = cube.transform

    def position(column: int, row: int) -> tuple[float, float]:
        """Column and row of the cube at which a corner of the label map's pixel lies."""
        la, lb, lc, ld, le, lf = labels.transform  # type: ignore[misc]
        x, y = la * column + lb * row + lc - c, ld * column + le * row + lf - f  # first the difference: it keeps the digits
        return a * x + b * y, d * x + e * y

    height, width = shape
    left, top = position(0, 0)
    right, bottom = position(width, 0), position(0, height)
    across, down = (right[0] - left) / width, (bottom[1] - top) / height
    if abs(right[1] - top) > _SAME or abs(bottom[0] - left) > _SAME:
        return "their rows are turned against those of the cube"
    if across < 0 or down < 0:
        return f"their {'rows' if down < 0 else 'columns'} run the other way than the cube's"
    if abs(across - 1) * width > _SAME or abs(down - 1) * height > _SAME:
        return f"their pixels are {down:.6g} x {across:.6g} times as large as the cube's"
    if abs(left) > _SAME or abs(top) > _SAME:
        down, across = round(top, 6) + 0.0, round(left, 6) + 0.0  # no -0
        return f"they lie {down:.6g} rows down and {across:.6g} columns across from the cube's first pixel"
    return ""
