"""Config of a study: TOML in, cells out. What is not understood is an error, in one line that names the key.

    title = "what the study asks"
    scenes = ["indian_pines", "../my/pack.npz"]     # catalog names; packs, mosaic folders, lists of flights by path
    splits = ["random", "blocks", "hong"]           # a published one by its name; "flights" of a list that holds some out
    seeds = [0, 1, 2]
    epochs = 60                                     # of nets and students; left out, those of `hsiedge train` with widths
    tuning = 60                                     # of what is trained on: pruned nets, QAT; left out, as many as `epochs`
    fraction = 0.1                                  # of each class's pixels: random and blocks
    guard = 6                                       # pixels: blocks
    folds = 5                                       # blocks alone: each tests once
    controls = true                                 # see below

    [nets.cnn2d]                                    # a table for each net: patch, and the architecture's own options
    widths = [64, 64, 64, 64, 64]

    [methods]                                       # levels; or a table of levels and the method's own options
    magnitude = [0.5, 0.9]
    structured = [{ levels = [0.5], criterion = "l2" }, { levels = [0.5], rounds = 3, soft_labels = true }]
    distill = ["dscnn:20,32,32,32", "cnn2d@9:16,16,16,16"]     # NET, @PATCH and :WIDTHS where they are not the default
    qat = [8, 4]
    compress = [16384]                              # bytes

The trained net itself is always a cell, and the parent of those that the methods make of it. With `controls`, each method
has its own beside it: the student, trained from nothing without a teacher; a net as small as the pruned one, trained from
nothing for as many epochs as that took after pruning, and as many as it took in all; for magnitude pruning the parent,
trained on.
"""

from __future__ import annotations

import inspect
import re
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from itertools import product
from pathlib import Path
from typing import Any, TypeVar

from hsiedge import files, nets
from hsiedge.compression import distill, prune, qat
from hsiedge.errors import OptionError
from hsiedge.scenes.catalog import CATALOG, lookup
from hsiedge.scenes.splits import DEFAULT_FRACTION, DEFAULT_GUARD, KINDS, PUBLISHED
from hsiedge.study.rows import Cell

_STUDENT = re.compile(r"(?P<net>\w+)(@(?P<patch>\d{1,3}))?(:(?P<widths>\d{1,4}(,\d{1,4})*))?")
_KEYS = ("title", "scenes", "splits", "seeds", "epochs", "tuning", "fraction", "guard", "folds", "controls", "nets", "methods")
_MAX = 100_000  # of epochs, of cells
_BANDS = 200  # of a net that is built for its widths, which do not depend on them
T = TypeVar("T")


@dataclass(frozen=True)
class Study:
    """A study as its config asks for it.

    Attributes:
        base: the folder from which the scenes' paths lead.
        cells: in the order in which they are to run: all of one seed before the next, parents first. No two are the same.
    """

    title: str
    base: Path
    cells: tuple[Cell, ...]

    @property
    def scenes(self) -> list[str]:
        """Scenes, as the config names them."""
        return list(dict.fromkeys(cell.scene for cell in self.cells))


@dataclass(frozen=True)
class Student:
    """Level of "distill": the net that learns, its patch (None for the teacher's) and its widths (None for its own)."""

    net: str
    patch: int | None
    widths: tuple[int, ...] | None


@dataclass(frozen=True)
class _Method:
    """A method of the config: its levels, as text, and its own options; `trains`: times of `tuning` that it trains itself."""

    name: str
    levels: list[str]
    options: dict[str, Any]
    trains: int = 1


def read_config(path: Path) -> Study:
    """Reads the study that a TOML file asks for.

    Raises:
        OptionError: a file that is missing or no TOML, or says what is not understood; the line names the key.
        SceneError: a scene that is neither a path nor in the catalog.
    """
    data = files.read_toml(path)
    try:
        return Study(_one(data, "title", str, path.stem), path.absolute().parent, tuple(_cells(data)))
    except OptionError as error:
        raise error.within(path) from error


def parse_student(level: str) -> Student:
    """Parses the student that a level names: "dscnn:20,32,32,32", "cnn2d@9:16,16,16", "cnn1d". Raises OptionError."""
    parts = _STUDENT.fullmatch(level)
    if parts is None:
        raise OptionError(f"methods.distill: {level!r} is no student; write NET:WIDTHS, as dscnn:20,32,32,32 or cnn2d@9:16,16")
    nets.spec(parts["net"])
    patch = int(parts["patch"]) if parts["patch"] else None
    if patch is not None and (patch % 2 == 0 or patch < nets.spec(parts["net"]).min_patch):
        raise OptionError(
            f"methods.distill: {level!r}: {parts['net']} takes odd patches from {nets.spec(parts['net']).min_patch} up"
        )
    return Student(parts["net"], patch, tuple(map(int, parts["widths"].split(","))) if parts["widths"] else None)


def _cells(data: dict[str, Any]) -> Iterator[Cell]:
    """Cells of the grid, each once."""
    _known(data, "", _KEYS)
    scenes = [_scene(name) for name in _list(data, "scenes", str)]
    splits = [_among(name, (*KINDS, *PUBLISHED), "splits") for name in _list(data, "splits", str)]
    seeds = [_between(seed, 0, 2**32 - 1, "seeds") for seed in _list(data, "seeds", int)]
    epochs = _between(_one(data, "epochs", int, 0), 1, _MAX, "epochs") if "epochs" in data else None
    tuning = _between(_one(data, "tuning", int, 0), 1, _MAX, "tuning") if "tuning" in data else None
    fraction = _one(data, "fraction", float, DEFAULT_FRACTION)
    guard = _between(_one(data, "guard", int, DEFAULT_GUARD), 0, 1000, "guard")
    if not 0 < fraction < 0.66:
        raise OptionError(f"fraction: {fraction:g} does not lie between 0 and 0.66")
    folds = _between(_one(data, "folds", int, 0), 2, 100, "folds") if "folds" in data else 0
    controls = _one(data, "controls", bool, True)
    architectures = [(name, *_net(name, table)) for name, table in _table(data, "nets").items()]
    if not architectures:
        raise OptionError("nets: names no net; write a table for each, as [nets.cnn2d]")
    methods = [method for name, table in _table(data, "methods", {}).items() for method in _variants(name, table)]
    drawn = [(split, fold) for split in splits for fold in (range(1, folds + 1) if folds and split == "blocks" else [0])]
    seen = set()
    for seed, scene, (split, fold), (net, patch, options) in product(seeds, scenes, drawn, architectures):
        beside = _controls(methods, net, patch, options) if controls else []
        own_epochs = epochs or nets.spec(net).epochs_reshaped  # students and cut nets are of other shapes, and take as many
        for method in (_Method("none", [""], {}), *methods, *beside):
            for level in method.levels:
                cell = Cell(
                    scene, split, seed, net, patch, method.name, level,
                    fraction=fraction if split in ("random", "blocks") else 0.0,
                    guard=guard if split == "blocks" else 0,
                    epochs=own_epochs,
                    tuning=0 if method.name in ("none", "distill", "compress") else method.trains * (tuning or own_epochs),
                    net_options=options,
                    options=method.options,
                    origins=_origins(net, *([parse_student(level).net] if method.name in ("distill", "scratch") else [])),
                    fold=fold,
                    folds=folds if fold else 0,
                )  # fmt: skip
                if cell.key not in seen:
                    seen.add(cell.key)
                    yield cell


def _controls(methods: Sequence[_Method], net: str, patch: int, options: dict[str, Any]) -> Iterator[_Method]:
    """Controls of methods on a net; none of a pruned net whose widths are not known beforehand."""
    for method in methods:
        if method.name == "distill":
            yield _Method("scratch", [student_level(level, patch) for level in method.levels], {})
        elif method.name == "magnitude":
            yield _Method("finetune", [""], {})
        elif method.name == "structured" and method.options.get("scope", "layer") == "layer":
            widths = options.get("widths") or getattr(nets.build(net, _BANDS, 2, patch, **options), "widths", ())
            levels = [shape_of(net, patch, prune.widths_after(widths, float(level))) for level in method.levels if widths]
            yield from (_Method("scratch", levels, {}, trains) for trains in (1, 2))


def student_level(level: str, patch: int) -> str:
    """Level of "scratch" that trains the net of a level of "distill", whose teacher has `patch`: its patch always named."""
    student = parse_student(level)
    spec = nets.spec(student.net)
    return shape_of(student.net, student.patch or (patch if patch >= spec.min_patch else spec.patch), student.widths or ())


def shape_of(net: str, patch: int, widths: Sequence[int]) -> str:
    """A net's name, patch and widths in one word, which `parse_student` reads: cnn2d@13:16,16,16,16,16."""
    return f"{net}@{patch}" + (f":{','.join(map(str, widths))}" if widths else "")


def _origins(*names: str) -> dict[str, str]:
    """Marks that tell each net of others from another of its name: the file's SHA-256, or package and version."""
    origins = {name: nets.NETS.origin(name) for name in names}
    return {name: origin.sha256 or origin.distribution or "" for name, origin in origins.items() if origin is not None}


def _scene(name: str) -> str:
    """Name of a scene as the catalog writes it, or its path as it stands. Raises SceneError."""
    known = any(name.lower() in (entry.name, *entry.aliases) for entry in CATALOG.values())
    return name if not known and ("/" in name or Path(name).suffix) else lookup(name).name


def _net(name: str, table: Any) -> tuple[int, dict[str, Any]]:
    """Patch and options of a net's table."""
    key = f"nets.{name}"
    if name not in nets.NETS:
        raise OptionError(f"{key}: no net is called {name!r}; there are {', '.join(nets.NETS)}")
    if not isinstance(table, dict):
        raise OptionError(f"{key}: a table was expected, as [{key}]")
    spec = nets.spec(name)
    own = [entry for entry in inspect.signature(spec.build).parameters if entry not in ("bands", "classes", "patch")]
    _known(table, key, ("patch", *own))
    patch = _one(table, "patch", int, spec.patch, key)
    if patch % 2 == 0 or patch < spec.min_patch:
        raise OptionError(f"{key}.patch: {patch}; {name} takes odd patches from {spec.min_patch} up")
    options: dict[str, Any] = {}
    for option, value in table.items():
        if option == "widths":
            options[option] = [_between(width, 1, 4096, f"{key}.widths") for width in _list(table, option, int, key)]
        elif option != "patch":
            options[option] = _between(_typed(value, int, f"{key}.{option}"), 1, 4096, f"{key}.{option}")
    return patch, options


def _variants(name: str, value: Any) -> list[_Method]:
    """Methods of an entry of the table `methods`: levels, a table, or a list of tables."""
    if isinstance(value, list) and value and all(isinstance(entry, dict) for entry in value):
        return [_method(name, entry) for entry in value]
    return [_method(name, value)]


def _method(name: str, value: Any) -> _Method:
    key = f"methods.{name}"
    if name not in _LEVELS:
        raise OptionError(f"{key}: no method is called {name!r}; there are {', '.join(_LEVELS)} (the trained net is always in)")
    table = value if isinstance(value, dict) else {"levels": value}
    _known(table, key, ("levels", *_OPTIONS[name]))
    where = f"{key}.levels" if isinstance(value, dict) else key
    raw = table.get("levels")
    if not isinstance(raw, list) or not raw:
        raise OptionError(f"{where}: a list of one or more levels was expected, not {raw!r}")
    options: dict[str, Any] = {}
    for option in [word for word in table if word != "levels"]:
        allowed, place = _OPTIONS[name][option], f"{key}.{option}"
        if isinstance(allowed, range):
            options[option] = _between(_typed(table[option], int, place), allowed[0], allowed[-1], place)
        elif isinstance(allowed, tuple):
            options[option] = _among(_typed(table[option], str, place), allowed, place)
        else:
            options[option] = _typed(table[option], allowed, place)
    return _Method(name, [_LEVELS[name](level, where) for level in raw], options)


def _ratio(level: Any, where: str) -> str:
    value = _typed(level, float, where)
    if not 0 < value < 1:
        raise OptionError(f"{where}: {level!r} is no ratio; write one between 0 and 1")
    return f"{value:g}"


def _bits(level: Any, where: str) -> str:
    if _typed(level, int, where) not in qat.BITS:
        raise OptionError(f"{where}: {level} bits; there are {', '.join(map(str, qat.BITS))}")
    return str(level)


def _bytes(level: Any, where: str) -> str:
    return str(_between(_typed(level, int, where), 1000, 10**9, where))


def _student(level: Any, where: str) -> str:
    parse_student(_typed(level, str, where))
    return str(level)


_LEVELS: dict[str, Callable[[Any, str], str]] = {
    "magnitude": _ratio,
    "structured": _ratio,
    "distill": _student,
    "qat": _bits,
    "compress": _bytes,
}
_OPTIONS: dict[str, dict[str, Any]] = {
    "magnitude": {"scope": prune.SCOPES},
    "structured": {"criterion": prune.CRITERIA, "scope": prune.SCOPES, "rounds": range(1, 21), "soft_labels": bool},
    "distill": {"method": distill.METHODS, "temperature": float, "weight": float, "unlabelled": bool},
    "qat": {},
    "compress": {},
}


def _known(table: dict[str, Any], where: str, keys: Sequence[str]) -> None:
    for key in table:
        if key not in keys:
            place = f"{where}.{key}" if where else key
            raise OptionError(f"{place}: no such key; there {'is' if len(keys) == 1 else 'are'} {', '.join(keys)}")


def _table(data: dict[str, Any], key: str, default: dict[str, Any] | None = None) -> dict[str, Any]:
    value = data.get(key, default)
    if value is None:
        raise OptionError(f"{key}: is missing")
    if not isinstance(value, dict):
        raise OptionError(f"{key}: a table was expected, as [{key}]")
    return value


def _list(data: dict[str, Any], key: str, kind: type[T], where: str = "") -> list[T]:
    """List under a key, of one entry or more. Raises OptionError."""
    place = f"{where}.{key}" if where else key
    value = data.get(key)
    if value is None:
        raise OptionError(f"{place}: is missing")
    if not isinstance(value, list) or not value:
        raise OptionError(f"{place}: a list of one or more was expected, not {value!r}")
    return [_typed(entry, kind, place) for entry in value]


def _one(data: dict[str, Any], key: str, kind: type[T], default: T, where: str = "") -> T:
    return _typed(data[key], kind, f"{where}.{key}" if where else key) if key in data else default


def _typed(value: Any, kind: type[T], where: str) -> T:
    if kind is float and type(value) is int:
        value = float(value)
    if type(value) is not kind:  # a bool is an int to Python, and no number of epochs
        words = {str: "text", int: "a whole number", float: "a number", bool: "true or false"}
        raise OptionError(f"{where}: {words[kind]} was expected, not {value!r}")
    return value


def _between(value: int, low: int, high: int, where: str) -> int:
    if not low <= value <= high:
        raise OptionError(f"{where}: {value} does not lie between {low} and {high}")
    return value


def _among(value: str, allowed: Sequence[str], where: str) -> str:
    if value not in allowed:
        raise OptionError(f"{where}: {value!r}; there are {', '.join(allowed)}")
    return value
