"""TFLite Micro: files of ours as a microcontroller computes them, and the arena they take."""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
import pytest

from hsiedge.benchmark.runner import bench
from hsiedge.doctor.operators import operators_of
from hsiedge.errors import MissingExtraError, ModelError
from hsiedge.report.terminal.bench import bench_tables
from hsiedge.runtimes import load
from hsiedge.runtimes.tflite_file import graph_of
from hsiedge.scenes.scene import Scene
from hsiedge.shipped import shipped

PATCH = shipped("-int8.tflite")


def test_a_missing_package_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "tflite_micro", None)
    with pytest.raises(MissingExtraError, match=r"running .*\.tflite in TFLite Micro needs .* 'hsiedge\[tflm\]'"):
        load(PATCH, runtime="tflm")
    pytest.importorskip("ai_edge_litert", reason="LiteRT's schema reads the operators, and is not installed")
    assert operators_of(PATCH).arena_bytes is None


class TestTheRuntime:
    @pytest.fixture(autouse=True)
    def _installed(self) -> None:
        pytest.importorskip("tflite_micro", reason="TFLite Micro is not installed")
        pytest.importorskip("ai_edge_litert.interpreter", reason="LiteRT is not installed")

    def test_labels_are_those_of_litert(self, indian_pines: Scene, capfd: pytest.CaptureFixture[str]) -> None:
        """But where a value lies between two integers, which both may round their own way."""
        pixels = np.random.default_rng(0).choice(indian_pines.labelled().size, 200, replace=False)
        ours, theirs = load(PATCH, runtime="tflm"), load(PATCH, 1)
        logits, expected = ours.logits_at(indian_pines, pixels), theirs.logits_at(indian_pines, pixels)
        step = np.diff(np.unique(expected)).min()
        assert np.abs(logits - expected).max() <= 1.01 * step
        assert (logits.argmax(1) == expected.argmax(1)).mean() >= 0.995
        assert capfd.readouterr().err == ""

    def test_the_arena_is_that_of_its_own_count(self) -> None:
        """The shipped patch model fits the arena that a firmware would give it, and no smaller one."""
        from tflite_micro.python.tflite_micro.runtime import Interpreter

        arena = load(PATCH, runtime="tflm").session.arena_bytes
        assert arena is not None
        assert 40_000 < arena < 64_000
        Interpreter.from_bytes(graph_of(PATCH), arena_size=arena + 64)
        with pytest.raises(RuntimeError):
            Interpreter.from_bytes(graph_of(PATCH), arena_size=arena - 64)
        assert operators_of(PATCH).arena_bytes == arena

    def test_bench_shows_it(self) -> None:
        report = bench([PATCH], runtime="tflm", batches=[1], runs=2, seconds=0.01)
        (result,) = report.results
        assert result.runtime.startswith("TFLite Micro ")
        text = "".join(map(str, bench_tables(report)))
        assert f"takes an arena of {result.arena_bytes:,} bytes in TFLite Micro" in text

    @pytest.mark.parametrize("size", [60, 3000, 90_000])
    def test_a_file_cut_short_is_one_line(self, size: int, tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
        path = tmp_path / "a.tflite"
        path.write_bytes(PATCH.read_bytes()[:size])
        with pytest.raises(ModelError, match=r"a\.tflite: LiteRT, which looks at it first, does not load it"):
            load(path, runtime="tflm")
        assert capfd.readouterr().err == ""

    def test_an_arena_beyond_the_most_is_an_error(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr("hsiedge.runtimes.tflm._MOST_ARENA", 1 << 16)
        with pytest.raises(ModelError, match="takes an arena of more than"):
            load(shipped("-int8-scene.tflite"), runtime="tflm")

    def test_what_does_not_fit_is_an_error_and_no_more(self) -> None:
        session = load(PATCH, runtime="tflm").session
        (spec,) = session.inputs
        assert spec.shape == (None, 13, 13, 200)
        with pytest.raises(ModelError, match="TFLite Micro could not run"):
            session.run([np.zeros((1, 13, 13, 201), np.int8)])
        assert session.run([np.zeros((3, 13, 13, 200), np.int8)]).shape == (3, 16)
