"""Search for the smallest loss of accuracy that a budget of bytes allows, judged on validation pixels.

Three ways lead to a smaller file, and each is followed as far as the budget asks: the teacher with channels cut out, a
student distilled at the size that fits, and a larger student distilled, then cut. Each ends in the INT8 file that would be
deployed, whose size is the file's; where rounding costs the best of them accuracy, quantization-aware training is tried on
it. Test pixels are never looked at.
"""

from __future__ import annotations

import tempfile
from bisect import bisect_left
from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, TypeVar

import numpy as np

from hsiedge import files
from hsiedge.card import Card
from hsiedge.compression.distill import distill
from hsiedge.compression.prune import prune_structured
from hsiedge.compression.qat import SETTINGS, qat
from hsiedge.errors import OptionError
from hsiedge.graphs.export.checkpoint import export
from hsiedge.graphs.quantization.calibration import CALIBRATION_PATCHES
from hsiedge.graphs.quantization.quantize import quantize
from hsiedge.progress import Progress
from hsiedge.runtimes import load
from hsiedge.scenes.patches import batches
from hsiedge.scenes.scene import Scene
from hsiedge.scenes.splits import VALIDATION, Split
from hsiedge.training.checkpoint import Checkpoint, save_checkpoint
from hsiedge.training.finetune import check_own_split
from hsiedge.training.fit import FitSettings
from hsiedge.training.train import train

T = TypeVar("T")
Watch = Callable[[str], AbstractContextManager[Progress]]
"""Shows a stage's progress to the user, by its title."""

STUDENT = "dscnn"
SHAPES = ((64, 112), (48, 80), (40, 64), (32, 56), (28, 48), (24, 40), (20, 34), (16, 28), (14, 24), (12, 20), (8, 16), (4, 8))
"""Students, from large to small: channels of the 1x1 convolution over the bands, and of the four stages after it."""
STAGES = 4
RATIOS = tuple(share / 16 for share in range(1, 16))
"""Shares of channels to cut, from few to many."""
DISTILLING = FitSettings(epochs=120, rate=4e-3)
FINETUNING = FitSettings(epochs=30, rate=1e-3)
AWARE = SETTINGS
_LARGER = 2  # sizes of SHAPES by which a student that will be cut is larger
_MARGIN = 200  # bytes: the Card has more steps than that of a net that was only trained


@dataclass(frozen=True)
class Tried:
    """One way that was tried, and the INT8 file at its end.

    Attributes:
        path: the steps, in order.
        model: the file's content, its Card inside.
        card: of the model.
        oa: on validation pixels, percent; `loss` the mean cross entropy there, which is finer than so few hits are.
    """

    path: tuple[str, ...]
    checkpoint: Checkpoint
    model: bytes
    card: Card
    oa: float
    loss: float

    @property
    def size(self) -> int:
        """Bytes of the file."""
        return len(self.model)


@dataclass(frozen=True)
class Budget:
    """Budget of a search: bytes that the file may take, and accuracy that it may lose.

    Attributes:
        size: bytes.
        drop: points of OA below the teacher's, on validation pixels.
        oa: least OA on validation pixels, percent; None for none.
    """

    size: int
    drop: float = 0.5
    oa: float | None = None

    def floor(self, teacher: float) -> float:
        """Least OA that will do, percent."""
        return round(max(teacher - self.drop, self.oa if self.oa is not None else 0.0), 6)


@dataclass(frozen=True)
class Compressed:
    """Result of a search.

    Attributes:
        teacher: OA of the float teacher on validation pixels, percent.
        tried: in order.
        best: of what fits the size and has the OA that the budget asks for, the one with the lowest loss, for validation
            pixels are few and OA is coarse; where none has that OA, the one with the highest. None where nothing fits.
    """

    teacher: float
    budget: Budget
    tried: tuple[Tried, ...]
    best: Tried | None

    @property
    def met(self) -> bool:
        """Whether `best` meets the budget in every respect."""
        return self.best is not None and round(self.best.oa, 6) >= self.budget.floor(self.teacher)

    @property
    def nearest(self) -> Tried:
        """The best file, or else the smallest that was made."""
        return self.best or min(self.tried, key=lambda entry: entry.size)


def compress(
    teacher: Checkpoint, scene: Scene, split: Split, budget: Budget, watch: Watch, parent: str | None = None
) -> Compressed:
    """Searches for the best INT8 file within a budget.

    Args:
        teacher: trained on `split` of `scene`.
        parent: sha256 of the teacher's file, for the lineage.

    Raises:
        OptionError: a budget that makes no sense.
        ModelError: the teacher is of another scene or split.
        CheckError: a step failed its own verification.
    """
    if budget.size < 1 or budget.drop < 0:
        raise OptionError(f"a budget of {budget.size} bytes and {budget.drop:g} points: at least 1, and 0 or more")
    check_own_split(teacher.card, scene, split)
    return _Search(teacher, scene, split, budget, watch, parent).run()


class _Search:
    """A search in progress, and what it has tried."""

    def __init__(
        self, teacher: Checkpoint, scene: Scene, split: Split, budget: Budget, watch: Watch, parent: str | None
    ) -> None:
        self._teacher, self._scene, self._split = teacher, scene, split
        self._budget, self._watch, self._parent = budget, watch, parent
        self._masks = split if split.kind == "masks" else None
        self._tried: list[Tried] = []
        self._sizes: dict[tuple[str, tuple[int, ...]], int] = {}

    def run(self) -> Compressed:
        """Tries the teacher as it is, then each way to a smaller file."""
        self._finish((), self._teacher)
        if not self._result().met:
            self._cut_teacher()
            self._student()
            self._cut_student()
            self._aware()
        return self._result()

    def _result(self) -> Compressed:
        fits = [entry for entry in self._tried if entry.size <= self._budget.size]
        teacher = _validation(self._teacher.card)
        floor = self._budget.floor(teacher)
        best = max(fits, key=lambda entry: (min(entry.oa, floor), -entry.loss), default=None)
        return Compressed(teacher, self._budget, tuple(self._tried), best)

    def _cut_teacher(self) -> None:
        """Tries the teacher with as few channels cut as the budget allows."""
        ratio = self._least_ratio(self._teacher)
        if ratio is not None:
            self._cut((), self._teacher, ratio, self._parent)

    def _student(self) -> None:
        """Tries the largest student that fits."""
        shapes = self._shapes()
        place = self._first_that_fits(shapes)
        if place is not None:
            self._distilled(shapes[place])

    def _cut_student(self) -> None:
        """Tries a student some sizes too large, then cut: its best channels, rather than all of fewer."""
        shapes = self._shapes()
        place = self._first_that_fits(shapes)
        if not place:  # none fits, or the largest does
            return
        student = self._distilled(shapes[max(0, place - _LARGER)])
        ratio = self._least_ratio(student.checkpoint)
        if ratio is not None:
            self._cut(student.path[:-1], student.checkpoint, ratio, None)

    def _aware(self) -> None:
        """Tries quantization-aware training of the best so far."""
        best = self._result().best
        if best is None or not best.path[:-1]:
            return
        with self._watch("quantization-aware training of the best") as tick:
            trained = qat(best.checkpoint, self._scene, self._split, settings=AWARE, progress=tick)
        self._add((*best.path[:-1], "qat"), best.checkpoint, trained.model, trained.before)

    def _distilled(self, shape: tuple[int, ...]) -> Tried:
        words = ",".join(map(str, shape))
        with self._watch(f"distilling into {STUDENT} {words}") as tick:
            student = distill(
                self._teacher,
                self._scene,
                self._split,
                STUDENT,
                settings=DISTILLING,
                parent=self._parent,
                progress=tick,
                widths=list(shape),
            )
        return self._finish((f"distil {STUDENT} {words}",), student)

    def _cut(self, path: tuple[str, ...], checkpoint: Checkpoint, ratio: float, parent: str | None) -> None:
        with self._watch(f"cutting {ratio:g} of the channels") as tick:
            smaller = prune_structured(
                checkpoint, self._scene, self._split, ratio, "taylor", settings=FINETUNING, parent=parent, progress=tick
            )
        self._finish((*path, f"prune {ratio:g}"), smaller)

    def _finish(self, path: tuple[str, ...], checkpoint: Checkpoint) -> Tried:
        """Exports and quantizes a checkpoint, and judges the file on validation pixels."""
        with self._watch(" then ".join([*path, "quantizing"])), tempfile.TemporaryDirectory() as name:
            model = self._deployed(checkpoint, Path(name))
            before = None if checkpoint.before is None else self._deployed(checkpoint.views()[0], Path(name))
            return self._add((*path, "quantize"), checkpoint, model, before)

    def _add(self, path: tuple[str, ...], checkpoint: Checkpoint, model: bytes, before: bytes | None = None) -> Tried:
        """Adds a model to what was tried; that of a refitted net's weights from before is judged in its place."""
        card, oa, loss = self._judge(model if before is None else before)
        if before is not None:
            card = replace(self._judge(model)[0], accuracy=card.accuracy)
        self._tried.append(Tried(path, checkpoint, model, card, oa, loss))
        return self._tried[-1]

    def _deployed(self, checkpoint: Checkpoint, folder: Path, patches: int = CALIBRATION_PATCHES) -> bytes:
        file = folder / "checkpoint.safetensors"
        save_checkpoint(file, checkpoint)
        export(checkpoint, self._scene, folder / "float.onnx", files.digest(file))
        quantize(folder / "float.onnx", self._scene, folder / "int8.onnx", patches=patches, max_drop=100, masks=self._masks)
        return (folder / "int8.onnx").read_bytes()

    def _judge(self, model: bytes) -> tuple[Card, float, float]:
        """Card of a model, and on validation pixels its OA in percent and mean cross entropy."""
        with tempfile.TemporaryDirectory() as name:
            file = Path(name) / "model.onnx"
            file.write_bytes(model)
            opened = load(file)
            pixels = self._split.pixels(VALIDATION)
            pieces = [opened.logits(patches) for _, patches in batches(self._scene.cube, pixels, opened.known.patch)]
        logits = np.concatenate(pieces).astype(np.float64)
        ids = [entry.id for entry in opened.known.classes]
        truth = np.searchsorted(ids, self._split.labels_on(self._scene).ravel()[pixels])
        logits -= logits.max(1, keepdims=True)
        chances = logits[np.arange(len(truth)), truth] - np.log(np.exp(logits).sum(1))
        return opened.known, 100 * float((logits.argmax(1) == truth).mean()), -float(chances.mean())

    def _shapes(self) -> list[tuple[int, ...]]:
        """Widths of students, with as many stages as the teacher's patch has room for."""
        stages = min(STAGES, self._teacher.card.patch // 2)
        return [(first, *[rest] * stages) for first, rest in SHAPES]

    def _first_that_fits(self, shapes: list[tuple[int, ...]]) -> int | None:
        """Place of the largest student that is expected to fit; None where none is."""
        return _first(shapes, lambda shape: self._expected(STUDENT, shape) <= self._budget.size)

    def _least_ratio(self, checkpoint: Checkpoint) -> float | None:
        """Smallest share of channels to cut that is expected to fit; None where no share does."""
        net = checkpoint.card.net
        assert net is not None
        name, options = net.name, net.options

        def fits(ratio: float) -> bool:
            widths = tuple(max(1, width - int(width * ratio)) for width in checkpoint.classifier.net.widths)
            return self._expected(name, widths, options) <= self._budget.size

        place = _first(RATIOS, fits)
        return None if place is None else RATIOS[place]

    def _expected(self, net: str, widths: tuple[int, ...], options: Mapping[str, Any] | None = None) -> int:
        """Expected bytes of the file that a net of such widths ends in: of one that is hardly trained, and a margin."""
        key = (net, widths)
        if key not in self._sizes:
            shape = {**(options or {}), "widths": list(widths)}
            patch = self._teacher.card.patch
            with tempfile.TemporaryDirectory() as name:
                hardly = train(self._scene, self._split, net, patch, FitSettings(epochs=1), refit=False, **shape)
                self._sizes[key] = len(self._deployed(hardly, Path(name), 64)) + _MARGIN
        return self._sizes[key]


def _first(entries: Sequence[T], fits: Callable[[T], bool]) -> int | None:
    """Place of the first entry that fits, where all after it do too; None where none does."""
    place = bisect_left(range(len(entries)), True, key=lambda place: fits(entries[place]))
    return place if place < len(entries) else None


def _validation(card: Card) -> float:
    """OA of a checkpoint on validation pixels, percent."""
    return next(entry.oa for entry in card.accuracy if entry.part == "validation")
