"""Methods beside their controls: differences paired by seed, intervals done by hand, and no claim where there is no control."""

from __future__ import annotations

import csv
import io
from dataclasses import replace

import pytest

pytest.importorskip("jinja2", reason="the page needs jinja2")
pytest.importorskip("matplotlib", reason="the page needs matplotlib")

from rich.console import Console

from hsiedge.errors import StudyError
from hsiedge.report.study.figures import Contrast, Entry, Spread
from hsiedge.report.study.gather import groups
from hsiedge.report.study.page import chapter
from hsiedge.report.study.tables import csv_text, markdown, sheets, study_tables
from hsiedge.study.rows import Row
from tests import study_rows


def entry(rows: list[Row], method: str, precision: str = "float32") -> Entry:
    (only,) = [e for e in groups(rows)[0].measured() if (e.method, e.precision) == (method, precision)]
    return only


def contrast(rows: list[Row], method: str, kind: str, precision: str = "float32") -> Contrast:
    (only,) = [c for c in entry(rows, method, precision).contrasts if c.kind == kind]
    return only


def test_the_interval_of_a_mean() -> None:
    low, high = Spread((1.0, 2.0, 3.0)).interval or (0, 0)
    assert (low, high) == pytest.approx((2 - 4.303 / 3**0.5, 2 + 4.303 / 3**0.5))  # t of 2 degrees of freedom
    assert Spread((1.0,)).interval is None


def test_a_method_is_paired_with_its_control_seed_by_seed() -> None:
    rows = study_rows.controlled()
    assert contrast(rows, "structured", "all").points.values == (1, 2, 3)
    assert contrast(rows, "structured", "own").points.values == (0, 0, 0)
    assert contrast(rows, "distill", "own").points.values == (-1, 1, -1)
    assert contrast(rows, "distill", "own", "int8").points.values == (-1, 1, -1)
    assert contrast(rows, "distill", "all").points.values == (0, 3, 2)
    assert contrast(rows, "magnitude", "tuned").points.values == (-1, -1, -1)
    assert contrast(rows, "none", "float", "int8").points.values == (-1, -1, -1)
    assert contrast(rows, "structured", "parent", "int8").points.values == (-6, -8, -10)
    assert entry(rows, "distill").against() == contrast(rows, "distill", "own")
    assert entry(rows, "structured").against() == contrast(rows, "structured", "all")
    assert entry(rows, "none", "int8").against() == contrast(rows, "none", "float", "int8")
    assert entry(rows, "none").against() is None
    lacking = [row for row in rows if (row.cell.method, row.cell.tuning, row.cell.seed) != ("scratch", 60, 1)]
    assert contrast(lacking, "distill", "own").points.values == (-1, -1)  # over the seeds that both have


def test_what_compress_found_is_judged_by_the_net_it_found_trained_alone() -> None:
    rows = study_rows.controlled()
    for seed in range(3):
        cell = study_rows.cell("compress", "16384", seed)
        rows.append(study_rows.row(cell, study_rows.form("int8", 5, 900), control=(93.0 + seed, 90.0, 91.0)))
    assert contrast(rows, "compress", "found", "int8").points.values == (2, 1, 0)
    assert entry(rows, "compress", "int8").how == "found by compress 16384 bytes"
    assert "QAT's control" not in markdown(sheets(rows))


@pytest.mark.parametrize("changed", [{"shape": "cnn2d@13:16,15"}, {"shape": "cnn2d@11:16,16"}])
def test_another_net_is_no_control(changed: dict[str, str]) -> None:
    rows = [replace(row, **changed) if row.cell.method == "scratch" else row for row in study_rows.controlled()]
    assert [c.kind for c in entry(rows, "distill", "int8").contrasts] == ["float", "parent"]
    assert entry(rows, "distill", "int8").against() is None


def test_another_number_of_steps_is_no_control() -> None:
    rows = study_rows.controlled()
    shorter = [replace(row, cell=replace(row.cell, tuning=59)) if row.cell.tuning == 60 else row for row in rows]
    assert [c.kind for c in entry(shorter, "distill").contrasts] == ["all", "parent"]
    longer = [replace(row, cell=replace(row.cell, tuning=61)) if row.cell.method == "finetune" else row for row in rows]
    assert [c.kind for c in entry(longer, "magnitude").contrasts] == ["parent"]


def test_folds_count_once_a_seed() -> None:
    where = {"split": "blocks", "guard": 6, "folds": 2}
    rows = study_rows.controlled((0, 1, 2), fold=1, **where)
    rows += study_rows.controlled((2, 0, 1), fold=2, **where)  # the differences of seeds 2, 0 and 1
    (group,) = groups(rows)
    assert contrast(rows, "structured", "all").points.values == (1.5, 2.5, 2)
    assert {e.n for e in group.entries} == {3}
    assert "in 2 folds, each of which tests once" in group.words()


def test_a_claim_says_what_the_seeds_allow() -> None:
    rows = study_rows.controlled()
    words = contrast(rows, "structured", "all").words()
    assert words == (
        "no difference to the same net trained from nothing for as many steps in all was seen (+2.00 points, 95 % interval "
        "\N{MINUS SIGN}0.48 to +4.48, 3 seeds)"
    )
    words = contrast(study_rows.controlled((0, 1, 2, 3, 4)), "structured", "all").words()
    assert words.startswith(
        "3.00 points above the same net trained from nothing for as many steps in all (95 % interval +1.04 "
    )
    assert contrast(rows, "distill", "own").words().startswith("no difference to the same net trained from nothing was seen (")
    assert (
        contrast(rows, "magnitude", "tuned").words().startswith("1.00 points below the same net trained on for as many steps")
    )
    with pytest.raises(StudyError, match="one seed allows no claim"):
        contrast(study_rows.controlled((0,)), "distill", "own").words()


def test_tables_show_method_control_and_difference() -> None:
    rows = study_rows.controlled()
    lines = {
        tuple(line.split(" | ")[1:4]): line.split(" | ") for line in markdown(sheets(rows)).splitlines() if "| cnn2d" in line
    }
    pruned = ["86.00 ± 3.00", "+0.00 [+0.00, +0.00]", "+2.00 [\N{MINUS SIGN}0.48, +4.48] |"]
    assert lines["structured pruning", "0.5", "float32"][-3:] == pruned
    assert lines["uncompressed", "", "float32"][-3:] == ["-", "-", "- |"]
    assert lines["uncompressed", "", "int8"][-2] == "\N{MINUS SIGN}1.00 [\N{MINUS SIGN}1.00, \N{MINUS SIGN}1.00]"
    assert "Budget: 60 epochs of the uncompressed net, then 60 of each method" in markdown(sheets(rows))
    console = Console(file=io.StringIO(), width=100, highlight=False, markup=False)
    console.print(*study_tables(rows), sep="\n")
    printed = console.file.getvalue()  # type: ignore[attr-defined]
    assert max(map(len, printed.splitlines())) <= 100
    assert "+2.00 [\N{MINUS SIGN}0.48, +4.48]" in printed
    assert "difference" not in markdown(sheets(study_rows.study()))  # where nothing was trained as a control


def test_csv_has_every_difference() -> None:
    rows = study_rows.controlled()
    records = {(r["method"], r["precision"]): r for r in csv.DictReader(io.StringIO(csv_text(rows)))}
    pruned = records["structured", "float32"]
    bounds = contrast(rows, "structured", "all").points.interval
    assert (float(pruned["all_difference"]), (float(pruned["all_low"]), float(pruned["all_high"]))) == (2, bounds)
    assert float(pruned["own_control_oa"]) == contrast(rows, "structured", "own").control.mean
    assert {pruned["tuned_difference"], records["none", "float32"]["float_low"]} == {""}


def test_each_control_is_drawn_where_its_method_is() -> None:
    rows = study_rows.controlled()
    shown = chapter(groups(rows)[0], lambda digest: None)
    for plot in shown.levels:
        bars = {mark.x: mark for mark in plot.marks if "its control" in mark.title and mark.kind == "control"}
        methods = [mark for mark in plot.marks if mark.kind != "control"]
        assert methods
        assert {mark.x for mark in methods} == set(bars)
        assert all("difference " in mark.title for mark in methods)
    assert shown.controls == [
        "distillation: the same net trained from nothing",
        "magnitude pruning: the same net trained on for as many steps",
        "structured pruning: the same net trained from nothing for as many steps in all",
    ]
