"""Library errors name parameters, and not flags of the command line: no message outside of cli/ holds one."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

import hsiedge
from hsiedge import errors
from hsiedge.cli.flags import message

PACKAGE = Path(hsiedge.__file__).parent
FLAG = re.compile(r"(?:^|[\s(:'\"])(?:--[a-z]|-o\b)")
ERRORS = {name for name in dir(errors) if name.endswith("Error")}
OTHERS = "pip "  # commands of other programs keep their flags
NAMES = {"UnfitError", "CannotError", "SceneWarning"}


def messages() -> Iterator[tuple[str, str]]:
    """Every piece of text in the making of an error, by file and line."""
    for path in sorted(PACKAGE.rglob("*.py")):
        if path.is_relative_to(PACKAGE / "cli"):
            continue
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.Call) and getattr(node.func, "id", getattr(node.func, "attr", "")) in ERRORS | NAMES:
                for part in ast.walk(node):
                    if isinstance(part, ast.Constant) and isinstance(part.value, str):
                        yield f"{path.relative_to(PACKAGE)}:{part.lineno}", part.value


@pytest.mark.slow
def test_no_error_of_the_library_holds_a_flag() -> None:
    texts = list(messages())
    assert len(texts) > 300
    assert [entry for entry in texts if FLAG.search(entry[1]) and OTHERS not in entry[1]] == []


def test_the_command_line_writes_flags() -> None:
    error = errors.OptionError("must be 1 or more", option="batches", value=0)
    assert (str(error), message(error)) == ("batches=0: must be 1 or more", "--batch 0: must be 1 or more")
    error = errors.OptionError("has no exact mode", option="fast_int8")
    assert message(error) == "--fast-int8: has no exact mode"
    missing = errors.CardError("a.onnx: has no Card", run=("card", Path("a.onnx"), ("scene", "NAME"), ("patch", "P")))
    assert str(missing) == "a.onnx: has no Card; hsiedge card a.onnx scene=NAME patch=P"
    assert message(missing) == "a.onnx: has no Card; hsiedge card a.onnx --scene NAME --patch P"
    both = errors.SplitError("give them", use={"train_mask": "FILE", "test_mask": "FILE"})
    assert message(both) == "give them; use --train-mask FILE and --test-mask FILE"
    switch = errors.SplitError("takes no labels of masks", use={"mask_labels": True})
    assert (str(switch), message(switch)) == (
        "takes no labels of masks; use mask_labels=True",
        "takes no labels of masks; use --mask-labels",
    )
    assert message(switch.within("a.tif")) == "a.tif: takes no labels of masks; use --mask-labels"
    assert message(OSError("gone")) == "gone"


def test_an_error_keeps_its_fields_in_another_place() -> None:
    error = errors.ModelError("node a: it pads", use={"approximate": ""}, run=("card", ("scene", "N")))
    wrapped = error.within(Path("m.onnx"))
    assert message(wrapped) == "m.onnx: node a: it pads; use --approximate; hsiedge card --scene N"
    assert message(errors.ModelError(error.reason, **error.fields)) == message(error)
