"""What makes integer nets of spectra quick: each pass gives what was there before, and does what it is for."""

from __future__ import annotations

from typing import Any

import numpy as np
import onnxruntime
import pytest

onnx = pytest.importorskip("onnx", reason="graph passes need onnx")
from onnx import TensorProto, helper, numpy_helper  # noqa: E402

from hsiedge.graphs.passes import apply, read  # noqa: E402
from hsiedge.graphs.passes import run as run_passes  # noqa: E402
from hsiedge.graphs.passes.channels_last_flatten import ChannelsLastFlatten  # noqa: E402
from hsiedge.graphs.passes.extract_input_affine import ExtractInputAffine, input_affine  # noqa: E402
from hsiedge.graphs.passes.merge_reshapes import MergeReshapes  # noqa: E402
from hsiedge.graphs.passes.polyphase_pool import PolyphasePool  # noqa: E402
from hsiedge.graphs.passes.pool_before_activation import PoolBeforeActivation  # noqa: E402
from hsiedge.graphs.passes.tanh_lut import STEPS, TanhLut  # noqa: E402

RNG = np.random.default_rng(5)
FILTERS, KERNEL, POOL, LENGTH, OUTPUTS = 3, 4, 3, 21, 5
WEIGHT = RNG.integers(-127, 128, (FILTERS, 1, 1, KERNEL)).astype(np.int8)
CONSTANTS: dict[str, Any] = {
    "step": np.float32(0.04),
    "zero": np.uint8(120),
    "coarse": np.float32(0.11),
    "weight": WEIGHT,
    "weight_step": RNG.uniform(0.002, 0.004, FILTERS).astype(np.float32),
    "weight_zero": np.zeros(FILTERS, np.int8),
    "bias": RNG.integers(-9000, 9000, FILTERS).astype(np.int32),
    "bias_step": np.full(FILTERS, 0.0001, np.float32),
    "unit": np.float32(1 / STEPS),
    "unit_zero": np.uint8(STEPS),
}
PLACES = (LENGTH - KERNEL + 1) // POOL
CONSTANTS |= {
    "sizes": np.array([0, FILTERS * PLACES]),
    "linear": RNG.integers(-127, 128, (OUTPUTS, FILTERS * PLACES)).astype(np.int8),
    "linear_step": RNG.uniform(0.001, 0.002, OUTPUTS).astype(np.float32),
    "linear_zero": np.zeros(OUTPUTS, np.int8),
    "first": np.array(0),
    "axis": np.array([1]),
    "shape": np.array([0, 1, 1, LENGTH]),
}


def node(kind: str, inputs: str, output: str, **attributes: Any) -> Any:
    return helper.make_node(kind, inputs.split(), [output], name=output, **attributes)


def graph(nodes: list[Any], shape: list[Any], dtype: int = TensorProto.FLOAT, **constants: Any) -> Any:
    body = helper.make_graph(
        nodes,
        "test",
        [helper.make_tensor_value_info("x", dtype, shape)],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, None)],
        [numpy_helper.from_array(np.asarray(value), name) for name, value in {**CONSTANTS, **constants}.items()],
    )
    return helper.make_model(body, opset_imports=[helper.make_opsetid("", 18)], ir_version=10)


def run(model: Any, values: Any, plain: bool = True) -> Any:
    options = onnxruntime.SessionOptions()
    options.log_severity_level = 3
    if plain:
        options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_DISABLE_ALL
    session = onnxruntime.InferenceSession(model.SerializeToString(), options, providers=["CPUExecutionProvider"])
    return session.run(None, {"x": values})[0]


def kinds(model: Any) -> list[str]:
    return [entry.op_type for entry in model.graph.node]


def line(pool: dict[str, Any] | None = None, slide: dict[str, Any] | None = None) -> Any:
    """A convolution of bytes along rows `(n, 1, rows, LENGTH)`, pooled."""
    pool = {"kernel_shape": [1, POOL], "strides": [1, POOL], **(pool or {})}
    nodes = [
        node("DequantizeLinear", "x step zero", "values"),
        node("DequantizeLinear", "weight weight_step weight_zero", "w", axis=0),
        node("DequantizeLinear", "bias bias_step", "b", axis=0),
        node("Conv", "values w b", "c", kernel_shape=[1, KERNEL], **(slide or {})),
        node("QuantizeLinear", "c coarse zero", "cq"),
        node("DequantizeLinear", "cq coarse zero", "cd"),
        node("MaxPool", "cd", "y", **pool),
    ]
    return graph(nodes, ["n", 1, "rows", LENGTH], TensorProto.UINT8)


def bytes_of(*shape: int) -> Any:
    return np.random.default_rng(1).integers(0, 256, shape).astype(np.uint8)


@pytest.mark.parametrize("plain", [True, False])
def test_a_pooled_line_is_one_wide_convolution(plain: bool) -> None:
    before, values = line(), bytes_of(2, 1, 4, LENGTH)
    after = apply(before, PolyphasePool())
    conv = next(entry for entry in after.graph.node if entry.op_type == "Conv")
    assert list(next(entry.ints for entry in conv.attribute if entry.name == "strides")) == [1, POOL]
    output = run(after, values, plain)
    assert output.shape == (2, FILTERS, 4, PLACES)
    assert len(np.unique(output)) > 15
    np.testing.assert_array_equal(output, run(before, values))


@pytest.mark.parametrize(
    "other",
    [
        {"pool": {"strides": [1, 1]}},
        {"pool": {"kernel_shape": [1, KERNEL + 1], "strides": [1, KERNEL + 1]}},
        {"pool": {"pads": [0, 1, 0, 1]}},
        {"pool": {"ceil_mode": 1}},
        {"slide": {"strides": [1, 2]}},
        {"slide": {"pads": [0, 1, 0, 1]}},
        {"slide": {"dilations": [1, 2]}},
    ],
)
def test_other_lines_stay(other: dict[str, Any]) -> None:
    before = line(**other)
    assert apply(before, PolyphasePool()).SerializeToString() == before.SerializeToString()


@pytest.mark.parametrize("transposed", [0, 1])
def test_a_linear_layer_takes_maps_with_channels_last(transposed: int) -> None:
    nodes = [
        node("Reshape", "x sizes", "flat"),
        node("DequantizeLinear", "flat step zero", "values"),
        node("DequantizeLinear", "linear linear_step linear_zero", "w", axis=1 - transposed),
        node("Gemm", "values w", "y", transB=transposed),
    ]
    linear = CONSTANTS["linear"] if transposed else np.ascontiguousarray(CONSTANTS["linear"].T)
    before = graph(nodes, ["n", FILTERS, 2, PLACES // 2], TensorProto.UINT8, linear=linear)
    after, values = apply(before, ChannelsLastFlatten()), bytes_of(4, FILTERS, 2, PLACES // 2)
    assert kinds(after).count("Transpose") == 1
    np.testing.assert_allclose(run(after, values), run(before, values), rtol=1e-5, atol=1e-4)


def test_the_greatest_first() -> None:
    nodes = [node("Tanh", "x", "t"), node("MaxPool", "t", "y", kernel_shape=[2, 2], pads=[1, 1, 0, 0], strides=[2, 2])]
    before, values = graph(nodes, [1, 2, 7, 7]), RNG.normal(size=(1, 2, 7, 7)).astype(np.float32)
    after = apply(before, PoolBeforeActivation())
    assert kinds(after) == ["MaxPool", "Tanh"]
    np.testing.assert_array_equal(run(after, values), run(before, values))


def test_what_does_not_rise_or_is_taken_twice_keeps_its_place() -> None:
    falls = graph([node("Neg", "x", "t"), node("MaxPool", "t", "y", kernel_shape=[2, 2])], [1, 2, 6, 6])
    twice = graph(
        [
            node("Tanh", "x", "t"),
            node("MaxPool", "t", "m", kernel_shape=[1, 1]),
            node("Add", "m t", "y"),
        ],
        [1, 2, 6, 6],
    )
    assert kinds(apply(falls, PoolBeforeActivation())) == ["Neg", "MaxPool"]
    assert kinds(apply(twice, PoolBeforeActivation())) == ["Tanh", "MaxPool", "Add"]


def test_moves_of_one_order_are_one_reshape() -> None:
    nodes = [
        node("Gather", "x first", "g", axis=2),
        node("Gather", "g first", "h", axis=2),
        node("Unsqueeze", "h axis", "u"),
        node("Reshape", "u shape", "r"),
        node("Neg", "r", "y"),
    ]
    before, values = graph(nodes, ["n", LENGTH, 1, 1]), RNG.normal(size=(3, LENGTH, 1, 1)).astype(np.float32)
    after = apply(before, MergeReshapes())
    assert kinds(after) == ["Reshape", "Neg"]
    np.testing.assert_array_equal(run(after, values), run(before, values))


def test_a_choice_among_several_is_no_reshape() -> None:
    nodes = [node("Gather", "x first", "g", axis=2), node("Neg", "g", "y")]
    assert kinds(apply(graph(nodes, ["n", LENGTH, 2, 1]), MergeReshapes())) == ["Gather", "Neg"]
    twice = graph([node("Gather", "x both", "g", axis=2), node("Neg", "g", "y")], ["n", LENGTH, 1, 1], both=np.array([0, 0]))
    assert kinds(apply(twice, MergeReshapes())) == ["Gather", "Neg"]


def tanh(step: str = "unit", zero: str = "unit_zero") -> Any:
    nodes = [
        node("DequantizeLinear", "x step zero", "values"),
        node("Tanh", "values", "t"),
        node("QuantizeLinear", f"t {step} {zero}", "q"),
        node("DequantizeLinear", f"q {step} {zero}", "y"),
    ]
    return graph(nodes, ["n"], TensorProto.UINT8)


@pytest.mark.parametrize("plain", [True, False])
def test_tanh_of_every_byte(plain: bool) -> None:
    every = np.arange(256).astype(np.uint8)
    after = apply(tanh(), TanhLut())
    assert "Tanh" not in kinds(after)
    before, output = run(tanh(), every), run(after, every, plain)
    assert len(np.unique(before)) > 100
    assert abs(before.min() + 1) < 0.01
    np.testing.assert_allclose(output, before, atol=1e-6)


def test_tanh_of_another_range_stays() -> None:
    assert "Tanh" in kinds(apply(tanh("step", "zero"), TanhLut()))
    assert "Tanh" in kinds(apply(tanh("unit", "zero"), TanhLut()))


@pytest.mark.parametrize("side", [1, 3])
def test_single_pixels_keep_their_affine(side: int) -> None:
    bands = np.linspace(1, 2, LENGTH, dtype=np.float32).reshape(1, LENGTH, 1, 1)
    nodes = [
        node("Cast", "x", "f", to=TensorProto.FLOAT),
        node("Sub", "f offset", "s"),
        node("Mul", "s scale", "m"),
        node("QuantizeLinear", "m step zero", "q"),
        node("DequantizeLinear", "q step zero", "y"),
    ]
    summed = graph(nodes, ["n", LENGTH, side, side], TensorProto.UINT16, offset=1000 * bands, scale=0.01 * bands)
    model = read(summed)
    run_passes(model, [ExtractInputAffine()])
    assert (input_affine(model) is None) == (side == 1)
