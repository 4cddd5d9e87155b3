"""The Card, a model file's description of itself: plain data and JSON.

It lies inside the file: as metadata `hsiedge.card` of a safetensors or ONNX file, packed (`hsiedge.card_packing`) or as plain
JSON. One schema version, read forward: a reader takes the fields it knows and leaves the others be, so a Card written by a
later minor version still opens.
"""

from __future__ import annotations

import dataclasses
import json
import math
from dataclasses import dataclass, field
from datetime import datetime, timezone
from typing import Any

from hsiedge import card_packing, notebook
from hsiedge.decoding import build, parse_json
from hsiedge.errors import CardError
from hsiedge.registry import Origin

SCHEMA = 1
KEY = "hsiedge.card"
MAX_CHARS = 4 << 20  # a Card of a 400-band scene takes some 10 kB; more than this is not one

_SMALLEST, _LARGEST = 1e-37, 1e37  # of what is computed in float32
_DTYPES = ("uint8", "int8", "uint16", "int16", "uint32", "int32", "uint64", "int64", "float16", "float32", "float64")
_INTEGERS = {
    "uint8": range(1 << 8),
    "int8": range(-(1 << 7), 1 << 7),
    "uint16": range(1 << 16),
    "int16": range(-(1 << 15), 1 << 15),
}


@dataclass(frozen=True)
class FlightFacts:
    """A flight that a model was made of, with others.

    Attributes:
        name: of the flight.
        sha256: of its decoded cube (`Scene.sha256`).
        digest: of all that decides labels and accuracy (`Scene.digest`).
    """

    name: str
    sha256: str
    digest: str


@dataclass(frozen=True)
class SceneFacts:
    """The scene a model was made for.

    Attributes:
        name: its catalog name, or the stem of its file.
        sha256: of the decoded cube (`Scene.sha256`).
        official: True if the cube equals the published one, False if it differs, None where nothing is known to compare with.
        dtype: numpy name of the stored dtype: what goes into the model.
        percentiles: per band, in stored units, keyed "1", "50" and "99"; of training pixels.
        wavelengths: nm, one a band; empty where unknown.
        scales, offsets: a band each: value = stored * scale + offset; empty where the scene's file names none.
        quantity: "counts", "radiance" or "reflectance"; "" where the file does not say.
        flights: the scenes that it was joined of; empty for one.
    """

    name: str
    sha256: str
    official: bool | None
    bands: int
    dtype: str
    units: str = ""
    wavelengths: list[float] = field(default_factory=list)
    percentiles: dict[str, list[float]] = field(default_factory=dict)
    scales: list[float] = field(default_factory=list)
    offsets: list[float] = field(default_factory=list)
    quantity: str = ""
    flights: list[FlightFacts] = field(default_factory=list)


@dataclass(frozen=True)
class ClassFacts:
    """A class: its label id in the scene (ids have gaps) and its name. Its index is its place in `Card.classes`."""

    id: int
    name: str


@dataclass(frozen=True)
class PublishedFacts:
    """A published split's maps: the SHA-256 of each file by its name, and the scene's label ids of their values 1, 2, ..."""

    files: dict[str, str]
    order: list[int]


@dataclass(frozen=True)
class SplitFacts:
    """A split, as far as it takes to draw it again and to know it again (`digest`).

    Attributes:
        kind: "random", "blocks", "lists", "flights", "masks", or the name of a published split.
        fold: of `blocks` that were dealt into folds, the one that tests, 1 to `folds`; 0 for all of them together.
        published: the maps of a published split.
        roles: "train", "validate", "test" or "" of each flight, in a split of kind "flights".
    """

    kind: str
    fraction: float | None
    seed: int
    guard: int | None
    train: int
    validation: int
    test: int
    dropped: list[int]
    digest: str
    fold: int | None = None
    folds: int | None = None
    published: PublishedFacts | None = None
    roles: list[str] = field(default_factory=list)


@dataclass(frozen=True)
class NetFacts:
    """The architecture, by its name in the registry, and what it was built with.

    `origin` is the package or file that a net comes from which is not ours. It tells, and no more: nothing is run for it.
    """

    name: str
    options: dict[str, Any]
    parameters: int
    macs_per_pixel: int
    origin: Origin | None = None


@dataclass(frozen=True)
class Step:
    """One step of a model's making, oldest first: what was done, with what, to which file (`parent`, its sha256)."""

    step: str
    created: str
    options: dict[str, Any] = field(default_factory=dict)
    parent: str | None = None
    versions: dict[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class Check:
    """A verification that a step passed: `against` what, on how many real patches, and the figures."""

    step: str
    against: str
    patches: int
    figures: dict[str, float]


@dataclass(frozen=True)
class Quantization:
    """Quantization of a model, and its cost on validation pixels (`oa_float`, `oa_int8`, `agreement`, percent).

    The OAs are None where the calibration cube had no labels. `float_layers`: layers that were left in float.
    """

    recipe: str
    options: dict[str, Any]
    calibration: dict[str, Any]
    float_layers: list[str]
    pixels: int
    agreement: float
    oa_float: float | None
    oa_int8: float | None
    layer_snr_db: dict[str, float] = field(default_factory=dict)


@dataclass(frozen=True)
class AccuracyFacts:
    """Accuracy on the pixels of a part of the split, percent; over several seeds the mean, with its standard deviation.

    `weights` says which it is of, where it is not of the file's own: "before the refit".
    """

    part: str
    n: int
    oa: float
    aa: float
    kappa: float
    split: str
    seeds: list[int]
    oa_std: float | None = None
    aa_std: float | None = None
    weights: str = ""


@dataclass(frozen=True)
class Affine:
    """Affine that makes integers of stored counts, band by band.

    `floor((x - offset) * (scale / step) + 0.5) + zero_point`, clipped to the dtype. offset and scale are those that the net
    was trained with, or near them, and undone by its weights; step is that of the integers.
    """

    offset: list[float]
    scale: list[float]
    dtype: str
    zero_point: int = 0
    step: float = 1.0

    def check(self, bands: int, stored: str) -> None:
        """Raises ValueError unless the affine makes integers of so many bands, of values of the dtype `stored`.

        It does not where a scale is 0, or none at all in float32; nor where a single count moves an integer from one end of
        its range to the other, or an offset is far from all counts.
        """
        if not len(self.offset) == len(self.scale) == bands:
            raise ValueError(f"an affine of {len(self.offset)} offsets and {len(self.scale)} scales for {bands} bands")
        if self.dtype not in _INTEGERS:
            raise ValueError(f"an affine that makes {self.dtype!r}, no integers of 8 or 16 bits")
        if self.zero_point not in _INTEGERS[self.dtype]:
            raise ValueError(f"an affine with zero point {self.zero_point}, which is no {self.dtype}")
        if not 0 < self.step < math.inf:
            raise ValueError(f"an affine with steps of {self.step}")
        steepest = len(_INTEGERS[self.dtype]) if stored in _INTEGERS else _LARGEST
        for scale in self.scale:
            if not _SMALLEST <= abs(scale / self.step) <= steepest:
                raise ValueError(f"an affine with a scale of {scale:g}, which makes no {self.dtype} of {stored}")
        farthest = 2 * len(_INTEGERS[stored]) if stored in _INTEGERS else _LARGEST
        for offset in self.offset:
            if not abs(offset) <= farthest:
                raise ValueError(f"an affine with an offset of {offset:g}, where {stored} are stored")


@dataclass(frozen=True)
class Card:
    """Description of a model file: its scene, classes, making and accuracy.

    Attributes:
        kind: "checkpoint" (safetensors), "patch" (a graph `(N, bands, p, p)`) or "scene" (a graph of whole scenes).
        patch: p, odd; the receptive field. `radius` is (p - 1) / 2.
        created: UTC, ISO 8601; it says which file is the newest.
        preprocess: how counts become what the net sees, in words; it is done inside the graph.
        input_affine: set only where the graph's own input is integer; then the runtime adapter applies it.
        net: None for a model that was made elsewhere.
        head: "sigmoid" or "softmax" where the graph gives probabilities; "" where it gives logits.
    """

    kind: str
    scene: SceneFacts
    classes: list[ClassFacts]
    patch: int
    created: str
    preprocess: str = ""
    input_affine: Affine | None = None
    net: NetFacts | None = None
    split: SplitFacts | None = None
    lineage: list[Step] = field(default_factory=list)
    checks: list[Check] = field(default_factory=list)
    quantization: Quantization | None = None
    accuracy: list[AccuracyFacts] = field(default_factory=list)
    head: str = ""
    schema: int = SCHEMA

    @property
    def class_names(self) -> dict[int, str]:
        """Names of the classes by label id."""
        return {entry.id: entry.name for entry in self.classes}

    def __repr__(self) -> str:
        net = f", {self.net.name}" if self.net is not None else ""
        size = f"{self.scene.bands} bands, {len(self.classes)} classes, patch {self.patch}"
        return f"Card({self.kind} of {self.scene.name}{net}: {size}, {self.precision})"

    def _repr_html_(self) -> str:
        return notebook.facts_html(self.summary(), f"Card of a {self.kind}")

    def summary(self) -> dict[str, object]:
        """The main facts by name, in words, as a notebook shows them."""
        facts: dict[str, object] = {
            "scene": f"{self.scene.name}, {self.scene.bands} bands of {self.scene.dtype}",
            "classes": ", ".join(f"{entry.id} {entry.name}" for entry in self.classes),
            "patch": f"{self.patch} x {self.patch}",
            "precision": self.precision,
            "steps": ", ".join(step.step for step in self.lineage),
        }
        if self.net is not None:
            facts["net"] = f"{self.net.name}, {self.net.parameters:,} parameters, {self.net.macs_per_pixel:,} MACs a pixel"
        if self.split is not None:
            facts["split"] = f"{self.split.kind}, seed {self.split.seed}, {self.split.train} training pixels"
        for entry in self.accuracy:
            facts[f"accuracy, {entry.part}"] = f"OA {entry.oa:.2f} %, AA {entry.aa:.2f} % of {entry.n} pixels"
        return facts

    @property
    def refitted(self) -> bool:
        """True where its weights were fitted on validation pixels too, which can judge them no more."""
        return any(step.step == "refit" for step in self.lineage)

    @property
    def hybrid(self) -> dict[str, Any] | None:
        """Facts of a scene graph whose end runs pixel by pixel (`HybridFacts`); None of any other model."""
        return next((step.options["hybrid"] for step in self.lineage if "hybrid" in step.options), None)

    @property
    def radius(self) -> int:
        """Pixels that the net looks at on each side of the pixel that it labels."""
        return (self.patch - 1) // 2

    @property
    def precision(self) -> str:
        """Precision: "int8", "float16", "float32"; or "int4 (simulated)" and the like, 8-bit integers that take few values."""
        if self.quantization is None:
            return "float32"
        if self.quantization.options.get("simulated") is True:
            return f"int{self.quantization.options.get('weight_bits')} (simulated)"
        return "float16" if self.quantization.recipe == "float16" else "int8"

    def to_json(self, indent: int | None = None) -> str:
        """JSON text of the Card; floats in lists (bands) shortened to 9 significant digits, which float32 survives."""
        separators = (",", ":") if indent is None else None
        plain = _plain(dataclasses.asdict(self))
        for name in ("scales", "offsets", "quantity", "flights"):  # which few scenes have: a small model's Card does without
            if not plain["scene"][name]:
                del plain["scene"][name]
        if plain["split"] and not plain["split"]["roles"]:
            del plain["split"]["roles"]
        if not self.head:
            del plain["head"]
        return json.dumps(plain, indent=indent, separators=separators, allow_nan=False)

    def encode(self) -> str:
        """The Card as it lies in a file: `to_json`, packed into a quarter of its length or less."""
        return card_packing.pack(self.to_json())

    @classmethod
    def decode(cls, text: str, where: str) -> Card:
        """Reads a Card as it lies in a file, packed or plain. Raises CardError, as `from_json`, to which `where` goes."""
        if not text.startswith(card_packing.PREFIX):
            return cls.from_json(text, where)
        try:
            plain = card_packing.unpack(text)
        except ValueError as error:
            raise CardError(f"{where}: its Card cannot be unpacked ({error})") from error
        return cls.from_json(plain, where)

    @classmethod
    def from_json(cls, text: str, where: str) -> Card:
        """Reads a Card; `where` names the file in errors.

        Raises:
            CardError: not JSON, not a Card, or of a later schema.
        """
        if len(text) > MAX_CHARS:
            raise CardError(f"{where}: its Card is {len(text)} characters long; this file was not written by hsiedge")
        try:
            data = parse_json(text)
        except ValueError as error:
            raise CardError(f"{where}: its Card is not JSON ({error})") from error
        schema = data.get("schema") if isinstance(data, dict) else None
        if not isinstance(schema, int) or isinstance(schema, bool):
            raise CardError(f"{where}: its Card carries no schema number")
        if schema > SCHEMA:
            raise CardError(f"{where}: its Card has schema {schema}, this hsiedge reads up to {SCHEMA}; update hsiedge")
        try:
            card: Card = build(cls, data)
            card._believable()
        except (TypeError, ValueError, KeyError, OverflowError) as error:
            raise CardError(f"{where}: its Card cannot be read ({error})") from error
        return card

    def _believable(self) -> None:
        if self.kind not in ("checkpoint", "patch", "scene"):
            raise ValueError(f"kind {self.kind!r}")
        if self.head not in ("", "sigmoid", "softmax"):
            raise ValueError(f"head {self.head!r}")
        if self.patch < 1 or self.patch % 2 == 0:
            raise ValueError(f"patch {self.patch}, must be odd")
        if not 1 <= self.scene.bands <= 1 << 16:
            raise ValueError(f"{self.scene.bands} bands")
        if self.scene.dtype not in _DTYPES:
            raise ValueError(f"counts stored as {self.scene.dtype!r}")
        ids = [entry.id for entry in self.classes]
        if not ids or len(set(ids)) != len(ids) or min(ids) < 1 or max(ids) > 65535:
            raise ValueError(f"label ids {ids}")
        for values in (self.scene.wavelengths, self.scene.scales, self.scene.offsets, *self.scene.percentiles.values()):
            if values and len(values) != self.scene.bands:
                raise ValueError(f"{len(values)} values for {self.scene.bands} bands")
        if not all(map(math.isfinite, self.scene.wavelengths)):
            raise ValueError("wavelengths that are none")
        if not all(map(math.isfinite, (*self.scene.scales, *self.scene.offsets))) or 0 in self.scene.scales:
            raise ValueError("scales of 0, or scales and offsets that are no numbers")
        if self.input_affine is not None:
            self.input_affine.check(self.scene.bands, self.scene.dtype)


def now() -> str:
    """Present time, UTC, ISO 8601 with microseconds, so that Cards written one after another keep their order."""
    return datetime.now(timezone.utc).isoformat(timespec="microseconds")


def _plain(value: Any) -> Any:
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    if isinstance(value, dict):
        return {key: _plain(entry) for key, entry in value.items()}
    if isinstance(value, (list, tuple)):
        return [_short(entry) if isinstance(entry, float) else _plain(entry) for entry in value]
    return value


def _short(value: float) -> float | int | None:
    if not math.isfinite(value):
        return None
    short = float(f"{value:.9g}")
    return int(short) if short.is_integer() and abs(short) < 1e9 else short
