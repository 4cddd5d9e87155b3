"""Store of a study: one SQLite file, one row a cell. It survives the end of its process at any moment.

What is written is written in transactions, under SQLite's rollback journal: a row is stored whole, with all its forms, or
not at all. The file is the whole store; predictions and confusions lie in it as compressed blobs.
"""

from __future__ import annotations

import json
import os
import sqlite3
import zlib
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from hsiedge.errors import OutputError, StudyError
from hsiedge.study.rows import Cell, Form, Row, Timing

NAME = "study.sqlite"
"""Name of the store in a study's folder."""

SCHEMA = 1
_APPLICATION = 0x68736945  # "hsiE", by which SQLite files are told apart
_TABLES = """
CREATE TABLE rows (key TEXT PRIMARY KEY, place INTEGER NOT NULL, cell TEXT NOT NULL, facts TEXT NOT NULL,
    device TEXT NOT NULL DEFAULT '', measuring REAL NOT NULL DEFAULT 0) WITHOUT ROWID;
CREATE TABLE forms (key TEXT NOT NULL REFERENCES rows, place INTEGER NOT NULL, precision TEXT NOT NULL, facts TEXT NOT NULL,
    confusion BLOB NOT NULL, predicted BLOB NOT NULL, timings TEXT NOT NULL, PRIMARY KEY (key, precision)) WITHOUT ROWID;
CREATE TABLE parents (key TEXT PRIMARY KEY, sha256 TEXT NOT NULL, seconds REAL NOT NULL) WITHOUT ROWID;
CREATE TABLE splits (digest TEXT PRIMARY KEY, height INTEGER NOT NULL, width INTEGER NOT NULL, parts BLOB NOT NULL)
    WITHOUT ROWID;
CREATE TABLE failures (key TEXT PRIMARY KEY, cell TEXT NOT NULL, reason TEXT NOT NULL, trace TEXT NOT NULL) WITHOUT ROWID;
"""
_FORM_FACTS = ("bytes", "gzip", "oa", "aa", "kappa", "sha256", "instructions")
_ROW_FACTS = (
    "split_digest", "train", "validation", "test", "parameters", "nonzeros", "macs_per_pixel", "control", "told", "seconds",
    "versions", "shape", "made",
)  # fmt: skip


@dataclass(frozen=True)
class ParentFacts:
    """A parent's checkpoint: the SHA-256 of its file, and the seconds that its training took."""

    sha256: str
    seconds: float


class Store:
    """Rows of a study, in a file. Use it as a context, or `close` it.

    Args:
        path: the SQLite file.
        make: make it where there is none; else that is an error.

    Raises:
        StudyError: no such file, not a study's store, broken, or written by a later version.
        OutputError: it cannot be made.
    """

    def __init__(self, path: str | Path, make: bool = True) -> None:
        self.path = Path(path)
        if not self.path.is_file() and not make:
            raise StudyError(f"{path}: no such study; hsiedge study CONFIG.toml makes one")
        try:
            if make:
                self.path.parent.mkdir(parents=True, exist_ok=True)
            # Without a URI a missing file would be made by a mere reader.
            self._database = sqlite3.connect(f"{self.path.absolute().as_uri()}?mode={'rwc' if make else 'rw'}", uri=True)
        except (sqlite3.Error, OSError) as error:
            raise OutputError(f"cannot write {path}: {error}; choose another place") from error
        self._database.isolation_level = None  # transactions begin where the code says so
        try:
            with self._reading():
                self._prepare(make)
        except BaseException:
            self._database.close()
            raise

    def close(self) -> None:
        """Closes the file."""
        self._database.close()

    def __enter__(self) -> Store:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def put(self, row: Row) -> None:
        """Stores a finished cell, in the place of what is stored of it, and forgets that it ever failed."""
        key = row.cell.key
        facts = {name: getattr(row, name) for name in _ROW_FACTS} | {"classes": list(row.classes.items())}
        with self._writing():
            self._run("DELETE FROM forms WHERE key = ?", key)
            self._run("DELETE FROM failures WHERE key = ?", key)
            self._run(
                "INSERT OR REPLACE INTO rows VALUES (?, coalesce((SELECT max(place) FROM rows), 0) + 1, ?, ?, ?, 0)",
                key, _json(row.cell.to_dict()), _json(facts), row.device,
            )  # fmt: skip
            for place, form in enumerate(row.forms):
                self._run(
                    "INSERT INTO forms VALUES (?, ?, ?, ?, ?, ?, ?)",
                    key, place, form.precision, _json({name: getattr(form, name) for name in _FORM_FACTS}),
                    _packed(form.confusion, "<i8"), _packed(form.predicted, "<u2"), _timings_json(form.timings),
                )  # fmt: skip

    def rows(self) -> list[Row]:
        """Rows of all finished cells, in the order in which they ended."""
        with self._reading():
            return [self._row(*entry) for entry in self._run("SELECT key, cell, facts, device FROM rows ORDER BY place")]

    def get(self, key: str) -> Row | None:
        """Row of a cell; None where it is not finished."""
        with self._reading():
            entries = self._run("SELECT key, cell, facts, device FROM rows WHERE key = ?", key)
            return self._row(*entries[0]) if entries else None

    def done(self) -> dict[str, float]:
        """Finished cells: by key, the seconds that measuring took."""
        with self._reading():
            return dict(self._run("SELECT key, measuring FROM rows"))

    def set_timings(self, key: str, precision: str, timings: Sequence[Timing], device: str = "", seconds: float = 0.0) -> None:
        """Stores what was measured of a form, on `device`, in `seconds`.

        Raises:
            StudyError: the store has no such form.
        """
        with self._writing():
            changed = self._database.execute(
                "UPDATE forms SET timings = ? WHERE key = ? AND precision = ?", (_timings_json(timings), key, precision)
            ).rowcount
            if not changed:
                raise StudyError(f"{self.path}: has no {precision} form of the cell {key[:12]}")
            self._run("UPDATE rows SET device = ?, measuring = measuring + ? WHERE key = ?", device, seconds, key)

    def set_instructions(self, scene: str, shape: str, precision: str, counts: Sequence[int]) -> int:
        """Stores a count of instructions with all forms of a shape and precision on a scene; returns how many those are.

        A file in which some layers stay float is another graph than the one that was counted, and gets none.
        """
        rows = [row for row in self.rows() if (row.cell.scene, row.shape) == (scene, shape)]
        rows = [row for row in rows if precision != "int8" or "stay float" not in row.told]
        forms = [(row.cell.key, form) for row in rows for form in row.forms if form.precision == precision]
        with self._writing():
            for key, form in forms:
                facts = {name: getattr(form, name) for name in _FORM_FACTS} | {"instructions": list(counts)}
                self._run("UPDATE forms SET facts = ? WHERE key = ? AND precision = ?", _json(facts), key, precision)
        return len(forms)

    def clear_timings(self, keys: Iterable[str]) -> None:
        """Forgets what was measured of cells."""
        with self._writing():
            for key in keys:
                self._run("UPDATE forms SET timings = '[]' WHERE key = ?", key)
                self._run("UPDATE rows SET device = '', measuring = 0 WHERE key = ?", key)

    def put_parent(self, key: str, facts: ParentFacts) -> None:
        """Stores the facts of a parent's checkpoint; `key` is that of its cell."""
        with self._writing():
            self._run("INSERT OR REPLACE INTO parents VALUES (?, ?, ?)", key, facts.sha256, facts.seconds)

    def parent(self, key: str) -> ParentFacts | None:
        """Facts of a parent's checkpoint; None where it was never trained."""
        with self._reading():
            entries = self._run("SELECT sha256, seconds FROM parents WHERE key = ?", key)
            return ParentFacts(*entries[0]) if entries else None

    def put_parts(self, digest: str, parts: NDArray[np.uint8]) -> None:
        """Stores the map of a split (`Split.parts`), once: it says where on the ground `Form.predicted` lies."""
        with self._writing():
            self._run("INSERT OR IGNORE INTO splits VALUES (?, ?, ?, ?)", digest, *parts.shape, _packed(parts, "u1"))

    def parts(self, digest: str) -> NDArray[np.uint8] | None:
        """Map of a split, uint8 `(height, width)`; None for a split that the store does not know."""
        with self._reading():
            entries = self._run("SELECT height, width, parts FROM splits WHERE digest = ?", digest)
            if not entries:
                return None
            height, width, parts = entries[0]
            return _unpacked(parts, "u1").astype(np.uint8).reshape(height, width)

    def put_failure(self, cell: Cell, reason: str, trace: str = "") -> None:
        """Stores that a cell failed, and why. It is tried again the next time."""
        with self._writing():
            self._run("INSERT OR REPLACE INTO failures VALUES (?, ?, ?, ?)", cell.key, _json(cell.to_dict()), reason, trace)

    def failures(self) -> list[tuple[Cell, str]]:
        """Cells that failed when they were last tried, and why."""
        with self._reading():
            entries = self._run("SELECT cell, reason FROM failures ORDER BY key")
            return [(Cell(**json.loads(cell)), reason) for cell, reason in entries]

    def _prepare(self, make: bool) -> None:
        """Checks the file: an empty one becomes a store, any other must be one."""
        application = self._number("application_id")
        tables = self._run("SELECT count(*) FROM sqlite_master")[0][0]
        if application == 0 and tables == 0 and make:
            self._make()
        elif application != _APPLICATION:
            raise StudyError(f"{self.path}: an SQLite file, but not a study's store; name another")
        version = self._number("user_version")
        if version > SCHEMA:
            raise StudyError(f"{self.path}: written by a later hsiedge (schema {version}, this one reads {SCHEMA}); update it")
        if version < SCHEMA or not {"rows", "forms", "parents", "splits", "failures"} <= self._tables():
            raise StudyError(f"{self.path}: is no whole store of a study; move it away, and run the study again")

    def _make(self) -> None:
        with self._writing():
            for statement in _TABLES.split(";"):
                self._run(statement)
            self._run(f"PRAGMA application_id = {_APPLICATION}")
            self._run(f"PRAGMA user_version = {SCHEMA}")

    def _tables(self) -> set[str]:
        return {name for (name,) in self._run("SELECT name FROM sqlite_master WHERE type = 'table'")}

    def _number(self, pragma: str) -> int:
        return int(self._run(f"PRAGMA {pragma}")[0][0])

    def _run(self, statement: str, *values: Any) -> list[Any]:
        return self._database.execute(statement, values).fetchall()

    @contextmanager
    def _reading(self) -> Iterator[None]:
        """Turns errors of SQLite and the codecs on a broken file into one line."""
        try:
            yield
        except (sqlite3.DatabaseError, zlib.error, ValueError, TypeError, KeyError) as error:
            raise StudyError(f"{self.path}: cannot be read as the store of a study ({error})") from error

    @contextmanager
    def _writing(self) -> Iterator[None]:
        """Runs the block in one transaction: all of it, or nothing."""
        try:
            self._database.execute("BEGIN IMMEDIATE")
            try:
                yield
            except BaseException:
                self._database.execute("ROLLBACK")
                raise
            self._database.execute("COMMIT")
        except sqlite3.Error as error:
            raise OutputError(f"cannot write {self.path}: {error}") from error

    def _row(self, key: str, cell: str, facts: str, device: str) -> Row:
        data = json.loads(facts)
        classes = {int(label): str(title) for label, title in data.pop("classes")}
        control = tuple(data.pop("control") or ()) or None
        entries = self._run(
            "SELECT precision, facts, confusion, predicted, timings FROM forms WHERE key = ? ORDER BY place", key
        )
        forms = tuple(_form(len(classes), *entry) for entry in entries)
        return Row(Cell(**json.loads(cell)), classes, forms=forms, control=control, device=device, **data)


@contextmanager
def locked(folder: Path) -> Iterator[None]:
    """Locks other processes out of a study's folder; the lock goes with the process, however that ends.

    Raises:
        StudyError: another process has it.
        OutputError: the folder cannot be written to.
    """
    import fcntl

    path = folder / ".lock"
    try:
        folder.mkdir(parents=True, exist_ok=True)
        handle = os.open(path, os.O_RDWR | os.O_CREAT, 0o666)
    except OSError as error:
        raise OutputError(f"cannot write {path}: {error.strerror or error}; choose another place") from error
    try:
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            raise StudyError(f"{folder}: another process runs a study there; wait for it, or choose another folder") from error
        yield
    finally:
        os.close(handle)


def _form(classes: int, precision: str, facts: str, confusion: bytes, predicted: bytes, timings: str) -> Form:
    counts = _unpacked(confusion, "<i8").astype(np.int64).reshape(classes, classes)
    times = tuple(Timing(**{**entry, "warnings": tuple(entry["warnings"])}) for entry in json.loads(timings))
    labels = _unpacked(predicted, "<u2").astype(np.uint16)
    known = json.loads(facts)
    instructions = tuple(known.pop("instructions", ()))
    return Form(precision, confusion=counts, predicted=labels, timings=times, instructions=instructions, **known)


def _timings_json(timings: Sequence[Timing]) -> str:
    return _json([asdict(entry) for entry in timings])


def _json(data: Any) -> str:
    return json.dumps(data, separators=(",", ":"))


def _packed(array: NDArray[Any], dtype: str) -> bytes:
    return zlib.compress(np.ascontiguousarray(array, dtype).tobytes(), 9)


def _unpacked(blob: bytes, dtype: str) -> NDArray[Any]:
    return np.frombuffer(zlib.decompress(blob), dtype)
