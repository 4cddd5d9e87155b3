"""Names of variables: each says what the thing is, and not how it came."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
FOLDERS = [ROOT / name for name in ("hsiedge", "tests", "benchmarks", "models", "examples")]
EMPTY = {"found", "made", "told", "given", "said"}


def empty_names(tree: ast.Module) -> Iterator[tuple[int, str]]:
    """Line and name of each variable, parameter and function whose name says nothing; fields that are stored keep theirs."""
    stored = {node.target for node in ast.walk(tree) if isinstance(node, ast.AnnAssign)}
    for node in ast.walk(tree):
        if isinstance(node, ast.Name) and isinstance(node.ctx, ast.Store) and node not in stored and node.id in EMPTY:
            yield node.lineno, node.id
        elif isinstance(node, ast.arg) and node.arg in EMPTY:
            yield node.lineno, node.arg
        elif isinstance(node, ast.FunctionDef) and node.name in EMPTY:
            yield node.lineno, node.name


@pytest.mark.slow
def test_names_say_what_a_thing_is() -> None:
    faults = [
        f"{path.relative_to(ROOT)}:{line}: {name}"
        for folder in FOLDERS
        for path in sorted(folder.rglob("*.py"))
        for line, name in empty_names(ast.parse(path.read_text("utf-8")))
    ]
    assert not faults, "\n".join(faults)


def test_an_empty_name_is_seen() -> None:
    tree = ast.parse("def said(told):\n    made = told\n    for found in made:\n        (given := found)\n")
    assert [name for _, name in empty_names(tree)] == ["said", "told", "made", "found", "given"]
