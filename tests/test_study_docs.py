"""The study's page says what the stored results say, and no figure can be asked for that no page may show."""

from __future__ import annotations

import re
import sys
from pathlib import Path

import pytest

from hsiedge.report.study.tables import csv_text
from hsiedge.study.rows import Row
from tests import study_rows

ROOT = Path(__file__).parents[1]
if not (ROOT / "benchmarks" / "study_figures.py").is_file():
    pytest.skip("the pages lie in a checkout, not beside an installed wheel", allow_module_level=True)
pytest.importorskip("jinja2", reason="jinja2 writes the pages, and is not installed")
sys.path.insert(0, str(ROOT / "benchmarks"))

import pages  # noqa: E402
from study_figures import FigureError, StudyFigures, stored_rows  # noqa: E402

PAGE = ROOT / "docs" / "benchmarks" / "study.md"
TEMPLATE = pages.TEMPLATES / "study.md.j2"


def test_the_page_says_what_the_results_say() -> None:
    written = pages.rendered(TEMPLATE.name, StudyFigures(stored_rows()))
    assert PAGE.read_text() == written, "run: python benchmarks/pages.py"
    assert "{{" not in written
    assert "<!-- study" not in written


def test_the_data_are_those_of_the_store() -> None:
    assert pages.DATA.read_text() == csv_text(stored_rows()), "run: python benchmarks/pages.py"


@pytest.mark.parametrize("name", ["study.md.j2", "nets3d.md.j2"])
def test_no_measured_figure_stands_outside_of_calls(name: str) -> None:
    text = (pages.TEMPLATES / name).read_text()
    assert "{{ study(" in text
    prose = re.sub(r"{{.*?}}|{%.*?%}|```.*?```|`[^`]*`|^    .*$|\(http[^)]*\)", "", text, flags=re.DOTALL | re.MULTILINE)
    assert not re.findall(r"\d+[.,]\d+|\d+ ?(?:%|k?B\b|KiB|MiB|ms\b|points?\b|times\b)", prose)


def ask(figures: StudyFigures, asked: str) -> str:
    """The answer to a question in one line, such as "best method of=smaller drop<=0.5"; bars stand between several values."""
    words, traits, limits = [], {}, {}
    for word in asked.split():
        name, is_trait, value = word.partition("=")
        if "<" in name or ">" in name:
            limits["where"] = word
        elif not is_trait:
            words.append(word)
        elif name == "of":
            limits["of"] = value
        else:
            traits[name] = value.split("|") if "|" in value else value
    answer: str = figures(*words, **limits, **traits)
    return answer


def answer_of(asked: str, **common: str) -> str:
    """The figure of two seeds of the small study and its blocks split."""
    figures = StudyFigures(study_rows.study() + study_rows.study(split="blocks", guard=6), strict=False)
    figures.choose(**common)
    return ask(figures, asked)


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
        ("doubts method=structured", "! 2 of 8 latencies are not to be trusted yet: drift (2), unstable (1)."),
        ("doubts method=none", ""),
    ],
)
def test_figures_in_prose(asked: str, answer: str) -> None:
    assert answer_of(asked, scene="salinas_a", split="random", net="cnn2d") == answer


def test_what_a_call_says_goes_before_what_is_common() -> None:
    assert answer_of("cells split=blocks|random", split="random") == "28"


@pytest.mark.parametrize(
    ("asked", "why"),
    [
        ("oa split=random method=none", "3 entries are chosen where one is needed"),
        ("oa split=random method=none precision=int4", "0 entries are chosen"),
        ("ms1 split=random method=magnitude precision=int8", "has no ms1"),
        ("max ms1 method=magnitude", "nothing that was chosen has ms1"),
        ("oa colour=red", "colour is none of scene"),
        ("table colour split=random", "no figure colour"),
        ("table split=masks", "nothing is chosen"),
    ],
)
def test_a_call_that_asks_for_what_is_not_there_is_named(asked: str, why: str) -> None:
    with pytest.raises(FigureError, match=re.escape(f"{asked}: ")) as error:
        answer_of(asked)
    assert why in str(error.value)


def strictly(asked: str, rows: list[Row]) -> str:
    """What a page gets for a question."""
    return ask(StudyFigures(rows), asked)


def test_a_claim_has_its_control() -> None:
    rows = study_rows.controlled()
    text = strictly("claim method=distill precision=int8", rows)
    assert "no difference to the same net trained from nothing was seen (" in text
    assert "for as many steps in all" in strictly("claim all method=distill precision=int8", rows)
    assert "1.00 points below the same net in float" in strictly("claim method=none precision=int8", rows)
    alone = [row for row in rows if row.cell.method not in ("scratch", "finetune")]
    for method in ("distill", "structured", "magnitude"):
        with pytest.raises(FigureError, match="has no control"):
            strictly(f"claim method={method} precision=int8", alone)
        with pytest.raises(FigureError, match="has no control"):
            strictly(f"claim parent method={method} precision=int8", alone)
        assert "points below the uncompressed net in float (" in strictly(f"claim parent method={method} precision=int8", rows)
    with pytest.raises(FigureError, match="one seed allows no claim"):
        strictly("claim method=distill precision=int8", study_rows.controlled((0,)))
    with pytest.raises(FigureError, match="has no control"):
        strictly("claim method=none precision=float32", rows)


def test_no_document_says_an_accuracy_of_a_method_without_its_control() -> None:
    rows = study_rows.controlled()
    for asked in ("oa", "drop", "aa+-", "max oa", "best kappa of=oa"):
        with pytest.raises(FigureError, match="without its control; ask for claim"):
            strictly(f"{asked} method=structured precision=int8", rows)
    with pytest.raises(FigureError, match="without its control; ask for claim"):
        strictly("drop method=none precision=int8", rows)
    assert strictly("oa method=none precision=float32", rows) == "95.00"
    with pytest.raises(FigureError, match="ask for own and all, too"):
        strictly("table oa kb method=none|structured", rows)
    assert strictly("table oa own all kb method=none|structured", rows).count("\n| structured pruning") == 2
    alone = [row for row in rows if row.cell.method != "scratch"]
    with pytest.raises(FigureError, match=r"without their controls: cnn2d, structured pruning 0\.5"):
        strictly("table oa own all kb method=none|structured", alone)
    assert strictly("table kb macs_m method=none|structured", alone)


def test_no_document_has_a_latency_that_its_warnings_withdraw() -> None:
    rows = study_rows.study()
    assert strictly("ms1 method=none precision=int8", rows)
    for asked in ("ms1 method=structured level=0.5 precision=int8", "table ms1 method=none|structured"):
        with pytest.raises(FigureError, match=r"withdraw: cnn2d, structured pruning 0\.5, int8"):
            strictly(asked, rows)


def test_tables() -> None:
    text = answer_of("table oa bytes ms256 split=random method=none|qat")
    lines = [line for line in text.splitlines() if line.startswith("|")]
    assert lines[0] == "| method | precision | OA % | file bytes | ms, batch 256 |"
    assert len(lines) == 2 + 3 + 4  # QAT's controls come along
    assert lines[-1].startswith(
        "| QAT's control, 4 bits | int4 (simulated) | 87.00\N{NO-BREAK SPACE}±\N{NO-BREAK SPACE}1.41 | - |"
    )
    timed = [line for line in answer_of("table ms256 split=random method=none|qat").splitlines() if line.startswith("|")]
    assert len(timed) == 2 + 3 + 2  # where there is nothing to compare with them, they do not
    assert "- Random split, 10 % of each class trains" in text
    assert "For all of these tables" not in text


def test_notes_that_all_tables_share_stand_once() -> None:
    text = answer_of("table")
    assert len([line for line in text.splitlines() if line.startswith("|")]) == 2 * (2 + 15)
    own, shared = text.split("For all of these tables:")
    assert own.count("- Random split") == own.count("- Blocks split") == own.count("A random split leaks") == 1
    assert shared.count(study_rows.DEVICE.replace("_", "\\_")) == shared.count("Seeds 0, 1: mean") == 1
    assert "Seeds" not in own


def nets3d() -> list[Row]:
    """The small study with its controls, as if of the nets of benchmarks/study/nets3d.toml, beside a net with one more seed."""
    rows = study_rows.controlled((0, 1, 2), scene="indian_pines")
    return rows + [row for net in ("cnn3d", "hybridsn") for row in study_rows.controlled((0, 1), scene="indian_pines", net=net)]


def test_the_section_of_the_3d_nets_is_there_once_their_results_are() -> None:
    assert '{% include "nets3d.md.j2" %}' in TEMPLATE.read_text()
    traits = {"scene": "indian_pines", "split": "random", "net": ["cnn3d", "hybridsn"]}
    assert not StudyFigures(study_rows.study()).any(**traits)
    assert StudyFigures(nets3d()).any(**traits)
    inside = pages.rendered("nets3d.md.j2", StudyFigures(nets3d()))
    assert "<!--" not in inside
    assert "## Nets with 3-D convolutions" in inside
    assert "**`hybridsn`** has an overall accuracy of 95.00 ± 0.00 % in float. Its INT8\n  file: 1.00 points below" in inside
    assert "two levels a method,\nseeds 0, 1." in inside
    assert "Seeds 0, 1: mean" in inside  # of these nets, though another has three
    assert inside.count("| hybridsn | magnitude pruning 0.9 | ") == 2
    lacking = [row for row in nets3d() if row.cell.net != "hybridsn"]
    with pytest.raises(FigureError, match="0 entries are chosen"):
        pages.rendered("nets3d.md.j2", StudyFigures(lacking, strict=False))
    alone = [row for row in nets3d() if row.cell.method != "finetune"]
    with pytest.raises(FigureError, match=r"without their controls: cnn3d, magnitude pruning 0\.9"):
        pages.rendered("nets3d.md.j2", StudyFigures(alone))
