"""An x86 without VNNI, emulated: there, the recipe avx2 gives what it gives anywhere, and the default one does not."""

from __future__ import annotations

import shutil
from pathlib import Path

import numpy as np
import pytest

from hsiedge.scenes.scene import Scene

pytest.importorskip("onnx", reason="onnx shows the integers inside of models, and is not installed")
from hsiedge.graphs.quantize import quantize
from tests.arm import answers

HASWELL = ("qemu-x86_64", "-cpu", "Haswell")


def test_recipe_avx2(graphs: dict[str, Path], indian_pines: Scene, tmp_path: Path) -> None:
    if shutil.which(HASWELL[0]) is None:
        pytest.skip("no emulated x86: qemu-x86_64 not installed; first, as root: python -m tests.arm.board")
    if not answers.has_vnni():
        pytest.skip("the answers to compare with are those of an x86 with VNNI, and this is none")
    made = []
    for kind in ("patch", "scene"):
        made += [graphs[f"{kind} int8"], tmp_path / f"{kind}-avx2.onnx"]
        quantize(graphs[f"{kind} float"], indian_pines, made[-1], "avx2")
    folder = tmp_path / "laid-out"
    folder.mkdir()
    names = answers.lay_out(made, folder)
    here = answers.answered_here(names, folder)
    there = answers.answered_here(names, folder, *HASWELL)
    for name in names:
        same = answers.integers_of(there, name) == answers.integers_of(here, name)
        assert same == ("avx2" in name), name
        if "avx2" in name:
            assert answers.integers_of(here, name)
            assert np.array_equal(there[f"{name} labels"], here[f"{name} labels"])
            assert np.abs(there[f"{name} logits"] - here[f"{name} logits"]).max() < 1e-5 * np.ptp(here[f"{name} logits"])
