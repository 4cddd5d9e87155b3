"""Makes the models in this folder, each of a few kilobytes. Needs onnx; the tests that use them do not.

python tests/benchmark/data/make.py
"""

from __future__ import annotations

import dataclasses
from pathlib import Path

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

from hsiedge.card import KEY, Affine, Card, ClassFacts, Quantization, SceneFacts

HERE = Path(__file__).parents[2] / "benchmark" / "data"
BANDS, PATCH, IDS = 5, 3, (1, 10, 11, 14)
CARD = Card(
    kind="patch",
    scene=SceneFacts(
        name="tiny",
        sha256="0" * 64,
        official=None,
        bands=BANDS,
        dtype="uint16",
        percentiles={
            "1": [100.0, 200.0, 300.0, 400.0, 500.0],
            "50": [200.0, 400.0, 600.0, 800.0, 1000.0],
            "99": [300.0, 600.0, 900.0, 1200.0, 1500.0],
        },
    ),
    classes=[ClassFacts(label, f"class {label}") for label in IDS],
    patch=PATCH,
    created="2026-01-01T00:00:00.000000+00:00",
)
INT8 = Quantization("default", {}, {}, [], 100, 100.0, None, None)


def _save(name: str, graph: onnx.GraphProto, card: Card | None) -> None:
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    if card is not None:
        helper.set_model_props(model, {KEY: card.to_json()})
    onnx.checker.check_model(model)
    onnx.save(model, HERE / name)


def _value(name: str, dtype: int, shape: list[int | str]) -> onnx.ValueInfoProto:
    return helper.make_tensor_value_info(name, dtype, shape)


def _net(dtype: int, shape: list[int | str], *, scene: bool = False, classes: int = len(IDS)) -> onnx.GraphProto:
    """Cast, one convolution over the patch, and for patches a flatten: logits."""
    rng = np.random.default_rng(7)
    values = rng.normal(0, 1, (classes, BANDS, PATCH, PATCH))
    values -= values.mean((1, 2, 3), keepdims=True)  # no class wins by its bias: labels depend on the input
    values /= np.array(CARD.scene.percentiles["50"])[:, None, None]
    weights = [numpy_helper.from_array(values.astype(np.float32), "w")]
    nodes = [helper.make_node("Cast", ["x"], ["f"], to=1), helper.make_node("Conv", ["f", "w"], ["m" if not scene else "y"])]
    if not scene:
        nodes.append(helper.make_node("Flatten", ["m"], ["y"]))
    output = _value("y", 1, [1, classes, "h", "w"] if scene else [shape[0], classes])
    return helper.make_graph(nodes, "tiny", [_value("x", dtype, shape)], [output], weights)


def _stranger() -> onnx.GraphProto:
    """Two inputs: `a` (N, 3, K) float32 and `b` (N, 3) int64."""
    nodes = [helper.make_node("ReduceSum", ["a", "axis"], ["s"], keepdims=0), helper.make_node("Cast", ["b"], ["c"], to=1)]
    nodes.append(helper.make_node("Add", ["s", "c"], ["y"]))
    inputs = [_value("a", 1, ["N", 3, "K"]), _value("b", TensorProto.INT64, ["N", 3])]
    return helper.make_graph(nodes, "two", inputs, [_value("y", 1, ["N", 3])], [numpy_helper.from_array(np.array([2]), "axis")])


def _hungry() -> onnx.GraphProto:
    """`x` (1, 1) float32, spread over 64 MiB, and their first: needs them at each run, and has no weights."""
    nodes = [helper.make_node("Expand", ["x", "shape"], ["wide"]), helper.make_node("Gather", ["wide", "first"], ["y"], axis=1)]
    shape = [numpy_helper.from_array(np.array([1, 16 << 20]), "shape"), numpy_helper.from_array(np.array([0]), "first")]
    return helper.make_graph(nodes, "hungry", [_value("x", 1, [1, 1])], [_value("y", 1, [1, 1])], shape)


def main() -> None:
    free: list[int | str] = ["N", BANDS, PATCH, PATCH]
    _save("float.onnx", _net(TensorProto.UINT16, free), CARD)
    _save("float_batch1.onnx", _net(TensorProto.UINT16, [1, BANDS, PATCH, PATCH]), CARD)
    _save("five_logits.onnx", _net(TensorProto.UINT16, free, classes=5), CARD)
    affine = Affine([100.0, 200.0, 300.0, 400.0, 500.0], [1.0, 0.6, 0.4, 0.3, 0.25], "uint8")
    int8 = dataclasses.replace(CARD, quantization=INT8, input_affine=affine)
    _save("int8.onnx", _net(TensorProto.UINT8, free), int8)
    scene = dataclasses.replace(CARD, kind="scene")
    _save("scene.onnx", _net(TensorProto.UINT16, [1, BANDS, "H", "W"], scene=True), scene)
    _save("other_bands.onnx", _net(TensorProto.UINT16, free), dataclasses.replace(CARD, patch=5))
    _save("stranger.onnx", _stranger(), None)
    _save("hungry.onnx", _hungry(), None)


if __name__ == "__main__":
    main()
