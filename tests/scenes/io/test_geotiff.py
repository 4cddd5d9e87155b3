"""GeoTIFF files and mosaics of tiles: written here with rasterio, and EnMAP over Potsdam from beside the checkout."""

from __future__ import annotations

import itertools
import shutil
import types
from pathlib import Path

import numpy as np
import pytest

rasterio = pytest.importorskip("rasterio", reason="rasterio writes and reads GeoTIFF, and is not installed")

from hsiedge.errors import MissingExtraError, OptionError, SceneError, SplitError  # noqa: E402
from hsiedge.scenes import splits  # noqa: E402
from hsiedge.scenes.io import mosaic  # noqa: E402
from hsiedge.scenes.io.cube import SceneWarning  # noqa: E402
from hsiedge.scenes.open import open_scene  # noqa: E402
from hsiedge.scenes.pack import pack  # noqa: E402
from hsiedge.scenes.scene import Scene  # noqa: E402
from hsiedge.scenes.splits import TEST, TRAIN, VALIDATION, draw  # noqa: E402
from tests.scenes.io.files import facts, refused  # noqa: E402

SIDE, BANDS, NODATA = 16, 4, -9999.0
ORIGIN = (500000.0, 6000000.0)


def write(path: Path, array: np.ndarray, row: float = 0, column: float = 0, crs: str = "EPSG:32633", **more) -> Path:
    """An array `(bands, height, width)` as GeoTIFF, its corner `row` and `column` pixels of 30 m from the origin."""
    path.parent.mkdir(parents=True, exist_ok=True)
    transform = rasterio.Affine(30, 0, ORIGIN[0] + 30 * column, 0, -30, ORIGIN[1] - 30 * row)
    tags = more.pop("tags", {})
    bands, height, width = array.shape
    shape = {"count": bands, "height": height, "width": width, "dtype": array.dtype, "crs": crs, "transform": transform}
    with rasterio.open(path, "w", driver="GTiff", **shape, **more) as data:
        data.write(array)
        for band, items in tags.items():
            data.update_tags(band, **items)
    return path


def cube(row: int, column: int) -> np.ndarray:
    """Counts that tell where they stand."""
    rows, columns = np.mgrid[row : row + SIDE, column : column + SIDE]
    return np.stack([1000 * band + 30 * rows + columns for band in range(BANDS)]).astype(np.float32)


def labels(row: int, column: int) -> np.ndarray:
    rows, columns = np.mgrid[row : row + SIDE, column : column + SIDE]
    return (1 + (rows // 4 + columns // 4) % 3).astype(np.uint8)[None]


@pytest.fixture
def tiles(tmp_path) -> Path:
    """Five of the six tiles of a 2 x 3 mosaic; the lists name three of them."""
    folder = tmp_path / "mosaic"
    for row, column in itertools.product((0, 16), (0, 16, 32)):
        if (row, column) != (16, 32):
            write(folder / "images" / f"t_{row}_{column}.tif", cube(row, column), row, column, nodata=NODATA)
            write(folder / "labels" / f"t_{row}_{column}.tif", labels(row, column), row, column)
    (folder / "train_files.csv").write_text("image,mask\nimages/t_0_0.tif,labels/t_0_0.tif\nimages/t_16_0.tif,x\n")
    (folder / "validation_files.csv").write_text("image,mask\n../../elsewhere/t_0_16.tif,y\n")
    (folder / "test_files.csv").write_text("t_16_16.tif\n")
    return folder


def test_a_file_with_wavelengths_bad_bands_and_nodata(tmp_path) -> None:
    tags_by_band = {band: {"wavelength": str(0.4 + band / 10), "wavelength_units": "Micrometers"} for band in range(1, 5)}
    tags_by_band[3]["bbl"] = "0"
    path = write(tmp_path / "cube.tif", cube(0, 0), nodata=NODATA, tags=tags_by_band)
    scene = open_scene(path, write(tmp_path / "labels.tif", labels(0, 0)))
    assert scene.cube.shape == (SIDE, SIDE, 3)
    np.testing.assert_array_equal(scene.cube, np.delete(cube(0, 0), 2, 0).transpose(1, 2, 0))
    assert scene.cube.flags.c_contiguous
    assert scene.wavelengths == pytest.approx((500, 600, 800))
    assert scene.nodata == NODATA
    assert scene.georeference is not None
    assert scene.georeference.crs_name == "WGS 84 / UTM zone 33N"
    assert scene.georeference.transform == (30, 0, 500000, 0, -30, 6000000)
    assert scene.left_out == (2,)
    np.testing.assert_array_equal(scene.labels, labels(0, 0)[0])


def test_a_fourth_band_of_bytes_is_alpha_unless_it_has_a_wavelength(tmp_path) -> None:
    """GDAL calls four bands of bytes red, green, blue and alpha as it writes them."""
    array = cube(0, 0).astype(np.uint8)
    array[3, :2] = 0
    with pytest.warns(SceneWarning, match="its band 4 is an alpha band, and taken as a mask"):
        scene = open_scene(write(tmp_path / "cube.tif", array))
    assert (scene.bands, scene.empty.sum()) == (3, (array[3] == 0).sum())
    array[0, 3] = 9
    with pytest.warns(SceneWarning, match="alpha"):  # a nodata value beside it: both count
        both = open_scene(write(tmp_path / "both.tif", array, nodata=9))
    np.testing.assert_array_equal(both.empty, (array[3] == 0) | (array[:3] == 9).any(0))
    tags = {band: {"wavelength": str(band * 100), "wavelength_units": "nm"} for band in range(1, 5)}
    scene = open_scene(write(tmp_path / "bands.tif", array, tags=tags))
    assert (scene.bands, scene.valid, scene.wavelengths) == (4, None, (100, 200, 300, 400))
    np.testing.assert_array_equal(scene.cube, array.transpose(1, 2, 0))


@pytest.mark.parametrize("internal", ["YES", "NO"])
def test_a_mask_of_the_file(tmp_path, internal) -> None:
    mask = np.full((SIDE, SIDE), 255, np.uint8)
    mask[:, 5:7] = 0
    with rasterio.Env(GDAL_TIFF_INTERNAL_MASK=internal):
        for name, array in (("cube.tif", cube(0, 0)), ("labels.tif", labels(0, 0))):
            write(tmp_path / name, array, nodata=NODATA if name == "cube.tif" else None)
            with rasterio.open(tmp_path / name, "r+") as data:
                data.write_mask(mask)
    scene = open_scene(tmp_path / "cube.tif", tmp_path / "labels.tif")
    np.testing.assert_array_equal(scene.empty, mask == 0)
    np.testing.assert_array_equal(scene.labels, np.where(mask, labels(0, 0)[0], 0))


@pytest.mark.parametrize(
    "tags",
    [
        {"CENTRAL_WAVELENGTH_UM": (0.4, 0.5, 0.6, 0.7)},
        {"CENTRAL_WAVELENGTH": (400, 500, 600, 700)},
        {"Center_Wavelength": ("400 nm", "0.5 um", "600nm", "700.0 Nanometers")},
    ],
)
def test_wavelengths_by_other_names(tmp_path, tags) -> None:
    by_band = {band: {name: str(values[band - 1]) for name, values in tags.items()} for band in range(1, 5)}
    assert open_scene(write(tmp_path / "cube.tif", cube(0, 0), tags=by_band)).wavelengths == pytest.approx((400, 500, 600, 700))


@pytest.mark.parametrize("texts", ["refl_{}nm", "Band ({} nm)", "b{}: {}.0 Nanometers", "{}", "({}.00)", "Wavelength = {}"])
def test_wavelengths_in_descriptions(tmp_path, texts) -> None:
    path = write(tmp_path / "cube.tif", cube(0, 0))
    with rasterio.open(path, "r+") as data:
        data.descriptions = [texts.format(value, value) for value in (400, 500, 600, 700)]
    assert open_scene(path).wavelengths == (400, 500, 600, 700)


@pytest.mark.parametrize(
    "texts", [("1", "2", "3", "4"), ("400", "500", "600", "sum"), ("400", "500", "500", "600"), ("150", "250", "350", "450")]
)
def test_descriptions_that_are_no_wavelengths(tmp_path, texts) -> None:
    path = write(tmp_path / "cube.tif", cube(0, 0))
    with rasterio.open(path, "r+") as data:
        data.descriptions = texts
    assert open_scene(path).wavelengths == ()


def test_a_list_of_the_file(tmp_path) -> None:
    path = write(tmp_path / "cube.tif", cube(0, 0))
    with rasterio.open(path, "r+") as data:
        data.update_tags(wavelength="[400, 500, 600, 700]", wavelength_units="nm")
    assert open_scene(path).wavelengths == (400, 500, 600, 700)


def test_wavelengths_of_some_bands_are_told(tmp_path) -> None:
    path = write(tmp_path / "cube.tif", cube(0, 0), tags={2: {"wavelength": "500", "wavelength_units": "nm"}})
    with pytest.warns(SceneWarning, match="only 1 of its 4 bands have a wavelength: they are left out"):
        assert open_scene(path).wavelengths == ()


@pytest.mark.parametrize("domain", [None, "ENVI"])
def test_what_envi_said_before(tmp_path, domain) -> None:
    path = write(tmp_path / "cube.tif", cube(0, 0))
    with rasterio.open(path, "r+") as data:
        data.update_tags(ns=domain, reflectance_scale_factor="10000", data_ignore_value="33")
    scene = open_scene(path)
    assert (scene.scale, scene.quantity, scene.nodata) == ((0.0001,) * 4, "reflectance", 33)


def test_pages_are_not_left_out_without_a_word(tmp_path) -> None:
    """What ImageJ and tifffile write: a page a band, of which GDAL reads the first."""
    pillow = pytest.importorskip("PIL.Image", reason="Pillow writes pages, and is not installed")
    pages = [pillow.fromarray(band.astype(np.uint16)) for band in cube(0, 0)]
    pages[0].save(tmp_path / "pages.tif", save_all=True, append_images=pages[1:])
    for files in ([tmp_path / "pages.tif"], [write(tmp_path / "cube.tif", cube(0, 0)), tmp_path / "pages.tif"]):
        with pytest.raises(SceneError, match="a TIFF of 4 pages; one page with all bands is expected"):
            open_scene(*files)


@pytest.mark.parametrize(("scale", "offset"), [(0.1, 0), (1, -1)])
def test_labels_with_a_scale(tmp_path, scale: float, offset: float) -> None:
    path = write(tmp_path / "labels.tif", labels(0, 0))
    with rasterio.open(path, "r+") as data:
        data.scales, data.offsets = (scale,), (offset,)
    with pytest.raises(SceneError, match=f"a label map with a scale of {scale} and an offset of {offset}"):
        open_scene(write(tmp_path / "cube.tif", cube(0, 0)), path)


def test_labels_packed_with_loss(tmp_path) -> None:
    path = write(tmp_path / "labels.tif", labels(0, 0), compress="JPEG")
    with pytest.raises(SceneError, match=r"packed with loss \(JPEG\), which changes ids"):
        open_scene(write(tmp_path / "cube.tif", cube(0, 0)), path)


@pytest.mark.filterwarnings("ignore:Dataset has no geotransform")
@pytest.mark.parametrize("dtype", ["complex64", "complex_int16"])
def test_complex_numbers(tmp_path, dtype) -> None:
    path = tmp_path / "cube.tif"
    with rasterio.open(path, "w", driver="GTiff", count=2, height=4, width=4, dtype=dtype, crs="EPSG:4326") as data:
        data.write(np.ones((2, 4, 4), np.complex64))
    with pytest.raises(SceneError, match=f"its bands hold {dtype}; numbers of one kind"):
        open_scene(path)


def test_warnings_are_heard_while_a_file_is_open(tmp_path) -> None:
    cube_file, truth = write(tmp_path / "cube.tif", cube(0, 0)), write(tmp_path / "labels.tif", labels(0, 0), row=1)
    with pytest.warns(SceneWarning, match="taken over"):
        open_scene(cube_file, truth, align=True)


@pytest.mark.parametrize("nodata", [np.nan, -9999.0, -3.4028234663852886e38])
def test_a_float_label_map_with_nodata(tmp_path, nodata) -> None:
    ids = labels(0, 0).astype(np.float32)
    ids[0, :3] = nodata
    scene = open_scene(write(tmp_path / "cube.tif", cube(0, 0)), write(tmp_path / "labels.tif", ids, nodata=nodata))
    expected = labels(0, 0)[0]
    expected[:3] = 0
    np.testing.assert_array_equal(scene.labels, expected)


def test_a_mosaic_is_one_cube_with_gaps(tiles) -> None:
    scene = Scene.open(tiles)
    assert (scene.name, scene.shape, scene.bands, scene.nodata) == ("mosaic", (32, 48), BANDS, NODATA)
    for row, column in itertools.product((0, 16), (0, 16, 32)):
        part = scene.cube[row : row + SIDE, column : column + SIDE].transpose(2, 0, 1)
        gap = (row, column) == (16, 32)
        np.testing.assert_array_equal(part, np.full_like(part, NODATA) if gap else cube(row, column))
        tile_labels = scene.labels[row : row + SIDE, column : column + SIDE]
        np.testing.assert_array_equal(tile_labels, np.zeros_like(tile_labels) if gap else labels(row, column)[0])
    assert scene.empty.sum() == SIDE * SIDE
    assert scene.empty[16:, 32:].all()


def test_labels_from_another_folder(tiles) -> None:
    assert (tiles / "labels").rename(tiles.parent / "truth")
    scene = open_scene(tiles / "images", tiles.parent / "truth")
    assert scene.parts is None
    np.testing.assert_array_equal(scene.labels, Scene.open(_with(tiles, tiles.parent / "truth")).labels)


def test_labels_of_a_mosaic_in_one_file(tiles) -> None:
    whole = np.concatenate([np.concatenate([labels(row, column)[0] for column in (0, 16, 32)], 1) for row in (0, 16)])
    scene = open_scene(tiles, write(tiles.parent / "truth.tif", whole[None]))
    np.testing.assert_array_equal(scene.labels, whole)
    moved = write(tiles.parent / "moved.tif", whole[None], row=1)
    with pytest.raises(SceneError, match="they lie 1 rows down"):
        open_scene(tiles, moved)
    with pytest.warns(SceneWarning, match="taken over"):
        scene = open_scene(tiles, moved, align=True)
    np.testing.assert_array_equal(scene.labels[1:], whole[:-1])


def _with(tiles: Path, truth: Path) -> Path:
    truth.rename(tiles / "labels")
    return tiles


def test_lists_are_a_split(tiles) -> None:
    scene = Scene.open(tiles)
    split = draw("lists", scene, 5)
    assert (split.kind, split.seed, split.guard, split.fraction) == ("lists", 5, None, None)
    assert (split.parts[:, :16][split.parts[:, :16] > 0] == TRAIN).all()
    assert (split.parts[16:, 16:32][split.parts[16:, 16:32] > 0] == TEST).all()
    assert (split.parts[:16, 32:] == 0).all()  # a tile that no list names
    assert {TRAIN, VALIDATION, TEST} <= set(np.unique(split.parts).tolist())
    assert splits.redraw(scene, split.facts).digest == split.digest


@pytest.mark.parametrize("kind", ["lists", "random", "blocks"])
def test_no_patch_of_a_split_holds_nodata(tiles, kind) -> None:
    scene = Scene.open(tiles)
    split = draw(kind, scene, 0, 0.2, 2 if kind == "blocks" else None)
    reach = splits.NODATA_GUARD
    rows, columns = np.nonzero(split.parts)
    assert len(rows) > 100
    for row, column in zip(rows, columns):
        around = scene.empty[max(0, row - reach) : row + reach + 1, max(0, column - reach) : column + reach + 1]
        assert not around.any()


def test_scenes_without_nodata_keep_their_splits(indian_pines) -> None:
    digests = {"random": "ad476835205df895", "blocks": "c887ba4da65f24bc"}  # of benchmarks/results, made before
    assert {kind: draw(kind, indian_pines, 0).digest[:16] for kind in digests} == digests


def test_a_net_that_would_see_nodata_is_refused(tiles) -> None:
    scene = Scene.open(tiles)
    splits.check_nodata(scene, 6)
    with pytest.raises(SplitError, match="use patch=13 or less"):
        splits.check_nodata(scene, 7)


def test_a_pack_keeps_the_lists(tiles, tmp_path) -> None:
    scene = Scene.open(tiles)
    pack(scene, tmp_path / "mosaic.npz")
    again = open_scene(tmp_path / "mosaic.npz")
    assert again.sha256 == scene.sha256
    assert draw("lists", again).digest == draw("lists", scene).digest


def test_a_scene_without_lists(indian_pines) -> None:
    with pytest.raises(OptionError, match="no lists of its own"):
        draw("lists", indian_pines)


def spoil_crs(folder: Path) -> None:
    write(folder / "images" / "t_0_16.tif", cube(0, 16), 0, 16, crs="EPSG:32632", nodata=NODATA)


def spoil_grid(folder: Path) -> None:
    write(folder / "images" / "t_0_16.tif", cube(0, 16), 0.5, 16, nodata=NODATA)


def spoil_bands(folder: Path) -> None:
    write(folder / "images" / "t_0_16.tif", cube(0, 16)[:3], 0, 16, nodata=NODATA)


def spoil_overlap(folder: Path) -> None:
    write(folder / "images" / "t_0_16.tif", cube(0, 16), 0, 12, nodata=NODATA)


def spoil_distance(folder: Path) -> None:
    write(folder / "images" / "t_0_16.tif", cube(0, 16), 30000, 30000, nodata=NODATA)


def spoil_file(folder: Path) -> None:
    path = folder / "images" / "t_0_16.tif"
    path.write_bytes(path.read_bytes()[:600])


def spoil_labels(folder: Path) -> None:
    write(folder / "labels" / "t_0_16.tif", labels(0, 16), -16, 16)


def spoil_list(folder: Path) -> None:
    (folder / "test_files.csv").write_text("image,mask\nimages/other.tif,x\n")


def spoil_lists(folder: Path) -> None:
    (folder / "test_files.csv").write_text("images/t_0_0.tif\n")


def spoil_missing(folder: Path) -> None:
    (folder / "test_files.csv").unlink()


@pytest.mark.parametrize(
    ("spoil", "message"),
    [
        (spoil_crs, "its coordinates are WGS 84 / UTM zone 32N"),
        (spoil_grid, "between the pixels"),
        (spoil_bands, "other bands"),
        (spoil_overlap, "overlaps another tile"),
        (spoil_distance, "less than a thousandth"),
        (spoil_file, "t_0_16.tif"),
        (spoil_labels, "outside of the cube"),
        (spoil_list, "which is no tile"),
        (spoil_lists, "stands in two lists"),
        (spoil_missing, "all of train_files.csv"),
    ],
)
def test_mosaics_that_are_none(tiles, spoil, message) -> None:
    spoil(tiles)
    with pytest.raises(SceneError, match=message) as error:
        Scene.open(tiles)
    assert "\n" not in str(error.value)


def test_gaps_without_a_nodata_value(tmp_path) -> None:
    for column in (0, 32):
        write(tmp_path / "m" / f"{column}.tif", cube(0, column), 0, column)
    with pytest.raises(SceneError, match="name no nodata value"):
        Scene.open(tmp_path / "m")


def test_a_virtual_raster_that_points_elsewhere_is_not_followed(tmp_path) -> None:
    real = write(tmp_path / "real.tif", cube(0, 0))
    virtual = tmp_path / "virtual.tif"
    virtual.write_text(
        f'<VRTDataset rasterXSize="16" rasterYSize="16"><VRTRasterBand dataType="Float32" band="1"><SimpleSource>'
        f"<SourceFilename>{real}</SourceFilename></SimpleSource></VRTRasterBand></VRTDataset>"
    )
    with pytest.raises(SceneError, match="not a whole GeoTIFF"):
        open_scene(virtual)


def test_a_file_too_large_for_the_memory(tmp_path, monkeypatch) -> None:
    import psutil

    path = write(tmp_path / "cube.tif", cube(0, 0))
    monkeypatch.setattr(psutil, "virtual_memory", lambda: type("Memory", (), {"available": 100})())
    with pytest.raises(SceneError, match="MiB are free"):
        open_scene(path)


def test_without_rasterio(tmp_path, monkeypatch) -> None:
    path = write(tmp_path / "cube.tif", cube(0, 0))
    monkeypatch.setitem(__import__("sys").modules, "rasterio", None)
    with pytest.raises(MissingExtraError, match=r"hsiedge\[geo\]"):
        open_scene(path)


@pytest.mark.slow
def test_enmap_over_potsdam(shared) -> None:
    """The counts of its own summary, tile by tile."""
    scene = Scene.open(shared / "data" / "enmap_potsdam")
    assert scene.shape == (192, 160)
    assert (scene.bands, len(scene.wavelengths)) == (218, 218)  # of 224, six ruled out
    assert scene.wavelengths[0] == pytest.approx(418.24)
    assert scene.empty.mean() == 0.4  # 18 tiles of 30
    split = draw("lists", scene, 0)
    assert split.dropped == (6,)
    counted = [np.bincount(split.parts[scene.labels == label], minlength=4)[1:].tolist() for label in (1, 2, 3, 4)]
    assert counted == [[402, 48, 55], [704, 103, 146], [847, 532, 315], [1660, 286, 124]]  # Summary_train_val.csv
    assert 0.6 < splits.leaked(split, 6) < 0.7
    blocks = draw("blocks", scene, 0)
    assert blocks.dropped == ()
    assert splits.leaked(blocks, 6) == 0
    assert mosaic.LISTS[0] == "train_files.csv"


def test_what_is_shown_of_a_mosaic(tiles) -> None:
    from rich.console import Console

    from hsiedge.report.terminal.scene import scene_tables

    scene = Scene.open(tiles)
    console = Console(width=100, record=True, file=__import__("io").StringIO())
    console.print(*scene_tables(scene, splits.draw_all(scene)), sep="\n")
    text = console.export_text()
    assert "0.0 to 3961.0; 16.7 % of the pixels hold no data" in text
    assert "WGS 84 / UTM zone 33N, pixels of 30 x 30" in text
    assert "lists: train/val/test" in text
    assert "lists leaks: " in text


def test_lists_of_another_length_are_named(tmp_path) -> None:
    path = write(tmp_path / "a.tif", cube(0, 0))
    with rasterio.open(path, "r+") as data:
        data.update_tags(wavelength="{450, 550, 650}", wavelength_units="nm", bbl="{1, 0}")
    notes = (
        "its 3 wavelengths are not for 4 bands, and are left out",
        "its 2 bad-band flags are not for 4 bands, and are left out",
    )
    assert facts(path).notes == notes


def test_a_block_too_large_for_the_memory(tmp_path, monkeypatch) -> None:
    path = write(tmp_path / "a.tif", cube(0, 0), tiled=True, blockxsize=256, blockysize=256)
    write(tmp_path / "labels.tif", labels(0, 0), tiled=True, blockxsize=256, blockysize=256)
    monkeypatch.setattr("psutil.virtual_memory", lambda: types.SimpleNamespace(available=60_000))
    refused(path, "needs 0 MiB, 0 MiB are free")
    refused(tmp_path / "labels.tif", "needs 0 MiB, 0 MiB are free", ndim=2)


class TestTilesThatDiffer:
    def test_ids_that_only_some_tiles_can_hold(self, tiles) -> None:
        write(tiles / "labels/t_16_16.tif", np.full((1, SIDE, SIDE), 300, np.uint16), 16, 16)
        assert set(np.unique(open_scene(tiles).labels)) == {0, 1, 2, 3, 300}

    def test_wavelengths_in_another_order(self, tmp_path) -> None:
        for column, lengths in ((0, (450, 550, 650, 750)), (16, (750, 650, 550, 450))):
            tags = {band: {"wavelength": str(length)} for band, length in enumerate(lengths, 1)}
            write(tmp_path / "tiles" / f"t_{column}.tif", cube(0, column), 0, column, tags=tags)
        with pytest.raises(SceneError, match=r"t_16\.tif: has other bands or wavelengths"):
            open_scene(tmp_path / "tiles")

    def test_nan_is_no_data_in_all(self, tmp_path) -> None:
        for column in (0, 16):
            write(tmp_path / "images" / f"t_{column}.tif", cube(0, column), 0, column, nodata=np.nan)
            ids = np.where(labels(0, column) == 3, np.nan, labels(0, column)).astype(np.float32)
            write(tmp_path / "labels" / f"t_{column}.tif", ids, 0, column, nodata=np.nan)
        assert np.unique(open_scene(tmp_path).labels).tolist() == [0, 1, 2]

    def test_notes_of_each_are_kept(self, tmp_path) -> None:
        for column in (0, 16):
            path = write(tmp_path / "tiles" / f"t_{column}.tif", cube(0, column), 0, column)
        with rasterio.open(path, "r+") as data:
            data.update_tags(bbl="{1, 0}")
        with pytest.warns(SceneWarning, match="its 2 bad-band flags are not for 4 bands"):
            open_scene(tmp_path / "tiles")

    def test_two_of_one_name(self, tiles) -> None:
        shutil.copy(tiles / "images/t_0_0.tif", tiles / "images/t_0_0.tiff")
        with pytest.raises(SceneError, match=r"t_0_0\.tiff: a tile of the same name as t_0_0\.tif"):
            open_scene(tiles)
