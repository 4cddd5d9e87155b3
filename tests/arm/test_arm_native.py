"""The native engine on emulated cores: labels of this machine to the bit, in so few instructions a pixel."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from hsiedge.mapping.line_classifier import LineClassifier
from hsiedge.runtimes import load
from hsiedge.scenes.scene import Scene
from hsiedge.shipped import shipped
from tests.arm.board import A72, A76, ROOT, Boards
from tests.arm.guest.native import references

pytest.importorskip("onnx", reason="onnx makes what the boards run, and is not installed")

MODELS = {
    "student": Path(__file__).parents[1] / "native" / "data" / "student-int8-scene.onnx",
    "cnn2d": shipped("-int8-scene.onnx"),
}
SETS = {A72.name: "neon", A76.name: "dot"}
MOST = {("student", A76.name): 2000, ("student", A72.name): 3300, ("cnn2d", A76.name): 13_500, ("cnn2d", A72.name): 44_000}
CALL = 60_000  # instructions of Python and ctypes for a push
HEIGHT = 40  # rows of the strip
STORED, CHANGE = ROOT / "benchmarks" / "results" / "instructions.json", 0.03


@pytest.fixture(scope="module")
def strip(indian_pines: Scene) -> NDArray[np.uint16]:
    return np.ascontiguousarray(indian_pines.cube[:HEIGHT])


@pytest.fixture(scope="module")
def expected(strip: NDArray[np.uint16]) -> dict[str, NDArray[np.uint16]]:
    """Labels of onnxruntime in its exact mode, on this machine; of raw counts by way of numpy's reflectance."""
    labels = {}
    for name, path in MODELS.items():
        for kind, rows in (("", strip), (" raw", references(*strip.shape[1:]).apply_numpy(strip))):
            lines = LineClassifier(load(path, 1, "ort"), strip.shape[1])
            labels[f"{name}.onnx{kind}"] = np.concatenate([lines.push(rows), lines.finish()])
    return labels


@pytest.fixture(scope="module")
def counted(arm: Boards, strip: NDArray[np.uint16]) -> dict[str, dict[str, dict[str, float]]]:
    """Instructions a pixel on each core, of each net, by push; answers lie in /work."""
    from benchmarks.instructions import native_counted

    return native_counted(arm, strip)


@pytest.mark.parametrize("core", [A72.name, A76.name])
def test_labels_are_those_of_this_machine(
    core: str, arm: Boards, counted: object, expected: dict[str, NDArray[np.uint16]]
) -> None:
    with np.load(arm.work / f"native-{core}.npz") as answers:
        assert answers["kernels"] == SETS[core]
        for name, labels in expected.items():
            assert np.unique(labels).size > 5
            assert np.array_equal(answers[name], labels), name


@pytest.mark.parametrize(("name", "core"), MOST)
def test_instructions_a_pixel(name: str, core: str, counted: dict[str, dict[str, dict[str, float]]]) -> None:
    """Rows that come one by one cost as much, but for Python's calls, whatever the width; as many are stored."""
    counts = counted[core][name]
    assert counts["one push"] <= MOST[name, core]
    columns = 145
    assert (counts["row by row"] - counts["one push"]) * columns <= CALL
    assert (counts["LineClassifier"] - counts["one push"]) * columns <= 2 * CALL
    stored = json.loads(STORED.read_text())["cores"][core]["native"][name]
    assert counts == {push: pytest.approx(count, rel=CHANGE) for push, count in stored.items()}
