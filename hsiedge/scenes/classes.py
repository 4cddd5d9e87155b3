"""Names that a user gives to classes, for label maps that hold ids alone, as .mat, .npy and most GeoTIFF files do.

They are names by id, a list whose first name is that of id 1, or a text file of one class a line:

    id,name
    1,corn
    4,winter wheat

A first line whose id is no number is a heading; `;` or a tab may stand in the place of the comma, and id 0, unlabelled, may be
listed. What a label file names itself stays, and another name for it is an error.
"""

from __future__ import annotations

import csv
import os
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path

from hsiedge.arguments import wrong_type
from hsiedge.errors import OptionError
from hsiedge.scenes.scene import UNNAMED, Scene

ClassNames = Mapping[int, str] | Sequence[str] | str | os.PathLike[str]
"""Names by id, a list whose first name is that of id 1, or the path of a text file of `id,name` lines."""

_LARGEST = 4 << 20  # bytes of a file of names
_MOST = 65535  # ids of a label map are uint16
_SEPARATORS = ",;\t"


def name_classes(scenes: Sequence[Scene], classes: ClassNames) -> list[Scene]:
    """The scenes, each class that its label file does not name called as `classes` says.

    Names of ids that no pixel has are left out; a list must end with the highest id, lest its names be one place off.

    Raises:
        OptionError: a file that cannot be read or is no list of `id,name`; ids outside 1..65535; empty names, or one twice; an
            id of the labels without a name; a list of another length; a name that contradicts the label file's own; a scene
            without labels, or a list of flights, which names its own classes.
    """
    names = _by_id(classes)
    for scene in scenes:
        if scene.flights:
            raise _error(f"{scene.source or scene.name}: a list of flights names its classes under [classes]")
        if scene.labels is None:
            raise OptionError("goes with labels", option="classes", use={"labels": "FILE"})
    highest = max(label for scene in scenes for label in scene.classes)
    if not isinstance(classes, (Mapping, str, os.PathLike)) and len(classes) != highest:
        raise _error(
            f"a list names the ids 1 to {len(classes)}, the labels go to {highest}; 0, unlabelled, has no name, and a file of "
            "id,name lines may leave out ids"
        )
    return [replace(scene, classes=_named(scene, names)) for scene in scenes]


def _named(scene: Scene, names: Mapping[int, str]) -> dict[int, str]:
    """The scene's classes with their names. Raises OptionError."""
    unnamed = {label for label, title in scene.classes.items() if title == f"{UNNAMED} {label}"}
    missing = sorted(unnamed - set(names))
    if missing:
        raise _error(f"no name for {', '.join(map(str, missing))}, of the labels of {scene.name}")
    for label, title in scene.classes.items():
        if label not in unnamed and names.get(label, title) != title:
            raise _error(f"class {label} is {title!r} by the label file of {scene.name}, not {names[label]!r}")
    classes = {label: names[label] if label in unnamed else title for label, title in scene.classes.items()}
    return _distinct(classes) if unnamed else classes


def _by_id(classes: ClassNames) -> dict[int, str]:
    """Names by id, checked. Raises OptionError."""
    if isinstance(classes, (str, os.PathLike)):
        entries = list(_lines(Path(classes)))
    elif isinstance(classes, Mapping):
        entries = list(classes.items())
    elif isinstance(classes, Sequence):
        entries = list(enumerate(classes, 1))
    else:
        raise wrong_type("classes", classes, "names by id, a list of names, or a path")
    names: dict[int, str] = {}
    for label, text in entries:
        if isinstance(label, bool) or not isinstance(label, int) or not 0 <= label <= _MOST:
            raise _error(f"{label!r} is no id from 1 to {_MOST}")
        title = " ".join(text.split()) if isinstance(text, str) else ""
        if label and not (title and title.isprintable()):
            raise _error(f"{text!r} is no name, for id {label}")
        if label and names.setdefault(label, title) != title:
            raise _error(f"two names for id {label}, {names[label]!r} and {title!r}")
    return _distinct(names)


def _distinct(names: dict[int, str]) -> dict[int, str]:
    """The names. Raises OptionError where two ids share one."""
    ids: dict[str, int] = {}
    for label, title in names.items():
        if ids.setdefault(title, label) != label:
            raise _error(f"{ids[title]} and {label} are both called {title!r}")
    return names


def _lines(path: Path) -> Iterator[tuple[int, str]]:
    """Ids and names of a file. Raises OptionError."""
    try:
        if path.stat().st_size > _LARGEST:
            raise _error(f"{path}: {path.stat().st_size >> 20} MiB, too long for names of classes")
        lines = path.read_text(encoding="utf-8-sig").splitlines()
        separator = next((mark for mark in _SEPARATORS if any(mark in line for line in lines)), ",")
        rows = list(csv.reader(lines, delimiter=separator, skipinitialspace=True, strict=True))
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise _error(f"{path}: cannot be read ({getattr(error, 'strerror', None) or error})") from error
    for number, row in enumerate(rows, 1):
        cells = [cell.strip() for cell in row]
        if len(cells) == 2 and cells[0].isdecimal() and len(cells[0]) <= 5:
            yield int(cells[0]), cells[1]
        elif any(cells) and (number > 1 or len(cells) != 2 or not cells[0][:1].isalpha()):
            raise _error(f"{path}, line {number}: id,name was expected, as 1,corn")


def _error(reason: str) -> OptionError:
    return OptionError(reason, option="classes")
