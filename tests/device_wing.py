"""Collects the tests as the device wing does: with no package but those that it requires.

    python -m tests.device_wing

A package that is installed here, and not there, cannot be imported: a test module that imports one fails here as it does there.
"""

from __future__ import annotations

import importlib.metadata
import os
import re
import sys
from collections.abc import Sequence
from importlib.abc import MetaPathFinder
from importlib.machinery import ModuleSpec
from types import ModuleType


class Missing(MetaPathFinder):
    """Finder that says of packages that they are not installed."""

    def __init__(self, names: set[str]) -> None:
        self._names = names

    def find_spec(self, name: str, path: Sequence[str] | None, target: ModuleType | None = None) -> ModuleSpec | None:
        if name.partition(".")[0] in self._names:
            raise ModuleNotFoundError(f"No module named {name!r}", name=name)
        return None


def canonical(name: str) -> str:
    """Name of a distribution as PEP 503 has it."""
    return re.sub(r"[-_.]+", "-", name).lower()


def required(*names: str) -> set[str]:
    """Distributions, and all that they require, without extras."""
    known: set[str] = set()
    todo = list(names)
    while todo:
        name = canonical(todo.pop())
        if name in known:
            continue
        known.add(name)
        try:
            todo += [
                re.split(r"[^\w.-]", line)[0] for line in importlib.metadata.requires(name) or () if "extra ==" not in line
            ]
        except importlib.metadata.PackageNotFoundError:
            continue
    return known


def main() -> int:
    there = required("hsiedge", "pytest")
    owners = importlib.metadata.packages_distributions()
    names = {name for name, owned in owners.items() if there.isdisjoint(map(canonical, owned))}
    assert {"torch", "onnx", "matplotlib"} <= names
    sys.meta_path.insert(0, Missing(names))
    os.environ["PYTEST_DISABLE_PLUGIN_AUTOLOAD"] = "1"
    import pytest

    return int(pytest.main(["--collect-only", "-qq", "-r", "fE", "tests"]))


if __name__ == "__main__":
    sys.exit(main())
