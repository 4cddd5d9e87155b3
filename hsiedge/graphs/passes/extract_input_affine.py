"""Pass: a quantized graph takes integers, and its Card the per-band affine that makes them.

In a patch graph the affine stands behind the cutting of patches, so each pixel of a 13 x 13 patch net is scaled and rounded
169 times, in float32. In the runtime adapter it is done once a pixel, before patches are cut, and the patches are bytes.
A net that looks at single pixels keeps it: there a graph's nodes take less time than the adapter's calls.
"""

from __future__ import annotations

import copy
from collections import Counter
from typing import Any

import numpy as np

from hsiedge.card import Affine


def extract_input_affine(model: Any) -> tuple[Any, Affine | None]:
    """Takes the affine out of a graph.

    Requires: a QDQ graph that begins input -> (Cast) -> Sub -> Mul -> QuantizeLinear, each with one consumer, with one offset
    and scale a band, and one scale for the whole tensor (`hoist_quantize` has gone before).
    Does: removes those nodes, and gives the input the dtype of QuantizeLinear's output.
    Ensures: the new graph, on integers made by the affine, does what the old one does on counts, but for values that lie
    within rounding error of a half. A graph that begins otherwise, or takes single pixels, is returned as it is, without an
    affine.
    """
    from onnx import numpy_helper

    front = _front(model)
    if front is None or all(size.dim_value == 1 for size in model.graph.input[0].type.tensor_type.shape.dim[2:]):
        return model, None
    values = {tensor.name: numpy_helper.to_array(tensor) for tensor in model.graph.initializer}
    step, zero_point = (values[name] for name in front[-1].input[1:3])
    affine = Affine(*preprocessing_values(model, front[:-1]), zero_point.dtype.name, int(zero_point), shortest(step[()]))
    return _without(model, front, zero_point.dtype), affine


def preprocessing_values(model: Any, front: list[Any]) -> tuple[list[float], list[float]]:
    """Offset and scale of each band, of the nodes that `affine_front` found."""
    from onnx import numpy_helper

    values = {tensor.name: numpy_helper.to_array(tensor) for tensor in model.graph.initializer}
    offset, scale = ([shortest(value) for value in values[node.input[1]].ravel()] for node in front[-2:])
    return offset, scale


def shortest(value: np.generic) -> float:
    """Of the decimals that are read as this float32, the shortest: what a Card keeps, and the adapter applies."""
    return float(str(value))


def affine_front(model: Any) -> list[Any] | None:
    """The nodes (Cast,) Sub, Mul that a graph begins with, with one offset and scale a band; None where it begins otherwise."""
    graph = model.graph
    sizes = {tensor.name: list(tensor.dims) for tensor in graph.initializer}
    uses = Counter(name for node in graph.node for name in node.input)
    by_input = {node.input[0]: node for node in graph.node if node.input}
    bands = graph.input[0].type.tensor_type.shape.dim[1].dim_value
    found: list[Any] = []
    name = graph.input[0].name
    while uses[name] == 1 and name in by_input and (not found or found[-1].op_type != "Mul"):
        found.append(by_input[name])
        name = found[-1].output[0]
    if [node.op_type for node in found] not in (["Sub", "Mul"], ["Cast", "Sub", "Mul"]):
        return None
    by_band = all(sizes.get(node.input[1], [])[-3:] == [bands, 1, 1] for node in found[-2:])
    return found if by_band else None


def _front(model: Any) -> list[Any] | None:
    """The same, with the QuantizeLinear that alone takes what they make, of one scale and zero point."""
    found = affine_front(model)
    takers = [node for node in model.graph.node if found and found[-1].output[0] in node.input]
    if found is None or [node.op_type for node in takers] != ["QuantizeLinear"]:
        return None
    sizes = {tensor.name: list(tensor.dims) for tensor in model.graph.initializer}
    whole = len(takers[0].input) == 3 and all(sizes.get(entry) == [] for entry in takers[0].input[1:])
    return [*found, *takers] if whole else None


def _without(model: Any, front: list[Any], dtype: np.dtype[Any]) -> Any:
    from onnx import helper

    made = copy.deepcopy(model)
    graph = made.graph
    gone = {node.output[0] for node in front}
    integers = front[-1].output[0]
    kept = [node for node in graph.node if node.output[0] not in gone]
    for node in kept:
        for place, name in enumerate(node.input):
            node.input[place] = graph.input[0].name if name == integers else name
    del graph.node[:]
    graph.node.extend(kept)
    used = {name for node in kept for name in node.input}
    initializers = [tensor for tensor in graph.initializer if tensor.name in used]
    del graph.initializer[:]
    graph.initializer.extend(initializers)
    del graph.value_info[:]
    graph.input[0].type.tensor_type.elem_type = helper.np_dtype_to_tensor_dtype(dtype)
    return made
