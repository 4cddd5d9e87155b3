"""--to tflite and --runtime: from a float model to labels on LiteRT, and what cannot be."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import numpy as np
import pytest

pytest.importorskip("torch", reason="the net is trained with torch")
pytest.importorskip("tensorflow", reason="TFLite files are made with TensorFlow")

from tests import workstation
from tests.cli.conftest import Hsiedge


def test_from_a_checkpoint_to_labels(hsiedge: Hsiedge, tmp_path: Path) -> None:
    shutil.copy(workstation.checkpoint_file("cnn2d"), tmp_path / "a.safetensors")
    stem = "indian_pines-cnn2d-random-s0"
    exported = hsiedge("export", "--to", "tflite", "--scene-graph")
    assert exported.code == 0, exported.err
    assert "LiteRT against onnxruntime on 512 pixels of indian_pines: labels equal" in exported.err
    assert "labels 28 x 145 pixels at a time" in exported.err
    assert "WARNING" not in exported.err
    assert hsiedge("export", "--scene-graph").code == 0
    quantized = hsiedge("quantize", f"{stem}-scene.onnx", "-o", "int8.tflite", "--tile", "16x40", "--max-drop", "5")
    assert quantized.code == 0, quantized.err
    assert {path.name for path in tmp_path.iterdir()} == {
        *("a.safetensors", f"{stem}-scene.onnx", f"{stem}-scene.tflite", "int8.tflite"),
    }

    scored = hsiedge("eval", "--runtime", "litert", "--json", "-")
    assert "taking the newest, int8.tflite" in scored.err
    in_float = hsiedge("eval", f"{stem}-scene.onnx", "--runtime", "ort", "--json", "-")
    assert abs(json.loads(scored.out)["oa"] - json.loads(in_float.out)["oa"]) < 2

    measured = hsiedge("bench", "--runtime", "litert", "--seconds", "0.05", "--runs", "2", "--json", "-")
    assert measured.code == 0, measured.err
    results = json.loads(measured.out)["results"]
    assert [entry["runtime"].split()[0] for entry in results] == ["LiteRT"] * len(results)
    assert {tuple(entry["input_shape"]) for entry in results if entry["model"] == "int8.tflite"} == {(1, 22, 46, 200)}

    np.save(tmp_path / "flight.npy", workstation.corner(48).cube)
    mapped = hsiedge("classify", "int8.tflite", "flight.npy", "-o", "flight-map.npy", "--runtime", "litert")
    assert mapped.code == 0, mapped.err
    from hsiedge import Scene, load

    scene = Scene("flight", np.load(tmp_path / "flight.npy"), None, {})
    labels = load(tmp_path / "int8.tflite").predict(scene, np.arange(48 * 48))
    np.testing.assert_array_equal(np.load(tmp_path / "flight-map.npy").ravel(), labels)


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (("export", "--to", "coreml"), "--to coreml: choose onnx, ort, tflite"),
        (("export", "--to", "tflite", "-o", "a.onnx"), "--to tflite is written to a file that ends in .tflite, not a.onnx"),
        (("export", "--to", "tflite", "--tile", "3x3"), "this is a patch graph"),
        (("export", "--to", "tflite", "--scene-graph", "--tile", "3by3"), "--tile 3by3: ROWSxCOLUMNS is expected"),
        (("quantize", "--to", "tflite", "--tile", "0x3"), "--tile 0x3: at least one pixel"),
        (("quantize", "--to", "tflite", "--recipe", "tensorrt"), "--recipe tensorrt: is for onnxruntime"),
        (("bench", "a.onnx", "--runtime", "litert"), "--runtime litert: runs .tflite files, not a.onnx"),
        (("eval", "a.tflite", "--runtime", "ort"), "--runtime ort: runs .onnx and .ort files, not a.tflite"),
        (("classify", "a.onnx", "a.npy", "--runtime", "litert"), "--runtime litert: runs .tflite files, not a.onnx"),
        (("eval", "--runtime", "tvm"), "--runtime tvm: choose ort, native, litert, tflm, openvino, torch"),
        (("bench", "a.tflite"), "a.tflite: no such file"),
    ],
)
def test_what_cannot_be(hsiedge: Hsiedge, words: tuple[str, ...], message: str, tmp_path: Path) -> None:
    done = hsiedge(*words)
    assert done.code == 2
    assert message in done.error
    assert not list(tmp_path.iterdir())
