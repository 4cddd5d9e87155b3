"""Configs: what they ask for, and what is refused."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import pytest

pytest.importorskip("torch", reason="a study trains nets")

from hsiedge.errors import HsiedgeError, OptionError
from hsiedge.study.config import Student, parse_student, read_config, shape_of, student_level
from hsiedge.study.rows import Cell
from tests import workstation

BENCHMARKS = Path(__file__).parents[2] / "benchmarks" / "study"
WHOLE = """
title = "all"
scenes = ["indian_pines", "SalinasA"]
splits = ["random", "blocks"]
seeds = [0, 1, 2]
epochs = 60
tuning = 15
controls = false
[nets.cnn2d]
patch = 9
widths = [16, 16]
[nets.hybridsn]
components = 14
[methods]
magnitude = [0.5, 0.9, 0.50]
structured = { levels = [0.5], criterion = "l2" }
distill = ["dscnn:20,32"]
qat = [8]
"""


def write(path: Path, text: str) -> Path:
    path.write_text(text)
    return path


def test_grid(tmp_path: Path) -> None:
    study = read_config(write(tmp_path / "a.toml", WHOLE))
    assert (study.title, study.base, study.scenes) == ("all", tmp_path, ["indian_pines", "salinas_a"])
    assert len(study.cells) == 2 * 2 * 3 * 2 * 6  # 0.5 and 0.50 are one level
    assert len({cell.key for cell in study.cells}) == len(study.cells)
    assert [cell.seed for cell in study.cells] == sorted(cell.seed for cell in study.cells)
    first = study.cells[:6]
    levels = ["0.5", "0.9", "0.5", "dscnn:20,32", "8"]
    assert [cell.level for cell in first] == ["", *levels]
    assert [cell.method for cell in first] == ["none", "magnitude", "magnitude", "structured", "distill", "qat"]
    assert {cell.parent.key for cell in first} == {first[0].key}
    assert (first[3].options, first[1].options) == ({"criterion": "l2"}, {})
    assert (first[0].patch, first[0].net_options) == (9, {"widths": [16, 16]})
    assert study.cells[6].net_options == {"components": 14}
    assert study.cells[6].patch == 13
    assert {cell.guard for cell in study.cells} == {0, 6}


CONTROLLED = """
scenes = ["indian_pines"]
splits = ["hong", "blocks"]
folds = 3
seeds = [0]
[nets.cnn2d]
[methods]
magnitude = [0.9]
structured = [{ levels = [0.75] }, { levels = [0.75], rounds = 3 }, { levels = [0.5], scope = "global" }]
distill = ["cnn2d:16,16,16,16,16", "dscnn"]
qat = [8]
compress = [16384]
"""


def test_each_method_has_its_control_and_as_many_epochs(tmp_path: Path) -> None:
    cells = read_config(write(tmp_path / "a.toml", CONTROLLED)).cells
    assert {(cell.split, cell.fold, cell.folds) for cell in cells} == {("hong", 0, 0), *(("blocks", i, 3) for i in (1, 2, 3))}
    assert len(cells) == 4 * 13
    assert {cell.tuning for cell in cells if cell.method == "compress"} == {0}
    own: list[Cell] = [cell for cell in cells if cell.split == "hong"]
    assert {(cell.fraction, cell.guard, cell.epochs) for cell in own} == {(0, 0, 60)}  # as `hsiedge train`
    assert {cell.tuning for cell in own if cell.method in ("magnitude", "structured", "qat", "finetune")} == {60}
    scratch = {(cell.level, cell.tuning) for cell in own if cell.method == "scratch"}
    small = "cnn2d@13:16,16,16,16,16"
    assert scratch == {(small, 60), (small, 120), ("dscnn@13", 60)}  # one for the student and both prunings
    assert [cell.method for cell in own].count("finetune") == 1
    assert len({cell.parent.key for cell in own}) == 1
    brief = read_config(write(tmp_path / "a.toml", CONTROLLED.replace("seeds", "epochs = 7\nseeds"))).cells
    assert {cell.tuning for cell in brief if cell.method == "scratch"} == {7, 14}
    alone = read_config(write(tmp_path / "a.toml", CONTROLLED.replace("seeds", "controls = false\nseeds"))).cells
    assert {cell.key for cell in alone} == {cell.key for cell in cells if cell.method not in ("scratch", "finetune")}


def test_the_shape_of_a_student_is_the_level_of_its_control() -> None:
    assert student_level("dscnn:20,32", 13) == shape_of("dscnn", 13, (20, 32)) == "dscnn@13:20,32"
    assert student_level("cnn2d@9:16", 13) == "cnn2d@9:16"
    assert student_level("cnn1d", 13) == "cnn1d@13"
    assert parse_student(shape_of("cnn2d", 13, (16, 16))) == Student("cnn2d", 13, (16, 16))


def test_what_a_cell_does_not_depend_on_is_not_in_its_key(tmp_path: Path) -> None:
    before = {cell.key: cell for cell in read_config(write(tmp_path / "a.toml", WHOLE)).cells}
    after = {cell.key for cell in read_config(write(tmp_path / "a.toml", WHOLE.replace("tuning = 15", "tuning = 16"))).cells}
    assert {before[key].method for key in before.keys() & after} == {"none", "distill"}
    guard = {cell.key for cell in read_config(write(tmp_path / "a.toml", "guard = 7\n" + WHOLE)).cells}
    assert {before[key].split for key in before.keys() & guard} == {"random"}
    titled = {cell.key for cell in read_config(write(tmp_path / "b.toml", WHOLE.replace('"all"', '"other"'))).cells}
    assert titled == before.keys()


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ('"all"', "3", "title: text was expected, not 3"),
        ("seeds =", "sedes =", "sedes: no such key"),
        ("[0, 1, 2]", "[]", "seeds: a list of one or more was expected, not []"),
        ("[0, 1, 2]", "[true]", "seeds: a whole number was expected, not True"),
        ("[0, 1, 2]", "[-1]", "seeds: -1 does not lie between"),
        ("[0, 1, 2]", "3", "seeds: a list of one or more was expected, not 3"),
        ("seeds = [0, 1, 2]", "", "seeds: is missing"),
        ("epochs = 60", "epochs = 0", "epochs: 0 does not lie between"),
        ("epochs = 60", 'epochs = "60"', "epochs: a whole number was expected"),
        ("epochs = 60", "fraction = nan", "fraction: nan does not lie"),
        ("epochs = 60", "guard = 1.5", "guard: a whole number was expected"),
        ('"blocks"', '"masks"', "splits: 'masks'; there are random, blocks, lists, flights, hong"),
        ("epochs = 60", "folds = 1", "folds: 1 does not lie between 2 and 100"),
        ("controls = false", "controls = 0", "controls: true or false was expected, not 0"),
        ('{ levels = [0.5], criterion = "l2" }', "[{ levels = [0.5] }, 0.75]", "methods.structured: a number was expected"),
        ('criterion = "l2"', "rounds = 0", "methods.structured.rounds: 0 does not lie between 1 and 20"),
        ('criterion = "l2"', "soft_labels = 1", "methods.structured.soft_labels: true or false was expected"),
        ('"SalinasA"', '"atlantis"', "no scene is called 'atlantis'"),
        ("[nets.cnn2d]", "[nets.cnn9]", "nets.cnn9: no net is called 'cnn9'"),
        ("patch = 9", "patch = 8", "nets.cnn2d.patch: 8; cnn2d takes odd patches"),
        ("patch = 9", "depth = 9", "nets.cnn2d.depth: no such key; there are patch, widths"),
        ("[16, 16]", "[16, 0]", "nets.cnn2d.widths: 0 does not lie between"),
        ("components = 14", 'components = "14"', "nets.hybridsn.components: a whole number was expected"),
        ("magnitude =", "magnetude =", "methods.magnetude: no method is called 'magnetude'"),
        ("[0.5, 0.9, 0.50]", "[]", "methods.magnitude: a list of one or more levels"),
        ("[0.5, 0.9, 0.50]", "[1.5]", "methods.magnitude: 1.5 is no ratio"),
        ('criterion = "l2"', 'criterion = "l3"', "methods.structured.criterion: 'l3'; there are l1"),
        ('criterion = "l2"', 'scoop = "layer"', "methods.structured.scoop: no such key"),
        ("levels = [0.5],", "", "methods.structured.levels: a list of one or more levels"),
        ("dscnn:20,32", "dscnn:20,", "methods.distill: 'dscnn:20,' is no student"),
        ("dscnn:20,32", "resnet:20", "no net is called 'resnet'"),
        ("dscnn:20,32", "dscnn@4:20", "'dscnn@4:20': dscnn takes odd patches"),
        ("qat = [8]", "qat = [7]", "methods.qat: 7 bits; there are 8, 6, 4, 3, 2"),
        ("qat = [8]", "compress = [100]", "methods.compress: 100 does not lie between 1000"),
        ("qat = [8]", "qat = [8.0]", "methods.qat: a whole number was expected"),
        ("title =", "title", "not a TOML file"),
    ],
)
def test_refused(old: str, new: str, message: str, tmp_path: Path) -> None:
    assert old in WHOLE
    with pytest.raises(HsiedgeError) as raised:
        read_config(write(tmp_path / "a.toml", WHOLE.replace(old, new)))
    assert message in str(raised.value)
    assert "\n" not in str(raised.value).split("not a TOML file")[0]


def test_no_file_and_no_nets(tmp_path: Path) -> None:
    with pytest.raises(OptionError, match="cannot be read"):
        read_config(tmp_path / "none.toml")
    with pytest.raises(OptionError, match="nets: is missing"):
        read_config(write(tmp_path / "a.toml", 'scenes = ["ip"]\nsplits = ["random"]\nseeds = [0]'))


def test_nets_that_cannot_be_built_are_told_before_anything_runs(tmp_path: Path) -> None:
    pytest.importorskip("distributed", reason="a study runs on Dask")
    from hsiedge.study.run import check

    text = WHOLE.replace('["indian_pines", "SalinasA"]', '["indian_pines"]')
    check(read_config(write(tmp_path / "a.toml", text)), [workstation.corner()])
    for old, new, message in (
        ("[16, 16]", "[16, 16, 16, 16, 16, 16]", "patch 9 is too small for 5"),
        ("dscnn:20,32", "dscnn@3:20,32,32", "patch 3 is too small for 2"),
    ):
        with pytest.raises(OptionError, match=message):
            check(read_config(write(tmp_path / "a.toml", text.replace(old, new))), [workstation.corner()])


def test_without_dask_the_extra_is_named(tmp_path: Path) -> None:
    blocked = "import sys; sys.modules['distributed'] = None; from hsiedge.cli.main import main; main()"
    words = [sys.executable, "-c", blocked, "study", str(write(tmp_path / "a.toml", WHOLE))]
    done = subprocess.run(words, capture_output=True, text=True, check=False, cwd=tmp_path)
    line = "hsiedge: error: the study needs a package that is not installed: pip install 'hsiedge[study]'\n"
    assert (done.returncode, done.stderr) == (2, line)


def test_students() -> None:
    assert parse_student("dscnn:20,32,32") == Student("dscnn", None, (20, 32, 32))
    assert parse_student("cnn2d@9:16,16") == Student("cnn2d", 9, (16, 16))
    assert parse_student("cnn1d") == Student("cnn1d", None, None)


def test_the_published_study_is_as_large_as_its_configs_say() -> None:
    counts = {path.stem: len(read_config(path).cells) for path in sorted(BENCHMARKS.glob("*.toml"))}
    stated = {path.stem: int(re.findall(r"(\d+) in all", path.read_text())[0]) for path in BENCHMARKS.glob("*.toml")}
    assert counts == stated
    assert set(counts) == {"indian_pines", "salinas_a", "blocks", "pavia", "enmap", "nets3d"}
    assert sum(count for name, count in counts.items() if name in ("indian_pines", "salinas_a", "blocks")) <= 510
