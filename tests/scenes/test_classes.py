"""Names of classes that a user gives: by id, as a list, or in a text file."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import numpy as np
import pytest

import hsiedge as he
from hsiedge.errors import OptionError
from hsiedge.scenes.classes import ClassNames, name_classes
from hsiedge.scenes.scene import Scene
from tests.scenes.io.files import write_envi

IDS = np.array([[0, 1, 2, 4]] * 3, np.uint8)
NAMES = {1: "corn", 2: "oats", 4: "winter wheat"}


@pytest.fixture
def scene(tmp_path: Path) -> Scene:
    np.save(tmp_path / "ids.npy", IDS)
    np.save(tmp_path / "cube.npy", np.arange(24, dtype=np.uint16).reshape(3, 4, 2))
    return he.open_scene(tmp_path / "cube.npy", labels=tmp_path / "ids.npy")


@pytest.mark.parametrize(
    "text",
    [
        "id,name\n0,unlabelled\n1,corn\n2,oats\n4,winter  wheat\n9,elsewhere\n",
        '1;corn\n2;oats\n4; "winter wheat"\n',
        "\ufeffvalue\tlabel\n\n1\tcorn\n2\toats\n4\twinter wheat",
    ],
)
def test_a_file(tmp_path: Path, scene: Scene, text: str) -> None:
    (tmp_path / "names.csv").write_text(text, encoding="utf-8")
    named = he.open_scene(tmp_path / "cube.npy", labels=tmp_path / "ids.npy", classes=tmp_path / "names.csv")
    assert named.classes == NAMES
    assert named.classes == he.open_scene(scene, classes=str(tmp_path / "names.csv")).classes
    assert scene.classes == {label: f"class {label}" for label in NAMES}


def test_names_by_id_and_lists(scene: Scene) -> None:
    assert he.open_scene(scene, classes=NAMES | {0: "none", 9: "elsewhere"}).classes == NAMES
    assert he.open_scene(scene, classes=["corn", "oats", "spare", "winter wheat"]).classes == NAMES


@pytest.mark.parametrize(
    ("classes", "reason"),
    [
        ({1: "corn", 2: "oats"}, "classes: no name for 4, of the labels of cube"),
        (
            ["none", "corn", "oats", "spare", "winter wheat"],
            "classes: a list names the ids 1 to 5, the labels go to 4; 0, unlab",
        ),
        (["corn", "oats", "wheat"], "classes: a list names the ids 1 to 3, the labels go to 4"),
        (NAMES | {2: "corn"}, "classes: 1 and 2 are both called 'corn'"),
        (NAMES | {2: " "}, "classes: ' ' is no name, for id 2"),
        (NAMES | {2: "a\x1b[31m"}, "is no name, for id 2"),
        (NAMES | {70000: "far"}, "classes: 70000 is no id from 1 to 65535"),
        ({"1": "corn"}, "classes: '1' is no id"),
        (3, "classes: names by id, a list of names, or a path is expected, not int"),
        ("none.csv", "classes: none.csv: cannot be read .No such file or directory."),
    ],
)
def test_refused(scene: Scene, classes: ClassNames, reason: str) -> None:
    with pytest.raises(OptionError, match=reason) as caught:
        he.open_scene(scene, classes=classes)
    assert caught.value.option == "classes"


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        (b"1,corn\n2\n", "line 2: id,name was expected, as 1,corn"),
        (b"1,255,0,0,255,corn\n", "line 1: id,name was expected"),
        (b"1.5,corn\n", "line 1: id,name was expected"),
        (b"id,name\ncorn,1\n", "line 2: id,name was expected"),
        (b"1,corn\n1,oats\n", "two names for id 1, 'corn' and 'oats'"),
        (b'1,"corn\n', "cannot be read"),
        (b"1,\xff\xfe\n", "cannot be read"),
        (b"1,corn\n" * (1 << 20), "7 MiB, too long"),
    ],
)
def test_refused_files(tmp_path: Path, scene: Scene, text: bytes, reason: str) -> None:
    (tmp_path / "names.txt").write_bytes(text)
    with pytest.raises(OptionError, match=reason):
        name_classes([scene], tmp_path / "names.txt")


def test_names_of_the_label_file_stay(tmp_path: Path, scene: Scene) -> None:
    labels = write_envi(tmp_path, IDS[..., None], extra="class names = {none, corn, oats, , }")
    cube = tmp_path / "cube.npy"
    with pytest.raises(OptionError, match="class 2 is 'oats' by the label file of cube, not 'barley'"):
        he.open_scene(cube, labels=labels, classes={2: "barley", 4: "winter wheat"})
    assert he.open_scene(cube, labels=labels, classes={4: "winter wheat"}).classes == NAMES
    with pytest.raises(OptionError, match="2 and 4 are both called 'oats'"):
        he.open_scene(cube, labels=labels, classes={4: "oats"})


def test_several_flights(tmp_path: Path, scene: Scene) -> None:
    piece = dataclasses.replace(scene, name="piece", cube=scene.cube + np.uint16(1), labels=np.minimum(scene.labelled(), 2))
    piece = dataclasses.replace(piece, classes={1: "class 1", 2: "class 2"})
    named = name_classes([piece, scene], ["corn", "oats", "spare", "winter wheat"])
    assert [entry.classes for entry in named] == [{1: "corn", 2: "oats"}, NAMES]
    with pytest.raises(OptionError, match=r"a list of flights names its classes under \[classes\]"):
        name_classes([he.join_flights(named)], NAMES)
    with pytest.raises(OptionError, match="classes: goes with labels; use labels=FILE"):
        name_classes([dataclasses.replace(scene, labels=None, classes={})], NAMES)
