"""Pass: moves that leave the order of values alone are one Reshape. In a small net each node costs as much as arithmetic."""

from __future__ import annotations

import copy
import math
from collections.abc import Sequence
from typing import Any

import numpy as np

from hsiedge.graphs.query import put, sizes_of

_RESHAPES = ("Flatten", "Reshape", "Squeeze", "Unsqueeze")


def merge_reshapes(model: Any) -> Any:
    """Joins moves that leave the order of values alone.

    Requires: nothing.
    Does: Flatten, Reshape, Squeeze, Unsqueeze and a Gather of the only place there is become a Reshape of what the first of
    them took, where all sizes but one are known.
    Ensures: values are the same.
    """
    from onnx import helper, numpy_helper

    made = copy.deepcopy(model)
    graph = made.graph
    shapes = sizes_of(made)
    begins: dict[str, str] = {}
    nodes = []
    for node in graph.node:
        taken, given = (shapes.get(name) for name in (node.input[0] if node.input else "", node.output[0]))
        if taken is None or given is None or not _keeps_order(node, taken, given):
            nodes.append(node)
            continue
        output = node.output[0]
        begins[output] = begins.get(node.input[0], node.input[0])
        graph.initializer.append(numpy_helper.from_array(np.array(given, np.int64), f"{output}_sizes"))
        nodes.append(helper.make_node("Reshape", [begins[output], f"{output}_sizes"], [output], name=f"{output}_reshaped"))
    put(graph, nodes)
    return made


def _keeps_order(node: Any, taken: Sequence[int], given: Sequence[int]) -> bool:
    if max(taken.count(-1), given.count(-1)) > 1 or math.prod(taken) != math.prod(given):
        return False
    attributes = {entry.name: entry for entry in node.attribute}
    if node.op_type == "Gather":
        return taken[attributes["axis"].i if "axis" in attributes else 0] == 1
    return node.op_type in _RESHAPES
