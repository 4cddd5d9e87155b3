"""What passes ask of a graph: the sizes of its values, who makes and takes them, and which nodes are of use."""

from __future__ import annotations

import copy
from collections.abc import Sequence
from functools import cached_property
from typing import Any

from numpy.typing import NDArray


def attributes(node: Any) -> dict[str, Any]:
    """Those that a node says, by name."""
    from onnx import helper

    return {entry.name: helper.get_attribute_value(entry) for entry in node.attribute}


def sizes_of(model: Any) -> dict[str, tuple[int, ...]]:
    """Sizes of all values; -1 where they are free, as the batch is."""
    import onnx

    inferred = onnx.shape_inference.infer_shapes(model, data_prop=True)
    entries = (*inferred.graph.input, *inferred.graph.value_info, *inferred.graph.output)
    return {
        entry.name: tuple(size.dim_value if size.HasField("dim_value") else -1 for size in entry.type.tensor_type.shape.dim)
        for entry in entries
    }


def put(graph: Any, nodes: Sequence[Any]) -> None:
    """Gives a graph other nodes, which are in order: those whose output somebody takes, and the initializers that they take."""
    needed = {entry.name for entry in graph.output}
    kept = []
    for node in reversed(nodes):
        if needed & {*node.output}:
            needed |= {*node.input}
            kept.append(copy.deepcopy(node))  # they vanish with the list
    initializers = [copy.deepcopy(tensor) for tensor in graph.initializer if tensor.name in needed]
    del graph.node[:], graph.initializer[:], graph.value_info[:]
    graph.node.extend(reversed(kept))
    graph.initializer.extend(initializers)


class Links:
    """A graph's values, by name: who makes them, who takes them, and what is stored. Of a QDQ graph as it is now."""

    def __init__(self, graph: Any) -> None:
        self._graph = graph
        self.makers = {name: node for node in graph.node for name in node.output}
        self._takers: dict[str, list[Any]] = {entry.name: [None] for entry in graph.output}
        for node in graph.node:
            for name in node.input:
                self._takers.setdefault(name, []).append(node)

    @cached_property
    def values(self) -> dict[str, NDArray[Any]]:
        """Of initializers."""
        from onnx import numpy_helper

        return {tensor.name: numpy_helper.to_array(tensor) for tensor in self._graph.initializer}

    def taker(self, node: Any | None, kind: str) -> Any | None:
        """The node of that kind which alone takes what `node` gives, as its first input; None where there is none."""
        if node is None:
            return None
        takers = self._takers.get(node.output[0], [])
        if len(takers) != 1 or takers[0] is None or takers[0].op_type != kind or takers[0].input[0] != node.output[0]:
            return None
        return takers[0]

    def stored(self, name: str) -> NDArray[Any] | None:
        """The integers of a dequantized weight that one node alone takes; None of any other value."""
        maker = self.makers.get(name)
        if maker is None or maker.op_type != "DequantizeLinear" or len(self._takers[name]) > 1:
            return None
        return self.values.get(maker.input[0])

    def insert_before(self, node: Any, nodes: Sequence[Any]) -> None:
        """Puts nodes into the graph's order, right before one of it."""
        place = next(number for number, other in enumerate(self._graph.node) if other.output[0] == node.output[0])
        for number, entry in enumerate(nodes, place):
            self._graph.node.insert(number, entry)
