"""The device wing on an emulated 32-bit board, from its wheel for armv7l: without onnxruntime, which has no wheels there.

make test-targets       # and release-check; minutes under emulation

numpy and psutil are Debian's own, for the package index has neither for armhf; all else is of the index.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path

import numpy as np
import pytest

pytest.importorskip("onnx", reason="onnx makes what the boards run, and is not installed")

from hsiedge.mapping.line_classifier import LineClassifier
from hsiedge.runtimes import load
from hsiedge.scenes.scene import Scene
from hsiedge.shipped import shipped
from tests.arm import board
from tests.arm.board import A9, Boards

pytestmark = [pytest.mark.board, pytest.mark.release]
PLATFORMS = ("manylinux2014_armv7l", "manylinux_2_17_armv7l", "linux_armv7l")
ROWS = 16
STUDENT = Path(__file__).parents[1] / "native" / "data" / "student-int8-scene.onnx"


@pytest.fixture(scope="module")
def arm32(checkout: Path, indian_pines: Scene, tmp_path_factory: pytest.TempPathFactory) -> Boards:
    """A board whose /work/venv has hsiedge, as `pip install hsiedge` resolves it there, without a network."""
    work = tmp_path_factory.mktemp("board32")
    board.let_arm_programs_run("qemu-arm")
    wheels = board.own_wheel(work, "armv7l").parent
    elsewhere = ("numpy", "psutil", "onnxruntime")
    needed = [entry for entry in board.requirements(extras=()) if not entry.startswith(elsewhere)]
    platforms = [word for name in PLATFORMS for word in ("--platform", name)]
    words = ["--quiet", "--dest", wheels, "--only-binary=:all:", "--python-version", board.PYTHON]
    board.do(sys.executable, "-m", "pip", "download", *words, *platforms, "--constraint", checkout / "constraints.txt", *needed)
    np.save(work / "cube.npy", indian_pines.cube[40 : 40 + ROWS])
    for name, path in {"cnn2d": shipped("-int8-scene.onnx"), "student": STUDENT, "float": shipped(".onnx")}.items():
        (work / f"{name}.onnx").write_bytes(path.read_bytes())
    boards = Boards(board.debian("armhf"), wheels, work)
    boards.python(A9, "-m", "venv", "--system-site-packages", "--without-pip", "venv")
    pip = "venv/bin/python $(echo /usr/share/python-wheels/pip-*.whl)/pip"  # of python3-venv
    boards.run(A9, "sh", "-c", f"{pip} install --quiet --no-index --find-links /opt/packages hsiedge")
    return boards


def hsiedge(arm32: Boards, *words: object) -> str:
    return arm32.run(A9, "venv/bin/hsiedge", *words)


def test_the_wheel_asks_for_no_onnxruntime_and_has_its_library(arm32: Boards) -> None:
    (wheel,) = arm32.packages.glob("hsiedge-*.whl")
    assert wheel.name.endswith("manylinux_2_17_armv7l.manylinux2014_armv7l.whl")
    code = (
        "import importlib.util as u, numpy, platform, sys; from hsiedge.native.library import kernel_sets;"
        "print(platform.machine(), 8 * numpy.intp(0).itemsize, u.find_spec('onnxruntime'), *kernel_sets())"
    )
    assert arm32.run(A9, "venv/bin/python", "-c", code).split() == ["armv7l", "32", "None", "plain"]


@pytest.mark.parametrize("name", ["cnn2d", "student"])
def test_labels_are_those_of_onnxruntime_on_this_machine(name: str, arm32: Boards, indian_pines: Scene) -> None:
    hsiedge(arm32, "classify", f"{name}.onnx", "cube.npy", "-o", f"{name}.npy")
    lines = LineClassifier(load(arm32.work / f"{name}.onnx", 1, "ort"), indian_pines.shape[1])
    expected = np.concatenate([lines.push(indian_pines.cube[40 : 40 + ROWS]), lines.finish()])
    assert np.unique(expected).size > 4
    np.testing.assert_array_equal(np.load(arm32.work / f"{name}.npy"), expected)


def test_commands_do_without_onnxruntime(arm32: Boards) -> None:
    """doctor calls the board ready; bench takes the shipped model that runs; a float model is one clear line."""
    doctor = json.loads(hsiedge(arm32, "doctor", "--json", "-"))
    assert not doctor["stopped"]
    assert {"onnxruntime": "note", "native engine": "good"}.items() <= {
        entry["topic"]: entry["severity"] for entry in doctor["findings"]
    }.items()
    (result,) = json.loads(hsiedge(arm32, "bench", "--batch", "1", "--runs", "1", "--seconds", "0.01", "--json", "-"))[
        "results"
    ]
    assert result["runtime"].startswith("hsiedge native")
    assert "161,280 MACs" in hsiedge(arm32, "show", "cnn2d.onnx")
    for words in (("float.onnx",), ("cnn2d.onnx", "--runtime", "ort")):
        with pytest.raises(AssertionError, match=r"ended with 2\n(.*\n)*.*onnxruntime cannot be imported"):
            hsiedge(arm32, "classify", *words, "cube.npy", "-o", "none.npy")
    assert not (arm32.work / "none.npy").exists()


def test_a_live_run_needs_none_either(arm32: Boards) -> None:
    hsiedge(arm32, "run", "student.onnx", "--from", "replay:cube.npy@1000", "-o", "live.npy", "--json", "run.json")
    assert json.loads((arm32.work / "run.json").read_text())["labelled"] == ROWS
