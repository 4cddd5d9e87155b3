"""Writes hsiedge/schemas/*.json, JSON Schemas of the Card and of every command's `--json`, from the types that are written.

    python docs/schemas.py

A test fails where a schema is not as the types are, or where a command writes what its schema does not know.
"""

from __future__ import annotations

import dataclasses
import inspect
import json
import re
from pathlib import Path
from typing import Any, Literal, TypedDict, get_args, get_origin, get_type_hints

from typing_extensions import NotRequired, is_typeddict

from hsiedge import files
from hsiedge.benchmark.across_devices import Difference
from hsiedge.benchmark.results import Report
from hsiedge.card import Card
from hsiedge.device.facts import DeviceFacts
from hsiedge.doctor.operators import Operators
from hsiedge.doctor.report import DoctorReport
from hsiedge.graphs.trial import TrialStep
from hsiedge.live.summary import RunSummary

FOLDER = Path(__file__).parents[1] / "hsiedge" / "schemas"


class EvalSplit(TypedDict):
    """Split whose test pixels were counted; kind "all" where the model never saw the scene: then all labelled pixels are."""

    kind: str
    fraction: float | None
    seed: int | None
    guard: int | None
    digest: str | None
    fold: NotRequired[int]
    folds: NotRequired[int]


class EvalClass(TypedDict):
    """Accuracy of one class, percent; null where there was nothing to count.

    Attributes:
        id: label in the scene.
        pa, ua: producer's and user's accuracy (recall and precision).
        n: pixels.
    """

    id: int
    pa: float | None
    ua: float | None
    f1: float | None
    n: int


class EvalFlight(TypedDict):
    """Accuracy on the counted pixels of one of several flights, percent.

    Attributes:
        role: "test" where it was held out as a whole; else "".
        n: pixels.
    """

    name: str
    role: str
    n: int
    oa: float | None
    aa: float | None
    kappa: float | None


class Eval(TypedDict):
    """Result of `hsiedge eval`, percent.

    Attributes:
        n: pixels that were counted.
        oa_interval: 95 %, low and high; pixels count as independent, which neighbours are not.
        per_class: by the class's name.
        confusion: rows the truth, columns the prediction, in the order of per_class.
        flights: where the scene is of several.
        runtime, provider: the engine, and what it ran on: a provider of onnxruntime, or kernels of the native engine.
    """

    schema: Literal[1]
    scene: str
    model: str
    split: EvalSplit
    n: int
    oa: float | None
    oa_interval: list[float | None]
    aa: float | None
    kappa: float | None
    per_class: dict[str, EvalClass]
    confusion: list[list[int]]
    flights: NotRequired[list[EvalFlight]]
    runtime: NotRequired[str]
    provider: NotRequired[str]
    warnings: NotRequired[list[str]]


class ComparedRun(TypedDict):
    """One file of results, and the letter that it goes by."""

    run: str
    file: str
    device: DeviceFacts


class ComparedResult(TypedDict):
    """One result of one run.

    Attributes:
        ratio: how many times as many pixels a second as the first run has of this file, at this batch and shape.
    """

    run: str
    model: str
    sha256: str
    kind: str
    precision: str
    runtime: str
    provider: str
    threads: int
    batch: int
    input_shape: list[int]
    p50_ms: float | None
    p90_ms: float | None
    pixels_per_s: float | None
    memory_mib: float | None
    energy_mj: float | None
    ratio: float | None
    warnings: list[str]


class Compare(TypedDict):
    """Result of `hsiedge compare`.

    Attributes:
        paired: false: the runs took no turns, so that a ratio has no interval.
    """

    schema: Literal[1]
    runs: list[ComparedRun]
    differences: list[Difference]
    paired: bool
    results: list[ComparedResult]


class ClassifiedCube(TypedDict):
    """One cube and its maps.

    Attributes:
        shape: height and width, pixels.
        without_data, rejected: pixels that have none, and that were left unknown.
        outside_range: share of values at the ends of the calibrated range; null for a float model.
    """

    cube: str
    shape: list[int]
    seconds: float
    pixels_per_s: float
    without_data: int
    rejected: int
    outside_range: float | None
    rows_a_strip: int
    written: list[str]


class Classify(TypedDict):
    """Result of `hsiedge classify`."""

    schema: Literal[1]
    model: str
    runtime: str
    provider: str
    warnings: list[str]
    cubes: list[ClassifiedCube]


class Try(TypedDict):
    """Result of `hsiedge try`."""

    model: str
    scene: str
    steps: list[TrialStep]


TYPES: dict[str, tuple[Any, dict[str, Any]]] = {
    "card": (Card, {}),
    "eval": (Eval, {}),
    "bench": (Report, {}),
    "compare": (Compare, {}),
    "classify": (Classify, {}),
    "run": (RunSummary, {"schema": int, "lines_per_s": float}),
    "doctor": (DoctorReport, {"stopped": bool}),
    "doctor-model": (Operators, {}),
    "try": (Try, {}),
}
"""What each schema is of, and keys that are written beside its fields."""


def schema(name: str) -> dict[str, Any]:
    """The schema of that name."""
    kind, more = TYPES[name]
    built = _object(kind, nan=name in ("bench", "compare", "run"))
    for key, value in more.items():
        built["properties"][key] = _of(value, nan=False)
        built["required"].append(key)
    return {"$schema": "https://json-schema.org/draft/2020-12/schema", "$id": f"urn:hsiedge:1:{name}", **built}


def _object(kind: Any, nan: bool) -> dict[str, Any]:
    """Schema of a dataclass or a TypedDict; `nan` where a float that is none is written as null."""
    hints = get_type_hints(kind)
    if is_typeddict(kind):
        extras = get_type_hints(kind, include_extras=True)
        required = [name for name, hint in extras.items() if get_origin(hint) is not NotRequired]
    else:
        missing = dataclasses.MISSING
        entries = dataclasses.fields(kind)
        hints = {entry.name: hints[entry.name] for entry in entries}
        required = [entry.name for entry in entries if entry.default is missing and entry.default_factory is missing]
    first, meanings = _documented(kind)
    properties = {name: _of(hint, nan) | meanings.get(name, {}) for name, hint in hints.items()}
    return {"title": kind.__name__, "description": first, "type": "object", "properties": properties, "required": required}


def _of(kind: Any, nan: bool) -> dict[str, Any]:
    origin, arguments = get_origin(kind), get_args(kind)
    if dataclasses.is_dataclass(kind) or is_typeddict(kind):
        return _object(kind, nan)
    if kind is Any:
        return {}
    if origin is Literal:
        return {"const": arguments[0]}
    if origin in (list, tuple):
        return {"type": "array", "items": _of(arguments[0], nan)}
    if origin is dict:
        return {"type": "object", "additionalProperties": _of(arguments[1], nan)}
    if type(None) in arguments:
        inner = _of(next(entry for entry in arguments if entry is not type(None)), nan)
        if isinstance(inner.get("type"), list):
            return inner
        plain = inner.keys() == {"type"}
        return {"type": [inner["type"], "null"]} if plain else {"anyOf": [inner, {"type": "null"}]}
    if kind is float:
        return {"type": ["number", "null"]} if nan else {"type": "number"}
    return {"type": {bool: "boolean", int: "integer", str: "string", Path: "string"}[kind]}


def _documented(kind: Any) -> tuple[str, dict[str, dict[str, str]]]:
    """First paragraph of a docstring, and what it says of its attributes."""
    text = inspect.getdoc(kind) or ""
    body, _, attributes = text.partition("Attributes:\n")
    meanings: dict[str, dict[str, str]] = {}
    for entry in re.findall(r"^    (\w[\w, ]*): (.*(?:\n {8}.*)*)", attributes, re.MULTILINE):
        for name in entry[0].split(", "):
            meanings[name] = {"description": re.sub(r"\s+", " ", entry[1])}
    return re.sub(r"\s+", " ", body.partition("\n\n")[0]).strip(), meanings


def main() -> None:
    """Writes all of them."""
    for name in TYPES:
        files.write_bytes(FOLDER / f"{name}.json", (json.dumps(schema(name), indent=1, ensure_ascii=False) + "\n").encode())


if __name__ == "__main__":
    main()
