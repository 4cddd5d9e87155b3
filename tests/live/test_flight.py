"""A flight of twenty seconds, as benchmarks/live.py plays it: no line dropped, memory flat, latency that of the patch."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from hsiedge.native.library import kernel_sets
from hsiedge.runtimes import ENGINES
from hsiedge.shipped import shipped

ROOT = Path(__file__).parents[2]
if not (ROOT / "benchmarks" / "live.py").is_file():
    pytest.skip("the benchmark lies in a checkout, not beside an installed wheel", allow_module_level=True)
SECONDS = 20
RATES = {"avx512vnni": 300, "avxvnni": 300, "avx2": 100}  # lines a second that the kernels have time for twice over and more


def first_in_line() -> list[str]:
    """Words before a command that let it go before the other tests of this machine; none where that is not allowed."""
    words = ["chrt", "--rr", "10"]
    allowed = shutil.which("chrt") is not None and subprocess.run([*words, "true"], capture_output=True).returncode == 0
    return words if allowed else []


@pytest.mark.slow
def test_twenty_seconds_of_a_flight(tmp_path: Path) -> None:
    pytest.importorskip("tensorly", reason="tensorly carries Indian Pines, and is not installed")
    native = ENGINES["native"].installed
    ahead = first_in_line()
    words = [str(shipped("-int8-scene.onnx")), "--seconds", str(SECONDS), "--json", str(tmp_path / "flight.json")]
    words += ["--runtime", "native"] if native else []
    words += ["--rate", str(RATES.get(kernel_sets()[0], 60) if native and ahead else 60)]
    done = subprocess.run(
        [*ahead, sys.executable, "-m", "benchmarks.live", *words], cwd=ROOT, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    result = json.loads((tmp_path / "flight.json").read_text())
    assert (result["dropped"], result["lines_in"]) == (0, result["labelled"])
    assert result["lines_in"] >= SECONDS * result["line_rate"]
    assert abs(result["growth_mib"]) <= 2
    if native:
        assert result["peak_mib"] < 80
        assert result["imported"] == []
        if ahead:
            assert result["latency_ms"]["p99"] <= result["latency_bound_ms"]
