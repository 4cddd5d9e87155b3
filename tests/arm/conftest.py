"""Emulated boards, and the models that they run."""

from __future__ import annotations

from pathlib import Path

import pytest

from hsiedge.scenes.scene import Scene
from hsiedge.shipped import shipped
from tests.arm.board import ROOT, Boards, UnavailableError, boards
from tests.once import made_once


@pytest.fixture(scope="session")
def checkout() -> Path:
    """The root of this checkout, whose wheel the boards get."""
    pytest.importorskip("onnx", reason="onnx makes what the boards run, and is not installed")
    if not (ROOT / "hsiedge").is_dir():
        pytest.skip("the boards get the wheel of a checkout, and this is none")
    return ROOT


@pytest.fixture(scope="session")
def arm(checkout: Path, tmp_path_factory: pytest.TempPathFactory) -> Boards:
    """The boards. Their work folder is one for the session: names in it are told apart."""
    try:
        return boards(tmp_path_factory.mktemp("boards"))
    except UnavailableError as why:
        pytest.skip(f"no emulated ARM boards: {why}")


@pytest.fixture(scope="session")
def graphs(checkout: Path, indian_pines: Scene) -> dict[str, Path]:
    """The shipped float model, "patch float", and what is made of it here: "patch int8", "scene float", "scene int8"."""
    from benchmarks.instructions import graph_paths, make_graphs

    def make(folder: Path) -> None:
        unfinished = folder.with_name(f"{folder.name}-unfinished")
        unfinished.mkdir()
        make_graphs(shipped(".onnx"), indian_pines, unfinished)
        unfinished.rename(folder)

    return graph_paths(shipped(".onnx"), made_once("arm-graphs", make))
