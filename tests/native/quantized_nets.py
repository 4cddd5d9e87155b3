"""INT8 scene graphs with weights drawn at random: each kind of layer that the native engine computes."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

from hsiedge.card import KEY, Affine, Card, ClassFacts, SceneFacts

BANDS, CLASSES = 37, 11
ORDER = np.random.default_rng(7)


class NetBuilder:
    """A QDQ graph, layer by layer. `x` is the quantized tensor at hand, `(N, C, H, W)`."""

    def __init__(self, seed: int, *, signed: bool = False) -> None:
        self.rng = np.random.default_rng(seed)
        self.dtype = np.int8 if signed else np.uint8
        self.nodes: list[onnx.NodeProto] = []
        self.tensors: list[onnx.TensorProto] = []
        self.quantized: list[str] = []
        self.channels, self.radius = BANDS, 0.0
        self.x, self.scale, self.zero = self.node("Transpose", ["counts"], perm=[0, 3, 1, 2]), np.float32(0.05), self._zero(120)

    def _zero(self, value: int) -> int:
        return value - 128 * (self.dtype is np.int8)

    def constant(self, array: Any) -> str:
        self.tensors.append(numpy_helper.from_array(np.asarray(array), f"k{len(self.tensors)}"))
        return self.tensors[-1].name

    def node(self, op: str, inputs: list[str], **attributes: Any) -> str:
        output = f"v{len(self.nodes)}"
        self.nodes.append(helper.make_node(op, inputs, [output], **attributes))
        return output

    def real(self, x: str | None = None, scale: Any = None, zero: int | None = None) -> str:
        """Float values of the tensor at hand."""
        x, scale, zero = x or self.x, self.scale if scale is None else scale, self.zero if zero is None else zero
        return self.node("DequantizeLinear", [x, self.constant(np.float32(scale)), self.constant(self.dtype(zero))])

    def stored(self, value: str, scale: float, zero: int) -> None:
        """Makes a float value the tensor at hand."""
        self.scale, self.zero = np.float32(scale), self._zero(zero)
        self.x = self.node("QuantizeLinear", [value, self.constant(self.scale), self.constant(self.dtype(self.zero))])
        self.quantized.append(self.x)

    def sums(self, outputs: int, kernel: tuple[int, int], *, group: int = 1, **attributes: Any) -> str:
        """Float result of a convolution of the tensor at hand."""
        shape = (outputs, self.channels // group, *kernel)
        weights = self.rng.integers(-127, 128, shape).astype(np.int8)
        scales = self.rng.uniform(0.001, 0.004, outputs).astype(np.float32)
        steps = (self.scale * scales).astype(np.float32)
        bias = self.rng.integers(-3000, 3000, outputs).astype(np.int32)
        pair = [
            self.node("DequantizeLinear", [self.constant(a), self.constant(s)], axis=0)
            for a, s in ((weights, scales), (bias, steps))
        ]
        value = self.node("Conv", [self.real(), *pair], kernel_shape=list(kernel), group=group, **attributes)
        self.reach = float(np.sqrt(np.prod(shape[1:])) * 74 * 60 * np.mean(steps))
        self.channels = outputs
        return value

    def conv(self, outputs: int, size: int = 1, *, group: int = 1, dilation: int = 1, zero: int = 0) -> NetBuilder:
        """A square convolution, requantized."""
        value = self.sums(outputs, (size, size), group=group, dilations=[dilation, dilation])
        self.radius += (size - 1) * dilation / 2
        self.stored(value, self.reach / 60, zero)
        return self

    def function(self, op: str, scale: float, zero: int, **attributes: Any) -> NetBuilder:
        self.stored(self.node(op, [self.real()], **attributes), scale, zero)
        return self

    def max_pool(self, size: int) -> NetBuilder:
        self.radius += (size - 1) / 2
        self.stored(self.node("MaxPool", [self.real()], kernel_shape=[size, size]), float(self.scale) * 1.1, 3)
        return self

    def cropped(self, x: str, by: int) -> str:
        ends = [self.constant(np.array(v, np.int64)) for v in ([by, by], [-by, -by], [2, 3])]
        return self.node("Slice", [x, *ends])

    def finished(self, path: Path, pool: int = 1) -> Path:
        """Writes the graph: logits, averaged over `pool` x `pool` pixels."""
        value = self.sums(CLASSES, (1, 1))
        if pool > 1:
            self.stored(value, self.reach / 60, 100)
            pooled = self.node("AveragePool", [self.real(scale=1.0)], kernel_shape=[pool, pool])
            value = self.node("Mul", [pooled, self.constant(self.scale)])
            self.radius += (pool - 1) / 2
        return self.saved(value, path)

    def saved(self, value: str, path: Path) -> Path:
        self.nodes.append(helper.make_node("Identity", [value], ["logits"]))
        kind = TensorProto.INT8 if self.dtype is np.int8 else TensorProto.UINT8
        counts = helper.make_tensor_value_info("counts", kind, [1, "rows", "columns", BANDS])
        logits = helper.make_tensor_value_info("logits", TensorProto.FLOAT, [1, CLASSES, "height", "width"])
        graph = helper.make_graph(self.nodes, "net", [counts], [logits], self.tensors)
        model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=10)
        helper.set_model_props(model, {KEY: card(int(2 * self.radius) + 1, self.dtype).to_json()})
        onnx.checker.check_model(model)
        onnx.save(model, str(path))
        return path


def card(patch: int, dtype: type) -> Card:
    affine = Affine(
        [500.0] * BANDS, [0.125] * BANDS, dtype=np.dtype(dtype).name, step=0.25, zero_point=120 - 128 * (dtype is np.int8)
    )
    classes = [ClassFacts(3 * label + 1, f"class {label}") for label in range(CLASSES)]
    return Card(
        "scene",
        SceneFacts("drawn", "0" * 64, None, BANDS, "uint16"),
        classes,
        patch,
        "2026-01-01T00:00:00+00:00",
        input_affine=affine,
    )


def chain(path: Path) -> Path:
    return NetBuilder(1).conv(24).conv(20, 3).conv(17, 3, zero=30).finished(path, pool=3)


def wide_first(path: Path) -> Path:
    return NetBuilder(2).conv(18, 3).conv(33, 5).finished(path)


def separable(path: Path) -> Path:
    net = NetBuilder(3).conv(16).conv(16, 3, group=16, zero=131).conv(28).conv(28, 3, group=28, zero=140).conv(70)
    return net.conv(70, 5, group=70, zero=90).conv(12).conv(12, 3, group=12, dilation=2, zero=128).finished(path, pool=5)


def grouped(path: Path) -> Path:
    return NetBuilder(4).conv(24).conv(24, 3, group=4, dilation=2).max_pool(3).finished(path, pool=3)


def residual(path: Path) -> Path:
    net = NetBuilder(5).conv(20)
    x, scale, zero = net.x, net.scale, net.zero
    net.conv(20, 3).function("LeakyRelu", float(net.scale) * 0.6, 30, alpha=0.1).conv(20, 3, zero=110)
    value = net.node("Add", [net.real(), net.cropped(net.real(x, scale, zero), 2)])
    net.stored(net.node("Relu", [value]), float(net.scale + scale), 0)
    return net.conv(20, 3).finished(path, pool=3)


def joined(path: Path) -> Path:
    net = NetBuilder(6).conv(13)
    x, scale, zero = net.x, net.scale, net.zero
    net.conv(9, 3, zero=100).function("Tanh", 0.0078, 128)
    one, (net.x, net.scale, net.zero, net.channels) = net.real(), (net.cropped(x, 1), scale, zero, 13)
    net.function("Sigmoid", 0.0039, 0)
    net.stored(net.node("Concat", [one, net.real()], axis=1), 0.0085, 120)
    net.channels = 22
    return net.conv(15, 3).finished(path)


def signed(path: Path) -> Path:
    return NetBuilder(8, signed=True).conv(24, zero=128).conv(24, 3, group=24, zero=120).conv(20, 3).finished(path, pool=3)


def spectral(path: Path) -> Path:
    """A net of single pixels: convolutions and pools along the spectrum."""
    net = NetBuilder(9)
    shape = net.constant(np.array([BANDS, 1, 0, 0], np.int64))
    net.x, net.channels = net.node("Transpose", [net.node("Reshape", [net.x, shape])], perm=[2, 1, 3, 0]), 1
    net.stored(net.sums(6, (1, 5), strides=[1, 2]), net.reach / 60, 40)
    net.stored(net.node("MaxPool", [net.real()], kernel_shape=[1, 2], strides=[1, 2]), float(net.scale), 40)
    net.stored(net.sums(20, (1, 3), pads=[0, 1, 0, 1]), net.reach / 60, 0)
    net.function("Softplus", float(net.scale) * 0.9, 0)
    value = net.sums(CLASSES, (1, 8))
    return net.saved(net.node("Transpose", [value], perm=[3, 1, 0, 2]), path)


def cubic(path: Path) -> Path:
    """A net of cubes of the scene: kernels over rows, columns and bands, made 2-D by windows of bands as channels."""
    net = NetBuilder(10).conv(12, zero=125)
    net.x, net.channels = net.node("Reshape", [net.x, net.constant(np.array([12, 1, 0, 0], np.int64))]), 1
    for window, outputs, positions in ((5, 4, 12), (3, 9, 8)):
        ends = positions - window + 1
        bounds = [[net.constant(np.array([v], np.int64)) for v in (k, k + ends, 0, 1)] for k in range(window)]
        parts = [net.node("Slice", [net.x, *bound]) for bound in bounds]
        net.x, net.channels = net.node("Concat", parts, axis=1), net.channels * window
        net.conv(outputs, 3)
    net.x, net.channels = net.node("Reshape", [net.x, net.constant(np.array([1, 54, 0, 0], np.int64))]), 54
    return net.conv(20, 3).finished(path)


NETS: dict[str, Callable[[Path], Path]] = {
    entry.__name__: entry for entry in (chain, wide_first, separable, grouped, residual, joined, signed, spectral, cubic)
}


def with_outputs(path: Path, target: Path) -> list[str]:
    """Writes a copy whose quantized tensors are outputs, too; their names."""
    model = onnx.load(path)
    names = [node.output[0] for node in model.graph.node if node.op_type == "QuantizeLinear"]
    elements = {node.output[0]: node.input[2] for node in model.graph.node if node.op_type == "QuantizeLinear"}
    kinds = {tensor.name: tensor.data_type for tensor in model.graph.initializer}
    model.graph.output.extend(helper.make_tensor_value_info(name, kinds[elements[name]], None) for name in names)
    onnx.save(model, str(target))
    return names


def with_patch(entry: Card, patch: int) -> Card:
    return dataclasses.replace(entry, patch=patch)
