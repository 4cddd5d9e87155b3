"""Preprocessing written anew: an affine of the bands where one is wanted, and the rest of what it did in the first layer."""

from __future__ import annotations

import numpy as np
import onnx_ir as ir
from onnx_ir.passes import common

from hsiedge.graphs.edit import name_of, taken
from hsiedge.graphs.operator_view import Array as Constant
from hsiedge.graphs.preprocessing.band_map import Array, Linear
from hsiedge.graphs.preprocessing.first_layer import Layer
from hsiedge.graphs.preprocessing.match import Preprocessing


def rewrite(model: ir.Model, old: Preprocessing, linear: Linear, offset: Array | None, scale: Array | None) -> int:
    """Changes a graph in place so that `linear` follows `(x - offset) * scale`, and nothing else comes before the first layer.

    Args:
        model: the model in which the preprocessing was found.
        offset, scale: `(bands,)`; None for none.

    Returns:
        How many nodes now stand where those of the preprocessing stood.
    """
    work = _Writer(model.graph, old)
    value = work.values[old.start]
    for kind, name, array in (("Sub", "offset", offset), ("Mul", "scale", scale)):
        if array is not None:
            value = work.op(kind, name, value, work.constant(name, array.astype(np.float32)[:, None, None]))
    if old.selects:
        value = work.op("Gather", "selected", value, work.constant("bands", linear.bands), axis=1)
    elif not linear.takes_all(old.count):
        linear = linear.spread(old.count)
    if old.layer is None:
        work.project(value, linear)
    else:
        work.layer(value, old.layer, linear)
    work.replace()
    for entry in [entry for entry in model.graph.inputs if entry.is_initializer() and not entry.uses()]:
        model.graph.inputs.remove(entry)  # where older files list their weights
    common.RemoveUnusedNodesPass()(model)
    return len(work.nodes)


class _Writer:
    """Writes nodes in the place of a graph's preprocessing.

    Attributes:
        values: the graph's values, by name.
        nodes: those that are new.
    """

    def __init__(self, graph: ir.Graph, old: Preprocessing) -> None:
        self._graph, self._old = graph, old
        self.values = ir.convenience.create_value_mapping(graph)
        ends = [*old.nodes, *([] if old.layer is None else [old.layer.node])]
        makers = [self.values[node.outputs[0].name or ""].producer() for node in ends]
        self._gone = [node for node in makers if node is not None]
        self.nodes: list[ir.Node] = []
        self._names = {*self.values} - {name for node in self._gone for name in _own_names(node, self._gone)}

    def op(self, kind: str, name: str, *inputs: ir.Value, axis: int | None = None) -> ir.Value:
        """The output of a new node, which is called as the node is."""
        output = ir.Value(name=self._fresh(name))
        attributes = {} if axis is None else {"axis": axis}
        self.nodes.append(ir.node(kind, inputs, attributes, outputs=[output], name=output.name))
        return output

    def constant(self, name: str, array: Constant) -> ir.Value:
        """A new initializer; it takes the name of one that nobody takes any more."""
        name = self._fresh(name)
        tensor = ir.tensor(np.ascontiguousarray(array), name=name)
        value = ir.Value(name=name, shape=ir.Shape(array.shape), type=ir.TensorType(tensor.dtype), const_value=tensor)
        self._graph.initializers[name] = value
        return value

    def project(self, value: ir.Value, linear: Linear) -> None:
        """The linear map as a 1 x 1 convolution."""
        old = self._old.projection
        assert old is not None
        weight = self.constant(name_of(taken(old, 1)), linear.matrix.astype(np.float32)[:, :, None, None])
        bias = self.constant(_bias_name(old), linear.shift.astype(np.float32))
        output = ir.Value(name=self._fresh("projected"))
        self.nodes.append(ir.node("Conv", [value, weight, bias], {"kernel_shape": [1, 1]}, outputs=[output], name=old.name))
        self._rearranged(output)

    def layer(self, value: ir.Value, layer: Layer, linear: Linear) -> None:
        """The first layer, with other weights."""
        weight, bias = layer.taking(linear)
        value = self._rearranged(value)
        weights = self.constant(name_of(taken(layer.node, 1)), layer.stored(weight))
        shift = self.constant(_bias_name(layer.node), bias.astype(np.float32))
        self.nodes.append(layer.node_of(value, weights, shift))

    def _rearranged(self, value: ir.Value) -> ir.Value:
        """A value after what the preprocessing does to axes."""
        for old in self._old.shape_ops:
            rest = [None if entry is None else self.values[name_of(entry)] for entry in old.inputs[1:]]
            output = ir.Value(name=self._fresh("moved"))
            node = ir.Node("", old.op_type, [value, *rest], old.attributes.values(), outputs=[output], name=output.name)
            self.nodes.append(node)
            value = output
        return value

    def replace(self) -> None:
        """Puts the new nodes where the last of the old ones stood."""
        last, end = self._gone[-1], self.nodes[-1].outputs[0]
        ir.convenience.replace_nodes_and_values(self._graph, last, self._gone, self.nodes, last.outputs, [end])

    def _fresh(self, name: str) -> str:
        """A name like this that nothing bears yet."""
        number, fresh = 1, name
        while fresh in self._names:
            number += 1
            fresh = f"{name}_{number}"
        self._names.add(fresh)
        return fresh


def _own_names(node: ir.Node, gone: list[ir.Node]) -> list[str]:
    """The names of a node's outputs, and of the initializers that only nodes which go take."""
    stored = [value for value in node.inputs if value is not None and value.is_initializer() and not value.is_graph_input()]
    return [name_of(value) for value in (*node.outputs, *(value for value in stored if {*value.consumers()} <= {*gone}))]


def _bias_name(node: ir.Node) -> str:
    bias = node.inputs[2] if len(node.inputs) > 2 else None
    return name_of(bias) if bias is not None else f"{name_of(taken(node, 1))}_bias"
