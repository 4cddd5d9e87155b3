"""`--runtime all`: who agrees, and who is recommended."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from hsiedge import bench, load
from hsiedge.benchmark.measure import ModelFile, OtherLoad, Sample
from hsiedge.benchmark.process import Worker
from hsiedge.benchmark.recommend import ANSWERED, INTEGER_TIE, TIE, in_every_runtime, recommend
from hsiedge.errors import OptionError
from hsiedge.runtimes import ENGINES
from hsiedge.scenes.synthetic import draw_rows

DATA = Path(__file__).parent / "data"
FLOAT, INT8, SCENE = (DATA / name for name in ("float.onnx", "int8.onnx", "scene.onnx"))
QUICK: dict[str, Any] = {"threads": 1, "runs": 20, "seconds": 0.02}


def sample(runtime: str, labels: list[int], ms: float, margins: list[float] | None = None, **opened: Any) -> Sample:
    description = {"runtime": runtime, "precision": "float32", "batch": 1, "pixels_per_run": 1, **opened}
    answers = {"labels": labels, "margins": margins or [0.5] * len(labels)}
    model = ModelFile(Path("a.onnx"), 1, "", f"a.onnx ({runtime})", runtime)
    rounds = [np.full(4, ms * scale) for scale in (1.0, 1.1, 0.9)]
    return Sample(model, description, rounds, OtherLoad(None, None), [], answers)


def test_what_is_not_for_this_machine_is_left_out() -> None:
    """TFLite Micro's times say nothing of one that has LiteRT."""
    (model,) = in_every_runtime([ModelFile(Path("a.tflite"), 1, "", "a.tflite")])
    assert model.runtime == "litert"
    assert "tflm" not in recommend([[sample("ort", [1], 1.0)]]).missing


class TestChoice:
    def test_the_fastest_of_those_that_agree(self) -> None:
        own, fast, wrong = sample("ort", [1, 2, 3], 2.0), sample("fast", [1, 2, 3], 1.0), sample("wrong", [1, 2, 2], 0.1)
        choice = recommend([[own, fast, wrong]])
        assert (choice.model, choice.runtime, choice.batch) == ("a.onnx (fast)", "fast", 1)
        assert choice.pixels_per_s == pytest.approx(1000)
        assert choice.margin is not None
        assert (choice.margin.baseline, choice.margin.ratio) == ("a.onnx (ort)", pytest.approx(2.0))
        assert [(entry.runtime, entry.ties, entry.differ) for entry in choice.agreements] == [("fast", 0, 0), ("wrong", 0, 1)]

    @pytest.mark.parametrize(("precision", "tie"), [("float32", TIE), ("int8", INTEGER_TIE)])
    def test_an_undecided_pixel_may_differ(self, precision: str, tie: float) -> None:
        def against(margin: float) -> tuple[int, int, str | None]:
            own = sample("ort", [1, 2], 2.0, [0.5, margin], precision=precision)
            choice = recommend([[own, sample("fast", [1, 3], 1.0, precision=precision)]])
            (entry,) = choice.agreements
            return entry.ties, entry.differ, choice.runtime

        assert against(tie) == (1, 0, "fast")
        assert against(tie * 1.01) == (0, 1, "ort")

    def test_labels_of_all_batches_count(self) -> None:
        at_256: dict[str, Any] = {"batch": 256, "pixels_per_run": 256}
        large = [sample("ort", [1, 2], 1.0, **at_256), sample("fast", [1, 1], 1.0, **at_256)]
        choice = recommend([[sample("ort", [1], 2.0), sample("fast", [1], 1.0)], large])
        (entry,) = choice.agreements
        assert (entry.pixels, entry.differ) == (3, 1)
        assert (choice.runtime, choice.batch, choice.margin) == ("ort", 256, None)

    def test_without_labels_nothing_is_recommended(self) -> None:
        choice = recommend([[sample("ort", [], 1.0), sample("fast", [], 1.0)]])
        assert (choice.model, choice.agreements) == (None, [])


@pytest.mark.parametrize(("path", "batch"), [(FLOAT, 64), (INT8, 300), (SCENE, 1)])
def test_what_a_process_answers_is_seeded_and_of_the_model(path: Path, batch: int) -> None:
    replies = []
    for _ in range(2):
        with Worker(path) as worker:
            opened = worker.ask("open", path=str(path), threads=1, batch=batch, shapes=[], seed=0, warm_s=0.0)
            replies.append(worker.ask("answers", pixels=ANSWERED, seed=7))
            assert replies[-1] != worker.ask("answers", pixels=ANSWERED, seed=8)
    assert replies[0] == replies[1]
    labels = replies[0]["labels"]
    assert ANSWERED <= len(labels) == len(replies[0]["margins"])
    assert len(labels) % opened["pixels_per_run"] == 0
    model, rng = load(path, threads=1), np.random.default_rng(7)
    if path == SCENE:  # whose rows are drawn without what surrounds them
        high, wide = (size - 2 for size in opened["input_shape"][2:])
        rows = np.pad(draw_rows(model.known.scene, (high, wide), rng), ((1, 1), (1, 1), (0, 0)), mode="reflect")
    else:
        rows = draw_rows(model.known.scene, (3, batch + 2), rng)
    first = model.label_ids(model.strip(model.prepare(rows)), axis=0).ravel()
    np.testing.assert_array_equal(labels[: len(first)], first)
    assert len(set(labels)) > 1


def test_a_stranger_has_no_labels() -> None:
    with Worker(DATA / "stranger.onnx") as worker:
        worker.ask("open", path=str(DATA / "stranger.onnx"), threads=1, batch=1, shapes=["a=1,3,4"], seed=0, warm_s=0.0)
        assert worker.ask("answers", pixels=9, seed=0) == {"labels": [], "margins": []}


@pytest.mark.slow
def test_every_runtime_that_takes_the_file() -> None:
    report = bench([FLOAT, INT8], runtime="all", batches=[16], **QUICK)
    here = [name for name in ("ort", "openvino") if ENGINES[name].installed]
    assert [entry.model for entry in report.results] == [f"{path.name} ({name})" for path in (FLOAT, INT8) for name in here]
    assert {entry.runtime.split()[0] for entry in report.results} == {ENGINES[name].title for name in here}
    choice = report.choice
    assert choice is not None
    missing = {name: engine.extra for name, engine in ENGINES.items() if engine.is_for_here and not engine.installed}
    assert choice.missing == missing
    assert choice.model in {entry.model for entry in report.results}
    (best,) = [entry for entry in report.results if entry.model == choice.model]
    assert choice.pixels_per_s == pytest.approx(best.pixels_per_s)
    assert json.loads(report.to_json())["choice"]["model"] == choice.model
    assert [(entry.pixels, entry.differ) for entry in choice.agreements] == [(ANSWERED, 0)] * 2 * (len(here) - 1)
    assert choice.margin is not None
    assert choice.margin.ratio >= 1


def test_one_runtime_is_no_choice() -> None:
    report = bench([FLOAT], runtime="ort", batches=[1], **QUICK)
    assert report.choice is None
    assert [entry.model for entry in report.results] == ["float.onnx"]


@pytest.mark.parametrize(
    ("options", "says"),
    [
        ({"runtime": "tvm"}, "runtime=tvm: choose ort, native, litert, tflm, openvino, torch"),
        ({"runtime": "litert"}, r"runtime=litert: runs \.tflite files, not .*float\.onnx"),
        ({"runtime": "all", "provider": "cpu"}, "provider=cpu: cannot be combined with the measurement of all runtimes"),
        ({"provider": "vulkan"}, "provider=vulkan: choose"),
        ({"runtime": "openvino", "ops": True}, "ops: only onnxruntime profiles"),
    ],
)
def test_what_cannot_be(options: dict[str, Any], says: str) -> None:
    with pytest.raises(OptionError, match=says):
        bench([FLOAT], **options)


@pytest.mark.slow
def test_operators_are_profiled_where_onnxruntime_runs() -> None:
    report = bench([FLOAT], runtime="all", ops=True, batches=[8], **QUICK)
    assert [entry.model for entry in report.ops] == ["float.onnx (ort)"]
