"""Flights: several scenes of one sensor as one, whose commands are those of one scene.

The first flight says which bands, units and dtype all are in: bands of the others are matched by wavelength, and their values
converted where both tell what they mean. Classes are joined by name. A list of flights is a TOML file, whose paths lead from
its own folder:

    name = "farm"                       # left out, the file's own

    [[flight]]
    cube = "may/north.hdr"              # or a name of the catalog
    labels = "may/north.tif"
    role = "train"                      # train, validate or test as a whole; left out, see below
    references = { dark = "may/dark.hdr", white = "may/white.hdr", panel = 0.99 }       # false: counts as they are

    [[flight]]
    name = "June"                       # left out, the cube's
    cube = "june.tif"
    labels = "june.gpkg"
    class_field = "crop"                # and align, cube_key, labels_key, as of a scene
    units = "physical"                  # where cube and first flight do not both tell: stored or physical
    role = "test"

    [classes]                           # ids of the joined classes, and names where label files have none; may be left out
    1 = "corn"

Where flights have roles, those with none train; where none validates, a third of the training pixels does. Where no flight has
a role, all are divided as one scene is.
"""

from __future__ import annotations

import warnings
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from hsiedge.card import Card, ClassFacts, SceneFacts
from hsiedge.errors import HsiedgeError, OptionError, SceneError
from hsiedge.files import read_toml
from hsiedge.scenes.adapt import UNITS, AdaptedCube, adapt
from hsiedge.scenes.cubes import HELD, StackedCube
from hsiedge.scenes.io.cube import Cube, SceneWarning, fits
from hsiedge.scenes.open import open_scene
from hsiedge.scenes.references import BESIDE, References, ReferencesLike
from hsiedge.scenes.scene import ROLES, UNNAMED, Scene

_LONGEST_NAME = 60
_WORDS: dict[str, type] = {
    "cube": str,
    "labels": str,
    "name": str,
    "role": str,
    "units": str,
    "cube_key": str,
    "labels_key": str,
    "class_field": str,
    "align": bool,
}


def join_flights(
    flights: Sequence[Scene],
    *,
    name: str | None = None,
    roles: Sequence[str] = (),
    units: Sequence[str | None] = (),
    classes: Mapping[int, str] | None = None,
    source: str = "",
) -> Scene:
    """One scene of several flights; see `hsiedge.join_flights`. `source` is the file that lists them."""
    if len(flights) < 2:
        raise SceneError(f"{source or 'flights'}: two or more are joined, here {'is one' if flights else 'are none'}")
    roles, units = list(roles) or [""] * len(flights), list(units) or [None] * len(flights)
    for option, words in (("roles", roles), ("units", units)):
        if len(words) != len(flights):
            raise OptionError(f"one for each of {len(flights)} flights was expected", option=option, value=len(words))
    for role in roles:
        if role not in ("", *ROLES):
            raise OptionError(f"one of {', '.join(ROLES)} was expected", option="role", value=role)
    flights = _named_apart(flights)
    _check(flights)
    joined, tables = _joined_classes(flights, classes or {})
    first, cube = flights[0], StackedCube([*_alike(flights, units)])
    fits(Path(source or first.name), (*cube.shape[:2], 8), 1)  # maps of labels and parts
    empty = replace(first, cube=cube, labels=None)
    labels = empty.stacked([table[flight.labelled()] for table, flight in zip(tables, flights)], mirrored=False)
    titles = "+".join(flight.name for flight in flights)
    return replace(
        empty,
        name=name or (titles if len(titles) <= _LONGEST_NAME else f"{first.name}+{len(flights) - 1}"),
        labels=labels,
        classes=joined,
        nodata=None,
        valid=None,
        parts=None,
        official=None,
        georeference=None,
        source=source,
        flights=tuple(flights),
        roles=tuple(roles),
    )


def open_flights(path: Path, data_dir: Path | None = None, references: ReferencesLike = BESIDE) -> Scene:
    """Opens the flights that a TOML file lists, as one scene.

    Args:
        references: for flights whose list says nothing of theirs.

    Raises:
        OptionError: a file that cannot be read, or says what is not understood.
        SceneError: a flight that cannot be opened, or flights that do not fit together.
    """
    data = read_toml(path)
    try:
        entries = [_entry(table) for table in _tables(data)]
        names = _class_names(data.get("classes", {}))
        flights = [_opened(entry, path.parent, names, data_dir, references) for entry in entries]
        roles, units = [entry.get("role", "") for entry in entries], [entry.get("units") for entry in entries]
        name = data.get("name", path.stem)
        return join_flights(flights, name=name, roles=roles, units=units, classes=names, source=str(path))
    except (OptionError, SceneError) as error:
        raise error if str(path) in error.reason else error.within(path) from error


def _tables(data: Mapping[str, Any]) -> list[dict[str, Any]]:
    tables = data.get("flight")
    unknown = sorted(set(data) - {"flight", "name", "classes"})
    if unknown:
        raise OptionError(f"{unknown[0]}: not understood; there are name, [[flight]] and [classes]")
    if not isinstance(tables, list) or not all(isinstance(table, dict) for table in tables):
        raise OptionError("lists no flights; write a [[flight]] with cube and labels for each")
    if not isinstance(data.get("name", ""), str):
        raise OptionError("name: text was expected")
    return tables


def _entry(table: dict[str, Any]) -> dict[str, Any]:
    """A flight's table, checked. Raises OptionError."""
    for key, value in table.items():
        if key not in (*_WORDS, "references"):
            raise OptionError(f"flight.{key}: not understood; there are {', '.join([*_WORDS, 'references'])}")
        if key in _WORDS and not isinstance(value, _WORDS[key]):
            raise OptionError(f"flight.{key}: {'text' if _WORDS[key] is str else 'true or false'} was expected")
    if not table.get("cube"):
        raise OptionError("flight.cube: each flight names its cube")
    if table.get("role", "") not in ("", *ROLES):
        raise OptionError(f"flight.role: {table['role']!r} is none of {', '.join(ROLES)}")
    if table.get("units") not in (None, *UNITS):
        raise OptionError(f"flight.units: {table['units']!r} is none of {', '.join(UNITS)}")
    return table


def _class_names(table: Any) -> dict[int, str]:
    if not isinstance(table, dict) or not all(_is_id(key) and isinstance(title, str) for key, title in table.items()):
        raise OptionError('classes: names by ids from 1 to 65535 were expected, as 1 = "corn"')
    if len(set(table.values())) < len(table):
        raise OptionError("classes: two of them have the same name")
    return {int(key): title for key, title in table.items()}


def _is_id(key: str) -> bool:
    return key.isdecimal() and len(key) <= 5 and 1 <= int(key) <= 65535


def _opened(
    entry: dict[str, Any], folder: Path, names: dict[int, str], data_dir: Path | None, references: ReferencesLike
) -> Scene:
    labels = None if "labels" not in entry else folder / entry["labels"]
    options = {key: entry[key] for key in ("cube_key", "labels_key", "class_field", "align") if key in entry}
    place = entry["cube"] if labels is None and _in_catalog(entry["cube"]) else folder / entry["cube"]
    chosen = _references(entry["references"], folder) if "references" in entry else references
    scene = open_scene(place, labels, data_dir, **options, references=chosen)
    named = {
        label: names.get(label, title) if title == f"{UNNAMED} {label}" else title for label, title in scene.classes.items()
    }
    return replace(scene, name=entry.get("name", scene.name), classes=named)


def _in_catalog(name: str) -> bool:
    return "/" not in name and not Path(name).suffix


def _references(value: Any, folder: Path) -> References | None:
    if value is False:
        return None
    paths = isinstance(value, dict) and set(value) <= {"dark", "white", "panel"}
    if not paths or not all(isinstance(value.get(key), str) for key in ("dark", "white")):
        raise OptionError('flight.references: { dark = "FILE", white = "FILE", panel = 0.99 } was expected, or false')
    panel = value.get("panel", 1.0)
    if not isinstance(panel, (int, float)):
        raise OptionError("flight.references.panel: a number was expected")
    return References(folder / value["dark"], folder / value["white"], float(panel))


def _named_apart(flights: Sequence[Scene]) -> list[Scene]:
    """Flights whose names differ: those that share one are called after their folder, too, and then numbered."""
    names = [flight.name for flight in flights]
    again = [
        f"{Path(flight.source).parent.name}/{name}" if names.count(name) > 1 else name for flight, name in zip(flights, names)
    ]
    numbered = [f"{name}-{place + 1}" if again.count(name) > 1 else name for place, name in enumerate(again)]
    return [replace(flight, name=name) for flight, name in zip(flights, numbered)]


def _check(flights: Sequence[Scene]) -> None:
    """Raises SceneError for a flight without labels, one of several flights, or one that is there twice."""
    seen: dict[str, str] = {}
    for flight in flights:
        if flight.flights:
            raise SceneError(f"{flight.name} is several flights already; list them one by one")
        if flight.labels is None:
            raise SceneError(f"{flight.name} has no labels, which each flight has", use={"labels": "FILE"})
        other = seen.setdefault(flight.sha256, flight.name)
        if other != flight.name:
            raise SceneError(f"{flight.name} is the same cube as {other}: its pixels would train and test")


def _joined_classes(flights: Sequence[Scene], wanted: Mapping[int, str]) -> tuple[dict[int, str], list[NDArray[np.uint16]]]:
    """Names of all classes by id, and for each flight the table that makes joined ids of its own.

    A class has the id that is wanted for it, or that of the first flight that has it where that is free, or else a new one.

    Raises:
        SceneError: two classes of a flight have a name; names that differ in case alone; names in some flights only.
    """
    named = [any(title != f"{UNNAMED} {label}" for label, title in flight.classes.items()) for flight in flights]
    if len(set(named)) == 2:
        one, other = flights[named.index(False)], flights[named.index(True)]
        raise SceneError(
            f"{one.name} names none of its classes, {other.name} does ({', '.join(other.titles[:3])}, ...): they are joined "
            "by name; a list of flights, FILE.toml, may name them under [classes]"
        )
    ids = {title: label for label, title in wanted.items()}
    spelt = {_plain(title): (title, "the list of classes") for title in ids}
    tables = []
    for flight in flights:
        table = np.zeros(max(flight.classes) + 1, np.uint16)
        for label, title in flight.classes.items():
            if flight.titles.count(title) > 1:
                raise SceneError(f"{flight.name} has two classes that are called {title}, and classes are joined by name")
            before, where = spelt.setdefault(_plain(title), (title, flight.name))
            if before != title:
                raise SceneError(f"{where} has a class {before!r}, {flight.name} one {title!r}: write them alike")
            free = label if label not in ids.values() else max(ids.values()) + 1
            table[label] = ids.setdefault(title, free)
        tables.append(table)
    present = {title for flight in flights for title in flight.titles}
    return {label: title for title, label in sorted(ids.items(), key=lambda entry: entry[1]) if title in present}, tables


def _plain(title: str) -> str:
    return " ".join(title.lower().split())


def _alike(flights: Sequence[Scene], units: Sequence[str | None]) -> Iterator[Cube]:
    """The flights' cubes as the first one is; in memory, where all of them are small enough.

    Raises:
        SceneError: other bands or units, or values that the first one's dtype cannot hold.
    """
    first = flights[0]
    card = Card("checkpoint", _facts(first), [ClassFacts(label, title) for label, title in first.classes.items()], 1, "")
    small = sum(flight.shape[0] * flight.shape[1] for flight in flights) * first.bands * first.cube.dtype.itemsize <= HELD
    for flight, word in zip(flights, units):
        try:
            fit = adapt(card, flight.as_cube(), word, taker=first.name)
            _check_bands(first, flight, fit)
            cube = fit.as_cube() if fit.changes else fit.cube
            yield Cube.of_array(cube.read(0, cube.shape[0]), cube.path) if small and cube.array is None else cube
        except HsiedgeError as error:
            word_needed = f"; in a list of flights, FILE.toml: units = {'|'.join(UNITS)}" if "units" in error.use else ""
            raise SceneError(f"{flight.name}: {error.reason}{word_needed}") from error


def _facts(scene: Scene) -> SceneFacts:
    return SceneFacts(
        scene.name,
        "",
        None,
        scene.bands,
        scene.cube.dtype.name,
        units=scene.units,
        wavelengths=list(scene.wavelengths),
        scales=list(scene.scale or ()),
        offsets=list(scene.offset or ()),
        quantity=scene.quantity,
    )


def _check_bands(first: Scene, flight: Scene, fit: AdaptedCube) -> None:
    """Raises SceneError where a band stands for two of the first flight, and warns where no wavelengths tell the order."""
    if fit.bands is not None and len(set(fit.bands.tolist())) < len(fit.bands):
        raise SceneError(f"its bands are too coarse: one of them would stand for two of {first.name}")
    if bool(first.wavelengths) != bool(flight.wavelengths):
        silent = flight if first.wavelengths else first
        warnings.warn(f"{silent.name} names no wavelengths: its {silent.bands} bands are taken as they stand", SceneWarning, 3)
