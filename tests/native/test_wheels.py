"""What the build hook (hatch_build.py) puts into wheels and source distributions, and what it does where no compiler is."""

from __future__ import annotations

import os
import subprocess
import sys
import tarfile
import zipfile
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
SOURCES = {f"hsiedge/native/src/{path.name}" for path in (ROOT / "hsiedge" / "native" / "src").glob("*.[ch]")}
pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(not (ROOT / "hatch_build.py").exists(), reason="wheels are built in a checkout, and this is none"),
]


def wheel(folder: Path, **variables: str) -> subprocess.CompletedProcess[str]:
    """Runs `pip wheel`, with no compiler but the one that $CC names."""
    environment = {**os.environ, "CC": "/nonexistent/cc", **variables}
    words = ["pip", "wheel", "--quiet", "--disable-pip-version-check", "--no-build-isolation", "--no-deps"]
    command = [sys.executable, "-m", *words, "--wheel-dir", str(folder), str(ROOT)]
    return subprocess.run(command, env=environment, capture_output=True, text=True, check=False)


def test_without_a_compiler_the_wheel_is_pure(tmp_path: Path) -> None:
    done = wheel(tmp_path)
    assert done.returncode == 0, done.stderr
    (path,) = tmp_path.iterdir()
    assert path.name.endswith("-py3-none-any.whl")
    with zipfile.ZipFile(path) as archive:
        names = set(archive.namelist())
        (facts,) = (archive.read(name).decode() for name in names if name.endswith("dist-info/WHEEL"))
    assert SOURCES
    assert names >= SOURCES | {"hsiedge/native/build.py"}
    assert not [name for name in names if name.endswith(".so")]
    assert "Root-Is-Purelib: true" in facts


def test_a_wheel_for_a_processor_has_the_library_or_is_none(tmp_path: Path) -> None:
    done = wheel(tmp_path, HSIEDGE_NATIVE="aarch64")
    assert done.returncode != 0
    assert "BuildError: /nonexistent/cc: " in done.stderr
    assert list(tmp_path.iterdir()) == []


def test_the_source_distribution_has_what_the_hook_compiles(tmp_path: Path) -> None:
    command = [sys.executable, "-m", "hatchling", "build", "--target", "sdist", "--directory", str(tmp_path)]
    subprocess.run(command, cwd=ROOT, check=True, capture_output=True)
    (path,) = tmp_path.iterdir()
    with tarfile.open(path) as archive:
        names = {name.split("/", 1)[1] for name in archive.getnames()}
    assert names >= SOURCES | {"hatch_build.py", "hsiedge/native/build.py", "pyproject.toml"}
    assert not [name for name in names if name.endswith(".so")]
