"""--to ort, --runtime and --provider: from files to labels, in the engines that are here."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import numpy as np
import pytest

pytest.importorskip("torch", reason="checkpoints are run by torch")
pytest.importorskip("openvino", reason="OpenVINO runs ONNX files")

from hsiedge.native.library import is_available, kernel_sets
from hsiedge.runtimes import load, read_card
from hsiedge.shipped import shipped
from tests import workstation
from tests.cli.conftest import Hsiedge


def test_ort_format_all_the_way(hsiedge: Hsiedge, tmp_path: Path) -> None:
    shutil.copy(shipped("-int8.onnx"), tmp_path / "a.onnx")
    exported = hsiedge("export", "a.onnx", "--to", "ort")
    assert exported.code == 0, exported.err
    name = "indian_pines-cnn2d-random-s0-int8.ort"
    assert "ORT format against ONNX on 512 pixels of indian_pines: labels equal, logits equal to the bit" in exported.err
    assert f"{name}  " in exported.err
    assert "next: hsiedge bench" in exported.err
    assert "ort against ONNX" in hsiedge("show", name).out

    scored = hsiedge("eval", "--json", "-")
    assert f"taking the newest, {name}" in scored.err
    assert json.loads(scored.out)["oa"] == json.loads(hsiedge("eval", "a.onnx", "--json", "-").out)["oa"]
    measured = hsiedge("bench", "--batch", "4", "--seconds", "0.05", "--runs", "2", "--json", "-")
    assert name in {entry["model"] for entry in json.loads(measured.out)["results"]}
    np.save(tmp_path / "flight.npy", workstation.corner(24).cube)
    classified = hsiedge("classify", name, "flight.npy", "-o", "map.npy", "--json", "-")
    assert json.loads(classified.out)["provider"] == "CPUExecutionProvider"
    assert len(np.unique(np.load(tmp_path / "map.npy"))) > 1


def test_a_checkpoint_becomes_ort(hsiedge: Hsiedge, tmp_path: Path) -> None:
    shutil.copy(workstation.checkpoint_file("cnn2d"), tmp_path / "a.safetensors")
    exported = hsiedge("export", "--to", "ort", "--scene-graph")
    assert exported.code == 0, exported.err
    (path,) = tmp_path.glob("*.ort")
    assert path.name == "indian_pines-cnn2d-random-s0-scene.ort"
    card = read_card(path)
    assert card is not None
    assert [step.step for step in card.lineage[-3:]] == ["export", "scene-graph", "ort"]
    assert "without the layout of float convolutions that onnxruntime has for x86 alone" in exported.err


def test_labels_are_the_same_in_every_runtime(hsiedge: Hsiedge, tmp_path: Path) -> None:
    cube = workstation.corner(24).cube
    np.save(tmp_path / "flight.npy", cube)
    files = {"ort": ".onnx", "openvino": ".onnx", "torch": ".safetensors"}
    maps = {}
    for runtime, suffix in files.items():
        done = hsiedge("classify", shipped(suffix), "flight.npy", "-o", f"{runtime}.npy", "--runtime", runtime, "--json", "-")
        assert done.code == 0, done.err
        maps[runtime] = np.load(tmp_path / f"{runtime}.npy")
        assert json.loads(done.out)["runtime"] == load(shipped(suffix), runtime=runtime).session.runtime
    np.testing.assert_array_equal(maps["openvino"], maps["ort"])
    np.testing.assert_array_equal(maps["torch"], maps["ort"])


@pytest.mark.skipif(not is_available(), reason="the native library was not built: there was no C compiler")
def test_the_native_engine_wherever_it_is_named(hsiedge: Hsiedge, tmp_path: Path) -> None:
    """Its labels are onnxruntime's; each result says which engine gave it, and with which kernels."""
    model, maps, scores = shipped("-int8-scene.onnx"), [], []
    np.save(tmp_path / "flight.npy", workstation.corner(24).cube)
    for runtime, title in (("native", "hsiedge native "), ("ort", "onnxruntime ")):
        words = ("--runtime", runtime, "--json", "-")
        done = json.loads(hsiedge("classify", model, "flight.npy", "-o", f"{runtime}.npy", *words).out)
        scores.append(json.loads(hsiedge("eval", model, *words).out))
        for result in (done, scores[-1]):
            assert result["runtime"].startswith(title)
        assert done["provider"] == (kernel_sets()[0] if runtime == "native" else "CPUExecutionProvider")
        maps.append(np.load(tmp_path / f"{runtime}.npy"))
    np.testing.assert_array_equal(*maps)
    assert len(np.unique(maps[0])) > 1
    assert scores[0]["confusion"] == scores[1]["confusion"]
    measured = hsiedge("bench", model, "--runtime", "all", "--seconds", "0.05", "--runs", "2", "--json", "-")
    engines = {entry["runtime"].rpartition(" ")[0]: entry["provider"] for entry in json.loads(measured.out)["results"]}
    assert engines.items() >= {"hsiedge native": kernel_sets()[0], "onnxruntime": "CPUExecutionProvider"}.items()


def test_a_checkpoint_is_evaluated_and_measured(hsiedge: Hsiedge, tmp_path: Path) -> None:
    shutil.copy(workstation.checkpoint_file("cnn2d"), tmp_path / "a.safetensors")
    scored = hsiedge("eval", "--runtime", "torch", "--json", "-")
    assert "taking the newest, a.safetensors" in scored.err
    expected = hsiedge("eval", workstation.float_file("cnn2d"), "--runtime", "openvino", "--json", "-")
    assert json.loads(scored.out)["confusion"] == json.loads(expected.out)["confusion"]
    measured = hsiedge("bench", "--runtime", "torch", "--batch", "4", "--seconds", "0.05", "--runs", "2", "--json", "-")
    (entry,) = json.loads(measured.out)["results"]
    assert (entry["runtime"].split()[0], entry["kind"], entry["provider"]) == ("PyTorch", "patch", "CPU")


def test_all_of_them(hsiedge: Hsiedge, tmp_path: Path) -> None:
    shutil.copy(workstation.checkpoint_file("cnn2d"), tmp_path / "a.safetensors")
    shutil.copy(workstation.integer_file("cnn2d"), tmp_path / "a.onnx")
    done = hsiedge("bench", "a.onnx", "a.safetensors", "--runtime", "all", "--batch", "8", "--seconds", "0.05", "--runs", "2")
    assert done.code == 0, done.err
    for name in ("a.onnx (ort)", "a.onnx (openvino)", "a.safetensors (torch)"):
        assert name in done.out
    assert done.out.count("Recommended here: ") == 1
    assert "pixels of seeded counts" in done.out


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (("export", "--to", "ort", "-o", "a.onnx"), "--to ort is written to a file that ends in .ort, not a.onnx"),
        (("export", "a.py:Net", "--to", "ort"), "becomes ONNX first; then hsiedge card, then --to ort"),
        (("export", "--to", "ort", "--tile", "3x3"), "--tile needs --to tflite: only TFLite scene graphs have a fixed size"),
        (("quantize", "--to", "ort", "--recipe", "float16"), "--recipe float16: saves nothing in ORT format"),
        (("eval", "a.onnx", "--runtime", "torch"), "--runtime torch: runs .safetensors files, not a.onnx"),
        (("eval", "a.onnx", "--runtime", "all"), "--runtime all: choose ort, native, litert, tflm, openvino, torch"),
        (("eval", "--runtime", "ort", "--provider", "cuda"), "--provider cuda: onnxruntime"),
        (
            ("classify", "a.tflite", "a.npy", "--provider", "cpu"),
            "--provider cpu: onnxruntime has providers, what runs a.tflite",
        ),
        (("eval", "a.ort", "--runtime", "openvino"), "--runtime openvino: runs .onnx files, not a.ort"),
    ],
)
def test_what_cannot_be(hsiedge: Hsiedge, words: tuple[str, ...], message: str, tmp_path: Path) -> None:
    done = hsiedge(*words)
    assert done.code == 2
    assert message in done.error
    assert not list(tmp_path.iterdir())
