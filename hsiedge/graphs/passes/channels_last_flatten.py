"""Pass: maps are laid flat with channels last, as integer kernels keep them; a linear layer takes its weights in that order."""

from __future__ import annotations

import copy
import math
from typing import Any

import numpy as np
from numpy.typing import NDArray

from hsiedge.graphs.query import Links, sizes_of


def channels_last_flatten(model: Any) -> Any:
    """Spares integer graphs the transpose before their linear layers.

    Requires: a QDQ graph; sizes of maps `(n, channels, height, width)` are known.
    Does: where Flatten or Reshape makes `(n, channels * height * width)` of integer maps, for one Gemm alone, puts a Transpose
    before it, which onnxruntime cancels by its own, and the Gemm's weights into that order.
    Ensures: integers are the same.
    """
    from onnx import helper, numpy_helper

    made = copy.deepcopy(model)
    sizes, links = sizes_of(made), Links(made.graph)
    for node in [node for node in made.graph.node if node.op_type in ("Flatten", "Reshape")]:
        maps = sizes.get(node.input[0], ())
        gemm = links.taker(links.taker(node, "DequantizeLinear"), "Gemm")
        weight = links.stored(gemm.input[1]) if gemm is not None else None
        if gemm is None or weight is None or len(maps) != 4 or min(maps[1:]) < 1 or maps[1] == 1:
            continue
        if sizes.get(node.output[0], ())[1:] != (math.prod(maps[1:]),):
            continue
        scaled = links.makers[gemm.input[1]]
        values = _permuted(weight, maps[1:], any(entry.name == "transB" and entry.i for entry in gemm.attribute))
        made.graph.initializer.append(numpy_helper.from_array(values, f"{scaled.input[0]}_flat"))
        scaled.input[0] = f"{scaled.input[0]}_flat"
        last = f"{node.output[0]}_last"
        links.insert_before(node, [helper.make_node("Transpose", [node.input[0]], [last], name=last, perm=[0, 2, 3, 1])])
        node.input[0] = last
    return made


def _permuted(weight: NDArray[Any], maps: tuple[int, ...], transposed: bool) -> NDArray[Any]:
    """Weights `(outputs, inputs)`, or where not transposed `(inputs, outputs)`, for inputs with channels last."""
    order = np.arange(math.prod(maps)).reshape(maps).transpose(1, 2, 0).ravel()
    return np.ascontiguousarray(weight[:, order] if transposed else weight[order])
