"""Cubes cut into blocks of rows, that the workers of a Dask cluster classify: the same labels as in one piece.

A worker opens the cube by itself, reads a block with its halo, and goes through it by the very strips that one process would
take. The model goes to the workers as bytes: it is small, needs no place that all can reach, and is what was loaded here.
"""

from __future__ import annotations

import functools
import socket
import tempfile
import time
import uuid
from collections import deque
from collections.abc import Callable, Generator, Iterable, Iterator, Sequence
from contextlib import closing, contextmanager, suppress
from dataclasses import dataclass
from itertools import chain
from pathlib import Path
from typing import Any

import numpy as np

from hsiedge import __version__, cluster
from hsiedge.errors import HsiedgeError, OptionError, SceneError
from hsiedge.mapping.stream import ClassificationStats, Classify, ClassifyOptions, Counts, Strip, StripSize, strip_size, strips
from hsiedge.progress import Progress
from hsiedge.runtimes import Model, load
from hsiedge.scenes.adapt import adapt
from hsiedge.scenes.io.cube import Cube
from hsiedge.scenes.io.reader import open_cube

_BLOCK_PIXELS = 1 << 18  # of a block: seconds of work, and 17 MB of results with the probabilities of 16 classes
_AHEAD = 2  # blocks a thread of the cluster: one that is worked on, and one that waits to be


@dataclass(frozen=True)
class Plan:
    """Plan by which the blocks of a cube are classified.

    Attributes:
        path: where each worker finds the cube; key: its variable.
        shape, bands, dtype: of the cube, that a worker knows it by.
        size: of a strip.
        threads: of a block.
        runtime, provider, fast_int8, net: in which each worker opens the model.
    """

    path: Path
    key: str | None
    shape: tuple[int, int]
    bands: int
    dtype: str
    size: StripSize
    asked: ClassifyOptions
    threads: int
    runtime: str | None = None
    provider: str | None = None
    fast_int8: bool = False
    net: str | None = None


@dataclass(frozen=True)
class Block:
    """Some rows of a cube: a multiple of `plan.size.rows`, but for the last."""

    plan: Plan
    part: range


@dataclass(frozen=True)
class Found:
    """Result of a worker for a block."""

    strip: Strip
    counts: Counts


@dataclass(frozen=True)
class Refused:
    """Reason why a worker could not classify a block."""

    reason: str


@contextmanager
def on_cluster(
    scheduler: str, model: Model, cubes: Sequence[Path], key: str | None, asked: ClassifyOptions, memory: int, threads: int
) -> Iterator[Classify]:
    """Yields what classifies the cubes, which is called once for each, in their order; later ones are begun meanwhile.

    Args:
        scheduler: address of a Dask scheduler, "tcp://host:8786".
        key: the cubes' variable, in HDF5 files with more than one.
        memory: bytes that the strips of a block may take, more or less.
        threads: of each block; 0 for one, as a cluster has a worker's thread for each.

    Raises:
        ClusterError: no scheduler answers, it has no workers, or lost them.
        SceneError: a cube that cannot be read, here or by a worker, or its format not by rows.
        CardError, ModelError, OptionError: see `stream.classify_rows`.
    """
    plans = [_plan(model, cube, key, asked, memory, threads or 1) for cube in cubes]
    with cluster.joined(scheduler, _version, "") as client:
        cut = [_blocks(plan, sum(client.nthreads().values())) for plan in plans]
        waiting = iter(cut)
        with closing(_in_order(client, scheduler, model.path, chain.from_iterable(cut))) as results:

            def classified(source: Cube, take: Callable[[Strip], None], progress: Progress) -> ClassificationStats:
                counts, blocks, started = Counts(), next(waiting), time.perf_counter()
                for block in blocks:
                    result, submitted = next(results)
                    started = min(started, submitted)  # before this call, where a cube before it was under way
                    take(result.strip)
                    counts.add(result.counts)
                    progress(block.part.stop / source.shape[0])
                return ClassificationStats.of(counts, source, started, blocks[0].plan.size.rows)

            yield classified


def _version() -> str:
    return __version__


def _plan(model: Model, cube: Path, key: str | None, asked: ClassifyOptions, memory: int, threads: int) -> Plan:
    with open_cube(cube, key) as source:
        if source.whole:
            raise OptionError(
                f"{cube} cannot be read by rows, each block would read it all; convert it to .npy", option="scheduler"
            )
        adapt(model.known, source, asked.units)
        size = strip_size(model, source.shape[1], memory)
        known = (source.shape, source.bands, str(source.dtype))
        opening = model.runtime, model.provider
        return Plan(cube.absolute(), key, *known, size, asked, threads, *opening, model.fast_int8, model.net)


def _blocks(plan: Plan, threads: int) -> list[Block]:
    """Blocks of whole strips: as many as there are threads, or more of them that are no larger than `_BLOCK_PIXELS`."""
    height, width = plan.shape
    most = min(_BLOCK_PIXELS // width, height // threads)
    tall = plan.size.rows * max(1, most // plan.size.rows)
    return [Block(plan, range(first, min(first + tall, height))) for first in range(0, height, tall)]


def _in_order(client: Any, scheduler: str, model: Path, blocks: Iterable[Block]) -> Generator[tuple[Found, float], None, None]:
    """Yields the results of the blocks, one by one, and when they were submitted.

    No more are under way than the cluster works on, and results wait on the workers: here is the memory of one.
    """
    run = uuid.uuid4().hex
    data = client.submit(bytes, model.read_bytes(), key=f"model-{run}")
    due: deque[tuple[Block, Any, float]] = deque()
    try:
        for place, block in enumerate(blocks):
            task = client.submit(classify_block, data, model.name, block, key=f"block-{place}-{run}", priority=-place)
            due.append((block, task, time.perf_counter()))
            while len(due) >= max(1, _AHEAD * sum(client.nthreads().values())):
                yield _result(client, scheduler, *due.popleft())
        while due:
            yield _result(client, scheduler, *due.popleft())
    finally:
        with suppress(Exception):  # of a cluster that is gone
            client.cancel([data, *(task for _, task, _ in due)])


def _result(client: Any, scheduler: str, block: Block, task: Any, submitted: float) -> tuple[Found, float]:
    """Raises SceneError where a worker could not open or read the cube."""
    part = f"{block.plan.path}, rows {block.part.start} to {block.part.stop - 1}"
    result = cluster.awaited(client, scheduler, task, part)
    if isinstance(result, Refused):
        raise SceneError(result.reason)
    assert isinstance(result, Found)
    return result, submitted


def classify_block(model: bytes, name: str, block: Block) -> Found | Refused:
    """Classifies a block; on a worker, where it has read what it needs of the cube by itself."""
    plan, counts = block.plan, Counts()
    try:
        if not plan.path.is_file():
            raise SceneError(f"{plan.path}: no such file there; a cube has to lie at the same path on all workers")
        with open_cube(plan.path, plan.key) as source:
            if (source.shape, source.bands, str(source.dtype)) != (plan.shape, plan.bands, plan.dtype):
                raise SceneError(
                    f"{plan.path}: another cube lies there, {source.shape}, {source.bands} bands of {source.dtype}"
                )
            opened = _opened(model, name, plan.threads, plan.runtime, plan.provider, plan.fast_int8, plan.net)
            pieces = list(strips(opened, source, block.part, plan.size, plan.asked, counts))
    except (HsiedgeError, OSError, MemoryError) as error:
        from distributed import get_worker

        return Refused(f"worker {get_worker().address} on {socket.gethostname()}: {str(error) or 'out of memory'}")
    return Found(_together(pieces), counts)


@functools.lru_cache(maxsize=2)
def _opened(
    model: bytes, name: str, threads: int, runtime: str | None, provider: str | None, fast_int8: bool, net: str | None
) -> Model:
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / name
        path.write_bytes(model)
        return load(path, threads, runtime, provider, fast_int8=fast_int8, net=net)


def _together(pieces: list[Strip]) -> Strip:
    likely = [strip.probabilities for strip in pieces if strip.probabilities is not None]
    return Strip(np.concatenate([strip.labels for strip in pieces]), np.concatenate(likely, axis=1) if likely else None)
