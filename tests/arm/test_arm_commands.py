"""The device's commands on emulated boards, which have hsiedge[quantize] from its wheel: results are those of this machine."""

from __future__ import annotations

import json
import socket
import subprocess
import sys
import threading
import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import hsiedge
from hsiedge.runtimes import require_card
from hsiedge.scenes.io.reader import read_labels
from hsiedge.scenes.scene import Scene
from tests.arm.board import CORES, Boards, Core, on_each

FACTS = {  # board, cores, whether they have the dot product of bytes
    "cortex-a72": ("Raspberry Pi 4 Model B Rev 1.1", "Cortex-A72", False),
    "cortex-a76": ("Raspberry Pi 5 Model B Rev 1.0", "Cortex-A76", True),
}
STEM = "indian_pines-cnn2d-random-s0"
SCENE, CORNER = "indian_pines.npz", "corner.npy"


def here(folder: Path, *words: object) -> None:
    """`hsiedge WORDS` on this machine."""
    subprocess.run([sys.executable, "-m", "hsiedge", *map(str, words)], cwd=folder, check=True, capture_output=True)


@pytest.fixture(scope="module")
def work(arm: Boards, graphs: dict[str, Path], indian_pines: Scene) -> Path:
    """What the commands are given: the four graphs, a packed scene, an ENVI cube, a corner of it."""
    from spectral.io import envi

    for path in graphs.values():
        (arm.work / path.name).write_bytes(path.read_bytes())
    here(arm.work, "scenes", "pack", "indian_pines", "--output", SCENE)
    envi.save_image(str(arm.work / "flight.hdr"), indian_pines.cube, dtype=np.uint16, interleave="bil", force=True)
    np.save(arm.work / CORNER, indian_pines.cube[60:73, 60:73])
    return arm.work


def test_only_what_the_wheel_asks_for(arm: Boards) -> None:
    names = {path.name.split("-")[0].lower() for path in arm.packages.glob("*.dist-info")}
    assert {"numpy", "onnxruntime", "onnx", "onnx_ir"} <= names
    assert not names & {"torch", "scipy", "tensorflow", "matplotlib", "hsiedge"}
    assert [path.name for path in (arm.work / "packages").glob("*.dist-info")] == [f"hsiedge-{hsiedge.__version__}.dist-info"]


def test_bench(arm: Boards, work: Path) -> None:
    """The models that lie in the wheel, each in a process of its own. Its times are an emulator's, and are not looked at."""

    def job(core: Core) -> Any:
        out = f"bench-{core.name}.json"
        shipped = [f"packages/hsiedge/models/{STEM}{suffix}" for suffix in (".onnx", "-int8.onnx")]
        arm.hsiedge(
            core, "bench", *shipped, "--seconds", 0.1, "--runs", 3, "--batch", 1, "--batch", 4, "--threads", 1, "--json", out
        )
        return json.loads((work / out).read_text())

    for core, report in on_each(job).items():
        device, (board, cpu, dot_product) = report["device"], FACTS[core]
        assert (device["machine"], device["board"], device["cpu"]) == ("aarch64", board, cpu)
        assert ("asimddp" in device["instruction_sets"]) == dot_product
        runs = {(result["precision"], result["batch"]) for result in report["results"]}
        assert runs == {("float32", 1), ("float32", 4), ("int8", 1), ("int8", 4)}
        assert all(result["latency_ms"]["runs"] >= 3 and result["memory_mib"] > 0 for result in report["results"])


def test_eval(arm: Boards, work: Path) -> None:
    """On the test pixels that the board draws for itself, the very counts of this machine."""

    def job(core: Core) -> Any:
        out = f"eval-{core.name}.json"
        arm.hsiedge(core, "eval", "scene-int8.onnx", "--scene", SCENE, "--json", out)
        return json.loads((work / out).read_text())

    here(work, "eval", "scene-int8.onnx", "--scene", SCENE, "--json", "eval.json")
    expected = json.loads((work / "eval.json").read_text())
    assert expected["n"] == 8708
    assert expected["oa"] > 98
    for core, result in on_each(job).items():
        assert result == expected, core


def test_classify(arm: Boards, work: Path) -> None:
    """All 21,025 pixels of the scene."""

    def job(core: Core) -> Any:
        out = f"map-{core.name}.npy"
        arm.hsiedge(core, "classify", "scene-int8.onnx", "flight.hdr", "--output", out)
        return np.load(work / out)

    here(work, "classify", "scene-int8.onnx", "flight.hdr", "--output", "map.npy")
    expected = np.load(work / "map.npy")
    assert np.unique(expected).size == 16
    for core, labels in on_each(job).items():
        assert np.array_equal(labels, expected), core


def test_run(arm: Boards, work: Path, indian_pines: Scene) -> None:
    """A Pi 5 labels the lines that this machine sends to it."""
    lines = np.ascontiguousarray(indian_pines.cube[:60].transpose(0, 2, 1)).tobytes()
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port = listener.getsockname()[1]  # free in a moment

    def send() -> None:
        until = time.monotonic() + 120
        while time.monotonic() < until:
            try:
                with socket.create_connection(("127.0.0.1", port)) as camera:
                    camera.sendall(lines)
                return
            except OSError:  # it does not listen yet
                time.sleep(0.1)

    sender = threading.Thread(target=send, daemon=True)
    sender.start()
    words = ["--from", f"tcp-listen://{port}", "--columns", 145, "--bands", 200, "--idle", "90s", "-o", "live.hdr"]
    arm.hsiedge(CORES[1], "run", "scene-int8.onnx", *words, "--json", "live.json")
    sender.join(1)
    result = json.loads((work / "live.json").read_text())
    assert (result["lines_in"], result["labelled"], result["dropped"]) == (60, 60, 0)
    expected = hsiedge.load(work / "scene-int8.onnx").classify(indian_pines.cube[:60]).labels
    np.testing.assert_array_equal(read_labels(work / "live.hdr").array, expected)


def test_quantize(arm: Boards, work: Path) -> None:
    """On the board itself: the weights of this machine's file to the bit, its scales within what float sums differ by."""
    words = ["quantize", f"{STEM}.onnx", "--calib", CORNER, "--calib-patches", 8, "--output"]

    def job(core: Core) -> Path:
        arm.hsiedge(core, *words, f"quantized-{core.name}.onnx")
        return work / f"quantized-{core.name}.onnx"

    here(work, *words, "quantized.onnx")
    expected = constants(work / "quantized.onnx")
    for core, path in on_each(job).items():
        assert require_card(path).quantization == require_card(work / "quantized.onnx").quantization, core
        values = constants(path)
        assert len(values) == len(expected)
        for ours, theirs in zip(values, expected):
            if theirs.dtype == np.float32:
                np.testing.assert_allclose(ours, theirs, rtol=1e-5, err_msg=core)
            else:
                np.testing.assert_array_equal(ours, theirs, err_msg=core)


def test_ort_format(arm: Boards, work: Path) -> None:
    """A file made here: what its optimizer settled for this machine, a board can run as well, with the same labels."""
    here(work, "export", "scene-int8.onnx", "--to", "ort", "--output", "scene-int8.ort")
    here(work, "classify", "scene-int8.onnx", CORNER, "--output", "corner-map.npy")

    def job(core: Core) -> Any:
        out = f"corner-{core.name}.npy"
        arm.hsiedge(core, "classify", "scene-int8.ort", CORNER, "--output", out)
        return np.load(work / out)

    expected = np.load(work / "corner-map.npy")
    assert np.unique(expected).size > 1
    for core, labels in on_each(job).items():
        assert np.array_equal(labels, expected), core


def test_doctor(arm: Boards, work: Path) -> None:
    """It names the board and its processor, and each runtime gives the labels of x86 with VNNI."""

    def job(core: Core) -> Any:
        out = f"doctor-{core.name}.json"
        arm.hsiedge(core, "doctor", "--json", out)
        return json.loads((work / out).read_text())

    for core, report in on_each(job).items():
        board, cpu, _ = FACTS[core]
        assert (report["device"]["board"], report["device"]["cpu"], report["stopped"]) == (board, cpu, False)
        findings = {finding["topic"]: finding for finding in report["findings"]}
        for runtime in ("onnxruntime", "LiteRT"):
            assert findings[runtime]["severity"] == "good", findings[runtime]
            assert "gives the labels that it should" in findings[runtime]["what"]


def constants(path: Path) -> list[Any]:
    import onnx

    return [onnx.numpy_helper.to_array(tensor) for tensor in onnx.load(path).graph.initializer]


def test_an_error_is_one_line_there_too(arm: Boards) -> None:
    with pytest.raises(AssertionError, match=r"ended with 2\n.*\n?hsiedge: error: none.onnx: no such file"):
        arm.hsiedge(CORES[1], "classify", "none.onnx", CORNER)
