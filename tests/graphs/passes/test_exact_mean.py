"""Averages of whole numbers: what ties, ties in any order of summing."""

from __future__ import annotations

from typing import Any

import numpy as np
import onnxruntime
import pytest

onnx = pytest.importorskip("onnx", reason="onnx makes the graphs of this test, and is not installed")
from hsiedge.graphs.passes import apply  # noqa: E402
from hsiedge.graphs.passes.exact_mean import ExactMean  # noqa: E402

KERNEL, COUNT = 5, 400


def graph(pool: str = "AveragePool", scales: tuple[float, ...] = ()) -> Any:
    """`x` uint8 `(N, 2, 5, 5)`, dequantized (by channel, if there are `scales`) and averaged."""
    helper, tensor = onnx.helper, onnx.numpy_helper.from_array
    scale = np.array(scales or 0.0371, np.float32)
    zero = np.full(scale.shape, 37, np.uint8)
    by_channel = {"axis": 1} if scales else {}
    nodes = [
        helper.make_node("DequantizeLinear", ["x", "scale", "zero"], ["f"], **by_channel),
        helper.make_node(pool, ["f"], ["y"], **({"kernel_shape": [KERNEL, KERNEL]} if pool != "Relu" else {})),
    ]
    taken = helper.make_tensor_value_info("x", onnx.TensorProto.UINT8, ["N", 2, KERNEL, KERNEL])
    output = helper.make_tensor_value_info("y", onnx.TensorProto.FLOAT, None)
    ties = helper.make_graph(nodes, "ties", [taken], [output], [tensor(scale, "scale"), tensor(zero, "zero")])
    return helper.make_model(ties, opset_imports=[helper.make_opsetid("", 18)], ir_version=10)


def tied() -> Any:
    """Two channels with the same values, each in an order of its own."""
    rng = np.random.default_rng(0)
    first = rng.integers(0, 256, (COUNT, KERNEL * KERNEL), np.uint8)
    return np.stack([first, rng.permuted(first, axis=1)], axis=1).reshape(COUNT, 2, KERNEL, KERNEL)


def run(model: Any, values: Any) -> Any:
    session = onnxruntime.InferenceSession(model.SerializeToString(), providers=["CPUExecutionProvider"])
    return session.run(None, {"x": values})[0].reshape(COUNT, -1)


def test_ties_are_ties() -> None:
    before, after = run(graph(), tied()), run(apply(graph(), ExactMean()), tied())
    assert (before[:, 0] != before[:, 1]).any()  # what this pass is for
    assert (after[:, 0] == after[:, 1]).all()
    np.testing.assert_allclose(after, before, rtol=1e-5, atol=1e-6)


def test_one_step_is_a_difference() -> None:
    lower = tied()
    lower[:, 1] -= lower[:, 1] == lower[:, 1].max((1, 2), keepdims=True)
    after = run(apply(graph(), ExactMean()), lower)
    assert (after[:, 0] > after[:, 1]).all()


@pytest.mark.parametrize("other", [{"pool": "Relu"}, {"pool": "MaxPool"}, {"scales": (0.1, 0.2)}])
def test_graphs_that_end_otherwise_stay_as_they_are(other: dict[str, Any]) -> None:
    other_graph = graph(**other)
    assert apply(other_graph, ExactMean()) is other_graph
