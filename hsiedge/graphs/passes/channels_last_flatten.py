"""Pass: maps are laid flat with channels last, as integer kernels keep them; a linear layer takes its weights in that order."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import onnx_ir as ir
from numpy.typing import NDArray

from hsiedge.graphs.edit import constant, insert_before, name_of, operator, sizes_of, sole_taker, stored_weight, taken
from hsiedge.graphs.passes.graph_pass import GraphPass


class ChannelsLastFlatten(GraphPass):
    """Spares integer graphs the transpose before their linear layers.

    Requires: nothing; only maps `(n, channels, height, width)` of known sizes in a QDQ graph are laid otherwise.
    Does: where Flatten or Reshape makes `(n, channels * height * width)` of integer maps, for one Gemm alone, puts a Transpose
    before it, which onnxruntime cancels by its own, and the Gemm's weights into that order.
    Ensures: integers are the same.
    """

    def rewrite(self, model: ir.Model) -> str:
        sizes, count = sizes_of(model), 0
        for node in list(model.graph):
            if node.op_type in ("Flatten", "Reshape"):
                maps = sizes.get(name_of(taken(node)), ())
                flat = sizes.get(name_of(node.outputs[0]), ())
                if len(maps) == 4 and min(maps[1:]) >= 1 and maps[1] > 1 and flat[1:] == (math.prod(maps[1:]),):
                    count += _flatten_last(model.graph, node, maps[1:])
        return f"{count} linear layers take their inputs with channels last" if count else ""


def _flatten_last(graph: ir.Graph, node: ir.Node, maps: tuple[int, ...]) -> bool:
    """Transposes before a node that lays maps flat, if a Gemm of integer weights alone takes them; tells whether."""
    dequantize = sole_taker(node.outputs[0], "DequantizeLinear")
    gemm = sole_taker(dequantize.outputs[0], "Gemm") if dequantize is not None else None
    weight = stored_weight(gemm.inputs[1]) if gemm is not None else None
    if gemm is None or weight is None:
        return False
    scaled = taken(gemm, 1).producer()
    assert scaled is not None
    values = _permuted(weight, maps, bool(gemm.attributes.get_int("transB", 0)))
    scaled.replace_input_with(0, constant(graph, f"{name_of(taken(scaled))}_flat", values))
    transpose = operator("Transpose", [taken(node)], f"{name_of(node.outputs[0])}_last", perm=[0, 2, 3, 1])
    insert_before(node, [transpose])
    node.replace_input_with(0, transpose.outputs[0])
    return True


def _permuted(weight: NDArray[Any], maps: tuple[int, ...], transposed: bool) -> NDArray[Any]:
    """Weights `(outputs, inputs)`, or where not transposed `(inputs, outputs)`, for inputs with channels last."""
    order = np.arange(math.prod(maps)).reshape(maps).transpose(1, 2, 0).ravel()
    return np.ascontiguousarray(weight[:, order] if transposed else weight[order])
