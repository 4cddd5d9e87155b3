"""The page of a study, in a real browser: what is measured is drawn, in light and dark, on a desk and on a phone."""

from __future__ import annotations

import base64
import io
import re
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

pytest.importorskip("jinja2", reason="the page needs jinja2")
pytest.importorskip("matplotlib", reason="the page needs matplotlib")

from matplotlib.colors import to_hex
from matplotlib.image import imread

from hsiedge.mapping import palette
from hsiedge.report.study import plots
from hsiedge.report.study.gather import groups
from hsiedge.report.study.page import chapter, render_study
from hsiedge.study.rows import Row
from tests import study_rows
from tests.browser import Page

# Of each plot in view: its marks, those that have an extent, those within the drawing, and how wide a letter is on screen.
DRAWN = """[...document.querySelectorAll('section:not([hidden]) figure > svg')].map((svg) => {
  const frame = svg.getBoundingClientRect(), marks = [...svg.querySelectorAll('.mark')];
  const boxes = marks.map((mark) => mark.getBoundingClientRect());
  const inside = boxes.filter((b) => b.left >= frame.left - 1 && b.right <= frame.right + 1
    && b.top >= frame.top - 1 && b.bottom <= frame.bottom + 1);
  return {points: Number(svg.dataset.points), marks: marks.length,
    title: svg.parentElement.querySelector('figcaption').textContent,
    drawn: boxes.filter((b) => b.width > 2 && b.height > 0.5).length, inside: inside.length,
    text: svg.querySelector('text').getBoundingClientRect().height, label: svg.getAttribute('aria-label'),
    lines: [...svg.querySelectorAll('polyline')].filter((line) => line.getTotalLength() > 5).length,
    overlaps: [...svg.querySelectorAll('.tick')].filter((a, i, all) => all.some((b, j) => {
      if (j <= i) return false;
      const one = a.getBoundingClientRect(), two = b.getBoundingClientRect();
      return one.left < two.right - 1 && two.left < one.right - 1 && one.top < two.bottom - 3 && two.top < one.bottom - 3;
    })).length};
})"""
COLOURS = """(() => { const of = (element, name) => getComputedStyle(element)[name];
  return [of(document.body, 'backgroundColor'), of(document.body, 'color'), of(document.querySelector('.mark.m-qat'), 'fill'),
    of(document.querySelector('.mark.m-distill'), 'stroke'), of(document.querySelector('figure'), 'backgroundColor')]; })()"""
BOXES_FIT = """[...document.querySelectorAll('section:not([hidden]) .scroll')].every(
  (box) => box.getBoundingClientRect().right <= innerWidth)"""
IN_VIEW = """[...document.querySelectorAll('section')].filter(
  (part) => part.getBoundingClientRect().height > 0).map((part) => part.ariaLabel)"""


def rows() -> list[Row]:
    return study_rows.study((0, 1, 2)) + study_rows.study((0, 1, 2), split="blocks", guard=6, net="cnn3d")


def page_of(rows: list[Row], known: bool = True) -> str:
    return render_study(rows, lambda digest: study_rows.PARTS if known else None, "my <study>")


@pytest.fixture(scope="module")
def file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("report") / "report.html"
    path.write_text(page_of(rows()))
    return path


@pytest.mark.parametrize("dark", [False, True])
@pytest.mark.parametrize("width", [1280, 390])
def test_every_point_is_drawn(tab: Page, file: Path, width: int, dark: bool) -> None:
    tab.errors.clear()
    tab.open(file, width, dark=dark)
    shown = tab.run(DRAWN)
    assert len(shown) == 6 + 4  # file, gzip, MACs, two latencies, memory; a plot a method
    # 13 forms and the bars of two controls; latencies lack magnitude, and 4 bits with their control.
    assert [plot["points"] for plot in shown] == [15, 15, 15, 11, 11, 11, 2, 4, 2, 4]
    for plot in shown:
        assert plot["marks"] == plot["drawn"] == plot["inside"] == plot["points"], plot
        assert plot["lines"] >= 1
        assert plot["label"].startswith(plot["title"])
        assert plot["text"] >= 8.5, "too small to read"
        assert plot["overlaps"] == 0, "ticks write over each other"
    assert tab.run("document.documentElement.scrollWidth") == width
    assert tab.run(BOXES_FIT)
    assert tab.errors == []


STUDENTS = ["cnn2d:32,32,32,32,32", "cnn2d:16,16,16,16,16", "dscnn@13:16,28,28,28,28", "dscnn:8,16,16,16,16", "dscnn:4,100"]
STUDENTS += ["dscnn:8,16,32,64,128,256,512", "cnn2d:8"]


@pytest.mark.parametrize("count", [1, 2, 4, 7])
@pytest.mark.parametrize("width", [1280, 390])
def test_names_of_students_stand_apart(tab: Page, tmp_path: Path, width: int, count: int) -> None:
    rows = [row for row in study_rows.study() if row.cell.method != "distill"]
    for place, level in enumerate(STUDENTS[:count]):
        rows.append(study_rows.row(study_rows.cell("distill", level), study_rows.form("int8", 4 + place, 400 + place, 0.04)))
    file = tmp_path / "report.html"
    file.write_text(page_of(rows))
    tab.open(file, width)
    (plot,) = [plot for plot in tab.run(DRAWN) if plot["title"] == "Distillation"]
    assert plot["points"] == count
    assert plot["overlaps"] == 0, "names write over each other"
    assert "32x5" in tab.run("[...document.querySelectorAll('.tick')].map((tick) => tick.textContent).join(' ')")


def test_a_student_is_named_as_long_as_there_is_room() -> None:
    assert plots._lines("dscnn:8,16,16,16,16", 12) == ("dscnn", "8,16x4")
    assert plots._lines("dscnn@13:8,16,32", 6) == ("dscnn…", "8,16,…")
    assert plots._lines("cnn1d", 12) == ("cnn1d",)
    assert plots._lines("4", 12) == ("4",)


def test_warnings_on_latencies_are_folded_away(tab: Page, file: Path) -> None:
    tab.open(file, 390)
    seen = tab.run("""(() => { const box = document.querySelector('section:not([hidden]) .warnings');
      const list = box.querySelector('ul'), folded = list.checkVisibility({contentVisibilityAuto: true});
      box.querySelector('summary').click();
      return [folded, list.checkVisibility(), [...list.children].map((line) => line.textContent)]; })()""")
    assert seen[:2] == [False, True]
    assert seen[2][0].startswith("cnn2d, structured pruning 0.5, int8, batch 1: drift: the last third took 20% longer")
    assert len(seen[2]) == 2
    shown = tab.run("[...document.querySelectorAll('section:not([hidden]) p')].map((text) => text.textContent)")
    assert "! 2 of 20 latencies are not to be trusted yet: drift (2), unstable (1)." in shown


@pytest.mark.parametrize("width", [1280, 390])
def test_a_row_of_the_table_keeps_its_name_in_view(tab: Page, file: Path, width: int) -> None:
    tab.open(file, width)
    places = tab.run("""(() => { const table = document.querySelector('section:not([hidden]) .figures');
      const box = table.parentElement;
      box.scrollLeft = 1e4;
      const name = table.querySelector('tbody th').getBoundingClientRect(), frame = box.getBoundingClientRect();
      return [name.left - frame.left, table.rows[1].textContent, box.scrollLeft]; })()""")
    assert 0 <= places[0] < 3
    assert places[1].startswith("uncompressed, float32")
    assert (places[2] > 0) == (width == 390)


def test_light_and_dark_differ_and_both_can_be_read(tab: Page, file: Path) -> None:
    seen = {}
    for dark in (False, True):
        tab.open(file, 1280, dark=dark)
        seen[dark] = tab.run(COLOURS)
        levels = [_luminance(colour) for colour in seen[dark][:2]]
        assert (max(levels) + 0.05) / (min(levels) + 0.05) > 7  # WCAG 2.1, contrast ratio, level AAA
        card = _luminance(seen[dark][4])
        for colour in seen[dark][2:4]:
            level = _luminance(colour)
            assert (max(level, card) + 0.05) / (min(level, card) + 0.05) > 3  # graphical objects, level AA
        assert (levels[0] < levels[1]) == dark
    assert not set(seen[False]) & set(seen[True])


def test_scenes_and_splits_are_switched(tab: Page, file: Path) -> None:
    tab.open(file, 1280)
    assert tab.run(IN_VIEW) == ["Salinas-A, random split"]
    tab.run("document.querySelectorAll('nav a')[1].click()")
    tab.run("new Promise((done) => setTimeout(done, 100))")
    assert tab.run(IN_VIEW) == ["Salinas-A, blocks split"]
    assert tab.run("document.querySelector('nav a[aria-current]').textContent") == "Salinas-A, blocks split"
    for plot in tab.run(DRAWN):
        assert plot["drawn"] == plot["points"] > 0


def test_a_finger_reads_a_mark(tab: Page, file: Path) -> None:
    tab.open(file, 390)
    shown = tab.run("""(() => { const svg = document.querySelector('figure > svg'), mark = svg.querySelector('.mark.m-distill');
      const box = mark.getBoundingClientRect();
      svg.dispatchEvent(new PointerEvent('pointerdown', {clientX: box.x + 5, clientY: box.y + 3, bubbles: true}));
      return [svg.parentElement.querySelector('.say').textContent, mark.querySelector('title').textContent]; })()""")
    assert shown[0] == shown[1]
    assert re.fullmatch(r"cnn2d, distillation dscnn:20,32, (float32|int8): OA 94.00 ± 2.00 %, \d+ B.*", shown[0])


def test_the_browser_tells_of_errors(tab: Page, tmp_path: Path) -> None:
    broken = tmp_path / "broken.html"
    broken.write_text("<script>nothing()</script><img src='https://nowhere.invalid/a.png'>")
    tab.errors.clear()
    tab.open(broken, 390)
    assert any("nothing" in text for text in tab.errors)
    assert any("asks the network for https://nowhere.invalid/a.png" in text for text in tab.errors)


def test_qat_never_without_its_control() -> None:
    shown = chapter(groups(study_rows.study())[0], lambda digest: None)
    plots = [tradeoff.plot for tradeoff in shown.tradeoffs] + shown.levels
    for plot in plots:
        for mark in plot.marks:
            if mark.kind == "qat":
                oa = mark.title.split(": ")[1].split(" (")[0]
                beside = [other for other in plot.marks if other.kind == "control" and other.title.endswith(f"QAT itself {oa}")]
                assert [other.x for other in beside] == [mark.x]
                assert "its control OA" in mark.title
                assert "8-bit storage" in mark.title or "simulated" not in mark.title or plot.x_title.startswith("MACs")
    text = page_of(study_rows.study())
    assert text.count("QAT 4 bits") <= text.count("simulated")
    for heat in shown.heats:
        assert all("control" in row for row in heat.rows if row.startswith("QAT"))


def test_magnitude_is_in_no_plot_of_latency_and_simulated_bits_on_no_front() -> None:
    rows = []
    for row in study_rows.study():
        size = {"magnitude": 10, "qat": 6}.get(row.cell.method if row.cell.level != "8" else "")
        forms = tuple(study_rows.form(form.precision, 0, size, 0.01) if size else form for form in row.forms)
        rows.append(replace(row, forms=forms))
    shown = chapter(groups(rows)[0], lambda digest: None)
    for tradeoff in shown.tradeoffs:
        kinds = {mark.kind for mark in tradeoff.plot.marks}
        timed = "latency" in tradeoff.plot.title or "memory" in tradeoff.plot.title
        assert ("magnitude" in kinds) != timed
        assert not [mark for mark in tradeoff.plot.marks if mark.front and "simulated" in mark.title]
        assert not [words for words in tradeoff.pareto_front if "simulated" in words]


def test_the_front_is_what_the_words_say() -> None:
    shown = chapter(groups(study_rows.study())[0], lambda digest: None)
    size = shown.tradeoffs[0]
    assert len([mark for mark in size.plot.marks if mark.front]) == len(size.pareto_front) == 1
    assert size.pareto_front[0].startswith("cnn2d, distillation dscnn:20,32, int8: OA 95.00 ± 1.41 %, 400 B")


def test_maps_show_where_the_test_pixels_lie() -> None:
    shown = chapter(groups(study_rows.study())[0], lambda digest: study_rows.PARTS)
    before, after, changed = (imread(io.BytesIO(base64.b64decode(picture.png))) for picture in shown.pictures)
    assert before.shape == after.shape == (8, 20, 4)
    assert (before[..., 3] == 1).sum() == 100
    assert not before[0, :, 3].any()
    colours = [palette.colours(study_rows.CLASSES)[label] for label in study_rows.form("x", 4, 1).predicted]
    assert [to_hex(colour) for colour in before[study_rows.PARTS == 3]] == colours
    assert (changed[..., 3] == 1).sum() == (np.any(before != after, axis=-1)).sum() == 0  # both take the same 4 pixels wrong
    assert "Seed 0: 0 of 100 test pixels (0.00 %) changed their class." in shown.changed
    assert chapter(groups(study_rows.study())[0], lambda digest: None).pictures == []


def test_the_page_needs_nothing_and_believes_no_name() -> None:
    text = page_of(rows())
    assert not re.search(r"(src|href)=\"(?!data:|#)", text)
    assert "url(" not in text
    assert "Broccoli &amp; &lt;greens&gt;" in text
    assert "<greens>" not in text
    assert "my &lt;study&gt;" in text
    assert len(text) < 400_000
    assert "with one seed (0), so no spread is known" in page_of(study_rows.study((0,)))
    assert "1 cell failed and is missing: it &lt;died&gt;" in render_study(rows(), lambda digest: None, "x", ["it <died>"])


def test_perfect_scores_and_single_rows_are_drawn_too() -> None:
    perfect = [study_rows.row(study_rows.cell(), study_rows.form("float32", 0, 4000))]
    shown = chapter(groups(perfect)[0], lambda digest: None)
    assert [len(tradeoff.plot.marks) for tradeoff in shown.tradeoffs] == [1, 1, 1]
    for tradeoff in shown.tradeoffs:
        mark = tradeoff.plot.marks[0]
        assert tradeoff.plot.left < mark.x < tradeoff.plot.right
        assert tradeoff.plot.top < mark.y < tradeoff.plot.bottom
    assert page_of(perfect)


def _luminance(colour: str) -> float:
    """Relative luminance of "rgb(r, g, b)", WCAG 2.1."""
    parts = [int(part) / 255 for part in re.findall(r"\d+", colour)[:3]]
    red, green, blue = (part / 12.92 if part <= 0.04045 else ((part + 0.055) / 1.055) ** 2.4 for part in parts)
    return 0.2126 * red + 0.7152 * green + 0.0722 * blue
