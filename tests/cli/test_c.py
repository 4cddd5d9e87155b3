"""quantize --to c: from a float scene graph to a C file that was compiled, run and compared, and what cannot be."""

from __future__ import annotations

import re
import shutil
import subprocess
from pathlib import Path

import pytest

pytest.importorskip("torch", reason="the net is trained with torch")
pytest.importorskip("onnx", reason="quantizing needs onnx")

from hsiedge.graphs.c.compilers import STRICT
from hsiedge.native.library import is_available
from hsiedge.runtimes import read_card
from tests import workstation
from tests.cli.conftest import Hsiedge

STEM = "indian_pines-cnn2d-random-s0"


@pytest.mark.slow
@pytest.mark.skipif(not is_available() or shutil.which("gcc") is None, reason="C is made and proved with gcc and the library")
def test_from_a_float_scene_graph_to_c(hsiedge: Hsiedge, tmp_path: Path) -> None:
    shutil.copy(workstation.scene_file("cnn2d"), tmp_path / f"{STEM}-scene.onnx")
    done = hsiedge("quantize", "--to", "c", "--max-drop", "5", "--explain")
    assert done.code == 0, done.err
    assert "taking the newest" in done.err
    assert re.search(r"C against onnxruntime on \d+ pixels of indian_pines: labels equal, and all [\d,]+ integers", done.err)
    assert "validation pixels: labels agree with float on" in done.err
    assert "spatial.1" in done.out
    assert "hsiedge bench" not in done.err  # which takes no C
    path = tmp_path / f"{STEM}-int8-scene.c"
    assert sorted(entry.suffix for entry in tmp_path.iterdir()) == [".c", ".c", ".h", ".onnx"]
    assert [step.step for step in read_card(path).lineage] == ["train", "export", "scene-graph", "quantize", "c"]
    test = next(tmp_path.glob("*_test.c"))
    subprocess.run(["gcc", *STRICT, "-o", tmp_path / "t", path, test], check=True)
    assert b": 0 of " in subprocess.run([tmp_path / "t"], check=True, capture_output=True).stdout


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (("quantize", "--to", "c", "--target", "z80"), "--target z80: choose generic, cortex-m4"),
        (("quantize", "--target", "cortex-m4"), "--target cortex-m4 needs --to c: it is the processor for C source"),
        (("quantize", "--to", "c", "-o", "net.onnx"), "--to c is written to a file that ends in .c, not net.onnx"),
        (("quantize", "--to", "c"), f"{STEM}.onnx: C is made of a scene graph; hsiedge export --scene-graph"),
    ],
)
def test_what_cannot_be(hsiedge: Hsiedge, words: tuple[str, ...], message: str, tmp_path: Path) -> None:
    shutil.copy(workstation.float_file("cnn2d"), tmp_path / f"{STEM}.onnx")
    done = hsiedge(*words)
    assert done.code == 2
    assert message in done.error
    assert [entry.name for entry in tmp_path.iterdir()] == [f"{STEM}.onnx"]
