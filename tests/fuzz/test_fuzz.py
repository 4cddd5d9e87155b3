"""The fuzzing itself: sound files are read, each kind of fault is seen, and some mutated files of every kind have none."""

from __future__ import annotations

import os
import random
import subprocess
import sys
from pathlib import Path

import pytest

from tests.fuzz.mutations import mutated

ROOT = Path(__file__).parents[2]
ENVIRONMENT = {**os.environ, "OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1"}
_SOUND = """
import sys
from pathlib import Path
from tests.fuzz import harness, samples
folder = Path(sys.argv[1])
for sample in samples.write(folder):
    outcome = harness.run(sample, (folder / sample.file).read_bytes(), folder)
    print(sample.name, sample.file, outcome.code, outcome.fault)
"""
_PLANTED = """
import ctypes, sys, time
from pathlib import Path
from tests.fuzz import harness
harness.SECONDS = 5.0
def broken(path): raise KeyError("planted")
def crashes(path): ctypes.string_at(8)
def hangs(path): time.sleep(60)
def large(path): return len(b"x" * (1100 << 20))
def huge(path): return len(b"x" * (5 << 30))
def escapes(path): print("\\x1b[31m")
def sound(path): return path.read_bytes()
folder = Path(sys.argv[1])
(folder / "file").write_bytes(b"data")
for act in (broken, crashes, hangs, large, huge, escapes, sound):
    outcome = harness.run(harness.Sample("planted", "file", act), b"other", folder)
    print(act.__name__, (outcome.fault or "none").splitlines()[0])
"""


def ran(*words: str) -> subprocess.CompletedProcess[str]:
    """A process of its own: the parent of all cases must have no threads."""
    return subprocess.run([sys.executable, "-W", "ignore", *words], cwd=ROOT, env=ENVIRONMENT, capture_output=True, text=True)


@pytest.mark.slow
def test_every_kind_of_fault_is_seen(tmp_path: Path) -> None:
    (tmp_path / "samples").mkdir()
    done = ran("-c", _PLANTED, str(tmp_path / "samples"))
    seen = dict(line.split(" ", 1) for line in done.stdout.splitlines())
    assert seen.pop("large").endswith("MiB resident")
    assert seen == {
        "broken": "exit code 70: KeyError: 'planted'",
        "crashes": "ended by signal 11",
        "hangs": "no end within 5 seconds",
        "huge": "none",  # out of memory is an answer, within what the child may have
        "escapes": "a traceback or an escape sequence: \x1b[31m",
        "sound": "none",
    }, done.stderr
    assert list(tmp_path.iterdir()) == [tmp_path / "samples"]


def test_mutations_are_those_of_their_seed() -> None:
    data = bytes(range(256)) * 4
    for text in (False, True):
        first, second = ([mutated(data, random.Random(f"{seed}"), text) for seed in range(200)] for _ in range(2))
        assert first == second
        assert len({*first}) > 190
        assert sum(entry == data for entry in first) < 10


@pytest.mark.slow
def test_sound_files_are_read(tmp_path: Path) -> None:
    (tmp_path / "samples").mkdir()
    done = ran("-c", _SOUND, str(tmp_path / "samples"))
    lines = done.stdout.splitlines()
    assert len(lines) > 20, done.stderr
    assert [line for line in lines if not line.endswith(" 0 None")] == []


@pytest.mark.slow
def test_mutated_files_end_in_a_result_or_one_line() -> None:
    done = ran("-m", "tests.fuzz", "64", "--seed", "7")
    assert done.returncode == 0, done.stdout + done.stderr
    assert "'refused'" in done.stdout
    assert "'read'" in done.stdout
