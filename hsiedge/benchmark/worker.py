"""The process in which one model is measured at one batch: `python -m hsiedge.benchmark.worker`.

Commands come as JSON objects, one a line, on stdin; each is answered by one on stdout. "open" comes first, then "measure",
"window", "answers", "profile" or "spent" (seconds of CPU since the process began), as often as wanted. The process ends with
its stdin: when the parent dies, however it dies, so does it.
"""

from __future__ import annotations

import gc
import itertools
import json
import math
import os
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, TextIO

import numpy as np

from hsiedge.benchmark.workload import Tensors, Workload, fixed_batch, parse_shape, workload
from hsiedge.device import energy, facts, memory
from hsiedge.errors import HsiedgeError, OptionError
from hsiedge.runtimes import ENGINES, Model, Session, engine_of, import_engine, load

WARM_RUNS = 3
SETTLE_SECONDS = 0.01
Reply = dict[str, Any]
Opener = Callable[[dict[str, Any]], Model]
"""Opens the model that an "open" command asks for."""
Prepare = Callable[[dict[str, Any]], None]
"""Prepares the process before its memory's baseline is taken."""


class Bench:
    """One model, opened at one batch. `baseline` was taken once the runtime was imported."""

    def __init__(self, baseline: memory.Baseline, command: dict[str, Any], open_model: Opener) -> None:
        start = time.perf_counter_ns()
        self._model = open_model(command)
        load_ms = _since(start)
        fixed = fixed_batch(self._model)
        batch = fixed if fixed is not None else int(command["batch"])
        self._work = workload(self._model, batch, [parse_shape(text) for text in command["shapes"]])
        rng = np.random.default_rng(int(command["seed"]))
        one = self._work.make(rng)
        first_ms = self._first(one)
        _repeat(lambda: self._work.run(one), WARM_RUNS, float(command["warm_s"]))
        # Read here, with one input alive, as on a device: the others belong to the measurement.
        peak = memory.peak_mib(baseline)
        pool = [one, *(self._work.make(rng) for _ in range(self._work.pool_size(one) - 1))]
        self._inputs = itertools.cycle(pool)
        self._meter = energy.find_meter()
        self.reply = _described(self._model, self._work, fixed) | {
            "load_ms": load_ms,
            "first_ms": first_ms,
            "memory_mib": peak,
            "memory_source": baseline.source,
            "clock_ms": clock_cost(),
            "energy_source": self._meter.source if self._meter is not None else None,
        }

    def measure(self, command: dict[str, Any]) -> Reply:
        """Runs the model at least `runs` times and `seconds` seconds: ms of each, joules, and seconds of waiting."""
        # The threads of the model that ran before may still spin, and it left its data in the caches.
        _repeat(self._once, 1, SETTLE_SECONDS)
        gc.collect()
        gc.disable()
        waited = facts.waited_seconds()
        times, _, joules = self._metered(int(command["runs"]), float(command["seconds"]))
        after = facts.waited_seconds()
        gc.enable()
        idle = None if waited is None or after is None else max(0.0, after - waited)
        return {"ms": [round(value, 6) for value in times], "waited_s": idle, "joules": joules}

    def window(self, command: dict[str, Any]) -> Reply:
        """Runs the model `seconds` seconds without a pause: number of runs, seconds they took, their median, and the joules."""
        times, seconds, joules = self._metered(1, float(command["seconds"]))
        return {"runs": len(times), "seconds": seconds, "p50_ms": float(np.median(times)), "joules": joules}

    def answers(self, command: dict[str, Any]) -> Reply:
        """Labels of at least `pixels` pixels, repeatable from `seed` and batch, and how sure each of them is.

        `margins`: by how much the highest logit exceeds the next, as a share of the range of all logits. Both are empty for a
        model without a Card.
        """
        if self._work.logits is None:
            return {"labels": [], "margins": []}
        rng = np.random.default_rng(int(command["seed"]))
        count = math.ceil(int(command["pixels"]) / self._work.pixels)
        pieces = [self._work.logits(self._work.make(rng)) for _ in range(count)]
        logits = np.concatenate([piece.reshape(len(piece), -1) for piece in pieces], axis=1)
        highest = np.sort(logits, axis=0)[-2:]
        margins = (highest[-1] - highest[0]) / max(float(np.ptp(logits)), 1e-30)
        return {"labels": self._model.label_ids(logits, axis=0).tolist(), "margins": margins.tolist()}

    def profile(self, command: dict[str, Any]) -> Reply:
        """Ends onnxruntime's profile after `runs` more runs: the profile's path, and what these took from rows to labels."""
        times = _repeat(self._once, int(command["runs"]), 0.0)
        session: Any = self._model.session
        return {"file": str(session.end_profiling()), "runs": len(times), "mean_ms": float(np.mean(times))}

    def _metered(self, runs: int, seconds: float) -> tuple[list[float], float, float | None]:
        """Milliseconds of each run, seconds in all, and joules where the machine can tell."""
        if self._meter is not None:
            self._meter.begin()
        start = time.perf_counter_ns()
        times = _repeat(self._once, runs, seconds)
        took = _since(start) / 1e3
        return times, took, self._meter.end(took) if self._meter is not None else None

    def _once(self) -> None:
        self._work.run(next(self._inputs))

    def _first(self, tensors: Tensors) -> float:
        start = time.perf_counter_ns()
        self._work.run(tensors)  # a graph that gives other than its Card says is found out here
        return _since(start)


def clock_cost() -> float:
    """Milliseconds that an empty measurement shows: what reading the clock costs, or its resolution where that is coarser."""
    costs = [_since(time.perf_counter_ns()) for _ in range(101)]
    return float(max(np.median(costs), min((cost for cost in costs if cost > 0), default=0.0)))


def open_file(command: dict[str, Any]) -> Model:
    """Opens a model file in the runtime asked for; with "profile", in one that writes a profile to that prefix."""
    path, threads, prefix = Path(command["path"]), int(command["threads"]), command.get("profile")
    runtime, provider, fast = command.get("runtime"), command.get("provider"), bool(command.get("fast_int8"))
    model = load(path, threads, runtime, provider, fast_int8=fast, net=command.get("net"))
    if prefix is None:
        return model
    if engine_of(path, runtime) != "ort":
        raise OptionError(f"only {ENGINES['ort'].title} profiles by operator, which does not run {path.name}", option="ops")
    return Model(path, _profiling(path, threads, Path(prefix), provider, fast), model.card)


def prepare_file(command: dict[str, Any]) -> None:
    """Imports the runtime that `open_file` takes, so that it is in the baseline."""
    import_engine(Path(command["path"]), command.get("runtime"))


def serve(commands: TextIO, replies: TextIO, open_model: Opener, prepare: Prepare) -> None:
    """Answers commands until the stream ends. `prepare` imports the runtime of a file, so that it is in the baseline."""
    bench: Bench | None = None
    for line in commands:
        command = json.loads(line)
        try:
            if bench is None:
                prepare(command)
                bench = Bench(memory.take_baseline(), command, open_model)
                reply = bench.reply
            else:
                does = {
                    "measure": bench.measure,
                    "window": bench.window,
                    "answers": bench.answers,
                    "spent": lambda _: {"cpu_s": time.process_time()},
                    "profile": bench.profile,
                }
                reply = does[command["do"]](command)
        except HsiedgeError as error:
            reply = {"error": type(error).__name__, "message": error.reason, "fields": error.fields}
        except MemoryError:
            message = f"{command.get('path', 'the model')}: does not fit into memory"
            reply = {"error": "ModelError", "message": message, "fields": {}}
        replies.write(json.dumps(reply) + "\n")
        replies.flush()


def main(open_model: Opener = open_file, prepare: Prepare = prepare_file) -> None:
    """Serves on stdin and stdout."""
    # What a native library prints must not end up between the replies: stdout becomes stderr, replies keep the pipe.
    with os.fdopen(os.dup(1), "w", encoding="utf-8") as replies:
        os.dup2(2, 1)
        try:
            serve(sys.stdin, replies, open_model, prepare)
        except BrokenPipeError:  # the parent has gone: nobody to tell
            os._exit(1)


def _profiling(path: Path, threads: int, prefix: Path, provider: str | None, fast_int8: bool) -> Session:
    from hsiedge.runtimes.ort import OrtSession

    return OrtSession(path, threads, prefix, "cpu" if provider is None else provider, fast_int8=fast_int8)


def _described(model: Model, work: Workload, fixed: int | None) -> Reply:
    return {
        "kind": work.kind,
        "runtime": model.session.runtime,
        "provider": model.session.provider,
        "precision": model.card.precision if model.card is not None else "unknown",
        "batch": work.batch,
        "fixed_batch": fixed,
        "input_shape": list(work.shape),
        "input_dtype": work.dtype,
        "pixels_per_run": work.pixels,
        "exact_mode": model.session.exact_mode,
        "overflows": model.session.overflows,
        "arena_bytes": getattr(model.session, "arena_bytes", None),
    }


def _repeat(once: Callable[[], object], runs: int, seconds: float) -> list[float]:
    """Milliseconds of each call, at least `runs` of them and until `seconds` have passed."""
    times: list[float] = []
    end = time.perf_counter_ns() + int(seconds * 1e9)
    stop = start = 0
    while len(times) < runs or stop < end:
        start = time.perf_counter_ns()
        once()
        stop = time.perf_counter_ns()
        times.append((stop - start) / 1e6)
    return times


def _since(start: int) -> float:
    return (time.perf_counter_ns() - start) / 1e6


if __name__ == "__main__":
    main()
