"""The work of models, with a mark behind each: python3 instructions.py JOB... The plugin counts instructions between marks.

A JOB is MODEL:PART:SIZES. The model is run on SIZES: `N` patches, once and twice, or, of a scene graph, `HxW,HxW` pixels.
PART is "all", from rows as stored to labels, as bench times it; "prepare", the Card's input affine; "session", the graph alone;
or another file, whose graph takes the same input and is run in its place.

For each size one run goes before, which fills caches and makes room; then come mark 0, the work, and mark 1.
"""

from __future__ import annotations

import ctypes
import gc
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np

from hsiedge.benchmark.workload import parse_shape, workload
from hsiedge.runtimes import Model, load
from hsiedge.runtimes.ort import OrtSession
from hsiedge.scenes.patches import surrounded

LIBC = ctypes.CDLL(None)
GETPRIORITY, MARK = 141, 42
Work = Callable[[], object]


def counted(work: Work, times: int) -> None:
    LIBC.syscall(GETPRIORITY, MARK, 0)
    for _ in range(times):
        work()
    LIBC.syscall(GETPRIORITY, MARK, 1)


def works(model: Model, part: str, sizes: str) -> Iterator[tuple[Work, int]]:
    """What is to be run, and how often."""
    if "x" not in sizes:
        work = work_of(model, part, int(sizes), [])
        yield from [(work, 1), (work, 2)]
        return
    halo, bands = model.known.patch - 1, model.known.scene.bands
    for size in sizes.split(","):
        height, width = (int(number) + halo for number in size.split("x"))
        rows = model.takes_rows
        yield work_of(model, part, 1, [f"1,{height},{width},{bands}" if rows else f"1,{bands},{height},{width}"]), 1


def work_of(model: Model, part: str, batch: int, shapes: list[str]) -> Work:
    whole = workload(model, batch, [parse_shape(text) for text in shapes])
    drawn = whole.make(np.random.default_rng(0))
    if part == "all":
        return lambda: whole.run(drawn)
    if part == "prepare":
        return lambda: model.prepare(drawn[0])
    session = model.session if part == "session" else OrtSession(Path(part), 1)
    prepared = model.prepare(drawn[0])
    tensor = surrounded(prepared, 0, len(prepared), model.known.radius)[None]
    return lambda: session.run([tensor])


def main() -> None:
    gc.disable()
    for job in sys.argv[1:]:
        path, part, sizes = job.split(":")
        for work, times in works(load(Path(path), 1), part, sizes):
            work()
            counted(work, times)


if __name__ == "__main__":
    main()
