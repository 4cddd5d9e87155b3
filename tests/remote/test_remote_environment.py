"""The environment that `bench --on` makes where there is no hsiedge: of wheels that are sent along, whole or not at all."""

from __future__ import annotations

import base64
import hashlib
import io
import os
import re
import signal
import subprocess
import sys
import time
import zipfile
from collections.abc import Iterator
from importlib import metadata
from pathlib import Path

import pytest

import hsiedge
from hsiedge.native.build import LIBRARY, machine_here
from hsiedge.remote import agent, wheel
from tests.remote.sshd import MISSING, Server, serve

ROOT = Path(__file__).parents[2]
IS_CHECKOUT = (ROOT / "hatch_build.py").exists()
FLOAT = Path(__file__).parents[1] / "benchmark" / "data" / "float.onnx"
BARE = Path(sys.base_prefix) / "bin" / f"python{sys.version_info[0]}.{sys.version_info[1]}"
pytestmark = pytest.mark.slow
WORDS = ("--batch", "1", "--runs", "2", "--seconds", "0.05")


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """Its logins know of no hsiedge."""
    if MISSING is not None:
        pytest.skip(f"needs an SSH server and client: {MISSING} is not installed")
    probe = subprocess.run([BARE, "-c", "import hsiedge"], capture_output=True, cwd="/", check=False)
    assert probe.returncode == 1, "the interpreter below the one of these tests has hsiedge of its own"
    with serve(tmp_path_factory.mktemp("sshd"), {"PYTHONPATH": "/nonexistent"}) as running:
        yield running


@pytest.fixture(scope="module")
def wheelhouse(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Wheels of what hsiedge needs, in the versions that these tests run with."""
    folder = tmp_path_factory.mktemp("wheelhouse")
    names = [re.split(r"[^\w.-]", text)[0] for text in metadata.requires("hsiedge") or () if "extra ==" not in text]
    installed = {entry.name.lower() for entry in metadata.distributions()}  # a marker may leave one out on this Python
    pinned = [f"{name}=={metadata.version(name)}" for name in names if name.lower() in installed]
    quiet = ["--quiet", "--disable-pip-version-check", "--use-pep517"]  # a venv of Python 3.10 cannot build wheels by itself
    command = [sys.executable, "-m", "pip", "wheel", *quiet, "--wheel-dir", folder, *pinned]
    environment = {
        name: value for name, value in os.environ.items() if name != "XDG_CACHE_HOME"
    }  # pip's own cache, not the tests'
    subprocess.run(command, check=True, capture_output=True, env=environment)
    return folder


def started(server: Server, *words: object, python: object = BARE) -> subprocess.Popen[str]:
    command = [sys.executable, "-m", "hsiedge", "bench", FLOAT, *WORDS, "--on", "board", "--python", python, *words]
    environment = {**os.environ, "PATH": server.path, "PYTHONPATH": str(Path(hsiedge.__file__).parents[1])}
    return subprocess.Popen(list(map(str, command)), env=environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)


def bench(server: Server, *words: object, code: int = 0, python: object = BARE) -> str:
    """What is said on stderr."""
    with started(server, *words, python=python) as process:
        _, err = process.communicate(timeout=300)
    assert process.returncode == code, err
    assert list(server.scratch.iterdir()) == []
    return err


def environments(server: Server) -> list[Path]:
    place = server.home / ".cache" / "hsiedge" / "environments"
    return list(place.iterdir()) if place.is_dir() else []


def test_wheelhouse_without_what_is_needed(server: Server, tmp_path: Path) -> None:
    err = bench(server, "--wheelhouse", tmp_path, code=2)
    assert (
        err
        == f"hsiedge: error: --wheelhouse {tmp_path}: no wheels there; fill it with: pip wheel, or pip download --platform\n"
    )
    (tmp_path / "other-1.0-py3-none-any.whl").write_bytes(b"no wheel")
    err = bench(server, "--wheelhouse", tmp_path, code=2)
    assert "hsiedge: error: board: pip cannot install what hsiedge needs: ERROR: " in err
    assert f"{tmp_path} must have wheels for Python {sys.version_info[0]}.{sys.version_info[1]}" in err
    assert environments(server) == []


def test_python_without_ensurepip(server: Server, tmp_path: Path) -> None:
    """As Debian's without python3-venv."""
    (tmp_path / "ensurepip.py").write_text("raise ImportError\n")
    python = tmp_path / "python"
    python.write_text(f'#!/bin/sh\nPYTHONPATH={tmp_path} exec {BARE} "$@"\n')
    python.chmod(0o755)
    err = bench(server, code=2, python=python)
    assert "sudo apt install python3-venv" in err.splitlines()[-1]
    assert environments(server) == []


def test_a_lost_line_leaves_no_half_environment(server: Server, wheelhouse: Path) -> None:
    with started(server, "--wheelhouse", wheelhouse) as process:
        end = time.monotonic() + 60
        while not [path for half in environments(server) for path in half.glob("lib/python*/site-packages/rich/*")]:
            assert process.poll() is None, process.communicate()
            assert time.monotonic() < end
            time.sleep(0.02)
        assert [path.name[:8] for path in environments(server)] == [".making-"]
        process.send_signal(signal.SIGKILL)
        process.wait()
    end = time.monotonic() + 10
    while (environments(server) or list(server.scratch.iterdir()) or server.marked()) and time.monotonic() < end:
        time.sleep(0.05)
    assert (environments(server), list(server.scratch.iterdir()), server.marked()) == ([], [], [])


@pytest.fixture(scope="module")
def wheels_of_hsiedge(wheelhouse: Path) -> Path:
    """The wheelhouse with wheels of hsiedge, too: in a checkout, which can build wheels, one fits and holds what runs here."""
    other = "aarch64" if machine_here() == "x86_64" else "x86_64"
    for tag in (f"manylinux_2_17_{other}", "any"):
        (wheelhouse / f"hsiedge-{hsiedge.__version__}-py3-none-{tag}.whl").write_bytes(b"neither sent nor read")
    if IS_CHECKOUT:
        environment = {**os.environ, "HSIEDGE_NATIVE": machine_here()}
        words = ["pip", "wheel", "--quiet", "--no-build-isolation", "--no-deps", "--wheel-dir", wheelhouse, ROOT]
        subprocess.run([sys.executable, "-m", *words], check=True, capture_output=True, env=environment)
    return wheelhouse


def libraries(environment: Path) -> list[str]:
    return [path.name for path in environment.glob("lib/python*/site-packages/hsiedge/native/*.so")]


def test_made_once_then_used(server: Server, wheels_of_hsiedge: Path) -> None:
    err = bench(server, "--wheelhouse", wheels_of_hsiedge)
    assert "making an environment for hsiedge" in err
    assert "not sent" not in err
    (environment,) = environments(server)
    assert environment.name.startswith(f"{hsiedge.__version__}-")
    assert (environment / "bin" / "python").exists()
    assert libraries(environment) == [LIBRARY.name] * IS_CHECKOUT
    assert "making" not in bench(server)
    assert "making" not in bench(server, "--wheelhouse", wheels_of_hsiedge)
    (environment / "bin" / "python").unlink()  # what an upgrade of the system's Python comes to
    assert "making" in bench(server, "--wheelhouse", wheels_of_hsiedge)
    assert environments(server) == [environment]


def test_a_wheel_of_other_files_is_not_sent(tmp_path: Path) -> None:
    pure, path = wheel.own_wheel(), tmp_path / f"hsiedge-{hsiedge.__version__}-py3-none-manylinux_2_17_aarch64.whl"
    path.write_bytes(pure)
    with zipfile.ZipFile(path, "a") as archive:
        archive.writestr("hsiedge/native/libhsiedge.so", b"for that machine")
        archive.writestr("hsiedge/models/more.onnx", b"")
    assert wheel.holds(path, pure)
    assert [wheel.is_own(path, machine) for machine in ("aarch64", "x86_64", "")] == [True, False, True]
    with zipfile.ZipFile(path, "a") as archive:
        archive.writestr("hsiedge/more.py", b"")
    assert not wheel.holds(path, pure)
    path.write_bytes(b"no wheel")
    assert not wheel.holds(path, pure)


def test_old_environments_go_when_one_is_made(tmp_path: Path) -> None:
    names = ("a", "b", "c", ".making-old", ".making-new")
    for age, name in enumerate(names):
        (tmp_path / name).mkdir()
        os.utime(tmp_path / name, (time.time() - age * 100, time.time() - age * 100))
    os.utime(tmp_path / ".making-old", (0, 0))
    agent._tidy(tmp_path)
    assert sorted(path.name for path in tmp_path.iterdir()) == [".making-new", "a", "b"]


def test_the_wheel_is_whole_and_always_the_same() -> None:
    data = wheel.own_wheel()
    assert data == wheel.own_wheel()
    with zipfile.ZipFile(io.BytesIO(data)) as archive:
        names = archive.namelist()
        info = f"hsiedge-{hsiedge.__version__}.dist-info"
        rows = [row.rsplit(",", 2) for row in archive.read(f"{info}/RECORD").decode().splitlines()]
        assert [row[0] for row in rows] == names
        for name, digest, size in rows[:-1]:
            held = archive.read(name)
            expected = base64.urlsafe_b64encode(hashlib.sha256(held).digest()).rstrip(b"=").decode()
            assert (digest, int(size)) == (f"sha256={expected}", len(held))
        metadata_lines = archive.read(f"{info}/METADATA").decode().splitlines()
    assert f"Version: {hsiedge.__version__}" in metadata_lines
    assert [line for line in metadata_lines if line.startswith("Requires-Dist: onnxruntime")]
    assert {"hsiedge/cli/main.py", "hsiedge/remote/agent.py", "hsiedge/report/templates/report.html"} <= set(names)
    assert not [name for name in names if "__pycache__" in name or name.endswith(".so")]
    assert "hsiedge/native/src/hs_stream.h" in names
    assert sorted(name for name in names if name.startswith("hsiedge/models/")) == [
        "hsiedge/models/indian_pines-cnn2d-random-s0-int8.onnx",
        "hsiedge/models/indian_pines-cnn2d-random-s0-int8.tflite",
    ]
