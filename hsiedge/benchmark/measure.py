"""Measuring: models take turns in rounds, each in a process of its own, one working at a time."""

from __future__ import annotations

import math
import random
import time
from collections import Counter
from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from hsiedge import files
from hsiedge.benchmark.process import Worker
from hsiedge.device import facts
from hsiedge.errors import ModelError
from hsiedge.progress import Progress
from hsiedge.runtimes import ENGINES

MIN_ROUNDS, ROUND_SECONDS, WARM_SECONDS = 10, 0.5, 0.3


@dataclass(frozen=True)
class Plan:
    """Settings of a measurement, which hold for every model in it.

    Attributes:
        runs, seconds: at least so many, for at least so long, for each model and batch.
        threads: intra-operator threads, 1 or more.
        shapes: `--shape` as written.
        seed: of the inputs and of the order within the rounds.
        least_rounds: in how many rounds models take turns, at least.
        provider: onnxruntime's, as `--provider` has it.
        answered: of how many pixels labels are asked for, at least.
    """

    runs: int
    seconds: float
    threads: int
    shapes: tuple[str, ...]
    seed: int
    least_rounds: int = MIN_ROUNDS
    provider: str | None = None
    answered: int = 0

    @property
    def rounds(self) -> int:
        """Number of rounds: more than the least where one would last over half a second, for turns must outpace drift."""
        return max(self.least_rounds, math.ceil(self.seconds / ROUND_SECONDS))


@dataclass(frozen=True)
class ModelFile:
    """A model to be measured, in `runtime` (None: what runs the file unasked), with or without onnxruntime's exact mode.

    `name` tells it from the others of the run: the file's, or as much of its path as that takes. `net`: FILE.py:NAME of a
    checkpoint's net, where it is the user's own.
    """

    path: Path
    bytes: int
    sha256: str
    name: str = ""
    runtime: str | None = None
    fast_int8: bool = False
    net: str | None = None


@dataclass(frozen=True)
class Sample:
    """One model at one batch: the worker's description (`opened`), and the milliseconds of each run, by round.

    `joules`: of each round, None where the machine cannot tell. `answers`: the worker's, where labels were asked for. `waited`:
    seconds that its threads waited for a core, over those that its runs took; None where the machine cannot tell.
    """

    model: ModelFile
    opened: dict[str, Any]
    rounds: list[NDArray[np.float64]]
    load: OtherLoad
    joules: Sequence[float | None] = ()
    answers: dict[str, Any] | None = None
    waited: float | None = None

    @property
    def medians(self) -> NDArray[np.float64]:
        """Median of each round, ms."""
        return np.array([np.median(entry) for entry in self.rounds])

    @property
    def all_ms(self) -> NDArray[np.float64]:
        """Milliseconds of every run, in the order of time."""
        return np.concatenate(self.rounds)


@dataclass(frozen=True)
class OtherLoad:
    """Cores that other programs kept busy meanwhile, and cores that a virtual machine's host took away; None where unknown."""

    cores: float | None
    stolen: float | None


def model_file(path: str | Path) -> ModelFile:
    """Size and digest of a model file, which is left in the page cache, so that loads compare. Raises ModelError if missing."""
    path = Path(path)
    if not path.is_file():
        raise ModelError(f"{path}: no such file")
    return ModelFile(path, path.stat().st_size, files.digest(path))


def model_files(
    paths: Sequence[str | Path], runtime: str | None = None, *, fast_int8: bool = False, net: str | None = None
) -> list[ModelFile]:
    """Several model files in one runtime, with distinct names; `net` is that of checkpoints. Raises ModelError if missing."""
    models = [replace(model_file(path), runtime=runtime, fast_int8=fast_int8) for path in paths]
    checkpoints = ENGINES["torch"].suffixes
    models = [replace(model, net=net if model.path.suffix in checkpoints else None) for model in models]
    names = Counter(model.path.name for model in models)
    seen: Counter[str] = Counter()
    named = []
    for model in models:
        name = model.path.name if names[model.path.name] == 1 else str(model.path)
        seen[name] += 1
        named.append(replace(model, name=name if seen[name] == 1 else f"{name} ({seen[name]})"))
    return named


def open_model(worker: Worker, model: ModelFile, batch: int, plan: Plan, **options: Any) -> dict[str, Any]:
    """Opens a model in a worker and returns the worker's description of it; HsiedgeError as `Worker.ask`."""
    common = {
        "threads": plan.threads,
        "shapes": list(plan.shapes),
        "seed": plan.seed,
        "warm_s": min(WARM_SECONDS, plan.seconds),
    }
    engine = {"runtime": model.runtime, "provider": plan.provider, "fast_int8": model.fast_int8, "net": model.net}
    return worker.ask("open", path=str(model.path), batch=batch, **common, **engine, **options)


def wanted(opened: dict[str, Any], batch: int, batches: Sequence[int]) -> bool:
    """Whether a model is measured in the group of `batch`: one that fixes its batch is, once, whatever was asked for."""
    fixed = opened["fixed_batch"]
    return fixed is None or batch == (fixed if fixed in batches else batches[0])


def measure_group(
    models: Sequence[ModelFile], batch: int, batches: Sequence[int], plan: Plan, progress: Progress
) -> list[Sample]:
    """Measures all models at one batch, interleaved.

    Every process stays alive, so that each model meets the same machine; they take turns in an order shuffled anew in each
    round, so that neither drift nor the neighbour before favours one.

    Args:
        models: what to measure.
        batch: the batch of this group.
        batches: of all groups.
        plan: what is asked of every model.
        progress: called with the share done, 0 to 1.

    Raises:
        HsiedgeError: a model cannot be opened or run.
    """
    with ExitStack() as stack:
        turns: list[tuple[ModelFile, Worker, dict[str, Any]]] = []
        for index, model in enumerate(models):
            progress(0.3 * index / len(models))
            worker = stack.enter_context(Worker(model.path))
            opened = open_model(worker, model, batch, plan)
            if wanted(opened, batch, batches):
                turns.append((model, worker, opened))
            else:
                worker.close()
        rounds, joules, waited, load = take_turns([worker for _, worker, _ in turns], plan, progress)
        options = {"pixels": plan.answered, "seed": plan.seed}
        answers = [worker.ask("answers", **options) if plan.answered else None for _, worker, _ in turns]
    return [
        Sample(model, opened, rounds[index], load, joules[index], answers[index], waited[index])
        for index, (model, _, opened) in enumerate(turns)
    ]


def take_turns(
    workers: Sequence[Worker], plan: Plan, progress: Progress
) -> tuple[list[list[NDArray[np.float64]]], list[list[float | None]], list[float | None], OtherLoad]:
    """Milliseconds of each run and joules, by worker and round; by worker, the share that it waited; and the load of others.

    All have opened their models, and one works at a time.
    """
    order, shuffled = list(range(len(workers))), random.Random(plan.seed)  # noqa: S311
    times: list[list[NDArray[np.float64]]] = [[] for _ in workers]
    joules: list[list[float | None]] = [[] for _ in workers]
    waits: list[list[float | None]] = [[] for _ in workers]
    runs, seconds = math.ceil(plan.runs / plan.rounds), plan.seconds / plan.rounds
    before, start, spent = facts.cpu_seconds(), time.perf_counter(), _spent(workers)
    for done in range(plan.rounds):
        progress(0.3 + 0.7 * done / plan.rounds)
        shuffled.shuffle(order)
        for index in order:
            reply = workers[index].ask("measure", runs=runs, seconds=seconds)
            times[index].append(np.asarray(reply["ms"], np.float64))
            joules[index].append(reply["joules"])
            waits[index].append(reply["waited_s"])
    ours = _spent(workers) - spent
    waited = [_share(seconds, runs) for seconds, runs in zip(waits, times)]
    return times, joules, waited, _other_load(before, facts.cpu_seconds(), ours, time.perf_counter() - start)


def _spent(workers: Sequence[Worker]) -> float:
    """Seconds of CPU of this process and of the workers, all of them: runs that nobody times, replies as JSON."""
    return time.process_time() + sum(float(worker.ask("spent")["cpu_s"]) for worker in workers)


def _share(waits: Sequence[float | None], rounds: Sequence[NDArray[np.float64]]) -> float | None:
    known = [seconds for seconds in waits if seconds is not None]
    total = sum(float(times.sum()) for times in rounds) / 1e3
    return sum(known) / total if len(known) == len(waits) and total > 0 else None


def _other_load(before: facts.CpuSeconds | None, after: facts.CpuSeconds | None, ours: float, seconds: float) -> OtherLoad:
    if before is None or after is None or seconds <= 0:
        return OtherLoad(None, None)
    return OtherLoad(max(0.0, after.busy - before.busy - ours) / seconds, max(0.0, after.stolen - before.stolen) / seconds)
