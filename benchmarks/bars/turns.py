"""Taking turns: contenders of one run, each in a process of its own, all on one core, one working at a time.

The processes are those of `hsiedge bench`, the peers' too: all do the same work, from rows as stored to labels, timed by the
same code.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager, nullcontext
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from hsiedge.benchmark.measure import OtherLoad, Plan, model_file, open_model, take_turns
from hsiedge.benchmark.process import PROGRAM, Worker
from hsiedge.benchmark.statistics import latency, paired_ratio
from hsiedge.errors import HsiedgeError
from hsiedge.progress import silent

ROUNDS = 10


@dataclass(frozen=True)
class Contender:
    """One model at one batch, in one runtime.

    Attributes:
        name: what it is called in the results.
        path: the model file, whose Card tells of the work; a peer's process is told by `options` what it opens.
        batch: of a patch graph.
        shape: of a scene graph's input, as `--shape` has it.
        program, variables: of a peer's process.
        runtime: the engine, if not the one that runs the file unasked.
        threads: it works in; where one has more than 1, none is kept on one core.
    """

    name: str
    path: Path
    batch: int = 1
    shape: str | None = None
    program: Sequence[str] = PROGRAM
    variables: Mapping[str, str] = field(default_factory=dict)
    options: Mapping[str, Any] = field(default_factory=dict)
    runtime: str | None = None
    threads: int = 1


@dataclass(frozen=True)
class Timed:
    """What a contender's process said when it opened the model, and the milliseconds of each run, by round."""

    contender: Contender
    opened: dict[str, Any]
    rounds: list[NDArray[np.float64]]

    @property
    def pixels(self) -> int:
        """Labelled by one run."""
        return int(self.opened["pixels_per_run"])

    @property
    def per_pixel(self) -> NDArray[np.float64]:
        """The median of each round, ms a pixel."""
        return np.array([np.median(entry) for entry in self.rounds]) / self.pixels

    @property
    def pixels_per_s(self) -> float:
        return self.pixels / latency(np.concatenate(self.rounds)).p50 * 1e3

    def row(self) -> dict[str, Any]:
        """What is stored of it."""
        spread = latency(np.concatenate(self.rounds))
        kept = ("kind", "runtime", "precision", "batch", "input_shape", "pixels_per_run", "memory_mib")
        times = {"ms": spread.p50, "ms_p90": spread.p90, "runs": spread.runs, "pixels_per_s": self.pixels_per_s}
        return {"name": self.contender.name, **{key: self.opened[key] for key in kept}, **times}


@dataclass(frozen=True)
class Turns:
    """One run: who was timed, who could not be opened and why, and the cores that others kept busy meanwhile."""

    timed: dict[str, Timed]
    failed: dict[str, str]
    load: OtherLoad

    def best(self, names: Sequence[str]) -> Timed:
        """The one with the least time a pixel."""
        return max((self.timed[name] for name in names if name in self.timed), key=lambda entry: entry.pixels_per_s)


def take(contenders: Sequence[Contender], seconds: float, rounds: int = ROUNDS) -> Turns:
    """Times contenders in turns, in `rounds` rounds or more and each for `seconds` seconds or longer, on one core."""
    timed, failed = {}, {}
    cores = nullcontext() if any(contender.threads > 1 for contender in contenders) else one_core()
    with cores, ExitStack() as stack:
        workers: list[Worker] = []
        opened: list[tuple[Contender, dict[str, Any]]] = []
        for contender in contenders:
            worker = Worker(contender.path, contender.program, contender.variables)
            stack.enter_context(worker)
            plan = Plan(rounds, seconds, contender.threads, (contender.shape,) if contender.shape else (), 0, rounds)
            try:
                model = replace(model_file(contender.path), runtime=contender.runtime)
                reply = open_model(worker, model, contender.batch, plan, **contender.options)
            except HsiedgeError as error:
                failed[contender.name] = str(error).splitlines()[0]
                continue
            workers.append(worker)
            opened.append((contender, reply))
        times_of, _, _, load = take_turns(workers, Plan(rounds, seconds, 1, (), 0, rounds), silent)
    for (contender, reply), times in zip(opened, times_of):
        timed[contender.name] = Timed(contender, reply, times)
    return Turns(timed, failed, load)


def times_faster(one: Timed, than: Timed) -> dict[str, float]:
    """How many times as fast a pixel, with its 95 % interval over the paired rounds."""
    ratio, low, high = paired_ratio(than.per_pixel, one.per_pixel)
    return {"times": ratio, "low": low, "high": high, "rounds": len(one.rounds)}


def share_of_time(one: Timed, of: Timed) -> dict[str, float]:
    """The time of one a pixel over that of the other, with its 95 % interval over the paired rounds."""
    ratio, low, high = paired_ratio(one.per_pixel, of.per_pixel)
    return {"ratio": ratio, "low": low, "high": high, "rounds": len(one.rounds)}


@contextmanager
def one_core() -> Iterator[None]:
    """Keeps the process, and those it starts, on the last core it may use: what spins beside its one thread pays for it."""
    if not hasattr(os, "sched_setaffinity"):
        yield
        return
    before = os.sched_getaffinity(0)
    os.sched_setaffinity(0, {max(before)})
    try:
        yield
    finally:
        os.sched_setaffinity(0, before)
