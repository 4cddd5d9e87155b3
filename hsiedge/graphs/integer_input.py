"""Pass: a quantized graph takes integers, and its Card the per-band affine that makes them.

In a patch graph the affine stands behind the cutting of patches, so each pixel of a 13 x 13 patch net is scaled and rounded
169 times, in float32. In the runtime adapter it is done once a pixel, before patches are cut, and the patches are bytes.
"""

from __future__ import annotations

import copy
from collections import Counter
from dataclasses import dataclass
from typing import Any

import numpy as np

from hsiedge.card import Affine

_MOVES_ONLY = ("Gather", "Reshape", "Flatten", "Unsqueeze", "Squeeze", "Transpose")


@dataclass(frozen=True)
class _Front:
    """The nodes between the input and its integers: `removed` compute, `moved` only move values."""

    removed: list[Any]
    moved: list[Any]
    quantize: Any


def integer_input(model: Any) -> tuple[Any, Affine | None]:
    """Takes the affine out of a graph.

    Requires: a QDQ graph that begins input -> (Cast) -> Sub -> Mul -> (nodes that only move values) -> QuantizeLinear, each
    with one consumer, with one offset and scale a band, and one scale for the whole tensor.
    Does: removes those nodes but the moving ones, and gives the input the dtype of QuantizeLinear's output.
    Ensures: the new graph, on integers made by the affine, does what the old one does on counts, but for values that lie
    within rounding error of a half. A graph that begins otherwise is returned as it is, without an affine.
    """
    from onnx import numpy_helper

    front = _front(model)
    if front is None:
        return model, None
    values = {tensor.name: numpy_helper.to_array(tensor) for tensor in model.graph.initializer}
    step, zero_point = (values[name] for name in front.quantize.input[1:3])
    subtract, multiply = front.removed[-2:]
    offset, scale = ([_shortest(value) for value in values[node.input[1]].ravel()] for node in (subtract, multiply))
    affine = Affine(offset, scale, zero_point.dtype.name, int(zero_point), _shortest(step[()]))
    return _without(model, front, zero_point.dtype), affine


def _shortest(value: np.generic) -> float:
    """Of the decimals that are read as this float32, the shortest: what a Card keeps, and the adapter applies."""
    return float(str(value))


def _front(model: Any) -> _Front | None:
    graph = model.graph
    initializers = {tensor.name: tensor for tensor in graph.initializer}
    uses = Counter(name for node in graph.node for name in node.input)
    by_input = {node.input[0]: node for node in graph.node if node.input}
    bands = graph.input[0].type.tensor_type.shape.dim[1].dim_value
    removed: list[Any] = []
    moved: list[Any] = []
    name = graph.input[0].name
    while uses[name] == 1 and name in by_input:
        node = by_input[name]
        fixed = [initializers.get(entry) for entry in node.input[1:]]
        if node.op_type == "QuantizeLinear":
            whole = len(fixed) == 2 and all(entry is not None and not entry.dims for entry in fixed)
            kinds = [entry.op_type for entry in removed]
            return _Front(removed, moved, node) if whole and kinds in (["Sub", "Mul"], ["Cast", "Sub", "Mul"]) else None
        by_band = node.op_type in ("Sub", "Mul") and fixed[0] is not None and list(fixed[0].dims) == [bands, 1, 1]
        if not moved and (by_band or node.op_type == "Cast"):
            removed.append(node)
        elif removed and node.op_type in _MOVES_ONLY:
            moved.append(node)
        else:
            return None
        name = node.output[0]
    return None


def _without(model: Any, front: _Front, dtype: np.dtype[Any]) -> Any:
    from onnx import helper

    made = copy.deepcopy(model)
    graph = made.graph
    gone = {node.name for node in (*front.removed, front.quantize)}
    renamed = {front.removed[-1].output[0]: graph.input[0].name}
    renamed[front.quantize.output[0]] = renamed.get(front.quantize.input[0], front.quantize.input[0])
    kept = [node for node in graph.node if node.name not in gone]
    for node in kept:
        for place, name in enumerate(node.input):
            node.input[place] = renamed.get(name, name)
    del graph.node[:]
    graph.node.extend(kept)
    used = {name for node in kept for name in node.input}
    initializers = [tensor for tensor in graph.initializer if tensor.name in used]
    del graph.initializer[:]
    graph.initializer.extend(initializers)
    del graph.value_info[:]  # the moved tensors have changed their type
    graph.input[0].type.tensor_type.elem_type = helper.np_dtype_to_tensor_dtype(dtype)
    return made
