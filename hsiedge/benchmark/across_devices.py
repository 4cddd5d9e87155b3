"""Results of several runs of `hsiedge bench` side by side: of several devices, or of one device at several times.

Such runs took no turns: what slowed one of them down did not slow the other. A ratio of two has no interval, and none is given.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from hsiedge.benchmark.results import MAX_BYTES, Report, Result
from hsiedge.device.facts import DeviceFacts
from hsiedge.errors import OptionError, ResultError

SCHEMA = 1

# What may explain that times differ, in the words of the device's facts.
_FACTS: dict[str, Callable[[DeviceFacts], str | None]] = {
    "board": lambda facts: facts.board,
    "CPU": lambda facts: facts.cpu or facts.machine,
    "instruction sets": lambda facts: None if facts.instruction_sets is None else " ".join(facts.instruction_sets) or "none",
    "usable cores": lambda facts: _text(facts.cores_usable),
    "CPU quota": lambda facts: _text(facts.cpu_quota),
    "governor": lambda facts: facts.governor,
    "highest MHz": lambda facts: _text(facts.frequency_max_mhz),
    "held back": lambda facts: None if facts.throttled is None else ", ".join(facts.throttle_reasons) or "no",
    "memory, MiB": lambda facts: _text(facts.ram_mib),
    "runtimes": lambda facts: facts.runtime,
    "Python": lambda facts: facts.python,
    "system": lambda facts: facts.os,
    "kernel": lambda facts: facts.kernel,
    "container": lambda facts: "yes" if facts.container else "no",
    "virtual machine": lambda facts: None if facts.virtual is None else "yes" if facts.virtual else "no",
}


@dataclass(frozen=True)
class Run:
    """One file of `hsiedge bench --json`, and the letter that it goes by."""

    name: str
    file: str
    report: Report


@dataclass(frozen=True)
class Line:
    """One result of one run.

    Attributes:
        run: the letter.
        model: the file's name; with the beginning of its sha256 where other files of the runs have that name.
        result: what was measured.
        ratio: how many times as many pixels a second as the first line of this file at this batch and shape has.
    """

    run: str
    model: str
    result: Result
    ratio: float


@dataclass(frozen=True)
class Difference:
    """A fact in which the runs differ, by the letters of the runs; None where it is unknown."""

    what: str
    values: dict[str, str | None]


@dataclass(frozen=True)
class DeviceComparison:
    """Runs across devices. `lines`: by model, batch and shape in the order of the runs, the first of each being the base."""

    runs: list[Run]
    differences: list[Difference]
    lines: list[Line]

    def to_dict(self) -> dict[str, Any]:
        """Plain data, as hsiedge/schemas/compare.json says."""
        return {
            "schema": SCHEMA,
            "runs": [{"run": run.name, "file": run.file, "device": run.report.to_dict()["device"]} for run in self.runs],
            "differences": [dataclasses.asdict(entry) for entry in self.differences],
            "paired": False,
            "results": [_plain(line) for line in self.lines],
        }


def read_run(name: str, path: Path) -> Run:
    """Reads a file of `hsiedge bench --json`. Raises ResultError where it is none."""
    if not path.is_file():
        raise ResultError(f"{path}: no such file")
    if path.stat().st_size > MAX_BYTES:
        raise ResultError(f"{path}: too large for a result of hsiedge bench")
    report = Report.from_json(path.read_bytes(), str(path))
    if not report.results:
        raise ResultError(f"{path}: a bench without a result")
    return Run(name, str(path), report)


def compare_devices(paths: Sequence[Path]) -> DeviceComparison:
    """Reads results, and puts beside each other what is of the same file at the same batch.

    Raises:
        OptionError: fewer than two.
        ResultError: one that is no result of a bench.
    """
    if len(paths) < 2:
        raise OptionError("two results or more are expected: hsiedge compare pi.json jetson.json")
    runs = [read_run(_letter(index), path) for index, path in enumerate(paths)]
    titles = _titles(runs)
    first: dict[Any, Result] = {}
    lines = []
    for run in runs:
        for result in run.report.results:
            base = first.setdefault(_key(result), result)
            lines.append(Line(run.name, titles[result.sha256], result, result.pixels_per_s / base.pixels_per_s))
    order, keys = list(titles), list(first)
    lines.sort(key=lambda line: (order.index(line.result.sha256), line.result.batch, keys.index(_key(line.result))))
    return DeviceComparison(runs, _differences(runs), lines)


def _key(result: Result) -> Any:
    return result.sha256, result.batch, tuple(result.input_shape)


def _titles(runs: Sequence[Run]) -> dict[str, str]:
    """Title of each file by its sha256, in the order in which they turn up."""
    names: dict[str, str] = {}
    for run in runs:
        for result in run.report.results:
            names.setdefault(result.sha256, Path(result.path).name or result.model)
    several = {name for name in names.values() if list(names.values()).count(name) > 1}
    return {sha: f"{name} ({sha[:8]})" if name in several else name for sha, name in names.items()}


def _differences(runs: Sequence[Run]) -> list[Difference]:
    facts = [Difference(what, {run.name: tell(run.report.device) for run in runs}) for what, tell in _FACTS.items()]
    facts.append(Difference("threads", {run.name: _threads(run.report) for run in runs}))
    return [entry for entry in facts if len(set(entry.values.values())) > 1]


def _threads(report: Report) -> str:
    return ", ".join(str(count) for count in sorted({entry.threads for entry in report.results}))


def _letter(index: int) -> str:
    return chr(ord("A") + index) if index < 26 else f"#{index + 1}"


def _text(value: float | None) -> str | None:
    return None if value is None else f"{value:g}"


def _plain(line: Line) -> dict[str, Any]:
    result = line.result
    same = ("sha256", "kind", "precision", "runtime", "provider", "threads", "batch", "input_shape")
    return {
        "run": line.run,
        "model": line.model,
        **{name: getattr(result, name) for name in same},
        "p50_ms": result.latency_ms.p50,
        "p90_ms": result.latency_ms.p90,
        **{name: getattr(result, name) for name in ("pixels_per_s", "memory_mib", "energy_mj")},
        "ratio": float(f"{line.ratio:.6g}"),
        "warnings": result.warnings,
    }
