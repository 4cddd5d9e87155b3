"""Pass: the average that ends a scene graph is taken of whole numbers. Two classes that tie then tie on every processor."""

from __future__ import annotations

import copy
from collections import Counter
from typing import Any

import numpy as np


def exact_mean(model: Any) -> Any:
    """Averages integers, and scales afterwards.

    Sums of scaled integers are rounded, in an order that differs between processors: where two classes have the same sum, now
    the one is ahead and now the other. Sums of whole numbers are exact in float32, up to 2^24, in any order.

    Requires: a QDQ graph with one output.
    Does: where that output is AveragePool of DequantizeLinear with one scale, whose values nobody else takes, gives the latter
    the scale 1, and multiplies by the scale behind the former.
    Ensures: labels do not depend on the order of the sums, and logits are the same but for rounding. A graph that ends
    otherwise is returned as it is.
    """
    from onnx import helper, numpy_helper

    made = copy.deepcopy(model)
    graph = made.graph
    makers = {name: node for node in graph.node for name in node.output}
    uses = Counter(name for node in graph.node for name in node.input)
    single = {tensor.name for tensor in graph.initializer if not tensor.dims}
    logits = graph.output[0].name
    pool = makers.get(logits)
    values = makers.get(pool.input[0]) if pool is not None and pool.op_type == "AveragePool" else None
    if pool is None or values is None or values.op_type != "DequantizeLinear" or uses[values.output[0]] > 1:
        return model
    scale = values.input[1]
    if scale not in single:
        return model
    one, average = f"{logits}_one", f"{logits}_average"
    graph.initializer.append(numpy_helper.from_array(np.array(1, np.float32), one))
    values.input[1] = one
    pool.output[0] = average
    graph.node.append(helper.make_node("Mul", [average, scale], [logits], name=f"{logits}_scaled"))
    return made
