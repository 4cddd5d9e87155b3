"""A study's tables: means and spreads done by hand, and what must stand beside what."""

from __future__ import annotations

import csv
import io
import re
from dataclasses import replace

import numpy as np
import pytest
from rich.console import Console

from hsiedge.errors import StudyError
from hsiedge.report.study import figures
from hsiedge.report.study.figures import Entry, pareto_front
from hsiedge.report.study.gather import groups
from hsiedge.report.study.tables import csv_text, latex, markdown, sheet, sheets, short_level, study_tables, tex
from hsiedge.study.rows import METHODS, Row
from tests import study_rows


def entry(rows: list[Row], method: str, level: str, precision: str, control: bool = False) -> Entry:
    cells = [
        e for e in groups(rows)[0].entries if (e.method, e.level, e.precision, e.control) == (method, level, precision, control)
    ]
    assert len(cells) == 1
    return cells[0]


def line(text: str, *words: str) -> list[str]:
    """The cells of the one Markdown row that has all the words as its cells."""
    rows = [[cell.strip() for cell in row.strip("|").split("|")] for row in text.splitlines() if row.startswith("|")]
    matching = [cells for cells in rows if set(words) <= set(cells)]
    assert len(matching) == 1, (words, matching)
    return matching[0]


def printed(rows: list[Row]) -> str:
    console = Console(file=io.StringIO(), width=100, highlight=False, markup=False)
    console.print(*study_tables(rows), sep="\n")
    text: str = console.file.getvalue()  # type: ignore[attr-defined]
    return text


def test_methods_are_those_of_the_study() -> None:
    assert tuple(figures.METHODS) == METHODS


def test_mean_and_spread_over_two_seeds() -> None:
    parent = entry(study_rows.study(), "none", "", "float32")
    assert parent.figures["oa"].values == pytest.approx((96, 94))
    assert parent.figures["oa"].mean == pytest.approx(95)
    assert parent.figures["oa"].std == pytest.approx(2**0.5)  # of a sample: n - 1
    assert parent.figures["aa"].mean == pytest.approx((92 + 88 + 4 * 100) / 6)
    assert parent.figures["ms1"].std == 0
    pruned = entry(study_rows.study(), "structured", "0.75", "int8")
    assert pruned.figures["drop"].values == pytest.approx((17, 17))  # against its own seed
    assert pruned.figures["smaller"].mean == pytest.approx(8)
    assert pruned.figures["faster256"].mean == pytest.approx(8)
    assert "96.00 ± 1.41 | 97.33 ± 0.94" not in markdown(sheets(study_rows.study()))
    assert line(markdown(sheets(study_rows.study())), "uncompressed", "float32")[4:7] == ["2", "95.00 ± 1.41", "96.67 ± 0.94"]


def test_one_seed_has_no_spread_and_is_named_so() -> None:
    text = markdown(sheets(study_rows.study(seeds=(1,))))
    assert line(text, "uncompressed", "float32")[4:6] == ["1", "94.00"]
    assert "±" not in text
    assert "One seed (1): no spread is known." in text
    assert entry(study_rows.study(seeds=(1,)), "none", "", "int8").figures["oa"].std is None


def test_a_missing_cell_shows_in_n() -> None:
    rows = [row for row in study_rows.study() if (row.cell.method, row.cell.seed) != ("distill", 1)]
    text = markdown(sheets(rows))
    assert line(text, "distillation", "float32")[4:6] == ["1", "96.00"]
    assert "Where n is 1, no spread is known." in text


def test_control_stands_right_under_qat() -> None:
    for table in sheets(study_rows.study()):
        places = [place for place, entry in enumerate(table.entries) if entry.method == "qat" and not entry.control]
        assert len(places) == 2
        for place in places:
            assert table.cells[place + 1][1] == "QAT's control"
            assert table.cells[place + 1][2:5] == table.cells[place][2:5]
        assert table.cells[places[0] + 1][5] == "96.00 ± 1.41"
        assert set(table.cells[places[0] + 1][8:]) == {"-"}
    lines = printed(study_rows.study()).splitlines()
    for bits, qat, control in ((8, "95.00 ± 1.41", "96.00 ± 1.41"), (4, "89.00 ± 1.41", "87.00 ± 1.41")):
        place = next(place for place, text in enumerate(lines) if text.strip().startswith(f"QAT {bits} bits"))
        assert qat in lines[place]
        assert lines[place + 1].strip().startswith("its control")
        assert control in lines[place + 1]


def test_simulated_bits_say_so_with_their_size() -> None:
    cells = line(markdown(sheets(study_rows.study())), "QAT", "4 bits")
    assert cells[3] == "int4 (simulated)"
    assert cells[11] == r"1,200\*"
    assert set(cells[13:]) == {"-"}
    assert "the file stores them with 8 bits each" in markdown(sheets(study_rows.study()))
    assert re.search(r"QAT 4 bits +int4 simulated.* 1.20k\*", printed(study_rows.study()))
    by_csv = [
        row for row in csv.DictReader(io.StringIO(csv_text(study_rows.study()))) if row["precision"] == "int4 (simulated)"
    ]
    assert [row["storage"] for row in by_csv] == ["int8"]


def test_magnitude_has_no_latency_even_where_one_was_stored() -> None:
    rows = study_rows.study()
    timed = [
        replace(row, forms=tuple(study_rows.form(f.precision, 6, f.bytes, 0.01) for f in row.forms))
        if row.cell.method == "magnitude"
        else row
        for row in rows
    ]
    for version in (rows, timed):
        text = markdown(sheets(version))
        cells = line(text, "magnitude pruning", "int8")
        assert cells[8:11] == ["1,000", "100", "2,000,000"]
        assert set(cells[13:]) == {"-"}
        assert "No latency of magnitude pruning: zeros do not make a dense runtime faster." in text
        magnitudes = [row for row in csv.DictReader(io.StringIO(csv_text(version))) if row["method"] == "magnitude"]
        assert {row["ms1_mean"] + row["faster256_mean"] + row["memory_mean"] for row in magnitudes} == {""}
        assert not [line for line in printed(version).splitlines() if "magnitude" in line and "0.010" in line]


def test_what_a_table_says_of_itself() -> None:
    text = markdown(sheets(study_rows.study(split="blocks", guard=6)))
    assert "Blocks split, 10 % of each class trains, test pixels more than 6 pixels from all others" in text
    assert "10 pixels train, 5 validate, 100 test" in text
    assert "Seeds 0, 1" in text
    assert r"a board\_1, 2 cores" in text
    assert "leaks" not in text
    assert "A random split leaks" in markdown(sheets(study_rows.study()))
    assert text.count("structured pruning 0.75: 6 of 10 channels removed, 8 were asked for (seed 0, 1)") == 1
    assert "5 of 10 channels removed" not in text


def test_warnings_are_counted_by_latency_and_kind() -> None:
    rows = study_rows.study()  # 10 forms with two latencies each; of two, batch 1 has warnings, from both seeds
    words = "! 2 of 20 latencies are not to be trusted yet: drift (2), unstable (1)."
    assert markdown(sheets(rows)).count(words) == printed(rows).count(words) == latex(sheets(rows)).count(words) == 1
    for text in (markdown(sheets(rows)), printed(rows), latex(sheets(rows))):
        assert "the last third" not in text
    cells = line(markdown(sheets(rows)), "structured pruning", "0.5", "int8")
    assert cells[13:15] == ["0.100 ± 0.000!", "10.0 ± 0.0"]  # batch 256 is not
    warned = [record for record in csv.DictReader(io.StringIO(csv_text(rows))) if record["warnings"]]
    assert [record["warnings"].count(study_rows.DRIFT) for record in warned] == [1, 1]
    assert "batch 1: unstable: the rounds' means spread by 13 % (std over mean)" in warned[0]["warnings"]


def test_a_reason_that_is_not_of_bench_is_counted_too() -> None:
    unknown = study_rows.row(study_rows.cell(), study_rows.form("float32", 4, 4000, 0.4, ("the moon is full",)))
    assert "! 1 of 2 latencies is not to be trusted yet: other reasons (1)." in markdown(sheets([unknown]))


def test_a_table_of_some_figures_names_what_differs() -> None:
    rows = study_rows.study()
    group = groups(rows)[0]
    table = sheet(group, group.entries, ["drop", "kb", "macs_m", "ms256"])
    assert table.head == ["method", "precision", "points lost", "file kB", "MACs, M", "ms, batch 256"]
    assert table.texts == 2
    cells = {(row[0], row[1]): row[2:] for row in table.cells}
    assert cells["structured pruning 0.75", "int8"] == ["17.00 ± 0.00", "0.500", "0.500", "5.00 ± 0.00"]
    assert cells["QAT 4 bits", "int4 (simulated)"] == ["6.00 ± 0.00", "1.20*", "2.00", "-"]
    assert cells["QAT's control, 4 bits", "int4 (simulated)"] == ["8.00 ± 0.00", "-", "-", "-"]
    fewer = groups([row for row in rows if (row.cell.method, row.cell.seed) != ("distill", 1)])[0]
    assert sheet(fewer, fewer.entries, ["oa"]).head == ["method", "precision", "n", "OA %"]
    both = groups(rows + study_rows.study(net="cnn3d"))[0]
    assert sheet(both, both.entries, ["oa"]).head == ["net", "method", "precision", "OA %"]
    with pytest.raises(KeyError, match="no figure colour"):
        sheet(group, group.entries, ["colour"])


def test_notes_are_those_of_what_is_shown() -> None:
    rows = study_rows.study((0, 1, 2)) + study_rows.study(net="cnn3d")
    group = groups(rows)[0]
    small = [entry for entry in group.entries if entry.net == "cnn3d" and entry.method == "none"]
    notes = " ".join(sheet(group, small, ["oa", "kb"]).notes)
    assert "Seeds 0, 1: mean" in notes  # not the third, which another net has
    assert not re.search("Latency|latenc|QAT|Simulated", notes)
    assert "Latency: median" in " ".join(sheet(group, small, ["ms1"]).notes)
    assert "latencies are not to be trusted" in " ".join(sheet(group, group.entries, ["ms1"]).notes)


def test_levels_are_short() -> None:
    assert short_level("dscnn@13:16,28,28,28,28") == "dscnn@13 16,28x4"
    assert short_level("cnn2d:8,16,8") == "cnn2d 8,16,8"
    assert [short_level(level) for level in ("0.5", "8 bits", "cnn1d", "")] == ["0.5", "8 bits", "cnn1d", ""]


def test_a_table_for_each_scene_and_split() -> None:
    rows = study_rows.study(split="blocks", guard=6) + study_rows.study() + study_rows.study(scene="x/my_cube.npz", seeds=(0,))
    assert [table.title for table in sheets(rows)] == [
        "Salinas-A, random split",
        "Salinas-A, blocks split",
        "my cube.npz, random split",
    ]
    assert all(len(table.entries) == 15 for table in sheets(rows))


def test_what_differs_is_named_and_what_does_not_is_not() -> None:
    other = [
        replace(row, cell=replace(row.cell, options={"criterion": "l2"})) for row in study_rows.study() if row.cell.options
    ]
    names = {e.how for e in groups(study_rows.study() + other)[0].entries}
    assert "structured pruning 0.5 (criterion l1)" in names
    assert "structured pruning 0.5 (criterion l2)" in names
    assert "magnitude pruning 0.9" in names
    assert {e.net for e in groups(study_rows.study() + study_rows.study(patch=5))[0].entries} == {
        "cnn2d patch 13",
        "cnn2d patch 5",
    }


def test_csv_has_every_digit() -> None:
    rows = study_rows.study(seeds=(0, 1, 2))
    records = list(csv.DictReader(io.StringIO(csv_text(rows))))
    assert len(records) == 13
    for record in records:
        e = entry(rows, record["method"], record["level"], record["precision"])
        assert float(record["aa_mean"]) == e.figures["aa"].mean
        assert float(record["aa_std"]) == e.figures["aa"].std
        assert record["seeds"] == "0 1 2"
    qat = next(record for record in records if (record["method"], record["level"]) == ("qat", "8"))
    assert float(qat["control_oa_mean"]) == pytest.approx(95)
    assert {record["control_oa_mean"] for record in records if record["method"] != "qat"} == {""}


def test_latex_is_escaped_and_balanced() -> None:
    rows = study_rows.study(scene="a_b&c%d#e${f}~^\\.npz")
    text = latex(sheets(rows))
    assert r"a b\&c\%d\#e\$\{f\}\textasciitilde{}\textasciicircum{}\textbackslash{}.npz" in text
    assert text.count(r"\begin{") == text.count(r"\end{") == 2
    body = re.sub(r"\\[{}\\&%$#_]", "", text)
    assert body.count("{") == body.count("}")
    assert body.count("$") % 2 == 0
    columns = re.search(r"\\begin{tabular}{([lr]+)}", text)
    assert columns is not None
    rows_of_text = [line for line in text.splitlines() if line.endswith(r"\\")]
    assert len(rows_of_text) == 16
    assert {len(re.findall(r"(?<!\\)&", line)) + 1 for line in rows_of_text} == {len(columns[1])}
    assert not re.search(r"(?<!\\)[%#_]", text.split("\n", 1)[1].replace(r"\label{tab:", ""))
    assert tex("± 5 % <x>") == r"$\pm$ 5 \% $<$x$>$"


def test_the_terminal_tables_fit_a_hundred_columns() -> None:
    text = printed(study_rows.study())
    assert max(map(len, text.splitlines())) <= 100
    assert "…" not in text
    assert "MiB" in text  # the last column


def test_class_by_class_and_confusion() -> None:
    rows = study_rows.study()
    pruned = entry(rows, "structured", "0.75", "int8")
    ids = list(study_rows.CLASSES)
    assert pruned.losses(ids).tolist() == pytest.approx([34, 0, 0])
    assert pruned.confusion(ids)[0].tolist() == [29 + 27, 21 + 23, 0]
    fewer = [replace(row, classes={1: "a", 10: "b"}, forms=tuple(replace(f, confusion=f.confusion[:2, :2]) for f in row.forms))
             if row.cell.seed else row for row in rows]  # fmt: skip
    assert entry(fewer, "structured", "0.75", "int8").confusion(ids)[2].tolist() == [0, 0, 10]
    alone = [row for row in fewer if row.cell.seed]
    assert np.isnan(entry(alone, "structured", "0.75", "int8").losses(ids)[2])


def test_pareto_front() -> None:
    assert pareto_front([(1, 1), (2, 3), (2, 4), (3, 4), (4, 5), (0.5, 0)]) == [5, 0, 2, 4]
    assert pareto_front([]) == []


def test_the_chosen_is_the_smallest_within_reach() -> None:
    group = groups(study_rows.study())[0]
    chosen = group.chosen(0.5)
    assert chosen is not None
    assert (chosen.method, chosen.precision) == ("distill", "int8")
    bad = groups([row for row in study_rows.study() if row.cell.method in ("none", "structured")])[0].chosen(-10)
    assert bad is not None
    assert bad.precision == "float16"  # none loses so little: the most accurate


def test_nothing_yet() -> None:
    with pytest.raises(StudyError, match="no finished cell"):
        sheets([])
