"""The study's figures in README.md and docs/study.md are those of the stored results, every one of them."""

from __future__ import annotations

import importlib.util
import re
import sys
from pathlib import Path
from types import ModuleType

import pytest

from tests import study_rows

ROOT = Path(__file__).parents[1]
if not (ROOT / "benchmarks" / "study_docs.py").is_file():
    pytest.skip("the documents lie in a checkout, not beside an installed wheel", allow_module_level=True)


def _module() -> ModuleType:
    spec = importlib.util.spec_from_file_location("study_docs", ROOT / "benchmarks" / "study_docs.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules["study_docs"] = module  # dataclasses look their module up
    spec.loader.exec_module(module)
    return module


DOCS = _module()


@pytest.mark.parametrize("path", DOCS.DOCUMENTS, ids=lambda path: path.name)
def test_the_documents_say_what_the_results_say(path: Path) -> None:
    text = path.read_text() if path.is_file() else ""
    assert DOCS.fill(text, DOCS.stored_rows()) == text, "run: python benchmarks/study_docs.py"


def test_no_measured_figure_stands_outside_of_markers() -> None:
    path = ROOT / "docs" / "study.md"
    text = path.read_text() if path.is_file() else ""
    prose = re.sub(
        r"<!-- study: .*?<!-- end -->|```.*?```|`[^`]*`|^    .*$|\(http[^)]*\)", "", text, flags=re.DOTALL | re.MULTILINE
    )
    assert not re.findall(r"\d+[.,]\d+|\d+ ?(?:%|k?B\b|KiB|MiB|ms\b|points?\b|times\b)", prose)


def said(asked: str, common: str = "") -> str:
    """What a marker is filled with, from two seeds of the small study and its blocks split."""
    rows = study_rows.study() + study_rows.study(split="blocks", guard=6)
    before = f"<!-- study-for: {common} -->" if common else ""
    text = f"{before}a <!-- study: {asked} -->old<!-- end --> b"
    filled = DOCS.fill(text, rows)
    assert DOCS.fill(filled, rows) == filled
    found = re.fullmatch(r"(?:<!-- study-for: .*? -->)?a <!-- study: (.*?) -->(.*)<!-- end --> b", filled, re.DOTALL)
    assert found is not None
    assert found[1] == asked
    answer: str = found[2]
    return answer


@pytest.mark.parametrize(
    ("asked", "answer"),
    [
        ("oa method=none precision=int8", "94.00"),
        ("oa+- method=none precision=float32", "95.00 ± 1.41"),
        ("drop method=structured level=0.75 precision=int8", "17.00"),
        ("kb method=distill precision=int8", "0.400"),
        ("bytes method=none precision=float32", "4,000"),
        ("macs_m method=distill precision=int8", "0.300"),
        ("ms256 method=distill precision=int8", "4.00"),
        ("faster256 method=distill precision=int8", "10.0"),
        ("smaller method=distill precision=int8", "10.0"),
        ("gain method=qat level=4", "2.00"),
        ("oa method=qat precision=int4 control=yes", "87.00"),
        ("max drop method=structured", "17.00"),
        ("min oa method=none|distill", "94.00"),
        ("best level of=oa method=structured precision=int8", "0.5"),
        ("best method of=smaller drop<=0.5", "distill"),
        ("worst oa method=magnitude", "92.00"),
        ("count method=structured", "4"),
        ("count drop>=17", "1"),
        ("cells", "14"),
        ("seeds", "0, 1"),
        ("test", "100"),
        ("device method=none", study_rows.DEVICE),
        ("n method=none precision=int8", "2"),
    ],
)
def test_figures_in_prose(asked: str, answer: str) -> None:
    assert said(asked, "scene=salinas_a split=random net=cnn2d") == answer


def test_what_a_marker_says_goes_before_what_is_common() -> None:
    assert said("cells split=blocks|random", "split=random") == "28"


@pytest.mark.parametrize(
    ("asked", "why"),
    [
        ("oa split=random method=none", "3 entries are chosen where one is needed"),
        ("oa split=random method=none precision=int4", "0 entries are chosen"),
        ("ms1 split=random method=magnitude precision=int8", "has no ms1"),
        ("max ms1 method=magnitude", "nothing that was chosen has ms1"),
        ("oa colour=red", "colour is none of scene"),
        ("table colour split=random", "no columns colour"),
        ("table split=masks", "nothing is chosen"),
    ],
)
def test_a_marker_that_asks_for_what_is_not_there_is_named(asked: str, why: str) -> None:
    with pytest.raises(DOCS.MarkerError, match=re.escape(f"<!-- study: {asked} -->: ")) as error:
        said(asked)
    assert why in str(error.value)


def test_tables() -> None:
    text = said("table oa bytes ms256 split=random method=none|qat")
    lines = [line for line in text.splitlines() if line.startswith("|")]
    assert lines[0] == "| net | method | level | precision | n | OA % | file bytes | ms, batch 256 |"
    assert len(lines) == 2 + 3 + 4  # QAT's controls come along
    assert lines[-1].startswith("| cnn2d | QAT's control | 4 bits | int4 (simulated) | 2 | 87.00 ± 1.41 | - |")
    assert "Random split, 10 % of each class trains" in text
    assert len([line for line in said("table").splitlines() if line.startswith("|")]) == 2 * (2 + 15)
