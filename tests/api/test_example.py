"""The example script, run as a user runs it."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import pytest

EXAMPLE = Path(__file__).parents[2] / "examples" / "indian_pines.py"


@pytest.mark.slow
def test_indian_pines_in_ten_lines(tmp_path: Path) -> None:
    for name in ("torch", "onnx", "tensorly", "matplotlib", "pandas"):
        pytest.importorskip(name, reason=f"the example needs {name}")
    done = subprocess.run(
        [sys.executable, str(EXAMPLE), "3"], cwd=tmp_path, capture_output=True, text=True, timeout=600, check=False
    )
    assert done.returncode == 0, done.stderr
    accuracy = re.search(r"OA (\d+\.\d+) % of test pixels", done.stdout)
    assert accuracy is not None, done.stdout
    assert float(accuracy[1]) > 40  # the largest class alone is 24 %
    assert re.search(r"ip\.onnx +float32", done.stdout)
    assert re.search(r"ip-int8-scene\.onnx +int8", done.stdout)
    names = {path.name for path in tmp_path.iterdir()}
    assert names == {"ip.onnx", "ip-scene.onnx", "ip-int8-scene.onnx", "flight.npy", "flight.png"}
