"""Entries of a study's tables, made of its rows: gathered over seeds, beside their controls and their uncompressed nets.

Rows are read, never made, so the nouns of `hsiedge.study`, the layer above, are named for the type checker only.
"""

from __future__ import annotations

import json
import statistics
from collections import defaultdict
from collections.abc import Callable, Hashable, Iterable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

from hsiedge.errors import StudyError
from hsiedge.report.study.figures import (
    INSTRUCTIONS,
    MAIN_CONTROLS,
    METHODS,
    Contrast,
    Entry,
    Group,
    Spread,
    level_place,
)

if TYPE_CHECKING:
    from hsiedge.study.rows import Cell, Form, Row, Timing

SPLITS = ("random", "blocks", "masks")
_FACTS: dict[str, Callable[[Row], float]] = {
    "parameters": lambda row: row.parameters,
    "nonzeros": lambda row: row.nonzeros,
    "macs": lambda row: row.macs_per_pixel,
}
_SCORES = ("oa", "aa", "kappa")
_PRECISIONS = ("float32", "float16")  # then integers
_VARIANTS = {"rounds": "{} rounds", "soft_labels": "soft labels", "epochs": "{} epochs"}  # options, where they differ
_T = TypeVar("_T")
_K = TypeVar("_K", bound=Hashable)


def groups(rows: Sequence[Row]) -> list[Group]:
    """Groups the rows by scene and split, the scene with most of them first.

    Raises:
        StudyError: there are none.
    """
    if not rows:
        raise StudyError("the study has no finished cell yet; hsiedge study CONFIG.toml goes on where it stopped")
    rows_by_key = _by(rows, lambda row: (Path(row.cell.scene).name, row.cell.split, *_drawn(row.cell)))
    weight = {scene: sum(Path(row.cell.scene).name == scene for row in rows) for scene, *_ in rows_by_key}

    def place(key: tuple[str, str, float, int, int]) -> tuple[Any, ...]:
        scene, split, *rest = key
        return (-weight[scene], scene, SPLITS.index(split) if split in SPLITS else len(SPLITS), *rest)

    return [_group(key, rows_by_key[key]) for key in sorted(rows_by_key, key=place)]


def _drawn(cell: Cell) -> tuple[float, int, int]:
    return cell.fraction, cell.guard, cell.folds


@dataclass(frozen=True)
class _Peers:
    """Rows of a group by which others are judged: parents by key, controls by what they must share with a method's row."""

    parents: dict[str, Row]
    controls: dict[tuple[object, ...], Row]

    @classmethod
    def of(cls, rows: Sequence[Row]) -> _Peers:
        controls: dict[tuple[object, ...], Row] = {}
        for row in rows:
            if row.cell.method == "scratch":
                controls["scratch", row.shape, row.cell.seed, row.cell.fold, row.cell.tuning] = row
            elif row.cell.method == "finetune":
                controls["finetune", row.cell.parent.key, row.cell.tuning] = row
        return cls({row.cell.key: row for row in rows if row.cell.method == "none"}, controls)

    def control(self, row: Row, kind: str, precision: str) -> float | None:
        """OA of the control of a row's form; None where it is missing."""
        cell, steps = row.cell, row.cell.tuning or row.cell.epochs
        if kind in ("qat", "found"):
            return row.control[0] if row.control else None
        if kind == "float":
            beside: Row | None = row
        elif kind == "parent":
            beside = self.parents.get(cell.parent.key)
        elif kind == "tuned":
            beside = self.controls.get(("finetune", cell.parent.key, cell.tuning))
        else:
            steps += cell.epochs if kind == "all" else 0
            beside = self.controls.get(("scratch", row.shape, cell.seed, cell.fold, steps))
        wanted = "float32" if kind in ("float", "parent") else precision
        return next((form.oa for form in beside.forms if form.precision == wanted), None) if beside else None

    def contrasts(self, rows: Sequence[Row], forms: Sequence[Form]) -> tuple[Contrast, ...]:
        """Differences of the forms of an entry to its controls, over the seeds that have both."""
        method = rows[0].cell.method
        kinds = (*MAIN_CONTROLS.get(method, ()), *(["float"] if forms[0].precision != "float32" else []))
        kinds = (*kinds, *(["parent"] if method != "none" else []))
        contrasts = []
        for kind in kinds:
            beside = [(row, form.oa, self.control(row, kind, form.precision)) for row, form in zip(rows, forms)]
            pairs = [(row, oa, other) for row, oa, other in beside if other is not None]
            if pairs:
                kept = [row for row, _, _ in pairs]
                control = _spread(kept, [other for _, _, other in pairs])
                contrasts.append(Contrast(kind, control, _spread(kept, [oa - other for _, oa, other in pairs])))
        return tuple(contrasts)


def _spread(rows: Sequence[Row], values: Sequence[float]) -> Spread:
    """One value a seed: of a split in folds the mean over the seed's folds."""
    by_seed: dict[int, list[float]] = defaultdict(list)
    for row, value in zip(rows, values):
        by_seed[row.cell.seed].append(value)
    return Spread(tuple(statistics.fmean(of) if len(of) > 1 else of[0] for of in by_seed.values()))


def _group(key: tuple[str, str, float, int, int], rows: Sequence[Row]) -> Group:
    peers = _Peers.of(rows)
    batches = sorted({timing.batch for row in rows for form in row.forms for timing in form.timings})
    entries = []
    for cells in _by(rows, lambda row: _seedless(row.cell)).values():
        ordered = tuple(sorted(cells, key=lambda row: (row.cell.seed, row.cell.fold)))
        names = _names(ordered[0].cell, [row.cell for row in rows])
        for precision in dict.fromkeys(form.precision for row in ordered for form in row.forms):
            entries += _entries(names, precision, ordered, peers, batches)
    return Group(*key, entries=tuple(sorted(entries, key=_place)), batches=tuple(batches))


def _entries(names: tuple[str, str], precision: str, rows: Sequence[Row], peers: _Peers, batches: Sequence[int]) -> list[Entry]:
    """Makes an entry, and after it its control where it has one."""
    pairs = [(row, form) for row in rows for form in row.forms if form.precision == precision]
    entry_rows, forms = tuple(row for row, _ in pairs), tuple(form for _, form in pairs)
    before = [_float(peers.parents.get(row.cell.parent.key)) for row in entry_rows]
    known = tuple(form for form in before if form is not None)
    known = known if len(known) == len(forms) else ()
    cell = entry_rows[0].cell
    net, variant = names
    figures = _figures(entry_rows, forms, known, batches)
    entry = Entry(
        net, cell.method, cell.level, variant, precision, False, entry_rows, forms, known, figures,
        peers.contrasts(entry_rows, forms), entry_rows[0].untimed(forms[0]), _warnings(forms, figures, batches),
    )  # fmt: skip
    controls = [row.control for row in entry_rows]
    if any(control is None for control in controls):
        return [entry]
    scores = {name: _spread(entry_rows, [c[place] for c in controls if c]) for place, name in enumerate(_SCORES)}
    if known:
        scores["drop"] = _spread(entry_rows, [form.oa - c[0] for form, c in zip(known, controls) if c])
    return [entry, Entry(net, cell.method, cell.level, variant, precision, True, entry_rows, (), (), scores)]


def _figures(rows: Sequence[Row], forms: Sequence[Form], parents: Sequence[Form], batches: Sequence[int]) -> dict[str, Spread]:
    figures = {name: _spread(rows, [float(fact(row)) for row in rows]) for name, fact in _FACTS.items()}
    for name in (*_SCORES, "bytes", "gzip"):
        figures[name] = _spread(rows, [float(getattr(form, name)) for form in forms])
    if parents:
        figures["drop"] = _spread(rows, [parent.oa - form.oa for parent, form in zip(parents, forms)])
        figures["smaller"] = _spread(rows, [parent.bytes / form.bytes for parent, form in zip(parents, forms)])
    figures |= _counts(rows, forms, parents)
    for row, form in zip(rows, forms):
        if row.untimed(form):  # never timed; a figure that is there all the same is not to be shown
            return figures
    for batch in batches:
        timed = [(_timing(form, batch), parent) for form, parent in zip(forms, parents or forms)]
        times = tuple(timing.p50 for timing, _ in timed if timing)
        ratios = [(_timing(parent, batch), timing) for timing, parent in timed if parents]
        if times:
            figures[f"ms{batch}"] = Spread(times)
        if ratio := tuple(before.p50 / after.p50 for before, after in ratios if before and after):
            figures[f"faster{batch}"] = Spread(ratio)
    last = [timing for form in forms if batches and (timing := _timing(form, batches[-1]))]
    if last:
        figures["memory"] = Spread(tuple(timing.memory_mib for timing in last))
    if energy := tuple(timing.energy_mj for timing in last if timing.energy_mj is not None):
        figures["energy"] = Spread(energy)
    return figures


def _counts(rows: Sequence[Row], forms: Sequence[Form], parents: Sequence[Form]) -> dict[str, Spread]:
    """Instructions a pixel, and how many times fewer they are than those of the parents' float patch graphs."""
    figures = {}
    for place, name in enumerate(INSTRUCTIONS):
        if all(len(form.instructions) > place for form in forms):
            figures[name] = _spread(rows, [float(form.instructions[place]) for form in forms])
            if parents and all(parent.instructions for parent in parents):
                ratios = [parent.instructions[0] / form.instructions[place] for parent, form in zip(parents, forms)]
                figures[name.replace("instructions", "fewer")] = _spread(rows, ratios)
    return figures


def _warnings(forms: Sequence[Form], figures: dict[str, Spread], batches: Sequence[int]) -> dict[str, tuple[str, ...]]:
    """Warnings on the latencies, by the figure's name; each once, however many seeds have it."""
    lines_of = {f"ms{batch}": [text for f in forms if (t := _timing(f, batch)) for text in t.warnings] for batch in batches}
    return {name: tuple(sorted(set(lines))) for name, lines in lines_of.items() if lines and name in figures}


def _timing(form: Form, batch: int) -> Timing | None:
    return next((timing for timing in form.timings if timing.batch == batch), None)


def _float(row: Row | None) -> Form | None:
    return next((form for form in row.forms if form.precision == "float32"), None) if row else None


def _seedless(cell: Cell) -> str:
    return json.dumps(asdict(cell) | {"seed": None, "fold": None}, sort_keys=True)


def _names(cell: Cell, peers: Sequence[Cell]) -> tuple[str, str]:
    """Name of the net, and what else tells the method from others of its kind: only what differs among the peers."""

    def net(one: Cell) -> dict[str, Any]:
        return {"patch": one.patch, "epochs": one.epochs, **one.net_options}

    def method(one: Cell) -> dict[str, Any]:
        return {"epochs" if one.method == "scratch" else "tuning": one.tuning, **one.options}

    alike = [peer for peer in peers if peer.net == cell.net]
    tail = _differing(net(cell), [net(peer) for peer in alike])
    same = [method(peer) for peer in alike if peer.method == cell.method]
    return f"{cell.net} {tail}".strip(), _differing(method(cell), same)


def _differing(own: dict[str, Any], peers: Sequence[dict[str, Any]]) -> str:
    named = [name for name in own if any(peer.get(name) != own[name] for peer in peers)]
    return ", ".join(_VARIANTS.get(name, f"{name} {{}}").format(own[name]) for name in named)


def _place(entry: Entry) -> tuple[Any, ...]:
    """Sort key: net, method, level (ratios up, bits and students' sizes down), float before integers, control after its own."""
    methods = list(METHODS)
    method = methods.index(entry.method) if entry.method in methods else len(methods)
    precision = _PRECISIONS.index(entry.precision) if entry.precision in _PRECISIONS else len(_PRECISIONS)
    return (entry.net, method, entry.method, *level_place(entry), entry.variant, precision, entry.precision, entry.control)


def _by(items: Iterable[_T], key: Callable[[_T], _K]) -> dict[_K, list[_T]]:
    lists: dict[_K, list[_T]] = defaultdict(list)
    for item in items:
        lists[key(item)].append(item)
    return dict(lists)
