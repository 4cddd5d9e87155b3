"""Pass: logits stay float. A step of 1/255 of their range makes ties, and saves nothing."""

from __future__ import annotations

import onnx_ir as ir

from hsiedge.graphs.edit import MOVES, drop_unused, maker_of, replace_value, taken
from hsiedge.graphs.passes.graph_pass import GraphPass


class FloatLogits(GraphPass):
    """Takes the last QuantizeLinear and DequantizeLinear away.

    Requires: nothing; a graph that ends otherwise stays as it is.
    Does: where the first output is DequantizeLinear of QuantizeLinear, or such a value moved (transposed, reshaped), takes in
    its place what the node before them makes; again, until it is no such value.
    Ensures: the graph ends in no such pair, and nothing else changes.
    """

    def rewrite(self, model: ir.Model) -> str:
        count = 0
        while (dequantize := _last_dequantize(model.graph)) is not None:
            quantize = taken(dequantize).producer()
            assert quantize is not None
            replace_value(dequantize.outputs[0], taken(quantize))
            drop_unused(model)
            count += 1
        return "the logits stay float" if count else ""

    def fault(self, model: ir.Model) -> str:
        return "the logits are rounded to integers" if _last_dequantize(model.graph) is not None else ""


def _last_dequantize(graph: ir.Graph) -> ir.Node | None:
    """The DequantizeLinear of a value that a node makes and QuantizeLinear rounds, moved at most before it is the output."""
    node = graph.outputs[0].producer()
    while node is not None and node.op_type in MOVES:
        node = taken(node).producer()
    quantize = maker_of(node.inputs[0], "QuantizeLinear") if node is not None and node.op_type == "DequantizeLinear" else None
    return node if quantize is not None and taken(quantize).producer() is not None else None
