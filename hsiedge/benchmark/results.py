"""Results of one measurement, and their JSON: schema 1 (hsiedge/schemas/bench.json)."""

from __future__ import annotations

import dataclasses
import json
import math
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from hsiedge import notebook
from hsiedge.decoding import build, each, parse_json
from hsiedge.device.facts import DeviceFacts
from hsiedge.errors import ResultError, needs_extra
from hsiedge.words import printable

if TYPE_CHECKING:
    import pandas

SCHEMA = 1
MAX_BYTES = 64 << 20  # of JSON: a run of a hundred models, with each operator of each, takes a tenth of it


@dataclass(frozen=True)
class Latency:
    """Milliseconds of one run, from rows in their stored dtype to label ids, over `runs` runs."""

    p50: float
    p90: float
    p99: float
    mean: float
    std: float
    min: float
    max: float
    runs: int


@dataclass(frozen=True)
class Result:
    """One model at one batch.

    Attributes:
        model: file name, or as much of the path as tells it from others; `path` as it was given; `sha256` of the file.
        kind: the Card's, "patch" or "scene"; "tensor" for a model without a Card, where the clock covers the session alone.
        precision: the Card's; "unknown" without one.
        threads: intra-operator threads.
        batch: pixels of a patch graph, images of a stranger's; a graph that fixes its own is measured at that.
        input_shape: of the graph's first input; `input_dtype` the dtype the clock starts with, which is the stored one.
        pixels_per_run: labelled by one run; without a Card, the leading dimension.
        load_ms: opening the file, which the page cache holds. first_ms: the first inference after it.
        pixels_per_s: from the median.
        memory_mib: the highest resident memory while loading, at the first inference and at warm-up, beyond that of the
            interpreter and the imported runtime; `memory_source` says how the kernel gave it (`hsiedge.device.memory`).
        warnings: why the figures are not to be trusted.
        exact_int8: whether the runtime's exact mode was on, for 8-bit sums overflow on this processor without it.
        energy_mj: millijoules a pixel, of all that `energy_source` measures while the model runs, idle power included; None
            where the machine cannot tell (`hsiedge.device.energy`).
        arena_bytes: memory that a microcontroller sets aside for the model, in TFLite Micro; None in all others.
    """

    model: str
    kind: str
    file_bytes: int
    runtime: str
    provider: str
    precision: str
    threads: int
    batch: int
    input_shape: list[int]
    input_dtype: str
    pixels_per_run: int
    load_ms: float
    first_ms: float
    latency_ms: Latency
    pixels_per_s: float
    memory_mib: float
    memory_source: str
    path: str
    sha256: str
    warnings: list[str]
    energy_mj: float | None = None
    energy_source: str | None = None
    exact_int8: bool = False
    arena_bytes: int | None = None


@dataclass(frozen=True)
class Comparison:
    """`model` is `ratio` times as fast as `baseline`, with its 95 % interval `low` to `high` over `rounds` paired rounds.

    The interval is of these two processes: what differs from one start of a process to the next is not in it.
    """

    model: str
    precision: str
    baseline: str
    baseline_precision: str
    batch: int
    ratio: float
    low: float
    high: float
    rounds: int


@dataclass(frozen=True)
class Window:
    """A stretch of a sustained run: its rate, its millijoules a pixel (as `Result.energy_mj`), and the device at its end."""

    start_s: float
    seconds: float
    pixels_per_s: float
    p50_ms: float
    temperature_c: float | None
    frequency_mhz: float | None
    throttle_reasons: list[str]
    energy_mj: float | None = None


@dataclass(frozen=True)
class Sustained:
    """A model run without a pause. `ratio`: the rate of the last window over that of the first.

    `interrupted`: by Ctrl-C, in the window that would have followed.
    """

    model: str
    precision: str
    batch: int
    ratio: float
    windows: list[Window]
    interrupted: bool = False


@dataclass(frozen=True)
class OperatorTime:
    """Time of an operator type (`name` is its type) or of one node: ms a run, share of all operators in percent."""

    name: str
    operator: str
    provider: str
    nodes: int
    ms: float
    share: float


@dataclass(frozen=True)
class Profile:
    """onnxruntime's own profile. Profiling costs time: its sums lie above the latencies, its shares hold.

    Attributes:
        run_ms: of the session's run; outside_ms: of cutting patches, the affine, argmax and label ids around it.
        by_operator, by_node: slowest first.
    """

    model: str
    precision: str
    batch: int
    runs: int
    run_ms: float
    outside_ms: float
    by_operator: list[OperatorTime]
    by_node: list[OperatorTime]


@dataclass(frozen=True)
class Agreement:
    """Labels of `model` beside those of `reference`, the same file in the runtime that runs it unasked, on seeded counts.

    Attributes:
        pixels: compared, at all batches.
        tie: a pixel is undecided where the reference's two highest logits lie within this share of the range of its logits.
        ties: undecided pixels with another label; differ: decided ones with another label. Labels agree where `differ` is 0.
    """

    model: str
    runtime: str
    reference: str
    pixels: int
    tie: float
    ties: int
    differ: int


@dataclass(frozen=True)
class Recommendation:
    """Recommendation of `--runtime all`: which model to take in which runtime at which batch.

    Attributes:
        agreements: of each model with a Card in each runtime beside the one that runs it unasked.
        missing: runtimes that are not installed, and the extra of hsiedge that brings each.
        model, runtime, batch, pixels_per_s: the fastest of those whose labels agree, at its best batch; None where none can be
            recommended.
        margin: how much faster it is than the next of them, measured in the same rounds; None where there is no other.
    """

    agreements: list[Agreement]
    missing: dict[str, str]
    model: str | None = None
    runtime: str | None = None
    batch: int | None = None
    pixels_per_s: float | None = None
    margin: Comparison | None = None


@dataclass(frozen=True)
class Report:
    """A whole measurement: the device, a result for each model and batch, and what was asked for beyond.

    `interrupted`: Ctrl-C ended the sustained runs early; what is there is whole. `choice`: where all runtimes were asked for.
    `exactness`: where the profile was asked for, each model that ran in onnxruntime's exact mode, against itself without it.
    """

    device: DeviceFacts
    results: list[Result]
    comparisons: list[Comparison] = field(default_factory=list)
    sustained: list[Sustained] = field(default_factory=list)
    ops: list[Profile] = field(default_factory=list)
    interrupted: bool = False
    choice: Recommendation | None = None
    exactness: list[Comparison] = field(default_factory=list)
    schema: int = SCHEMA

    def __repr__(self) -> str:
        models = dict.fromkeys(entry.model for entry in self.results)
        return f"Report({', '.join(models)}: {len(self.results)} results)"

    def _repr_html_(self) -> str:
        columns = ("model", "precision", "batch", "p50 ms", "pixels_per_s", "memory_mib", "energy_mj", "warnings")
        rows = [{name: row[name] for name in columns} for row in self.rows()]
        return notebook.table_html(rows)

    def rows(self) -> list[dict[str, Any]]:
        """A plain row for each result: its fields, the latency's as "p50 ms" and so on, warnings as one text."""
        rows = []
        for entry in self.results:
            row = dataclasses.asdict(entry)
            spread = row.pop("latency_ms")
            runs = spread.pop("runs")
            row |= {f"{name} ms": value for name, value in spread.items()} | {"runs": runs}
            rows.append(row | {"input_shape": tuple(entry.input_shape), "warnings": "; ".join(entry.warnings)})
        return rows

    def to_frame(self) -> pandas.DataFrame:
        """A pandas DataFrame with a row for each model and batch, its columns those of `rows`.

        Raises:
            MissingExtraError: pandas is not installed.
        """
        with needs_extra("a table as a DataFrame", "frame"):
            import pandas
        return pandas.DataFrame(self.rows())

    def to_dict(self) -> dict[str, Any]:
        """Plain data, `schema` first; floats shortened to 6 significant digits, NaN as None."""
        plain: dict[str, Any] = each(float, dataclasses.asdict(self), _short)
        return {"schema": plain.pop("schema"), **plain}

    def to_json(self, indent: int | None = 2) -> str:
        """JSON text of `to_dict`."""
        return json.dumps(self.to_dict(), indent=indent, allow_nan=False)

    @classmethod
    def from_json(cls, text: str | bytes, where: str) -> Report:
        """Reads what `to_json` wrote; `where` names the file or machine in errors. Characters that do not print become U+FFFD.

        Raises:
            ResultError: not JSON, not the result of a bench, or of another schema.
        """
        if len(text) > MAX_BYTES:
            raise ResultError(f"{where}: {len(text)} bytes are too many for a result of hsiedge bench")
        try:
            data = parse_json(text)
        except ValueError as error:
            raise ResultError(f"{where}: not JSON ({error}), and no result of a bench") from error
        if not isinstance(data, dict) or not {"schema", "device", "results"} <= data.keys():
            raise ResultError(f"{where}: JSON, but no result of hsiedge bench")
        if data["schema"] != SCHEMA or isinstance(data["schema"], bool):
            raise ResultError(f"{where}: a result of schema {data['schema']!r}; this hsiedge reads schema {SCHEMA}")
        try:
            report: Report = build(cls, each(str, data, printable))
            report._believable()
        except (TypeError, ValueError, OverflowError) as error:
            raise ResultError(f"{where}: no result that hsiedge bench wrote ({error})") from error
        return report

    def renamed(self, rename: Callable[[str], str]) -> Report:
        """A copy with every text in it renamed: names of models stand in many."""
        report: Report = build(Report, each(str, dataclasses.asdict(self), rename))
        return report

    def _believable(self) -> None:
        """Raises ValueError unless the figures can be divided by and shown."""
        for entry in self.results:
            spread = entry.latency_ms
            figures = (entry.pixels_per_s, spread.p50, spread.p90, spread.p99)
            if not all(0 < value < math.inf for value in figures):
                raise ValueError(f"{entry.model} has a latency that is no time")
            if min(entry.batch, entry.threads, entry.pixels_per_run, entry.file_bytes) < 0:
                raise ValueError(f"{entry.model} has a count below 0")
        if any(not entry.windows for entry in self.sustained):
            raise ValueError("a sustained run without a window")


def _short(value: float) -> float | None:
    return float(f"{value:.6g}") if math.isfinite(value) else None
