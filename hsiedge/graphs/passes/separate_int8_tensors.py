"""Pass: a tensor for each use of 8-bit weights, as onnxruntime's exact mode needs it."""

from __future__ import annotations

from collections.abc import Iterator

import onnx_ir as ir
from onnx_ir.traversal import RecursiveGraphIterator

from hsiedge.graphs.edit import array_of, name_of
from hsiedge.graphs.passes.graph_pass import GraphPass


class SeparateInt8Tensors(GraphPass):
    """Gives each node that takes a signed 8-bit initializer one of its own, in the graph that the node stands in.

    Requires: nothing.
    Does: copies int8 initializers that are taken more than once, or by nodes of an inner graph from outside of it; those that
    are inputs as well stay, since they may be fed.
    Ensures: outputs are the same to the bit, and in onnxruntime's exact mode (`hsiedge.device.int8`) the file opens, and all of
    its layers are exact: the mode replaces such tensors by name, and looks for them in a layer's own graph alone.
    """

    def rewrite(self, model: ir.Model) -> str:
        uses = list(_shared_uses(model.graph))
        names = _names(model.graph) if uses else set()
        for node, place, value in uses:
            _copy_for(node, place, value, names)
        if uses:
            _drop_unused_int8(model.graph)
        return f"{len(uses)} uses of 8-bit tensors have one of their own" if uses else ""

    def fault(self, model: ir.Model) -> str:
        return "an 8-bit tensor has more than one use" if next(_shared_uses(model.graph), None) is not None else ""


def _is_int8(value: ir.Value) -> bool:
    """Tells whether a value is an int8 initializer that nobody may feed."""
    tensor = value.const_value
    stored = tensor is not None and value.is_initializer() and not value.is_graph_input()
    return stored and tensor is not None and tensor.dtype == ir.DataType.INT8


def _shared_uses(graph: ir.Graph) -> Iterator[tuple[ir.Node, int, ir.Value]]:
    """Uses of int8 initializers after the first one, or from another graph than the initializer's: node, input, initializer."""
    seen: set[ir.Value] = set()
    for node in RecursiveGraphIterator(graph):
        for place, value in enumerate(node.inputs):
            if value is not None and _is_int8(value):
                if value in seen or value.graph is not node.graph:
                    yield node, place, value
                seen.add(value)


def _names(graph: ir.Graph) -> set[str]:
    """Names of all values, those of inner graphs too."""
    graphs = [graph, *graph.subgraphs()]
    names = {name_of(value) for inner in graphs for value in (*inner.inputs, *inner.initializers.values())}
    return names | {name_of(value) for inner in graphs for node in inner for value in node.outputs if value.name}


def _copy_for(node: ir.Node, place: int, value: ir.Value, names: set[str]) -> None:
    """A copy of an initializer in the node's own graph, under a name that is free; `names` grows."""
    number = 1
    while f"{name_of(value)}_{number}" in names:
        number += 1
    name, owner, values = f"{name_of(value)}_{number}", node.graph, array_of(value)
    assert isinstance(owner, ir.Graph)
    assert values is not None
    copied = ir.Value(name=name, const_value=ir.tensor(values, name=name))
    owner.register_initializer(copied)
    node.replace_input_with(place, copied)
    names.add(name)


def _drop_unused_int8(graph: ir.Graph) -> None:
    for name, value in list(graph.initializers.items()):
        if _is_int8(value) and not value.uses() and not value.is_graph_output():
            del graph.initializers[name]
