"""The profile by operator, from onnxruntime's own profiling, in a process of its own: it does not disturb the timing."""

from __future__ import annotations

import json
import tempfile
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import Any

from hsiedge.benchmark.measure import ModelFile, Plan, open_model, wanted
from hsiedge.benchmark.process import Worker
from hsiedge.benchmark.results import OperatorTime, Profile
from hsiedge.errors import ModelError

RUNS = 50
_SUFFIX = "_kernel_time"
Event = dict[str, Any]


def profile(model: ModelFile, batch: int, batches: Sequence[int], plan: Plan) -> Profile | None:
    """The profile of one model at one batch; None where the model fixes another batch. Raises HsiedgeError."""
    with tempfile.TemporaryDirectory(prefix="hsiedge-ops-") as folder, Worker(model.path) as worker:
        opened = open_model(worker, model, batch, plan, profile=str(Path(folder) / "profile"))
        if not wanted(opened, batch, batches):
            return None
        reply = worker.ask("profile", runs=RUNS)
        try:
            events = json.loads(Path(reply["file"]).read_text())
        except (OSError, ValueError) as error:
            raise ModelError(f"{model.path}: onnxruntime left no profile that can be read ({error})") from error
    run_ms, nodes = last_runs(events, reply["runs"])
    return Profile(
        model=model.name,
        precision=opened["precision"],
        batch=opened["batch"],
        runs=reply["runs"],
        run_ms=run_ms,
        outside_ms=max(0.0, reply["mean_ms"] - run_ms),
        by_operator=_aggregate(nodes, reply["runs"], lambda event: str(event["args"].get("op_name", "?"))),
        by_node=_aggregate(nodes, reply["runs"], lambda event: str(event["name"]).removesuffix(_SUFFIX)),
    )


def last_runs(events: Iterable[Event], count: int) -> tuple[float, list[Event]]:
    """Mean of the last `count` runs in a profile, ms, and the events of their nodes. The runs before were warm-up.

    An event has `cat` "Session" or "Node", `ts` its start and `dur` its length, microseconds. A node that runs an inner graph
    (If, Loop) holds the time of its inner nodes, which are events as well.
    """
    events = list(events)
    runs = sorted((entry for entry in events if entry.get("name") == "model_run"), key=lambda entry: int(entry["ts"]))[-count:]
    start = int(runs[0]["ts"]) if runs else 0
    nodes = [
        entry
        for entry in events
        if entry.get("cat") == "Node" and str(entry["name"]).endswith(_SUFFIX) and int(entry["ts"]) >= start
    ]
    return sum(int(entry["dur"]) for entry in runs) / 1e3 / max(1, len(runs)), nodes


def _aggregate(nodes: Sequence[Event], runs: int, key: Callable[[Event], str]) -> list[OperatorTime]:
    groups: dict[tuple[str, str], list[Event]] = {}
    for event in nodes:
        groups.setdefault((key(event), str(event["args"].get("provider", "?"))), []).append(event)
    total = sum(int(event["dur"]) for event in nodes) or 1
    times = []
    for (name, provider), group in groups.items():
        spent = sum(int(event["dur"]) for event in group)
        operators = sorted({str(event["args"].get("op_name", "?")) for event in group})
        count = len({event["name"] for event in group})
        times.append(OperatorTime(name, "/".join(operators), provider, count, spent / 1e3 / runs, 100 * spent / total))
    return sorted(times, key=lambda entry: -entry.ms)
