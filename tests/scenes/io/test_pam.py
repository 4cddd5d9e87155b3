"""Class names from the side-car of a raster: what GDAL writes is read, what a stranger writes is not believed."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from hsiedge.errors import SceneError
from hsiedge.scenes.io import pam
from hsiedge.scenes.io.pam import category_names
from hsiedge.scenes.open import open_scene
from hsiedge.scenes.scene import Scene

PAM = """<PAMDataset>
  <Metadata><MDI key="Category">of another kind</MDI></Metadata>
  <PAMRasterBand band="1">
    <Metadata><MDI key="STATISTICS_MAXIMUM">3</MDI></Metadata>
    <CategoryNames>
      <Category>unknown</Category>
      <Category>Corn &amp; soy</Category>
      <Category></Category>
      <Category>
        W\u00e4lder &lt;alt&gt;
      </Category>
    </CategoryNames>
  </PAMRasterBand>
  <PAMRasterBand band="2"><CategoryNames><Category>a</Category><Category>b</Category></CategoryNames></PAMRasterBand>
</PAMDataset>"""
NAMES = {1: "Corn & soy", 3: "W\u00e4lder <alt>"}
LAUGHS = """<!DOCTYPE a [<!ENTITY a "ha"><!ENTITY b "&a;&a;&a;&a;&a;&a;&a;&a;">]>
<PAMDataset><PAMRasterBand band="1"><CategoryNames><Category>&b;</Category></CategoryNames></PAMRasterBand></PAMDataset>"""
ELSEWHERE = LAUGHS.replace('"ha"', 'SYSTEM "file:///etc/hostname"')


def beside(path: Path, text: str | bytes) -> Path:
    """A raster's path with a side-car."""
    path.with_name(path.name + ".aux.xml").write_bytes(text.encode() if isinstance(text, str) else text)
    return path


def labels_file(path: Path, labels: np.ndarray) -> Path:
    rasterio = pytest.importorskip("rasterio", reason="rasterio writes GeoTIFF, and is not installed")
    path.parent.mkdir(parents=True, exist_ok=True)
    shape = {"count": labels.shape[0], "height": labels.shape[1], "width": labels.shape[2], "dtype": labels.dtype}
    transform = rasterio.Affine(30, 0, 500000 + 30 * 8 * int(path.stem[-1]), 0, -30, 6000000)
    with rasterio.open(path, "w", driver="GTiff", crs="EPSG:32633", transform=transform, nodata=0, **shape) as data:
        data.write(labels)
    return path


def test_names_are_those_of_the_first_band(tmp_path: Path) -> None:
    assert category_names(beside(tmp_path / "a.tif", PAM)) == NAMES
    assert category_names(beside(tmp_path / "b.tif", PAM.encode("utf-16"))) == NAMES
    assert category_names(tmp_path / "none.tif") == {}
    assert category_names(beside(tmp_path / "c.tif", "<PAMDataset><SRS>EPSG:32633</SRS></PAMDataset>")) == {}


@pytest.mark.parametrize(
    ("text", "why"),
    [
        (LAUGHS, "declares a document type"),
        (LAUGHS.encode("utf-16"), "declares a document type"),
        (ELSEWHERE, "declares a document type"),
        (PAM[:200], "no element found|unclosed"),
        ("", "no element found"),
        (b"II*\x00\xff\xfe\x00", "syntax error"),
        (PAM.replace("Corn &", "Corn <"), "not well-formed"),
        ('<?xml version="1.0" encoding="klingon"?>' + PAM, "unknown encoding"),
        (PAM.replace("Corn &amp;", "Corn &other;"), "undefined entity"),
        (PAM.replace("<Category></Category>", "<Category/>" * 65536), "more than 65536 names"),
    ],
)
def test_what_is_no_side_car_is_refused_in_one_line(tmp_path: Path, text: str | bytes, why: str) -> None:
    with pytest.raises(SceneError, match=why) as error:
        category_names(beside(tmp_path / "a.tif", text))
    assert "a.tif.aux.xml" in str(error.value)
    assert "\n" not in str(error.value)


def test_a_side_car_that_is_too_large_is_not_parsed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pam, "_LARGEST", 1 << 20)
    with pytest.raises(SceneError, match="more than 1 MiB"):
        category_names(beside(tmp_path / "a.tif", PAM + " " * (1 << 20)))
    assert category_names(beside(tmp_path / "a.tif", PAM + " " * 1000)) == NAMES


def test_a_scene_knows_the_names_of_its_labels(tmp_path: Path) -> None:
    labels = np.arange(64, dtype=np.uint8).reshape(1, 8, 8) % 4
    np.save(tmp_path / "cube.npy", np.ones((8, 8, 3), np.uint16))
    scene = open_scene(tmp_path / "cube.npy", beside(labels_file(tmp_path / "labels0.tif", labels), PAM))
    assert scene.classes == {1: "Corn & soy", 2: "class 2", 3: "W\u00e4lder <alt>"}


def test_what_gdal_itself_writes_is_read(tmp_path: Path) -> None:
    rasterio = pytest.importorskip("rasterio", reason="rasterio has GDAL, and is not installed")
    shutil = pytest.importorskip("rasterio.shutil")
    read = beside(labels_file(tmp_path / "labels0.tif", np.ones((1, 8, 8), np.uint8)), PAM)
    with rasterio.Env(GDAL_PAM_ENABLED=True, GDAL_DISABLE_READDIR_ON_OPEN=False):
        shutil.copy(read, tmp_path / "copy.tif", driver="GTiff")
    assert (tmp_path / "copy.tif.aux.xml").read_bytes() != PAM.encode()
    assert category_names(tmp_path / "copy.tif") == NAMES


def test_a_cube_does_not_care_for_its_side_car(tmp_path: Path) -> None:
    cube = labels_file(tmp_path / "cube0.tif", np.ones((3, 8, 8), np.uint16))
    assert open_scene(beside(cube, LAUGHS)).bands == 3


def test_tiles_share_their_names(tmp_path: Path) -> None:
    labels = np.arange(64, dtype=np.uint8).reshape(1, 8, 8) % 4
    for tile in ("t0.tif", "t1.tif", "t2.tif"):
        labels_file(tmp_path / "m" / "images" / tile, np.ones((3, 8, 8), np.uint16))
        labels_file(tmp_path / "m" / "labels" / tile, labels)
    beside(tmp_path / "m" / "labels" / "t0.tif", PAM)
    beside(tmp_path / "m" / "labels" / "t2.tif", PAM.replace("<Category></Category>", "<Category>Oats</Category>"))
    assert Scene.open(tmp_path / "m").classes == {**NAMES, 2: "Oats"}
    beside(tmp_path / "m" / "labels" / "t1.tif", PAM.replace("<Category></Category>", "<Category>Rye</Category>"))
    with pytest.raises(SceneError, match=r"t2.tif: names class 2 Oats, another tile Rye"):
        Scene.open(tmp_path / "m")
