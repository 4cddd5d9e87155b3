"""`bench --on` and `doctor --on` an emulated Raspberry Pi behind a real SSH server. Its times are not looked at."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Iterator, Mapping
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any

import pytest

import hsiedge
from hsiedge.shipped import shipped
from tests.arm import board
from tests.arm.board import A76, HERE, Boards, environment
from tests.remote.sshd import MISSING, Server, serve

STUDENT = Path(__file__).parents[1] / "native" / "data" / "student-int8-scene.onnx"
QUICK = ("--runs", 3, "--seconds", 0.1)


def serving(arm: Boards, folder: Path, variables: Mapping[str, str]) -> AbstractContextManager[Server]:
    """A server whose logins come out on the board."""
    if MISSING is not None:
        pytest.skip(f"needs an SSH server and client: {MISSING} is not installed")
    places = [arm.root, A76.cpuinfo, arm.packages, arm.work]
    around = ["unshare", "--mount", "--propagation", "private", HERE / "login.sh", *places]
    return serve(folder, {**environment(A76), **variables}, [f"ChrootDirectory {arm.root}"], [*map(str, around)])


@pytest.fixture(scope="module")
def pi(arm: Boards, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    (arm.work / "scratch").mkdir()
    with serving(arm, tmp_path_factory.mktemp("sshd"), {"TMPDIR": "/work/scratch", "HOME": "/work"}) as running:
        yield running


@pytest.fixture(scope="module")
def bare_pi(arm: Boards, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """Its logins know of no hsiedge, nor of what it needs."""
    (arm.work / "bare" / "scratch").mkdir(parents=True)
    variables = {"TMPDIR": "/work/bare/scratch", "HOME": "/work/bare", "PYTHONPATH": "/nonexistent"}
    with serving(arm, tmp_path_factory.mktemp("bare"), variables) as running:
        yield running


def on_the_board(server: Server, *words: object) -> subprocess.CompletedProcess[str]:
    """Runs `hsiedge WORDS --on board` here."""
    variables = {**os.environ, "PATH": server.path, "PYTHONPATH": str(Path(hsiedge.__file__).parents[1])}
    command = [sys.executable, "-m", "hsiedge", *map(str, words), "--on", "board"]
    done = subprocess.run(command, env=variables, capture_output=True, text=True, timeout=1200, check=False)
    assert done.returncode == 0, done.stderr + server.log.read_text()
    return done


def native(path: Path) -> tuple[str, str]:
    """Engine and kernels of a bench's only result."""
    (result,) = json.loads(path.read_text())["results"]
    return result["runtime"], result["provider"]


def test_an_int8_model_on_the_pi(pi: Server, arm: Boards, tmp_path: Path) -> None:
    model, out = shipped("-int8.onnx"), tmp_path / "pi.json"
    done = on_the_board(pi, "bench", model, "--batch", 1, *QUICK, "--json", out)
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
    on_the_board(pi, "bench", STUDENT, "--runtime", "native", *QUICK, "--json", tmp_path / "native.json")
    assert native(tmp_path / "native.json") == (f"hsiedge native {hsiedge.__version__}", "dot")


@pytest.mark.release  # two minutes: wheels are installed under emulation
def test_a_wheel_that_fits_is_sent(bare_pi: Server, arm: Boards, checkout: Path, tmp_path: Path) -> None:
    """From the wheelhouse the board gets the wheel with its own library; doctor finds it there, and this machine's nowhere."""
    wheels = tmp_path / "wheelhouse"
    board.download(wheels, *board.requirements(extras=()), "--constraint", checkout / "constraints.txt")
    for machine in ("aarch64", "x86_64"):
        shutil.copy(board.own_wheel(tmp_path / machine, machine), wheels)
    out = tmp_path / "sent.json"
    words = ("bench", STUDENT, "--runtime", "native", *QUICK, "--wheelhouse", wheels, "--json", out)
    assert "making an environment for hsiedge" in on_the_board(bare_pi, *words).stderr
    assert native(out) == (f"hsiedge native {hsiedge.__version__}", "dot")
    (library,) = (arm.work / "bare" / ".cache" / "hsiedge").rglob("libhsiedge.so")
    assert int.from_bytes(library.read_bytes()[18:20], "little") == 183  # ELF's number of aarch64
    stderr = on_the_board(bare_pi, "doctor", "--json", tmp_path / "doctor.json").stderr
    assert "making" not in stderr
    findings: list[dict[str, Any]] = json.loads((tmp_path / "doctor.json").read_text())["findings"]
    (finding,) = (finding for finding in findings if finding["topic"] == "native engine")
    assert finding["what"] == "dot neon plain: the shipped INT8 model gives the labels that it should"
