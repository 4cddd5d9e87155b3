"""Figures of a study over its seeds: an entry of a table, its differences to its controls, and the groups of entries.

Rows are read, never made, so the nouns of `hsiedge.study`, the layer above, are named for the type checker only.
"""

from __future__ import annotations

import math
import re
import statistics
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from hsiedge.benchmark.statistics import student_t
from hsiedge.errors import StudyError
from hsiedge.metrics import accuracy

if TYPE_CHECKING:
    from hsiedge.study.rows import Form, Row

METHODS = {
    "none": "uncompressed",
    "scratch": "trained from nothing",
    "finetune": "trained on",
    "magnitude": "magnitude pruning",
    "structured": "structured pruning",
    "distill": "distillation",
    "qat": "QAT",
    "compress": "found by compress",
}
"""What a method is called, in the order in which methods are shown."""

INSTRUCTIONS = ("instructions", "scene_instructions")
_PLAIN = re.compile(r"[\d,]+ of [\d,]+ (weights are 0|channels removed)$")
_UNITS = {"qat": "bits", "compress": "bytes"}  # of levels


@dataclass(frozen=True)
class Spread:
    """A figure over seeds: one value a seed."""

    values: tuple[float, ...]

    @property
    def n(self) -> int:
        """Number of seeds."""
        return len(self.values)

    @property
    def mean(self) -> float:
        """Mean over the seeds."""
        return statistics.fmean(self.values)

    @property
    def std(self) -> float | None:
        """Sample standard deviation; None for a single seed, which has no spread."""
        return statistics.stdev(self.values) if self.n > 1 else None

    @property
    def interval(self) -> tuple[float, float] | None:
        """Bounds of the mean's 95 % interval, Student's t over the seeds; None for a single seed."""
        if self.std is None:
            return None
        half = student_t(self.n - 1) * self.std / math.sqrt(self.n)
        return self.mean - half, self.mean + half


CONTROLS = {
    "all": "the same net trained from nothing for as many steps in all",
    "own": "the same net trained from nothing",
    "tuned": "the same net trained on for as many steps",
    "qat": "as many more steps in float, then quantized",
    "found": "the same net trained from nothing for as many steps in all, then quantized",
    "float": "the same net in float",
    "parent": "the uncompressed net in float",
}
"""Controls of methods, in words. Of "own" as many steps as the method itself took, of "all" those of its parent, too. "parent"
is none: the difference to it is what a smaller net costs, whichever way it was reached.
"""

MAIN_CONTROLS = {
    "magnitude": ("tuned",),
    "structured": ("all", "own"),
    "distill": ("own", "all"),
    "qat": ("qat",),
    "compress": ("found",),
}
"""Controls of each method, the one that it is judged by first. A net without a method is judged by its float file."""

_EQUAL = ("tuned", "qat", "found", "float")  # controls with as many steps of their own, and as many in all


@dataclass(frozen=True)
class Contrast:
    """Difference between an entry and a control, paired by seed.

    Attributes:
        kind: of CONTROLS.
        control: OA of the control, percent, one a seed that both have.
        points: OA of the entry minus that.
    """

    kind: str
    control: Spread
    points: Spread

    @property
    def seen(self) -> bool | None:
        """Whether the 95 % interval leaves zero out; None for a single seed."""
        interval = self.points.interval
        return None if interval is None else not interval[0] <= 0 <= interval[1]

    def words(self) -> str:
        """The claim that the seeds allow, with its control and interval: "no difference to ... was seen" where that holds zero.

        Raises:
            StudyError: a single seed allows none.
        """
        interval, mean = self.points.interval, self.points.mean
        if interval is None:
            raise StudyError(f"one seed allows no claim against {CONTROLS[self.kind]}; two or more do")
        bounds = f"95 % interval {signed(interval[0])} to {signed(interval[1])}, {self.points.n} seeds"
        if not self.seen:
            return f"no difference to {CONTROLS[self.kind]} was seen ({signed(mean)} points, {bounds})"
        return f"{abs(mean):.2f} points {'above' if mean > 0 else 'below'} {CONTROLS[self.kind]} ({bounds})"


def signed(value: float) -> str:
    """Text of a difference with its sign, two decimals."""
    return f"{value:+.2f}".replace("-", "\N{MINUS SIGN}")


@dataclass(frozen=True)
class Entry:
    """One way of deploying one net, over its seeds: a line of a table, a mark in a plot.

    Attributes:
        net, method, level: of the cell; `net` and `variant` name what else tells it from its neighbours (a patch,
            a criterion), where something does.
        control: it is the control of a QAT entry, which stands right before it. It has figures of accuracy alone.
        rows, forms: one of each a seed, in the order of `seeds`; a control has no forms.
        parents: the uncompressed net of each seed, in float; empty where one is missing.
        figures: by name: oa, aa, kappa, parameters, nonzeros, macs, bytes, gzip; instructions and scene_instructions (a
            pixel, of the patch graph and the scene graph), fewer and scene_fewer (times, against its parent's float patch
            graph); ms1, ms256 (p50 of a run at that
            batch); memory (MiB) and energy (mJ a pixel) at the largest batch; drop (points of OA that it lies below
            its parent, seed by seed); smaller, faster1, faster256 (times, against its parent in float). What was not
            measured is not there.
        contrasts: differences to its controls, the one that it is judged by first.
        untimed: why it has no latency, "" where it has one, or was just not measured.
        warnings: of each latency that is not to be trusted, by the name of its figure: bench's warnings on the seeds' runs.
    """

    net: str
    method: str
    level: str
    variant: str
    precision: str
    control: bool
    rows: tuple[Row, ...]
    forms: tuple[Form, ...]
    parents: tuple[Form, ...]
    figures: dict[str, Spread]
    contrasts: tuple[Contrast, ...] = ()
    untimed: str = ""
    warnings: dict[str, tuple[str, ...]] = field(default_factory=dict)

    @property
    def seeds(self) -> tuple[int, ...]:
        """Seeds of the rows, in their order."""
        return tuple(row.cell.seed for row in self.rows)

    @property
    def n(self) -> int:
        """Number of seeds."""
        return len(set(self.seeds))

    def against(self, *kinds: str) -> Contrast | None:
        """Difference to the first of its controls that is of one of some kinds; by default to what the method is judged by."""
        own = MAIN_CONTROLS.get(self.method, ("float",))
        wanted = [kind for kind in own if not kinds or kind in kinds or kind in _EQUAL]
        return next((contrast for contrast in self.contrasts if contrast.kind in wanted), None)

    @property
    def simulated(self) -> bool:
        """Whether the weights take fewer values than the 8-bit integers that they are stored in."""
        return "simulated" in self.precision

    @property
    def integer(self) -> bool:
        """Whether the weights are integers, of however many bits."""
        return self.precision.startswith("int")

    @property
    def remarks(self) -> list[str]:
        """Remarks on the making, a sentence each, without counts that are as they were asked for."""
        seeds_of: dict[str, list[str]] = defaultdict(list)
        for row in self.rows:
            for text in row.told.split("; "):
                seeds_of[text].append(str(row.cell.seed))
        return [f"{text} (seed {', '.join(seeds)})" for text, seeds in seeds_of.items() if text and not _PLAIN.match(text)]

    @property
    def sized_level(self) -> str:
        """Level with its unit: "4 bits"."""
        return f"{self.level} {_UNITS[self.method]}" if self.method in _UNITS else self.level

    @property
    def how(self) -> str:
        """Description of method and level: "structured pruning 0.5", "QAT 4 bits"."""
        level = f" {self.sized_level}" if self.level else ""
        variant = f" ({self.variant})" if self.variant else ""
        return f"{METHODS.get(self.method, self.method)}{level}{variant}{', its control' if self.control else ''}"

    @property
    def title(self) -> str:
        """Description of net, method, level and precision: "cnn2d, structured pruning 0.5, int8"."""
        return f"{self.net}, {self.how}, {self.precision}"

    def losses(self, ids: Sequence[int]) -> NDArray[np.float64]:
        """Points of producer's accuracy that each class lost against the parent, mean over the seeds that test it.

        NaN of a class that no seed tests. Not for a control, nor without parents.
        """
        lost = np.full((len(self.rows), len(ids)), np.nan)
        for place, (row, form, parent) in enumerate(zip(self.rows, self.forms, self.parents)):
            columns = [list(ids).index(label) for label in row.classes]
            lost[place, columns] = _recalls(parent) - _recalls(form)
        counts = (~np.isnan(lost)).sum(0)
        return np.where(counts > 0, np.nansum(lost, 0) / np.maximum(counts, 1), np.nan)

    def confusion(self, ids: Sequence[int]) -> NDArray[np.int64]:
        """Confusion matrix over label ids, summed over seeds; rows the truth."""
        total = np.zeros((len(ids), len(ids)), np.int64)
        for row, form in zip(self.rows, self.forms):
            places = [list(ids).index(label) for label in row.classes]
            total[np.ix_(places, places)] += form.confusion
        return total


@dataclass(frozen=True)
class Group:
    """Entries of one scene with one kind of split, which share their test pixels, seed by seed.

    Attributes:
        fraction, guard, folds: of the split; 0 where it knows none.
        batches: for which latencies were measured, ascending.
    """

    scene: str
    split: str
    fraction: float
    guard: int
    folds: int
    entries: tuple[Entry, ...]
    batches: tuple[int, ...]

    @property
    def timed(self) -> list[str]:
        """Names of the figures that were measured: latencies, memory and energy."""
        energy = any("energy" in entry.figures for entry in self.entries)
        return [*(f"ms{batch}" for batch in self.batches), *["memory"] * bool(self.batches), *["energy"] * energy]

    @property
    def controlled(self) -> bool:
        """Whether nets were trained as controls, beside those of QAT."""
        return any(contrast.kind in ("own", "all", "tuned") for entry in self.entries for contrast in entry.contrasts)

    @property
    def counted(self) -> list[str]:
        """Names of the counts of instructions that some entry has."""
        return [name for name in INSTRUCTIONS if any(name in entry.figures for entry in self.entries)]

    @property
    def compared(self) -> list[str]:
        """Names of the columns that compare entries with their controls; none where there are no controls."""
        return ["control", "own", "all"] if self.controlled else []

    @property
    def rows(self) -> list[Row]:
        """Rows of all entries, each once."""
        return list({row.cell.key: row for entry in self.entries for row in entry.rows}.values())

    @property
    def seeds(self) -> list[int]:
        """Seeds of all rows, ascending."""
        return sorted({row.cell.seed for row in self.rows})

    @property
    def devices(self) -> list[str]:
        """Devices on which latencies were measured."""
        return sorted({row.device for row in self.rows if row.device})

    @property
    def classes(self) -> dict[int, str]:
        """Name by label id, of all classes that a seed tests: where a split drops some, seeds may differ."""
        return dict(sorted({label: name for row in self.rows for label, name in row.classes.items()}.items()))

    @property
    def title(self) -> str:
        """Title of scene and split."""
        return f"{scene_title(self.scene)}, {self.split} split"

    @property
    def slug(self) -> str:
        """Name for anchors, of letters, digits and dashes."""
        words = f"{self.scene}-{self.split}-{self.fraction:g}-{self.guard}{f'-{self.folds}' if self.folds else ''}"
        return "".join(letter if letter.isalnum() else "-" for letter in words)

    @property
    def nets(self) -> list[str]:
        """Nets, the one with the most entries first: it was studied in full."""
        names = sorted({entry.net for entry in self.entries})
        return sorted(names, key=lambda net: -sum(entry.net == net for entry in self.entries))

    def parts(self) -> tuple[str, str, str]:
        """Numbers of training, validation and test pixels; "low to high" where seeds differ."""
        counts = [sorted({getattr(row, part) for row in self.rows}) for part in ("train", "validation", "test")]
        train, validation, test = (f"{c[0]:,}" + (f" to {c[-1]:,}" if len(c) > 1 else "") for c in counts)
        return train, validation, test

    def words(self) -> str:
        """Description of the split: "random split, 10 % of each class trains"."""
        share = f", {100 * self.fraction:g} % of each class trains" if self.fraction else ""
        guard = f", test pixels more than {self.guard} pixels from all others" if self.guard else ""
        folds = f" in {self.folds} folds, each of which tests once" if self.folds else ""
        return f"{self.split} split{folds}{share}{guard}"

    def measured(self) -> list[Entry]:
        """Entries without controls."""
        return [entry for entry in self.entries if not entry.control]

    def parent(self, net: str | None = None) -> Entry | None:
        """Entry of the uncompressed net in float; of the net that was studied in full where none is named."""
        wanted = net or self.nets[0]
        uncompressed = [entry for entry in self.entries if entry.net == wanted and entry.method == "none"]
        return uncompressed[0] if uncompressed and not uncompressed[0].integer else None

    def chosen(self, within: float) -> Entry | None:
        """The smallest compressed file that loses at most `within` points of OA to the parent's float net.

        Only the net that was studied in full counts; simulated files save nothing and do not. Where none is so good, the
        most accurate.
        """
        net = self.nets[0]
        able = [e for e in self.measured() if e.net == net and e != self.parent() and not e.simulated and "drop" in e.figures]
        good = [entry for entry in able if entry.figures["drop"].mean <= within]
        if good:
            return min(good, key=lambda entry: (entry.figures["bytes"].mean, entry.figures["drop"].mean))
        return max(able, key=lambda entry: entry.figures["oa"].mean, default=None)


def control_of(entry: Entry, entries: Sequence[Entry]) -> Entry | None:
    """Control that stands right behind an entry, where it has one."""
    place = next(place for place, other in enumerate(entries) if other is entry)
    after = entries[place + 1 : place + 2]
    return after[0] if after and after[0].control and not entry.control else None


def pareto_front(points: Sequence[tuple[float, float]]) -> list[int]:
    """Indices of the Pareto front of (cost, gain), cheapest first: nothing costs no more and gains as much or more."""
    best, kept = float("-inf"), []
    for index in sorted(range(len(points)), key=lambda i: (points[i][0], -points[i][1])):
        if points[index][1] > best:
            best = points[index][1]
            kept.append(index)
    return kept


def scene_title(name: str) -> str:
    """Title of a scene in the catalog, else its name with spaces."""
    from hsiedge.scenes.catalog import CATALOG

    return CATALOG[name].title if name in CATALOG else name.replace("_", " ")


def _recalls(form: Form) -> NDArray[np.float64]:
    return np.array([entry.pa for entry in accuracy(form.confusion).per_class])


def level_place(entry: Entry) -> tuple[float, str]:
    """Sort key of an entry's level among those of its method."""
    if entry.method in ("distill", "scratch"):
        return (-statistics.fmean(row.parameters for row in entry.rows), entry.level)
    try:
        number = float(entry.level or 0)
    except ValueError:
        return (0.0, entry.level)
    return (-number if entry.method == "qat" else number, entry.level)
