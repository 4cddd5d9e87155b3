"""Page of a study: report.html, self-contained, that opens offline, in light and dark, on a phone too."""

from __future__ import annotations

import base64
import io
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from matplotlib.image import imsave
from numpy.typing import NDArray

from hsiedge import __version__
from hsiedge.mapping import palette
from hsiedge.metrics import accuracy
from hsiedge.report.html import page_template
from hsiedge.report.plots import Plot, amount
from hsiedge.report.study.figures import CONTROLS, METHODS, Entry, Group, scene_title
from hsiedge.report.study.gather import groups
from hsiedge.report.study.plots import Tradeoff, kind_of, levels, scored, shape_of, tradeoffs
from hsiedge.report.study.tables import Sheet, figure_words, sheet, spread_words
from hsiedge.report.study.warnings import warning_lines

if TYPE_CHECKING:
    from hsiedge.study.rows import Row

WITHIN = 0.5
"""Points of OA that the compressed net may lose which the page shows in detail."""

Parts = Callable[[str], "NDArray[np.uint8] | None"]
"""By a split's digest, uint8 `(height, width)`: 3 where a pixel is tested; None of an unknown split."""

_NARROW = ("oa", "drop", "aa", "kappa", "parameters_k", "nonzeros_k", "macs_m", "kb", "gzip_kb")  # of the table
_TEST = 3
_HEAT_FULL = 10.0  # points of producer's accuracy at which a cell has its full colour


@dataclass(frozen=True)
class Heat:
    """Losses of one net by class: `cells[row][class]` is the change in points, NaN where unknown."""

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
    """A figure at the head of the page: its title, the figure, and the rest in a line."""

    head: str
    figure: str
    rest: str
    kind: str


@dataclass(frozen=True)
class Chapter:
    """Contents of the page for one scene and split."""

    group: Group
    facts: list[Fact]
    methods: list[tuple[str, str]]
    shapes: list[tuple[str, str]]
    controls: list[str]
    tradeoffs: list[Tradeoff]
    levels: list[Plot]
    heats: list[Heat]
    chosen: str
    matrices: list[Matrix]
    pictures: list[Picture]
    legend: list[tuple[str, str]]
    changed: str
    sheet: Sheet
    warnings: list[tuple[str, str]]


def render_study(rows: Sequence[Row], parts: Parts, source: str, failures: Sequence[str] = ()) -> str:
    """Renders the page.

    Args:
        rows: of a study's store.
        parts: `Store.parts`; maps are drawn of the splits that it knows.
        source: what the study is called.
        failures: cells that failed, a line each.

    Raises:
        StudyError: there is no row.
    """
    study_groups = groups(rows)
    return page_template("study.html").render(
        chapters=[chapter(group, parts) for group in study_groups],
        scenes=list(dict.fromkeys(scene_title(group.scene) for group in study_groups)),
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
    """Gathers the page's contents for a scene and split."""
    before, after = group.parent(), group.chosen(WITHIN)
    pair = [entry for entry in (before, after) if entry is not None]
    pictures, changed = _pictures(group, pair, parts)
    methods = dict.fromkeys(entry.method for entry in group.entries)
    return Chapter(
        group,
        facts=_facts(group),
        methods=[(kind_of(method), METHODS.get(method, method)) for method in methods],
        controls=[f"{METHODS[method]}: {CONTROLS[kind]}" for method, kind in sorted(set(_judged(group)))],
        shapes=[(shape_of(group, net), net) for net in sorted(group.nets)],
        tradeoffs=tradeoffs(group),
        levels=levels(group),
        heats=[heat for net in group.nets if (heat := _heat(group, net))],
        chosen=after.title if after else "",
        matrices=[_matrix(entry, group) for entry in pair],
        pictures=pictures,
        legend=list(zip(palette.colours(group.classes).values(), group.classes.values())),
        changed=changed,
        sheet=sheet(group, group.entries, [*_NARROW, *(f"{name}_k" for name in group.counted), *group.timed, *group.compared]),
        warnings=warning_lines(group.entries),
    )


def _judged(group: Group) -> Iterator[tuple[str, str]]:
    """Methods that have controls of their own, and the kind of control."""
    for entry in group.entries:
        contrast = entry.against()
        if contrast is not None and contrast.kind != "float":
            yield entry.method, contrast.kind


def _facts(group: Group) -> list[Fact]:
    """Figures at the head: the net itself, as INT8, and what is smallest and fastest at little loss."""
    parent = group.parent()
    if parent is None:
        return []
    net = [entry for entry in group.measured() if entry.net == parent.net and not entry.simulated and entry != parent]
    facts = [_fact(f"{parent.net}, uncompressed", parent)]
    facts += [_fact("the same as INT8", e) for e in net if e.method == "none" and e.precision == "int8"]
    good = [entry for entry in net if "drop" in entry.figures and entry.figures["drop"].mean <= WITHIN]
    small = min(good, key=lambda entry: entry.figures["bytes"].mean, default=None)
    figure = f"ms{group.batches[-1]}" if group.batches else ""
    timed = [entry for entry in good if figure in entry.figures]
    quick = min(timed, key=lambda entry: entry.figures[figure].mean, default=None)
    if small and small is quick:
        return [*facts, _fact(f"smallest and fastest that loses at most {WITHIN:g} points", small)]
    facts += [_fact(f"smallest that loses at most {WITHIN:g} points", small)] if small else []
    facts += [_fact(f"fastest that loses at most {WITHIN:g} points", quick)] if quick else []
    return facts


def _fact(head: str, entry: Entry) -> Fact:
    costs = [amount(entry.figures["bytes"].mean, "B")]
    costs += [f"{figure_words(entry, name)} ms at batch {name[2:]}" for name in entry.figures if name.startswith("ms")]
    what = "" if entry.method == "none" else f"{entry.how}, {entry.precision}: "
    rest = f"{what}{', '.join(costs)}{_beside(entry)}"
    return Fact(head, spread_words(entry.figures["oa"], "{:.2f}") + " %", rest, kind_of(entry.method))


def _heat(group: Group, net: str) -> Heat | None:
    """Compressed forms of a net, the integer one of each level, against its float net; None where nothing can be compared."""
    parent, ids = group.parent(net), list(group.classes)
    last = {(e.method, e.level, e.variant): e for e in group.measured() if e.net == net and e.parents and e != parent}
    if parent is None or not last:
        return None
    recalls = [entry.pa for entry in accuracy(parent.confusion(ids)).per_class]
    counts = parent.confusion(ids).sum(1) / np.maximum(1, _seeds_of_class(parent, ids))
    return Heat(
        net,
        rows=[f"{entry.how}, {entry.precision}{_beside(entry)}" for entry in last.values()],
        kinds=[kind_of(entry.method) for entry in last.values()],
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
    return Matrix(f"{entry.title}: {scored(entry)}", cells)


def _pictures(group: Group, pair: Sequence[Entry], parts: Parts) -> tuple[list[Picture], str]:
    """Maps of the first seed that both have, before and after, and what changed; none where the pixels are unknown."""
    if len(pair) < 2:
        return [], ""
    shared = sorted(set(pair[0].seeds) & set(pair[1].seeds))
    rows = [entry.rows[entry.seeds.index(shared[0])] for entry in pair] if shared else []
    parts_map = parts(rows[0].split_digest) if rows else None
    if parts_map is None or rows[0].split_digest != rows[1].split_digest:
        return [], ""
    labels = [_on_map(entry.forms[entry.seeds.index(shared[0])].predicted, parts_map) for entry in pair]
    tested, differ = parts_map == _TEST, labels[0] != labels[1]
    titles = [f"before: {pair[0].how}, {pair[0].precision}", f"after: {pair[1].how}, {pair[1].precision}"]
    shown = [
        *(_picture(title, image, tested, tested, group.classes) for title, image in zip(titles, labels)),
        _picture("what changed, in its new class", labels[1], tested, differ, group.classes),
    ]
    share = 100 * differ.sum() / max(1, tested.sum())
    return shown, f"Seed {shared[0]}: {differ.sum():,} of {tested.sum():,} test pixels ({share:.2f} %) changed their class."


def _on_map(predicted: NDArray[np.uint16], parts_map: NDArray[np.uint8]) -> NDArray[np.uint16]:
    labels = np.zeros(parts_map.shape, np.uint16)
    labels[parts_map == _TEST] = predicted
    return labels


def _picture(
    title: str, labels: NDArray[np.uint16], tested: NDArray[np.bool_], shown: NDArray[np.bool_], classes: dict[int, str]
) -> Picture:
    """Picture of the `shown` pixels in their class's colour, other test pixels faint, all else transparent."""
    painted = np.zeros((*labels.shape, 4), np.uint8)
    painted[tested] = (128, 128, 128, 56)
    painted[shown, :3] = palette.paint(labels, classes)[shown]
    painted[shown, 3] = 255
    buffer = io.BytesIO()
    imsave(buffer, painted, format="png")
    return Picture(title, base64.b64encode(buffer.getvalue()).decode(), (labels.shape[1], labels.shape[0]))


def _beside(entry: Entry) -> str:
    contrast = entry.against()
    if contrast is None or contrast.kind == "float":
        return ""
    words = (spread_words(spread, "{:.2f}") for spread in (entry.figures["oa"], contrast.control))
    return "; OA {}, control {}".format(*words)
