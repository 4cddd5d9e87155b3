"""The killing itself: what is broken or left behind is seen, and some kills of three quick commands break nothing."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from tests.kill.__main__ import COMMANDS, Command, finish, kill, prepare, start

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


@pytest.mark.slow
def test_a_killed_training_goes_on_to_the_same_bits(tmp_path: Path) -> None:
    pytest.importorskip("torch", reason="training needs torch")
    train = COMMANDS["train"]
    prepare(tmp_path, ["train"])
    state = tmp_path / "m.safetensors.resume-1"
    for _ in range(2):
        (tmp_path / "m.safetensors").unlink(missing_ok=True)
        process = start(tmp_path, train.words)
        before, ends = state.stat().st_mtime_ns if state.exists() else 0, time.monotonic() + 120
        while process.poll() is None and time.monotonic() < ends and not (state.exists() and state.stat().st_mtime_ns > before):
            time.sleep(0.005)
        os.kill(process.pid, signal.SIGKILL)
        assert process.wait() == -signal.SIGKILL  # in the midst of it
        assert state.exists()
        assert not (tmp_path / "m.safetensors").exists()
    finish(tmp_path, train.words)
    assert "epochs are taken from m.safetensors.resume-1" in (tmp_path / "stderr").read_text()
    assert train.whole(tmp_path)
    assert not state.exists()
