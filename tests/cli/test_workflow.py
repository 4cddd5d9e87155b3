"""The workflow, with nothing but defaults, on the real scene; and what is left in the folder."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest

pytest.importorskip("torch", reason="training needs torch")
pytest.importorskip("tensorly", reason="Indian Pines comes with tensorly")

from tests import workstation
from tests.cli.conftest import Hsiedge

STEM = "indian_pines-cnn2d-random-s0"
SMALL = ("--widths", "24,24,24", "--patch", "7", "--epochs", "4")


def test_from_scene_to_measured_int8(hsiedge: Hsiedge, tmp_path: Path) -> None:
    assert hsiedge("train", "indian_pines", *SMALL).code == 0
    for command in ("quantize", "eval"):  # not the shipped model, in the place of one's own
        assert f"hsiedge export {STEM}.safetensors" in hsiedge(command).error
    exported = hsiedge("export")
    assert exported.code == 0
    assert "labels equal" in exported.err
    alone = hsiedge("bench", "--seconds", "0.05", "--runs", "2", "--batch", "1", "--json", "-")
    assert [entry["precision"] for entry in json.loads(alone.out)["results"]] == ["float32"]
    quantized = hsiedge("quantize", "--explain", "--max-drop", "5")
    assert quantized.code == 0
    assert "spatial.1" in quantized.out
    assert {path.name for path in tmp_path.iterdir()} == {f"{STEM}.safetensors", f"{STEM}.onnx", f"{STEM}-int8.onnx"}

    scored = hsiedge("eval", f"{STEM}-int8.onnx", "--scene", "indian_pines", "--json", "-")
    result = json.loads(scored.out)
    assert list(result) == [
        *("schema", "scene", "model", "split", "n", "oa", "oa_interval", "aa", "kappa", "per_class", "confusion"),
        *("runtime", "provider", "warnings"),
    ]
    assert result["schema"] == 1
    assert result["split"]["kind"] == "random"
    assert result["n"] == workstation.split().facts.test == sum(entry["n"] for entry in result["per_class"].values())
    assert set(result["per_class"]) == set(workstation.scene().titles)
    assert result["oa"] == pytest.approx(100 * np.trace(result["confusion"]) / result["n"], abs=1e-3)

    measured = hsiedge("bench", "--seconds", "0.1", "--runs", "3", "--json", "bench.json")
    assert measured.code == 0
    assert f"taking {STEM}.onnx and {STEM}-int8.onnx" in measured.err
    results = json.loads((tmp_path / "bench.json").read_text())["results"]
    assert [(entry["precision"], entry["batch"]) for entry in results] == [
        *(("float32", 1), ("int8", 1), ("float32", 256), ("int8", 256)),
    ]
    shown = hsiedge("show", f"{STEM}-int8.onnx", "--json", "-")
    assert [step["step"] for step in json.loads(shown.out)["lineage"]] == ["train", "export", "quantize"]


def test_calib_pavia(hsiedge: Hsiedge, shared: Path, tmp_path: Path) -> None:
    data = ("--data-dir", shared / "data" / "pavia_simulated")
    none = hsiedge("quantize", "--calib", "pavia", *data)
    assert "hsiedge train pavia && hsiedge export" in none.error
    trained = hsiedge("train", "paviau", "--train-fraction", "0.01", "--widths", "8,8", "--patch", "5", "--epochs", "1", *data)
    assert trained.code == 0
    assert "warning" in trained.err
    assert "differs from the official Pavia University" in trained.err
    assert hsiedge("export", *data).code == 0
    quantized = hsiedge("quantize", "--calib", "pavia", "--max-drop", "20", *data)
    assert quantized.code == 0, quantized.err
    assert "training pixels, balanced over classes" in quantized.err
    card = json.loads(hsiedge("show", "pavia-cnn2d-random-s0-int8.onnx", "--json", "-").out)
    assert card["scene"]["official"] is False

    flight = np.load(_flight(shared, tmp_path), mmap_mode="r")
    assert flight.shape == (120, 100, 103)
    agreed = hsiedge("quantize", "--calib", "flight.hdr", "--max-drop", "20", "-o", "flight-int8.onnx")
    assert agreed.code == 0, agreed.err
    assert "labels agree with float" in agreed.err
    assert "OA" not in agreed.err


def _flight(shared: Path, folder: Path) -> Path:
    """A piece of the cube as somebody's own unlabelled flight, ENVI."""
    import scipy.io
    import spectral.io.envi

    cube = scipy.io.loadmat(shared / "data" / "pavia_simulated" / "PaviaU.mat")["paviaU"][:120, :100]
    spectral.io.envi.save_image(str(folder / "flight.hdr"), cube, interleave="bil", dtype=cube.dtype)
    np.save(folder / "flight.npy", cube)
    return folder / "flight.npy"


def test_salinas_a_by_name_file_and_pack(hsiedge: Hsiedge, shared: Path, tmp_path: Path) -> None:
    folder = shared / "data" / "salinas_a"
    assert hsiedge("scenes", "pack", "salinas_a", "--data-dir", folder).code == 0
    own = ("--cube", folder / "SalinasA_corrected.mat", "--labels", folder / "SalinasA_gt.mat")
    assert hsiedge("train", *own, "--net", "cnn1d", "--epochs", "3", "-o", "own.safetensors").code == 0
    assert "give it again with --cube and --labels" in hsiedge("export", "own.safetensors").error
    assert hsiedge("export", "own.safetensors", *own, "-o", "own.onnx").code == 0
    packed = hsiedge("eval", "own.onnx", "--scene", "salinas_a.npz", "--json", "-")
    evaluated = hsiedge("eval", "own.onnx", *own, "--json", "-")
    assert json.loads(packed.out)["oa"] == json.loads(evaluated.out)["oa"]
    assert json.loads(packed.out)["n"] == 4545
    assert hsiedge("quantize", *own, "--max-drop", "20").code == 0
    assert (tmp_path / "own-int8.onnx").exists()
    assert list(json.loads(packed.out)["per_class"]) == [
        *("Brocoli green weeds 1", "Corn senesced green weeds", "Lettuce romaine 4wk", "Lettuce romaine 5wk"),
        *("Lettuce romaine 6wk", "Lettuce romaine 7wk"),
    ]
    shown = hsiedge("scenes", "show", "salinas_a", "--data-dir", folder)
    assert "blocks (seed 0) keeps 6 of 6 classes" in shown.out
    other = hsiedge("eval", "own.onnx", "--scene", "indian_pines")
    assert "has 200 bands, the model takes 204" in other.error


def test_blocks_and_masks(hsiedge: Hsiedge, tmp_path: Path) -> None:
    small = ("--net", "cnn1d", "--epochs", "1", "--widths", "4,8")
    trained = hsiedge("train", "indian_pines", "--split", "blocks", *small)
    assert trained.code == 0
    assert "left out" in trained.err
    assert hsiedge("export").code == 0
    scored = json.loads(hsiedge("eval", "--json", "-").out)
    assert scored["split"]["guard"] == 6
    assert len(scored["per_class"]) == 13

    parts = workstation.split().parts
    labels = workstation.scene().labelled()
    np.save(tmp_path / "train.npy", np.where((parts == 1) | (parts == 2), labels, 0))
    np.save(tmp_path / "test.npy", parts == 3)
    masks = ("--train-mask", "train.npy", "--test-mask", "test.npy")
    np.save(tmp_path / "test.npy", (parts == 3).astype(np.uint8))
    assert hsiedge("train", "indian_pines", *masks, *small).code == 0
    assert hsiedge("export", "indian_pines-cnn1d-masks-s0.safetensors").code == 0
    model = "indian_pines-cnn1d-masks-s0.onnx"
    assert "--train-mask" in hsiedge("eval", model).error
    assert json.loads(hsiedge("eval", model, *masks, "--json", "-").out)["n"] == int((parts == 3).sum())
    assert hsiedge("quantize", model, *masks, "--max-drop", "9").code == 0


def test_a_card_for_a_strangers_model(hsiedge: Hsiedge, tmp_path: Path) -> None:
    import onnx

    model = onnx.load(workstation.float_file("cnn2d"))
    del model.metadata_props[:]
    onnx.save(model, tmp_path / "stranger.onnx")
    assert "hsiedge card stranger.onnx" in hsiedge("eval", "stranger.onnx", "--scene", "indian_pines").error
    assert "has no Card" in hsiedge("show", "stranger.onnx").error
    words = ("stranger.onnx", "--scene", "indian_pines", "--patch", "7")
    assert hsiedge("card", *words, "-o", "known.onnx").code == 0
    everything = hsiedge("eval", "known.onnx", "--json", "-")
    assert json.loads(everything.out)["n"] == 10249
    assert "the Card has no split" in everything.err
    assert hsiedge("card", *words, "--split", "random").code == 0
    assert json.loads(hsiedge("eval", "stranger.onnx", "--json", "-").out)["n"] == 8708


@pytest.mark.parametrize("moment", [3.0, 6.0])
def test_ctrl_c_leaves_nothing_but_a_state(moment: float, tmp_path: Path) -> None:
    command = [sys.executable, "-m", "hsiedge", "train", "indian_pines", "--epochs", "500"]
    with subprocess.Popen(command, cwd=tmp_path, stderr=subprocess.PIPE, text=True) as process:
        time.sleep(moment)
        process.send_signal(signal.SIGINT)
        _, err = process.communicate(timeout=30)
    assert process.returncode in (130, -signal.SIGINT), err  # the latter where Python was in the middle of an import
    assert "Traceback" not in err
    kept = [path.name for path in tmp_path.iterdir()]  # nothing, or what the same command goes on from
    assert kept in ([], ["indian_pines-cnn2d-random-s0.safetensors.resume-1"])


def test_demo_leaves_what_it_promises(hsiedge: Hsiedge, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The demo in full, but for the size of its net and the time it trains."""
    import functools

    from hsiedge.cli import demo_job
    from hsiedge.training.fit import FitSettings

    small = {"settings": FitSettings(epochs=1), "patch": 7, "widths": (24, 24, 24)}
    monkeypatch.setattr(demo_job, "train", functools.partial(demo_job.train, **small))
    monkeypatch.setattr(demo_job, "bench", functools.partial(demo_job.bench, seconds=0.2, runs=3))
    monkeypatch.setattr(demo_job.Model, "quantize", functools.partialmethod(demo_job.Model.quantize, max_drop=20))
    done = hsiedge("demo", "-o", "out")
    assert done.code == 0, done.err
    left = {path.name: path.stat().st_size for path in (tmp_path / "out").iterdir()}
    assert {"map.png", "report.html", "bench.json", f"{STEM}.onnx", f"{STEM}-int8.onnx", f"{STEM}.safetensors"} <= set(left)
    assert {"live.hdr", "live.img", "live.png", "live.jsonl", "live.json"} <= set(left)
    live = json.loads((tmp_path / "out" / "live.json").read_text())
    assert (live["lines_in"], live["labelled"], live["dropped"]) == (145, 145, 0)
    assert live["seconds"] >= 2.9
    assert "145 lines in, 145 labelled, none dropped" in done.out
    assert "replay of indian_pines at 48.33 lines a second: the source ended" in done.out
    page = (tmp_path / "out" / "report.html").read_text()
    assert "http://" not in page
    assert "https://" not in page
    assert "<script" not in page
    score = json.loads((tmp_path / "out" / f"{STEM}-int8.eval.json").read_text())["oa"]
    assert f"{score:.2f}" in page
    assert f"{score:.2f}" in done.out
    for title in workstation.scene().titles:
        assert title in page
    assert os.environ.get("ORT_DISABLE_TELEMETRY") == "1"
