"""Polygons burnt onto a cube's grid, written by pyogrio; what they label is counted by hand."""

from __future__ import annotations

import json
import sqlite3
from pathlib import Path
from typing import Any

import numpy as np
import pytest

pyogrio = pytest.importorskip("pyogrio", reason="pyogrio reads polygons, and is not installed")
shapely = pytest.importorskip("shapely", reason="shapely holds polygons, and is not installed")
pytest.importorskip("rasterio", reason="rasterio burns polygons, and is not installed")

from rasterio.warp import transform  # noqa: E402

from hsiedge.errors import SceneError  # noqa: E402
from hsiedge.scenes.io.cube import Cube, SceneWarning  # noqa: E402
from hsiedge.scenes.io.georeference import Georeference, Transform  # noqa: E402
from hsiedge.scenes.io.reader import LabelRaster, read_labels  # noqa: E402
from hsiedge.scenes.open import open_scene  # noqa: E402
from tests.scenes.io.files import write_envi  # noqa: E402

SHAPE = (12, 10)
NORTH_UP: Transform = (30, 0, 500000, 0, -30, 5800000)
WHEAT, MAIZE, BARLEY = (slice(0, 4), slice(0, 3)), (slice(4, 12), slice(0, 3)), (slice(2, 7), slice(5, 10))
SUFFIXES = (".gpkg", ".geojson", ".shp")


def grid(georeference: Georeference | None = None, shape: tuple[int, int] = SHAPE) -> Cube:
    place = georeference or Georeference(NORTH_UP, "EPSG:32633")
    return Cube.of_array(np.ones((*shape, 2), np.uint16), Path("flight.tif"), georeference=place)


def field(rows: slice, columns: slice, crs: str = "EPSG:32633") -> Any:
    """Rectangle around the centres of some pixels of the north-up grid, its border 6 m inside of theirs."""
    west, east = 500000 + 30 * columns.start + 6, 500000 + 30 * columns.stop - 6
    north, south = 5800000 - 30 * rows.start - 6, 5800000 - 30 * rows.stop + 6
    corners = [(west, north), (east, north), (east, south), (west, south)]
    return shapely.Polygon(list(zip(*transform("EPSG:32633", crs, *zip(*corners)))))


def _is_word(value: Any) -> bool:
    return isinstance(value, str)


def write(path: Path, shapes: list[Any], crs: str | None = "EPSG:32633", layer: str | None = None, **fields: list[Any]) -> Path:
    kinds = {shape.geom_type for shape in shapes if shape is not None}
    values = [
        np.array(column, object if any(isinstance(value, str) for value in column) else None) for column in fields.values()
    ]
    geometry = shapely.to_wkb(np.array(shapes, object))
    options = {"layer": layer, "append": True} if layer and path.exists() else {"layer": layer}
    pyogrio.raw.write(
        path, geometry, values, list(fields), geometry_type=kinds.pop() if len(kinds) == 1 else "Unknown", crs=crs, **options
    )
    return path


def burnt(path: Path, class_field: str | None = "crop", cube: Cube | None = None, key: str | None = None) -> LabelRaster:
    return read_labels(path, key, cube=cube or grid(), class_field=class_field)


def expected(wheat: int, maize: int, barley: int) -> np.ndarray:
    ids = np.zeros(SHAPE, np.uint16)
    ids[WHEAT], ids[MAIZE], ids[BARLEY] = wheat, maize, barley
    return ids


def fields_of(crs: str = "EPSG:32633") -> list[Any]:
    return [field(*place, crs) for place in (WHEAT, MAIZE, BARLEY)]


@pytest.mark.parametrize("suffix", SUFFIXES)
@pytest.mark.parametrize("crs", ["EPSG:32633", "EPSG:4326", "EPSG:3857"])
@pytest.mark.filterwarnings("ignore:.*GeoJSON.*:UserWarning")
def test_words_are_numbered_in_their_order(tmp_path: Path, suffix: str, crs: str) -> None:
    labels = burnt(write(tmp_path / f"fields{suffix}", fields_of(crs), crs, crop=["wheat", "maize", "barley"], other=[1, 2, 3]))
    assert labels.class_names == {1: "barley", 2: "maize", 3: "wheat"}
    assert (labels.array == expected(3, 2, 1)).all()


@pytest.mark.parametrize("suffix", SUFFIXES)
@pytest.mark.parametrize("values", [[7, 300, 2], [7.0, 300.0, 2.0], ["7", "300", "2"]])
def test_whole_numbers_are_ids(tmp_path: Path, suffix: str, values: list[Any]) -> None:
    labels = burnt(write(tmp_path / f"fields{suffix}", fields_of("EPSG:4326"), "EPSG:4326", crop=values))
    assert (labels.array == expected(7, 300, 2)).all()
    assert labels.class_names == {}


def test_rotated_and_south_up_grids(tmp_path: Path) -> None:
    path = write(tmp_path / "fields.gpkg", fields_of(), crop=[1, 2, 3])
    south_up = grid(Georeference((30, 0, 500000, 0, 30, 5800000 - 360), "EPSG:32633"))
    assert (burnt(path, cube=south_up).array == expected(1, 2, 3)[::-1]).all()
    turned = grid(Georeference((0, 30, 500000, -30, 0, 5800000), "EPSG:32633"), SHAPE[::-1])  # its columns go south
    assert (burnt(path, cube=turned).array == expected(1, 2, 3).T).all()


def test_features_without_value_or_geometry_are_counted(tmp_path: Path) -> None:
    shapes = [*fields_of(), None, field(slice(9, 12), slice(6, 9)), field(slice(9, 12), slice(6, 9))]
    path = write(tmp_path / "fields.gpkg", shapes, crop=["a", "b", "c", "a", None, " "])
    with pytest.warns(SceneWarning, match="3 of 6 features, without a class or a geometry, are left out"):
        assert (burnt(path).array == expected(1, 2, 3)).all()


def test_overlaps_of_different_classes_are_counted(tmp_path: Path) -> None:
    shapes = [*fields_of(), field(slice(0, 4), slice(0, 3)), field(slice(3, 6), slice(1, 6))]
    write(tmp_path / "alike.gpkg", shapes[:4], crop=[5, 6, 7, 5])
    assert (burnt(tmp_path / "alike.gpkg").array == expected(5, 6, 7)).all()
    path = write(tmp_path / "fields.gpkg", shapes, crop=[5, 6, 7, 5, 9])
    with pytest.raises(SceneError, match=r"polygons of different classes overlap in 9 pixels of the cube, first 5 and 9"):
        burnt(path)


def test_the_field_is_asked_for(tmp_path: Path) -> None:
    for suffix in SUFFIXES:
        path = write(tmp_path / f"fields{suffix}", fields_of("EPSG:4326"), "EPSG:4326", crop=[1, 2, 3], owner=["x", "y", "z"])
        with pytest.raises(SceneError, match="which field holds the classes\\? it has crop, owner; use class_field=NAME"):
            burnt(path, None)
        with pytest.raises(SceneError, match="has no field 'plant'; it has crop, owner"):
            burnt(path, "plant")


def test_the_layer_is_asked_for(tmp_path: Path) -> None:
    path = write(tmp_path / "fields.gpkg", fields_of(), layer="2025", crop=[1, 2, 3])
    write(path, fields_of(), layer="2026", crop=[4, 5, 6])
    with pytest.raises(SceneError, match="name the layer; it has 2025, 2026; use labels_key=NAME"):
        burnt(path)
    assert (burnt(path, key="2026").array == expected(4, 5, 6)).all()
    with pytest.raises(SceneError, match="has no layer '2024'; it has 2025, 2026"):
        burnt(path, key="2024")


@pytest.mark.parametrize(
    ("values", "message"),
    [([1.5, 2.0, 3.0], "not whole numbers"), ([-1, 2, 3], "a class of -1"), ([1, 2, 70000], "a class of 70000")],
)
def test_values_that_are_no_classes(tmp_path: Path, values: list[Any], message: str) -> None:
    with pytest.raises(SceneError, match=message):
        burnt(write(tmp_path / "fields.gpkg", fields_of(), crop=values))


def test_values_of_other_kinds(tmp_path: Path) -> None:
    features = [{"type": "Feature", "geometry": None, "properties": {"crop": kind}} for kind in (["a"], {"b": 1})]
    for feature in features:
        (tmp_path / "fields.geojson").write_text(json.dumps({"type": "FeatureCollection", "features": [feature]}))
        with pytest.raises(SceneError, match=r"class_field: .* its classes are no words or numbers"):
            burnt(tmp_path / "fields.geojson")
    path = write(tmp_path / "dates.gpkg", fields_of(), crop=np.array(["2026-05-01", "2026-05-02", "2026-05-03"], "M8[D]"))
    with pytest.raises(SceneError, match="its classes are no words or numbers"):
        burnt(path)


@pytest.mark.filterwarnings("ignore:'crs' was not provided:UserWarning")
def test_other_shapes_and_places(tmp_path: Path) -> None:
    points = write(tmp_path / "points.gpkg", [shapely.Point(500015, 5799985)], crop=[1])
    with pytest.raises(SceneError, match="holds Point; polygons are expected"):
        burnt(points)
    path = write(tmp_path / "fields.gpkg", fields_of(), crop=[1, 2, 3])
    far = grid(Georeference((30, 0, 700000, 0, -30, 5800000), "EPSG:32633"))
    with pytest.raises(SceneError, match="no pixel of the cube has its centre in one of the 3 polygons"):
        burnt(path, cube=far)
    for cube in (grid(Georeference(None, "EPSG:32633")), None):
        with pytest.raises(SceneError, match="which must have coordinates"):
            read_labels(path, cube=cube, class_field="crop")
    bare = write(tmp_path / "bare.shp", fields_of(), None, crop=[1, 2, 3])
    with pytest.raises(SceneError, match=r"bare\.shp: does not say in which coordinate reference system"):
        burnt(bare)
    assert (burnt(bare, cube=grid(Georeference(NORTH_UP))).array == expected(1, 2, 3)).all()


def test_rasters_have_no_fields(tmp_path: Path) -> None:
    np.save(tmp_path / "labels.npy", np.ones(SHAPE, np.uint8))
    with pytest.raises(SceneError, match=r"class_field: .* hold no fields: their values are the classes"):
        burnt(tmp_path / "labels.npy")


class TestStrangers:
    """Files that are not what they are called, or that lead elsewhere."""

    def test_other_formats_under_these_names(self, tmp_path: Path) -> None:
        real = write(tmp_path / "real.gpkg", fields_of(), crop=[1, 2, 3])
        virtual = (
            f'<OGRVRTDataSource><OGRVRTLayer name="real"><SrcDataSource>{real}</SrcDataSource></OGRVRTLayer></OGRVRTDataSource>'
        )
        pipeline = json.dumps({"type": "gdal_streamed_alg", "command_line": f"gdal vector pipeline ! read {real}"})
        for content in (virtual, pipeline, "", "{", "[" * 5000, '{"type": "FeatureCollection"}'):
            for suffix in (*SUFFIXES, ".json"):
                path = tmp_path / f"fields{suffix}"
                path.write_text(content)
                with pytest.raises(SceneError, match=r"not a |cannot be read") as caught:
                    burnt(path)
                assert "\n" not in str(caught.value)

    def test_truncated(self, tmp_path: Path) -> None:
        for suffix in SUFFIXES:
            path = write(tmp_path / f"fields{suffix}", fields_of("EPSG:4326"), "EPSG:4326", crop=[1, 2, 3])
            content = path.read_bytes()
            for length in (10, 90, len(content) // 2):
                path.write_bytes(content[:length])
                with pytest.raises(SceneError) as caught:
                    burnt(path)
                assert "\n" not in str(caught.value)

    def test_a_virtual_table_of_another_file(self, tmp_path: Path) -> None:
        """A GeoPackage whose layer is a virtual table of GDAL's, over a file elsewhere."""
        secret = write(tmp_path / "secret.gpkg", fields_of(), crop=["a", "b", "c"])
        path = write(tmp_path / "fields.gpkg", fields_of(), layer="fields", crop=[1, 2, 3])
        with sqlite3.connect(path) as database:
            database.execute("PRAGMA writable_schema=ON")
            database.execute("DELETE FROM sqlite_master WHERE type='trigger'")
            database.execute(
                "UPDATE sqlite_master SET sql=?, rootpage=0 WHERE type='table' AND name='fields'",
                (f"CREATE VIRTUAL TABLE fields USING VirtualOGR('{secret}', 0, 'secret')",),
            )
        database.close()
        with pytest.raises(SceneError, match="no such module: VirtualOGR"):
            burnt(path)

    def test_a_part_that_is_a_link_elsewhere(self, tmp_path: Path) -> None:
        path = write(tmp_path / "fields.shp", fields_of(), crop=[1, 2, 3])
        (tmp_path / "elsewhere").mkdir()
        (tmp_path / "fields.dbf").rename(tmp_path / "elsewhere" / "fields.dbf")
        (tmp_path / "fields.dbf").symlink_to(tmp_path / "elsewhere" / "fields.dbf")
        with pytest.raises(SceneError, match=r"fields\.dbf: a link to another folder"):
            burnt(path)


def test_a_scene_with_polygons(tmp_path: Path) -> None:
    info = "map info = {UTM, 1, 1, 500000, 5800000, 30, 30, 33, North, WGS-84}"
    cube = write_envi(tmp_path, np.ones((*SHAPE, 2), np.uint16), extra=info)
    path = write(tmp_path / "fields.gpkg", fields_of(), crop=["wheat", "maize", "barley"])
    scene = open_scene(cube, path, class_field="crop")
    assert scene.classes == {1: "barley", 2: "maize", 3: "wheat"}
    assert (scene.labelled() == expected(3, 2, 1)).all()


@pytest.mark.parametrize(
    ("features", "crs", "says"),
    [
        ([None], {}, "one of its features is none"),
        ([{"properties": {"crop": 1}}], {}, "no feature has a class and a geometry"),
        ([], {"crs": {"type": "link", "properties": {"href": "crs.wkt"}}}, "its crs names no coordinate reference system"),
        ([], {"crs": "EPSG:32633"}, "its crs names no coordinate reference system"),
    ],
)
def test_geojson_that_lacks_something(tmp_path: Path, features: list[Any], crs: dict[str, Any], says: str) -> None:
    known = {"type": "Feature", "properties": {"crop": 0}, "geometry": None}
    path = tmp_path / "fields.geojson"
    path.write_text(json.dumps({"type": "FeatureCollection", "features": [known, *features], **crs}))
    with pytest.raises(SceneError, match=says):
        burnt(path)


def test_long_edges_bend_in_another_reference_system(tmp_path: Path) -> None:
    """A parallel of latitude, which lies kilometres north of a straight line between points 3 degrees from each other."""
    (x,), (y,) = transform("EPSG:4326", "EPSG:32633", [16.5], [50.0])
    cube = grid(Georeference((30, 0, x - 150, 0, -30, y + 180), "EPSG:32633"))
    path = write(tmp_path / "strip.gpkg", [shapely.box(15, 50, 18, 51)], "EPSG:4326", crop=[1])
    labelled = burnt(path, cube=cube).array
    assert labelled[:5].all()
    assert not labelled[7:].any()
