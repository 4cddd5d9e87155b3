"""Watches on what comes: shares of classes over a window and over tiles, and values out of the calibrated range."""

from __future__ import annotations

import operator
import re
from collections import deque
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from hsiedge.errors import OptionError
from hsiedge.live.sinks import Event, Strip
from hsiedge.mapping.model_rows import ModelRows
from hsiedge.runtimes import Model
from hsiedge.scenes.adapt import adapt
from hsiedge.scenes.io.cube import Cube

_RELATIONS: dict[str, Callable[[float, float], bool]] = {
    ">=": operator.ge,
    "<=": operator.le,
    ">": operator.gt,
    "<": operator.lt,
}
_CONDITION = re.compile(r"\s*(.+?)\s*(>=|<=|>|<)\s*(\d+(?:\.\d+)?)\s*%\s*of\s*(\d{1,7})\s*lines?\s*")
_LARGEST_WINDOW = 1 << 24  # counts that a window holds
_DRIFT_EVERY, _DRIFT_PIXELS, _DRIFT_LINES = 8, 64, 100
DRIFT = 0.01
"""Share of values at the ends of the calibrated range above which lines are marked."""


class ClassCounts:
    """Pixels of each class, a line each: column 0 is no data, column k the k-th class.

    Args:
        classes: label id -> name.
    """

    def __init__(self, classes: dict[int, str]) -> None:
        self.names = list(classes.values())
        self._columns = np.zeros(max(classes) + 1, np.intp)
        self._columns[list(classes)] = np.arange(1, len(classes) + 1)

    def places(self, labels: NDArray[np.uint16]) -> NDArray[np.uint8]:
        """Columns of labels, as bytes; of the classes beyond 255 there are no colours, and they are 0."""
        places = self._columns[labels]
        return np.where(places <= 255, places, 0).astype(np.uint8)

    def of(self, strip: Strip, values: NDArray[Any] | None = None) -> NDArray[np.float64]:
        """Counts `(n, 1 + classes)`, or sums of `values` `(n, width)`."""
        lines, size = len(strip.labels), len(self.names) + 1
        places = self._columns[strip.labels] + size * np.arange(lines)[:, None]
        weights = None if values is None else np.nan_to_num(values.ravel(), posinf=0, neginf=0)
        return np.bincount(places.ravel(), weights, lines * size).reshape(lines, size).astype(np.float64)

    def shares(self, counts: NDArray[np.float64]) -> dict[str, float]:
        """Shares of the pixels with data, by class name, of classes that there are."""
        total = counts[1:].sum()
        return {name: round(float(count / total), 6) for name, count in zip(self.names, counts[1:]) if count}


@dataclass(frozen=True)
class Condition:
    """A share that is watched: `NAME > 20 % of 100 lines`.

    Attributes:
        text: as it was written. column: of the class in `ClassCounts`. share: 0 to 1. lines: of the window.
    """

    text: str
    column: int
    relation: str
    share: float
    lines: int

    @staticmethod
    def parse(text: str, classes: dict[int, str]) -> Condition:
        """Condition of a text; the class by its name or id. Raises OptionError."""
        match = _CONDITION.fullmatch(text)
        if match is None:
            raise OptionError("'CLASS > 20 % of 100 lines' was expected", option="watch", value=text)
        named = [place for place, name in enumerate(classes.values(), 1) if name.lower() == match[1].lower()]
        named = named or [place for place, label in enumerate(classes, 1) if str(label) == match[1]]
        if len(named) != 1:
            listed = ", ".join(f"{label} {name}" for label, name in classes.items())
            raise OptionError(f"no class is called {match[1]!r}; there are {listed}", option="watch", value=text)
        lines, share = int(match[4]), float(match[3]) / 100
        if share > 1 or not 1 <= lines <= _LARGEST_WINDOW // (len(classes) + 1):
            raise OptionError("0 to 100 % of 1 line or more was expected, or fewer lines", option="watch", value=text)
        return Condition(text.strip(), named[0], match[2], share, lines)


class Watch:
    """A condition over the last lines: an event where it begins to hold, and one where it ends."""

    def __init__(self, condition: Condition, counts: ClassCounts) -> None:
        size = len(counts.names) + 1
        self.condition, self._counts = condition, counts
        self._lines = np.zeros((condition.lines, 2, size), np.float32)  # counts, and sums of confidence
        self._sum = np.zeros((2, size))
        self._seen, self._holds, self._confident = 0, False, False

    def take(self, strip: Strip, counted: NDArray[np.float64]) -> Iterator[Event]:
        """Events of the next lines, whose counts are `counted`."""
        confident = None if strip.confidence is None else self._counts.of(strip, strip.confidence)
        self._confident = confident is not None
        for line in range(len(counted)):
            place = self._seen % self.condition.lines
            self._sum -= self._lines[place]
            self._lines[place, 0] = counted[line]
            self._lines[place, 1] = 0 if confident is None else confident[line]
            self._sum += self._lines[place]
            self._seen += 1
            total = self._sum[0, 1:].sum()
            if self._seen < self.condition.lines:
                continue
            share = self._sum[0, self.condition.column] / total if total else 0.0
            holds = bool(total) and _RELATIONS[self.condition.relation](share, self.condition.share)
            if holds != self._holds:
                self._holds = holds
                yield self._event(strip.first + line, float(share))

    def _event(self, line: int, share: float) -> Event:
        pixels, sums = self._sum[:, self.condition.column]
        return {
            "event": "watch",
            "watch": self.condition.text,
            "state": "begins" if self._holds else "ends",
            "lines": [line - self.condition.lines + 1, line],
            "share": round(share, 6),
            "shares": self._counts.shares(self._sum[0]),
            "confidence": round(float(sums / pixels), 6) if self._confident and pixels else None,
        }


class Tiles:
    """Class shares of square tiles: an event each, once the last of its lines has been labelled.

    Raises:
        OptionError: a side of no pixel.
    """

    def __init__(self, side: int, width: int, counts: ClassCounts) -> None:
        if not 1 <= side <= 1 << 20:
            raise OptionError("a side of 1 pixel or more was expected", option="tile", value=side)
        self._side, self._width, self._counts = side, width, counts
        self._lefts = range(0, width, side)
        self._sums = np.zeros((len(self._lefts), len(counts.names) + 1))
        self._first, self._lines = 0, 0

    def take(self, strip: Strip) -> Iterator[Event]:
        """Events of the tiles that these lines end."""
        done = 0
        while done < len(strip.labels):
            part = strip.labels[done : done + self._side - self._lines]
            for place, left in enumerate(self._lefts):
                self._sums[place] += self._counts.of(Strip(0, part[:, left : left + self._side])).sum(0)
            self._lines, done = self._lines + len(part), done + len(part)
            if self._lines == self._side:
                yield from self.end()

    def end(self) -> Iterator[Event]:
        """Events of the tiles that have begun."""
        if not self._lines:
            return
        last = self._first + self._lines - 1
        for left, sums in zip(self._lefts, self._sums):
            yield {
                "event": "tile",
                "lines": [self._first, last],
                "columns": [left, min(left + self._side, self._width) - 1],
                "no_data": round(float(sums[0] / sums.sum()), 6),
                "shares": self._counts.shares(sums),
            }
        self._first, self._lines = last + 1, 0
        self._sums[:] = 0


class Drift:
    """Share of values at the ends of the range that an integer model was calibrated on, over the last lines.

    Of every eighth line 64 pixels are looked at: prepared once more, some 1 % of the work. Lines are marked from where the
    share is above the limit to where it is below half of it.

    Attributes:
        marked: first and last line of each stretch. drifts: whether one is going on.
        outside: the share of all values, 0 to 1; None for a model without integers at its input.

    Args:
        limit: share, 0 to 1.
    """

    def __init__(self, model: Model, like: Cube, units: str | None, limit: float) -> None:
        if not 0 < limit <= 1:
            raise OptionError("a share above 0, up to 1, was expected", option="drift", value=f"{limit:g}")
        self._model, self._limit = model, limit
        self._watched = model.known.input_affine is not None
        self._step = max(1, like.shape[1] // _DRIFT_PIXELS)
        self._rows = ModelRows(model, adapt(model.known, _without_mask(like), units)) if self._watched else None
        self._recent: deque[tuple[int, int]] = deque(maxlen=max(1, _DRIFT_LINES // _DRIFT_EVERY))
        self._at_ends = self._values = 0
        self.marked: list[list[int]] = []
        self.drifts = False

    @property
    def outside(self) -> float | None:
        """Share of all values that were looked at."""
        return self._at_ends / self._values if self._values else None

    def take(self, lines: NDArray[Any], first: int) -> Iterator[Event]:
        """Events of stored lines `(n, width, bands)`, the first of which has the number `first`."""
        if self._rows is None:
            return
        for line in range(-first % _DRIFT_EVERY, len(lines), _DRIFT_EVERY):
            stored, empty = self._rows.take(lines[line : line + 1])
            prepared = self._model.prepare(stored, None, self._rows.references, empty)
            values = prepared[:, :: self._step][~empty[:, :: self._step]]
            limits = np.iinfo(values.dtype)
            at_ends = int(((values == limits.min) | (values == limits.max)).sum())
            self._recent.append((at_ends, values.size))
            self._at_ends, self._values = self._at_ends + at_ends, self._values + values.size
            yield from self._judge(first + line)

    def end(self, lines: int) -> None:
        """Says how many lines there were: a drift that is going on lasts to the end."""
        if self.drifts:
            self.marked[-1][1] = max(self.marked[-1][1], lines - 1)

    def _judge(self, line: int) -> Iterator[Event]:
        at_ends, values = (sum(entry[place] for entry in self._recent) for place in (0, 1))
        share = at_ends / max(1, values)
        full = len(self._recent) == self._recent.maxlen
        if self.drifts:
            self.marked[-1][1] = line
        if full and self.drifts != (share > (self._limit / 2 if self.drifts else self._limit)):
            self.drifts = not self.drifts
            begin = max(0, line - _DRIFT_EVERY * len(self._recent) + 1)
            if self.drifts:
                self.marked.append([begin, line])
            state = "begins" if self.drifts else "ends"
            yield {"event": "drift", "state": state, "lines": [begin, line], "share": round(share, 6)}


def event_line(event: Event) -> str:
    """An event as a line for the user."""
    first, last = event["lines"]
    where = f"lines {first} to {last}"
    if event["event"] == "drift":
        return f"{where}: {event['share']:.1%} of values out of the calibrated range; drift {event['state']}"
    shares = ", ".join(f"{name} {share:.1%}" for name, share in event["shares"].items()) or "no data"
    if event["event"] == "tile":
        return f"tile, {where}, columns {event['columns'][0]} to {event['columns'][1]}: {shares}"
    return f"{event['watch']}: {event['state']} at line {last}, {event['share']:.1%}"


def _without_mask(cube: Cube) -> Cube:
    raw = cube.raw and replace(cube.raw, cube=replace(cube.raw.cube, valid=None))
    return replace(cube, valid=None, shape=(max(cube.shape), cube.shape[1]), raw=raw)
