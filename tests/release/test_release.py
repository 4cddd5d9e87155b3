"""What a release is made of: sdist and wheels, their metadata, and each of them installed in a fresh environment and used.

`make release-check` runs this, and what else stands in the lane "release". Sizes are printed at the end.
"""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
import tarfile
import zipfile
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from hsiedge import __version__
from tests.arm.board import A76, UnavailableError, boards

ROOT = Path(__file__).parents[2]
if not (ROOT / "Makefile").is_file():
    pytest.skip("a release is made of a checkout", allow_module_level=True)
pytestmark = pytest.mark.release

KINDS = ("x86_64", "aarch64", "armv7l", "none")
DEVICE_WING_MB = 260


def do(*words: object, cwd: Path, **variables: str) -> str:
    """Runs a command in a folder that is not the checkout; what it printed."""
    clean = {name: value for name, value in os.environ.items() if name not in ("PYTHONPATH", "HSIEDGE_NATIVE")}
    done = subprocess.run([*map(str, words)], cwd=cwd, capture_output=True, text=True, env={**clean, **variables})
    assert done.returncode == 0, f"{' '.join(map(str, words))}\n{done.stdout[-3000:]}\n{done.stderr[-3000:]}"
    return done.stdout


@pytest.fixture(scope="module")
def dist(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """The folder of the sdist and the wheels."""
    folder = tmp_path_factory.mktemp("dist")
    do(sys.executable, "-m", "hatchling", "build", "--target", "sdist", "--directory", folder, cwd=ROOT)
    for kind in KINDS:
        pip = (sys.executable, "-m", "pip", "wheel", "--quiet", "--no-build-isolation", "--no-deps", "--wheel-dir", folder, ".")
        do(*pip, cwd=ROOT, HSIEDGE_NATIVE=kind)
    yield folder
    for path in sorted(folder.iterdir()):
        print(f"\n{path.name}: {path.stat().st_size / 1e6:.2f} MB", end="")


def wheel_of(dist: Path, kind: str) -> Path:
    pattern = {"x86_64": "*x86_64.whl", "aarch64": "*aarch64.whl", "armv7l": "*armv7l.whl", "none": "*-none-any.whl"}[kind]
    (path,) = dist.glob(pattern)
    return path


class Environment:
    """A fresh virtual environment of a Python, in which something was installed."""

    def __init__(self, folder: Path, python: str, *requirements: object, find: Path | None = None) -> None:
        pyenv = sorted(Path.home().glob(f".pyenv/versions/{python}.*/bin/python"))
        interpreter = pyenv[-1] if pyenv else shutil.which(f"python{python}")
        assert interpreter is not None, f"Python {python} is needed here"
        self.folder = folder
        do(interpreter, "-m", "venv", folder / "venv", cwd=folder)
        pinned = folder / "torch.txt"  # the build for CPUs; all else is as pip chooses it
        pinned.write_text("".join(re.findall(r"^torch==.*\n", (ROOT / "constraints.txt").read_text(), re.M)))
        links = ("--find-links", find) if find is not None else ()
        pip = (folder / "venv" / "bin" / "pip", "install", "--quiet", "--disable-pip-version-check", "--constraint", pinned)
        do(*pip, *links, *requirements, cwd=folder)

    def hsiedge(self, *words: object) -> str:
        return do(self.folder / "venv" / "bin" / "hsiedge", *words, cwd=self.folder)

    @property
    def installed(self) -> Path:
        (path,) = self.folder.glob("venv/lib/python*/site-packages/hsiedge")
        return path

    @property
    def megabytes(self) -> float:
        return sum(path.stat().st_size for path in (self.folder / "venv").rglob("*") if path.is_file()) / 1e6


def check_board_commands(environment: Environment) -> None:
    """Classify and bench with what lies in the package, and a cube."""
    model = next((environment.installed / "models").glob("*-int8-scene.onnx"))
    cube = np.random.default_rng(0).integers(1000, 9000, (20, 15, 200)).astype(np.uint16)
    np.save(environment.folder / "flight.npy", cube)
    environment.hsiedge("classify", model, "flight.npy", "-o", "map.npy")
    assert np.load(environment.folder / "map.npy").shape == (20, 15)
    environment.hsiedge("bench", model, "--seconds", "0.1", "--runs", "3", "--json", "bench.json")
    assert json.loads((environment.folder / "bench.json").read_text())["results"][0]["precision"] == "int8"


def test_metadata(dist: Path) -> None:
    pytest.importorskip("twine", reason="twine checks metadata, and is not installed")
    do(sys.executable, "-m", "twine", "check", "--strict", *sorted(dist.iterdir()), cwd=dist)
    assert {path.name.split("-")[1] for path in dist.iterdir()} <= {__version__, f"{__version__}.tar.gz"}


def test_contents(dist: Path) -> None:
    """No wheel lacks models, templates or schemas; the native library is in all but one; the sdist has no built file."""
    for kind in KINDS:
        names = zipfile.ZipFile(wheel_of(dist, kind)).namelist()
        for part in ("models/indian_pines-cnn2d-random-s0-int8.onnx", "schemas/card.json", "report/templates/report.html"):
            assert f"hsiedge/{part}" in names
        assert ("hsiedge/native/libhsiedge.so" in names) == (kind != "none")
        assert not [name for name in names if name.startswith(("tests/", "docs/", "benchmarks/"))]
    (sdist,) = dist.glob("*.tar.gz")
    with tarfile.open(sdist) as archive:
        assert not [
            name for name in archive.getnames() if name.endswith((".so", ".pyc")) or "/.venv/" in name or "/site/" in name
        ]


@pytest.mark.parametrize("python", ["3.10", "3.13"])
def test_the_main_job(dist: Path, tmp_path: Path, python: str) -> None:
    environment = Environment(tmp_path, python, f"hsiedge[demo]=={__version__}", find=dist)
    assert (environment.installed / "native" / "libhsiedge.so").is_file(), "pip chose another wheel than that of this machine"
    environment.hsiedge("demo", "--output", "demo")
    left = {path.name for path in (tmp_path / "demo").iterdir()}
    assert {"report.html", "map.png", "bench.json", "live.json"} <= left
    (scored,) = (tmp_path / "demo").glob("*-int8.eval.json")
    assert json.loads(scored.read_text())["oa"] > 97.5


@pytest.mark.parametrize("what", ["x86_64", "none", "sdist"])
def test_the_device_wing(dist: Path, tmp_path: Path, what: str) -> None:
    path = next(dist.glob("*.tar.gz")) if what == "sdist" else wheel_of(dist, what)
    environment = Environment(tmp_path, "3.13", path)
    assert what == "sdist" or (environment.installed / "native" / "libhsiedge.so").is_file() == (what == "x86_64")
    check_board_commands(environment)
    print(f"\ndevice wing from {path.name}: {environment.megabytes:.0f} MB", end="")
    assert environment.megabytes < DEVICE_WING_MB


def test_an_emulated_board(dist: Path, tmp_path: Path) -> None:
    """The aarch64 wheel on a Cortex-A76: the labels and counts of this machine."""
    work = tmp_path / "work"
    work.mkdir()
    try:
        board = boards(work, wheel_of(dist, "aarch64"))
    except UnavailableError as why:
        pytest.fail(f"no emulated board: {why}")
    model = "packages/hsiedge/models/indian_pines-cnn2d-random-s0-int8-scene.onnx"
    here = (sys.executable, "-m", "hsiedge")
    do(*here, "scenes", "pack", "indian_pines", "--output", work / "scene.npz", cwd=work, PYTHONPATH=str(ROOT))
    board.hsiedge(A76, "eval", model, "--scene", "scene.npz", "--json", "eval.json")
    do(*here, "eval", model, "--scene", "scene.npz", "--json", "here.json", cwd=work, PYTHONPATH=str(ROOT))
    assert json.loads((work / "eval.json").read_text()) == json.loads((work / "here.json").read_text())
    np.save(work / "flight.npy", np.load(work / "scene.npz")["cube"][:40])
    board.hsiedge(A76, "classify", model, "flight.npy", "-o", "map.npy")
    do(*here, "classify", model, "flight.npy", "-o", "map-here.npy", cwd=work, PYTHONPATH=str(ROOT))
    assert np.array_equal(np.load(work / "map.npy"), np.load(work / "map-here.npy"))
    board.hsiedge(A76, "bench", model, "--seconds", "0.1", "--runs", "3", "--json", "bench.json")
    assert json.loads((work / "bench.json").read_text())["device"]["machine"] == "aarch64"
