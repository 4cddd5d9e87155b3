"""The digest in a model file: it tells every changed byte, in every format, before a parser sees the file."""

from __future__ import annotations

import hashlib
import os
import re
import warnings
from pathlib import Path

import pytest

from hsiedge.card import KEY
from hsiedge.errors import CardError, ModelError
from hsiedge.runtimes import ALLOW_MODIFIED, load, read_card, require_card, seal
from hsiedge.shipped import shipped
from tests.cli.conftest import Hsiedge, hsiedge  # noqa: F401

STORED = Path(__file__).parents[1] / "benchmark" / "data"
SHIPPED = (".onnx", "-int8.onnx", "-int8-scene.onnx", "-int8.tflite", "-int8-scene.tflite")


def digits(data: bytes) -> bytes:
    """The digest that a file says it has."""
    near = data[max(0, data.index(seal.KEY.encode()) - 256) :][: 512 + len(seal.KEY)]
    return re.findall(rb"(?<![0-9a-f])[0-9a-f]{64}(?![0-9a-f])", near)[0]


@pytest.mark.parametrize("suffix", SHIPPED)
def test_it_is_the_sha256_with_its_own_digits_read_as_zeros(suffix: str) -> None:
    data = shipped(suffix).read_bytes()
    digest = digits(data)
    assert data.count(digest) == 1
    assert hashlib.sha256(data.replace(digest, b"0" * 64)).hexdigest() == digest.decode()
    assert seal.holds(shipped(suffix)) is True


@pytest.mark.parametrize("suffix", ["-int8.onnx", "-int8.tflite"])
def test_every_changed_byte_is_told(suffix: str, tmp_path: Path) -> None:
    if suffix.endswith(".tflite"):
        pytest.importorskip("ai_edge_litert", reason="LiteRT opens .tflite, and is not installed")
    data, path = shipped(suffix).read_bytes(), tmp_path / f"m{suffix}"
    key = data.index(seal.KEY.encode())
    places = [*range(0, len(data), 1499), *range(key + len(seal.KEY), key + len(seal.KEY) + 66, 5)]
    for place in (place for place in places if place < len(data)):
        path.write_bytes(data[:place] + bytes([data[place] ^ 1]) + data[place + 1 :])
        for opens in (load, read_card):
            with pytest.raises((ModelError, CardError), match="m-int8"):
                opens(path)
    for cut in (1, 1000):
        path.write_bytes(data[:-cut] if suffix.endswith("onnx") else data[cut:])
        with pytest.raises(ModelError):
            load(path)


def test_of_many_digests_few_are_looked_at(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Each costs the whole file: a small one would keep every command busy for hours."""
    looked, path = [], tmp_path / "m.onnx"
    real = seal._digest
    monkeypatch.setattr(seal, "_digest", lambda view, place: looked.append(place) or real(view, place))
    path.write_bytes((seal.KEY.encode() + b"=" + b"0" * 64 + b"\n") * 2000)
    assert seal.holds(path) is False
    assert len(set(looked)) == len(looked) < 20


def test_a_file_without_one_opens() -> None:
    for name in ("float.onnx", "int8.onnx", "stranger.onnx"):
        assert seal.holds(STORED / name) is None
        load(STORED / name)


def test_who_edits_on_purpose_says_so(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    data, path = shipped("-int8.onnx").read_bytes(), tmp_path / "m.onnx"
    path.write_bytes(data.replace(b"onnx.quantize", b"onnx.quantise") + b"\x32\x02hi")  # a doc_string
    with pytest.raises(ModelError) as caught:
        load(path)
    assert caught.value.use == {"allow_modified": ""}
    assert load(path, allow_modified=True).card == require_card(shipped("-int8.onnx"))
    with pytest.raises(ModelError):
        load(path)
    monkeypatch.setenv(ALLOW_MODIFIED, "1")
    assert load(path).card == read_card(path)


def test_a_card_in_plain_json_is_one_that_somebody_else_has_put_there(tmp_path: Path) -> None:
    onnx = pytest.importorskip("onnx", reason="onnx edits the file, and is not installed")
    model = onnx.load(shipped("-int8.onnx"))
    card = require_card(shipped("-int8.onnx"))
    next(entry for entry in model.metadata_props if entry.key == KEY).value = card.to_json()
    onnx.save(model, tmp_path / "m.onnx")
    with pytest.warns(UserWarning, match="its digest no longer holds"):
        assert load(tmp_path / "m.onnx").card == card


def test_onnx_and_ort_files_are_sealed_as_they_are_written(tmp_path: Path) -> None:
    pytest.importorskip("onnx", reason="onnx writes the files, and is not installed")
    from hsiedge.graphs.artifact import Artifact, OrtArtifact
    from hsiedge.graphs.onnx_io import read_onnx

    source = shipped("-int8.onnx")
    graph, card = read_onnx(source), require_card(source)
    for artifact in (Artifact(graph), OrtArtifact(graph)):
        path = tmp_path / f"m{artifact.suffix}"
        artifact.write(path, card)
        assert seal.holds(path) is True
        assert load(path, fast_int8=True).card == card  # an ORT file would be warned of where 8-bit sums overflow
        data = bytearray(path.read_bytes())
        data[len(data) // 2] ^= 1
        path.write_bytes(data)
        with pytest.raises(ModelError, match="its digest does not match"):
            load(path)
    assert all(entry.key == KEY for entry in graph.metadata_props)


def test_checkpoints_are_sealed_too(tmp_path: Path) -> None:
    pytest.importorskip("torch", reason="torch writes checkpoints, and is not installed")
    from hsiedge.training.checkpoint import load_checkpoint, save_checkpoint

    path = tmp_path / "m.safetensors"
    save_checkpoint(path, load_checkpoint(shipped(".safetensors")))
    assert seal.holds(path) is True
    data = bytearray(path.read_bytes())
    data[-5] ^= 1
    path.write_bytes(data)
    with pytest.raises(ModelError, match="its digest does not match"):
        load_checkpoint(path)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        load(path, runtime="torch", allow_modified=True)


def test_on_the_command_line(hsiedge: Hsiedge, tmp_path: Path) -> None:  # noqa: F811
    data = bytearray(shipped("-int8.tflite").read_bytes())
    data[100_000] ^= 1
    (tmp_path / "m.tflite").write_bytes(data)
    assert "damaged or modified after it was written; use --allow-modified" in hsiedge("show", "m.tflite").error
    try:
        assert hsiedge("show", "m.tflite", "--allow-modified").code == 0
    finally:
        os.environ.pop(ALLOW_MODIFIED, None)
