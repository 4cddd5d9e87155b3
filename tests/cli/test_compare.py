"""`hsiedge compare`: real results of this machine, and the same told of another device."""

from __future__ import annotations

import copy
import json
import re
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from hsiedge.benchmark.runner import bench
from tests.cli.conftest import Hsiedge

DATA = Path(__file__).parents[1] / "benchmark" / "data"
Result = dict[str, Any]


@pytest.fixture(scope="module")
def measured() -> Result:
    """Two models at two batches, here."""
    models = [DATA / "float.onnx", DATA / "int8.onnx"]
    return bench(models, batches=(1, 8), runs=2, seconds=0.05, threads=1).to_dict()


@pytest.fixture
def here(tmp_path: Path, measured: Result) -> Callable[[str, Callable[[Result], None]], None]:
    """Writes the result, changed, to a file of the test's folder."""

    def write(name: str, change: Callable[[Result], None] = lambda data: None) -> None:
        data = copy.deepcopy(measured)
        change(data)
        (tmp_path / name).write_text(json.dumps(data))

    return write


def other(data: Result) -> None:
    """Another board: half as fast, four threads, held back, with a meter; it has measured one model more, at other paths."""
    data["device"].update(
        board="Board 2", cpu="Cortex-A76", machine="aarch64", instruction_sets=["asimd", "asimddp"], governor="ondemand"
    )
    data["device"].update(throttled=True, throttle_reasons=["under-voltage"], runtime="onnxruntime 0.9")
    for entry in data["results"]:
        entry["pixels_per_s"] /= 2
        entry.update(threads=4, energy_mj=0.25, path=f"/elsewhere/{entry['model']}", runtime="onnxruntime 0.9")
        entry["warnings"] = ["the CPU was held back: under-voltage"]
    data["results"].append({**data["results"][0], "sha256": "f" * 64, "path": "/elsewhere/float.onnx"})


def test_json(hsiedge: Hsiedge, here: Any, measured: Result) -> None:
    here("a.json")
    here("b.json", other)
    run = hsiedge("compare", "a.json", "b.json", "--json", "-")
    assert run.code == 0
    data = json.loads(run.out)
    assert [(entry["run"], entry["file"]) for entry in data["runs"]] == [("A", "a.json"), ("B", "b.json")]
    assert data["runs"][0]["device"] == measured["device"]
    assert (data["schema"], data["paired"]) == (1, False)
    sha = measured["results"][0]["sha256"]
    names = [f"float.onnx ({sha[:8]})"] * 4 + ["int8.onnx"] * 4 + ["float.onnx (ffffffff)"]
    assert [entry["model"] for entry in data["results"]] == names
    assert [entry["batch"] for entry in data["results"]] == [1, 1, 8, 8, 1, 1, 8, 8, 1]
    assert [entry["run"] for entry in data["results"]] == list("ABABABABB")
    assert [entry["ratio"] for entry in data["results"]] == [1, 0.5, 1, 0.5, 1, 0.5, 1, 0.5, 1]
    first = next(entry for entry in measured["results"] if (entry["model"], entry["batch"]) == ("float.onnx", 1))
    assert data["results"][0]["p50_ms"] == first["latency_ms"]["p50"]
    assert data["results"][1]["energy_mj"] == 0.25
    assert data["results"][1]["warnings"] == ["the CPU was held back: under-voltage"]
    differences = {entry["what"]: entry["values"] for entry in data["differences"]}
    assert differences["threads"] == {"A": "1", "B": "4"}
    assert differences["governor"]["B"] == "ondemand"
    assert differences["held back"]["B"] == "under-voltage"
    assert differences["instruction sets"]["B"] == "asimd asimddp"
    assert differences["runtimes"]["B"] == "onnxruntime 0.9"
    assert "Python" not in differences


def test_tables(hsiedge: Hsiedge, here: Any) -> None:
    here("a.json", lambda data: [entry.update(warnings=[]) for entry in data["results"]])
    here("b.json", other)
    out = hsiedge("compare", "a.json", "b.json").out
    assert max(map(len, out.splitlines())) <= 100
    assert "…" not in out
    assert re.search(r"B  b.json\n   Board 2 \(Cortex-A76\)", out)
    assert re.search(r"threads +1 +4", out)
    assert re.search(r"B +onnxruntime 0.9 +int8 +4 .* 0\.250 +0\.50", out)
    assert "a ratio is of two medians, has no interval" in out
    assert out.count("the CPU was held back: under-voltage") == 1
    assert "B: the CPU was held back" in out


def test_the_same_device_twice(hsiedge: Hsiedge, here: Any) -> None:
    here("a.json")
    out = hsiedge("compare", "a.json", "a.json").out
    assert "No fact that hsiedge knows of tells the devices apart." in out


def change(*path: Any, to: Any) -> Callable[[Result], None]:
    def apply(data: Result) -> None:
        for key in path[:-1]:
            data = data[key]
        data[path[-1]] = to

    return apply


@pytest.mark.parametrize(
    ("edit", "says"),
    [
        (change("schema", to=2), "a result of schema 2; this hsiedge reads schema 1"),
        (change("results", to=[]), "a bench without a result"),
        (change("results", to={}), "a list was expected"),
        (change("results", 0, "latency_ms", "p50", to=0), "a latency that is no time"),
        (change("results", 0, "pixels_per_s", to="fast"), "'fast' is not float"),
        (change("results", 0, "latency_ms", to=None), "Latency is not an object"),
        (change("results", 0, "threads", to=True), "True is not int"),
        (change("device", "python", to=3), "3 is not str"),
        (lambda data: data["results"][0].pop("sha256"), "sha256"),
        (lambda data: data.pop("device"), "JSON, but no result of hsiedge bench"),
    ],
)
def test_a_result_that_is_none(hsiedge: Hsiedge, here: Any, edit: Callable[[Result], None], says: str) -> None:
    here("a.json")
    here("b.json", edit)
    run = hsiedge("compare", "a.json", "b.json", "--json", "c.json")
    assert run.error.startswith("hsiedge: error: b.json: ")
    assert says in run.error
    assert run.out == ""
    assert not Path("c.json").exists()


@pytest.mark.parametrize("text", ["", "no json", "[" * 100_000, "[]", '{"schema": 1, "oa": 98.7}', "\x00\xff"])
def test_other_files(hsiedge: Hsiedge, here: Any, text: str) -> None:
    here("a.json")
    Path("b.json").write_text(text)
    assert hsiedge("compare", "a.json", "b.json").error.startswith("hsiedge: error: b.json: ")


def test_missing_and_single(hsiedge: Hsiedge, here: Any) -> None:
    here("a.json")
    assert "none.json: no such file" in hsiedge("compare", "a.json", "none.json").error
    assert "two results or more" in hsiedge("compare", "a.json").error
    shutil.copy(DATA / "float.onnx", "m.json")
    assert "m.json: not JSON" in hsiedge("compare", "a.json", "m.json").error


def test_nothing_in_a_file_moves_the_cursor(hsiedge: Hsiedge, here: Any) -> None:
    here("a.json", change("device", "cpu", to="\x1b[2J\x07evil\ncpu"))
    here("b.json", change("results", 0, "warnings", to=["\x9b31m"]))
    run = hsiedge("compare", "a.json", "b.json")
    assert run.code == 0
    assert "\ufffd[2J\ufffdevil\ufffdcpu" in run.out
    assert not set(run.out) & {"\x1b", "\x07", "\x9b"}


def test_later_keys_are_passed_over(hsiedge: Hsiedge, here: Any) -> None:
    here("a.json", change("device", "later", to={"x": 1}))
    assert hsiedge("compare", "a.json", "a.json").code == 0
