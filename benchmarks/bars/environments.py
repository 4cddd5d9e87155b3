"""The peers' environments: one each, made below the cache from environments.toml, used again while that says the same."""

from __future__ import annotations

import hashlib
import json
import shutil
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

import tomllib

TABLE = Path(__file__).with_name("environments.toml")


@dataclass(frozen=True)
class Environment:
    """A peer's Python and the versions that are in there; or why it could not be made."""

    name: str
    python: Path
    versions: dict[str, str]
    failure: str = ""


def table() -> dict[str, dict[str, list[str]]]:
    """What each peer needs."""
    return tomllib.loads(TABLE.read_text())


def ready(name: str, cache: Path) -> Environment:
    """The environment of a peer, installed where it is not there yet. A failure is told, not raised."""
    needs = table()[name]
    key = hashlib.sha256(json.dumps([needs, sys.version_info[:2]]).encode()).hexdigest()[:8]
    folder = cache / f"{name}-{key}"
    python, stamp = folder / "bin" / "python", folder / "installed"
    if not stamp.exists():
        failure = _install(folder, python, needs)
        if failure:
            shutil.rmtree(folder, ignore_errors=True)
            return Environment(name, python, {}, failure)
        stamp.touch()
    return Environment(
        name, python, {entry.partition("==")[0]: entry.partition("==")[2] for part in needs.values() for entry in part}
    )


def _install(folder: Path, python: Path, needs: dict[str, list[str]]) -> str:
    """Makes an environment; gives the last line of what went wrong."""
    pip = [str(python), "-m", "pip", "install", "--quiet", "--disable-pip-version-check"]
    steps = [[sys.executable, "-m", "venv", "--clear", str(folder)], [*pip, *needs["install"]]]
    if "alone" in needs:
        steps.append([*pip, "--no-deps", *needs["alone"]])
    for step in steps:
        done = subprocess.run(step, capture_output=True, text=True, check=False)
        if done.returncode:
            lines = [line for line in done.stderr.splitlines() if line.strip()]
            return lines[-1] if lines else f"{step[2]} ended with code {done.returncode}"
    return ""
