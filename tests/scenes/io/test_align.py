"""Label maps that lie elsewhere than their cube: refused, or resampled as GDAL does (rasterio)."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from hsiedge.errors import OptionError, SceneError
from hsiedge.scenes.io.align import placed
from hsiedge.scenes.io.cube import Cube, SceneWarning
from hsiedge.scenes.io.georeference import Georeference, Transform
from hsiedge.scenes.io.reader import LabelRaster
from hsiedge.scenes.open import open_scene
from tests.scenes.io.files import write_envi

NORTH_UP: Transform = (30, 0, 500000, 0, -30, 5800000)
SHAPE = (12, 10)
IDS = np.random.default_rng(1).integers(0, 5, SHAPE).astype(np.uint8)


def cube_at(transform: Transform | None, crs: str = "EPSG:32633", **more: Any) -> Cube:
    place = Georeference(transform, crs, **more)
    return Cube.of_array(np.ones((*SHAPE, 2), np.uint16), Path("flight.tif"), georeference=place)


def labels_at(transform: Transform, crs: str = "EPSG:32633", ids: np.ndarray = IDS) -> LabelRaster:
    return LabelRaster(ids, {}, None, Georeference(transform, crs))


def aligned(labels: LabelRaster, cube: Cube) -> np.ndarray:
    with pytest.raises(SceneError, match=r"do not lie on the cube's grid: .*; use align"):
        placed(labels, cube)
    with pytest.warns(SceneWarning, match=r"labelled pixels were taken over"):
        return placed(labels, cube, align=True).array


def by_gdal(labels: LabelRaster, cube: Cube) -> np.ndarray:
    """The same by rasterio.warp, without its approximation of the projection."""
    warp = pytest.importorskip("rasterio.warp", reason="rasterio is not installed")
    from rasterio import Affine

    target = np.zeros(cube.shape, labels.array.dtype)
    places = [(Affine(*place.georeference.transform), place.georeference.crs) for place in (labels, cube)]
    (source_at, source_crs), (target_at, target_crs) = places
    warp.reproject(
        labels.array,
        target,
        src_transform=source_at,
        src_crs=source_crs,
        dst_transform=target_at,
        dst_crs=target_crs,
        tolerance=0,
    )
    return target


def test_shifted_by_whole_pixels() -> None:
    expected = np.zeros_like(IDS)
    expected[3:, 2:] = IDS[:-3, :-2]
    assert (aligned(labels_at((30, 0, 500060, 0, -30, 5799910)), cube_at(NORTH_UP)) == expected).all()


def test_stored_south_up() -> None:
    assert (aligned(labels_at((30, 0, 500000, 0, 30, 5799640), ids=IDS[::-1]), cube_at(NORTH_UP)) == IDS).all()


def test_finer_coarser_and_of_another_size() -> None:
    fine = np.repeat(np.repeat(IDS, 3, 0), 3, 1)
    assert (aligned(labels_at((10, 0, 500000, 0, -10, 5800000), ids=fine), cube_at(NORTH_UP)) == IDS).all()
    coarse = IDS[:6, :5]
    expected = np.repeat(np.repeat(coarse, 2, 0), 2, 1)
    assert (aligned(labels_at((60, 0, 500000, 0, -60, 5800000), ids=coarse), cube_at(NORTH_UP)) == expected).all()
    larger = np.pad(IDS, ((0, 4), (0, 7)), constant_values=3)
    assert (aligned(labels_at(NORTH_UP, ids=larger), cube_at(NORTH_UP)) == IDS).all()


@pytest.mark.parametrize("seed", range(6))
@pytest.mark.parametrize("crs", ["EPSG:32633", "EPSG:32632", "EPSG:4326"])
def test_as_gdal_resamples(seed: int, crs: str) -> None:
    """Grids turned, stretched and moved at random."""
    warp = pytest.importorskip("rasterio.warp", reason="rasterio is not installed")
    random = np.random.default_rng(seed)
    angle, size = random.uniform(-3, 3), random.uniform(8, 60)
    across, down = size * np.cos(angle), size * np.sin(angle)
    cube = cube_at((across, down, 500000 + random.uniform(-90, 90), down, -across, 5799800 + random.uniform(-90, 90)))
    (west, east), (south, north) = warp.transform("EPSG:32633", crs, [499500, 500800], [5799000, 5800600])
    ids = random.integers(1, 9, (70, 60)).astype(np.uint16)
    labels = labels_at(((east - west) / 60, 0, west, 0, (south - north) / 70, north), crs, ids)
    ours = aligned(labels, cube)
    assert (ours == by_gdal(labels, cube)).all()
    assert len(np.unique(ours)) > 5


def test_how_many_pixels_were_taken_over() -> None:
    ids = np.zeros(SHAPE, np.uint8)
    ids[0, 0], ids[11, 9] = 1, 2
    labels = labels_at((30, 0, 500000, 0, -30, 5800030), ids=ids)
    with pytest.warns(SceneWarning, match=r"1 of 2 labelled pixels were taken over .* where they label 1$"):
        placed(labels, cube_at(NORTH_UP), align=True)


def test_on_the_grid_nothing_is_resampled() -> None:
    labels = labels_at(NORTH_UP)
    assert placed(labels, cube_at(NORTH_UP), align=True) is labels


def test_without_coordinates_there_is_nothing_to_align_by() -> None:
    points = ((0.0, 0.0, 13.0, 52.0, 0.0),) * 3
    with pytest.raises(SceneError, match=r"align: .* the cube cannot be aligned: the file has only control points"):
        placed(labels_at(NORTH_UP), cube_at(None, points=points), align=True)
    with pytest.raises(SceneError, match=r"its labels cannot be aligned: the file has no coordinates"):
        placed(LabelRaster(IDS), cube_at(NORTH_UP), align=True)
    assert placed(LabelRaster(IDS), cube_at(NORTH_UP)).array is IDS


def test_control_points_elsewhere() -> None:
    points = ((0.0, 0.0, 13.0, 52.0, 0.0), (10.0, 0.0, 13.1, 52.0, 0.0), (0.0, 12.0, 13.0, 51.9, 0.0))
    cube = cube_at(None, "EPSG:4326", points=points)
    labels = LabelRaster(IDS, {}, None, Georeference(None, "EPSG:4326", points))
    assert placed(labels, cube) is labels
    moved = tuple((column, row, x + 1, y, z) for column, row, x, y, z in points)
    with pytest.raises(SceneError, match="their control points lie elsewhere"):
        placed(LabelRaster(IDS, {}, None, Georeference(None, "EPSG:4326", moved)), cube)


def test_coordinates_far_from_the_projection_hold_no_label() -> None:
    pytest.importorskip("rasterio", reason="rasterio knows the systems, and is not installed")
    labels = labels_at((1, 0, 100, 0, -1, 89), "EPSG:4326")
    with pytest.raises(SceneError, match=r"align: .* none of the 99 labelled pixels lies on the cube"):
        placed(labels, cube_at(NORTH_UP), align=True)


class TestScenes:
    def test_two_envi_files_without_rasterio(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setitem(__import__("sys").modules, "rasterio", None)
        info = "map info = {{UTM, 1, 1, {}, 5800000, 30, 30, 33, North, WGS-84}}"
        for name, array, east in (("cube", np.ones((*SHAPE, 2), np.uint16), 500000), ("labels", IDS[..., None], 500030)):
            (tmp_path / name).mkdir()
            write_envi(tmp_path / name, array, extra=info.format(east))
        files = tmp_path / "cube" / "flight.hdr", tmp_path / "labels" / "flight.hdr"
        with pytest.raises(SceneError, match="they lie 0 rows down and 1 columns across"):
            open_scene(*files)
        with pytest.warns(SceneWarning, match="taken over"):
            scene = open_scene(*files, align=True)
        assert (scene.labelled()[:, 1:] == IDS[:, :-1]).all()

    @pytest.mark.parametrize("options", [{"align": True}, {"class_field": "crop"}])
    def test_options_of_labels_need_labels(self, options: dict[str, Any]) -> None:
        with pytest.raises(OptionError, match=f"{next(iter(options))}: goes with labels of your own; use labels=FILE"):
            open_scene("indian_pines", **options)

    def test_masks_lie_on_the_grid_too(self, tmp_path: Path) -> None:
        info = "map info = {{UTM, 1, 1, {}, 5800000, 30, 30, 33, North, WGS-84}}"
        for name, array, east in (
            ("cube", np.ones((*SHAPE, 2), np.uint16), 500000),
            ("labels", IDS[..., None], 500000),
            ("mask", IDS[..., None], 500030),
        ):
            (tmp_path / name).mkdir()
            write_envi(tmp_path / name, array, extra=info.format(east))
        cube, labels, mask = (tmp_path / name / "flight.hdr" for name in ("cube", "labels", "mask"))
        with pytest.raises(SceneError, match="do not lie on the cube's grid"):
            open_scene(cube, labels).split(train_mask=mask, test_mask=labels)
