"""Georeferences of all formats are one; GDAL reads what we write, and we read what GDAL writes."""

from __future__ import annotations

import math
from pathlib import Path

import numpy as np
import pytest

rasterio = pytest.importorskip("rasterio", reason="GDAL is what georeferences are compared with")

from rasterio.control import GroundControlPoint  # noqa: E402

from hsiedge.mapping.writers import MapFacts, not_kept, writer  # noqa: E402
from hsiedge.quiet import quiet  # noqa: E402
from hsiedge.scenes.io.georeference import Georeference, Transform, difference, from_envi, same_crs, to_envi  # noqa: E402
from hsiedge.scenes.io.reader import open_cube  # noqa: E402
from tests.scenes.io.files import write_envi  # noqa: E402

CUBE = np.arange(4 * 6 * 3, dtype=np.uint16).reshape(4, 6, 3)
NORTH_UP: Transform = (30.0, 0.0, 500000.0, 0.0, -30.0, 5800000.0)
SOUTH_UP: Transform = (30.0, 0.0, 500000.0, 0.0, 30.0, 5800000.0)
SINE, COSINE = (30 * function(math.radians(25)) for function in (math.sin, math.cos))
ROTATED: Transform = (COSINE, SINE, 500000.0, SINE, -COSINE, 5800000.0)
SHEARED: Transform = (30.0, 5.0, 500000.0, 0.0, -30.0, 5800000.0)


def place_of(path: Path) -> tuple[Transform, int | None]:
    """Transform and EPSG code of a file, as GDAL reads them."""
    with quiet(prints=False), rasterio.open(path) as data:
        return tuple(data.transform)[:6], data.crs.to_epsg() if data.crs else None


def geotiff(path: Path, transform: Transform | None = NORTH_UP, crs: str | None = "EPSG:32633", **options: object) -> Path:
    point = options.pop("point", False)
    place = {"transform": rasterio.Affine(*transform)} if transform else {}
    shape = {"height": 4, "width": 6, "count": 3, "dtype": "uint16"}
    with quiet(prints=False), rasterio.open(path, "w", driver="GTiff", crs=crs, **shape, **place, **options) as data:
        if point:
            data.update_tags(AREA_OR_POINT="Point")
        data.write(CUBE.transpose(2, 0, 1))
    return path


def write_map(path: Path, place: Georeference | None) -> Path:
    with writer(path, MapFacts((4, 6), {1: "water", 2: "trees"}, place)) as take:
        take(np.ones((4, 6), np.uint16))
    return path if path.suffix != ".hdr" else path.with_suffix(".img")


def place(path: Path) -> Georeference | None:
    with open_cube(path) as cube:
        return cube.georeference


@pytest.mark.parametrize("transform", [NORTH_UP, SOUTH_UP, ROTATED], ids=["north", "south", "rotated"])
@pytest.mark.parametrize("crs", ["EPSG:32633", "EPSG:32733", "EPSG:3035", "EPSG:4326", None])
class TestEveryPairOfFormats:
    def test_geotiff_to_both(self, tmp_path: Path, transform: Transform, crs: str | None) -> None:
        source = place(geotiff(tmp_path / "cube.tif", transform, crs))
        for name in ("map.tif", "map.hdr"):
            wanted = place_of(tmp_path / "cube.tif")
            transform_of_map, code = place_of(write_map(tmp_path / name, source))
            assert transform_of_map == pytest.approx(wanted[0], rel=1e-12, abs=1e-9), name
            assert code == wanted[1], name
            assert not_kept(tmp_path / name, source) == ()

    def test_envi_to_both(self, tmp_path: Path, transform: Transform, crs: str | None) -> None:
        """ENVI as GDAL writes it."""
        shape = {"height": 4, "width": 6, "count": 3, "dtype": "uint16"}
        path, where = tmp_path / "cube.img", rasterio.Affine(*transform)
        with quiet(prints=False), rasterio.open(path, "w", driver="ENVI", crs=crs, transform=where, **shape) as data:
            data.write(CUBE.transpose(2, 0, 1))
        source, wanted = place(path), place_of(path)
        assert source is not None
        assert source.transform == pytest.approx(wanted[0], rel=1e-9)
        for name in ("map.tif", "map.hdr"):
            transform_of_map, code = place_of(write_map(tmp_path / name, source))
            assert transform_of_map == pytest.approx(wanted[0], rel=1e-9), name
            assert code == wanted[1], name


@pytest.mark.parametrize(
    ("info", "transform", "crs"),
    [
        ("UTM, 1, 1, 500000, 5800000, 30, 20, 33, North, WGS-84, units=Meters", (30, 0, 5e5, 0, -20, 5.8e6), "EPSG:32633"),
        ("UTM, 3, 2, 500000, 5800000, 30, 20, 33, South, WGS-84", (30, 0, 499940, 0, -20, 5800020), "EPSG:32733"),
        (
            "UTM, 1.5, 1.5, 500000, 5.8e6, 30, 30, 15, North, North America 1983",
            (30, 0, 499985, 0, -30, 5.800015e6),
            "EPSG:26915",
        ),
        ("UTM, 1, 1, 500000, 5800000, 30, 30, 15, North, NAD27", (30, 0, 5e5, 0, -30, 5.8e6), "EPSG:26715"),
        ("Geographic Lat/Lon, 1, 1, 13, 52, .1, .1, WGS-84, units=Degrees", (0.1, 0, 13, 0, -0.1, 52), "EPSG:4326"),
        ("UTM, 1, 1, 500000, 5800000, 30, 20, 33, North, WGS-84, rotation=180", (30, 0, 5e5, 0, 20, 5.8e6), "EPSG:32633"),
        ("UTM, 1, 1, 500000, 5800000, 30, 30, 33, North, WGS-84, rotation=-12.5", None, "EPSG:32633"),
        ("Arbitrary, 1, 1, 0, 0, 1, 1, 0, North", (1, 0, 0, 0, -1, 0), ""),
    ],
)
def test_map_info_as_gdal_reads_it(tmp_path: Path, info: str, transform: Transform | None, crs: str) -> None:
    path = write_envi(tmp_path, CUBE, extra=f"map info = {{{info}}}")
    source = place(path)
    assert source is not None
    assert source.crs == crs
    gdal, code = place_of(path.with_suffix(".img"))
    assert source.transform == pytest.approx(gdal, abs=1e-9)
    if transform is not None:
        assert source.transform == pytest.approx(transform)
    assert crs == (f"EPSG:{code}" if code else "")
    assert not source.lost


@pytest.mark.parametrize(
    ("info", "lost"),
    [
        ("UTM, 1, 1, 500000, 5800000, 30, 20, 33, North, WGS-84, rotation=30", "rotated pixels that are not square"),
        ("UTM, 3, 1, 500000, 5800000, 30, 30, 33, North, WGS-84, rotation=30", "turned around another pixel"),
        ("UTM, 1, 1, east, 5800000, 30, 30, 33, North, WGS-84", "its map info"),
        ("UTM, 1, 1, 5, 5, 0, 30, 33, North, WGS-84", "a number in it makes no sense"),
        ("UTM, 1, 1", "its map info, which is not whole"),
        ("State Plane (NAD 83), 1, 1, 5, 5, 30, 30, 401, feet", "its projection, State Plane"),
        ("UTM, 1, 1, 5, 5, 30, 30, 33, North, WGS-84, units=Feet", "its projection, UTM"),
    ],
)
def test_map_info_that_cannot_be_honoured_is_told(info: str, lost: str) -> None:
    source = from_envi({"map info": f"{{{info}}}"})
    assert source is not None
    assert any(lost in text for text in source.lost)
    assert source.transform is None or "projection" in lost
    assert source.crs in ("", "EPSG:32633")


def test_control_points(tmp_path: Path) -> None:
    points = [
        GroundControlPoint(row, column, 13 + column / 10, 52 - row / 10) for row, column in ((0, 0), (0, 6), (4, 0), (4, 6))
    ]
    source = place(geotiff(tmp_path / "cube.tif", None, "EPSG:4326", gcps=points))
    assert source is not None
    assert source.transform is None
    assert source.points[3] == (6, 4, pytest.approx(13.6), pytest.approx(51.6), 0)
    with rasterio.open(write_map(tmp_path / "map.tif", source)) as data:
        written, crs = data.gcps
        assert [(point.row, point.col, point.x, point.y) for point in written] == [
            (point.row, point.col, point.x, point.y) for point in points
        ]
        assert crs.to_epsg() == 4326
    assert not_kept(tmp_path / "map.hdr", source) == ("its control points",)
    assert not_kept(tmp_path / "map.png", source) == ("its coordinates",)


def test_geo_points_of_envi(tmp_path: Path) -> None:
    """Columns and rows from 1 on, latitude before longitude."""
    path = write_envi(
        tmp_path, CUBE, extra="geo points = {\n 1.5, 1.5, 52.0, 13.0,\n 4.0, 1.0, 52.0, 14.0,\n 1, 4, 51, 13, 4, 4, 51, 14}"
    )
    source = place(path)
    assert source is not None
    with quiet(prints=False), rasterio.open(path.with_suffix(".img")) as data:
        gdal = [(point.col, point.row, point.x, point.y) for point in data.gcps[0]]
    assert [point[:4] for point in source.points] == gdal
    system = "coordinate system string = {" + rasterio.CRS.from_epsg(32633).to_wkt() + "}"
    other = place(write_envi(tmp_path, CUBE, extra=f"geo points = {{1, 1, 52, 13, 4, 4, 51, 14}}\n{system}"))
    assert other is not None
    assert other.crs == "EPSG:4326"


def test_pixel_is_point(tmp_path: Path) -> None:
    """GDAL shifts by half a pixel as it reads and writes; the tag goes along."""
    source = place(geotiff(tmp_path / "cube.tif", point=True))
    assert source is not None
    assert source.pixel_is_point
    assert source.transform == NORTH_UP
    with rasterio.open(write_map(tmp_path / "map.tif", source)) as data:
        assert data.tags()["AREA_OR_POINT"] == "Point"
        assert tuple(data.transform)[:6] == NORTH_UP


def test_shear_is_not_for_envi(tmp_path: Path) -> None:
    source = place(geotiff(tmp_path / "cube.tif", SHEARED))
    assert not_kept(tmp_path / "map.hdr", source) == ("its rotation or shear",)
    assert place_of(write_map(tmp_path / "map.tif", source)) == (SHEARED, 32633)
    assert source is not None
    assert to_envi(source)[0] == {}


@pytest.mark.parametrize(
    ("labels", "shape", "says"),
    [
        (NORTH_UP, (4, 6), ""),
        ((30, 0, 500600, 0, -30, 5799400), (4, 6), "they lie 20 rows down and 20 columns across"),
        ((30, 0, 500015, 0, -30, 5800000), (4, 6), "they lie 0 rows down and 0.5 columns across"),
        ((30, 0, 500000, 0, 30, 5799880), (4, 6), "their rows run the other way"),
        ((-30, 0, 500180, 0, -30, 5800000), (4, 6), "their columns run the other way"),
        ((10, 0, 500000, 0, -10, 5800000), (12, 18), "their pixels are 0.333333 x 0.333333 times as large"),
        (ROTATED, (4, 6), "their rows are turned against those of the cube"),
    ],
)
def test_how_labels_lie_off_the_grid(labels: Transform, shape: tuple[int, int], says: str) -> None:
    text = difference(Georeference(labels, "EPSG:32633"), Georeference(NORTH_UP, "EPSG:32633"), shape)
    assert says in text
    assert bool(text) == bool(says)


def test_the_same_crs_however_it_is_written(tmp_path: Path) -> None:
    esri = rasterio.crs.CRS.from_epsg(32633).to_wkt(version="WKT1_ESRI")
    assert same_crs("EPSG:32633", esri)
    assert same_crs(esri, rasterio.crs.CRS.from_epsg(32633).to_wkt())
    assert not same_crs(esri, "EPSG:32632")
    assert difference(Georeference(NORTH_UP, esri), Georeference(NORTH_UP, "EPSG:32633"), (4, 6)) == ""
    text = difference(Georeference(NORTH_UP, "EPSG:32632"), Georeference(NORTH_UP, esri), (4, 6))
    assert text == "they are in EPSG:32632, the cube in WGS_1984_UTM_Zone_33N"


def test_as_plain_data_and_back() -> None:
    for source in (
        Georeference(NORTH_UP, "EPSG:32633", (), True),
        Georeference(None, "EPSG:4326", ((1.0, 2.0, 13.0, 52.0, 0.0),)),
        from_envi({"map info": "{UTM, 1, 1, 500000, 5800000, 30, 30, 33, North, WGS-84}"}),
    ):
        assert source is not None
        assert Georeference.from_json(source.to_json()) == source
    assert Georeference.from_json({}) is None
    old = Georeference.from_json({"crs": "EPSG:32633", "transform": "30 0 500000 0 -30 5800000"})  # of hsiedge 0.1
    assert old == Georeference(NORTH_UP, "EPSG:32633")
    with pytest.raises(ValueError, match="finite"):
        Georeference.from_json({"transform": [1, 0, math.nan, 0, 1, 0]})
