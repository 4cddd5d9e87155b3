"""A cube as a file, classified by strips: memory does not grow with the length of the flight."""

from __future__ import annotations

import ctypes
import functools
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from hsiedge.card import Card
from hsiedge.errors import OptionError
from hsiedge.mapping.model_rows import ModelRows
from hsiedge.progress import Progress, silent
from hsiedge.runtimes import Model
from hsiedge.runtimes.row_buffer import RowBuffer
from hsiedge.scenes.adapt import adapt
from hsiedge.scenes.io.cube import Cube

MEMORY = 64 << 20
"""Bytes that strips may take, where nobody says otherwise."""
_STREAMED = 8 << 20  # of that, for an engine that takes rows one by one
_TRIAL_ROWS, _MOST_ROWS = 4, 256
_UNKNOWN = 0


@dataclass(frozen=True)
class Strip:
    """Some rows of a map.

    Attributes:
        labels: uint16 `(n, width)`, 0 where there is no data, or no class is likely enough.
        probabilities: float32 `(classes, n, width)`, if they were asked for.
    """

    labels: NDArray[np.uint16]
    probabilities: NDArray[np.float32] | None


@dataclass
class Counts:
    """Counts that are kept while strips are classified.

    Attributes:
        empty, unknown: as in `ClassificationStats`.
        values, at_ends: values that were looked at, and those of them at the ends of the calibrated range.
    """

    empty: int = 0
    unknown: int = 0
    values: int = 0
    at_ends: int = 0

    def add(self, other: Counts) -> None:
        """Adds those of another part of the cube."""
        self.empty += other.empty
        self.unknown += other.unknown
        self.values += other.values
        self.at_ends += other.at_ends

    def saturation(self, row: NDArray[Any], card: Card) -> None:
        """Counts integers at the ends of their range, on one prepared row of a strip: a sample is enough, and costs nothing."""
        if card.input_affine is not None:
            limits = np.iinfo(row.dtype)
            self.values += row.size
            self.at_ends += sum(int(np.count_nonzero(row == limit)) for limit in (limits.min, limits.max))


@dataclass(frozen=True)
class ClassificationStats:
    """Statistics of a classified cube.

    Attributes:
        pixels, seconds: of it all, from rows as the file stores them to labels.
        empty: pixels without data; unknown: those whose likeliest class was less likely than asked for.
        outside: share of values at the ends of the range that the model was calibrated on, 0 to 1; None for a float model.
        rows: that a strip had.
    """

    pixels: int
    seconds: float
    empty: int
    unknown: int
    outside: float | None
    rows: int

    @staticmethod
    def of(counts: Counts, source: Cube, started: float, rows: int) -> ClassificationStats:
        """Statistics of a cube that is done; `started` by time.perf_counter."""
        pixels, seconds = source.shape[0] * source.shape[1], time.perf_counter() - started
        outside = counts.at_ends / counts.values if counts.values else None
        return ClassificationStats(pixels, seconds, counts.empty, counts.unknown, outside, rows)


Classify = Callable[[Cube, Callable[[Strip], None], Progress], ClassificationStats]
"""Classifies a cube: gives each strip of its map to what takes it, and tells how far it is."""


@dataclass(frozen=True)
class ClassifyOptions:
    """Options of a map.

    Attributes:
        reject: pixels whose likeliest class has a lower probability get label 0.
        probabilities: whether strips carry them.
        units: what the cube's values are, "stored" or "physical"; None where cube and Card tell.

    Raises:
        OptionError: a probability that is none.
    """

    reject: float = 0.0
    probabilities: bool = False
    units: str | None = None

    def __post_init__(self) -> None:
        if not 0 <= self.reject < 1:
            raise OptionError("a probability of 0 or more and below 1 was expected", option="reject", value=f"{self.reject:g}")


def classify_rows(
    model: Model,
    source: Cube,
    take: Callable[[Strip], None],
    asked: ClassifyOptions = ClassifyOptions(),
    memory: int = MEMORY,
    progress: Progress = silent,
) -> ClassificationStats:
    """Classifies a cube strip by strip, in order.

    Args:
        take: is given each strip of the map.
        memory: bytes that strips may take, more or less.

    Raises:
        CardError: the model has no Card.
        ModelError: the cube's bands, units or dtype do not fit the model.
        SceneError: the patch is wider than the cube, or rows that cannot be read.
        OptionError: a single row takes more than `memory`.
    """
    adapt(model.known, source, asked.units)
    size = strip_size(model, source.shape[1], memory)
    counts, started, done = Counts(), time.perf_counter(), 0
    for strip in strips(model, source, range(source.shape[0]), size, asked, counts):
        take(strip)
        done += len(strip.labels)
        progress(done / source.shape[0])
    return ClassificationStats.of(counts, source, started, size.rows)


def strips(model: Model, source: Cube, part: range, size: StripSize, asked: ClassifyOptions, counts: Counts) -> Iterator[Strip]:
    """Classifies the rows `part` of a cube, as many at a time as a strip has; what is found is counted in `counts`.

    A strip's values do not depend on the part that it lies in, where parts begin at multiples of its rows.

    Raises:
        ModelError, SceneError: see `classify_rows`.
    """
    card = model.known
    wants_logits = asked.probabilities or asked.reject > 0
    outputs = _streamed if model.streams else _strip_by_strip
    rows = ModelRows(model, adapt(card, source, asked.units))
    for output, empty in outputs(model, rows, part, size, counts, wants_logits):
        likely, labels = None, output
        if wants_logits:
            likely, labels = class_probabilities(output, card), model.label_ids(output, axis=0)
        if likely is not None and asked.reject:
            unsure = (likely.max(0) < asked.reject) & ~empty
            counts.unknown += int(unsure.sum())
            labels[unsure] = _UNKNOWN
        labels[empty] = _UNKNOWN
        counts.empty += int(empty.sum())
        yield Strip(labels, likely if asked.probabilities else None)


_Outputs = Iterator[tuple[NDArray[Any], NDArray[np.bool_]]]


def _strip_by_strip(model: Model, source: ModelRows, part: range, size: StripSize, counts: Counts, logits: bool) -> _Outputs:
    """Label ids `(n, width)` or logits `(classes, n, width)` of strips, and their pixels without data."""
    for prepared, empty in _prepared(model, source, part, size):
        counts.saturation(prepared[model.known.radius], model.known)
        yield (model.strip if logits else model.strip_labels)(prepared, size.columns), empty


def _streamed(model: Model, source: ModelRows, part: range, size: StripSize, counts: Counts, logits: bool) -> _Outputs:
    """Outputs of an engine that takes rows one by one, so that no halo is computed twice; see `_strip_by_strip`."""
    radius, (height, width) = model.known.radius, source.stored.shape
    stream = model.stream(width, above=max(0, radius - part.start), logits=logits, references=source.references)
    assert stream is not None
    end, stop = max(0, part.start - radius), min(part.stop + radius, height)
    done, empty = part.start, np.zeros((0, width), bool)
    held = end  # the first row of `empty`
    while end < stop:
        stored, without_data = source.read(end, min(size.read, stop - end))
        counts.saturation(model.prepare(stored[:1], None, source.references, without_data[:1])[0], model.known)
        output = stream.push(*source.pushed(stored, without_data))
        empty, end = np.concatenate([empty, without_data]), end + len(stored)
        del stored, without_data  # before the next are read: they are most of what this takes
        if end == height:
            output = np.concatenate([output, stream.finish()], axis=-2)
        count = min(output.shape[-2], part.stop - done)
        if count:
            yield output[..., :count, :], empty[done - held : done - held + count]
            done += count
            empty, held = empty[done - held :], done


def _prepared(
    model: Model, source: ModelRows, part: range, size: StripSize
) -> Iterator[tuple[NDArray[Any], NDArray[np.bool_]]]:
    """Prepared strips with their halo, and which of their pixels `(n, width)` hold no data.

    The halo is reflected at the scene's true edges only. Each row is read and prepared once: what the next strip needs is kept.
    """
    radius, (height, width) = model.known.radius, source.stored.shape
    start = end = max(0, part.start - radius)  # of the rows whose `empty` is held
    held = RowBuffer(model, width, max(0, radius - part.start), source.references)
    empty = np.zeros((0, width), bool)
    for first in range(part.start, part.stop, size.rows):
        last = min(first + size.rows, part.stop)
        due = min(last + radius, height)
        while end < due:
            stored, without_data = source.read(end, min(size.read, due - end))
            held.push(*source.pushed(stored, without_data))
            empty, end = np.concatenate([empty, without_data]), end + len(stored)
            if end == height:
                held.end()
        yield held.strip(last - first), empty[first - start : last - start]
        kept = max(0, last - radius)
        empty, start = empty[kept - start :], kept


def class_probabilities(logits: NDArray[np.float32], card: Card) -> NDArray[np.float32]:
    """Probabilities over the first axis: softmax, or what the graph gives where it ends in a function that makes them."""
    return logits if card.head else _softmax(logits)


def _softmax(logits: NDArray[np.float32]) -> NDArray[np.float32]:
    """Softmax over the first axis, added plane by plane: np.sum's order, and its last bit, depend on a strip's layout."""
    powers: NDArray[np.float32] = np.exp(logits - logits.max(0))
    powers /= functools.reduce(np.add, powers)
    return powers


class StripSize(NamedTuple):
    """Size of a strip: its rows, the columns that the engine is given at a time, and the rows that are read at a time."""

    rows: int
    columns: int
    read: int


def strip_size(model: Model, width: int, memory: int = MEMORY) -> StripSize:
    """Size of strips that take no more than `memory` bytes, more or less, and compute as little twice as that allows.

    A graph with a tile gets whole tiles, one at least, for a lower strip would be filled up. Any other scene graph gets more
    rows than an engine has memory for at the scene's width, and part of the columns: of low strips, most is halo.

    Raises:
        OptionError: a single row takes more.
    """
    card, tile = model.known, model.tile
    stored = width * card.scene.bands * np.dtype(card.scene.dtype).itemsize
    # A graph with a tile takes what it takes, and a stream the same for any number of rows.
    grown = _grown(model, width) if tile is None and not model.streams else 0.0
    in_pieces = card.kind == "scene" and tile is None and not model.streams
    prepared = (width + card.patch - 1) * card.scene.bands * model.prepared_dtype.itemsize
    # Arenas of engines grow in leaps; rows are held as stored, filled, and prepared. Pieces of a row can be as narrow as need
    # be; the prepared rows that they are cut from may take 4/6 of the memory, which leaves some for the engine.
    each = 4 * stored + (6 * prepared if in_pieces else 2 * grown)
    least = 1 if tile is None else tile[0]
    if each * (card.radius * 2 + least) > 4 * memory:
        needed = int(each * (card.radius * 2 + least) / 4) >> 20
        raise OptionError(f"rows of {width} pixels take some {needed + 1} MiB at least", option="memory")
    read = int(np.clip(memory / (12 * stored), 1, _MOST_ROWS))
    if model.streams:  # few rows at a time cost it nothing
        few = int(np.clip(min(memory, _STREAMED) / (12 * stored), 1, _MOST_ROWS))
        return StripSize(few, width, few)
    if in_pieces:
        return StripSize(*_least_work(card.patch - 1, width, prepared, 2 * grown / width, 0.75 * memory), read)
    rows = int(np.clip(memory / max(each, 1) - card.patch, 1, _MOST_ROWS))
    return StripSize(max(least, rows // least * least), width, read)


def _least_work(halo: int, width: int, row: int, pixel: float, memory: float) -> tuple[int, int]:
    """Rows and columns of a strip's pieces with the least halo to compute.

    Args:
        row: bytes of a row that is held. pixel: bytes that the engine takes for a pixel of a piece.
    """
    rows = np.arange(1, _MOST_ROWS + 1)
    left = memory - row * (rows + halo)
    columns = np.clip(left / (max(pixel, 1e-9) * (rows + halo)) - halo, 1, width).astype(int)
    across = np.ceil(width / columns)
    work = (rows + halo) / rows * np.where(columns == width, 1, across * (columns + halo) / width)
    best = int(work.argmin())
    return int(rows[best]), int(columns[best])


def _grown(model: Model, width: int) -> float:
    """Bytes that a row more makes the engine take: found out by running two small strips."""
    card = model.known
    zeros = np.zeros((_TRIAL_ROWS + card.patch - 1, width + card.patch - 1, card.scene.bands), card.scene.dtype)
    _give_back()  # what an earlier model has left would be taken again, and not be seen to grow
    model.strip(model.prepare(zeros[: card.patch]))
    before = _anonymous()
    model.strip(model.prepare(zeros))
    return max(0, _anonymous() - before) / (_TRIAL_ROWS - 1)


def _give_back() -> None:
    """Returns to the system what has been freed, where the C library knows how (malloc_trim(3)): glibc keeps some 64 MB."""
    trim = getattr(ctypes.CDLL(None), "malloc_trim", None)
    if trim is not None:
        trim(0)


def _anonymous() -> int:
    """Bytes of the process that are backed by no file; all that is resident, where the system does not tell them apart."""
    try:
        with open("/proc/self/status") as status:
            return next(int(line.split()[1]) << 10 for line in status if line.startswith("RssAnon"))
    except (OSError, StopIteration):
        import psutil

        return int(psutil.Process().memory_info().rss)
