"""Pass: a line that is convolved, then pooled, as one wide convolution. Integer kernels want many outputs and few positions."""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
import onnx_ir as ir
from numpy.typing import NDArray

from hsiedge.graphs.edit import (
    array_of,
    constant,
    forget_type,
    insert_before,
    name_of,
    operator,
    replace_value,
    sole_taker,
    stored_weight,
    taken,
)
from hsiedge.graphs.passes.graph_pass import GraphPass


class _Line(NamedTuple):
    """A convolution along a row, and what its integers go through."""

    conv: ir.Node
    quantize: ir.Node
    dequantize: ir.Node
    weight: NDArray[Any]
    length: int  # of the pooling window


class PolyphasePool(GraphPass):
    """Computes the places of each pooling window side by side, in channels (a polyphase form), and pools over those.

    What a kernel sees is laid out for a matrix product once a window, not once a place; and the product gets as many times
    wider. It pays where kernels see one channel: a spectrum.

    Requires: nothing; only a QDQ graph whose convolutions of lines are 2-D (`Conv3dToConv2d`) has what it is for.
    Does: where a Conv of one channel slides along a row, one place at a time, and its integers are taken by a MaxPool alone
    that slides by its own length, no longer than the kernel, neither padded: repeats the weights, each time one place further.
    Ensures: integers are the same, and no such line is left.
    """

    def rewrite(self, model: ir.Model) -> str:
        lines = [line for node in model.graph if (line := _line(node)) is not None]
        for line in lines:
            _repeat(model.graph, line)
            _order(model.graph, line)
        return f"{len(lines)} pooled lines are wide convolutions" if lines else ""

    def fault(self, model: ir.Model) -> str:
        return "a line is convolved place by place, then pooled" if any(_line(node) for node in model.graph) else ""


def _line(conv: ir.Node) -> _Line | None:
    """A Conv of integers and what comes behind it; None where they are not what this pass is for."""
    weight = stored_weight(conv.inputs[1]) if conv.op_type == "Conv" else None
    if weight is None or weight.ndim != 4 or weight.shape[1:3] != (1, 1):
        return None
    if any(stored_weight(value) is None for value in conv.inputs[2:]):
        return None
    quantize = sole_taker(conv.outputs[0], "QuantizeLinear")
    dequantize = sole_taker(quantize.outputs[0], "DequantizeLinear") if quantize is not None else None
    pool = sole_taker(dequantize.outputs[0], "MaxPool") if dequantize is not None else None
    if quantize is None or dequantize is None or pool is None or len(pool.outputs) > 1:
        return None
    length = _window(conv, pool, weight)
    return None if length is None else _Line(conv, quantize, dequantize, weight, length)


def _window(conv: ir.Node, pool: ir.Node, weight: NDArray[Any]) -> int | None:
    """Length of the pool's window; None where it does not slide by itself, or the convolution by more than one place."""
    rows, length = pool.attributes.get_ints("kernel_shape", (0, 0))
    padded = any(any(node.attributes.get_ints("pads", ())) for node in (conv, pool))
    dilated = any({1} != {*node.attributes.get_ints("dilations", (1,))} for node in (conv, pool))
    strides, slides = (list(node.attributes.get_ints("strides", (1, 1))) for node in (pool, conv))
    by_itself = rows == 1 and strides == [1, length] and slides == [1, 1] and not pool.attributes.get_int("ceil_mode", 0)
    return length if by_itself and not padded and not dilated and 1 < length <= weight.shape[3] else None


def _repeat(graph: ir.Graph, line: _Line) -> None:
    """Weights and biases, with their scales, for each place in a window; the kernel moves on by a window."""
    for place in range(1, len(line.conv.inputs)):
        scaled = taken(line.conv, place).producer()
        assert scaled is not None
        for number, value in enumerate(scaled.inputs):
            values = array_of(value)
            if value is not None and values is not None and values.ndim:
                wide = _shifted(values, line.length) if values.ndim == 4 else np.tile(values, line.length)
                scaled.replace_input_with(number, constant(graph, f"{name_of(value)}_wide", wide))
        forget_type(scaled.outputs[0])
    slide = {"kernel_shape": [1, line.weight.shape[3] + line.length - 1], "strides": [1, line.length]}
    line.conv.attributes.clear()
    line.conv.attributes.update({name: ir.AttrInt64s(name, sizes) for name, sizes in slide.items()})
    forget_type(line.conv.outputs[0])


def _shifted(weight: NDArray[Any], length: int) -> NDArray[Any]:
    """Weights `(filters, 1, 1, k)`, once for each place in a window: `(length * filters, 1, 1, k + length - 1)`."""
    rest = [(0, 0)] * 3
    return np.concatenate([np.pad(weight, (*rest, (place, length - 1 - place))) for place in range(length)])


def _order(graph: ir.Graph, line: _Line) -> None:
    """Puts integers `(n, length * filters, rows, windows)` back into the order `(n, filters, rows, places)`.

    Between the two, channels are last, where integer kernels keep them: onnxruntime cancels these transposes by its own.
    """
    integers = line.quantize.outputs[0]
    name = name_of(integers)
    sizes = constant(graph, f"{name}_sizes", np.array([0, 0, -1, line.weight.shape[0]], np.int64))
    last = operator("Transpose", [integers], f"{name}_last", perm=[0, 2, 3, 1])
    apart = operator("Reshape", [last.outputs[0], sizes], f"{name}_apart")
    first = operator("Transpose", [apart.outputs[0]], name, f"{name}_first", perm=[0, 3, 1, 2])
    replace_value(integers, first.outputs[0])
    last.replace_input_with(0, integers)
    integers.name = f"{name}_wide"
    forget_type(integers)
    insert_before(line.dequantize, [last, apart, first])
