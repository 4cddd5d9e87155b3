"""Models answer on emulated Cortex-A72 and A76 cores what they answer on x86: integers to the bit."""

from __future__ import annotations

import importlib.metadata
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from hsiedge import files
from hsiedge.runtimes import require_card
from tests.arm.board import A72, A76, Boards, Core, on_each

pytest.importorskip("onnx", reason="onnx shows the integers inside of models, and is not installed")
from tests.arm import answers

FLOAT_LIMIT, TAIL_LIMIT = 1e-4, 1e-5  # of the logits' range
SHIPPED = [path.name for path in answers.shipped()]
MADE = ["scene-float.onnx", "scene-int8.onnx"]
EXPECTED = json.loads(answers.EXPECTED.read_text())


@pytest.fixture(scope="module")
def board_answers(arm: Boards, graphs: dict[str, Path]) -> dict[str, answers.Answers]:
    """What each core answers, and under "here" what this machine does."""
    models = [*answers.shipped(), graphs["scene float"], graphs["scene int8"]]
    names = answers.lay_out(models, arm.work)

    def answered(core: Core) -> answers.Answers:
        out = f"answers-{core.name}.npz"
        arm.python(core, "answers.py", "rows.npy", out, *names)
        return answers.read(arm.work / out)

    return {"here": answers.answered_here(names, arm.work), **on_each(answered)}


def difference(ours: Any, theirs: Any) -> float:
    """The largest between logits, as a share of their range."""
    theirs = np.asarray(theirs, np.float32).ravel()
    return float(np.abs(ours.ravel() - theirs).max() / np.ptp(theirs))


def is_integer_tflite(name: str) -> bool:
    return name.endswith(".tflite") and require_card(answers.MODELS / name).input_affine is not None


def limit(name: str) -> float:
    return TAIL_LIMIT if require_card(answers.MODELS / name).quantization is not None else FLOAT_LIMIT


def test_stored_answers_are_of_the_shipped_models() -> None:
    assert {name: entry["sha256"] for name, entry in EXPECTED["models"].items()} == {
        path.name: files.digest(path) for path in answers.shipped()
    }, "after the shipped models have changed: python -m tests.arm.answers"
    assert EXPECTED["onnxruntime"] == importlib.metadata.version("onnxruntime")
    for name, entry in EXPECTED["models"].items():
        integer = name.endswith(".onnx") and require_card(answers.MODELS / name).quantization is not None
        assert bool(entry["integers"]) == integer
        assert len(set(entry["labels"])) >= 5


@pytest.mark.parametrize("core", [A72.name, A76.name])
@pytest.mark.parametrize("name", SHIPPED)
def test_shipped_model(name: str, core: str, board_answers: dict[str, answers.Answers]) -> None:
    expected = EXPECTED["models"][name]
    assert answers.integers_of(board_answers[core], name) == expected["integers"]
    assert board_answers[core][f"{name} labels"].ravel().tolist() == expected["labels"]
    logits = board_answers[core][f"{name} logits"]
    assert difference(logits, expected["logits"]) < limit(name)
    if is_integer_tflite(name):  # down to the output, which stands for float32 values one by one
        np.testing.assert_array_equal(logits.ravel(), np.float32(expected["logits"]))


@pytest.mark.parametrize("core", [A72.name, A76.name])
@pytest.mark.parametrize("name", MADE)
def test_scene_graph_made_here(name: str, core: str, board_answers: dict[str, answers.Answers]) -> None:
    here, there = board_answers["here"], board_answers[core]
    assert answers.integers_of(there, name) == answers.integers_of(here, name)
    assert bool(answers.integers_of(there, name)) == ("int8" in name)
    assert np.array_equal(there[f"{name} labels"], here[f"{name} labels"])
    assert difference(there[f"{name} logits"], here[f"{name} logits"]) < (TAIL_LIMIT if "int8" in name else FLOAT_LIMIT)
