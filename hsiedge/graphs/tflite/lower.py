"""Lowering: an ONNX graph as a TensorFlow function, channels last, and the function as a TFLite file."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import tensorflow as tf

from hsiedge.errors import ModelError
from hsiedge.graphs import query
from hsiedge.graphs.normalize import constants
from hsiedge.graphs.tflite.node import Entry, Node
from hsiedge.graphs.tflite.rules import MOVES, RULES
from hsiedge.graphs.tflite.tensor_view import Held, Size, UnfitError
from hsiedge.runtimes.litert import unsaid

Ranges = Mapping[str, tuple[float, float]]
_ROWS = (0, 2, 3, 1)  # what is taken: (N, y, x, bands)
# What TFLite's integer kernels give, whatever the values: from -1 and from 0 on, in steps of 1/128 and of 1/256.
_FIXED = {"Tanh": (-1.0, 127 / 128), "Sigmoid": (0.0, 255 / 256), "Softmax": (0.0, 255 / 256)}


@dataclass(frozen=True)
class Start:
    """Where a graph is entered.

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


def lowered(model: Any, start: Start, ranges: Ranges | None) -> Any:
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
    shape = [None if start.batched else 1, start.height, start.width, start.bands]

    @tf.function(input_signature=[tf.TensorSpec(shape, tf.float32, name="rows")], autograph=False)  # type: ignore[untyped-decorator]
    def net(rows: Any) -> Any:
        return _Walk(model, ranges).output(rows, start)

    return net


class _Walk:
    """One walk over the nodes."""

    def __init__(self, model: Any, ranges: Ranges | None) -> None:
        self._graph, self._ranges = model.graph, ranges
        self._values: dict[str, Entry] = dict(constants(model))
        self._uses = Counter(name for node in self._graph.node for name in node.input)
        self._takers = {name: node for node in self._graph.node for name in node.input}

    def output(self, rows: Any, start: Start) -> Any:
        sizes = (Size(1, start.batched), Size(start.bands), Size(start.height), Size(start.width))
        self._values[start.name] = Held(self._rounded(rows, start.name), _ROWS, sizes)
        for node in self._graph.node:
            computed = [self._values.get(name) for name in node.input if name]
            if node.op_type != "Constant" and any(isinstance(entry, Held) for entry in computed):
                self._values[node.output[0]] = self._step(node)
        found = self._values.get(self._graph.output[0].name)
        if not isinstance(found, Held):
            raise ModelError("its output is not computed from its input")
        return found.plain()

    def _step(self, proto: Any) -> Held:

        where = f"node {proto.name or proto.output[0]} ({proto.op_type})"
        if proto.op_type not in RULES or proto.domain not in ("", "ai.onnx"):
            raise ModelError(f"{where}: not among the operators that are converted to TFLite")
        attributes = query.attributes(proto)
        inputs = [self._values.get(name) if name else None for name in proto.input]
        try:
            made = RULES[proto.op_type](Node(proto.op_type, inputs, attributes, self._ranges is not None))
        except UnfitError as error:
            raise ModelError(f"{where}: {error}") from error
        name = proto.output[0]
        if proto.op_type in MOVES or self._is_activated(name):
            return made
        return made.of(self._rounded(made.tensor, name, proto.op_type))

    def _is_activated(self, name: str) -> bool:
        """Whether all that is done with a value is to cut off its negative part: both are one operator then."""
        return self._uses[name] == 1 and name in self._takers and self._takers[name].op_type == "Relu"

    def _rounded(self, tensor: Any, name: str, kind: str = "") -> Any:
        if self._ranges is None:
            return tensor
        if kind not in _FIXED and name not in self._ranges:
            raise ModelError(f"the range of {name} is not known")
        low, high = _FIXED[kind] if kind in _FIXED else self._ranges[name]
        low, high = min(0.0, low), max(0.0, high)
        return tf.quantization.fake_quant_with_min_max_args(tensor, low, max(high, low + 1e-6))


def converted(function: Any, precision: str) -> bytes:
    """The TFLite file of a lowered function.

    Args:
        precision: "float32"; "float16", of weights, which are cast back when the model is loaded; "int8": integers in and out.

    Raises:
        ModelError: the converter refuses it.
    """
    owner = tf.Module()
    owner.function = function
    with unsaid():
        converter = tf.lite.TFLiteConverter.from_concrete_functions([function.get_concrete_function()], owner)
    if precision != "float32":
        converter.optimizations = [tf.lite.Optimize.DEFAULT]
    if precision == "float16":
        converter.target_spec.supported_types = [tf.float16]
    if precision == "int8":
        converter.inference_input_type = converter.inference_output_type = tf.int8
    try:
        with unsaid():
            made: bytes = converter.convert()
    except Exception as error:  # MLIR's diagnostics come as bare exceptions
        raise ModelError(f"TFLite's converter refuses the graph: {str(error).strip().splitlines()[0]}") from error
    return made


def spans(data: Any) -> dict[str, tuple[float, float]]:
    """Ranges as `lowered` takes them, of onnxruntime's `TensorsData`."""
    return {name: tuple(float(np.ravel(value)[0]) for value in data[name].range_value) for name in data}  # type: ignore[misc]


def versions() -> dict[str, str]:
    """What a file is made with."""
    return {"tensorflow": str(tf.__version__)}
