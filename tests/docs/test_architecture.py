"""The architecture page is true of the code: its packages are those there are, in the order of the import contract."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
PAGE = ROOT / "docs" / "explanation" / "architecture.md"
if not PAGE.is_file():
    pytest.skip("the page lies in a checkout, not beside an installed wheel", allow_module_level=True)
TEXT = PAGE.read_text()
TABLE = TEXT.partition("## The packages")[2].partition("### scenes/")[0]
tomllib = pytest.importorskip("tomllib", reason="Python 3.11 has it")
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())


def named(text: str) -> list[str]:
    """Packages and modules in a text, without their suffix."""
    return [name.removesuffix("/").removesuffix(".py") for name in re.findall(r"`(\w+/|\w+\.py)`", text)]


def test_every_package_has_its_line() -> None:
    folders = {path.parent.name for path in (ROOT / "hsiedge").glob("*/*") if path.parent.name != "__pycache__"}
    modules = {path.stem for path in (ROOT / "hsiedge").glob("*.py")} - {"__init__", "__main__"}
    first = {name for row in re.findall(r"^\| (`.*?) \|", TABLE, re.M) for name in named(row)}
    assert first == folders | modules


def test_packages_stand_as_the_import_contract_has_them() -> None:
    (layers,) = [
        contract["layers"] for contract in PROJECT["tool"]["importlinter"]["contracts"] if contract["type"] == "layers"
    ]
    height = {name.split(".")[1]: place for place, layer in enumerate(layers) for name in layer.split(" | ")}
    rows = [named(row) for row in re.findall(r"^\| (`.*?) \|", TABLE, re.M)]
    order = [height[name] for row in rows for name in row if name in height]
    assert order == sorted(order)
    assert set(height) <= {name for row in rows for name in row}


@pytest.mark.parametrize("room", ["scenes", "graphs", "native", "live"])
def test_files_of_a_room_are_there(room: str) -> None:
    section = TEXT.partition(f"### {room}/")[2].partition("\n#")[0]
    names = re.findall(r"`([\w/]+/|[\w/]+\.(?:py|h|toml))`", section)
    assert names
    for name in names:
        assert any((ROOT / "hsiedge" / place / name).exists() for place in ("", room, f"{room}/io", f"{room}/src")), name


def test_every_extra_is_explained() -> None:
    extras = set(PROJECT["project"]["optional-dependencies"]) - {"dev", "docs", "study"}
    assert extras == set(re.findall(r"`\[(\w+)\]`", TEXT.partition("## Why each dependency")[2]))
