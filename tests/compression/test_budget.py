"""The search for a budget, on a small teacher and real pixels."""

from __future__ import annotations

import dataclasses
import functools
import json
import re
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest

pytest.importorskip("torch", reason="compressing needs torch")

from hsiedge.compression import budget as module
from hsiedge.compression.budget import Budget, Compressed, compress
from hsiedge.errors import OptionError
from hsiedge.runtimes import load
from hsiedge.scenes.splits import TEST, VALIDATION
from tests import workstation
from tests.compression.quick_search import ONE, QUICK, SIZE, searched, searched_by_one, split, summary, teacher, unseen


@pytest.fixture(autouse=True)
def _quick(monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in QUICK.items():
        monkeypatch.setattr(module, name, value)


@functools.cache
def compressed() -> Compressed:
    return searched(workstation.corner())


def test_the_best_of_what_fits_is_taken() -> None:
    result = compressed()
    fits = [entry for entry in result.tried if entry.size <= SIZE]
    assert result.met
    assert result.best in fits
    assert result.best.loss == min(entry.loss for entry in fits)  # a drop of 100 points leaves OA out
    assert {"quantize", "qat"} == {entry.path[-1] for entry in result.tried}
    assert any(entry.path[0].startswith("prune") for entry in result.tried)
    assert any(entry.path[0].startswith("distil") for entry in result.tried)
    assert any(len(entry.path) == 3 for entry in result.tried)  # distilled, then cut
    assert result.tried[0].size > SIZE  # the teacher as it is


def test_the_file_is_what_was_judged(tmp_path) -> None:
    for entry in (compressed().best, compressed().tried[-1]):
        (tmp_path / "model.onnx").write_bytes(entry.model)
        model = load(tmp_path / "model.onnx")
        pixels = split().pixels(VALIDATION)
        hits = model.predict(workstation.corner(), pixels) == workstation.corner().labels.ravel()[pixels]
        assert 100 * hits.mean() == pytest.approx(entry.oa)
        assert model.known.precision == "int8"
        assert entry.size == (tmp_path / "model.onnx").stat().st_size


def test_test_pixels_decide_nothing() -> None:
    """Other labels on test pixels: the same is tried, and comes to the same."""
    scene = workstation.corner()
    labels = scene.labels.copy()
    labels.ravel()[split().pixels(TEST)] = np.roll(labels.ravel()[split().pixels(TEST)], 7)
    results = [compressed(), searched(dataclasses.replace(scene, labels=labels))]
    first, second = ([(entry.path, entry.oa, entry.loss) for entry in result.tried] for result in results)
    assert first == second


def test_a_budget_that_cannot_be_met_shows_the_nearest(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "SHAPES", module.SHAPES[-2:])
    monkeypatch.setattr(module, "RATIOS", module.RATIOS[-2:])
    result = compress(teacher(), workstation.corner(), split(), Budget(2000), unseen)
    assert result.best is None
    assert not result.met
    assert result.nearest.size == min(entry.size for entry in result.tried)


def test_a_teacher_that_fits_is_only_quantized() -> None:
    result = compress(teacher(), workstation.corner(), split(), Budget(1 << 20, drop=100), unseen)
    assert [entry.path for entry in result.tried] == [("quantize",)]


def test_accuracy_is_part_of_the_budget() -> None:
    result = dataclasses.replace(compressed(), budget=Budget(SIZE, drop=100, oa=100.0))
    assert result.best is not None
    assert result.met == (result.best.oa == 100)
    assert Budget(SIZE, drop=0.5).floor(98.0) == 97.5
    assert Budget(SIZE, drop=0.5, oa=99.0).floor(98.0) == 99.0


def test_budgets_that_make_no_sense() -> None:
    for budget in (Budget(0), Budget(100, drop=-1)):
        with pytest.raises(OptionError, match="a budget of"):
            compress(teacher(), workstation.corner(), split(), budget, unseen)


def test_a_search_that_was_killed_goes_on_to_the_same(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in ONE.items():
        monkeypatch.setattr(module, name, value)
    command = [sys.executable, "-m", "tests.compression.quick_search", str(tmp_path / "state"), str(tmp_path / "tried.json")]
    running = subprocess.Popen(command, stdout=subprocess.DEVNULL)
    while not (tmp_path / "state-2").exists() and running.poll() is None:
        time.sleep(0.01)
    running.kill()
    assert running.wait() == -signal.SIGKILL
    assert not (tmp_path / "tried.json").exists()
    again = subprocess.run(command, capture_output=True, check=True, text=True)
    taken = [int(count) for count in re.findall(r"distill: (\d+) epochs are taken from", again.stdout)]
    assert 0 < taken[0] < ONE["DISTILLING"].epochs
    assert json.loads((tmp_path / "tried.json").read_text()) == summary(searched_by_one())
    assert [path.name for path in tmp_path.iterdir()] == ["tried.json"]
