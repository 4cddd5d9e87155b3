"""Nouns of a study: cells, and the rows of their results."""

from __future__ import annotations

import hashlib
import json
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

METHODS = ("none", "scratch", "finetune", "magnitude", "structured", "distill", "qat", "compress")


@dataclass(frozen=True)
class Cell:
    """One point of the grid: everything that decides its outcome, and nothing else.

    Attributes:
        scene: catalog name, or path of a packed cube or mosaic, as the config gives it.
        split: kind of split; `fraction` and `guard` belong to it, and are 0 where it knows none.
        net: of the registry, with `patch` and `options` (widths); for "distill" the teacher.
        method: one of METHODS. "none" is the trained net itself, the parent of all others. Two are controls: "scratch", a
            small net trained from nothing on the labels alone, and "finetune", the parent trained on and nothing else.
        level: what the method is asked for: a ratio ("0.5"), bits ("4"), a student ("dscnn:20,32,32,32"), bytes ("16384");
            "" for "none".
        options: the method's own (criterion, scope, rounds, temperature).
        origins: SHA-256 of the file, or package and version, of each net in it that is not hsiedge's own, by its name.
        epochs: of training the net.
        tuning: epochs that the method trains by itself, after the parent's; 0 for "none" and "distill": a student's training
            takes `epochs`; and for "compress", which takes its own.
        fold, folds: of `blocks` in folds, which of how many tests, from 1; 0 for a split without folds.
    """

    scene: str
    split: str
    seed: int
    net: str
    patch: int
    method: str
    level: str
    fraction: float
    guard: int
    epochs: int
    tuning: int
    net_options: dict[str, Any] = field(default_factory=dict)
    options: dict[str, Any] = field(default_factory=dict)
    origins: dict[str, str] = field(default_factory=dict)
    fold: int = 0
    folds: int = 0

    def to_dict(self) -> dict[str, Any]:
        """Plain data, as it is stored; `origins` and folds are left out where there are none, as in stores of 0.1.0."""
        return {name: value for name, value in asdict(self).items() if value or name not in ("origins", "fold", "folds")}

    @property
    def key(self) -> str:
        """SHA-256 of the cell's canonical JSON: a config that changed is another cell."""
        return hashlib.sha256(json.dumps(self.to_dict(), sort_keys=True).encode()).hexdigest()

    @property
    def parent(self) -> Cell:
        """Cell of the trained net that this one starts from; for method "none" the cell itself."""
        if self.method == "none":
            return self
        origins = {net: origin for net, origin in self.origins.items() if net == self.net}
        return replace(self, method="none", level="", tuning=0, options={}, origins=origins)

    @property
    def title(self) -> str:
        """Title for a line of progress: "indian_pines random s0 cnn2d magnitude 0.5"."""
        options = "".join(f" {name}={value}" for name, value in self.options.items())
        what = "trained" if self.method == "none" else f"{self.method} {self.level}{options}".strip()
        split = f"{self.split} {self.fold}/{self.folds}" if self.fold else self.split
        return f"{Path(self.scene).name} {split} s{self.seed} {self.net} {what}"


@dataclass(frozen=True)
class Timing:
    """Latency of a deployed file, measured alone on the machine. ms of one run; MiB; millijoules a pixel where known.

    `warnings`: why the figures are not to be trusted, as bench says it.
    """

    batch: int
    p50: float
    p90: float
    memory_mib: float
    energy_mj: float | None = None
    warnings: tuple[str, ...] = ()


@dataclass(frozen=True)
class Form:
    """A file in which a cell would be deployed, and its accuracy on the test pixels.

    Attributes:
        precision: "float32", "float16", "int8", or "int4 (simulated)" and the like: 8-bit integers that take few values.
        bytes: of the file; `gzip` of the file compressed (level 9).
        confusion: over the row's class ids; rows the truth.
        predicted: label ids of the split's test pixels, in the order of their flat indices.
        timings: empty until measured, and where speed would say nothing.
        instructions: a pixel, from rows as stored to labels, on an emulated Cortex-A76 with one thread: of the file, then of
            the scene graph of the same net. Empty until counted; one count holds for all nets of a shape and precision.
    """

    precision: str
    bytes: int
    gzip: int
    oa: float
    aa: float
    kappa: float
    confusion: NDArray[np.int64]
    predicted: NDArray[np.uint16]
    sha256: str
    timings: tuple[Timing, ...] = ()
    instructions: tuple[int, ...] = ()

    @property
    def simulated(self) -> bool:
        """Whether the weights take fewer values than the integers that they are stored in."""
        return "simulated" in self.precision


@dataclass(frozen=True)
class Row:
    """Result of one cell.

    Attributes:
        classes: name by label id, of the classes that the split keeps.
        split_digest: of the split; all nets of one (scene, kind, seed) have the same.
        parameters, nonzeros: of the net's weights; nonzeros are those that are not 0.
        forms: what is deployed: float32 and int8; for "qat" the quantized form alone.
        control: for "qat": (OA, AA, kappa) on test pixels of the net that trained as many steps in float and was then
            quantized after training, to the same bits. For "compress": of the net that it found, trained from nothing for
            as many steps as all that led to it, the parent's too, and quantized.
        told: remarks of the method and the quantization on the result ("pruned 24 of 32 channels asked for"); "" for none.
        seconds: what the cell took to make, without its parents.
        versions: of hsiedge, torch, onnxruntime and numpy, by name.
        device: where the timings were taken, in one line; "" until measured.
        shape: of the net that is deployed, NET@PATCH:WIDTHS: a method's control has the same; "" in stores of 0.1.0.
        made: day and processor of its training, "2026-11-28, AMD EPYC"; "" in stores that were begun earlier.
    """

    cell: Cell
    classes: dict[int, str]
    split_digest: str
    train: int
    validation: int
    test: int
    parameters: int
    nonzeros: int
    macs_per_pixel: int
    forms: tuple[Form, ...]
    control: tuple[float, float, float] | None
    told: str
    seconds: float
    versions: dict[str, str] = field(default_factory=dict)
    device: str = ""
    shape: str = ""
    made: str = ""

    def untimed(self, form: Form) -> str:
        """Reason why a form is never timed, for its speed would say nothing; "" for one that is timed."""
        if self.cell.method == "magnitude":
            return "zeros do not make a dense runtime faster"
        if self.cell.method in ("scratch", "finetune"):
            return "a control runs as the net that it is beside"
        if form.simulated:
            return "the weights are stored as 8-bit integers, and run as such"
        return ""
