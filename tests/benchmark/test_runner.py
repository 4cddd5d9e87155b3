"""Real onnxruntime sessions in real processes. What is asserted are orders, counts and bytes; never a time."""

from __future__ import annotations

import hashlib
import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import psutil
import pytest

import hsiedge.device.facts
from hsiedge import bench
from hsiedge.benchmark.measure import wanted
from hsiedge.benchmark.operators import last_runs
from hsiedge.benchmark.process import Worker
from hsiedge.benchmark.results import Report
from hsiedge.errors import CardError, HsiedgeError, ModelError, OptionError

DATA = Path(__file__).parent / "data"
FLOAT, INT8 = DATA / "float.onnx", DATA / "int8.onnx"
QUICK: dict[str, Any] = {"threads": 1, "runs": 20, "seconds": 0.02}
OPEN = {"threads": 1, "batch": 1, "shapes": [], "seed": 0, "warm_s": 0.0}
linux = pytest.mark.skipif(not Path("/proc/self/clear_refs").exists(), reason="memory is counted from /proc")

RESULT_KEYS = [
    "model",
    "kind",
    "file_bytes",
    "runtime",
    "provider",
    "precision",
    "threads",
    "batch",
    "input_shape",
    "input_dtype",
]
RESULT_KEYS += ["pixels_per_run", "load_ms", "latency_ms", "pixels_per_s", "memory_mib", "warnings"]


@pytest.fixture(scope="module")
def report() -> Report:
    return bench([FLOAT, INT8], batches=[1, 16], **QUICK)


def test_the_api_has_the_function_and_no_package() -> None:
    assert hsiedge.bench is bench
    with pytest.raises(OptionError, match="no model to measure"):
        hsiedge.bench([])


def test_a_result_for_each_model_and_batch(report: Report) -> None:
    assert [(entry.model, entry.batch) for entry in report.results] == [
        ("float.onnx", 1),
        ("int8.onnx", 1),
        ("float.onnx", 16),
        ("int8.onnx", 16),
    ]
    for entry in report.results:
        assert entry.kind == "patch"
        assert entry.precision == ("int8" if entry.model == "int8.onnx" else "float32")
        assert entry.input_shape == [entry.batch, 5, 3, 3]
        assert (entry.input_dtype, entry.pixels_per_run, entry.threads) == ("uint16", entry.batch, 1)
        assert entry.file_bytes == (DATA / entry.model).stat().st_size
        assert entry.sha256 == hashlib.sha256((DATA / entry.model).read_bytes()).hexdigest()
        assert entry.runtime.startswith("onnxruntime ")
        assert entry.latency_ms.runs >= 20
        spread = entry.latency_ms
        assert 0 < spread.min <= spread.p50 <= spread.p90 <= spread.p99 <= spread.max
        assert entry.pixels_per_s == pytest.approx(entry.batch / spread.p50 * 1e3)
        assert entry.load_ms > 0
        assert entry.first_ms > 0


def test_json_is_the_documented_one(report: Report) -> None:
    data = json.loads(report.to_json())
    assert data == report.to_dict()
    assert data["schema"] == 1
    assert set(RESULT_KEYS) <= set(data["results"][0])
    assert set(data["results"][0]["latency_ms"]) == {"p50", "p90", "p99", "mean", "std", "min", "max", "runs"}
    assert data["device"]["runtime"] == data["results"][0]["runtime"]
    assert data["device"]["machine"]


def test_models_of_a_batch_are_compared_with_the_float_one(report: Report) -> None:
    pairs = [(entry.model, entry.baseline, entry.batch, entry.rounds) for entry in report.comparisons]
    assert pairs == [("int8.onnx", "float.onnx", 1, 10), ("int8.onnx", "float.onnx", 16, 10)]
    assert all(0 < entry.low <= entry.ratio <= entry.high for entry in report.comparisons)


@pytest.mark.slow
def test_models_take_turns_in_rounds(monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[tuple[Worker, str]] = []
    ask = Worker.ask

    def listen(self: Worker, do: str, **options: Any) -> dict[str, Any]:
        asked.append((self, do))
        assert all(psutil.pid_exists(worker.pid) for worker, _ in asked)  # all alive until the last round
        return ask(self, do, **options)

    monkeypatch.setattr(Worker, "ask", listen)
    bench([FLOAT, INT8, FLOAT], batches=[2], **QUICK)
    turns = [worker.pid for worker, do in asked if do == "measure"]
    assert len(set(turns)) == 3
    rounds = [tuple(turns[start : start + 3]) for start in range(0, len(turns), 3)]
    assert len(rounds) == 10
    assert all(len(set(entry)) == 3 for entry in rounds)
    assert len(set(rounds)) > 1  # in no fixed order


@pytest.mark.slow
def test_at_least_so_many_runs_for_at_least_so_long() -> None:
    (entry,) = bench([FLOAT], batches=[1], threads=1, runs=305, seconds=0.001).results
    assert entry.latency_ms.runs >= 305
    (entry,) = bench([FLOAT], batches=[1], threads=1, runs=1, seconds=0.5).results
    assert entry.latency_ms.mean * entry.latency_ms.runs >= 0.8 * 500


@pytest.mark.slow
@linux
def test_memory_is_the_peak_beyond_the_imported_runtime() -> None:
    hungry, small = bench([DATA / "hungry.onnx", FLOAT], batches=[1], runs=1, seconds=0.01, threads=1).results
    assert hungry.memory_source == "VmHWM"
    # onnxruntime's arena asks for the 64 MiB a second time in the second run: what counts is what is resident.
    assert 60 < hungry.memory_mib - small.memory_mib < 140
    assert 0 < small.memory_mib < 35  # interpreter, numpy and onnxruntime alone are 45 and more


@pytest.mark.slow
@linux
def test_memory_counts_one_input_and_not_the_whole_pool() -> None:
    (entry,) = bench([DATA / "stranger.onnx"], batches=[1], shapes=["a=1,3,2500000"], runs=1, seconds=0.01, threads=1).results
    assert entry.input_shape == [1, 3, 2500000]
    assert 25 < entry.memory_mib < 50  # 28.6 MiB each, and 2 of them in the pool


def test_stranger_has_neither_card_nor_precision() -> None:
    (entry,) = bench([DATA / "stranger.onnx"], batches=[3], shapes=["a=1,3,4"], **QUICK).results
    assert (entry.kind, entry.precision, entry.input_shape, entry.input_dtype) == ("tensor", "unknown", [3, 3, 4], "float32")


@pytest.mark.slow
def test_a_graph_that_fixes_its_batch_is_measured_once() -> None:
    report = bench([DATA / "float_batch1.onnx", FLOAT], batches=[4, 1], **QUICK)
    assert [(entry.model, entry.batch) for entry in report.results] == [
        ("float.onnx", 4),
        ("float_batch1.onnx", 1),
        ("float.onnx", 1),
    ]
    assert [entry.batch for entry in report.comparisons] == [1]
    assert [wanted({"fixed_batch": 1}, batch, [4, 8]) for batch in (4, 8)] == [True, False]


def test_profile_by_operator(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TMPDIR", str(tmp_path))
    monkeypatch.setattr("tempfile.tempdir", None)
    (profile,) = bench([FLOAT], batches=[8], ops=True, **QUICK).ops
    assert {"Cast", "Conv"} <= {entry.name for entry in profile.by_operator}
    assert sum(entry.share for entry in profile.by_operator) == pytest.approx(100)
    assert sum(entry.ms for entry in profile.by_node) == pytest.approx(sum(entry.ms for entry in profile.by_operator))
    assert 0 < sum(entry.ms for entry in profile.by_operator) <= profile.run_ms
    assert {entry.provider for entry in profile.by_operator} == {"CPUExecutionProvider"}
    assert list(tmp_path.iterdir()) == []


def test_profile_leaves_the_warm_up_out() -> None:
    def event(name: str, start: int, length: int, cat: str = "Node") -> dict[str, Any]:
        return {"cat": cat, "name": name, "ts": start, "dur": length, "args": {"op_name": "Conv"}}

    events = [
        event("model_loading_uri", 0, 5, "Session"),
        *(event("a_kernel_time", start + 1, length) for start, length in [(10, 900), (2000, 30), (3000, 50)]),
        event("a_fence_before", 3000, 7),
        *(event("model_run", start, length, "Session") for start, length in [(10, 1000), (2000, 40), (3000, 60)]),
    ]
    mean, nodes = last_runs(events, 2)
    assert mean == pytest.approx(0.05)
    assert [entry["dur"] for entry in nodes] == [30, 50]


@pytest.mark.slow
def test_sustained(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("hsiedge.device.facts.temperature_c", iter(range(40, 200)).__next__)
    monkeypatch.setattr("hsiedge.benchmark.runner.device_facts", lambda *a, **b: hsiedge.device.facts.DeviceFacts(**FACTS))
    shares: list[float] = []
    (sustained,) = bench([FLOAT], batches=[1, 4], duration=1.0, progress=shares.append, **QUICK).sustained
    assert (sustained.model, sustained.batch) == ("float.onnx", 4)
    assert 2 <= len(sustained.windows) <= 20
    assert sustained.windows[-1].start_s < 1.0 <= sum(entry.seconds for entry in sustained.windows) + 0.01
    assert [entry.temperature_c for entry in sustained.windows] == list(range(40, 40 + len(sustained.windows)))
    assert sustained.ratio == pytest.approx(sustained.windows[-1].pixels_per_s / sustained.windows[0].pixels_per_s)
    assert shares == sorted(shares)
    assert (shares[0], shares[-1]) == (0, 1)
    assert len(shares) > len(sustained.windows)


FACTS: dict[str, Any] = dict.fromkeys(hsiedge.device.facts.DeviceFacts.__dataclass_fields__) | {
    "machine": "x86_64",
    "throttle_reasons": [],
}


@pytest.mark.parametrize(
    ("options", "says"),
    [
        ({"batches": [0]}, "batches=0"),
        ({"batches": []}, "batches"),
        ({"threads": -1}, "threads=-1"),
        ({"runs": 0}, "runs=0"),
        ({"seconds": 0.0}, "seconds=0"),
        ({"seconds": float("nan")}, "seconds=nan"),
        ({"duration": -1.0}, "duration=-1"),
        ({"shapes": ["1,b"]}, "shapes=1,b"),
        ({"net": "nets.py:Mine"}, "net=nets.py:Mine: only checkpoints need a net, and none of the models is one"),
    ],
)
def test_options_out_of_range(options: dict[str, Any], says: str) -> None:
    with pytest.raises(OptionError, match=says):
        bench([FLOAT], **options)


def write_garbage(path: Path) -> Path:
    path.write_bytes(b"\x08\x07garbage")
    return path


def test_files_that_are_no_models(tmp_path: Path) -> None:
    with pytest.raises(ModelError, match=r"none.onnx: no such file"):
        bench([tmp_path / "none.onnx"])
    with pytest.raises(ModelError, match="not an ONNX file"):
        bench([write_garbage(tmp_path / "bad.onnx")])
    broken = FLOAT.read_bytes().replace(b'"kind":"patch"', b'"kind":"potch"')
    (tmp_path / "broken.onnx").write_bytes(broken)
    with pytest.raises(CardError, match=r"broken.onnx: its Card cannot be read"):
        bench([tmp_path / "broken.onnx"])


@pytest.mark.parametrize(
    ("name", "options", "error", "says"),
    [
        (
            "five_logits.onnx",
            {},
            ModelError,
            r"five_logits.onnx: its graph gives \(64, 5\), by its Card \(64, 4\) was expected",
        ),
        ("other_bands.onnx", {}, ModelError, "its Card says Nx5x5x5"),
        ("stranger.onnx", {}, OptionError, "needs a size"),
    ],
)
def test_models_that_do_not_fit(name: str, options: dict[str, Any], error: type[HsiedgeError], says: str) -> None:
    with pytest.raises(error, match=says):
        bench([DATA / name], batches=[64], **options)


@linux
def test_all_that_the_workers_do_is_known_not_to_be_others_load() -> None:
    """Also what is between their runs: warming up, and writing a thousand times as JSON."""
    with Worker(FLOAT) as worker:
        worker.ask("open", path=str(FLOAT), **OPEN)
        worker.ask("measure", runs=3000, seconds=0.2)
        spent, times = worker.ask("spent")["cpu_s"], psutil.Process(worker.pid).cpu_times()
    assert spent == pytest.approx(times.user + times.system, abs=0.05)


def test_a_worker_that_is_killed_is_one_clear_line() -> None:
    with Worker(FLOAT) as worker:
        worker.ask("open", path=str(FLOAT), **OPEN)
        os.kill(worker.pid, signal.SIGKILL)
        with pytest.raises(ModelError, match=r"float.onnx: the process that measured it was ended by SIGKILL; out of memory"):
            worker.ask("measure", runs=1, seconds=0.0)
        with pytest.raises(ModelError, match="SIGKILL"):
            worker.ask("measure", runs=1, seconds=0.0)


def test_a_worker_that_meets_an_illegal_instruction() -> None:
    with Worker(FLOAT) as worker:
        os.kill(worker.pid, signal.SIGILL)
        with pytest.raises(ModelError, match=r"SIGILL, an illegal instruction: a package was built for processors"):
            worker.ask("open", path=str(FLOAT), **OPEN)


def test_a_worker_that_fails_says_its_last_line() -> None:
    with Worker(FLOAT) as worker, pytest.raises(ModelError, match=r"ended with code 1: KeyError: 'path'"):
        worker.ask("open")


def test_what_a_library_prints_is_no_reply(tmp_path: Path) -> None:
    (tmp_path / "sitecustomize.py").write_text("import os\nos.write(1, b'')\n")
    code = "import os; from hsiedge.benchmark import worker; serve = worker.serve\n"
    code += "def loud(*a):\n    os.write(1, b'noise')\n    print('noise')\n    serve(*a)\n"
    code += "worker.serve = loud; worker.main()"
    command = json.dumps({"do": "open", "path": str(FLOAT), **OPEN}) + "\n"
    done = subprocess.run([sys.executable, "-c", code], input=command, capture_output=True, text=True, check=True)
    assert json.loads(done.stdout)["kind"] == "patch"
    assert "noise" in done.stderr


def test_a_users_own_modules_are_not_imported(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    if sys.version_info < (3, 11):
        pytest.skip("Python 3.10 has no PYTHONSAFEPATH")
    (tmp_path / "random.py").write_text("raise SystemExit('the wrong one')")
    monkeypatch.chdir(tmp_path)
    with Worker(FLOAT) as worker:
        assert worker.ask("open", path=str(FLOAT), **OPEN)["kind"] == "patch"


@pytest.mark.slow
@pytest.mark.parametrize("ending", [signal.SIGINT, signal.SIGKILL])
def test_when_the_parent_is_stopped_its_workers_go(ending: signal.Signals, tmp_path: Path) -> None:
    call = f"bench([{str(FLOAT)!r}] * 2, batches=[1], seconds=60, progress=lambda share: print(share, flush=True))"
    code = f"from hsiedge import bench\n{call}"
    environment = {**os.environ, "TMPDIR": str(tmp_path)}
    with subprocess.Popen(
        [sys.executable, "-c", code], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=environment
    ) as parent:
        assert parent.stdout is not None
        for line in parent.stdout:
            if float(line) > 0.3:  # both are open, and the first round is done
                break
        workers = psutil.Process(parent.pid).children()
        assert len(workers) == 2
        assert os.getpgid(parent.pid) not in {
            os.getpgid(worker.pid) for worker in workers
        }  # a terminal's Ctrl-C is the parent's
        parent.send_signal(ending)
        _, errors = parent.communicate(timeout=20)
    assert parent.returncode == -ending
    assert ("KeyboardInterrupt" in errors) == (ending == signal.SIGINT)
    _, alive = psutil.wait_procs(workers, timeout=20)
    assert not alive
    assert list(tmp_path.iterdir()) == []


def test_nothing_heavy_is_imported() -> None:
    code = "import sys, hsiedge.benchmark.worker; print(*sys.modules)"
    modules = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout.split()
    assert not {"torch", "onnx", "tensorflow", "scipy", "typer", "rich"} & set(modules)


def test_the_clock_is_read_between_runs_and_not_once(monkeypatch: pytest.MonkeyPatch) -> None:
    from hsiedge.benchmark import worker

    calls: list[float] = []
    times = worker._repeat(lambda: (calls.append(0), time.sleep(0.002)), 5, 0.0)
    assert len(times) == len(calls) == 5
    assert all(value >= 2 for value in times)
