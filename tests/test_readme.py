"""The README's figures are those of the stored results, and its commands exist."""

from __future__ import annotations

import re
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
README = ROOT / "README.md"
if not README.is_file():
    pytest.skip("the README lies in a checkout, not beside an installed wheel", allow_module_level=True)
TEXT = README.read_text()


def test_written_pages_say_what_the_results_say() -> None:
    pytest.importorskip("jinja2", reason="the pages' templates are jinja2's")
    sys.path.insert(0, str(ROOT / "benchmarks"))
    import pages

    written = dict(pages.pages())
    assert {README, ROOT / "docs" / "benchmarks" / "accuracy.md"} <= set(written)
    assert pages.claims(pages.study_figures.StudyFigures(pages.study_figures.stored_rows())) in TEXT
    for table in (pages.nets(), pages.shipped_models(), pages.budget(), pages.hybrids()):
        assert table in (ROOT / "docs" / "benchmarks" / "accuracy.md").read_text()
    for path, text in written.items():
        assert path.read_text() == text, "run: python benchmarks/pages.py"


def test_a_figure_says_when_and_where_it_was_measured(monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("jinja2", reason="the pages' templates are jinja2's")
    sys.path.insert(0, str(ROOT / "benchmarks"))
    import pages

    old = {"device": "CPU A"}
    files = {"committed": {"x": "2026-01-02"}, "x": {**old, "seeds": [{}, {"measured": "2026-03-04", "device": "CPU B"}]}}
    monkeypatch.setattr(pages, "stored", files.__getitem__)
    assert pages.measured("x") == r"2026-01-02\* to 2026-03-04, CPU A and CPU B"
    files["x"] = {**old, "seeds": [{}, {"measured": "2026-01-02"}]}
    assert pages.measured("x") == r"2026-01-02\*, CPU A"
    files["x"] = {"device": "CPU A", "versions": {"torch": "2"}, "seeds": [{"measured": "2026-03-04"}]}
    assert pages.measured("x") == "2026-03-04, CPU A, torch 2"


def test_it_is_short() -> None:
    assert len(TEXT.splitlines()) <= 150


def test_the_bars_hold_in_the_stored_results() -> None:
    import json
    import statistics

    rows = json.loads((ROOT / "benchmarks" / "results" / "indian_pines-cnn2d-random.json").read_text())["seeds"]
    assert len(rows) == 5
    assert statistics.mean(row["float"]["oa"] for row in rows) >= 98.5
    assert statistics.mean(row["float"]["aa"] for row in rows) >= 97
    for path in (ROOT / "benchmarks" / "results").glob("indian_pines-*-random.json"):
        for row in json.loads(path.read_text())["seeds"]:
            assert row["float"]["oa"] - row["int8"]["oa"] <= 0.3, path.name


def test_the_bar_of_16_kib_holds_in_the_stored_results() -> None:
    import json
    import statistics

    rows = json.loads((ROOT / "benchmarks" / "results" / "compress-indian_pines-random.json").read_text())["seeds"]
    assert [row["seed"] for row in rows] == [0, 1, 2, 3, 4]
    assert max(row["bytes"] for row in rows) <= 16384
    assert all(row["met"] and row["with_teacher"] and row["seconds"] < 1800 for row in rows)
    student, teacher = (statistics.mean(row["test"][name] for row in rows) for name in ("student", "teacher"))
    assert student >= 98.5
    assert student >= teacher - 0.1


def test_every_command_it_names_exists() -> None:
    from typer.main import get_command

    from hsiedge.cli.app import app

    known = set(get_command(app).commands)  # type: ignore[attr-defined]
    named = set(re.findall(r"(?<!import )hsiedge ([a-z]+)\b", " ".join(re.findall(r"`[^`]+`|^\$ .+$", TEXT, re.M))))
    assert {"train", "export", "quantize", "eval", "bench"} <= named
    assert named <= known


def test_nothing_is_left_open() -> None:
    assert not re.search(r"@[A-Z]+@|TODO|FIXME", TEXT)
