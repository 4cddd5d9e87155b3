"""Docstrings stand alone: the first line says what the thing is or does to a reader who has seen nothing else."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator, Mapping
from pathlib import Path

import pytest

PACKAGE = Path(__file__).parents[1] / "hsiedge"

# Openings that lean on another sentence, on the thing's name or on its neighbours in the file.
LEANING = re.compile(
    r"("
    r"After|Along|Also|And|Another|As|At|Before|Besides|But|By|Followed|For|From|Given|Here|How|In|"
    r"Into|It|Its|Likewise|Made|Of|On|Or|Out|Over|Said|Since|So|Such|That|Their|Them|Then|There|"
    r"These|They|This|Those|Through|Thus|To|Told|Under|Until|What|When|Where|Which|While|Who|Why|"
    r"With|Within|Without"
    r")\b"
)
LEANING_PHRASES = (
    "All of them",
    "Both of them",
    "Each of them",
    "One of them",
    "The other",
    "The others",
    "The same",
    "Whether it",
    "Whether they",
)


def documented() -> dict[str, set[str]]:
    """Names of the methods that have a docstring, by the name of their class."""
    classes = [node for path in PACKAGE.rglob("*.py") for node in ast.walk(ast.parse(path.read_text("utf-8")))]
    return {
        node.name: {method.name for method in node.body if isinstance(method, ast.FunctionDef) and ast.get_docstring(method)}
        for node in classes
        if isinstance(node, ast.ClassDef)
    }


def docstrings(tree: ast.Module, inherited: Mapping[str, set[str]]) -> Iterator[tuple[str, int, str | None]]:
    """Yields name, line and docstring of a module and of each class and function in it.

    A private one needs none, nor does a method that a base of its class documents (`inherited`, by the base's name).
    """
    yield "", 1, ast.get_docstring(tree)
    stack: list[tuple[str, ast.AST, bool]] = [("", tree, True)]
    while stack:
        prefix, parent, public = stack.pop()
        for node in ast.iter_child_nodes(parent):
            if isinstance(node, ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef):
                docstring = ast.get_docstring(node)
                needs_one = public and not node.name.startswith("_") and not _is_overload(node)
                needs_one &= not any(node.name in inherited.get(base, ()) for base in _bases(parent))
                if docstring is not None or needs_one:
                    yield prefix + node.name, node.lineno, docstring
                stack.append((f"{prefix}{node.name}.", node, needs_one and isinstance(node, ast.ClassDef)))
            else:
                stack.append((prefix, node, public))


def _is_overload(node: ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef) -> bool:
    return any(isinstance(decorator, ast.Name) and decorator.id == "overload" for decorator in node.decorator_list)


def _bases(node: ast.AST) -> list[str]:
    return [base.id for base in node.bases if isinstance(base, ast.Name)] if isinstance(node, ast.ClassDef) else []


def fault(docstring: str | None) -> str | None:
    """Why a docstring's first line does not stand alone; None if it does."""
    if not docstring:
        return "has no docstring"
    first = docstring.splitlines()[0]
    if LEANING.match(first):
        return f"begins with a word that leans on another sentence: {first}"
    if first.startswith(LEANING_PHRASES):
        return f"begins with another's words: {first}"
    if not any(first.endswith(end) or f"{end} " in first for end in (".", "!", "?", ".`", '."')):
        return f"does not end its first sentence on its first line: {first}"
    return None


INHERITED = documented()


@pytest.mark.parametrize("path", sorted(PACKAGE.rglob("*.py")), ids=lambda path: path.relative_to(PACKAGE).as_posix())
def test_first_line_of_each_docstring_stands_alone(path: Path) -> None:
    tree = ast.parse(path.read_text("utf-8"))
    faults = [
        f"{path.name}:{line}: {name or 'module'} {why}"
        for name, line, text in docstrings(tree, INHERITED)
        if (why := fault(text))
    ]
    assert not faults, "\n".join(faults)


@pytest.mark.parametrize(
    ("docstring", "passes"),
    [
        ("NumPy dtype that `prepare` returns.", True),
        ("Opens a scene. Needs rasterio\nfor a GeoTIFF.", True),
        ("Whether a node is a convolution.", True),
        ("Of what `prepare` makes.", False),
        ("The same, of a model.", False),
        ("With its card.", False),
        ("Opens a scene that lies in a file or in the\ncatalog.", False),
        ("", False),
        (None, False),
    ],
)
def test_rule_tells_docstrings_apart(docstring: str | None, passes: bool) -> None:
    assert (fault(docstring) is None) is passes
