"""The checks of readers, map writers and runtimes: ours pass, and faulty ones are told what they lack."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import tests.plugin as plugin
from hsiedge.errors import CheckError
from hsiedge.live.source import SOURCES
from hsiedge.mapping.writers import WRITERS
from hsiedge.registry import run_file
from hsiedge.runtimes import ENGINES
from hsiedge.scenes.io.cube import Cube
from hsiedge.scenes.io.georeference import Georeference
from hsiedge.scenes.io.reader import CUBE_READERS, LABEL_READERS, LabelRaster
from hsiedge.scenes.scene import Scene
from hsiedge.shipped import shipped
from hsiedge.testing import check_reader, check_runtime, check_source, check_writer
from tests.test_registry import linear_model

EXAMPLE = plugin.PLUGIN / "example_plugin"
CUBE = np.random.default_rng(0).integers(1, 4000, (11, 7, 5)).astype(np.uint16)
LABELS = np.random.default_rng(1).integers(0, 9, (11, 7)).astype(np.uint8)


@pytest.fixture(autouse=True)
def _no_entries_of_other_tests(monkeypatch: pytest.MonkeyPatch) -> None:
    for registry in (CUBE_READERS, LABEL_READERS, WRITERS, ENGINES, SOURCES):
        monkeypatch.setattr(registry, "_files", {})
        monkeypatch.setattr(registry, "_loaded", {})


def faulty(folder: Path, source: str, old: str, new: str) -> Path:
    """A file of the example package with a fault."""
    text = (EXAMPLE / source).read_text()
    assert old in text
    (folder / source).write_text(text.replace(old, new))
    return folder / source


def write_mat(path: Path, array: np.ndarray) -> None:
    pytest.importorskip("scipy.io", reason="scipy writes the .mat").savemat(path, {"a": array})


def write_envi(path: Path, array: np.ndarray) -> None:
    height, width, bands = array.reshape(*array.shape[:2], -1).shape
    kind = {"uint16": 12, "uint8": 1}[array.dtype.name]
    path.write_text(
        f"ENVI\nsamples = {width}\nlines = {height}\nbands = {bands}\ndata type = {kind}\ninterleave = bip\nbyte order = 0\n"
        "header offset = 0\nfile type = ENVI Standard\n"
    )
    path.with_suffix(".img").write_bytes(array.tobytes())


def write_tif(path: Path, array: np.ndarray) -> None:
    rasterio = pytest.importorskip("rasterio", reason="rasterio writes the GeoTIFF")
    planes = array.reshape(*array.shape[:2], -1).transpose(2, 0, 1)
    profile = {"height": len(array), "width": array.shape[1], "count": len(planes), "dtype": array.dtype.name}
    with rasterio.open(path, "w", driver="GTiff", transform=rasterio.Affine(2, 0, 0, 0, -2, 0), **profile) as data:
        data.write(planes)


def write_hdf(path: Path, array: np.ndarray) -> None:
    with pytest.importorskip("h5py", reason="h5py writes the HDF5").File(path, "w") as file:
        file["cube"] = array


def write_png(path: Path, array: np.ndarray) -> None:
    pytest.importorskip("PIL.Image", reason="Pillow writes the PNG").fromarray(array).save(path)


def write_polygons(path: Path, array: np.ndarray) -> None:
    """A square a pixel."""
    for package in ("pyogrio", "rasterio", "shapely"):
        pytest.importorskip(package, reason="it reads polygons")
    features = [
        {
            "type": "Feature",
            "properties": {"id": int(label)},
            "geometry": {
                "type": "Polygon",
                "coordinates": [[[x, -y], [x + 1, -y], [x + 1, -y - 1], [x, -y - 1], [x, -y]]],
            },
        }
        for (y, x), label in np.ndenumerate(array)
        if label
    ]
    path.write_text(json.dumps({"type": "FeatureCollection", "crs": None, "features": features}))


FORMATS: dict[str, tuple[str, Callable[[Path, np.ndarray], Any]]] = {
    "mat": (".mat", write_mat),
    "npy": (".npy", np.save),
    "npz": (".npz", lambda path, array: np.savez(path, a=array)),
    "envi": (".hdr", write_envi),
    "geotiff": (".tif", write_tif),
    "hdf5": (".h5", write_hdf),
    "image": (".png", write_png),
    "polygons": (".geojson", write_polygons),
}
POLYGONS = {
    "cube": Cube.of_array(CUBE, georeference=Georeference((1.0, 0.0, 0.0, 0.0, -1.0, 0.0))),
    "class_field": "id",
}


class TestReaders:
    @pytest.mark.parametrize("name", CUBE_READERS)
    def test_ours_of_cubes_pass(self, name: str, tmp_path: Path) -> None:
        suffix, write = FORMATS[name]
        write(tmp_path / f"cube{suffix}", CUBE)
        check_reader(name, tmp_path / f"cube{suffix}", CUBE)

    @pytest.mark.parametrize("name", LABEL_READERS)
    def test_ours_of_labels_pass(self, name: str, tmp_path: Path) -> None:
        suffix, write = FORMATS[name]
        write(tmp_path / f"labels{suffix}", LABELS)
        expected, options = (LABELS.astype(np.uint16), POLYGONS) if name == "polygons" else (LABELS, {})
        check_reader(name, tmp_path / f"labels{suffix}", expected, **options)

    @pytest.mark.parametrize("array", [CUBE, LABELS], ids=["cube", "labels"])
    def test_the_examples_passes(self, array: np.ndarray, tmp_path: Path) -> None:
        run_file(EXAMPLE / "raw.py")[0].write(tmp_path / "a.raw", array)
        check_reader(f"{EXAMPLE}/raw.py:READER", str(tmp_path / "a.raw"), array)

    @pytest.mark.parametrize(
        ("old", "new", "reason"),
        [
            ("tuple(map(int, sizes)))", "tuple(map(int, sizes)))[::-1]", "has other values than the file"),
            ("tuple(map(int, sizes)))", "tuple(map(int, sizes))).astype(float)", "its dtype is float64"),
            (
                "Cube.of_array(_mapped(path), path)",
                "Cube.of_array(_mapped(path), path, valid=lambda first, count: np.ones(count, bool))",
                "its mask must have a value for each pixel",
            ),
            (
                "Cube.of_array(_mapped(path), path)",
                "Cube.of_array(_mapped(path), path, wavelengths=(1.0,))",
                "1 wavelengths are not for 5 bands",
            ),
            ("np.memmap(path, dtype,", "_padded(path, dtype,", "a file cut short is read as if it were whole"),
            ('(".raw",)', '(".war",)', r"another reader takes a\.raw; its suffixes are \.war"),
            ("*sizes, dtype =", "raise KeyError('x')\n        *sizes, dtype =", "cannot be read"),
        ],
    )
    def test_a_fault_is_told(self, old: str, new: str, reason: str, tmp_path: Path) -> None:
        run_file(EXAMPLE / "raw.py")[0].write(tmp_path / "a.raw", CUBE)
        source = faulty(tmp_path, "raw.py", old, new)
        padded = "def _padded(path, dtype, mode, offset, shape):\n    size = int(np.prod(shape)) * np.dtype(dtype).itemsize\n"
        padded += (
            "    data = path.read_bytes()[offset:].ljust(size, b'x')\n    return np.frombuffer(data, dtype).reshape(shape)\n"
        )
        source.write_text(source.read_text() + padded)
        with pytest.raises(CheckError, match=reason) as refused:
            check_reader(f"{source}:READER", tmp_path / "a.raw", CUBE)
        assert str(refused.value).startswith("reader READER: ")


class TestWriters:
    @pytest.mark.parametrize("name", WRITERS)
    def test_ours_pass(self, name: str) -> None:
        if name in ("geotiff", "png"):
            pytest.importorskip({"geotiff": "rasterio", "png": "matplotlib"}[name], reason="it writes this format")
        check_writer(name)

    def test_the_examples_passes(self) -> None:
        LABEL_READERS.name_of(f"{EXAMPLE}/raw.py:READER")
        check_writer(f"{EXAMPLE}/raw.py:WRITER")

    @pytest.mark.parametrize(
        ("old", "new", "reason"),
        [
            ("rows.astype(facts.dtype)", "rows.astype(np.uint8)", "holds other values than were written"),
            (
                "as file:\n        file.write",
                "as file:\n        path.touch()\n        file.write",
                "stopped halfway leaves map.raw",
            ),
            ("        yield lambda", "        path.with_name('x').touch()\n        yield lambda", "leaves x"),
        ],
    )
    def test_a_fault_is_told(self, old: str, new: str, reason: str, tmp_path: Path) -> None:
        source = faulty(tmp_path, "raw.py", old, new)
        read = run_file(EXAMPLE / "raw.py")[0].READER.labels
        with pytest.raises(CheckError, match=reason) as refused:
            check_writer(f"{source}:WRITER", lambda path: np.array(_labels(read, path)))
        assert str(refused.value).startswith("writer WRITER: ")


def _labels(read: Callable[..., LabelRaster], path: Path) -> np.ndarray:
    try:
        return read(path).array
    except ValueError:  # fewer bytes than its header tells of
        return np.zeros(0)


class TestRuntimes:
    @pytest.mark.parametrize(
        ("name", "suffix", "package"),
        [
            ("ort", ".onnx", "onnxruntime"),
            ("ort", "-int8.onnx", "onnxruntime"),
            ("litert", "-int8.tflite", "ai_edge_litert"),
            ("tflm", "-int8.tflite", "tflite_micro"),
            ("openvino", ".onnx", "openvino"),
            ("torch", ".safetensors", "torch"),
        ],
    )
    @pytest.mark.slow
    def test_ours_pass(self, name: str, suffix: str, package: str) -> None:
        pytest.importorskip(package, reason="the engine is not installed")
        check_runtime(name, shipped(suffix), shipped("-int8.onnx" if "int8" in suffix else ".onnx"))

    @pytest.fixture
    def model(self, tiny_scene: Scene, tmp_path: Path) -> Path:
        linear_model(tmp_path / "a.linear", tiny_scene)
        return tmp_path / "a.linear"

    def test_the_examples_passes(self, model: Path) -> None:
        check_runtime(f"{EXAMPLE}/linear_runtime.py:ENGINE", model)

    @pytest.mark.parametrize(
        ("old", "new", "reason"),
        [
            ('runtime = "example linear 1.0"', 'runtime = ""', "its session must tell its runtime"),
            ("+ self._biases", "* np.random.rand()", "other logits for the same patches|earlier one"),
            ("+ self._biases", "* len(counts)", "depend on the other patches of its batch"),
            ("raise ModelError(f\"the linear", "raise ValueError(f\"the linear", "end in ValueError, not in a ModelError"),
            ("(OSError, ValueError, KeyError, zipfile.BadZipFile)", "ZeroDivisionError", "a file cut short ends in"),
            ("        logits: NDArray", "        counts *= 2\n        logits: NDArray", "it changes what it is given"),
        ],
    )  # fmt: skip
    def test_a_fault_is_told(self, old: str, new: str, reason: str, model: Path, tmp_path: Path) -> None:
        source = faulty(tmp_path, "linear_runtime.py", old, new)
        with pytest.raises(CheckError, match=reason) as refused:
            check_runtime(f"{source}:ENGINE", model)
        assert str(refused.value).startswith("runtime ENGINE: ")


CAMERA = """
import numpy as np
from hsiedge.live.source import Source, line_cube

class Camera(Source):
    def __init__(self, address, options):
        super().__init__(address, options)
        self.cube = line_cube("camera", 3, 2, "uint16")

    def lines(self):
        number = 0
        while not self.stopped.is_set():
            yield np.full((1, 3, 2), number, np.uint16)
            number += 1
"""
LINES = np.arange(9, dtype=np.uint16)[:, None, None] * np.ones((1, 3, 2), np.uint16)


def camera(folder: Path, old: str = "", new: str = "") -> str:
    """A camera of one's own, with a fault."""
    assert old in CAMERA
    (folder / "camera.py").write_text(CAMERA.replace(old, new))
    return f"{folder / 'camera.py'}:Camera"


def test_a_source_passes(tmp_path: Path) -> None:
    check_source(camera(tmp_path), LINES)
    check_source(camera(tmp_path))
    np.save(tmp_path / "cube.npy", CUBE)
    check_source(f"replay:{tmp_path / 'cube.npy'}@5000*99", np.concatenate([CUBE, CUBE]))


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ('3, 2, "uint16"', '3, 4, "uint16"', r"gives uint16 \(1, 3, 2\); its cube tells of uint16 \(n, 3, 4\)"),
        ('3, 2, "uint16"', '3, 2, "int16"', r"gives uint16 \(1, 3, 2\); its cube tells of int16"),
        ("np.full((1, 3, 2), number, np.uint16)", "[number]", "it gives list"),
        ("number += 1", "number += 2", "lines 1 to 1 have other values"),
        ("not self.stopped.is_set()", "number < 5", "it ended after 5 lines; 9 were expected"),
        ("np.full((1,", "np.full((0,", "a block without lines"),
        ("            number += 1", "            number += 1\n        raise OSError('gone')", "it must end, not raise OSError"),
        ("self.cube = ", "cube = ", "AttributeError"),
        ("number = 0", "number = 1 / 0", "ZeroDivisionError"),
    ],
)
def test_a_faulty_source_is_told_what_it_lacks(tmp_path: Path, old: str, new: str, message: str) -> None:
    with pytest.raises(CheckError, match=message):
        check_source(camera(tmp_path, old, new), LINES)


def test_a_source_that_does_not_stop(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("hsiedge.testing.source._STOP_SECONDS", 0.2)
    text = camera(tmp_path, "not self.stopped.is_set()", "number < 50 and not __import__('time').sleep(0.02)")
    with pytest.raises(CheckError, match="does not end 0 s after `stopped` was set"):
        check_source(text, LINES)
