"""A stranger's ONNX: a Card is written in, and the sensor's dtype goes in."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import numpy as np
import pytest

onnx = pytest.importorskip("onnx", reason="writing a Card needs onnx")
torch = pytest.importorskip("torch", reason="the stranger's model is exported from torch")
pytest.importorskip("tensorly", reason="Indian Pines comes with tensorly")

from hsiedge.errors import CardError, ModelError  # noqa: E402
from hsiedge.evaluation import evaluate, split_for  # noqa: E402
from hsiedge.graphs.export.attach_card import attach_card  # noqa: E402
from hsiedge.graphs.quantization.quantize import quantize  # noqa: E402
from hsiedge.runtimes import load  # noqa: E402
from tests import workstation  # noqa: E402


@pytest.fixture
def stranger(tmp_path: Path) -> Path:
    """Our own net as somebody else would hand it over: float32 in, no metadata."""
    model = onnx.load(workstation.float_file("cnn2d"))
    del model.metadata_props[:]
    model.graph.input[0].type.tensor_type.elem_type = onnx.TensorProto.FLOAT
    onnx.save(model, tmp_path / "stranger.onnx")
    return tmp_path / "stranger.onnx"


def test_without_a_card_it_is_refused(stranger: Path) -> None:
    with pytest.raises(CardError, match="hsiedge card"):
        load(stranger).predict(workstation.scene(), np.arange(3))


def test_adopted_it_scores_what_it_scored(stranger: Path, tmp_path: Path) -> None:
    scene = workstation.scene()
    attach_card(stranger, scene, 7, workstation.split(), tmp_path / "adopted.onnx")
    scores = []
    for path in (workstation.float_file("cnn2d"), tmp_path / "adopted.onnx"):
        model = load(path)
        assert model.session.inputs[0].dtype == np.uint16
        scores.append(evaluate(model.predict, scene, split_for(model.known, scene)).accuracy)
    assert scores[0].n == scores[1].n == workstation.split().facts.test
    assert scores[0].oa == scores[1].oa


def test_adopted_it_can_be_quantized(stranger: Path, tmp_path: Path) -> None:
    scene = workstation.scene()
    attach_card(stranger, scene, 7, None, tmp_path / "adopted.onnx")
    card = quantize(tmp_path / "adopted.onnx", scene, tmp_path / "int8.onnx", max_drop=5)
    assert card.quantization is not None
    assert card.quantization.oa_int8 is None  # its split is unknown, so no label may judge
    check = card.checks[-1]
    assert (check.against, check.patches) == ("labels, some of which may have trained the net", 2000)
    both = [
        load(path).predict(scene, np.flatnonzero(scene.labels)) for path in (tmp_path / "adopted.onnx", tmp_path / "int8.onnx")
    ]
    truth = scene.labels.ravel()[np.flatnonzero(scene.labels)]
    for predicted, figure in zip(both, (check.figures["oa_float"], check.figures["oa"])):
        assert abs(100 * (predicted == truth).mean() - figure) < 2
    assert split_for(card, scene) is None


def test_a_graph_that_cannot_hold_the_counts_is_refused(stranger: Path, tmp_path: Path) -> None:
    model = onnx.load(stranger)
    model.graph.input[0].type.tensor_type.elem_type = onnx.TensorProto.UINT8
    onnx.save(model, tmp_path / "narrow.onnx")
    with pytest.raises(ModelError, match="does not hold"):
        attach_card(tmp_path / "narrow.onnx", workstation.scene(), 7, None, tmp_path / "out.onnx")


def test_a_newer_ir_is_lowered(stranger: Path, tmp_path: Path) -> None:
    model = onnx.load(stranger)
    model.ir_version = 12
    onnx.save(model, tmp_path / "newer.onnx")
    attach_card(tmp_path / "newer.onnx", workstation.scene(), 7, None, tmp_path / "out.onnx")
    assert onnx.load(tmp_path / "out.onnx").ir_version == 10


def test_errors(stranger: Path, tmp_path: Path) -> None:
    scene, out = workstation.scene(), tmp_path / "out.onnx"
    with pytest.raises(ModelError, match="patch 9"):
        attach_card(stranger, scene, 9, None, out)
    with pytest.raises(ModelError, match=r"bands|gives"):
        attach_card(stranger, dataclasses.replace(scene, cube=scene.cube[:, :, :50]), 7, None, out)
    with pytest.raises(ModelError, match="classes"):
        attach_card(stranger, workstation.corner(), 7, None, out)
    garbage = tmp_path / "garbage.onnx"
    garbage.write_bytes(b"\x00garbage" * 40)
    with pytest.raises(ModelError, match="not an ONNX file"):
        attach_card(garbage, scene, 7, None, out)
    assert not out.exists()


def test_weights_in_other_files_are_not_followed(stranger: Path, tmp_path: Path) -> None:
    model = onnx.load(stranger)
    for tensor in model.graph.initializer:
        if tensor.name == "net.spectral.weight":
            tensor.ClearField("raw_data")
            tensor.data_location = onnx.TensorProto.EXTERNAL
            tensor.external_data.add(key="location", value="../../../../etc/passwd")
    (tmp_path / "split.onnx").write_bytes(model.SerializeToString())
    with pytest.raises(ModelError, match="other files"):
        attach_card(tmp_path / "split.onnx", workstation.scene(), 7, None, tmp_path / "out.onnx")
