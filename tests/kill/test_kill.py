"""The killing itself: what is broken or left behind is seen, and some kills of three quick commands break nothing."""

from __future__ import annotations

import signal
import subprocess
import sys
from pathlib import Path

import pytest

from tests.kill.__main__ import COMMANDS, Command, kill, prepare

ROOT = Path(__file__).parents[2]


@pytest.mark.slow
def test_faults_are_seen(tmp_path: Path) -> None:
    seconds = prepare(tmp_path, ["pack"])["pack"]
    pack = COMMANDS["pack"]
    assert kill(tmp_path, pack, signal.SIGTERM, seconds / 2) is None
    assert kill(tmp_path, Command(pack.words, lambda _: False), signal.SIGKILL, seconds / 2) == "a broken output"
    assert "KeyError" in str(kill(tmp_path, Command(pack.words, lambda _: bool({}["gone"])), signal.SIGINT, 0.0))
    (tmp_path / ".map.npy.hsiedge-notes").touch()
    assert kill(tmp_path, pack, signal.SIGINT, seconds / 2) == "left ['.map.npy.hsiedge-notes']"
    (tmp_path / ".map.npy.hsiedge-notes").unlink()
    (tmp_path / "pack.npz").write_bytes(b"half")
    assert "broken or lost" in str(kill(tmp_path, pack, signal.SIGKILL, 0.0))


@pytest.mark.slow
def test_kills_break_nothing() -> None:
    command = [sys.executable, "-m", "tests.kill", "12", "--seed", "3", "--only", "classify", "pack", "run"]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "12 kills, 0 faults" in done.stdout
