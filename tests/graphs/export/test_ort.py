"""ORT format: what is written is the ONNX model, on any processor."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

onnx = pytest.importorskip("onnx", reason="ORT files are made of ONNX graphs")

from hsiedge import files  # noqa: E402
from hsiedge.card import Card  # noqa: E402
from hsiedge.errors import CardError, CheckError, ModelError, OptionError  # noqa: E402
from hsiedge.graphs.artifact import Artifact, OrtArtifact, compared  # noqa: E402
from hsiedge.graphs.export.ort import ort_file  # noqa: E402
from hsiedge.graphs.onnx_io import read_onnx  # noqa: E402
from hsiedge.graphs.quantization.quantize import quantize  # noqa: E402
from hsiedge.runtimes import load, read_card  # noqa: E402
from hsiedge.scenes.scene import Scene  # noqa: E402
from hsiedge.shipped import shipped  # noqa: E402
from tests import workstation  # noqa: E402

PIXELS = np.arange(0, 21025, 97)


@pytest.mark.parametrize("suffix", ["-int8.onnx", "-int8-scene.onnx"])
def test_integers_are_equal_to_the_bit(suffix: str, tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    path, scene = tmp_path / "a.ort", workstation.scene()
    card = ort_file(shipped(suffix), scene, path)
    assert capfd.readouterr() == ("", "")
    assert [entry.name for entry in tmp_path.iterdir()] == ["a.ort"]
    model, source = load(path, 1), load(shipped(suffix), 1)
    assert model.card == card == read_card(path)
    assert card.lineage[-1].step == "ort"
    assert card.lineage[-1].parent == files.digest(shipped(suffix))
    assert card.checks[-1].figures == {"labels_differ": 0, "logit_difference": 0}
    assert dataclasses.replace(card, created="", accuracy=[], lineage=[], checks=[]) == dataclasses.replace(
        source.known, created="", accuracy=[], lineage=[], checks=[]
    )
    pixels = PIXELS if card.kind == "patch" else PIXELS[::8]
    np.testing.assert_array_equal(model.logits_at(scene, pixels), source.logits_at(scene, pixels))


def test_floats_have_no_layout_of_one_processor(tmp_path: Path) -> None:
    path = tmp_path / "a.ort"
    card = ort_file(shipped(".onnx"), workstation.scene(), path)
    assert card.checks[-1].figures["logit_difference"] <= 1e-5
    data = path.read_bytes()
    assert b"ReorderInput" not in data  # what leads into that layout
    assert b"FusedConv" in data  # but it is optimized


def test_it_must_be_the_same_net(
    make_model: Callable[..., tuple[Path, np.ndarray]], make_card: Callable[..., Card], tiny_scene: Scene, tmp_path: Path
) -> None:
    card = make_card(tiny_scene, 3)
    path, weights = make_model(card)
    graph = read_onnx(path)
    assert compared(OrtArtifact(graph), card, load(path), tiny_scene, "ort", 1e-5).patches == 512
    (tensor,) = graph.graph.initializer
    tensor.CopyFrom(onnx.numpy_helper.from_array(weights * np.float32(1.0001), tensor.name))
    with pytest.raises(CheckError, match=r"the \.ort file is not the net: 0 of 512 labels differ, logits by"):
        compared(OrtArtifact(graph), card, load(path), tiny_scene, "ort", 1e-5)
    tensor.CopyFrom(onnx.numpy_helper.from_array(-weights, tensor.name))
    for kind in (OrtArtifact, Artifact):
        with pytest.raises(CheckError, match=r"is not the net: [1-9]\d* of 512 labels differ"):
            compared(kind(graph), card, load(path), tiny_scene, "ort", 1.0)


def test_what_it_is_not_made_of(
    make_model: Callable[..., tuple[Path, np.ndarray]], make_card: Callable[..., Card], tiny_scene: Scene, tmp_path: Path
) -> None:
    target = tmp_path / "made.ort"
    ort_file(make_model(make_card(tiny_scene, 3))[0], tiny_scene, target)
    with pytest.raises(ModelError, match="ORT format is made of an ONNX file"):
        ort_file(target, tiny_scene, tmp_path / "again.ort")
    with pytest.raises(CardError, match="has no Card"):
        ort_file(make_model(None)[0], tiny_scene, tmp_path / "again.ort")
    with pytest.raises(ModelError, match="takes 5 bands"):
        ort_file(make_model(make_card(tiny_scene, 3))[0], workstation.corner(), tmp_path / "again.ort")
    assert not (tmp_path / "again.ort").exists()


def test_quantize_writes_it(tmp_path: Path) -> None:
    path, scene = tmp_path / "a.ort", workstation.scene()
    card = quantize(workstation.float_file("cnn2d"), scene, path, max_drop=5)
    assert [step.step for step in card.lineage[-2:]] == ["quantize", "ort"]
    assert card.quantization is not None
    model, same = load(path, 1), load(workstation.integer_file("cnn2d"), 1)
    assert model.card == card
    np.testing.assert_array_equal(model.logits_at(scene, PIXELS), same.logits_at(scene, PIXELS))


def test_float16_saves_nothing_there(tmp_path: Path) -> None:
    with pytest.raises(OptionError, match="recipe=float16: saves nothing in ORT format"):
        quantize(shipped(".onnx"), workstation.scene(), tmp_path / "a.ort", "float16")
    assert not list(tmp_path.iterdir())
