from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from hsiedge.benchmark.measure import ModelFile, OtherLoad, Plan, Sample
from hsiedge.benchmark.paired import paired_comparisons
from hsiedge.benchmark.warnings import OTHER_CORES, MeasurementWarning, advice, still_holds, warnings_of, withdrawn
from hsiedge.cli.flags import flag
from hsiedge.device.facts import DeviceFacts

FACTS: dict[str, Any] = dict.fromkeys(DeviceFacts.__dataclass_fields__) | {
    "machine": "x86_64",
    "instruction_sets": ["avx2", "avx512_vnni"],
    "cores_usable": 4,
    "governor": "performance",
    "throttle_reasons": [],
}
CALM = [np.full(20, 10.0) for _ in range(10)]


def sample(rounds: list[NDArray[np.float64]], name: str = "a.onnx", load: OtherLoad | None = None, **opened: Any) -> Sample:
    described = {"precision": "float32", "batch": 1, "pixels_per_run": 1, "clock_ms": 1e-4, "overflows": False, **opened}
    return Sample(ModelFile(Path(name), 1, "", name), described, rounds, load or OtherLoad(0.0, 0.0))


def lines_of(
    rounds: list[NDArray[np.float64]], threads: int = 4, facts: dict[str, Any] | None = None, **more: Any
) -> list[str]:
    return warnings_of(sample(rounds, **more), DeviceFacts(**(FACTS | (facts or {}))), threads)


def test_a_calm_run_is_trusted() -> None:
    assert lines_of(CALM) == []
    assert lines_of(CALM, facts={"governor": None, "cores_usable": None, "instruction_sets": None}, precision="int8") == []


@pytest.mark.parametrize(("spread", "warned"), [(0.09, False), (0.12, True)])
def test_spread_of_the_rounds(spread: float, warned: bool) -> None:
    signs = [1, -1, -1, 1, 1, -1, -1, 1, 1, -1]
    rounds = [np.full(20, 10 * (1 + sign * spread * 0.95)) for sign in signs]
    assert any("unstable" in line for line in lines_of(rounds)) is warned


def test_one_round_far_from_the_rest() -> None:
    lines = lines_of([*CALM[:5], np.full(20, 18.0), *CALM[:4]])
    assert "one round lies 67 % above the mean" in lines


def test_a_long_tail() -> None:
    rounds = [np.concatenate([np.full(95, 1.0), np.full(5, 2.5)]) for _ in range(10)]
    assert lines_of(rounds) == ["1 run in 100 takes 2.5 times the median or longer"]


@pytest.mark.parametrize(("last", "says"), [(12.0, "20% longer"), (8.0, "20% less"), (10.5, None)])
def test_drift(last: float, says: str | None) -> None:
    lines = lines_of([*CALM[:7], *(np.full(20, last) for _ in range(3))])
    assert [line for line in lines if "drift" in line] == (
        [f"drift: the last third took {says} than the first"] if says else []
    )


def test_too_short() -> None:
    assert "too short to time: reading the clock is 2% of a run" in lines_of([np.full(20000, 0.01)] * 10, clock_ms=2e-4)
    (brief,) = lines_of([np.full(2, 10.0)] * 10)
    assert (advice(brief), advice(brief, flag)) == (f"{brief}; raise seconds", "timed for 0.2 s in all; raise --seconds")
    assert advice("drift: the last third took 20% longer than the first", flag).endswith("than the first")


def test_lines_of_the_first_version_keep_their_kind() -> None:
    line = "too short to time: reading the clock is 2% of a run; raise --batch"
    assert MeasurementWarning.of(line) is MeasurementWarning.CLOCK
    assert advice(line, flag) == line


@pytest.mark.parametrize(
    ("facts", "more", "says"),
    [
        ({"throttle_reasons": ["under-voltage"]}, {}, "held back: under-voltage"),
        ({"cores_usable": 2}, {}, "4 threads on 2 usable cores"),
        ({"governor": "powersave"}, {}, "governor is powersave"),
        ({"instruction_sets": ["avx2"]}, {"precision": "int8", "overflows": True}, "8-bit sums may overflow"),
        ({"instruction_sets": []}, {"precision": "int8"}, "without VNNI"),
        ({"instruction_sets": ["asimd"], "machine": "aarch64"}, {"precision": "int8"}, "without the dot product"),
        ({}, {"load": OtherLoad(0.8, 0.0)}, "other programs kept 0.8 cores busy"),
        ({}, {"load": OtherLoad(None, 0.1)}, "the host took 0.10 cores away"),
    ],
)
def test_the_device(facts: dict[str, Any], more: dict[str, Any], says: str) -> None:
    (line,) = lines_of(CALM, facts=facts, **more)
    assert says in line


def test_where_the_kernel_tells_what_threads_waited_that_decides() -> None:
    busy = OtherLoad(0.8, 0.0)
    waiting, lucky = (replace(sample(CALM, load=busy), waited=share) for share in (0.034, 0.001))
    facts = DeviceFacts(**FACTS)
    assert warnings_of(waiting, facts, 4) == ["its threads waited for a core 3% of the time"]
    assert warnings_of(lucky, facts, 4) == []
    assert lines_of(CALM, threads=3, load=busy) == []  # a core is left for the others
    assert lines_of(CALM, threads=3, load=OtherLoad(1.8, 0.0)) == ["other programs kept 1.8 cores busy meanwhile"]


def test_what_warnings_take_back_and_what_holds() -> None:
    lines = {"nothing": lines_of(CALM, facts={"governor": "powersave"}), "times": lines_of(CALM, load=OtherLoad(0.8, 0.0))}
    lines["tails"] = lines_of([np.concatenate([np.full(95, 1.0), np.full(5, 2.5)]) for _ in range(10)])
    lines["all"] = lines_of([np.full(2, 10.0)] * 10)
    assert {kind: len(of) for kind, of in lines.items()} == dict.fromkeys(lines, 1)
    assert withdrawn(lines["nothing"]) == set()
    assert withdrawn(lines["times"]) == {"times", "tails"}
    assert withdrawn(lines["tails"]) == {"tails"}
    assert withdrawn(lines["all"]) == withdrawn(["the moon is full"]) == {"times", "ratios", "tails"}
    assert still_holds(lines["nothing"]) == "What holds: all figures."
    assert still_holds(lines["times"]).endswith("Times do not.")
    assert still_holds([*lines["times"], *lines["all"]]).endswith("neither times nor their ratios.")
    assert still_holds(lines["tails"]).endswith("not the longest runs.")


def test_float_needs_no_dot_product() -> None:
    assert lines_of(CALM, facts={"instruction_sets": ["avx2"]}) == []
    assert lines_of(CALM, facts={"instruction_sets": ["avx2", "amx_int8"]}, precision="int8") == []
    assert lines_of(CALM, facts={"instruction_sets": ["avx2"]}, precision="int8") == []  # exact mode: bench says so, once


def test_comparison_is_by_round_with_the_float_model() -> None:
    noise = np.linspace(1, 3, 10)
    slow = sample([np.full(5, 10 * value) for value in noise], "f.onnx")
    fast = sample([np.full(5, 4 * value) for value in noise], "q.onnx", precision="int8")
    (entry,) = paired_comparisons([fast, slow])
    assert (entry.model, entry.baseline) == ("q.onnx", "f.onnx")
    assert (entry.ratio, entry.low, entry.high) == pytest.approx((2.5, 2.5, 2.5))


def test_comparison_is_by_pixel_and_within_a_batch() -> None:
    whole = sample(CALM, "scene.onnx", pixels_per_run=100)
    single = sample(CALM, "patch.onnx")
    assert paired_comparisons([single, whole])[0].ratio == pytest.approx(100)
    assert paired_comparisons([single, sample(CALM, batch=2)]) == []
    assert paired_comparisons([]) == []


def test_plan_has_more_rounds_where_they_would_be_long() -> None:
    assert Plan(20, 2.0, 1, (), 0).rounds == 10
    assert Plan(20, 60.0, 1, (), 0).rounds == 120


def test_a_line_tells_its_kind() -> None:
    lines = [
        *lines_of([*CALM[:5], *(np.concatenate([np.full(95, 18.0), np.full(5, 60.0)]) for _ in range(5))], clock_ms=1),
        *lines_of([np.full(2, 10.0)] * 10, load=OtherLoad(0.8, 0.1)),
        *warnings_of(replace(sample(CALM), waited=0.5), DeviceFacts(**FACTS), 4),
        *lines_of([*CALM[:5], np.full(20, 18.0), *CALM[:4]], threads=8, facts={"throttle_reasons": ["heat"]}),
        *lines_of(CALM, facts={"governor": "powersave", "instruction_sets": ["asimd"], "machine": "aarch64"}, precision="int8"),
        *lines_of(CALM, facts={"instruction_sets": ["avx2"]}, precision="int8", overflows=True),
    ]
    assert {MeasurementWarning.of(line) for line in lines} == set(MeasurementWarning)
    assert {line.split(":")[0] for line in lines if MeasurementWarning.of(line) is MeasurementWarning.DRIFT} == {"drift"}


def test_a_line_that_bench_did_not_say_is_of_no_kind() -> None:
    assert MeasurementWarning.of("p90 lies far from p50") is None
    assert MeasurementWarning.of("the drift: the last third took 20% longer than the first") is None


def test_the_stored_runs_count_what_others_took() -> None:
    """Of the limits' calibration: no quiet run is said to be disturbed, and most that are disturbed are found out."""
    path = Path(__file__).parents[2] / "benchmarks" / "results" / "warning_limits.json"
    if not path.is_file():
        pytest.skip("the benchmarks lie in a checkout, not beside an installed wheel")
    runs = json.loads(path.read_text())["runs"]
    assert all(run["others"] <= run["disturber"] + 0.03 for run in runs)
    assert sum(run["disturber"] == 0 for run in runs) >= 20
    assert all(run["others"] >= OTHER_CORES for run in runs if run["disturber"] >= 0.5)
