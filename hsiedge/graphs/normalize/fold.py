"""Folding of what does not depend on the patches: constants, shapes, branches; and the freeing of a batch fixed at 1.

The graph is run, by onnxruntime, for two batches. A value whose makers take nothing of the patches but their sizes is a
constant where it is the same both times; a Reshape's sizes are those of what it gave, with -1 where they grow with the batch; a
Squeeze without axes takes those that were 1 both times; an If whose condition was the same both times is its branch, and a
Loop of as many passes both times its body, so many times (`hsiedge.graphs.normalize.branches`). So
`x.view(x.size(0), -1)` is a Reshape to (-1, 32), whatever operators its exporter made of it.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np
import onnx_ir as ir
from numpy.typing import NDArray
from onnx_ir.passes import common

from hsiedge.errors import ModelError
from hsiedge.graphs.edit import array_of, constant, taken
from hsiedge.graphs.normalize.branches import inline_known
from hsiedge.graphs.normalize.compare import session
from hsiedge.graphs.normalize.layout import Layout

_BATCHES = (3, 5)
_SIZES = ("Shape", "Size")
_BROADCAST = ("Add", "Div", "Max", "Min", "Mul", "Sub")
_KEPT = ("DequantizeLinear", "QuantizeLinear", "RandomNormal", "RandomUniform", "RandomNormalLike", "RandomUniformLike")
_LARGEST = 64 << 20  # bytes of a constant that is folded
_DEEPEST = 16  # of branches within one another


def fold(model: ir.Model, layouts: Sequence[Layout], patches: NDArray[Any]) -> list[str]:
    """Folds a graph in its own layout, and gives lines that tell what was done.

    Raises:
        ModelError: a graph that does not run for several patches.
    """
    changes = _free_batch(model, layouts)
    before = sum(1 for _ in model.graph)
    branches = 0
    for _ in range(_DEEPEST):
        traces = [_Trace(model, layouts, patches, count) for count in _BATCHES]
        _fold_constants(model, traces)
        _fold_rows(model, traces)
        _fix_reshapes(model, traces)
        _fix_squeezes(model, traces)
        _drop_zero_states(model, traces)
        _drop_dropouts(model)
        inlined = inline_known(model)
        if not inlined:
            break
        branches += inlined
    common.RemoveUnusedNodesPass()(model)
    after = sum(1 for _ in model.graph)
    if branches:
        changes.append(f"{branches} branches whose condition is known, and loops whose passes are, become what they do")
    if after < before:
        changes.append(f"{before} nodes become {after}: constants and shapes are folded")
    return changes


def fold_sizes(model: ir.Model, tensor: NDArray[Any]) -> None:
    """Folds what depends on sizes alone, for an input of one size; works on the model itself, which takes no other then.

    Args:
        tensor: of that size, in the dtype that the graph takes.
    """
    entry = model.graph.inputs[0]
    entry.shape = ir.Shape(tensor.shape)
    trace = _Trace(model, [Layout(entry.name or "", "", dtype=tensor.dtype.name)], tensor, len(tensor))
    _fold_constants(model, [trace])
    _fix_reshapes(model, [trace, trace])
    common.RemoveUnusedNodesPass()(model)


def _free_batch(model: ir.Model, layouts: Sequence[Layout]) -> list[str]:
    """Gives the inputs a free first size; where it was fixed, Reshapes to a batch of 1 take any."""
    names = {layout.name for layout in layouts}
    inputs = [value for value in model.graph.inputs if value.name in names]
    fixed = [value for value in inputs if value.shape is not None and isinstance(value.shape[0], int)]
    for value in inputs:
        if value.shape is not None:
            value.shape = ir.Shape(["N", *value.shape[1:]])
    for output in model.graph.outputs:
        output.shape = None
    for node in model.graph:
        for value in node.outputs:
            value.shape = None
    if not fixed:
        return []
    for node in list(model.graph):
        sizes = array_of(node.inputs[1]) if node.op_type == "Reshape" else None
        if sizes is not None and len(sizes) > 1 and sizes[0] == 1:
            free = sizes.copy()
            free[0] = -1 if -1 not in sizes[1:] else 0
            node.replace_input_with(1, constant(model.graph, f"{node.name}_sizes", free))
    return ["a batch fixed at 1 is freed"]


class _Trace:
    """One run of the graph: values that depend on sizes alone, and the sizes of what Reshapes and Squeezes take and give."""

    def __init__(self, model: ir.Model, layouts: Sequence[Layout], patches: NDArray[Any], count: int) -> None:
        self.count = count
        static = [value for node in _static(model.graph) for value in node.outputs if value.name]
        shaped = [
            value
            for node in model.graph
            if node.op_type in ("Reshape", "Squeeze", "Flatten")
            for value in (taken(node), node.outputs[0])
        ]
        names = list(dict.fromkeys(value.name for value in (*static, *shaped) if value.name))
        self._values = _run(model, names, layouts, np.resize(patches, (count, *patches.shape[1:])))

    def value(self, value: ir.Value) -> NDArray[Any] | None:
        """The value, where it was kept."""
        return self._values.get(value.name or "")


def _run(model: ir.Model, names: Sequence[str], layouts: Sequence[Layout], patches: NDArray[Any]) -> dict[str, NDArray[Any]]:
    import onnx

    proto = ir.to_proto(model)
    wanted = [name for name in names if name not in {entry.name for entry in proto.graph.output}]
    proto.graph.output.extend(onnx.ValueInfoProto(name=name) for name in wanted)
    opened = session(proto, optimized=False)
    outputs = [entry.name for entry in opened.get_outputs()]
    try:
        values = opened.run(outputs, {layout.name: layout(patches) for layout in layouts})
    except Exception as error:
        reason = " ".join(str(error).split())[:200]
        raise ModelError(
            f"does not run for {len(patches)} patches ({reason}); export it with a free first dimension"
        ) from error
    return {name: np.asarray(value) for name, value in zip(outputs, values) if not isinstance(value, (list, dict))}


def _static(graph: ir.Graph) -> Iterable[ir.Node]:
    """Nodes that take nothing of the patches but their sizes, in order."""
    known: set[ir.Value] = set(graph.initializers.values())
    for node in graph:
        inner = any(
            attribute.type in (ir.AttributeType.GRAPH, ir.AttributeType.GRAPHS) for attribute in node.attributes.values()
        )
        sized = node.op_type in _SIZES
        if not inner and node.op_type not in _KEPT and (sized or all(value is None or value in known for value in node.inputs)):
            known.update(node.outputs)
            yield node


def _fold_constants(model: ir.Model, traces: Sequence[_Trace]) -> None:
    for node in list(_static(model.graph)):
        if len(node.outputs) != 1 or node.outputs[0].is_graph_output():
            continue
        if node.op_type == "Identity":  # of a weight that several layers share: they take the one, and not copies of it
            node.outputs[0].replace_all_uses_with(taken(node))
            continue
        values = [trace.value(node.outputs[0]) for trace in traces]
        first = values[0]
        if first is None or first.dtype == object or first.nbytes > _LARGEST:
            continue
        if all(value is not None and value.shape == first.shape and np.array_equal(value, first) for value in values):
            node.outputs[0].replace_all_uses_with(constant(model.graph, f"{node.outputs[0].name}_constant", first))


def _fold_rows(model: ir.Model, traces: Sequence[_Trace]) -> None:
    """Lets operators that broadcast take one row of what is the same for each patch of a batch, as a state of zeros is."""
    static = {value for node in _static(model.graph) for value in node.outputs}
    for node in model.graph:
        if node.op_type not in _BROADCAST or node.outputs[0] in static:
            continue
        for place, value in enumerate(node.inputs):
            known = [trace.value(value) for trace in traces] if value is not None and value in static else []
            values = [array for array in known if array is not None]
            if len(values) < len(traces) or len({array.ndim for array in values}) > 1:
                continue
            growing = [axis for axis, sizes in enumerate(zip(*(array.shape for array in values))) if len({*sizes}) > 1]
            row = values[0].take([0], growing[0]) if len(growing) == 1 else values[0]
            if growing and all(np.array_equal(array, np.broadcast_to(row, array.shape)) for array in values):
                node.replace_input_with(place, constant(model.graph, f"{node.name}_row", row))


def _fix_reshapes(model: ir.Model, traces: Sequence[_Trace]) -> None:
    """Gives each Reshape constant sizes, -1 for the one that grows with the batch."""
    for node in model.graph:
        if node.op_type != "Reshape" or array_of(node.inputs[1]) is not None:
            continue
        values = [trace.value(node.outputs[0]) for trace in traces]
        sizes = [value.shape for value in values if value is not None]
        if len(sizes) != len(traces) or len(sizes[0]) != len(sizes[1]):
            continue
        growing = [axis for axis, (one, other) in enumerate(zip(*sizes)) if one != other]
        if len(growing) <= 1:
            fixed = np.array([-1 if axis in growing else size for axis, size in enumerate(sizes[0])], np.int64)
            node.replace_input_with(1, constant(model.graph, f"{node.name}_sizes", fixed))
            node.attributes.pop("allowzero", None)


def _fix_squeezes(model: ir.Model, traces: Sequence[_Trace]) -> None:
    """Names the axes of each Squeeze that has none: those of size 1, and never the batch."""
    for node in list(model.graph):
        if node.op_type != "Squeeze" or len(node.inputs) > 1:
            continue
        taken_values = [trace.value(taken(node)) for trace in traces]
        sizes = [value.shape for value in taken_values if value is not None]
        if len(sizes) == len(traces):
            axes = [axis for axis in range(len(sizes[0])) if all(size[axis] == 1 for size in sizes)]
            if not axes:  # an empty list of axes is all that are 1, of one patch the batch, too
                _bypass(model.graph, node)
                continue
            named = ir.node("Squeeze", [taken(node), constant(model.graph, f"{node.name}_axes", np.array(axes, np.int64))],
                            outputs=[ir.Value(name=f"{node.outputs[0].name}_named")], name=f"{node.name}_named")  # fmt: skip
            model.graph.insert_before(node, named)
            node.outputs[0].replace_all_uses_with(named.outputs[0], replace_graph_outputs=True)


def _bypass(graph: ir.Graph, node: ir.Node) -> None:
    """Leaves a node out that gives what it takes."""
    same = ir.node("Identity", [taken(node)], outputs=[ir.Value(name=f"{node.outputs[0].name}_same")], name=f"{node.name}_same")
    graph.insert_before(node, same)
    node.outputs[0].replace_all_uses_with(same.outputs[0], replace_graph_outputs=True)


def _drop_zero_states(model: ir.Model, traces: Sequence[_Trace]) -> None:
    """Leaves out initial states of recurrent layers that are zeros, which is what they begin with unasked."""
    for node in model.graph:
        if node.op_type not in ("GRU", "LSTM", "RNN"):
            continue
        for place, state in list(enumerate(node.inputs))[5:7]:
            values = [None if state is None else trace.value(state) for trace in traces]
            if all(value is not None and not value.any() for value in values):
                node.replace_input_with(place, None)


def _drop_dropouts(model: ir.Model) -> None:
    """Leaves out Dropout, which does nothing outside of training."""
    for node in list(model.graph):
        mode = array_of(node.inputs[2]) if node.op_type == "Dropout" and len(node.inputs) > 2 else None
        if node.op_type != "Dropout" or (len(node.outputs) > 1 and node.outputs[1].uses()):
            continue
        if mode is not None and mode.any():
            raise ModelError(f"node {node.name} (Dropout): in training mode; export the net after net.eval()")
        if node.outputs[0].is_graph_output():
            continue
        node.outputs[0].replace_all_uses_with(taken(node))
        model.graph.remove(node, safe=True)
