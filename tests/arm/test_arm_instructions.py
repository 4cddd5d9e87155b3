"""Instructions per classified pixel are those that are stored, and as few as is claimed."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from tests.arm.board import A72, A76, Boards, on_each

pytest.importorskip("onnx", reason="onnx takes graphs apart, and is not installed")

CHANGE = 0.03
SAME = 2e-3  # what Python does around the work differs by a few hundred instructions
FEW = 4  # patches a run: one more costs the same in a batch of any size


@pytest.fixture(scope="module")
def stored() -> dict[str, Any]:
    path = Path(__file__).parents[2] / "benchmarks" / "results" / "instructions.json"
    if not path.exists():
        pytest.skip("the stored results lie in a checkout, not beside an installed wheel")
    return dict(json.loads(path.read_text())["cores"])


@pytest.fixture(scope="module")
def counted(arm: Boards, graphs: dict[str, Path]) -> dict[str, Any]:
    from benchmarks import instructions

    chosen = {kind: graphs[kind] for kind in (instructions.BASELINE, instructions.FAST)}
    instructions.laid_out(arm, chosen)
    return on_each(lambda core: instructions.counted(arm, core, chosen, FEW))


@pytest.mark.parametrize("core", [A72.name, A76.name])
def test_counts_are_the_stored_ones(core: str, counted: dict[str, Any], stored: dict[str, Any]) -> None:
    for kind, count in counted[core]["per pixel"].items():
        assert count == pytest.approx(stored[core]["per pixel"][kind], rel=CHANGE), kind
    where = counted[core]["of scene int8"]
    assert sum(where.values()) == counted[core]["per pixel"]["scene int8"]
    for part, count in where.items():
        assert count == pytest.approx(stored[core]["of scene int8"][part], rel=CHANGE, abs=10), part


def test_scene_graphs_take_a_150th_on_a76(counted: dict[str, Any], stored: dict[str, Any]) -> None:
    for counts in (counted, stored):
        assert counts[A76.name]["times fewer"] >= 150
        assert counts[A76.name]["per pixel"]["scene int8"] < counts[A72.name]["per pixel"]["scene int8"]


def test_counts_repeat_to_the_digit(arm: Boards, graphs: dict[str, Path]) -> None:
    name = graphs["scene int8"].name
    (arm.work / name).write_bytes(graphs["scene int8"].read_bytes())

    def counts() -> list[int]:
        """Those after mark 0, before which lie start and warm-up."""
        return [count for mark, count in arm.counted(A76, "instructions.py", f"{name}:all:2x16,4x16") if mark]

    once, again = counts(), counts()
    if once != again:  # seen once in many runs, on a busy machine: 110 instructions of 4.4 million
        assert once == pytest.approx(again, rel=1e-4)
        assert counts() in (once, again)
    assert min(once) > 1e6


def test_weights_do_not_change_the_count_of_a_study_net(arm: Boards) -> None:
    """One count a shape and precision holds for every net of it: other weights, of another split, count the same."""
    from benchmarks import study_costs
    from hsiedge.scenes.open import open_scene

    shapes = study_costs.stored_counts()["indian_pines"]
    shape = min(shapes, key=lambda name: shapes[name]["int8"][0])
    counts = study_costs.counted(arm, open_scene("indian_pines"), shape, seed=1)
    for precision, (patch, scene) in shapes[shape].items():
        assert counts[precision] == [pytest.approx(patch, rel=SAME), pytest.approx(scene, rel=SAME)], precision
