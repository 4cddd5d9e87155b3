"""Pass: the average that ends a scene graph is taken of whole numbers. Two classes that tie then tie on every processor."""

from __future__ import annotations

import numpy as np
import onnx_ir as ir

from hsiedge.graphs.edit import (
    array_of,
    constant,
    forget_type,
    maker_of,
    name_of,
    operator,
    replace_value,
    taken,
    use_count,
)
from hsiedge.graphs.passes.graph_pass import GraphPass


class ExactMean(GraphPass):
    """Averages integers, and scales afterwards.

    Sums of scaled integers are rounded, in an order that differs between processors: where two classes have the same sum, now
    the one is ahead and now the other. Sums of whole numbers are exact in float32, up to 2^24, in any order.

    Requires: nothing; a graph that ends otherwise stays as it is.
    Does: where the first output is AveragePool of DequantizeLinear with one scale, whose values nobody else takes, gives the
    latter the scale 1, and multiplies by the scale behind the former.
    Ensures: labels do not depend on the order of the sums, and logits are the same but for rounding.
    """

    def rewrite(self, model: ir.Model) -> str:
        pool = _last_mean(model.graph)
        if pool is None:
            return ""
        logits, dequantize = pool.outputs[0], taken(pool).producer()
        assert dequantize is not None
        name, scale = name_of(logits), taken(dequantize, 1)
        dequantize.replace_input_with(1, constant(model.graph, f"{name}_one", np.array(1, np.float32)))
        scaled = operator("Mul", [logits, scale], name, f"{name}_scaled")
        replace_value(logits, scaled.outputs[0])
        scaled.replace_input_with(0, logits)
        logits.name = f"{name}_average"
        forget_type(logits)
        model.graph.append(scaled)
        return "the last average is taken of whole numbers"

    def fault(self, model: ir.Model) -> str:
        return "the last average is one of scaled integers" if _last_mean(model.graph) is not None else ""


def _last_mean(graph: ir.Graph) -> ir.Node | None:
    """The AveragePool that makes the output of scaled integers, which it alone takes."""
    pool = maker_of(graph.outputs[0], "AveragePool")
    dequantize = maker_of(pool.inputs[0], "DequantizeLinear") if pool is not None else None
    if dequantize is None or use_count(dequantize.outputs[0]) > 1:
        return None
    scale = array_of(dequantize.inputs[1])
    return pool if scale is not None and not scale.ndim else None
