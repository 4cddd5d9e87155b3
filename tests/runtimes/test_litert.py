"""TFLite files in LiteRT, and the Card behind the graph."""

from __future__ import annotations

import io
import struct
import sys
import zipfile
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from hsiedge.card import KEY, MAX_CHARS, Card
from hsiedge.errors import CardError, MissingExtraError, ModelError
from hsiedge.runtimes import load, read_card
from hsiedge.runtimes.row_buffer import RowBuffer
from hsiedge.runtimes.tflite_file import read_tflite_file, with_card
from hsiedge.scenes.scene import Scene
from hsiedge.scenes.synthetic import draw_rows
from hsiedge.shipped import shipped

GRAPH = struct.pack("<I4s", 28, b"TFL3") + bytes(range(200)) * 3
"""What begins like a TFLite file; enough where no engine opens it."""


def write(folder: Path, data: bytes) -> Path:
    path = folder / "a.tflite"
    path.write_bytes(data)
    return path


class TestTheCard:
    def test_lies_behind_the_graph(self, tmp_path: Path, make_card: Callable[..., Card], tiny_scene: Scene) -> None:
        card = make_card(tiny_scene, 3)
        data = with_card(GRAPH, card.encode())
        assert data.startswith(GRAPH)
        assert read_card(write(tmp_path, data)) == card
        assert with_card(GRAPH, card.encode()) == data  # no date goes in

    def test_may_be_missing(self, tmp_path: Path) -> None:
        assert read_tflite_file(write(tmp_path, GRAPH)) is None
        file = io.BytesIO()
        file.write(GRAPH)
        with zipfile.ZipFile(file, "a") as archive:  # a stranger's labels, as TFLite's own tools put them there
            archive.writestr("labels.txt", "corn")
        assert read_tflite_file(write(tmp_path, file.getvalue())) is None

    @pytest.mark.parametrize(
        ("data", "error", "words"),
        [
            (b"", ModelError, "not a TFLite file"),
            (b"ONNX" * 9, ModelError, "not a TFLite file"),
            (with_card(GRAPH, "{}"), CardError, "no schema"),
            (with_card(GRAPH, "x" * (MAX_CHARS + 1)), CardError, "its Card takes 4194305 bytes"),
            (with_card(GRAPH, "{}").replace(b"{}", b"\xff\xfe"), CardError, "cannot be read"),
        ],
    )
    def test_that_is_none(self, data: bytes, error: type[Exception], words: str, tmp_path: Path) -> None:
        with pytest.raises(error, match=words):
            read_card(write(tmp_path, data))

    def test_is_not_unpacked_before_its_size_is_known(self, tmp_path: Path) -> None:
        file = io.BytesIO()
        file.write(GRAPH)
        with zipfile.ZipFile(file, "a", zipfile.ZIP_DEFLATED) as archive:
            archive.writestr(KEY, "0" * (64 << 20))
        path = write(tmp_path, file.getvalue())
        assert path.stat().st_size < 1 << 20
        with pytest.raises(CardError, match="its Card takes 67108864 bytes"):
            read_card(path)


def test_a_missing_package_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "ai_edge_litert.interpreter", None)
    with pytest.raises(MissingExtraError, match=r"running a\.tflite in LiteRT needs .* 'hsiedge\[litert\]'"):
        load(write(tmp_path, GRAPH))


@pytest.fixture(scope="module")
def double(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A stranger's file: twice what it is given, any number of rows of three."""
    tf = pytest.importorskip("hsiedge.graphs.tflite.lower", reason="TFLite files are made with TensorFlow").tf
    from hsiedge.graphs.tflite.lower import converted

    function = tf.function(lambda rows: 2.0 * rows, input_signature=[tf.TensorSpec([None, 3], tf.float32)])
    path = tmp_path_factory.mktemp("stranger") / "double.tflite"
    path.write_bytes(converted(function, "float32"))
    return path


@pytest.mark.parametrize("pixels", [(20, 30), (150, 145), (150, 160)], ids=["a part of a tile", "two tiles", "four"])
def test_labels_of_a_strip_are_those_of_its_logits(pixels: tuple[int, int]) -> None:
    """They are taken from the integers that the graph puts out, logits are what these stand for."""
    pytest.importorskip("ai_edge_litert.interpreter", reason="LiteRT is not installed")
    model = load(shipped("-int8-scene.tflite"))
    held = RowBuffer(model, pixels[1])
    held.push(draw_rows(model.known.scene, pixels, np.random.default_rng(0)))
    held.end()
    strip = held.strip(pixels[0])
    logits, labels = model.strip(strip), model.strip_labels(strip)
    assert (logits.dtype, labels.shape) == (np.float32, pixels)
    assert len(np.unique(labels)) > 1
    np.testing.assert_array_equal(labels, model.label_ids(logits, axis=0))


class TestSession:
    def test_runs_any_number_of_rows(self, double: Path) -> None:
        model = load(double, 1)
        assert model.card is None
        assert model.session.runtime.startswith("LiteRT 2")
        (spec,) = model.session.inputs
        assert (spec.shape, spec.dtype) == ((None, 3), np.float32)
        for count in (1, 5, 2, 2):
            rows = np.arange(3 * count, dtype=np.uint16).reshape(count, 3)  # counts are cast: values stay
            np.testing.assert_array_equal(model.session.run([rows]), 2.0 * rows)

    def test_what_does_not_fit_is_an_error_and_no_more(self, double: Path) -> None:
        session = load(double).session
        with pytest.raises(ModelError, match="LiteRT could not run"):
            session.run([np.zeros((2, 4), np.float32)])
        np.testing.assert_array_equal(session.run([np.ones((2, 3), np.float32)]), np.full((2, 3), 2.0))

    @pytest.mark.parametrize("cut", [60, 300, -40])
    def test_a_broken_file_is_one_line(self, double: Path, cut: int, tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
        with pytest.raises(ModelError, match=r"a\.tflite: LiteRT .* does not load it"):
            load(write(tmp_path, double.read_bytes()[:cut]))
        assert capfd.readouterr().err == ""

    def test_is_silent(self, double: Path, capfd: pytest.CaptureFixture[str]) -> None:
        load(double).session.run([np.ones((2, 3), np.float32)])
        assert capfd.readouterr() == ("", "")
