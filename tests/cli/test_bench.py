from __future__ import annotations

import dataclasses
import functools
import io
import json
import re
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import typer
from rich.console import Console

from hsiedge.benchmark.process import Worker
from hsiedge.benchmark.results import (
    Agreement,
    Comparison,
    Latency,
    OperatorTime,
    Profile,
    Recommendation,
    Report,
    Result,
    Sustained,
    Window,
)
from hsiedge.cli.bench import bench_command, parse_duration
from hsiedge.device.facts import DeviceFacts
from hsiedge.errors import OptionError
from hsiedge.report.terminal.bench import bench_tables
from tests.cli.conftest import Hsiedge

DATA = Path(__file__).parents[1] / "benchmark" / "data"
QUICK = ["--runs", "20", "--seconds", "0.02", "--threads", "1"]


@pytest.fixture
def run(hsiedge: Hsiedge, monkeypatch: pytest.MonkeyPatch) -> Hsiedge:
    """Runs `hsiedge bench WORDS...` where the models lie."""
    monkeypatch.chdir(DATA)
    return functools.partial(hsiedge, "bench")


def test_json_alone_on_stdout(run: Hsiedge) -> None:
    done = run("float.onnx", "int8.onnx", "--batch", "1", "--json", "-", *QUICK)
    assert done.code == 0, done.err
    data = json.loads(done.out)
    assert [entry["model"] for entry in data["results"]] == ["float.onnx", "int8.onnx"]


@pytest.mark.slow
def test_tables_on_stdout_and_json_in_a_file(run: Hsiedge, tmp_path: Path) -> None:
    done = run("float.onnx", "--batch", "1", "--batch", "8", "--ops", "--json", tmp_path / "r.json", *QUICK)
    assert done.code == 0, done.err
    assert "float.onnx" in done.out
    assert "Conv" in done.out
    assert done.err == ""
    assert [entry["batch"] for entry in json.loads((tmp_path / "r.json").read_text())["results"]] == [1, 8]


def test_without_models_the_newest_here_is_taken_and_not_compared_with_a_stranger(hsiedge: Hsiedge, tmp_path: Path) -> None:
    for name in ("float.onnx", "int8.onnx"):
        shutil.copy(DATA / name, tmp_path)
    done = hsiedge("bench", "--batch", "1", "--json", "-", *QUICK)
    measured = [entry["model"] for entry in json.loads(done.out)["results"]]
    assert measured == ["int8.onnx"]  # float.onnx is not what it was made from
    assert "taking int8.onnx" in done.err


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (["float.onnx", "--runtime", "tvm"], "--runtime tvm"),
        (["--runtime", "tvm"], "--runtime tvm"),
        (["float.onnx", "--runtime", "torch"], "--runtime torch: runs .safetensors files, not float.onnx"),
        (["float.onnx", "--runtime", "openvino", "--ops"], "--ops: only onnxruntime profiles by operator, not openvino"),
        (["float.onnx", "--provider", "vulkan"], "--provider vulkan: choose cpu, xnnpack, cuda, tensorrt"),
        (
            ["float.onnx", "--runtime", "openvino", "--provider", "cpu"],
            "--provider cpu: onnxruntime has providers, openvino has none",
        ),
        (
            ["float.onnx", "--runtime", "all", "--provider", "cpu"],
            "--provider cpu: cannot be combined with the measurement of all runtimes",
        ),
        (["none.onnx"], "none.onnx: no such file"),
        (["float.onnx", "--batch", "0"], "--batch 0"),
        (["float.onnx", "--duration", "soon"], "--duration soon"),
        (["stranger.onnx"], "--shape a="),
    ],
)
def test_bad_input_is_one_line_and_exit_code_2(run: Hsiedge, arguments: list[str], says: str) -> None:
    done = run(*arguments)
    assert done.code == 2
    assert done.out == ""
    assert len(done.err.splitlines()) == 1
    assert says in done.err


def test_parse_duration() -> None:
    assert [parse_duration(text) for text in ("90", "90s", "10m", "1.5h")] == [90, 90, 600, 5400]
    for text in ("", "m", "0s", "-1s", "1d"):
        with pytest.raises(OptionError, match=r"duration.*: not a time"):
            parse_duration(text)


def example(names: tuple[str, str], **facts: Any) -> Report:
    device = DeviceFacts(
        **dict.fromkeys(DeviceFacts.__dataclass_fields__)
        | {"machine": "aarch64", "board": "Raspberry Pi 5", "cpu": "Cortex-A76", "python": "3.11", "container": False}
        | {"throttle_reasons": [], "cores_logical": 4, "cores_usable": 4, **facts}
    )
    latency = Latency(0.01234, 1.5, 123.4, 1, 1, 1, 1, 1)
    common: dict[str, Any] = {"kind": "patch", "runtime": "ort", "provider": "CPU", "threads": 4, "input_dtype": "uint16"}
    common |= {"input_shape": [], "load_ms": 3.2, "first_ms": 1.0, "memory_source": "VmHWM", "path": "", "sha256": ""}
    results = [
        Result(
            **common,
            pixels_per_run=batch,
            model=name,
            precision=precision,
            file_bytes=size,
            batch=batch,
            latency_ms=latency,
            pixels_per_s=1.25e6,
            memory_mib=12.34,
            warnings=["shared", *(["own"] if (batch, precision) == (256, "int8") else [])],
        )
        for name, precision, size in zip(names, ("float32", "int8"), (660601, 187832))
        for batch in (1, 256)
    ]
    comparison = Comparison(names[1], "int8", names[0], "float32", 256, 2.314, 2.25, 2.38, 10)
    window = Window(0.0, 30.0, 5e3, 0.2, 61.5, 2400.0, ["soft temperature limit"])
    operators = [OperatorTime(f"Op{index}", "Op", "CPUExecutionProvider", 1, 1.0, 5.0) for index in range(20)]
    sustained = Sustained(names[0], "float32", 256, 0.91, [window])
    return Report(device, results, [comparison], [sustained], [Profile(names[0], "float32", 1, 50, 20.0, 1.0, operators, [])])


def shown(report: Report, width: int) -> list[str]:
    out = io.StringIO()
    Console(file=out, width=width, highlight=False).print(*bench_tables(report, width), sep="\n")
    return [line.rstrip() for line in out.getvalue().splitlines()]


@pytest.mark.parametrize("width", [80, 100, 120])
def test_tables_fit_the_terminal_and_keep_every_figure(width: int) -> None:
    names = ("indian_pines-cnn2d-random-s0.onnx", "indian_pines-cnn2d-random-s0-int8.onnx")
    lines = shown(example(names), width)
    text = "\n".join(lines)
    assert max(map(len, lines)) <= width
    assert "…" not in text
    assert "Raspberry Pi 5 (Cortex-A76) · 4 of 4 cores" in text
    assert "INT8 is 2.31x (2.25..2.38) as fast as float32 at batch 256" in text
    row = [line for line in lines if "645 KiB" in line]
    assert [line.split()[1:] for line in row] == [
        ["645", "KiB", "float32", "1", "0.0123", "1.50", "123", "1.25", "M", "12.3", "3.20"]
    ]
    assert "The last window ran at 91.0 % of the rate of the first." in text
    assert "8 others" in text
    assert all(name in text for name in names)
    assert row[0].split()[0] == ("A" if width < 120 else names[0])  # a letter stands for a name that does not fit


@pytest.mark.parametrize("width", [80, 120])
def test_the_choice_of_a_runtime_is_one_line(width: int) -> None:
    names = ("a.onnx (ort)", "a.onnx (openvino)")
    margin = Comparison(names[1], "int8", names[0], "int8", 256, 1.234, 0.98, 1.38, 10)
    equal = Agreement(names[1], "OpenVINO 2026", names[0], 2048, 0.01, 3, 0)
    choice = Recommendation([equal], {"litert": "litert"}, names[1], "OpenVINO 2026", 256, 20345.0, margin)
    text = " ".join(shown(dataclasses.replace(example(names), choice=choice), width))
    assert "are equal at 2048 pixels of seeded counts, but for 3 where two classes are level within 1 %" in text
    assert "LiteRT, which runs .tflite, is not installed: pip install 'hsiedge[litert]'" in text
    assert "OpenVINO 2026: 20.3 k pixels a second at batch 256; 1.23x (0.98..1.38) as fast as the next" in text
    assert "does not tell it apart" in text
    apart = dataclasses.replace(choice, margin=dataclasses.replace(margin, low=1.1))
    assert "tell it apart" not in " ".join(shown(dataclasses.replace(example(names), choice=apart), width))
    other = Recommendation([dataclasses.replace(equal, differ=20)], {})
    text = " ".join(shown(dataclasses.replace(example(names), choice=other), width))
    assert "differ at 20 of 2048 pixels (0.98 %): not recommended" in text
    assert "No runtime is recommended" in text


def test_warnings_that_all_share_are_said_once() -> None:
    lines = shown(example(("a.onnx", "b.onnx")), 120)
    assert [line.strip() for line in lines[-3:-1]] == ["all: shared", "b.onnx, batch 256: own"]
    assert "ratios" in lines[-1]  # what still holds


@pytest.mark.parametrize("width", [80, 120])
def test_energy_is_shown_where_there_is_one(width: int) -> None:
    report = example(("a.onnx", "b.onnx"))
    assert "mJ" not in "".join(shown(report, width))
    results = [dataclasses.replace(entry, energy_source="RAPL, CPU package") for entry in report.results]
    results[0] = dataclasses.replace(results[0], energy_mj=0.01234)
    (sustained,) = report.sustained
    windows = [dataclasses.replace(sustained.windows[0], energy_mj=1.5)]
    longer = [dataclasses.replace(sustained, windows=windows, interrupted=True)]
    lines = shown(dataclasses.replace(report, results=results, sustained=longer), width)
    assert max(map(len, lines)) <= width
    rows = [line.split() for line in lines if "1.25 M" in line]
    assert [row[-1] for row in rows] == ["0.0123", "-", "-", "-"]
    assert "energy: RAPL, CPU package, idle power included" in lines
    assert any("5.00 k" in line and " 1.50 " in line for line in lines)
    assert any("Interrupted" in line for line in lines)


@pytest.mark.slow
@pytest.mark.parametrize("late", [False, True])
def test_ctrl_c_in_a_sustained_run_loses_nothing(
    late: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """In the first window of the second model, or in a later one."""
    asked: list[str] = []
    ask = Worker.ask

    def interrupted(self: Worker, do: str, **options: Any) -> dict[str, Any]:
        asked.extend([do] * (do == "window" and self._path.name == "int8.onnx"))
        if len(asked) == (6 if late else 1):
            raise KeyboardInterrupt
        return ask(self, do, **options)

    monkeypatch.setattr(Worker, "ask", interrupted)
    target = tmp_path / "out.json"
    models = [DATA / "float.onnx", DATA / "int8.onnx"]
    with pytest.raises(typer.Exit) as left:
        bench_command(context=None, models=models, batch=[4], runs=1, seconds=0.02, duration="1s", json=str(target))
    assert left.value.exit_code == 130
    data = json.loads(target.read_text())
    assert data["interrupted"]
    assert [entry["model"] for entry in data["results"]] == ["float.onnx", "int8.onnx"]
    windows = [len(entry["windows"]) for entry in data["sustained"]]
    assert windows[1:] == ([5] if late else [])
    assert windows[0] > 5
    shown = capsys.readouterr()
    assert "interrupted" in shown.err
    assert "without a pause" in shown.out
    assert ("Interrupted" in shown.out) == late


def test_markup_in_a_file_name_is_text() -> None:
    assert any("[red]a.onnx" in line for line in shown(example(("[red]a.onnx", "b[/].onnx")), 120))


def test_help_imports_no_numpy() -> None:
    code = "import sys; from hsiedge.cli import bench; sys.exit('numpy' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


def test_help_names_every_option(run: Hsiedge) -> None:
    text = run("--help").out
    for option in ("runtime", "provider", "batch", "threads", "runs", "seconds", "duration", "ops", "shape", "seed", "json"):
        assert re.search(rf"--{option}\b", text), option
