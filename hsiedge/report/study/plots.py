"""Plots of a study's page: accuracy against each cost, and by the level of each method. Geometry and words alone."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from hsiedge.report.plots import (
    LETTER,
    SHAPES,
    Mark,
    Path,
    Plot,
    Scale,
    Tick,
    accuracy_scale,
    amount,
    polyline,
    stairs,
    x_scale,
    x_ticks,
    y_ticks,
)
from hsiedge.report.study.figures import CONTROLS, MAIN_CONTROLS, METHODS, Entry, Group, Spread, level_place, pareto_front
from hsiedge.report.study.tables import difference_words, short_level, spread_words

_AXES = {"distill": "student, net and widths", "qat": "bits of the weights, below 8 simulated", "compress": "bytes asked for"}


@dataclass(frozen=True)
class Tradeoff:
    """Accuracy against one cost, and the entries of its Pareto front in words, cheapest first."""

    plot: Plot
    pareto_front: list[str]


def tradeoffs(group: Group) -> list[Tradeoff]:
    """Plots accuracy against each cost that was measured."""
    costs = [("bytes", "size of the file", "B"), ("gzip", "size of the file, gzip", "B"), ("macs", "MACs a pixel", "")]
    costs += [(name, f"{name.replace('_', ' ')} a pixel, Cortex-A76", "") for name in group.counted]
    costs += [(f"ms{batch}", f"latency at batch {batch}", "ms") for batch in group.batches]
    costs += [("memory", "peak memory", "MiB")] if group.batches else []
    plots = [_tradeoff(group, name, title, unit) for name, title, unit in costs]
    return [tradeoff for tradeoff in plots if tradeoff]


def _tradeoff(group: Group, name: str, title: str, unit: str) -> Tradeoff | None:
    entries = [entry for entry in group.measured() if name in entry.figures]
    if not entries:
        return None
    across = x_scale("log", [entry.figures[name].mean for entry in entries])
    up = _accuracy(group, entries)
    able = [entry for entry in entries if not entry.simulated]
    best = [able[i] for i in pareto_front([(entry.figures[name].mean, entry.figures["oa"].mean) for entry in able])]
    places = {id(entry): (across.at(entry.figures[name].mean), up.at(entry.figures["oa"].mean)) for entry in entries}
    marks = []
    for entry in sorted(entries, key=lambda entry: entry in best):
        cost = _cost(entry, name, unit)
        marks += _control_marks(entry, places[id(entry)][0], up)
        marks.append(_mark(group, entry, *places[id(entry)], up, cost, entry in best))
    plot = Plot(
        f"Accuracy against {title}",
        f"{title}{f', {unit}' if unit else ''}",
        x_ticks(across),
        y_ticks(up),
        marks,
        description=f"Overall accuracy of {len(entries)} forms against {title}; {len(best)} lie on the Pareto front.",
    )
    plot.paths.append(Path(stairs([places[id(entry)] for entry in best], plot.right), "front", "front"))
    words = [f"{entry.title}: {scored(entry)}, {_cost(entry, name, unit)}" for entry in best]
    return Tradeoff(plot, words)


def levels(group: Group) -> list[Plot]:
    """Plots accuracy against ratio, student or bits, for each method."""
    entries = [entry for entry in group.entries if entry.method != "none"]
    parents = [parent for net in group.nets if (parent := group.parent(net))]
    methods = [method for method in MAIN_CONTROLS if any(entry.method == method for entry in entries)]
    up = _accuracy(group, [*entries, *parents])
    return [_level(group, [entry for entry in entries if entry.method == method], parents, up) for method in methods]


def _level(group: Group, entries: list[Entry], parents: list[Entry], up: Scale) -> Plot:
    method = entries[0].method
    axis = _AXES.get(method, "ratio asked for")
    across, ticks = _level_axis(entries)
    marks = [
        _mark(group, e, across(e), up.at(e.figures["oa"].mean), up, _cost(e, "bytes", "B"), False)
        for e in entries
        if not e.control
    ]
    marks += [mark for e in entries if not e.control for mark in _control_marks(e, across(e), up)]
    description = f"Overall accuracy of {METHODS[method]} by {axis}, between {_range(entries)} %."
    plot = Plot(
        METHODS[method].capitalize() if method != "qat" else "QAT", axis, ticks, y_ticks(up), marks, description=description
    )
    for parent in parents:
        level = up.at(parent.figures["oa"].mean)
        plot.paths.append(Path(polyline([(plot.left, level), (plot.right, level)]), "none", "level"))
    for series in _series(entries):
        line = sorted((across(entry), up.at(entry.figures["oa"].mean)) for entry in series)
        style = "line" if series[0].integer else "dashed"
        plot.paths.append(Path(polyline(line), "control" if series[0].control else kind_of(method), style))
    return plot


def _level_axis(entries: list[Entry]) -> tuple[Callable[[Entry], float], list[Tick]]:
    """Places of the entries' levels on the x axis, and its ticks: ratios by their value, all else in equal steps."""
    levels = list(dict.fromkeys(entry.level for entry in sorted(entries, key=level_place)))
    if entries[0].method in ("magnitude", "structured") and all(_is_number(level) for level in levels):
        ratios = Scale("linear", 0, 1, 46, 370)
        return lambda entry: ratios.at(float(entry.level)), x_ticks(ratios)
    steps = Scale("linear", -0.5, len(levels) - 0.5, 46, 370)
    room = int((steps.stop - steps.start) / len(levels) / LETTER)  # letters that fit between two ticks
    ticks = [Tick(steps.at(place), _lines(level, room)) for place, level in enumerate(levels)]
    return lambda entry: steps.at(levels.index(entry.level)), ticks


def _lines(level: str, room: int) -> tuple[str, ...]:
    """Lines of a level's tick: a student's net above its widths, cut to the room that there is."""
    parts = short_level(level).split(" ", 1)
    return tuple(part if len(part) <= room else f"{part[: max(1, room - 1)]}…" for part in parts)


def _series(entries: list[Entry]) -> list[list[Entry]]:
    """Entries that one line joins, of the same net, variant and kind of precision, by level."""
    lists: dict[tuple[str, str, bool, bool], list[Entry]] = {}
    for entry in sorted(entries, key=level_place):
        key = (entry.net, entry.variant, entry.integer, entry.control)
        lists.setdefault(key, []).append(entry)
    return list(lists.values())


def _mark(group: Group, entry: Entry, x: float, y: float, up: Scale, cost: str, best: bool) -> Mark:
    spread = entry.figures["oa"]
    std = spread.std or 0.0
    top, bottom = (up.at(min(100, spread.mean + std)), up.at(max(up.low, spread.mean - std))) if std else (None, None)
    fill = "pale" if entry.simulated else "full" if entry.integer else "ring"
    title = f"{entry.title}: {scored(entry)}, {cost}{', on the Pareto front' if best else ''}"
    return Mark(x, y, shape_of(group, entry.net), kind_of(entry.method), fill, title, top, bottom, best)


def _control_marks(entry: Entry, x: float, up: Scale) -> list[Mark]:
    """Mark of an entry's control, a short bar in the same place: its file is of the same make."""
    contrast = entry.against()
    if contrast is None or contrast.kind == "float":  # the float file has a mark of its own
        return []
    beside = f"{_percent(contrast.control)}; {METHODS[entry.method]} itself {_percent(entry.figures['oa'])}"
    title = f"{entry.title}, its control, {CONTROLS[contrast.kind]}: {beside}"
    return [Mark(x, up.at(contrast.control.mean), "M-7,-1.1h14v2.2h-14z", "control", "full", title)]


def _accuracy(group: Group, entries: Sequence[Entry]) -> Scale:
    values = [entry.figures["oa"] for entry in entries]
    values += [contrast.control for entry in entries if (contrast := entry.against())]
    ends = [spread.mean + sign * (spread.std or 0) for spread in values for sign in (-1, 1)]
    return accuracy_scale([min(100.0, max(0.0, value)) for value in ends], max(row.test for row in group.rows))


def kind_of(method: str) -> str:
    """Kind of mark of a method, after which the page names its colour."""
    if method in ("scratch", "finetune"):
        return "control"
    return method if method in METHODS and method != "compress" else "other"


def shape_of(group: Group, net: str) -> str:
    """Outline of a net's marks."""
    return SHAPES[sorted(group.nets).index(net) % len(SHAPES)]


def _percent(spread: Spread) -> str:
    return f"OA {spread_words(spread, '{:.2f}')} %"


def scored(entry: Entry) -> str:
    """OA of an entry in words, and beside it that of its control where there is one, and the difference."""
    contrast = entry.against()
    if contrast is None or contrast.kind == "float":
        return _percent(entry.figures["oa"])
    beside = f" (its control {_percent(contrast.control)}, difference {difference_words(contrast)})"
    return _percent(entry.figures["oa"]) + beside


def _cost(entry: Entry, name: str, unit: str) -> str:
    """Cost of an entry in words, with what must be said along with it."""
    stored = " (8-bit storage)" if entry.simulated and name in ("bytes", "gzip") else ""
    warning = " (the timing is not to be trusted yet)" if name in entry.warnings else ""
    return amount(entry.figures[name].mean, unit) + stored + warning


def _range(entries: Sequence[Entry]) -> str:
    values = [entry.figures["oa"].mean for entry in entries]
    return f"{min(values):.2f} and {max(values):.2f}"


def _is_number(text: str) -> bool:
    try:
        return math.isfinite(float(text))
    except ValueError:
        return False
