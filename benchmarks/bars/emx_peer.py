"""emx-onnx-cgen, a public generator of C: a graph of one size becomes one function."""

from __future__ import annotations

import subprocess
from pathlib import Path

from bars.environments import Environment
from hsiedge.errors import ModelError


def generated(environment: Environment, model: Path, rows: int, columns: int, target: Path) -> None:
    """Writes `void model(input, logits)` of an ONNX scene graph whose input has so many rows and columns.

    Raises:
        ModelError: it was not installed, or does not take the graph; with what it says.
    """
    if environment.failure:
        raise ModelError(f"not installed: {environment.failure}")
    program = environment.python.with_name("emx-onnx-cgen")
    sizes = [f"--input-dim={name}={size}" for name, size in (("rows", rows), ("columns", columns))]
    done = subprocess.run([program, "compile", model, target, *sizes], capture_output=True, text=True, check=False)
    if done.returncode:
        raise ModelError((done.stdout + done.stderr).strip().splitlines()[-1][:300])
