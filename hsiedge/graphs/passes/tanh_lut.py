"""Pass: tanh of bytes is looked up in a table. onnxruntime has none for tanh, but has one for sigmoid."""

from __future__ import annotations

import numpy as np
import onnx_ir as ir

from hsiedge.graphs.edit import array_of, constant, maker_of, name_of, taken, use_count
from hsiedge.graphs.passes.graph_pass import GraphPass

STEPS = 127  # bytes in each unit of a tanh: -1 is 0, 0 is 127 and 1 is 254; LiteRT fixes its scale likewise


class TanhLut(GraphPass):
    """Has onnxruntime look tanh up (its QLinearSigmoid), in the place of three passes through float.

    tanh(x) = 2 sigmoid(2 x) - 1, so that with its range fixed both have the same integers, which stand for other numbers.

    Requires: nothing; only a QDQ graph has something to look up.
    Does: DequantizeLinear, Tanh and QuantizeLinear to uint8 with `STEPS` steps a unit become DequantizeLinear of twice the
    scale, Sigmoid, and QuantizeLinear with half as large steps, from 0 on.
    Ensures: integers are the same, but for what lies within float's rounding error of a half; no such Tanh is left.
    """

    def rewrite(self, model: ir.Model) -> str:
        count = 0
        for node in model.graph:
            tanh = _fixed_tanh(node)
            if tanh is not None:
                _look_up(model.graph, tanh, node)
                count += 1
        return f"tanh is looked up in {count} tables" if count else ""

    def fault(self, model: ir.Model) -> str:
        return "a tanh of bytes is computed in float" if any(_fixed_tanh(node) for node in model.graph) else ""


def _fixed_tanh(quantize: ir.Node) -> ir.Node | None:
    """The Tanh of dequantized bytes that a QuantizeLinear alone takes, and rounds to `STEPS` steps a unit."""
    tanh = maker_of(quantize.inputs[0], "Tanh") if quantize.op_type == "QuantizeLinear" else None
    dequantize = maker_of(tanh.inputs[0], "DequantizeLinear") if tanh is not None else None
    if tanh is None or dequantize is None or max(use_count(node.outputs[0]) for node in (tanh, dequantize)) > 1:
        return None
    scale = array_of(dequantize.inputs[1])
    return tanh if scale is not None and not scale.ndim and _is_fixed(quantize) else None


def _look_up(graph: ir.Graph, tanh: ir.Node, quantize: ir.Node) -> None:
    name, dequantize = name_of(tanh.outputs[0]), taken(tanh).producer()
    assert dequantize is not None
    scale = array_of(dequantize.inputs[1])
    assert scale is not None
    dequantize.replace_input_with(1, constant(graph, f"{name}_doubled", 2 * scale))
    quantize.replace_input_with(1, constant(graph, f"{name}_step", np.array(1 / (2 * STEPS), np.float32)))
    quantize.replace_input_with(2, constant(graph, f"{name}_from", np.array(0, np.uint8)))
    tanh.op_type = "Sigmoid"


def _is_fixed(quantize: ir.Node) -> bool:
    if len(quantize.inputs) < 3:
        return False
    scale, zero_point = (array_of(value) for value in quantize.inputs[1:3])
    if scale is None or zero_point is None or zero_point.dtype != np.uint8 or zero_point.ndim:
        return False
    return int(zero_point) == STEPS and bool(np.isclose(scale, 1 / STEPS, rtol=1e-5))
