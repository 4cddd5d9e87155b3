"""Estimates of a study's time, from the seconds of like cells in its store, else from a short probe of training steps."""

from __future__ import annotations

from collections import defaultdict
from statistics import mean

from hsiedge.study.rows import Cell, Row
from hsiedge.study.store import Store

# Cost of one training step beside one of the cell's parent, by method. Quantization-aware steps simulate the
# integers, and as many steps in float are its control; a student's steps carry its teacher's forward pass.
_STEPS = {
    "none": 1.0,
    "scratch": 0.5,
    "finetune": 1.0,
    "magnitude": 1.2,
    "structured": 1.0,
    "distill": 0.8,
    "qat": 2.8,
    "compress": 6.0,
}
_FORWARD = 0.35  # a step's forward pass
_BATCH = 64
_FIXED_SECONDS = 8.0  # export, calibration and what else does not grow with the scene
_MEASURING_SECONDS = 6.0  # a timed form, in two batches
_TIMED = {"none": 3, "scratch": 0, "finetune": 0, "magnitude": 0, "structured": 2, "distill": 2, "qat": 1, "compress": 1}

Like = tuple[object, ...]


def kin(cell: Cell) -> Like:
    """Key that nets share whose training steps take as long: scene, net and patch."""
    return (cell.scene, cell.net, cell.patch, str(sorted(cell.net_options.items())), cell.split == "lists", cell.fraction)


class Estimate:
    """Expected seconds of cells.

    Args:
        store: of the study, whose finished cells count.
    """

    def __init__(self, store: Store) -> None:
        self._made: dict[Like, list[float]] = defaultdict(list)
        self._measured: dict[str, list[float]] = defaultdict(list)
        self._probes: dict[Like, tuple[float, int, int]] = {}
        measuring = store.done()
        for row in store.rows():
            self.learn(row)
            if measuring[row.cell.key] > 0:
                self._measured[row.cell.method].append(measuring[row.cell.key])

    def learn(self, row: Row) -> None:
        """Takes a finished cell into account."""
        self._made[_alike(row.cell)].append(row.seconds)

    def probed(self, cell: Cell, step: float, train: int, test: int) -> None:
        """Takes a probe of a cell's net into account: seconds a step, and the pixels that train and test."""
        self._probes[kin(cell)] = (step, train, test)

    def unknown(self, cells: list[Cell]) -> list[Cell]:
        """Cells to probe, one of each kin of which nothing is known, or not of all methods asked for."""
        probes = {kin(cell): cell.parent for cell in cells if _alike(cell) not in self._made and kin(cell) not in self._probes}
        return list(probes.values())

    def seconds(self, cell: Cell) -> float:
        """Seconds of making a cell alone on a core, without its parent where it is not the parent itself."""
        like = self._made.get(_alike(cell))
        if like:
            return mean(like)
        if kin(cell) not in self._probes:
            return _FIXED_SECONDS
        step, train, test = self._probes[kin(cell)]
        epochs = cell.tuning or cell.epochs
        steps = max(2, epochs * train // _BATCH)
        forms = 3 if cell.method == "none" else 2
        return step * (_STEPS[cell.method] * steps + forms * _FORWARD * test / _BATCH) + _FIXED_SECONDS

    def measuring(self, cell: Cell) -> float:
        """Seconds of measuring the latencies of a cell."""
        like = self._measured.get(cell.method)
        timed = 0 if cell.method == "qat" and cell.level != "8" else _TIMED[cell.method]
        return mean(like) if like and timed else timed * _MEASURING_SECONDS


def _alike(cell: Cell) -> Like:
    """Key that cells share which take about as long: they differ in seed, split and level alone."""
    return (*kin(cell), cell.method, cell.epochs, cell.tuning, str(sorted(cell.options.items())))


def hours(seconds: float) -> str:
    """Text of a duration: "3.2 hours", "14 minutes", "40 seconds"."""
    if seconds >= 5400:
        return f"{seconds / 3600:.1f} hours"
    return f"{seconds / 60:.0f} minutes" if seconds >= 90 else f"{seconds:.0f} seconds"
