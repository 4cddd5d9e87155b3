"""Files that lie, on the command line: one line and no traceback, and no word of theirs obeyed."""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import numpy as np
import pytest

from hsiedge.card import KEY, Card, ClassFacts
from hsiedge.runtimes import require_card
from hsiedge.scenes.pack import pack
from hsiedge.scenes.scene import Scene
from tests.cli.conftest import Hsiedge

MODEL = Path(__file__).parents[1] / "benchmark" / "data" / "float.onnx"
INTEGER = MODEL.with_name("int8.onnx")
ESCAPES = "\x1b[31m\x1b]0;title\x07\x9b5m\u202e"


def field(number: int, data: bytes) -> bytes:
    """A field of protobuf with a length."""
    size, length = len(data), b""
    while size > 127:
        length, size = length + bytes([size & 127 | 128]), size >> 7
    return bytes([number << 3 | 2]) + length + bytes([size]) + data


def with_text(model: Path, text: str, path: Path) -> Path:
    """The model with another Card behind its own: readers of protobuf take the last."""
    path.write_bytes(model.read_bytes() + field(14, field(1, KEY.encode()) + field(2, text.encode())))
    return path


@pytest.fixture
def renamed(tmp_path: Path, tiny_scene: Scene) -> Callable[[str], Path]:
    """A model whose classes all have a name that ends in their id, beside the cube that it maps."""
    np.save(tmp_path / "cube.npy", tiny_scene.cube)

    def make(name: str) -> Path:
        card = require_card(MODEL)
        classes = [ClassFacts(entry.id, f"{name}{entry.id}") for entry in card.classes]
        return with_text(MODEL, dataclasses.replace(card, classes=classes).to_json(), tmp_path / "m.onnx")

    return make


def test_escapes_are_shown(hsiedge: Hsiedge, renamed: Callable[[str], Path], tmp_path: Path, tiny_scene: Scene) -> None:
    hostile = dataclasses.replace(tiny_scene, name=ESCAPES, classes={1: ESCAPES, 10: "b:smile:", 11: "c", 14: "d"})
    pack(hostile, tmp_path / "pack.npz")
    shows = hsiedge("scenes", "show", "pack.npz"), hsiedge("show", renamed(ESCAPES))
    for run in shows:
        assert run.code == 0
        assert "\ufffd[31m" in run.out
        assert not set(run.out + run.err) & set("\x1b\x07\x9b\u202e")
    assert "b:smile:" in shows[0].out
    error = hsiedge("eval", renamed(ESCAPES), "--scene", "pack.npz").error
    assert not set(error) & set("\x1b\x07\x9b\u202e")


def test_overlong_names_are_cut(hsiedge: Hsiedge, renamed: Callable[[str], Path]) -> None:
    run = hsiedge("show", renamed("x" * 100_000))
    assert run.code == 0
    assert len(run.out) < 5000
    card = require_card(MODEL).to_json().replace('"schema":1', f'"schema":{"9" * 4000}')
    with_text(MODEL, card, Path("m.onnx"))
    assert len(hsiedge("show", "m.onnx").error) < 1100


@pytest.mark.parametrize("name", ["A\nlines = 1\ndata file = /etc/passwd\nB", "A\0\x01", "\ud800", ESCAPES, "a},b={c"])
def test_names_in_headers_and_side_cars(hsiedge: Hsiedge, renamed: Callable[[str], Path], name: str, tmp_path: Path) -> None:
    pytest.importorskip("rasterio", reason="rasterio writes GeoTIFF, and is not installed")
    run = hsiedge("classify", renamed(name), "cube.npy", "-o", "map.hdr", "-o", "map.tif")
    assert run.code == 0, run.err
    header = (tmp_path / "map.hdr").read_text().splitlines()
    assert [line for line in header if line.startswith("lines")] == ["lines = 40"]
    assert not any(line.startswith("data file") for line in header)
    (names,) = (line for line in header if line.startswith("class names"))
    assert re.fullmatch(r"class names = \{[^{},]+(, [^{},]+){14}\}", names)
    categories = [entry.text for entry in ElementTree.parse(tmp_path / "map.tif.aux.xml").iter("Category")]
    assert len(categories) == 15
    assert all(str(text).isprintable() for text in categories)


def test_names_that_look_like_formulas(hsiedge: Hsiedge, renamed: Callable[[str], Path], tmp_path: Path) -> None:
    pytest.importorskip("matplotlib", reason="matplotlib draws pictures, and is not installed")
    assert hsiedge("classify", renamed("$\\frac$"), "cube.npy", "-o", "map.png").code == 0
    assert (tmp_path / "map.png").read_bytes().startswith(b"\x89PNG")


@pytest.mark.parametrize(
    ("change", "says"),
    [
        (lambda affine: {"scale": [float("nan")] * 5}, "NaN is no number"),
        (lambda affine: {"offset": [float("inf")] * 5}, "Infinity is no number"),
        (lambda affine: {"scale": [0.0] * 5}, "a scale of 0"),
        (lambda affine: {"scale": [1e308] * 5}, "a scale of 1e+308"),
        (lambda affine: {"scale": [1e-320] * 5}, "a scale of 9.99989e-321"),
        (lambda affine: {"scale": [*affine["scale"][:4], 1e4]}, "a scale of 10000"),
        (lambda affine: {"offset": [1e30] * 5}, "an offset of 1e+30"),
        (lambda affine: {"step": 1e-300}, "which makes no uint8 of uint16"),
    ],
)
def test_affines_that_make_nothing(hsiedge: Hsiedge, tmp_path: Path, change: Callable[[Any], Any], says: str) -> None:
    import json

    card = json.loads(require_card(INTEGER).to_json())
    card["input_affine"].update(change(card["input_affine"]))
    with_text(INTEGER, json.dumps(card), tmp_path / "m.onnx")
    np.save(tmp_path / "cube.npy", np.zeros((9, 9, 5), np.uint16))
    assert says in hsiedge("classify", "m.onnx", "cube.npy", "-o", "map.npy").error
    assert not (tmp_path / "map.npy").exists()


def test_cards_nested_deeper_than_python_goes(hsiedge: Hsiedge, tmp_path: Path) -> None:
    card = require_card(MODEL).to_json()
    for depth in (900, 100_000):
        deep = "[" * depth + "]" * depth
        with_text(MODEL, card.replace('"lineage":[', f'"extra":{deep},"lineage":[', 1), tmp_path / "m.onnx")
        assert "nested too deep" in hsiedge("show", "m.onnx", "--json", "-").error


def test_the_last_net(hsiedge: Hsiedge, monkeypatch: pytest.MonkeyPatch) -> None:
    """What should not happen is one line as well, with another exit code, and says how to report it."""

    def broken(*_: object, **__: object) -> None:
        raise KeyError("\x1b[31m" + "x" * 10_000)

    monkeypatch.setattr("hsiedge.runtimes.require_card", broken)
    run = hsiedge("show", MODEL)
    assert (run.code, run.out) == (1, "")
    (line,) = run.err.splitlines()
    assert line.startswith("hsiedge: error: unexpected KeyError: ")
    assert line.endswith("what the same command prints with --traceback")
    assert len(line) < 600
    assert "\x1b" not in line
    shown = hsiedge("show", MODEL, "--traceback")
    assert shown.code == 1
    assert "Traceback" in shown.err


def test_an_exception_in_a_callback_of_a_library_prints_nothing(hsiedge: Hsiedge, monkeypatch: pytest.MonkeyPatch) -> None:
    """Python prints such a one with its traceback, and goes on: rasterio has one where GDAL's words are no UTF-8."""

    class Callback:
        def __del__(self) -> None:
            raise ValueError("not decoded")

    require = require_card

    def reads(path: Path) -> Card:
        Callback()
        return require(path)

    monkeypatch.setattr("hsiedge.runtimes.require_card", reads)
    run = hsiedge("show", MODEL)
    assert (run.code, run.err) == (0, "")
