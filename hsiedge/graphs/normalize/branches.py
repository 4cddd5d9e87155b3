"""Branches and loops whose way is known beforehand, in the place of the nodes that hold them.

TorchScript leaves an If behind `squeeze()`, and a Loop, with a list that grows, where a scripted net walks along its bands.
"""

from __future__ import annotations

import numpy as np
import onnx_ir as ir
from onnx_ir.passes import common

from hsiedge.graphs.edit import array_of, constant, operator, replace_value, taken

_MOST_NODES = 16384  # that a loop may become


def inline_known(model: ir.Model) -> int:
    """Puts branches whose condition is a constant, and loops whose passes are, in their place; gives how many there were."""
    inlined = 0
    for node in list(model.graph):
        done = _branch(model.graph, node) or _loop(model.graph, node) or _list(model.graph, node)
        inlined += done and node.op_type in ("If", "Loop")
    if inlined:
        common.LiftConstantsToInitializersPass(lift_all_constants=True, size_limit=0)(model)
        common.NameFixPass()(model)
    return inlined


def _branch(graph: ir.Graph, node: ir.Node) -> bool:
    condition = array_of(node.inputs[0]) if node.op_type == "If" else None
    if condition is None:
        return False
    branch = node.attributes["then_branch" if bool(condition.ravel()[0]) else "else_branch"].as_graph()
    _replace(graph, node, _inlined(graph, node, branch, []))
    return True


def _forget(node: ir.Node) -> None:
    """Lets what is left of a node's inner graphs take nothing from outside any more."""
    for attribute in node.attributes.values():
        for inner in [attribute.as_graph()] if attribute.type == ir.AttributeType.GRAPH else []:
            for child in inner:
                _forget(child)
                for place in range(len(child.inputs)):
                    child.replace_input_with(place, None)


def _loop(graph: ir.Graph, node: ir.Node) -> bool:
    """A loop of a known number of passes, pass after pass."""
    passes = array_of(node.inputs[0]) if node.op_type == "Loop" else None
    if passes is None or not _true(node.inputs[1]):
        return False
    body, count = node.attributes["body"].as_graph(), int(passes.ravel()[0])
    goes_on = body.outputs[0]
    always = goes_on is body.inputs[1] or _true(goes_on) or _source(goes_on) is body.inputs[1]
    if not always or not 0 < count * len(body) <= _MOST_NODES:
        return False
    states = [value for value in node.inputs[2:] if value is not None]
    rows: list[list[ir.Value]] = []
    for number in range(count):
        step = constant(graph, f"{node.name}_pass", np.array(number, np.int64))
        going = constant(graph, f"{node.name}_goes_on", np.array(True))
        results = _inlined(graph, node, body.clone(allow_outer_scope_values=True), [step, going, *states])[1:]
        states = results[: len(states)]
        rows.append(results[len(states) :])
    stacked = [_stacked(graph, node, [row[place] for row in rows], 0) for place in range(len(rows[0]))]
    _replace(graph, node, [*states, *stacked])
    return True


def _list(graph: ir.Graph, node: ir.Node) -> bool:
    """A list that is joined, where it is known what was put into it."""
    if node.op_type != "ConcatFromSequence":
        return False
    items: list[ir.Value] = []
    value = _source(taken(node))
    while (maker := value.producer()) is not None and maker.op_type == "SequenceInsert" and len(maker.inputs) == 2:
        items.insert(0, taken(maker, 1))
        value = _source(taken(maker))
    if maker is None or maker.op_type != "SequenceEmpty" or not items:
        return False
    axis = node.attributes["axis"].as_int()
    if "new_axis" in node.attributes and node.attributes["new_axis"].as_int():
        joined = _stacked(graph, node, items, axis)
    else:
        joint = operator("Concat", items, f"{node.name}_joined", axis=axis)
        graph.insert_before(node, joint)
        joined = joint.outputs[0]
    _replace(graph, node, [joined])
    return True


def _stacked(graph: ir.Graph, node: ir.Node, values: list[ir.Value], axis: int) -> ir.Value:
    """Values side by side along a new axis."""
    axes = constant(graph, f"{node.name}_axis", np.array([axis], np.int64))
    apart = [operator("Unsqueeze", [value, axes], f"{node.name}_{place}_of_{axis}") for place, value in enumerate(values)]
    joint = operator("Concat", [entry.outputs[0] for entry in apart], f"{node.name}_stacked_{axis}", axis=axis)
    graph.insert_before(node, [*apart, joint])
    return joint.outputs[0]


def _inlined(graph: ir.Graph, node: ir.Node, inner: ir.Graph, inputs: list[ir.Value]) -> list[ir.Value]:
    """Moves the nodes of an inner graph before the node that holds it, with other values as its inputs; gives its outputs."""
    for name, value in list(inner.initializers.items()):
        assert value.const_value is not None
        value.replace_all_uses_with(constant(graph, name, value.const_value.numpy()), replace_graph_outputs=True)
    for entry, value in zip(inner.inputs, inputs):
        entry.replace_all_uses_with(value, replace_graph_outputs=True)
    outputs = list(inner.outputs)
    inner.outputs[:] = []
    nodes = list(inner)
    inner.remove(nodes)
    graph.insert_before(node, nodes)
    return outputs


def _replace(graph: ir.Graph, node: ir.Node, values: list[ir.Value]) -> None:
    for output, value in zip(list(node.outputs), values):
        if output.is_graph_output() and value.producer() is not None:
            replace_value(output, value)
        else:
            output.replace_all_uses_with(value)
    _forget(node)
    graph.remove(node, safe=True)


def _source(value: ir.Value) -> ir.Value:
    """The value behind Identity nodes."""
    while (maker := value.producer()) is not None and maker.op_type == "Identity":
        value = taken(maker)
    return value


def _true(value: ir.Value | None) -> bool:
    """Whether a value is True, as far as is known; one that is left out is."""
    if value is None:
        return True
    source = _source(value)
    array = array_of(source)
    if array is None:
        tensor = ir.convenience.get_const_tensor(source)
        array = None if tensor is None else tensor.numpy()
    return array is not None and bool(array.ravel()[0])
