"""The commands where 8-bit sums overflow: this machine, told that it is a Haswell (tests/x86_without_vnni.py)."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

onnx = pytest.importorskip("onnx", reason="onnx makes the files of this test, and is not installed")

from hsiedge.graphs.onnx_io import read_onnx  # noqa: E402
from hsiedge.runtimes import read_card  # noqa: E402
from hsiedge.scenes.scene import Scene  # noqa: E402
from hsiedge.shipped import shipped  # noqa: E402
from tests.cli.conftest import Hsiedge, Run  # noqa: E402
from tests.graphs.shared_weights import shared_by, sharing  # noqa: E402
from tests.x86_without_vnni import inner_command  # noqa: E402

pytestmark = pytest.mark.slow
OVERFLOW = "8-bit sums may overflow on this CPU: labels may differ from those of others"


@pytest.fixture
def haswell(tmp_path: Path) -> Callable[..., Run]:
    """Runs `hsiedge WORDS...` in `tmp_path`."""
    root = Path(__file__).parents[2]

    def run(*words: object) -> Run:
        command = inner_command("env", f"PYTHONPATH={root}", sys.executable, "-m", "hsiedge", *words)
        done = subprocess.run(command, capture_output=True, text=True, check=False, cwd=tmp_path)
        return Run(done.returncode, done.stdout, done.stderr)

    return run


def test_bench_says_that_the_mode_is_on_and_measures_its_cost(haswell: Callable[..., Run]) -> None:
    words = ("bench", shipped("-int8.onnx"), shipped(".onnx"), "--batch", "4", "--runs", "2", "--seconds", "0.05")
    plain = haswell(*words)
    assert plain.code == 0, plain.err
    assert plain.out.count("exact mode") == 1
    assert "--ops measures its cost" in plain.out
    assert "labels may differ" not in plain.out
    measured = haswell(*words, "--ops", "--json", "-")
    report = json.loads(measured.out)
    assert [entry["exact_int8"] for entry in report["results"]] == [True, False]
    (cost,) = report["exactness"]
    assert cost["model"] == cost["baseline"] == shipped("-int8.onnx").name
    assert cost["low"] <= cost["ratio"] <= cost["high"]
    assert re.search(r"takes \d+\.\d\dx \(.*\) the time at batch 4", haswell(*words, "--ops").out)


def test_fast_int8_is_in_every_result(haswell: Callable[..., Run], tmp_path: Path, indian_pines: Scene) -> None:
    model = shipped("-int8-scene.onnx")
    measured = haswell(
        "bench", shipped("-int8.onnx"), "--fast-int8", "--batch", "4", "--runs", "2", "--seconds", "0.05", "--json", "-"
    )
    assert OVERFLOW in json.loads(measured.out)["results"][0]["warnings"]
    scored = {flag: haswell("eval", model, *flag, "--json", "-") for flag in ((), ("--fast-int8",))}
    assert json.loads(scored["--fast-int8",].out)["warnings"] == [OVERFLOW]
    assert f"warning: {OVERFLOW}" in scored["--fast-int8",].err
    assert json.loads(scored[()].out)["warnings"] == []
    np.save(tmp_path / "cube.npy", indian_pines.cube[:20, :20])
    mapped = haswell("classify", model, "cube.npy", "-o", "map.npy", "--fast-int8", "--json", "-")
    assert json.loads(mapped.out)["warnings"] == [OVERFLOW]
    assert f"warning: {OVERFLOW}" in mapped.err
    assert (
        "--fast-int8: cannot be combined with the measurement of all runtimes"
        in haswell("bench", "--runtime", "all", "--fast-int8").error
    )
    assert "LiteRT has no exact mode" in haswell("eval", shipped("-int8.tflite"), "--fast-int8").error


def test_quantize_proposes_seven_bits_where_they_cost_nothing(haswell: Callable[..., Run], tmp_path: Path) -> None:
    quantized = haswell("quantize", shipped(".onnx"), "-o", "a.onnx", "--calib-patches", "200")
    assert quantized.code == 0, quantized.err
    assert haswell("quantize", shipped(".onnx"), "-o", "b.onnx", "--calib-patches", "200", "--recipe", "avx2").code == 0
    eight, seven = (read_card(tmp_path / name) for name in ("a.onnx", "b.onnx"))
    assert eight is not None
    assert seven is not None
    assert eight.quantization is not None
    assert seven.quantization is not None
    proposed = f"hsiedge quantize {shipped('.onnx')} --recipe avx2" in quantized.err
    assert proposed == (seven.quantization.oa_int8 >= eight.quantization.oa_int8)
    assert proposed == (
        f"OA {seven.quantization.oa_int8:.2f} %), and on this processor they need no exact mode" in quantized.err
    )


def test_card_writes_a_file_anew(hsiedge: Hsiedge, tmp_path: Path) -> None:
    onnx.save(sharing(read_onnx(shipped("-int8.onnx"))), tmp_path / "old.onnx")
    before = read_card(tmp_path / "old.onnx")
    rewritten = hsiedge("card", "old.onnx", "-o", "new.onnx")
    assert rewritten.code == 0, rewritten.err
    assert read_card(tmp_path / "new.onnx") == before
    assert not shared_by(onnx.load(tmp_path / "new.onnx"))
    assert hsiedge("card", "old.onnx").code == 0
    assert (tmp_path / "old.onnx").read_bytes() == (tmp_path / "new.onnx").read_bytes()
    assert "has a Card already; for another one" in hsiedge("card", "old.onnx", "--patch", "7").error
    assert "has a Card already; for another one" in hsiedge("card", "old.onnx", "--split", "random").error


def test_card_takes_the_patch_of_the_card(hsiedge: Hsiedge, tmp_path: Path) -> None:
    shutil.copy(shipped(".onnx"), tmp_path / "a.onnx")
    assert hsiedge("card", "a.onnx", "--scene", "indian_pines").code == 0
    card = read_card(tmp_path / "a.onnx")
    assert card is not None
    assert (card.patch, card.lineage[-1].step) == (13, "card")
    bare = read_onnx(shipped(".onnx"))
    del bare.metadata_props[:]
    onnx.save(bare, tmp_path / "bare.onnx")
    assert "give --patch P" in hsiedge("card", "bare.onnx", "--scene", "indian_pines").error
