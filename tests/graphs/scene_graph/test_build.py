"""Scene graphs of trained nets on a real scene, float and INT8."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest

pytest.importorskip("torch", reason="the nets are trained with torch")

import onnx
from onnx import numpy_helper

from hsiedge.errors import CheckError, ModelError
from hsiedge.graphs.export.attach_card import attach_card
from hsiedge.graphs.export.ort import ort_file
from hsiedge.graphs.quantization.quantize import quantize
from hsiedge.graphs.scene_graph import build as module
from hsiedge.graphs.scene_graph.build import scene_graph
from hsiedge.mapping import LineClassifier, classify
from hsiedge.runtimes import Model, load
from tests import workstation
from tests.graphs.strangers import BANDS, Padded, exported, seeded

NETS = tuple(workstation.SMALL)


def labels(model: Model) -> np.ndarray:
    corner = workstation.corner(20)
    return model.predict(corner, np.arange(400))


@pytest.mark.parametrize("net", NETS)
def test_labels_are_those_of_patch_by_patch(net) -> None:
    model, patches = load(workstation.scene_file(net)), load(workstation.float_file(net))
    np.testing.assert_array_equal(labels(model), labels(patches))
    card, check = model.known, model.known.checks[-1]
    assert (card.kind, card.patch, check.step) == ("scene", workstation.PATCH[net], "scene-graph")
    assert check.figures["labels_differ"] == 0
    assert check.figures["logit_difference"] < 1e-4
    assert check.patches > 500
    assert [step.step for step in card.lineage] == ["train", "export", "scene-graph"]
    before = patches.known.net.macs_per_pixel
    times = {"cnn1d": 1, "cnn2d": 20, "dscnn": 50, "cnn3d": 2, "hybridsn": 10}[net]
    assert before / card.net.macs_per_pixel >= times


@pytest.mark.parametrize("net", NETS)
def test_quantized_it_is_as_good_as_the_quantized_patch_graph(net) -> None:
    model = load(workstation.integer_scene_file(net))
    quantization = model.known.quantization
    assert quantization.float_layers == []
    assert (model.known.input_affine.dtype, model.session.inputs[0].dtype) == ("uint8", np.uint8)
    beside = load(workstation.integer_file(net)).known.quantization
    assert quantization.oa_int8 >= beside.oa_int8 - 1.5
    floats, patches = labels(load(workstation.scene_file(net))), load(workstation.integer_file(net))
    assert (labels(model) == floats).mean() >= (labels(patches) == floats).mean() - 0.02
    graph = onnx.load(workstation.integer_scene_file(net)).graph
    arrays = [numpy_helper.to_array(tensor) for tensor in graph.initializer]
    assert not [array.shape for array in arrays if array.dtype == np.float32 and array.size > 600]  # weights are integers
    moves = [node for node in graph.node if node.op_type in ("Slice", "Concat", "Pad", "Transpose", "Reshape")]
    makers = {name: node.op_type for node in graph.node for name in node.output}
    assert len([node for node in moves if makers.get(node.input[0]) == "DequantizeLinear"]) <= 1  # but for the logits' own
    assert "Sub" not in {node.op_type for node in graph.node}


@pytest.mark.parametrize("net", ["cnn2d", "cnn3d"])
def test_a_strip_as_tall_as_the_scene_or_one_row_gives_the_same(net) -> None:
    model, corner = load(workstation.integer_scene_file(net)), workstation.corner(20)
    stored = model.prepare(corner.cube)
    whole, halo = model.strip(stored), model.known.patch - 1
    rows = [model.strip(stored[row : row + halo + 1]) for row in range(20 - halo)]
    np.testing.assert_array_equal(np.concatenate(rows, axis=1), whole)


def test_a_strangers_net_with_padding(tmp_path) -> None:
    scene = dataclasses.replace(workstation.corner(), cube=workstation.corner().cube[:, :, :BANDS].astype(np.float32))
    stranger, model, output = tmp_path / "stranger.onnx", tmp_path / "model.onnx", tmp_path / "scene.onnx"
    net = seeded(Padded)
    net.head = type(net.head)(8, len(scene.classes))
    onnx.save(exported(net, BANDS, 7), stranger)
    attach_card(stranger, scene, 7, None, model)
    exact = scene_graph(model, scene, output)
    assert exact.patch == 7
    assert exact.lineage[-1].options["hybrid"]["dense_macs"] == 0
    assert exact.checks[-1].figures["labels_differ"] == 0
    pixels = np.arange(50)
    np.testing.assert_array_equal(load(output).predict(scene, pixels), load(model).predict(scene, pixels))
    _same_wherever_it_runs(output, model, scene, tmp_path)
    with pytest.raises(CheckError, match=r"keeps [\d.]+ % of the labels, 90 % are asked for; .*; use accept_labels=PERCENT"):
        scene_graph(model, scene, tmp_path / "few.onnx", approximate=True)
    assert not (tmp_path / "few.onnx").exists()
    card = scene_graph(model, scene, output, approximate=True, accept_labels=1)
    assert card.patch == 11
    assert len(card.lineage[-1].options["approximations"]) == 2
    assert card.checks[-1].figures["labels_differ"] < card.checks[-1].patches
    assert load(output).predict(scene, np.arange(50)).shape == (50,)


def _same_wherever_it_runs(whole, patches, scene, folder) -> None:
    """Rows as a camera gives them, onnxruntime's own format and INT8: a hybrid graph is used as any other."""
    expected = classify(load(patches), scene.cube)
    np.testing.assert_array_equal(classify(load(whole), scene.cube), expected)
    lines = LineClassifier(load(whole), scene.shape[1])
    labels = [lines.push(scene.cube[first : first + 5]) for first in range(0, scene.shape[0], 5)]
    np.testing.assert_array_equal(np.concatenate([*labels, lines.finish()]), expected)
    ort_file(whole, scene, folder / "whole.ort")
    np.testing.assert_array_equal(classify(load(folder / "whole.ort"), scene.cube), expected)
    card = quantize(whole, scene, folder / "int8.onnx", patches=64, max_drop=100)
    assert card.quantization is not None
    assert card.quantization.agreement > 90
    kinds = {node.op_type for node in onnx.load(folder / "int8.onnx").graph.node}
    assert "Loop" in kinds
    assert (classify(load(folder / "int8.onnx"), scene.cube) == expected).mean() > 0.9
    card = quantize(whole, scene, folder / "int8.tflite", patches=64, max_drop=100)
    assert load(folder / "int8.tflite").tile == (32, 32)
    assert (classify(load(folder / "int8.tflite"), scene.cube) == expected).mean() > 0.9


def test_what_is_no_float_patch_graph(tmp_path) -> None:
    for path in (workstation.integer_file("cnn2d"), workstation.scene_file("cnn2d")):
        with pytest.raises(ModelError, match="a scene graph is made of a float patch graph"):
            scene_graph(path, workstation.scene(), tmp_path / "out.onnx")
    narrow = dataclasses.replace(workstation.scene(), cube=workstation.scene().cube[:, :, :100])
    with pytest.raises(ModelError, match="takes 200 bands"):
        scene_graph(workstation.float_file("cnn2d"), narrow, tmp_path / "out.onnx")
    assert list(tmp_path.iterdir()) == []


def test_a_wrong_graph_is_not_written(tmp_path, monkeypatch) -> None:
    from hsiedge.graphs.scene_graph import densify

    original = densify.densify
    monkeypatch.setattr(densify, "densify", lambda model, approximate=False: _spoil(original(model, approximate)))
    with pytest.raises(CheckError, match="the scene graph is not the net"):
        module.scene_graph(workstation.float_file("cnn2d"), workstation.scene(), tmp_path / "out.onnx")
    assert list(tmp_path.iterdir()) == []


def _spoil(graph):
    tensor = next(tensor for tensor in graph.model.graph.initializer if len(tensor.dims) == 4 and tensor.dims[-1] == 3)
    values = numpy_helper.to_array(tensor).copy()
    values[0] *= 1.05
    tensor.CopyFrom(numpy_helper.from_array(values, tensor.name))
    return graph
