"""Graphs in which several nodes share one 8-bit tensor, as hsiedge 0.1.0 wrote them. Importing it needs onnx."""

from __future__ import annotations

import copy
from collections import Counter
from typing import Any

import numpy as np
from onnx import TensorProto, numpy_helper


def sharing(model: Any) -> Any:
    """The graph as hsiedge 0.1.0 wrote it: weights have zero points, and equal 8-bit tensors are one."""
    shared, first, same = copy.deepcopy(model), {}, {}
    _add_zero_points(shared.graph)
    for tensor in list(shared.graph.initializer):
        key = (tensor.data_type, tuple(tensor.dims), tensor.raw_data)
        if tensor.data_type == TensorProto.INT8 and key in first:
            same[tensor.name] = first[key]
            shared.graph.initializer.remove(tensor)
        first.setdefault(key, tensor.name)
    for node in shared.graph.node:
        for place, name in enumerate(node.input):
            node.input[place] = same.get(name, name)
    assert same
    return shared


def _add_zero_points(graph: Any) -> None:
    """Gives each 8-bit weight that has none a zero point of its own."""
    tensors = {tensor.name: tensor for tensor in graph.initializer}
    for node in graph.node:
        weight = tensors.get(node.input[0]) if node.op_type == "DequantizeLinear" and len(node.input) == 2 else None
        if weight is not None and weight.data_type == TensorProto.INT8:
            zeros = np.zeros(tensors[node.input[1]].dims, np.int8)
            node.input.append(f"{weight.name}_zero_point")
            graph.initializer.append(numpy_helper.from_array(zeros, node.input[2]))


def shared_by(model: Any) -> list[str]:
    """Names of 8-bit initializers that more than one input of a node takes."""
    uses = Counter(name for node in model.graph.node for name in node.input)
    return [entry.name for entry in model.graph.initializer if entry.data_type == TensorProto.INT8 and uses[entry.name] > 1]
