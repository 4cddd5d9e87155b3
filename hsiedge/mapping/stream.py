"""A cube as a file, classified by strips: memory does not grow with the length of the flight."""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from hsiedge.card import Card
from hsiedge.errors import ModelError, OptionError
from hsiedge.mapping.lines import Halo
from hsiedge.progress import Progress, silent
from hsiedge.runtimes import Model
from hsiedge.scenes.patches import check_patch
from hsiedge.scenes.readers import RowSource

MEMORY = 64 << 20
"""Bytes that strips may take, where nobody says otherwise."""
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


@dataclass(frozen=True)
class Told:
    """What is to be said of a classified cube.

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


def classify_rows(
    model: Model,
    source: RowSource,
    take: Callable[[Strip], None],
    reject: float = 0.0,
    probabilities: bool = False,
    memory: int = MEMORY,
    progress: Progress = silent,
) -> Told:
    """Classifies a cube strip by strip, in order.

    Args:
        take: is given each strip of the map.
        reject: pixels whose likeliest class has a lower probability get label 0.
        probabilities: whether strips carry them.
        memory: bytes that strips may take, more or less.

    Raises:
        CardError: the model has no Card.
        ModelError: the cube's bands, units or dtype do not fit the model.
        SceneError: the patch is wider than the cube, or rows that cannot be read.
        OptionError: a probability that is none.
    """
    if not 0 <= reject < 1:
        raise OptionError(f"--reject {reject:g}: a probability from 0 to 1 was expected")
    card, (height, width) = model.known, source.shape
    check_patch(card.patch, source.shape)
    bands = bands_for(card, source)
    rows = strip_rows(model, width, memory)
    counts = _Counts()
    empties: deque[NDArray[np.bool_]] = deque()
    started = time.perf_counter()
    done = 0
    for strip in _strips(model, source, bands, rows, empties):
        counts.saturation(strip, card)
        logits = model.strip(strip)
        likely = _softmax(logits) if probabilities or reject else None
        labels = model.label_ids(logits, axis=0)
        empty = np.concatenate([empties.popleft() for _ in range(len(labels))])
        if reject and likely is not None:
            unsure = (likely.max(0) < reject) & ~empty
            counts.unknown += int(unsure.sum())
            labels[unsure] = _UNKNOWN
        labels[empty] = _UNKNOWN
        counts.empty += int(empty.sum())
        take(Strip(labels, likely if probabilities else None))
        done += len(labels)
        progress(done / height)
    return Told(height * width, time.perf_counter() - started, counts.empty, counts.unknown, counts.outside, rows)


@dataclass
class _Counts:
    empty: int = 0
    unknown: int = 0
    values: int = 0
    at_ends: int = 0

    def saturation(self, strip: NDArray[Any], card: Card) -> None:
        """Counts integers at the ends of their range, on one row of a strip: a sample is enough, and costs nothing."""
        if card.input_affine is not None:
            limits, row = np.iinfo(strip.dtype), strip[card.radius]
            self.values += row.size
            self.at_ends += int(((row == limits.min) | (row == limits.max)).sum())

    @property
    def outside(self) -> float | None:
        return self.at_ends / self.values if self.values else None


def _strips(
    model: Model, source: RowSource, bands: NDArray[np.intp] | None, rows: int, empties: deque[NDArray[np.bool_]]
) -> Iterator[NDArray[Any]]:
    """Prepared strips with their halo; which pixels of each row hold no data goes into `empties`."""
    card, halo = model.known, Halo(model, source.shape[1])
    for first in range(0, source.shape[0], rows):
        stored = source.read(first, min(rows, source.shape[0] - first))
        empty = no_data(stored, source.nodata)
        empties.extend(empty[:, None])
        taken = stored if bands is None else stored[:, :, bands]
        strip = halo.push(filled(_as_stored(taken, card, source), empty, card))
        if strip is not None:
            yield strip
    last = halo.finish()
    if last is not None:
        yield last


def no_data(rows: NDArray[Any], nodata: float | None) -> NDArray[np.bool_]:
    """`(n, width)` of rows `(n, width, bands)`: pixels that are nodata in all bands, or not a number in any."""
    empty = np.zeros(rows.shape[:2], bool) if nodata is None else (rows == nodata).all(-1)
    return empty if rows.dtype.kind != "f" else empty | ~np.isfinite(rows).all(-1)


def filled(rows: NDArray[Any], empty: NDArray[np.bool_], card: Card) -> NDArray[Any]:
    """The rows, pixels without data replaced by the median spectrum of the training pixels: their neighbours see them."""
    if not empty.any() or rows.shape[-1] != card.scene.bands:
        return rows
    median = card.scene.percentiles.get("50", [0.0] * card.scene.bands)
    made = rows.copy()
    made[empty] = np.asarray(median).astype(rows.dtype)
    return made


def _as_stored(rows: NDArray[Any], card: Card, source: RowSource) -> NDArray[Any]:
    """In the dtype that the model takes, no value changed."""
    wanted = np.dtype(card.scene.dtype)
    if rows.dtype == wanted:
        return rows
    if wanted.kind != "f" and rows.dtype.kind == "f":
        raise ModelError(f"{source.path} holds {rows.dtype}, the model takes {wanted}: it was made for other units")
    if wanted.kind in "iu" and rows.size:
        limits = np.iinfo(wanted)
        if rows.min() < limits.min or rows.max() > limits.max:
            raise ModelError(f"{source.path} holds values that {wanted}, which the model takes, cannot hold")
    return rows.astype(wanted)


def bands_for(card: Card, source: RowSource) -> NDArray[np.intp] | None:
    """Which of the cube's bands the model takes, in its order; None where it takes them as they are.

    By wavelength where both are known: the nearest band, no farther than half of the model's band spacing. Else all that are
    not in the cube's bad-band list, which have to be as many.

    Raises:
        ModelError: no such bands, or other units.
    """
    units = card.scene.units.strip().lower(), source.units.strip().lower()
    if all(units) and units[0] != units[1]:
        raise ModelError(f"{source.path} is in {source.units!r}, the model takes {card.scene.units!r}")
    good = np.flatnonzero(source.good) if source.good else np.arange(source.bands)
    wanted, given = np.array(card.scene.wavelengths), np.array(source.wavelengths)
    if len(wanted) and len(given):
        chosen = _nearest(card, source, wanted, given, good)
    elif len(good) == card.scene.bands:
        chosen = good
    elif source.bands == card.scene.bands:
        chosen = np.arange(source.bands)
    else:
        spoken = f"{source.bands} bands" + (f", {len(good)} of them good" if len(good) < source.bands else "")
        raise ModelError(f"{source.path} has {spoken}, the model takes {card.scene.bands}, and no wavelengths tell which")
    return None if np.array_equal(chosen, np.arange(source.bands)) else chosen


def _nearest(
    card: Card, source: RowSource, wanted: NDArray[np.float64], given: NDArray[np.float64], good: NDArray[np.intp]
) -> NDArray[np.intp]:
    distance = np.abs(wanted[:, None] - given[good])
    nearest = distance.argmin(1)
    limit = max(1.0, float(np.median(np.abs(np.diff(wanted)))) / 2) if len(wanted) > 1 else 1.0
    off = distance.min(1)
    if off.max() > limit:
        worst = int(off.argmax())
        raise ModelError(
            f"{source.path}: has no good band within {limit:.1f} nm of the model's {wanted[worst]:.1f} nm; "
            f"the nearest is {given[good[nearest[worst]]]:.1f} nm"
        )
    chosen: NDArray[np.intp] = good[nearest]
    return chosen


def _softmax(logits: NDArray[np.float32]) -> NDArray[np.float32]:
    """Over the first axis."""
    powers: NDArray[np.float32] = np.exp(logits - logits.max(0))
    powers /= powers.sum(0)
    return powers


def strip_rows(model: Model, width: int, memory: int = MEMORY) -> int:
    """How many rows a strip may have, that it takes no more than `memory` bytes: found out by running two small ones.

    Raises:
        OptionError: a single row takes more.
    """
    card = model.known
    zeros = np.zeros((_TRIAL_ROWS + card.patch - 1, width + card.patch - 1, card.scene.bands), card.scene.dtype)
    model.strip(model.prepare(zeros[: card.patch]))
    before = _anonymous()
    model.strip(model.prepare(zeros))
    grown = max(0, _anonymous() - before) / (_TRIAL_ROWS - 1)
    stored = width * card.scene.bands * np.dtype(card.scene.dtype).itemsize
    each = 2 * grown + 4 * stored  # arenas grow in leaps; rows are held as stored, as planes, as floats and prepared
    if each * (card.patch) > 4 * memory:
        needed = int(each * card.patch / 4) >> 20
        raise OptionError(f"--memory: rows of {width} pixels take some {needed + 1} MiB at least")
    return int(np.clip(memory / max(each, 1) - card.patch, 1, _MOST_ROWS))


def _anonymous() -> int:
    """Bytes of the process that are backed by no file; all that is resident, where the system does not tell them apart."""
    try:
        with open("/proc/self/status") as status:
            return next(int(line.split()[1]) << 10 for line in status if line.startswith("RssAnon"))
    except (OSError, StopIteration):
        import psutil

        return int(psutil.Process().memory_info().rss)
