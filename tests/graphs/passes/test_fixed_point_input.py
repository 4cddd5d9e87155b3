"""The pass that makes an affine one of 16-bit integers: the same logits, and graphs for which it is not fit left alone."""

from __future__ import annotations

import functools
from typing import Any

import numpy as np
import pytest

pytest.importorskip("torch", reason="the graphs are exported from torch")
pytest.importorskip("tensorly", reason="Indian Pines comes with tensorly")

import onnx
from onnx import helper, numpy_helper
from onnx_ir.passes import PassResult

from hsiedge.graphs.onnx_io import read_onnx
from hsiedge.graphs.passes import read, write
from hsiedge.graphs.passes import run as run_passes
from hsiedge.graphs.passes.extract_input_affine import affine_nodes, affine_values
from hsiedge.graphs.passes.fixed_point_input import FixedPointInput, adjusted_ranges
from hsiedge.graphs.quantization.quantize import quantize
from hsiedge.runtimes import load
from hsiedge.runtimes.input_affine import WholeSteps
from hsiedge.scenes.patches import extract
from hsiedge.scenes.splits import TRAIN
from hsiedge.shipped import shipped
from tests import workstation
from tests.graphs.strangers import run

LOW, HIGH = -8.0, 9.0
BANDS = 200


@functools.cache
def spectra() -> np.ndarray[Any, Any]:
    return workstation.scene().cube.reshape(-1, BANDS)[workstation.split().pixels(TRAIN)]


def affine_of(model: Any) -> list[Any]:
    """The nodes of the affine that a graph begins with."""
    nodes = affine_nodes(read(model).graph)
    assert nodes is not None
    return nodes


def affine_name(model: Any) -> str:
    """The name of the value that the affine makes."""
    return affine_of(model)[-1].outputs[0].name


def ranges(model: Any) -> dict[str, tuple[float, float]]:
    """Of the value that the affine makes."""
    return {affine_name(model): (LOW, HIGH)}


def fixed(model: Any, limits: Any, spectra: Any) -> tuple[Any, Any]:
    """The graph after the pass, itself where the pass does nothing, and its ranges."""
    changed = read(model)
    modified = run_passes(changed, [FixedPointInput(limits, spectra)])
    return write(changed) if modified else model, adjusted_ranges(changed, limits)


def float_model() -> Any:
    return read_onnx(shipped(".onnx"))


def arrays(model: Any) -> dict[str, np.ndarray[Any, Any]]:
    return {tensor.name: numpy_helper.to_array(tensor) for tensor in model.graph.initializer}


def test_the_same_logits_and_steps_that_are_no_coarser() -> None:
    model = float_model()
    text, limits = model.SerializeToString(), ranges(model)
    rewritten, after_limits = fixed(model, limits, spectra())
    assert model.SerializeToString() == text
    onnx.checker.check_model(rewritten, full_check=True)
    assert [node.op_type for node in rewritten.graph.node] == [node.op_type for node in model.graph.node]
    patches = extract(workstation.scene().cube, np.arange(0, 21025, 131), 13)
    theirs, ours = run(model, patches), run(rewritten, patches)
    assert np.abs(ours - theirs).max() <= 2e-5 * np.ptp(theirs)
    before, after = (np.array(affine_values(affine_of(entry))) for entry in (model, rewritten))
    assert (after[1] != before[1]).mean() > 0.9
    low, high = after_limits[affine_name(rewritten)]
    steps = (high - low) / 255
    factor = after[1] / steps * 256
    np.testing.assert_allclose(factor, np.rint(factor), rtol=1e-5)
    assert np.abs(np.log(after[1] / before[1])).mean() < 0.1
    assert np.abs(after[0] - before[0]).max() <= 0.51
    assert low <= LOW + steps / 2
    assert high >= HIGH - steps / 2
    assert steps < 1.2 * (HIGH - LOW) / 255


def test_a_band_that_fills_the_range_gets_coarser_steps_and_loses_nothing() -> None:
    model = float_model()
    offset, scale = (np.array(entry) for entry in affine_values(affine_of(model)))
    wide = np.clip(offset + np.array([[LOW], [0], [HIGH]]) / scale + [[-1], [0], [1]], 0, 65535).astype(np.uint16)
    rewritten, _ = fixed(model, ranges(model), wide)
    after = np.array(affine_values(affine_of(rewritten)))
    reaching = offset + LOW / scale > 1
    assert reaching.sum() > 20
    assert (after[1] < scale)[reaching].mean() > 0.9  # the others are a whole number of 256ths, nearly


def test_what_others_share_stays_as_it_is() -> None:
    model = float_model()
    layer = next(node for node in model.graph.node if node.op_type == "Conv")
    model.graph.node.append(helper.make_node("Identity", [layer.input[1]], ["shared"], name="shared"))
    model.graph.output.append(helper.make_tensor_value_info("shared", onnx.TensorProto.FLOAT, None))
    rewritten, _ = fixed(model, ranges(model), spectra())
    np.testing.assert_array_equal(arrays(rewritten)[layer.input[1]], arrays(model)[layer.input[1]])
    own = next(node for node in rewritten.graph.node if node.op_type == "Conv").input[1]
    assert not np.array_equal(arrays(rewritten)[own], arrays(model)[layer.input[1]])


def test_a_layer_without_bias_gets_one() -> None:
    """Beside an array, used by nobody, that bears the name which it would be given."""
    model = float_model()
    layer = next(node for node in model.graph.node if node.op_type == "Conv")
    del layer.input[2:]
    rewritten, _ = fixed(model, ranges(model), spectra())
    patches = extract(workstation.scene().cube, np.arange(0, 21025, 1310), 13)
    theirs, ours = run(model, patches), run(rewritten, patches)
    assert np.abs(ours - theirs).max() <= 2e-5 * np.ptp(theirs)


@pytest.mark.parametrize("ruin", ["padded", "two takers", "other dtype", "no affine", "no range", "coarse counts"])
def test_what_it_is_not_fit_for_is_left_alone(ruin: str) -> None:
    model, pixels = float_model(), spectra()
    limits = ranges(model)
    nodes = affine_of(model)
    front = [next(node for node in model.graph.node if node.output[0] == entry.outputs[0].name) for entry in nodes]
    layer = next(node for node in model.graph.node if node.op_type == "Conv")
    if ruin == "padded":
        layer.attribute.append(helper.make_attribute("pads", [1, 1, 1, 1]))
        for entry in [entry for entry in layer.attribute if entry.name == "pads"][:-1]:
            layer.attribute.remove(entry)
    elif ruin == "two takers":
        model.graph.node.append(helper.make_node("Relu", [front[-1].output[0]], ["other"], name="other"))
    elif ruin == "other dtype":
        pixels = pixels.astype(np.float32)
    elif ruin == "no affine":
        front[-1].op_type = "Div"
    elif ruin == "no range":
        limits[front[-1].output[0]] = (0.0, 0.0)
    else:
        scale = arrays(model)[front[-1].input[1]] / 100
        next(entry for entry in model.graph.initializer if entry.name == front[-1].input[1]).CopyFrom(
            numpy_helper.from_array(scale, front[-1].input[1])
        )
    assert fixed(model, limits, pixels)[0] is model


@pytest.mark.parametrize("suffix", [".onnx", ".tflite"])
def test_quantized_models_have_such_an_affine(suffix: str, tmp_path: Any, monkeypatch: Any) -> None:
    """And no less agreement with float than without."""
    if suffix == ".tflite":
        pytest.importorskip("tensorflow", reason="TFLite files are made with tensorflow")
    scene = workstation.scene()
    card = quantize(workstation.float_file("cnn2d"), scene, tmp_path / f"after{suffix}", patches=200, max_drop=100)
    affine = load(tmp_path / f"after{suffix}").known.input_affine
    assert WholeSteps.of(affine, scene.cube.dtype) is not None
    monkeypatch.setattr(FixedPointInput, "call", lambda self, model: PassResult(model, False))
    before = quantize(workstation.float_file("cnn2d"), scene, tmp_path / f"before{suffix}", patches=200, max_drop=100)
    assert WholeSteps.of(load(tmp_path / f"before{suffix}").known.input_affine, scene.cube.dtype) is None
    assert card.quantization.agreement >= before.quantization.agreement - 1
