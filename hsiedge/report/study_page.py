"""A study's page: report.html, self-contained, that opens offline, in light and dark, on a phone too."""

from __future__ import annotations

import base64
import io
import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import jinja2
import numpy as np
from matplotlib.image import imsave
from numpy.typing import NDArray

from hsiedge import __version__
from hsiedge.mapping import palette
from hsiedge.metrics import accuracy
from hsiedge.report.doubts import doubt_lines
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
from hsiedge.report.study_figures import (
    METHODS,
    Entry,
    Group,
    control_of,
    front,
    groups,
    level_place,
    scene_title,
    short_level,
)
from hsiedge.report.study_tables import Sheet, figure_words, sheet, spread_words

if TYPE_CHECKING:
    from hsiedge.study.rows import Row

WITHIN = 0.5
"""Points of OA that the compressed net which the page looks at closely may lose."""

Parts = Callable[[str], "NDArray[np.uint8] | None"]
"""By a split's digest, uint8 `(height, width)`: 3 where a pixel is tested; None of an unknown split."""

_TEST = 3
_HEAT_FULL = 10.0  # points of producer's accuracy at which a cell has its full colour
_AXES = {"distill": "student, net and widths", "qat": "bits of the weights, below 8 simulated"}


@dataclass(frozen=True)
class Tradeoff:
    """Accuracy against one cost, and the entries of its Pareto front in words, cheapest first."""

    plot: Plot
    front: list[str]


@dataclass(frozen=True)
class Heat:
    """Which classes pay, for one net: `cells[row][class]` is the change in points, NaN where unknown."""

    net: str
    rows: list[str]
    kinds: list[str]
    cells: list[list[float]]
    parent: list[float]
    pixels: list[str]


@dataclass(frozen=True)
class Matrix:
    """A confusion matrix with the share of its row that each cell is."""

    title: str
    cells: list[list[tuple[int, float]]]


@dataclass(frozen=True)
class Picture:
    """A map: PNG as base64, and what it shows."""

    title: str
    png: str
    size: tuple[int, int]


@dataclass(frozen=True)
class Fact:
    """One of the figures at the head: what it is of, the figure, and the rest in a line."""

    head: str
    figure: str
    rest: str
    kind: str


@dataclass(frozen=True)
class Chapter:
    """All that the page shows of one scene and split."""

    group: Group
    facts: list[Fact]
    methods: list[tuple[str, str]]
    shapes: list[tuple[str, str]]
    tradeoffs: list[Tradeoff]
    levels: list[Plot]
    heats: list[Heat]
    chosen: str
    matrices: list[Matrix]
    pictures: list[Picture]
    legend: list[tuple[str, str]]
    changed: str
    sheet: Sheet
    doubts: list[tuple[str, str]]


def render_study(rows: Sequence[Row], parts: Parts, source: str, failures: Sequence[str] = ()) -> str:
    """The page.

    Args:
        rows: of a study's store.
        parts: `Store.parts`; maps are drawn of the splits that it knows.
        source: what the study is called.
        failures: cells that failed, a line each.

    Raises:
        StudyError: there is no row.
    """
    environment = jinja2.Environment(
        loader=jinja2.PackageLoader("hsiedge.report"),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters["signed"] = _signed
    found = groups(rows)
    return environment.get_template("study.html").render(
        chapters=[chapter(group, parts) for group in found],
        scenes=list(dict.fromkeys(scene_title(group.scene) for group in found)),
        cells=len(rows),
        nets=sorted({row.cell.net for row in rows}),
        seeds=sorted({row.cell.seed for row in rows}),
        devices=sorted({row.device for row in rows if row.device}),
        source=source,
        failures=failures,
        version=__version__,
        within=WITHIN,
        heat_full=_HEAT_FULL,
    )


def chapter(group: Group, parts: Parts) -> Chapter:
    """What the page shows of a scene and split."""
    before, after = group.parent(), group.chosen(WITHIN)
    pair = [entry for entry in (before, after) if entry is not None]
    pictures, changed = _pictures(group, pair, parts)
    methods = dict.fromkeys(entry.method for entry in group.entries)
    return Chapter(
        group,
        facts=_facts(group),
        methods=[(_kind(method), METHODS.get(method, method)) for method in methods],
        shapes=[(_shape(group, net), net) for net in sorted(group.nets)],
        tradeoffs=_tradeoffs(group),
        levels=_levels(group),
        heats=[heat for net in group.nets if (heat := _heat(group, net))],
        chosen=after.title if after else "",
        matrices=[_matrix(entry, group) for entry in pair],
        pictures=pictures,
        legend=list(zip(palette.colours(group.classes).values(), group.classes.values())),
        changed=changed,
        sheet=sheet(group, group.entries, _columns(group)),
        doubts=doubt_lines(group.entries),
    )


def _columns(group: Group) -> list[str]:
    """The figures of the table, in units that keep it narrow."""
    energy = ["energy"] if any("energy" in entry.figures for entry in group.entries) else []
    timed = [*(f"ms{batch}" for batch in group.batches), "memory"] if group.batches else []
    return ["oa", "drop", "aa", "kappa", "parameters_k", "nonzeros_k", "macs_m", "kb", "gzip_kb", *timed, *energy]


def _facts(group: Group) -> list[Fact]:
    """The figures at the head: the net itself, as INT8, and what is smallest and fastest at little loss."""
    parent = group.parent()
    if parent is None:
        return []
    net = [entry for entry in group.measured() if entry.net == parent.net and not entry.simulated and entry != parent]
    facts = [_fact(group, f"{parent.net}, uncompressed", parent)]
    facts += [_fact(group, "the same as INT8", e) for e in net if e.method == "none" and e.precision == "int8"]
    good = [entry for entry in net if "drop" in entry.figures and entry.figures["drop"].mean <= WITHIN]
    small = min(good, key=lambda entry: entry.figures["bytes"].mean, default=None)
    figure = f"ms{group.batches[-1]}" if group.batches else ""
    timed = [entry for entry in good if figure in entry.figures]
    quick = min(timed, key=lambda entry: entry.figures[figure].mean, default=None)
    if small and small is quick:
        return [*facts, _fact(group, f"smallest and fastest that loses at most {WITHIN:g} points", small)]
    facts += [_fact(group, f"smallest that loses at most {WITHIN:g} points", small)] if small else []
    facts += [_fact(group, f"fastest that loses at most {WITHIN:g} points", quick)] if quick else []
    return facts


def _fact(group: Group, head: str, entry: Entry) -> Fact:
    costs = [amount(entry.figures["bytes"].mean, "B")]
    costs += [f"{figure_words(entry, name)} ms at batch {name[2:]}" for name in entry.figures if name.startswith("ms")]
    what = "" if entry.method == "none" else f"{entry.how}, {entry.precision}: "
    rest = f"{what}{', '.join(costs)}{_beside(group, entry)}"
    return Fact(head, spread_words(entry.figures["oa"], "{:.2f}") + " %", rest, _kind(entry.method))


def _tradeoffs(group: Group) -> list[Tradeoff]:
    costs = [("bytes", "size of the file", "B"), ("gzip", "size of the file, gzip", "B"), ("macs", "MACs a pixel", "")]
    costs += [(f"ms{batch}", f"latency at batch {batch}", "ms") for batch in group.batches]
    costs += [("memory", "peak memory", "MiB")] if group.batches else []
    made = [_tradeoff(group, name, title, unit) for name, title, unit in costs]
    return [tradeoff for tradeoff in made if tradeoff]


def _tradeoff(group: Group, name: str, title: str, unit: str) -> Tradeoff | None:
    entries = [entry for entry in group.measured() if name in entry.figures]
    if not entries:
        return None
    across = x_scale("log", [entry.figures[name].mean for entry in entries])
    up = _accuracy(group, entries)
    able = [entry for entry in entries if not entry.simulated]
    best = [able[i] for i in front([(entry.figures[name].mean, entry.figures["oa"].mean) for entry in able])]
    places = {id(entry): (across.at(entry.figures[name].mean), up.at(entry.figures["oa"].mean)) for entry in entries}
    marks = []
    for entry in sorted(entries, key=lambda entry: entry in best):
        cost = _cost(entry, name, unit)
        marks += _control_marks(group, entry, places[id(entry)][0], up)
        marks.append(_mark(group, entry, *places[id(entry)], up, cost, entry in best))
    plot = Plot(
        f"Accuracy against {title}",
        f"{title}{f', {unit}' if unit else ''}",
        x_ticks(across),
        y_ticks(up),
        marks,
        told=f"Overall accuracy of {len(entries)} forms against {title}; {len(best)} lie on the Pareto front.",
    )
    plot.paths.append(Path(stairs([places[id(entry)] for entry in best], plot.right), "front", "front"))
    words = [f"{entry.title}: {_scored(group, entry)}, {_cost(entry, name, unit)}" for entry in best]
    return Tradeoff(plot, words)


def _levels(group: Group) -> list[Plot]:
    """Accuracy against ratio, student or bits, a plot for each method."""
    entries = [entry for entry in group.entries if entry.method != "none"]
    parents = [parent for net in group.nets if (parent := group.parent(net))]
    methods = [method for method in METHODS if any(entry.method == method for entry in entries)]
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
    marks += [mark for e in entries if not e.control for mark in _control_marks(group, e, across(e), up)]
    told = f"Overall accuracy of {METHODS[method]} by {axis}, between {_range(entries)} %."
    plot = Plot(METHODS[method].capitalize() if method != "qat" else "QAT", axis, ticks, y_ticks(up), marks, told=told)
    for parent in parents:
        level = up.at(parent.figures["oa"].mean)
        plot.paths.append(Path(polyline([(plot.left, level), (plot.right, level)]), "none", "level"))
    for series in _series(entries):
        line = sorted((across(entry), up.at(entry.figures["oa"].mean)) for entry in series)
        style = "line" if series[0].integer else "dashed"
        plot.paths.append(Path(polyline(line), "control" if series[0].control else _kind(method), style))
    return plot


def _level_axis(entries: list[Entry]) -> tuple[Callable[[Entry], float], list[Tick]]:
    """Where each entry's level lies: ratios by their value, all else in equal steps."""
    levels = list(dict.fromkeys(entry.level for entry in sorted(entries, key=level_place)))
    if entries[0].method in ("magnitude", "structured") and all(_is_number(level) for level in levels):
        ratios = Scale("linear", 0, 1, 46, 370)
        return lambda entry: ratios.at(float(entry.level)), x_ticks(ratios)
    steps = Scale("linear", -0.5, len(levels) - 0.5, 46, 370)
    room = int((steps.stop - steps.start) / len(levels) / LETTER)  # letters that fit between two ticks
    ticks = [Tick(steps.at(place), _lines(level, room)) for place, level in enumerate(levels)]
    return lambda entry: steps.at(levels.index(entry.level)), ticks


def _lines(level: str, room: int) -> tuple[str, ...]:
    """A level as a tick writes it: a student's net above its widths, cut to the room that there is."""
    parts = short_level(level).split(" ", 1)
    return tuple(part if len(part) <= room else f"{part[: max(1, room - 1)]}…" for part in parts)


def _series(entries: list[Entry]) -> list[list[Entry]]:
    """Entries that one line joins: same net, variant and kind of precision, by level."""
    found: dict[tuple[str, str, bool, bool], list[Entry]] = {}
    for entry in sorted(entries, key=level_place):
        key = (entry.net, entry.variant, entry.integer, entry.control)
        found.setdefault(key, []).append(entry)
    return list(found.values())


def _mark(group: Group, entry: Entry, x: float, y: float, up: Scale, cost: str, best: bool) -> Mark:
    spread = entry.figures["oa"]
    std = spread.std or 0.0
    top, bottom = (up.at(min(100, spread.mean + std)), up.at(max(up.low, spread.mean - std))) if std else (None, None)
    fill = "pale" if entry.simulated else "full" if entry.integer else "ring"
    title = f"{entry.title}: {_scored(group, entry)}, {cost}{', on the Pareto front' if best else ''}"
    return Mark(x, y, _shape(group, entry.net), _kind(entry.method), fill, title, top, bottom, best)


def _control_marks(group: Group, entry: Entry, x: float, up: Scale) -> list[Mark]:
    """The control of a QAT entry as a short bar in the same place: its file is of the same make."""
    control = _control(group, entry)
    if control is None:
        return []
    title = f"{control.title}: {_percent(control)}; QAT itself {_percent(entry)}"
    return [Mark(x, up.at(control.figures["oa"].mean), "M-7,-1.1h14v2.2h-14z", "control", "full", title)]


def _control(group: Group, entry: Entry) -> Entry | None:
    return control_of(entry, group.entries)


def _accuracy(group: Group, entries: Sequence[Entry]) -> Scale:
    controls = [control for entry in entries if (control := _control(group, entry))]
    values = [entry.figures["oa"] for entry in (*entries, *controls)]
    ends = [spread.mean + sign * (spread.std or 0) for spread in values for sign in (-1, 1)]
    return accuracy_scale([min(100.0, max(0.0, value)) for value in ends], max(row.test for row in group.rows))


def _heat(group: Group, net: str) -> Heat | None:
    """A net's compressed forms, the integer one of each level, against its float net; None where nothing can be compared."""
    parent, ids = group.parent(net), list(group.classes)
    last = {(e.method, e.level, e.variant): e for e in group.measured() if e.net == net and e.parents and e != parent}
    if parent is None or not last:
        return None
    recalls = [entry.pa for entry in accuracy(parent.confusion(ids)).per_class]
    counts = parent.confusion(ids).sum(1) / np.maximum(1, _seeds_of_class(parent, ids))
    return Heat(
        net,
        rows=[f"{entry.how}, {entry.precision}{_beside(group, entry)}" for entry in last.values()],
        kinds=[_kind(entry.method) for entry in last.values()],
        cells=[[float(-value) for value in entry.losses(ids)] for entry in last.values()],
        parent=recalls,
        pixels=[f"{count:,.0f}" for count in counts],
    )


def _seeds_of_class(entry: Entry, ids: Sequence[int]) -> NDArray[np.int64]:
    return np.array([sum(label in row.classes for row in entry.rows) for label in ids])


def _matrix(entry: Entry, group: Group) -> Matrix:
    counts = entry.confusion(list(group.classes))
    shares = counts / np.maximum(1, counts.sum(1, keepdims=True))
    cells = [[(int(n), round(float(s), 3)) for n, s in zip(*pair)] for pair in zip(counts, shares)]
    return Matrix(f"{entry.title}: {_scored(group, entry)}", cells)


def _pictures(group: Group, pair: Sequence[Entry], parts: Parts) -> tuple[list[Picture], str]:
    """The maps of the first seed that both have, before and after, and what changed; none where the pixels are unknown."""
    if len(pair) < 2:
        return [], ""
    shared = sorted(set(pair[0].seeds) & set(pair[1].seeds))
    rows = [entry.rows[entry.seeds.index(shared[0])] for entry in pair] if shared else []
    where = parts(rows[0].split_digest) if rows else None
    if where is None or rows[0].split_digest != rows[1].split_digest:
        return [], ""
    labels = [_on_map(entry.forms[entry.seeds.index(shared[0])].predicted, where) for entry in pair]
    tested, differ = where == _TEST, labels[0] != labels[1]
    titles = [f"before: {pair[0].how}, {pair[0].precision}", f"after: {pair[1].how}, {pair[1].precision}"]
    shown = [
        *(_picture(title, image, tested, tested, group.classes) for title, image in zip(titles, labels)),
        _picture("what changed, in its new class", labels[1], tested, differ, group.classes),
    ]
    share = 100 * differ.sum() / max(1, tested.sum())
    return shown, f"Seed {shared[0]}: {differ.sum():,} of {tested.sum():,} test pixels ({share:.2f} %) changed their class."


def _on_map(predicted: NDArray[np.uint16], where: NDArray[np.uint8]) -> NDArray[np.uint16]:
    labels = np.zeros(where.shape, np.uint16)
    labels[where == _TEST] = predicted
    return labels


def _picture(
    title: str, labels: NDArray[np.uint16], tested: NDArray[np.bool_], shown: NDArray[np.bool_], classes: dict[int, str]
) -> Picture:
    """What is shown in its class's colour, other test pixels faint, all else transparent, so that the page shines through."""
    painted = np.zeros((*labels.shape, 4), np.uint8)
    painted[tested] = (128, 128, 128, 56)
    painted[shown, :3] = palette.paint(labels, classes)[shown]
    painted[shown, 3] = 255
    buffer = io.BytesIO()
    imsave(buffer, painted, format="png")
    return Picture(title, base64.b64encode(buffer.getvalue()).decode(), (labels.shape[1], labels.shape[0]))


def _kind(method: str) -> str:
    return method if method in METHODS else "other"


def _shape(group: Group, net: str) -> str:
    return SHAPES[sorted(group.nets).index(net) % len(SHAPES)]


def _percent(entry: Entry) -> str:
    return f"OA {spread_words(entry.figures['oa'], '{:.2f}')} %"


def _scored(group: Group, entry: Entry) -> str:
    """OA, and beside it that of the control where there is one."""
    control = _control(group, entry)
    return _percent(entry) + (f" (its control {_percent(control)})" if control else "")


def _beside(group: Group, entry: Entry) -> str:
    control = _control(group, entry)
    words = (spread_words(one.figures["oa"], "{:.2f}") for one in (entry, control) if one)
    return "; OA {}, control {}".format(*words) if control else ""


def _cost(entry: Entry, name: str, unit: str) -> str:
    """A cost in words, with what must be said along with it."""
    stored = " (8-bit storage)" if entry.simulated and name in ("bytes", "gzip") else ""
    doubt = " (the timing is not to be trusted yet)" if name in entry.doubts else ""
    return amount(entry.figures[name].mean, unit) + stored + doubt


def _range(entries: Sequence[Entry]) -> str:
    values = [entry.figures["oa"].mean for entry in entries]
    return f"{min(values):.2f} and {max(values):.2f}"


def _is_number(text: str) -> bool:
    try:
        return math.isfinite(float(text))
    except ValueError:
        return False


def _signed(value: float) -> str:
    """A change in points: "+0.4", "-12", blank where none is to be seen."""
    if math.isnan(value):
        return "?"
    return "" if abs(value) < 0.05 else f"{value:+.1f}" if abs(value) < 9.95 else f"{value:+.0f}"
