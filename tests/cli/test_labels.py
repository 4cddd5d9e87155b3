"""Options of label files: --align, --class-field and --labels-key."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from hsiedge.scenes.open import open_scene
from tests.cli.conftest import Hsiedge
from tests.scenes.io.files import write_envi

IDS = np.repeat(np.arange(4, dtype=np.uint8), 30).reshape(12, 10)


@pytest.fixture
def cube(tmp_path: Path) -> Path:
    return envi(tmp_path / "cube", np.arange(240, dtype=np.uint16).reshape(12, 10, 2), 5800000)


def envi(folder: Path, array: np.ndarray, north: float) -> Path:
    folder.mkdir()
    return write_envi(folder, array, extra=f"map info = {{UTM, 1, 1, 500000, {north}, 30, 30, 33, North, WGS-84}}")


def test_align(hsiedge: Hsiedge, tmp_path: Path, cube: Path) -> None:
    scene = ["scenes", "pack", "--cube", cube, "--labels", envi(tmp_path / "labels", IDS[..., None], 5799970)]
    refused = hsiedge(*scene, "-o", "scene.npz")
    assert (refused.code, refused.err.count("\n")) == (2, 1)
    assert "they lie 1 rows down and 0 columns across from the cube's first pixel; use --align" in refused.err
    assert not (tmp_path / "scene.npz").exists()
    taken = hsiedge(*scene, "--align", "-o", "scene.npz")
    assert taken.code == 0
    assert "80 of 90 labelled pixels were taken over" in taken.err
    assert (open_scene(tmp_path / "scene.npz").labelled()[1:] == IDS[:-1]).all()


def test_class_field(hsiedge: Hsiedge, tmp_path: Path, cube: Path) -> None:
    for package in ("pyogrio", "rasterio", "shapely"):
        pytest.importorskip(package, reason="it reads polygons, and is not installed")
    corners = [[500000, 5800000], [500100, 5800000], [500100, 5799800], [500000, 5799800], [500000, 5800000]]
    field = {"type": "Feature", "properties": {"crop": "rye"}, "geometry": {"type": "Polygon", "coordinates": [corners]}}
    crs = {"type": "name", "properties": {"name": "urn:ogc:def:crs:EPSG::32633"}}
    (tmp_path / "fields.geojson").write_text(json.dumps({"type": "FeatureCollection", "crs": crs, "features": [field]}))
    scene = ["scenes", "pack", "--cube", cube, "--labels", "fields.geojson", "-o", "scene.npz"]
    refused = hsiedge(*scene)
    assert refused.code == 2
    assert "which field holds the classes? it has crop; use --class-field NAME" in refused.err
    assert hsiedge(*scene, "--class-field", "crop").code == 0
    packed = open_scene(tmp_path / "scene.npz")
    assert packed.classes == {1: "rye"}
    assert (packed.labelled() > 0).sum() == 3 * 7


def test_they_go_with_labels(hsiedge: Hsiedge) -> None:
    pytest.importorskip("tensorly", reason="Indian Pines comes with tensorly")
    refused = hsiedge("scenes", "show", "indian_pines", "--align")
    assert refused.code == 2
    assert "--align: goes with labels of your own; use --labels FILE" in refused.err


def test_class_names(hsiedge: Hsiedge, tmp_path: Path, cube: Path) -> None:
    np.save(tmp_path / "ids.npy", IDS)
    scene = ["scenes", "pack", "--cube", cube, "--labels", "ids.npy", "-o", "scene.npz"]
    refused = hsiedge(*scene, "--class-names", "rye,oats")
    assert refused.error.startswith("hsiedge: error: --class-names: a list names the ids 1 to 2, the labels go to 3;")
    assert not (tmp_path / "scene.npz").exists()
    assert hsiedge(*scene, "--class-names", "rye,oats,bare soil").code == 0
    assert open_scene(tmp_path / "scene.npz").classes == {1: "rye", 2: "oats", 3: "bare soil"}
    (tmp_path / "legend.csv").write_text("1,rye\n2,wheat\n3,bare soil\n")
    assert hsiedge(*scene, "--class-names", "legend.csv").code == 0
    assert open_scene(tmp_path / "scene.npz").titles == ["rye", "wheat", "bare soil"]
    contradicted = hsiedge("scenes", "show", "scene.npz", "--class-names", "rye,oats,bare soil")
    assert "--class-names: class 2 is 'wheat' by the label file of flight, not 'oats'" in contradicted.error
    assert (
        "--class-names: none.csv: cannot be read" in hsiedge("scenes", "show", "scene.npz", "--class-names", "none.csv").error
    )


@pytest.mark.slow
def test_class_names_go_into_the_card_tables_and_maps(hsiedge: Hsiedge, tmp_path: Path, cube: Path) -> None:
    for package in ("torch", "onnx"):
        pytest.importorskip(package, reason="it trains and exports, and is not installed")
    np.save(tmp_path / "ids.npy", IDS)
    scene = ["--cube", cube, "--labels", "ids.npy"]
    trained = hsiedge(
        "train", *scene, "--class-names", "rye,oats,bare soil", "--net", "mlp", "--epochs", "1", "-o", "a.safetensors"
    )
    assert "--class-names 'rye,oats,bare soil'" in trained.err
    assert hsiedge("export", "a.safetensors", *scene, "-o", "a.onnx").code == 0
    assert "1 rye, 2 oats, 3 bare soil" in hsiedge("show", "a.onnx").out
    judged = hsiedge("eval", "a.onnx", *scene).out
    assert "bare soil" in judged
    assert "class 1" not in judged
    assert hsiedge("classify", "a.onnx", cube, "-o", "map.hdr").code == 0
    assert "bare soil" in (tmp_path / "map.hdr").read_text()
