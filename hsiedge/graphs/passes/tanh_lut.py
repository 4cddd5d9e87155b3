"""Pass: tanh of bytes is looked up in a table. onnxruntime has none for tanh, but has one for sigmoid."""

from __future__ import annotations

import copy
from collections import Counter
from typing import Any

import numpy as np

STEPS = 127  # bytes in each unit of a tanh: -1 is 0, 0 is 127 and 1 is 254; LiteRT fixes its scale likewise
_MOVES = ("Flatten", "Reshape", "Squeeze", "Transpose", "Unsqueeze")


def fix_tanh(model: Any, ranges: Any) -> None:
    """Gives what Tanh made, moved or not, the range of which a quantizer makes `STEPS` steps a unit.

    Args:
        ranges: onnxruntime's `TensorsData`, which is changed.
    """
    from onnxruntime.quantization.calibrate import TensorData

    found: set[str] = set()
    for node in model.graph.node:
        if node.op_type == "Tanh" or (node.op_type in _MOVES and node.input[0] in found):
            found.add(node.output[0])
    limits = {"lowest": np.array(-1, np.float32), "highest": np.array((255 - STEPS) / STEPS, np.float32)}
    ranges.data.update({name: TensorData(**limits) for name in found if name in ranges.data})


def tanh_lut(model: Any) -> Any:
    """Has onnxruntime look tanh up (its QLinearSigmoid), in the place of three passes through float.

    tanh(x) = 2 sigmoid(2 x) - 1, so that with its range fixed both have the same integers, which stand for other numbers.

    Requires: a QDQ graph.
    Does: DequantizeLinear, Tanh and QuantizeLinear to uint8 with `STEPS` steps a unit become DequantizeLinear of twice the
    scale, Sigmoid, and QuantizeLinear with half as large steps, from 0 on.
    Ensures: integers are the same, but for what lies within float's rounding error of a half.
    """
    from onnx import helper, numpy_helper

    made = copy.deepcopy(model)
    graph = made.graph
    values = {tensor.name: numpy_helper.to_array(tensor) for tensor in graph.initializer}
    makers = {name: node for node in graph.node for name in node.output}
    uses = Counter(name for node in graph.node for name in node.input)
    for node in graph.node:
        tanh = makers.get(node.input[0]) if node.op_type == "QuantizeLinear" else None
        taken = makers.get(tanh.input[0]) if tanh is not None and tanh.op_type == "Tanh" else None
        if tanh is None or taken is None or taken.op_type != "DequantizeLinear" or uses[tanh.output[0]] > 1:
            continue
        if uses[taken.output[0]] > 1 or not _is_fixed(node, values) or values[taken.input[1]].ndim:
            continue
        name = tanh.output[0]
        constants = {
            f"{name}_doubled": 2 * values[taken.input[1]],
            f"{name}_step": np.array(1 / (2 * STEPS), np.float32),
            f"{name}_from": np.array(0, np.uint8),
        }
        graph.initializer.extend(numpy_helper.from_array(value, key) for key, value in constants.items())
        taken.input[1], node.input[1], node.input[2] = constants
        tanh.CopyFrom(helper.make_node("Sigmoid", list(tanh.input), list(tanh.output), name=tanh.name))
    return made


def _is_fixed(node: Any, values: dict[str, Any]) -> bool:
    scale, zero_point = (values.get(name) for name in (*node.input[1:], "")[:2])
    if scale is None or zero_point is None or zero_point.dtype != np.uint8 or zero_point.ndim:
        return False
    return int(zero_point) == STEPS and bool(np.isclose(scale, 1 / STEPS, rtol=1e-5))
