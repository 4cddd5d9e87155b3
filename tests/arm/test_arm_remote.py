"""`bench --on` an emulated Raspberry Pi behind a real SSH server. Its times are an emulator's, and are not looked at."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

import hsiedge
from hsiedge.shipped import shipped
from tests.arm.board import A76, HERE, Boards, environment
from tests.remote.sshd import MISSING, Server, serve


@pytest.fixture(scope="module")
def pi(arm: Boards, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """Its logins come out on the board."""
    if MISSING is not None:
        pytest.skip(f"needs an SSH server and client: {MISSING} is not installed")
    places = [arm.root, A76.cpuinfo, arm.packages, arm.work]
    around = ["unshare", "--mount", "--propagation", "private", HERE / "login.sh", *places]
    variables = {**environment(A76), "TMPDIR": "/work/scratch", "HOME": "/work"}
    (arm.work / "scratch").mkdir()
    with serve(tmp_path_factory.mktemp("sshd"), variables, [f"ChrootDirectory {arm.root}"], [*map(str, around)]) as running:
        yield running


def test_an_int8_model_on_the_pi(pi: Server, arm: Boards, tmp_path: Path) -> None:
    model, out = shipped("-int8.onnx"), tmp_path / "pi.json"
    words = ["bench", model, "--on", "board", "--batch", 1, "--runs", 3, "--seconds", 0.1, "--json", out]
    variables = {**os.environ, "PATH": pi.path, "PYTHONPATH": str(Path(hsiedge.__file__).parents[1])}
    command = [sys.executable, "-m", "hsiedge", *map(str, words)]
    done = subprocess.run(command, env=variables, capture_output=True, text=True, timeout=600, check=False)
    assert done.returncode == 0, done.stderr + pi.log.read_text()
    report = json.loads(out.read_text())
    device, (result,) = report["device"], report["results"]
    assert (device["machine"], device["cpu"]) == ("aarch64", "Cortex-A76")
    assert device["board"] == "Raspberry Pi 5 Model B Rev 1.0"
    assert "asimddp" in device["instruction_sets"]
    assert (result["path"], result["precision"], result["latency_ms"]["runs"] >= 3) == (str(model), "int8", True)
    assert "Raspberry Pi 5 Model B Rev 1.0 (Cortex-A76)" in done.stdout
    assert list((arm.work / "scratch").iterdir()) == []


def test_the_native_engine_on_the_pi(pi: Server, tmp_path: Path) -> None:
    """The board's wheel has a library of its own, with kernels for its core."""
    model, out = Path(__file__).parents[1] / "native" / "data" / "student-int8-scene.onnx", tmp_path / "native.json"
    words = ["bench", model, "--runtime", "native", "--on", "board", "--runs", 3, "--seconds", 0.1, "--json", out]
    variables = {**os.environ, "PATH": pi.path, "PYTHONPATH": str(Path(hsiedge.__file__).parents[1])}
    command = [sys.executable, "-m", "hsiedge", *map(str, words)]
    done = subprocess.run(command, env=variables, capture_output=True, text=True, timeout=600, check=False)
    assert done.returncode == 0, done.stderr + pi.log.read_text()
    (result,) = json.loads(out.read_text())["results"]
    assert (result["runtime"], result["provider"]) == (f"hsiedge native {hsiedge.__version__}", "dot")
