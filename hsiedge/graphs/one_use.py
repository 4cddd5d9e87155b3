"""Pass: a tensor for each use of 8-bit weights, as onnxruntime's exact mode needs it."""

from __future__ import annotations

import copy
from typing import Any

from onnx import TensorProto


def one_use(model: Any) -> Any:
    """Gives each node that takes a signed 8-bit initializer one of its own, in the graph that the node stands in.

    Requires: nothing.
    Does: copies int8 initializers that are taken more than once, or by nodes of an inner graph from outside of it; those that
    are inputs as well stay, since they may be fed.
    Ensures: outputs are the same to the bit, and in onnxruntime's exact mode (`hsiedge.device.int8`) the file opens, and all of
    its layers are exact: the mode replaces such tensors by name, and looks for them in a layer's own graph alone. The model
    itself, where nothing had to be copied.
    """
    made = copy.deepcopy(model)
    names = {name for graph in _graphs(made.graph) for node in graph.node for name in (*node.input, *node.output)}
    if not _separate(made.graph, {}, names):
        return model
    taken = {name for graph in _graphs(made.graph) for node in graph.node for name in node.input}
    kept = [tensor for tensor in made.graph.initializer if tensor.name in taken or tensor.data_type != TensorProto.INT8]
    kept = [copy.deepcopy(tensor) for tensor in kept]  # they vanish with the list
    del made.graph.initializer[:]
    made.graph.initializer.extend(kept)
    return made


def _separate(graph: Any, outside: dict[str, Any], names: set[str]) -> int:
    """Copies tensors for the nodes of a graph and those inside of it; how many.

    Args:
        outside: int8 initializers of the graphs around, by name.
        names: of all values; grows.
    """
    fed = {entry.name for entry in graph.input}
    own = {entry.name: entry for entry in graph.initializer if entry.data_type == TensorProto.INT8 and entry.name not in fed}
    seen, copies = set[str](), 0
    for node in graph.node:
        for place, name in enumerate(node.input):
            tensor = own.get(name, outside.get(name))
            if tensor is not None and (name in seen or name not in own):
                fresh = next(text for number in range(1, len(names) + 2) if (text := f"{name}_{number}") not in names)
                graph.initializer.add().CopyFrom(tensor)
                graph.initializer[-1].name = node.input[place] = fresh
                names.add(fresh)
                copies += 1
            seen.add(name)
        copies += sum(_separate(inner, {**outside, **own}, names) for inner in _inside(node))
    return copies


def _graphs(graph: Any) -> list[Any]:
    """A graph and those inside of its nodes."""
    return [graph, *(found for node in graph.node for inner in _inside(node) for found in _graphs(inner))]


def _inside(node: Any) -> list[Any]:
    return [graph for entry in node.attribute for graph in (*([entry.g] if entry.HasField("g") else []), *entry.graphs)]
