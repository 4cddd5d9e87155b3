"""The store: what is put is there whole, whatever becomes of the process; foreign and broken files are told apart."""

from __future__ import annotations

import random
import signal
import sqlite3
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from hsiedge.errors import OutputError, StudyError
from hsiedge.study.rows import Cell, Form, Row, Timing
from hsiedge.study.store import ParentFacts, Store, locked

CELL = Cell(
    "indian_pines", "blocks", 1, "cnn2d", 13, "structured", "0.5", 0.1, 6, 60, 20, {"widths": [8, 8]}, {"scope": "layer"}
)
FORMS = tuple(
    Form(
        precision, 1000 + place, 900, 98.5, float("nan"), 97.25, np.array([[5, 1], [0, 70000]]),
        np.array([1, 14, 65535], np.uint16), "ab" * 32,
    )
    for place, precision in enumerate(("float32", "int8"))
)  # fmt: skip
ROW = Row(CELL, {14: "x", 1: "y"}, "cd", 10, 5, 3, 100, 50, 12345, FORMS, (1.0, 2.0, 3.0), "told", 1.5, {"torch": "2"})


def same(one: Row, other: Row) -> bool:
    """Rows hold arrays, and NaN where a figure has no meaning: their text tells whether they are the same."""
    return repr(one) == repr(other) and all(a.confusion.dtype == b.confusion.dtype for a, b in zip(one.forms, other.forms))


def test_cells_of_our_nets_keep_the_keys_of_the_first_version() -> None:
    """A store of 0.1.0 resumes: its cells are found by these keys."""
    assert CELL.key == "266011f8503a9a2146db8be6ea9c12d5a1f54a19adc65a3135c758bacc5af4b7"
    assert CELL.parent.key == "ebf31958fa0a50d2708d077560b5bc761e735d169a6e80f861053af596ecb55e"
    assert Cell(**CELL.to_dict()) == CELL


def test_what_is_put_comes_back(tmp_path: Path) -> None:
    with Store(tmp_path / "deep" / "study.sqlite") as store:
        store.put(ROW)
        store.put(replace(ROW, cell=replace(CELL, seed=0), control=None))
        assert store.get("nothing") is None
    with Store(tmp_path / "deep" / "study.sqlite", make=False) as store:
        rows = store.rows()
        assert same(rows[0], ROW)
        assert [row.cell.seed for row in rows] == [1, 0]  # in the order in which they ended
        assert rows[1].control is None
        stored = store.get(CELL.key)
        assert stored is not None
        assert same(stored, ROW)
        assert rows[0].forms[0].predicted.dtype == np.uint16
        assert list(rows[0].classes) == [14, 1]


def test_timings(tmp_path: Path) -> None:
    times = (Timing(1, 0.5, 0.6, 12.5), Timing(256, 9.5, 9.9, 20.0, 1.25, ("other load",)))
    with Store(tmp_path / "study.sqlite") as store:
        store.put(ROW)
        store.set_timings(CELL.key, "int8", times, "a Pi", 3.5)
        row = store.rows()[0]
        assert (row.forms[0].timings, row.forms[1].timings, row.device) == ((), times, "a Pi")
        assert store.done() == {CELL.key: 3.5}
        with pytest.raises(StudyError, match="no float16 form"):
            store.set_timings(CELL.key, "float16", times)
        store.clear_timings([CELL.key])
        assert same(store.rows()[0], ROW)
        assert store.done() == {CELL.key: 0.0}


def test_instructions_are_those_of_all_nets_of_a_shape(tmp_path: Path) -> None:
    shaped = replace(ROW, shape="cnn2d@13:8,8")
    with Store(tmp_path / "study.sqlite") as store:
        store.put(shaped)
        store.put(replace(shaped, cell=replace(CELL, seed=2)))
        store.put(replace(shaped, cell=replace(CELL, seed=3), shape="cnn2d@13:8,9"))
        store.put(replace(shaped, cell=replace(CELL, seed=4), told="in the int8 file these layers stay float: spectral"))
        assert store.set_instructions("indian_pines", "cnn2d@13:8,8", "int8", (900, 70)) == 2
        assert store.set_instructions("salinas_a", "cnn2d@13:8,8", "int8", (1, 1)) == 0
        rows = store.rows()
        assert [[form.instructions for form in row.forms] for row in rows] == [
            [(), (900, 70)],
            [(), (900, 70)],
            [(), ()],
            [(), ()],
        ]
        assert same(replace(rows[0], forms=FORMS), shaped)


def test_failures_and_parents(tmp_path: Path) -> None:
    with Store(tmp_path / "study.sqlite") as store:
        store.put_failure(CELL, "out of memory", "Traceback")
        assert store.failures() == [(CELL, "out of memory")]
        assert store.done() == {}
        store.put(ROW)
        assert store.failures() == []
        assert store.parent(CELL.parent.key) is None
        store.put_parent(CELL.parent.key, ParentFacts("ef", 44.5))
        assert store.parent(CELL.parent.key) == ParentFacts("ef", 44.5)


def test_a_reader_makes_no_file(tmp_path: Path) -> None:
    with pytest.raises(StudyError, match="no such study"):
        Store(tmp_path / "study.sqlite", make=False)
    assert not list(tmp_path.iterdir())


def test_foreign_and_broken_files_are_one_line(tmp_path: Path) -> None:
    path = tmp_path / "study.sqlite"
    path.write_bytes(b"this is no database, but long enough to be one" * 100)
    with pytest.raises(StudyError, match="cannot be read"):
        Store(path)
    path.unlink()
    with sqlite3.connect(path) as other:
        other.execute("CREATE TABLE songs (name TEXT)")
    other.close()
    for make in (True, False):
        with pytest.raises(StudyError, match="not a study's store"):
            Store(path, make)
    path.unlink()
    with Store(path) as store:
        store.put(ROW)
    whole = path.read_bytes()
    path.write_bytes(whole[: len(whole) // 2])
    with pytest.raises(StudyError, match="cannot be read"), Store(path) as store:
        store.rows()


def test_a_later_schema_is_refused(tmp_path: Path) -> None:
    Store(tmp_path / "study.sqlite").close()
    database = sqlite3.connect(tmp_path / "study.sqlite")
    database.execute("PRAGMA user_version = 2")
    database.close()
    with pytest.raises(StudyError, match="later hsiedge"):
        Store(tmp_path / "study.sqlite")


def test_a_folder_that_is_none(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(OutputError, match="cannot write"):
        Store(tmp_path / "file" / "study.sqlite")
    with pytest.raises(OutputError, match="cannot write"), locked(tmp_path / "file"):
        pass


def test_one_process_at_a_time(tmp_path: Path) -> None:
    held = (
        "from pathlib import Path\nfrom hsiedge.study.store import locked\n"
        "with locked(Path('.')):\n    print('held', flush=True)\n    input()"
    )
    other = subprocess.Popen(
        [sys.executable, "-c", held], cwd=tmp_path, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )
    try:
        assert other.stdout is not None
        assert other.stdout.readline() == "held\n"
        with pytest.raises(StudyError, match="another process runs a study there"), locked(tmp_path):
            pass
    finally:
        other.kill()
        other.communicate()
    with locked(tmp_path):  # the lock went with the process
        pass


WRITER = """
import sys
from dataclasses import replace
sys.path.insert(0, sys.argv[2])
from test_study_store import CELL, ROW
from hsiedge.study.store import Store
from hsiedge.study.rows import Timing
with Store(sys.argv[1]) as store:
    seed = len(store.rows())
    print("ready", flush=True)
    while True:
        row = replace(ROW, cell=replace(CELL, seed=seed))
        store.put(row)
        store.set_timings(row.cell.key, "int8", (Timing(1, 1.0, 1.0, 1.0),), "here", 1.0)
        seed += 1
"""


@pytest.mark.slow
def test_killed_at_any_moment_each_row_is_whole(tmp_path: Path) -> None:
    path, dice = tmp_path / "study.sqlite", random.Random(3)
    before = 0
    for _ in range(6):
        writer = subprocess.Popen(
            [sys.executable, "-c", WRITER, str(path), str(Path(__file__).parent)], stdout=subprocess.PIPE, text=True
        )
        assert writer.stdout is not None
        assert writer.stdout.readline() == "ready\n"
        time.sleep(dice.uniform(0.01, 0.25))
        writer.send_signal(signal.SIGKILL)
        writer.communicate()
        with Store(path, make=False) as store:
            rows = store.rows()
        assert [row.cell.seed for row in rows] == list(range(len(rows)))
        assert all([form.precision for form in row.forms] == ["float32", "int8"] for row in rows)
        assert all((row.device == "here") == bool(row.forms[1].timings) for row in rows)
        assert len(rows) >= before
        before = len(rows)
    assert before > 0


def test_where_the_test_pixels_lie(tmp_path: Path) -> None:
    parts = np.array([[0, 1, 2], [3, 3, 0]], np.uint8)
    with Store(tmp_path / "study.sqlite") as store:
        store.put_parts("cd", parts)
        store.put_parts("cd", parts)  # each cell of a split brings it
    with Store(tmp_path / "study.sqlite", make=False) as store:
        stored = store.parts("cd")
        assert stored is not None
        assert stored.dtype == np.uint8
        assert stored.tolist() == parts.tolist()
        assert store.parts("ef") is None
