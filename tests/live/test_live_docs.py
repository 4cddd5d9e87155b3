"""docs/reference/live.md: its options and files exist, and each source and sink that it names is one."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import pytest
from typer.main import get_command

from hsiedge.cli.app import app
from hsiedge.live.source import SOURCES

ROOT = Path(__file__).parents[2]
PAGE = ROOT / "docs" / "reference" / "live.md"
if not PAGE.is_file():
    pytest.skip("the pages lie in a checkout, not beside an installed wheel", allow_module_level=True)
TEXT = PAGE.read_text()


def test_options_exist() -> None:
    command = get_command(app).commands["run"]  # type: ignore[attr-defined]
    known = {name for parameter in command.params for name in parameter.opts}
    named = set(re.findall(r"(?<![\w-])--[a-z][a-z0-9-]+", TEXT))
    assert named - {"--bil16", "--rate", "--seconds"} <= known  # those are the recorder's, and the benchmark's
    assert {"--from", "--dark", "--watch", "--page", "--late"} <= named


def test_sources_are_those_there_are() -> None:
    table = TEXT.partition("| `--from` |")[2].partition("\n\n")[0]
    named = set(re.findall(r"^\| `([a-z-]+):", table, re.M))
    assert named == set(SOURCES) - {"stdin", "file", "folder"}
    assert all(name in table for name in ("| `-` |", "`flight.hdr`", "`captures/`"))


def test_what_it_points_at_is_there() -> None:
    for name in re.findall(r"\]\(([^)#]+)\)", TEXT):
        assert (PAGE.parent / name).is_file(), name


def test_figures_are_those_measured() -> None:
    runs = json.loads((ROOT / "benchmarks" / "results" / "live.json").read_text())
    assert len(runs) == 2
    for run in runs:
        assert f"| {row(run)} |" in TEXT
        assert (run["dropped"], run["lines_in"]) == (0, run["labelled"])
        assert run["seconds"] >= 600
        assert run["latency_ms"]["p99"] <= run["latency_bound_ms"]
        assert run["peak_mib"] < 80
        assert abs(run["growth_mib"]) <= 2
        assert run["imported"] == []


def row(run: dict[str, Any]) -> str:
    """A run's cells in the table."""
    latency = f"{run['latency_ms']['p99']:.1f} ms of {run['latency_bound_ms']:.1f}"
    memory = f"{run['peak_mib']:.0f} MiB, {run['growth_mib']:+.1f} in ten minutes"
    return " | ".join([run["net"], f"{run['line_rate']:,.0f}", f"{run['lines_in']:,}", f"{run['dropped']}", latency, memory])
