"""Geometry of plots: scales, ticks and marks in pixels, drawn as SVG by templates/plot.svg.

The SVG is made by hand rather than by a plotting library because it takes its colours and its type from the page: one
drawing serves light and dark, each mark is an element of its own with its words in it, and a page of a hundred plots
stays small.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field

WIDTH, HEIGHT = 380, 300
_LEFT, _RIGHT, _TOP, _BOTTOM = 46, 10, 12, 50
_APART = 21.0  # pixels between two ticks of the y axis; twice that on the x axis
LETTER = 6.9  # pixels that a digit of a tick takes in the widest of the page's fonts

SHAPES = (
    "M-4.6,0a4.6,4.6 0 1,0 9.2,0a4.6,4.6 0 1,0 -9.2,0z",
    "M-4.2,-4.2h8.4v8.4h-8.4z",
    "M0,-5.4L5.2,4.2H-5.2z",
    "M0,-5.8L5.8,0L0,5.8L-5.8,0z",
    "M-5.2,-4.2H5.2L0,5.4z",
)
"""Outlines around (0, 0), a net each; reused in order beyond five."""


@dataclass(frozen=True)
class Scale:
    """Scale from values to pixels: `low` at `start`, `high` at `stop`.

    Kinds: "linear", "log", and "stretched" for percentages, logarithmic in what is missing to 100: between 99 and 99.9 lies
    as much room as between 90 and 99. `gap` is the least that may be missing, and stands for nothing missing at all.
    """

    kind: str
    low: float
    high: float
    start: float
    stop: float
    gap: float = 0.01

    def at(self, value: float) -> float:
        """Pixel of a value."""
        low, high = self._bent(self.low), self._bent(self.high)
        value = min(value, 100 - self.gap) if self.kind == "stretched" else value
        share = (self._bent(value) - low) / (high - low) if high > low else 0.5
        return round(self.start + share * (self.stop - self.start), 1)

    def ticks(self, apart: float) -> list[float]:
        """Round values within the scale, at least `apart` pixels from each other, the roundest first."""
        kept: list[float] = []
        for value in self._candidates():
            inside = min(self.start, self.stop) <= self.at(value) <= max(self.start, self.stop)
            if inside and all(abs(self.at(value) - self.at(other)) >= apart for other in kept):
                kept.append(value)
        return sorted(kept)

    def _bent(self, value: float) -> float:
        if self.kind == "log":
            return math.log10(value)
        return -math.log10(100 - value) if self.kind == "stretched" else value

    def _candidates(self) -> list[float]:
        if self.kind == "stretched":
            first = [100.0, 99.0, 90.0, 50.0, 99.9, 95.0, 98.0, 99.5, 0.0, 80.0, 70.0, 97.0, 99.8]
            whole = [float(value) for step in (10, 5, 1) for value in range(0, 100, step)]
            rest = [*whole, 98.5, 99.2, 99.6, 99.7, 99.95, 99.98, 99.99, *(97 + step / 10 for step in range(30))]
            return first + rest
        if self.kind == "log":
            decades = range(math.floor(math.log10(self.low)), math.ceil(math.log10(self.high)) + 1)
            decimal = [digit * 10.0**decade for digit in (1, 5, 2, 3, 7) for decade in decades]
            return decimal + (self._round() if self.high < 10 * self.low else [])
        return self._round()

    def _round(self) -> list[float]:
        """Round values: multiples of a power of ten, of its half, its quarter and its tenth."""
        steps = (self.high - self.low) or 1.0
        unit = 10.0 ** math.floor(math.log10(steps))
        return [round(place * unit * part, 10) for part in (1, 0.5, 0.25, 0.1) for place in _places(self, unit * part)]


def _places(scale: Scale, unit: float) -> range:
    return range(math.ceil(scale.low / unit), math.floor(scale.high / unit) + 1)


@dataclass(frozen=True)
class Tick:
    """A tick of an axis: its place, and the lines that are written there."""

    at: float
    text: tuple[str, ...]


@dataclass(frozen=True)
class Mark:
    """A drawn point: its place, its whisker from `top` to `bottom` where it has one, its outline, and its words.

    `kind` decides its colour (a method), `fill` "full", "ring" or "pale"; `front` puts an outline around it.
    """

    x: float
    y: float
    shape: str
    kind: str
    fill: str
    title: str
    top: float | None = None
    bottom: float | None = None
    front: bool = False


@dataclass(frozen=True)
class Path:
    """A polyline "x,y x,y"; `style` "front", "line", "dashed" or "level"."""

    points: str
    kind: str
    style: str


@dataclass(frozen=True)
class Plot:
    """One drawing. `title` stands above it; `description` says what it shows, for who cannot see it and for everybody."""

    title: str
    x_title: str
    x_ticks: list[Tick]
    y_ticks: list[Tick]
    marks: list[Mark] = field(default_factory=list)
    paths: list[Path] = field(default_factory=list)
    description: str = ""
    width: int = WIDTH
    height: int = HEIGHT
    left: int = _LEFT
    right: int = WIDTH - _RIGHT
    top: int = _TOP
    bottom: int = HEIGHT - _BOTTOM


def x_scale(kind: str, values: Sequence[float]) -> Scale:
    """A scale that holds all values, with some room on both sides."""
    low, high = min(values), max(values)
    if kind == "log":
        room = max(1.12, (high / low) ** 0.06)
        low, high = low / room, high * room
    else:
        room = 0.06 * (high - low) or 0.5
        low, high = low - room, high + room
    return Scale(kind, low, high, _LEFT, WIDTH - _RIGHT)


def accuracy_scale(values: Sequence[float], pixels: int) -> Scale:
    """Scale of accuracies in percent on the y axis, of `pixels` tested: none is nearer to 100 than half a pixel."""
    gap = 50 / max(1, pixels)
    missing = [max(gap, 100 - value) for value in values]
    low, high = max(missing) * 1.12, min(missing) / 1.12
    return Scale("stretched", max(0.0, 100 - low), 100 - high, HEIGHT - _BOTTOM, _TOP, gap)


def y_ticks(scale: Scale) -> list[Tick]:
    """Ticks of an accuracy axis."""
    return [Tick(scale.at(value), (f"{value:g}",)) for value in scale.ticks(_APART)]


def x_ticks(scale: Scale) -> list[Tick]:
    """Ticks of an x axis of numbers: 0.125, 10 k, 2 M; the axis's title has the unit."""
    return [Tick(scale.at(value), (amount(value),)) for value in scale.ticks(2 * _APART)]


def amount(value: float, unit: str = "") -> str:
    """A number with at most three digits and a decimal prefix: "14.3 kB", "1.2 M", "0.05 ms"."""
    for size, prefix in ((1e9, "G"), (1e6, "M"), (1e3, "k")):
        if value >= size:
            return f"{value / size:.3g} {prefix}{unit}"
    return f"{value:.3g} {unit}".rstrip()


def polyline(marks: Sequence[tuple[float, float]]) -> str:
    """Polyline of points, as SVG writes it."""
    return " ".join(f"{x:g},{y:g}" for x, y in marks)


def stairs(marks: Sequence[tuple[float, float]], right: float) -> str:
    """Polyline of a Pareto front: from mark to mark in right angles, and on to the right edge."""
    points: list[tuple[float, float]] = []
    for x, y in marks:
        points += [(x, points[-1][1])] if points else []
        points.append((x, y))
    if points:
        points.append((right, points[-1][1]))
    return polyline(points)
