"""The pass that takes the affine out of a quantized graph: the same labels, and graphs that begin otherwise left alone."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any

import numpy as np
import pytest

onnx = pytest.importorskip("onnx", reason="graph passes need onnx")
from onnx import TensorProto, helper, numpy_helper  # noqa: E402

from hsiedge.graphs.onnx_io import write_onnx  # noqa: E402
from hsiedge.graphs.passes import read, run, write  # noqa: E402
from hsiedge.graphs.passes.extract_input_affine import ExtractInputAffine, input_affine  # noqa: E402
from hsiedge.graphs.passes.hoist_quantize import HoistQuantize  # noqa: E402
from hsiedge.runtimes import load  # noqa: E402

BANDS, PATCH = 5, 3


STEP, ZERO = np.float32(0.05), np.uint8(3)


def graph(moves: bool = False, cast: bool = True, zero_point: Any = ZERO, step: Any = STEP) -> Any:
    """counts -> Cast -> Sub -> Mul -> (Unsqueeze) -> Q -> DQ -> one linear layer."""
    rng = np.random.default_rng(0)
    initializers = {
        "offset": rng.normal(500, 100, (BANDS, 1, 1)).astype(np.float32),
        "scale": rng.uniform(0.005, 0.02, (BANDS, 1, 1)).astype(np.float32),
        "step": np.asarray(step),
        "zero": np.asarray(zero_point),
        "axis": np.array([1]),
        "shape": np.array([0, -1]),
        "weight": rng.normal(size=(BANDS * PATCH * PATCH, 4)).astype(np.float32),
    }
    nodes = [helper.make_node("Cast", ["counts"], ["cast"], name="cast", to=TensorProto.FLOAT)] if cast else []
    nodes += [
        helper.make_node("Sub", ["cast" if cast else "counts", "offset"], ["sub"], name="sub"),
        helper.make_node("Mul", ["sub", "scale"], ["mul"], name="mul"),
        *([helper.make_node("Unsqueeze", ["mul", "axis"], ["wide"], name="unsqueeze")] if moves else []),
        helper.make_node("QuantizeLinear", ["wide" if moves else "mul", "step", "zero"], ["q"], name="q"),
        helper.make_node("DequantizeLinear", ["q", "step", "zero"], ["dq"], name="dq"),
        helper.make_node("Reshape", ["dq", "shape"], ["flat"], name="reshape"),
        helper.make_node("MatMul", ["flat", "weight"], ["logits"], name="matmul"),
    ]
    kind = TensorProto.UINT16 if cast else TensorProto.FLOAT
    whole = helper.make_graph(
        nodes,
        "test",
        [helper.make_tensor_value_info("counts", kind, ["N", BANDS, PATCH, PATCH])],
        [helper.make_tensor_value_info("logits", TensorProto.FLOAT, ["N", 4])],
        [numpy_helper.from_array(values, name) for name, values in initializers.items()],
    )
    return helper.make_model(whole, opset_imports=[helper.make_opsetid("", 18)], ir_version=10)


def extracted(model: Any, *before: Any) -> tuple[Any, Any]:
    """The graph without its affine, and the affine."""
    changed = read(model)
    run(changed, [*before, ExtractInputAffine()])
    return write(changed), input_affine(changed)


@pytest.fixture
def patches() -> np.ndarray[Any, Any]:
    """Counts within the range of the integers, and far outside of it on both sides."""
    return np.random.default_rng(1).integers(0, 2000, (300, BANDS, PATCH, PATCH)).astype(np.uint16)


@pytest.mark.parametrize("moves", [False, True])
@pytest.mark.parametrize("zero_point", [np.uint8(3), np.int8(-20)])
def test_it_does_what_it_did(
    moves: bool, zero_point: np.generic, patches: Any, make_card: Any, tiny_scene: Any, tmp_path: Path
) -> None:
    before = graph(moves, zero_point=zero_point)
    after, affine = extracted(before, HoistQuantize())
    assert affine is not None
    assert (affine.dtype, affine.zero_point) == (zero_point.dtype.name, int(zero_point))
    assert not {"Cast", "Sub", "Mul", "QuantizeLinear"} & {node.op_type for node in after.graph.node}
    assert {tensor.name for tensor in after.graph.initializer}.isdisjoint({"offset", "scale"})
    card = make_card(tiny_scene, PATCH)
    write_onnx(tmp_path / "before.onnx", before, card)
    write_onnx(tmp_path / "after.onnx", after, dataclasses.replace(card, input_affine=affine))
    ours, theirs = (load(tmp_path / name).logits(patches) for name in ("after.onnx", "before.onnx"))
    assert load(tmp_path / "after.onnx").session.inputs[0].dtype == zero_point.dtype
    assert np.ptp(theirs) > 1
    close = np.isclose(ours, theirs, atol=1e-4).all(1)
    assert close.mean() > 0.98  # the others hold a value within rounding error of a half
    assert np.abs(ours - theirs).max() < 0.05 * 4  # one step times a weight


def test_the_input_is_left_in_float32_where_nothing_was_cast() -> None:
    after, affine = extracted(graph(cast=False))
    assert affine is not None
    assert after.graph.input[0].type.tensor_type.elem_type == TensorProto.UINT8


def second_use(model: Any) -> Any:
    model.graph.node.append(helper.make_node("Identity", ["mul"], ["other"], name="other"))
    return model


def another_operator(model: Any) -> Any:
    model.graph.node.insert(3, helper.make_node("Relu", ["mul"], ["relu"], name="relu"))
    next(node for node in model.graph.node if node.name == "q").input[0] = "relu"
    return model


def scale_by_pixel(model: Any) -> Any:
    tensor = next(entry for entry in model.graph.initializer if entry.name == "scale")
    tensor.CopyFrom(numpy_helper.from_array(np.ones((1, PATCH, PATCH), np.float32), "scale"))
    return model


def no_subtraction(model: Any) -> Any:
    model.graph.node.remove(next(node for node in model.graph.node if node.name == "sub"))
    next(node for node in model.graph.node if node.name == "mul").input[0] = "cast"
    return model


def step_by_band(_: Any) -> Any:
    return graph(step=np.full(BANDS, 0.05, np.float32), zero_point=np.full(BANDS, 3, np.uint8))


@pytest.mark.parametrize("change", [second_use, another_operator, scale_by_pixel, no_subtraction, step_by_band])
def test_graphs_that_begin_otherwise_are_left_alone(change: Any) -> None:
    model = change(graph())
    text = model.SerializeToString()
    after, affine = extracted(model)
    assert affine is None
    assert after.SerializeToString() == text
