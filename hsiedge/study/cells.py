"""Work of a study's workers: train a parent, make a cell of it. Pure functions: bytes in, bytes and a row out.

They write nothing that stays, and never raise: what goes wrong comes back as `Failed`, so that one cell's end is not
another's. They run in processes with one thread each, where a run repeats to the bit.
"""

from __future__ import annotations

import functools
import gzip
import hashlib
import tempfile
import threading
import time
import traceback
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field, replace
from datetime import date
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
import onnxruntime
import torch
from numpy.typing import NDArray

from hsiedge import files, nets
from hsiedge.card import Card
from hsiedge.device.facts import device_facts
from hsiedge.errors import CheckError, HsiedgeError, ModelError
from hsiedge.evaluation import evaluate
from hsiedge.graphs.export.checkpoint import export
from hsiedge.graphs.quantization.quantize import quantize
from hsiedge.progress import Progress, silent
from hsiedge.quiet import quiet
from hsiedge.runtimes import load
from hsiedge.scenes.open import open_scene
from hsiedge.scenes.scene import Scene
from hsiedge.scenes.splits import TEST, TRAIN, Split, draw
from hsiedge.study.config import parse_student, shape_of
from hsiedge.study.paths import scene_place
from hsiedge.study.rows import Cell, Form, Row
from hsiedge.training.checkpoint import Checkpoint, load_checkpoint, save_checkpoint
from hsiedge.training.fit import FitSettings
from hsiedge.training.run import current, running
from hsiedge.training.train import train, versions

PROBE_STEPS, PROBE_SECONDS = 10, 15.0
_GZIP_LEVEL = 9
_ONE_AT_A_TIME = threading.Lock()  # torch's seed and its deterministic mode are the process's
T = TypeVar("T")


@dataclass(frozen=True)
class Places:
    """Places where a worker finds scenes, and nets of the user's own.

    Attributes:
        base: folder from which the config's paths lead.
        data_dir: folder where catalog scenes may lie.
        nets: FILE.py:NAME of each net that the user named.
        device: that workers train on.
    """

    base: str
    data_dir: str | None
    nets: tuple[str, ...] = ()
    device: str = "cpu"


@dataclass(frozen=True)
class Parent:
    """A trained net: the bytes of its checkpoint file, and the seconds that its training took."""

    checkpoint: bytes
    seconds: float


@dataclass(frozen=True)
class Made:
    """A finished cell: its row, the bytes of its model files by precision, and its split's map (`Split.parts`)."""

    row: Row
    models: dict[str, bytes]
    parts: NDArray[np.uint8]


@dataclass(frozen=True)
class Probe:
    """Result of a short training of a net on a scene: seconds a step, and how many pixels train and test."""

    step: float
    train: int
    test: int


@dataclass(frozen=True)
class Failed:
    """Failure of a worker: the reason in one line, and the traceback for who wants it."""

    reason: str
    trace: str


@dataclass(frozen=True)
class _Result:
    """Result of a method: a checkpoint; its model files by precision; the control of "qat"; remarks."""

    checkpoint: Checkpoint
    models: dict[str, Path]
    control: Path | None
    remarks: list[str]


def make_parent(cell: Cell, places: Places) -> Parent | Failed:
    """Trains the net that a cell starts from."""
    return _guarded(lambda: _trained(cell, places), places.device)


def run_cell(cell: Cell, parent: Parent | Failed, places: Places) -> Made | Failed:
    """Compresses the parent as the cell asks, deploys the result, and evaluates it on the test pixels."""
    if isinstance(parent, Failed):
        return Failed(f"its trained net could not be made: {parent.reason}", parent.trace)
    return _guarded(lambda: _made(cell, parent, places), places.device)


def probe(cell: Cell, places: Places) -> Probe | Failed:
    """Times some real training steps of a cell's net on its scene."""
    return _guarded(lambda: _probed(cell, places), places.device)


def keep(parent: Parent) -> Parent:
    """Returns a parent that was trained before, as the result of a task like any other."""
    return parent


@functools.lru_cache(maxsize=4)
def _open(name: str, places: Places) -> Scene:
    return open_scene(scene_place(name, places.base), data_dir=Path(places.data_dir) if places.data_dir else None)


@functools.lru_cache(maxsize=16)
def _draw(scene: str, kind: str, seed: int, fraction: float, guard: int, fold: int, folds: int, places: Places) -> Split:
    """Draws one split for all nets of a scene, kind, seed and fold."""
    return draw(
        kind, _open(scene, places), seed, fraction, guard if kind == "blocks" else None, fold=fold or None, folds=folds or None
    )


def _material(cell: Cell, places: Places) -> tuple[Scene, Split]:
    for net in places.nets:
        nets.NETS.name_of(net)
    drawn = _draw(cell.scene, cell.split, cell.seed, cell.fraction, cell.guard, cell.fold, cell.folds, places)
    return _open(cell.scene, places), drawn


def _guarded(work: Callable[[], T], device: str) -> T | Failed:
    """Does the work alone in this process, on one thread and on a device; what it raises comes back as `Failed`."""
    with _ONE_AT_A_TIME, _one_thread(), quiet(prints=False):
        try:
            with running(device):
                return work()
        except HsiedgeError as error:
            return Failed(" ".join(str(error).split()), traceback.format_exc())
        except Exception as error:
            first = next(iter(str(error).strip().splitlines()), "")
            return Failed(f"{type(error).__name__}: {first}", traceback.format_exc())


@contextmanager
def _one_thread() -> Iterator[None]:
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(before)


def _trained(cell: Cell, places: Places) -> Parent:
    scene, split = _material(cell, places)
    started = time.perf_counter()
    # Never refitted: all methods start from these weights, and their steps are counted.
    checkpoint = train(scene, split, cell.net, cell.patch, FitSettings(epochs=cell.epochs), refit=False, **cell.net_options)
    seconds = time.perf_counter() - started
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "parent.safetensors"
        save_checkpoint(path, checkpoint)
        return Parent(path.read_bytes(), seconds)


class _EnoughError(Exception):
    """Ends a training that was only a probe."""


def _probed(cell: Cell, places: Places) -> Probe:
    scene, split = _material(cell, places)
    times = [time.perf_counter()]

    def tick(share: float) -> None:
        times.append(time.perf_counter())
        if len(times) > PROBE_STEPS or times[-1] - times[1] > PROBE_SECONDS:
            raise _EnoughError

    with suppress(_EnoughError):
        train(scene, split, cell.net, cell.patch, FitSettings(epochs=cell.epochs), tick, refit=False, **cell.net_options)
    steps = np.diff(times[1:]) if len(times) > 2 else np.diff(times)
    return Probe(float(np.median(steps)), len(split.pixels(TRAIN)), len(split.pixels(TEST)))


def _made(cell: Cell, parent: Parent, places: Places) -> Made:
    scene, split = _material(cell, places)
    started = time.perf_counter()
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        path = folder / "parent.safetensors"
        path.write_bytes(parent.checkpoint)
        teacher = load_checkpoint(path)
        if teacher.card.split is None or teacher.card.split.digest != split.digest:
            raise ModelError(f"the trained net in store is not of this {split.kind} split; move the study's folder away")
        result = _METHODS[cell.method](cell, teacher, files.digest(path), scene, split, folder)
        forms = {precision: _score(model, precision, scene, split) for precision, model in result.models.items()}
        control = _score(result.control, "control", scene, split) if result.control is not None else None
        models = {precision: model.read_bytes() for precision, model in result.models.items()}
    seconds = time.perf_counter() - started + (parent.seconds if cell.method == "none" else 0.0)
    card, facts = result.checkpoint.card, split.facts
    assert card.net is not None
    row = Row(
        cell=cell,
        classes=card.class_names,
        split_digest=split.digest,
        train=facts.train,
        validation=facts.validation,
        test=facts.test,
        parameters=card.net.parameters,
        nonzeros=_nonzeros(result.checkpoint),
        macs_per_pixel=card.net.macs_per_pixel,
        forms=tuple(forms.values()),
        control=(control.oa, control.aa, control.kappa) if control is not None else None,
        told="; ".join(result.remarks),
        seconds=round(seconds, 2),
        versions={**versions(), "onnxruntime": onnxruntime.__version__, **current().facts},
        shape=shape_of(card.net.name, card.patch, result.checkpoint.classifier.net.widths),
        made=f"{date.today().isoformat()}, {device_facts().cpu}",
    )
    return Made(row, models, split.parts)


def _none(cell: Cell, teacher: Checkpoint, parent: str, scene: Scene, split: Split, folder: Path) -> _Result:
    return _deployed(teacher, scene, folder, parent, half=True)


def _scratch(cell: Cell, teacher: Checkpoint, parent: str, scene: Scene, split: Split, folder: Path) -> _Result:
    student = parse_student(cell.level)
    shape: dict[str, Any] = {} if student.widths is None else {"widths": student.widths}
    settings = FitSettings(epochs=cell.tuning)
    return _deployed(train(scene, split, student.net, student.patch, settings, refit=False, **shape), scene, folder)


def _finetune(cell: Cell, teacher: Checkpoint, parent: str, scene: Scene, split: Split, folder: Path) -> _Result:
    from hsiedge.training.finetune import finetuned

    return _deployed(finetuned(teacher, scene, split, _tuning(cell)), scene, folder)


def _magnitude(cell: Cell, teacher: Checkpoint, parent: str, scene: Scene, split: Split, folder: Path) -> _Result:
    from hsiedge.compression.prune import prune_magnitude

    pruned = prune_magnitude(teacher, scene, split, float(cell.level), settings=_tuning(cell), parent=parent, **cell.options)
    return _deployed(pruned, scene, folder)


def _structured(cell: Cell, teacher: Checkpoint, parent: str, scene: Scene, split: Split, folder: Path) -> _Result:
    from hsiedge.compression.prune import prune_structured

    pruned = prune_structured(teacher, scene, split, float(cell.level), settings=_tuning(cell), parent=parent, **cell.options)
    return _deployed(pruned, scene, folder)


def _distill(cell: Cell, teacher: Checkpoint, parent: str, scene: Scene, split: Split, folder: Path) -> _Result:
    from hsiedge.compression.distill import distill

    student = parse_student(cell.level)
    shape: dict[str, Any] = {} if student.widths is None else {"widths": student.widths}
    distilled = distill(
        teacher, scene, split, student.net, patch=student.patch, settings=FitSettings(epochs=cell.epochs), parent=parent,
        **cell.options, **shape,
    )  # fmt: skip
    return _deployed(distilled, scene, folder)


def _qat(cell: Cell, teacher: Checkpoint, parent: str, scene: Scene, split: Split, folder: Path) -> _Result:
    from hsiedge.compression.qat import SETTINGS, qat

    settings = replace(SETTINGS, epochs=cell.tuning)
    floats = _float_control(_Teacher(teacher, scene, split, parent), settings)
    trained = qat(teacher, scene, split, int(cell.level), settings, parent, control=floats)
    model, control = folder / "qat.onnx", folder / "control.onnx"
    model.write_bytes(trained.model)
    control.write_bytes(trained.control)
    precision = "int8" if cell.level == "8" else f"int{cell.level} (simulated)"
    return _Result(trained.checkpoint, {precision: model}, control, _remarks(trained.checkpoint.card))


def _compress(cell: Cell, teacher: Checkpoint, parent: str, scene: Scene, split: Split, folder: Path) -> _Result:
    from hsiedge.compression.budget import AWARE, Budget, compress

    best = compress(teacher, scene, split, Budget(int(cell.level)), _unwatched, parent).best
    if best is None:
        raise CheckError(f"nothing that compress tried fits {cell.level} bytes")
    card, model = best.checkpoint.card, folder / "found.onnx"
    assert card.net is not None
    model.write_bytes(best.model)
    epochs = sum(step.options["epochs"] for step in card.lineage) + (AWARE.epochs if "qat" in best.path else 0)
    alone = train(scene, split, card.net.name, card.patch, FitSettings(epochs=epochs), refit=False, **card.net.options)
    control = _deployed(alone, scene, folder)
    if "int8" not in control.models:
        raise CheckError(f"its control has {'; '.join(control.remarks)}")
    words = f"{' then '.join(best.path) or 'the net itself'}; its control took {epochs} epochs from nothing"
    return _Result(best.checkpoint, {"int8": model}, control.models["int8"], [words])


@contextmanager
def _unwatched(title: str) -> Iterator[Progress]:
    yield silent


@dataclass(frozen=True)
class _Teacher:
    """A checkpoint with its scene and split, told from others by its file's SHA-256."""

    checkpoint: Checkpoint = field(compare=False)
    scene: Scene = field(compare=False)
    split: Split = field(compare=False)
    sha256: str


@functools.lru_cache(maxsize=1)
def _float_control(teacher: _Teacher, settings: FitSettings) -> Checkpoint:
    """A parent after as many more steps in float: one control for QAT at all numbers of bits, which this process makes once."""
    from hsiedge.training.finetune import finetuned

    return finetuned(teacher.checkpoint, teacher.scene, teacher.split, settings)


_METHODS = {
    "none": _none, "scratch": _scratch, "finetune": _finetune, "magnitude": _magnitude, "structured": _structured,
    "distill": _distill, "qat": _qat, "compress": _compress,
}  # fmt: skip


def _tuning(cell: Cell) -> FitSettings:
    """Settings of the training after pruning."""
    from hsiedge.training.finetune import TUNING

    return replace(TUNING, epochs=cell.tuning)


def _deployed(checkpoint: Checkpoint, scene: Scene, folder: Path, digest: str | None = None, half: bool = False) -> _Result:
    """Makes the files that `hsiedge export` and `hsiedge quantize` would make of a checkpoint; with `half`, float16 too."""
    if digest is None:
        path = folder / "made.safetensors"
        save_checkpoint(path, checkpoint)
        digest = files.digest(path)
    remarks = _remarks(checkpoint.card)
    models = {"float32": folder / "float32.onnx"}
    export(checkpoint, scene, models["float32"], digest)
    for recipe, precision in (("float16", "float16"), ("default", "int8")):
        if precision == "float16" and not half:
            continue
        path = folder / f"{precision}.onnx"
        try:
            card = quantize(models["float32"], scene, path, recipe)
        except CheckError as error:  # what a user would read: there is no such file then
            remarks.append(f"no {precision} file: {str(error).partition(': ')[2] or error}")
            continue
        models[precision] = path
        if card.quantization is not None and card.quantization.float_layers:
            remarks.append(f"in the int8 file these layers stay float: {', '.join(card.quantization.float_layers)}")
    return _Result(checkpoint, models, None, remarks)


def _remarks(card: Card) -> list[str]:
    """Remarks on the last step of a checkpoint's making, where its result is not to the letter what was asked for."""
    step = card.lineage[-1]
    options = step.options
    if step.step == "prune" and options.get("method") == "structured":
        fewer = f", {options['asked']} were asked for" if options["removed"] < options["asked"] else ""
        return [f"{options['removed']} of {options['channels']} channels removed{fewer}"]
    if step.step == "prune":
        return [f"{options['zeros']:,} of {options['weights']:,} weights are 0"]
    if step.step == "distill" and options.get("transductive"):
        return [f"transductive: learned from {options['unlabelled']:,} unlabelled pixels too"]
    return []


def _score(path: Path, precision: str, scene: Scene, split: Split) -> Form:
    """Measures a model file: its size, and its accuracy on the test pixels."""
    model, predictions = load(path, threads=1), []

    def predict(seen: Scene, pixels: NDArray[np.intp]) -> NDArray[np.uint16]:
        predictions.append(model.predict(seen, pixels))
        return predictions[-1]

    accuracy = evaluate(predict, scene, split).accuracy
    data = path.read_bytes()
    return Form(
        precision=precision,
        bytes=len(data),
        gzip=len(gzip.compress(data, _GZIP_LEVEL, mtime=0)),
        oa=accuracy.oa,
        aa=accuracy.aa,
        kappa=accuracy.kappa,
        confusion=accuracy.confusion,
        predicted=predictions[0],
        sha256=hashlib.sha256(data).hexdigest(),
    )


def _nonzeros(checkpoint: Checkpoint) -> int:
    return sum(int(torch.count_nonzero(weights)) for weights in checkpoint.classifier.net.parameters())
