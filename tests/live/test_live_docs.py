"""docs/live.md: its options and files exist, and each source and sink that it names is one."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from typer.main import get_command

from hsiedge.cli.app import app
from hsiedge.live.source import SOURCES

ROOT = Path(__file__).parents[2]
PAGE = ROOT / "docs" / "live.md"
if not PAGE.is_file():
    pytest.skip("the pages lie in a checkout, not beside an installed wheel", allow_module_level=True)
TEXT = PAGE.read_text()


def test_options_exist() -> None:
    command = get_command(app).commands["run"]  # type: ignore[attr-defined]
    known = {name for parameter in command.params for name in parameter.opts}
    named = set(re.findall(r"(?<![\w-])--[a-z][a-z0-9-]+", TEXT))
    assert named - {"--bil16", "--rate"} <= known  # those are the recorder's, and the benchmark's
    assert {"--from", "--dark", "--watch", "--page", "--late"} <= named


def test_sources_are_those_there_are() -> None:
    table = TEXT.partition("| `--from` |")[2].partition("\n\n")[0]
    named = set(re.findall(r"^\| `([a-z-]+):", table, re.M))
    assert named == set(SOURCES) - {"stdin", "file", "folder"}
    assert all(name in table for name in ("| `-` |", "`flight.hdr`", "`captures/`"))


def test_what_it_points_at_is_there() -> None:
    for name in re.findall(r"\]\(([^)#]+)\)", TEXT):
        assert (PAGE.parent / name).is_file(), name
