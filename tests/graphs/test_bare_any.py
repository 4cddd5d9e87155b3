r"""Graphs are typed: `Any` stands in them where a library's own types leave nothing else.

    grep -rw Any hsiedge/graphs --include='*.py' | grep -v import | sed -E 's/(NDArray|dtype)\[Any\]//g' | grep -cw Any

counts the lines that hold one, texts included.
"""

from __future__ import annotations

import ast
from pathlib import Path

GRAPHS = Path(__file__).parents[2] / "hsiedge" / "graphs"
MOST = 5
_SHAPED = ("NDArray", "dtype")  # whose parameter says nothing where any dtype will do


def bare(tree: ast.AST) -> list[int]:
    """Lines of the names `Any` in a file, but those in NDArray[Any] and dtype[Any]."""
    shaped = {
        id(node.slice)
        for node in ast.walk(tree)
        if isinstance(node, ast.Subscript) and ast.unparse(node.value).split(".")[-1] in _SHAPED
    }
    names = (node for node in ast.walk(tree) if isinstance(node, ast.Name) and node.id == "Any")
    return [node.lineno for node in names if id(node) not in shaped]


def test_any_is_rare() -> None:
    lines = [f"{path.name}:{line}" for path in GRAPHS.rglob("*.py") for line in bare(ast.parse(path.read_text()))]
    assert len(lines) <= MOST, lines


def test_it_is_counted_but_in_arrays() -> None:
    text = "def f(a: NDArray[Any], b: np.dtype[Any], c: dict[str, Any], *d: Any) -> 'Any': ..."
    assert bare(ast.parse(text)) == [1, 1]
