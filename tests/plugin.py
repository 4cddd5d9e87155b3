"""An example of a third-party package, installed into a folder with its metadata, so that its entry points are real."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parents[1]
PLUGIN = Path(__file__).parent / "data" / "plugin"


def install(folder: Path, distribution: str = "example-plugin", entry_points: str | None = None) -> Path:
    """Installs it; `entry_points` in the place of its own."""
    shutil.copytree(PLUGIN / "example_plugin", folder / "example_plugin", dirs_exist_ok=True)
    info = folder / f"{distribution.replace('-', '_')}-1.0.dist-info"
    info.mkdir()
    (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {distribution}\nVersion: 1.0\n")
    (info / "entry_points.txt").write_text(entry_points or (PLUGIN / "entry_points.txt").read_text())
    (info / "RECORD").write_text("")
    return folder


def run(*words: str, site: Path | None, folder: Path, code: int = 0) -> subprocess.CompletedProcess[str]:
    """Runs hsiedge in a folder, with the packages that are installed in `site`."""
    paths = os.pathsep.join(str(path) for path in (site, ROOT) if path is not None)
    done = subprocess.run(
        [sys.executable, "-m", "hsiedge", *words],
        cwd=folder, env={**os.environ, "PYTHONPATH": paths}, capture_output=True, text=True, check=False, timeout=300,
    )  # fmt: skip
    assert done.returncode == code, done.stderr
    return done
