"""Pass: what is only moved moves as integers. A quarter of the bytes, and no rounding to and fro around each cut and join."""

from __future__ import annotations

import copy
from collections import Counter
from collections.abc import Sequence
from typing import Any

_MOVES = ("Concat", "Flatten", "Gather", "Pad", "Reshape", "Slice", "Squeeze", "Transpose", "Unsqueeze")


def hoist_quantize(model: Any) -> Any:
    """Quantizes before values are moved, not after.

    Requires: a QDQ graph with one scale for each tensor of activations.
    Does: takes each QuantizeLinear through the nodes that only move values, up to what computes them; two that do the same
    to one value become one, and one that undoes what DequantizeLinear just did goes, with it.
    Ensures: each integer is the same as before: rounding value by value, then moving, is moving, then rounding.
    """
    made = copy.deepcopy(model)
    _share_scales(made.graph)
    while _merge(made.graph) or _cancel(made.graph) or _lift(made.graph):
        pass
    del made.graph.value_info[:]  # the moved tensors have changed their type
    return made


def _share_scales(graph: Any) -> None:
    """One name for scales and zero points that are equal, so that names tell what is the same."""
    from onnx import numpy_helper

    numbers = {tensor.name: numpy_helper.to_array(tensor) for tensor in graph.initializer if not tensor.dims}
    first: dict[tuple[str, bytes], str] = {}
    for name, value in numbers.items():
        _replace(graph, name, first.setdefault((value.dtype.name, value.tobytes()), name))


def _merge(graph: Any) -> bool:
    """Of two that do the same, one stays."""
    seen: dict[tuple[str, ...], str] = {}
    for node in graph.node:
        if node.op_type == "QuantizeLinear":
            key = tuple(node.input)
            if key in seen:
                _replace(graph, node.output[0], seen[key])
                graph.node.remove(node)
                return True
            seen[key] = node.output[0]
    return False


def _cancel(graph: Any) -> bool:
    """Integers that were only looked at as floats stay integers."""
    makers = {name: node for node in graph.node for name in node.output}
    for node in graph.node:
        before = makers.get(node.input[0]) if node.op_type == "QuantizeLinear" else None
        if before is not None and before.op_type == "DequantizeLinear" and list(before.input[1:]) == list(node.input[1:]):
            _replace(graph, node.output[0], before.input[0])
            graph.node.remove(node)
            if not any(before.output[0] in other.input for other in graph.node):
                graph.node.remove(before)
            return True
    return False


def _lift(graph: Any) -> bool:
    """One step up, through a node that only moves values, and whose values nobody else takes as floats."""
    from onnx import helper

    makers = {name: place for place, node in enumerate(graph.node) for name in node.output}
    uses = Counter(name for node in graph.node for name in node.input) + Counter(entry.name for entry in graph.output)
    for node in graph.node:
        place = makers.get(node.input[0]) if node.op_type == "QuantizeLinear" else None
        mover = graph.node[place] if place is not None else None
        if mover is None or mover.op_type not in _MOVES or uses[mover.output[0]] > 1 or len(node.input) < 3:
            continue
        if mover.op_type == "Pad" and (len(mover.input) > 2 and mover.input[2]):
            continue  # with another value than 0
        data = len(mover.input) if mover.op_type == "Concat" else 1
        for number in range(data):
            name = f"{node.output[0]}_{mover.output[0]}_{number}"
            lifted = helper.make_node("QuantizeLinear", [mover.input[number], *node.input[1:]], [name])
            graph.node.insert(place, lifted)
            mover.input[number] = name
        if mover.op_type == "Pad":
            _pad_with(mover, node.input[2])
        mover.output[0] = node.output[0]
        graph.node.remove(node)
        return True
    return False


def _pad_with(mover: Any, zero_point: str) -> None:
    """0 is the zero point, among integers."""
    rest: Sequence[str] = list(mover.input[3:])
    del mover.input[2:]
    mover.input.extend([zero_point, *rest])


def _replace(graph: Any, name: str, other: str) -> None:
    for node in graph.node:
        for place, entry in enumerate(node.input):
            if entry == name:
                node.input[place] = other
