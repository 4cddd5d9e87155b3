"""The pass that lets integers move as such: to the bit what was before, and nothing moved as floats."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

onnx = pytest.importorskip("onnx", reason="graph passes need onnx")
import onnxruntime  # noqa: E402
from onnx import TensorProto, helper, numpy_helper  # noqa: E402
from onnx_ir.passes import PreconditionError  # noqa: E402

from hsiedge.graphs.passes import apply  # noqa: E402
from hsiedge.graphs.passes.hoist_quantize import HoistQuantize  # noqa: E402

VALUES = np.random.default_rng(2).normal(0, 3, (2, 6, 4, 5)).astype(np.float32)


def graph(text: str, *, extra: dict[str, Any] | None = None) -> Any:
    """Nodes of a text, one a line, `y = Kind(x, w) axis=1`; one scale and two zero points are at hand, step, zero and other."""
    constants: dict[str, Any] = {"step": np.float32(0.04), "zero": np.uint8(120), "wide": np.float32(0.05), **(extra or {})}
    nodes = []
    for line in text.strip().splitlines():
        target, call = line.split("=", 1)
        kind, rest = call.strip().split("(", 1)
        inputs, attributes = rest.split(")")
        attributes_read = {key: eval(value) for key, value in (entry.split("=") for entry in attributes.split())}
        nodes.append(helper.make_node(kind, [name.strip() for name in inputs.split(",")], [target.strip()], **attributes_read))
    made_graph = helper.make_graph(
        nodes,
        "test",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, list(VALUES.shape))],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, None)],
        [numpy_helper.from_array(np.asarray(values), name) for name, values in constants.items()],
    )
    return helper.make_model(made_graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=10)


def run(model: Any) -> np.ndarray[Any, Any]:
    options = onnxruntime.SessionOptions()
    options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_DISABLE_ALL
    session = onnxruntime.InferenceSession(model.SerializeToString(), options, providers=["CPUExecutionProvider"])
    output: np.ndarray[Any, Any] = session.run(None, {"x": VALUES})[0]
    return output


LIMITS = {name: np.array(value) for name, value in (("a", [0]), ("b", [3]), ("c", [6]), ("axis", [1]))}
LIMITS |= {"shape": np.array([2, 3, 2, 20]), "pads": np.array([0, 1, 0, 0, 0, 2, 1, 0]), "places": np.array([2, 0])}

CUT_AND_JOINED = """
n = Neg(x)
u = Slice(n, a, b, axis)
v = Slice(n, b, c, axis)
j = Concat(v, u) axis=1
q = QuantizeLinear(j, step, zero)
d = DequantizeLinear(q, step, zero)
t = Transpose(d) perm=[0,2,1,3]
r = QuantizeLinear(t, step, zero)
e = DequantizeLinear(r, step, zero)
y = Abs(e)
"""
PADDED = """
n = Neg(x)
p = Pad(n, pads)
s = Gather(p, places) axis=1
q = QuantizeLinear(s, step, zero)
y = DequantizeLinear(q, step, zero)
"""
RESHAPED = """
q = QuantizeLinear(x, step, zero)
d = DequantizeLinear(q, step, zero)
s = Reshape(d, shape)
r = QuantizeLinear(s, step, zero)
y = DequantizeLinear(r, step, zero)
"""


@pytest.mark.parametrize("text", [CUT_AND_JOINED, PADDED, RESHAPED])
def test_to_the_bit_and_as_integers(text: str) -> None:
    before = graph(text, extra=LIMITS)
    after = apply(before, HoistQuantize())
    np.testing.assert_array_equal(run(after), run(before))
    kinds = [node.op_type for node in after.graph.node]
    assert kinds.count("QuantizeLinear") == 1
    assert kinds.count("DequantizeLinear") == 1
    first, last = kinds.index("QuantizeLinear"), kinds.index("DequantizeLinear")
    moves = [place for place, kind in enumerate(kinds) if kind not in ("Neg", "Abs", "QuantizeLinear", "DequantizeLinear")]
    assert moves
    assert all(first < place < last for place in moves)


NOT_MOVED = {
    "another scale": "q = QuantizeLinear(x, step, zero)\nd = DequantizeLinear(q, step, zero)\n"
    "r = QuantizeLinear(d, wide, zero)\ny = DequantizeLinear(r, wide, zero)",
    "used as floats, too": "n = Neg(x)\nt = Transpose(n) perm=[0,1,3,2]\nq = QuantizeLinear(t, step, zero)\n"
    "d = DequantizeLinear(q, step, zero)\ny = Add(d, t)",
    "computed": "n = Relu(x)\nq = QuantizeLinear(n, step, zero)\ny = DequantizeLinear(q, step, zero)",
}


@pytest.mark.parametrize("text", NOT_MOVED.values(), ids=list(NOT_MOVED))
def test_what_stays(text: str) -> None:
    before = graph(text)
    after = apply(before, HoistQuantize())
    assert [node.op_type for node in after.graph.node] == [node.op_type for node in before.graph.node]
    np.testing.assert_array_equal(run(after), run(before))


def test_padding_with_another_value_stays() -> None:
    before = graph(PADDED.replace("pads)", "pads, one)"), extra={**LIMITS, "one": np.float32(1)})
    after = apply(before, HoistQuantize())
    np.testing.assert_array_equal(run(after), run(before))
    assert [node.op_type for node in after.graph.node][:2] == ["Neg", "Pad"]


def test_a_scale_a_channel_is_refused() -> None:
    """A move may take channels elsewhere."""
    scales = {"step": np.full(6, 0.04, np.float32), "zero": np.full(6, 120, np.uint8)}
    with pytest.raises(PreconditionError):
        apply(graph("q = QuantizeLinear(x, step, zero)\ny = DequantizeLinear(q, step, zero)", extra=scales), HoistQuantize())
