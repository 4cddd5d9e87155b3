"""Small steps that several passes take on a graph: constants in and out, nodes before others, sizes of values."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import onnx_ir as ir
from numpy.typing import NDArray
from onnx_ir.passes import common

Attribute = int | float | str | Sequence[int]

LAYERS = ("Conv", "Gemm", "MatMul")
"""Operators with weights, which quantizers know by name."""
RESHAPES = ("Flatten", "Reshape", "Squeeze", "Unsqueeze")
MOVES = (*RESHAPES, "Transpose")


def array_of(value: ir.Value | None) -> NDArray[Any] | None:
    """The numbers of an initializer; None for any other value."""
    if value is None or value.const_value is None or not value.is_initializer():
        return None
    return value.const_value.numpy()


def constant(graph: ir.Graph, name: str, values: NDArray[Any] | np.generic) -> ir.Value:
    """A new initializer, called `name`, or the next like it that is free."""
    taken, number, fresh = graph.initializers, 1, name
    while fresh in taken:
        number += 1
        fresh = f"{name}_{number}"
    tensor = ir.tensor(np.ascontiguousarray(values).reshape(np.shape(values)), name=fresh)
    value = ir.Value(name=fresh, const_value=tensor)
    graph.register_initializer(value)
    return value


def operator(kind: str, inputs: Sequence[ir.Value], output: str, name: str = "", **attributes: Attribute) -> ir.Node:
    """A node with one output, which is called `output`; so is the node, unless it has a name of its own."""
    return ir.node(kind, inputs, attributes, outputs=[ir.Value(name=output)], name=name or output)


def insert_before(place: ir.Node, nodes: Sequence[ir.Node]) -> None:
    """Puts nodes right before one of a graph."""
    owner = place.graph
    assert owner is not None
    owner.insert_before(place, nodes)


def taken(node: ir.Node, place: int = 0) -> ir.Value:
    """An input that a node must have."""
    value = node.inputs[place]
    assert value is not None
    return value


def name_of(value: ir.Value) -> str:
    """The name of a value, which each has in a graph that was read."""
    assert value.name is not None
    return value.name


def use_count(value: ir.Value) -> int:
    """Number of inputs of nodes, and outputs of the graph, that a value is."""
    return len(value.uses()) + value.is_graph_output()


def sole_taker(value: ir.Value, kind: str) -> ir.Node | None:
    """The node of a kind which alone takes a value, as its first input; None where there is none."""
    if use_count(value) != 1 or value.is_graph_output():
        return None
    ((node, place),) = value.uses()
    return node if node.op_type == kind and place == 0 else None


def maker_of(value: ir.Value | None, kind: str) -> ir.Node | None:
    """The node that makes a value; None where it is of another kind, or there is none."""
    node = value.producer() if value is not None else None
    return node if node is not None and node.op_type == kind else None


def stored_weight(value: ir.Value | None) -> NDArray[Any] | None:
    """The integers of a dequantized weight that one node alone takes; None for any other value."""
    maker = maker_of(value, "DequantizeLinear")
    if maker is None or value is None or use_count(value) > 1:
        return None
    return array_of(maker.inputs[0])


def replace_value(value: ir.Value, replacement: ir.Value) -> None:
    """Hands all uses of a value, its name, and its place among the graph's outputs to another one.

    Type and sizes go along where it is an output; elsewhere they are left for a runtime to find out.
    """
    if value.is_graph_output():
        replacement.type, replacement.shape = value.type, value.shape
    value.replace_all_uses_with(replacement, replace_graph_outputs=True)
    value.name, replacement.name = None, value.name


def forget_type(*values: ir.Value) -> None:
    """Takes type and sizes from values that have others now; a graph's outputs keep theirs."""
    for value in values:
        if not value.is_graph_output():
            value.type = value.shape = None


def drop_unused(model: ir.Model) -> None:
    """Removes nodes and initializers that nobody takes anything of."""
    common.RemoveUnusedNodesPass()(model)


def sizes_of(model: ir.Model) -> dict[str, tuple[int, ...]]:
    """Sizes of all values, by name; -1 where they are free, as the batch is."""
    import onnx

    inferred = onnx.shape_inference.infer_shapes(ir.to_proto(model), data_prop=True)
    entries = (*inferred.graph.input, *inferred.graph.value_info, *inferred.graph.output)
    return {
        entry.name: tuple(size.dim_value if size.HasField("dim_value") else -1 for size in entry.type.tensor_type.shape.dim)
        for entry in entries
    }
