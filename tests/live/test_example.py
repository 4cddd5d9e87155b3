"""The example of a camera's SDK, run as a user runs it."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from hsiedge.mapping import classify
from hsiedge.runtimes import load
from hsiedge.scenes.io.reader import read_labels
from hsiedge.scenes.scene import Scene
from hsiedge.shipped import shipped
from hsiedge.testing import check_source

EXAMPLE = Path(__file__).parents[2] / "examples" / "camera.py"
if not EXAMPLE.is_file():
    pytest.skip("the examples lie in a checkout, not beside an installed wheel", allow_module_level=True)


@pytest.mark.slow
def test_a_cameras_sdk_in_twenty_lines(indian_pines: Scene, tmp_path: Path) -> None:
    lines = [line for line in EXAMPLE.read_text().splitlines()[4:] if line.strip()]
    assert len(lines) <= 20
    check_source(f"{EXAMPLE}:Camera:12", indian_pines.cube[:12])
    model = shipped("-int8-scene.onnx")
    words = ["run", str(model), "--from", f"{EXAMPLE}:Camera:12", "-o", "map.hdr"]
    done = subprocess.run([sys.executable, "-m", "hsiedge", *words], cwd=tmp_path, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert "145 lines in, 145 labelled, none dropped" in done.stderr
    assert "the source's clock is 100" in done.stderr
    expected = classify(load(model, 1), indian_pines.cube)
    np.testing.assert_array_equal(read_labels(tmp_path / "map.hdr").array, expected)
