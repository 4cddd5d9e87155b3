"""Lowering: an ONNX graph as a TensorFlow function, channels last, and the function as a TFLite file."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TypeAlias

import onnx
import onnx_ir as ir
import tensorflow as tf

from hsiedge.errors import ModelError
from hsiedge.graphs.operator_view import operands_of
from hsiedge.graphs.tflite.composed import prepared
from hsiedge.graphs.tflite.node import Node
from hsiedge.graphs.tflite.rules import RULES, SHAPE_OPS
from hsiedge.graphs.tflite.tensor_view import Size, TensorView
from hsiedge.runtimes.litert import unsaid

Ranges = Mapping[str, tuple[float, float]]
Function: TypeAlias = tf.types.experimental.PolymorphicFunction
_ROWS = (0, 2, 3, 1)  # what is taken: (N, y, x, bands)
# What TFLite's integer kernels give, whatever the values: from -1 and from 0 on, in steps of 1/128 and of 1/256.
_FIXED = {"Tanh": (-1.0, 127 / 128), "Sigmoid": (0.0, 255 / 256), "Softmax": (0.0, 255 / 256)}


@dataclass(frozen=True)
class Start:
    """The value at which a graph is entered.

    Attributes:
        name: the value that is fed: the graph's input, or what stands behind the per-band affine.
        bands: of it.
        height, width: in pixels, of one patch, or of a strip with its halo.
        batched: patches, any number at a time.
    """

    name: str
    bands: int
    height: int
    width: int
    batched: bool


def lowered(model: onnx.ModelProto, start: Start, ranges: Ranges | None) -> Function:
    """A TensorFlow function of rows `(N, height, width, bands)`, float32, that gives the graph's output in ONNX's order.

    Requires: a float patch or scene graph (`onnx.ModelProto`) of the operators in `RULES`.
    Does: puts channels last; axes are relabelled, and moved only where a convolution needs them otherwise. With `ranges`,
    rounds weights and values as TFLite's integer kernels will: its converter takes scales and zero points from there.
    Ensures: without ranges, outputs are the same but for the rounding of sums.

    Args:
        ranges: smallest and largest value of each tensor, by name.

    Raises:
        ModelError: an operator that is not lowered; the node is named, with the reason.
    """
    graph = prepared(model)
    shape = [None if start.batched else 1, start.height, start.width, start.bands]

    @tf.function(input_signature=[tf.TensorSpec(shape, tf.float32, name="rows")], autograph=False)  # type: ignore[untyped-decorator]
    def net(rows: tf.Tensor) -> tf.Tensor:
        return _Walk(graph, ranges).output(rows, start)

    return net


class _Walk:
    """One walk over the nodes."""

    def __init__(self, graph: ir.Graph, ranges: Ranges | None) -> None:
        self._graph, self._ranges = graph, ranges
        self._views: dict[ir.Value, TensorView] = {}
        self._rows: tf.Tensor | None = None

    def output(self, rows: tf.Tensor, start: Start) -> tf.Tensor:
        """The graph's output for rows of pixels."""
        sizes = (Size(1, start.batched), Size(start.bands), Size(start.height), Size(start.width))
        entry = ir.convenience.create_value_mapping(self._graph)[start.name]
        self._views[entry] = TensorView(self._rounded(rows, start.name), _ROWS, sizes)
        self._rows = self._views[entry].tensor if start.batched else None  # integers by then, where they are to be
        for node in self._graph:
            if any(value in self._views for value in node.inputs) or node.op_type == "Expand":
                self._views |= dict(zip(node.outputs, self._step(node)))
        if self._graph.outputs[0] not in self._views:
            raise ModelError("its output is not computed from its input")
        return self._views[self._graph.outputs[0]].in_onnx_order()

    def _step(self, proto: ir.Node) -> list[TensorView]:
        views = RULES.apply(Node(proto, operands_of(proto, self._views), self._ranges is not None, self._rows))
        views = views if isinstance(views, list) else [views]
        if (proto.op_type in SHAPE_OPS and len(_origins(proto)) == 1) or _is_activated(proto.outputs[0]):
            return views
        named = zip(views, proto.outputs)
        return [view.of(self._rounded(view.tensor, output.name or "", proto.op_type)) for view, output in named]

    def _rounded(self, tensor: tf.Tensor, name: str, kind: str = "") -> tf.Tensor:
        """A tensor, in an integer graph rounded to the steps that it will have there."""
        if self._ranges is None or tensor.dtype == tf.bool:
            return tensor
        if kind not in _FIXED and name not in self._ranges:
            raise ModelError(f"the range of {name} is not known")
        low, high = _FIXED[kind] if kind in _FIXED else self._ranges[name]
        low, high = min(0.0, low), max(0.0, high)
        return tf.quantization.fake_quant_with_min_max_args(tensor, low, max(high, low + 1e-6))


def _origins(node: ir.Node) -> set[ir.Value]:
    """The computed values that a node moves: what joins several has a scale of its own, for theirs differ."""
    origins: set[ir.Value] = set()
    for value in node.inputs if node.op_type == "Concat" else node.inputs[:1]:
        maker = None if value is None else value.producer()
        if maker is not None and maker.op_type in SHAPE_OPS:
            origins |= _origins(maker)
        elif value is not None:
            origins.add(value)
    return origins


def _is_activated(value: ir.Value) -> bool:
    """Tells a value of which no more is done than to cut off its negative part: both are one operator then."""
    return [node.op_type for node in value.consumers()] == ["Relu"]


def converted(function: Function, precision: str) -> bytes:
    """The TFLite file of a lowered function.

    Args:
        precision: "float32"; "float16", of weights, which are cast back when the model is loaded; "int8": integers in and out.

    Raises:
        ModelError: the converter refuses it.
    """
    owner = tf.Module()
    owner.function = function.get_concrete_function()  # and not `function`, which would be traced once more to be saved
    with unsaid():
        converter = tf.lite.TFLiteConverter.from_concrete_functions([owner.function], owner)
    if precision != "float32":
        converter.optimizations = [tf.lite.Optimize.DEFAULT]
    if precision == "float16":
        converter.target_spec.supported_types = [tf.float16]
    if precision == "int8":
        converter.inference_input_type = converter.inference_output_type = tf.int8
    try:
        with unsaid():
            data: bytes = converter.convert()
    except Exception as error:  # MLIR's diagnostics come as bare exceptions
        raise ModelError(f"TFLite's converter refuses the graph: {str(error).strip().splitlines()[0]}") from error
    return data


def versions() -> dict[str, str]:
    """The versions of the libraries that a file is made with."""
    return {"tensorflow": str(tf.__version__)}
