"""Tables in 80 columns: no file's name is broken in two, and no figure is cut."""

from __future__ import annotations

import io
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from rich.console import Console, RenderableType

from hsiedge.benchmark.across_devices import DeviceComparison, Line, Run
from hsiedge.benchmark.results import Latency, Report, Result
from hsiedge.device.facts import DeviceFacts
from hsiedge.doctor.operators import Operator, Operators
from hsiedge.evaluation import Evaluation
from hsiedge.metrics import accuracy
from hsiedge.report.terminal.bench import bench_tables
from hsiedge.report.terminal.compare import compare_tables
from hsiedge.report.terminal.doctor import operator_tables
from hsiedge.report.terminal.model import Shown, accuracy_tables, card_table, summary_tables
from hsiedge.report.terminal.scene import catalog_table
from hsiedge.report.terminal.tables import short_names
from hsiedge.runtimes import require_card
from hsiedge.scenes.catalog import CATALOG
from hsiedge.shipped import shipped

WIDTH = 80
NAMES = ("indian_pines-cnn2d-random-s0-int8-scene.onnx", "indian_pines-hybridsn-blocks-s12-int8-scene.tflite")


def lines_of(*parts: RenderableType) -> list[str]:
    """What a terminal of 80 columns, or a log, shows of tables."""
    out = io.StringIO()
    Console(file=out, width=WIDTH, highlight=False).print(*parts, sep="\n")
    return out.getvalue().splitlines()


def result(name: str, runtime: str) -> Result:
    """A result with figures of the usual lengths."""
    latency = Latency(0.01234, 1.5, 123.4, 1, 1, 1, 1, 1)
    facts: dict[str, Any] = {"kind": "scene", "provider": "CPU", "precision": "int8", "threads": 4, "batch": 1}
    facts |= {"input_shape": [], "input_dtype": "uint16", "pixels_per_run": 16384, "load_ms": 3.2, "first_ms": 1.0}
    facts |= {"memory_mib": 12.34, "memory_source": "VmHWM", "path": name, "sha256": name, "warnings": ["unstable"]}
    return Result(
        model=name, runtime=runtime, file_bytes=187832, latency_ms=latency, pixels_per_s=1.25e6, energy_mj=0.0123, **facts
    )


@pytest.fixture
def report() -> Report:
    """A measurement of two files with long names, in two runtimes."""
    none = dict.fromkeys(DeviceFacts.__dataclass_fields__)
    machine = {"machine": "aarch64", "python": "3.11", "container": False, "throttle_reasons": []}
    results = [result(name, runtime) for name, runtime in zip(NAMES, ("onnxruntime 1.31.1", "LiteRT 2.1.0"))]
    return Report(DeviceFacts(**{**none, **machine}), results)


def test_a_measurement(report: Report) -> None:
    check(lines_of(*bench_tables(report, WIDTH)), NAMES)


def test_a_comparison_of_devices(report: Report) -> None:
    runs = [Run(letter, f"results-of-the-{board}-board.json", report) for letter, board in (("A", "orin"), ("B", "pi"))]
    results = [Line(run.name, entry.model, entry, 1.0) for entry in report.results for run in runs]
    check(lines_of(*compare_tables(DeviceComparison(runs, [], results))), (*NAMES, *(run.file for run in runs)))


def test_models_and_their_accuracy() -> None:
    confusion = accuracy(np.array([[90, 10], [5, 95]]))
    evaluation = Evaluation("indian_pines", None, {1: "Alfalfa", 2: "Corn-notill"}, confusion)
    card = require_card(shipped("-int8.onnx"))
    lines = lines_of(*summary_tables([Shown(name, card, 170462, evaluation) for name in NAMES], WIDTH))
    check(lines, NAMES)
    assert sum("92.50" in line and "170,462" in line for line in lines) == len(NAMES)
    check(lines_of(*accuracy_tables(evaluation, NAMES[0])), NAMES[:1])


def test_a_card() -> None:
    path = shipped("-int8-scene.onnx")
    check(lines_of(card_table(require_card(path), path)), [path.name])


def test_operators() -> None:
    operators = [Operator("QLinearConv", "com.microsoft", 1, {"inputs": {"0": ["uint8_t"], "3": ["int8_t"]}})]
    check(lines_of(*operator_tables(Operators(NAMES[0], operators, operators, "# config"))), NAMES[:1])


def test_the_catalog() -> None:
    places: dict[Any, Path | None] = {entry: Path("/data") / f"{entry.name}.npz" for entry in CATALOG.values()}
    check(lines_of(catalog_table(places)), [*CATALOG, *(f"{name}.npz" for name in CATALOG)])


def check(lines: list[str], names: tuple[str, ...] | list[str]) -> None:
    """Asserts that each name stands whole in a line, that lines fit, and that nothing is cut."""
    assert max(map(len, lines)) <= WIDTH
    assert not [line for line in lines if "…" in line]
    assert not [name for name in names if not any(name in line for line in lines)]


def test_names_that_fit_stand_for_themselves() -> None:
    assert short_names(["a.onnx", "b.onnx", "a.onnx"], 6) == {"a.onnx": "a.onnx", "b.onnx": "b.onnx"}
    assert short_names(["a.onnx", "b.onnx"], 5) == {"a.onnx": "A", "b.onnx": "B"}
    assert list(short_names([f"{index}.onnx" for index in range(28)], 3).values())[25:] == ["Z", "#27", "#28"]
