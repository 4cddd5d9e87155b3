"""x86 with and without VNNI give the same: integers of every INT8 model to the bit, by exact mode or by weights of 7 bits.

The former is this machine; where it has no VNNI, it is tested as the latter. The latter is QEMU's Haswell.
"""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from hsiedge.device import int8
from hsiedge.runtimes import require_card
from hsiedge.scenes.scene import Scene
from hsiedge.shipped import shipped
from tests.x86_without_vnni import emulated

pytest.importorskip("onnx", reason="onnx shows the integers inside of models, and is not installed")
from hsiedge.graphs.quantization.quantize import quantize
from hsiedge.graphs.scene_graph.build import scene_graph
from tests.arm import answers

EXPECTED = json.loads(answers.EXPECTED.read_text())["models"]
INT8 = [path.name for path in answers.shipped() if "int8" in path.name and path.suffix == ".onnx"]


def here(*words: object) -> list[str]:
    return [*map(str, words)]


def without_vnni() -> Callable[..., list[str]]:
    """This machine, where it is one, else the emulator."""
    return here if int8.overflows_here() else emulated


@pytest.mark.parametrize("machine", ["here", "without VNNI"])
def test_shipped_models(machine: str, tmp_path: Path) -> None:
    names = answers.lay_out([answers.MODELS / name for name in INT8], tmp_path)
    answered = answers.answered_here(names, tmp_path, here if machine == "here" else without_vnni())
    for name in names:
        assert answers.integers_of(answered, name) == EXPECTED[name]["integers"]
        assert answered[f"{name} labels"].ravel().tolist() == EXPECTED[name]["labels"]


def test_exact_mode_is_what_makes_them_so(tmp_path: Path) -> None:
    """The control: without it integers differ."""
    names = answers.lay_out([answers.MODELS / name for name in INT8], tmp_path)
    answered = answers.answered_here(names, tmp_path, without_vnni(), "--fast-int8")
    for name in names:
        assert answers.integers_of(answered, name) != EXPECTED[name]["integers"]


@pytest.fixture(scope="module")
def models(indian_pines: Scene, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """Recipes, and a depthwise-separable student, as scene graphs."""
    folder = tmp_path_factory.mktemp("made")
    whole = folder / "scene.onnx"
    scene_graph(shipped(".onnx"), indian_pines, whole)
    pytest.importorskip("torch", reason="torch trains the student, and is not installed")
    from tests import workstation

    student = folder / "student.onnx"
    scene_graph(workstation.float_file("dscnn"), indian_pines, student)
    paths = {name: folder / f"{name}.onnx" for name in ("avx2", "tensorrt", "dscnn")}
    quantize(whole, indian_pines, paths["avx2"], "avx2")
    quantize(whole, indian_pines, paths["tensorrt"], "tensorrt")
    quantize(student, indian_pines, paths["dscnn"], max_drop=5)
    return paths


def test_recipes_and_a_student(models: dict[str, Path], tmp_path: Path) -> None:
    names = answers.lay_out(list(models.values()), tmp_path)
    ours = answers.answered_here(names, tmp_path)
    theirs = answers.answered_here(names, tmp_path, emulated)
    for name in names:
        if require_card(models[Path(name).stem]).input_affine is not None:
            assert answers.integers_of(ours, name)
        assert answers.integers_of(theirs, name) == answers.integers_of(ours, name), name
        assert np.array_equal(theirs[f"{name} labels"], ours[f"{name} labels"])
        assert np.abs(theirs[f"{name} logits"] - ours[f"{name} logits"]).max() < 1e-5 * np.ptp(ours[f"{name} logits"])


def test_seven_bits_are_exact_at_full_speed(models: dict[str, Path], tmp_path: Path) -> None:
    names = answers.lay_out([models["avx2"]], tmp_path)
    ours, fast = answers.answered_here(names, tmp_path), answers.answered_here(names, tmp_path, emulated, "--fast-int8")
    assert answers.integers_of(fast, names[0]) == answers.integers_of(ours, names[0])


def test_doctor_finds_the_labels_right_and_says_what_they_cost() -> None:
    done = subprocess.run(
        emulated(sys.executable, "-m", "hsiedge.doctor.selftest", "ort"),
        capture_output=True,
        text=True,
        check=True,
        cwd=Path(__file__).parents[2],
    )
    result = json.loads(done.stdout.splitlines()[-1])
    assert result["check"] == "equal"
    assert result["exact_mode_times"] > 0
