"""`hsiedge report`, as a user runs it."""

from __future__ import annotations

import csv
import io
from dataclasses import replace
from pathlib import Path

import pytest

from hsiedge.study.store import Store
from tests import study_rows
from tests.cli.conftest import Hsiedge


@pytest.fixture
def study(tmp_path: Path) -> Path:
    with Store(tmp_path / "mine" / "study.sqlite") as store:
        for row in study_rows.study():
            store.put_parts(row.split_digest, study_rows.PARTS)
            store.put(row)
        store.put_failure(replace(study_rows.cell(), seed=9), "it ran out of memory")
    return tmp_path / "mine"


def test_tables_as_text(hsiedge: Hsiedge, study: Path, tmp_path: Path) -> None:
    run = hsiedge("report", "mine", "--format", "csv")
    assert run.code == 0
    assert len(list(csv.DictReader(io.StringIO(run.out)))) == 13
    assert "failed, and missing here: salinas_a random s9 cnn2d trained: it ran out of memory" in run.err
    run = hsiedge("report", study / "study.sqlite", "--format", "markdown", "-o", "tables.md")
    assert (run.code, run.out) == (0, "")
    assert (tmp_path / "tables.md").read_text().startswith("### Salinas-A, random split")
    assert hsiedge("report", "mine", "--format", "latex").out.startswith("% needs")
    assert not (study / "report.html").exists()


def test_the_page_and_the_terminal(hsiedge: Hsiedge, study: Path, tmp_path: Path) -> None:
    pytest.importorskip("jinja2", reason="the page needs jinja2")
    pytest.importorskip("matplotlib", reason="the page needs matplotlib")
    run = hsiedge("report", "mine")
    assert run.code == 0
    assert "Salinas-A, random split" in run.out
    assert "its control" in run.out
    assert "mine/report.html: the page" in run.err
    text = (study / "report.html").read_text()
    assert "it ran out of memory" in text
    assert "data:image/png;base64," in text  # the maps: the store knows where the pixels lie
    assert hsiedge("report", "mine", "--format", "html", "-o", "deep/page.html").out == ""
    assert (tmp_path / "deep" / "page.html").read_text() == text


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (("nowhere",), "nowhere: no such study; hsiedge study CONFIG.toml makes one"),
        (("mine", "--format", "pdf"), "choose one of terminal, html, markdown, csv, latex"),
        (("text.txt",), "cannot be read as the store of a study"),
        (("mine", "--format", "csv", "-o", "text.txt/x.csv"), "cannot write"),
        (("empty",), "the study has no finished cell yet"),
    ],
)
def test_bad_input(hsiedge: Hsiedge, study: Path, tmp_path: Path, words: tuple[str, ...], message: str) -> None:
    (tmp_path / "text.txt").write_text("no study" * 1000)
    with Store(tmp_path / "empty" / "study.sqlite"):
        pass
    assert message in hsiedge("report", *words).error
    assert not (tmp_path / "nowhere").exists()


def test_a_missing_extra_is_named_after_the_tables(hsiedge: Hsiedge, study: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import sys

    for module in ("hsiedge.report.study.page", "hsiedge.report.html"):
        monkeypatch.delitem(sys.modules, module, raising=False)
    monkeypatch.setitem(sys.modules, "jinja2", None)
    run = hsiedge("report", "mine")
    assert "Salinas-A, random split" in run.out
    assert "pip install 'hsiedge[report]'" in run.error
