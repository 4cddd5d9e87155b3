"""Each option's help says what the option is, and stands alone."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from typer.main import get_command

from hsiedge.cli import groups, options
from hsiedge.cli.app import app

BANNED = (
    "of",
    "with",
    "what",
    "the same",
    "all of them",
    "likewise",
    "as",
    "its",
    "their",
    "then",
    "whether",
    "how",
    "by",
    "which",
)


def parameters(command: Any = None, path: str = "hsiedge") -> Iterator[tuple[str, Any]]:
    """Every parameter of every command, by the command's words and its own name."""
    command = command or get_command(app)
    for name, below in getattr(command, "commands", {}).items():
        yield from parameters(below, f"{path} {name}")
    if not hasattr(command, "commands"):
        for parameter in command.params:
            yield f"{path} {parameter.opts[0]}", parameter


@pytest.mark.parametrize(("name", "parameter"), list(parameters()), ids=[name for name, _ in parameters()])
def test_each_help_says_what_the_option_is(name: str, parameter: Any) -> None:
    text = parameter.help
    assert text
    assert text.endswith(".")
    words = text.lower()
    assert not any(words.startswith((f"{start} ", f"{start},", f"{start}.")) for start in BANNED), text
    first = words.split()[0].rstrip(",;:.")
    assert first not in {choice for choice in (parameter.metavar or "").split("|") if choice.islower()}, (
        text
    )  # a value is no name
    assert not text[0].islower() or first == "onnxruntime", text


def test_a_value_has_a_word_and_a_group_its_heading() -> None:
    headings = {}
    for name, parameter in parameters():
        if parameter.param_type_name == "option" and not name.endswith("--help"):
            assert parameter.metavar is not None, name
            headings[name] = parameter.rich_help_panel
    assert headings["hsiedge train --labels"] == headings["hsiedge eval --cube"] == "Cube and labels"
    assert headings["hsiedge train --dark"] == headings["hsiedge run --dark"] == "Dark and white references"
    assert headings["hsiedge train --train-mask"] == headings["hsiedge quantize --split"] == "Split"
    assert headings["hsiedge train --net"] is None


def test_there_are_options_to_look_at() -> None:
    assert len(list(parameters())) > 150


def test_a_group_of_options_is_taken_apart_and_put_together() -> None:
    seen: list[object] = []

    @groups.expanded
    def scene_command(*, scene_options: groups.SceneOptions, seed: options.SeedOption = 3) -> None:
        seen.extend([scene_options, seed])

    readers = {
        "cube_reader": None,
        "labels_reader": "mine.py:READER",
        "class_field": "crop",
        "class_names": "rye,oats",
        "align": False,
    }
    readers |= {"dark": None, "white": None, "panel": 1.0, "raw": False}
    scene_command(cube=[Path("a.npy")], labels=None, cube_key="k", labels_key=None, data_dir=None, seed=4, **readers)
    assert seen == [
        groups.SceneOptions(
            cube=[Path("a.npy")], cube_key="k", labels_reader="mine.py:READER", class_field="crop", class_names="rye,oats"
        ),
        4,
    ]


def test_the_next_command_names_a_scene_of_ones_own() -> None:
    own = groups.SceneOptions(
        cube=[Path("a b.hdr")], labels=[Path("l.mat")], labels_key="gt", class_names="rye,oats", align=True
    )
    assert own.again() == " --cube 'a b.hdr' --labels l.mat --labels-key gt --class-names rye,oats --align"
    assert groups.SceneOptions().again(["flights.toml"]) == " --cube flights.toml"
    assert groups.SceneOptions().again(["indian_pines"]) == ""


def test_pages_are_whole_in_80_columns(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    """Nothing is cut off, and no name of one of Python's types or limit of typer's stands beside an option."""
    monkeypatch.setenv("COLUMNS", "80")
    commands = {name.rpartition(" ")[0].removeprefix("hsiedge") for name, _ in parameters()}
    assert len(commands) > 20
    for words in ("", "scenes", *commands):
        app([*words.split(), "--help"], standalone_mode=False)
        page = capsys.readouterr().out
        assert "--help" in page
        assert not any(mark in page for mark in ("<", ">=", "\N{HORIZONTAL ELLIPSIS}")), page
        assert max(map(len, page.splitlines())) <= 80
