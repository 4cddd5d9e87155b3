"""Recurrent layers written out: what onnxruntime's own give, whatever the kind, the direction and the biases."""

from __future__ import annotations

import numpy as np
import pytest

pytest.importorskip("onnx", reason="the pass works on ONNX graphs")

from onnx import TensorProto, helper, numpy_helper

from hsiedge.errors import ModelError
from hsiedge.graphs.normalize.compare import session
from hsiedge.graphs.passes import apply
from hsiedge.graphs.passes.unroll_recurrent import UnrollRecurrent

STEPS, INPUTS, HIDDEN = 6, 2, 4
GATES = {"RNN": 1, "GRU": 3, "LSTM": 4}


def layer(kind: str, direction: str, *, biases: bool = True, steps: object = STEPS, **attributes):
    rng, directions, gates = np.random.default_rng(0), 1 + (direction == "bidirectional"), GATES[kind] * HIDDEN
    sizes = {"W": (directions, gates, INPUTS), "R": (directions, gates, HIDDEN), "B": (directions, 2 * gates)}
    taken = list(sizes)[: 2 + biases]
    outputs = ["all", "last", *["cell"] * (kind == "LSTM")]
    node = helper.make_node(kind, ["x", *taken], outputs, "layer", hidden_size=HIDDEN, direction=direction, **attributes)
    graph = helper.make_graph(
        [node],
        "g",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, [steps, "N", INPUTS])],
        [helper.make_tensor_value_info(name, TensorProto.FLOAT, None) for name in outputs],
        [numpy_helper.from_array(rng.normal(size=sizes[name]).astype(np.float32), name) for name in taken],
    )
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=10)


@pytest.mark.parametrize("direction", ["forward", "reverse", "bidirectional"])
@pytest.mark.parametrize("biases", [True, False])
@pytest.mark.parametrize(
    ("kind", "attributes"),
    [("RNN", {}), ("GRU", {"linear_before_reset": 1}), ("GRU", {"linear_before_reset": 0}), ("LSTM", {})],
)
def test_outputs_are_those_of_the_layer(kind: str, attributes: dict, biases: bool, direction: str) -> None:
    model = layer(kind, direction, biases=biases, **attributes)
    written = apply(model, UnrollRecurrent())
    assert kind not in {node.op_type for node in written.graph.node}
    tensor = np.random.default_rng(1).normal(size=(STEPS, 3, INPUTS)).astype(np.float32)
    for ours, theirs in zip(session(written).run(None, {"x": tensor}), session(model).run(None, {"x": tensor}), strict=True):
        np.testing.assert_allclose(ours, theirs, atol=2e-6)


@pytest.mark.parametrize(
    ("options", "reason"),
    [
        ({"steps": "T"}, "its length is not known"),
        ({"steps": 4000}, "its 4000 steps are too many"),
        ({"activations": ["Sigmoid", "Relu"]}, "its activations or layout"),
        ({"clip": 1.0}, "its activations or layout"),
    ],
)
def test_what_is_not_written_out_is_named(options: dict, reason: str) -> None:
    with pytest.raises(ModelError, match=rf"node layer \(GRU\): {reason}"):
        apply(layer("GRU", "forward", **options), UnrollRecurrent())
