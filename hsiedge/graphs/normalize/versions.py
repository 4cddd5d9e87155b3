"""Opsets and float16: graphs of PyTorch since 2018 are converted to our opset, and to float32."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import onnx_ir as ir

from hsiedge.errors import ModelError
from hsiedge.graphs.onnx_io import MAX_OPSET

if TYPE_CHECKING:
    from onnx import ModelProto

OPSET = 18
"""Opset that passes work in; graphs of 18 to 21 stay what they are."""


def to_our_opset(model: ModelProto) -> tuple[ModelProto, list[str]]:
    """The graph in an opset from 18 to 21, by ONNX's own converter, and a line that tells it.

    Raises:
        ModelError: an operator that the converter does not convert.
    """
    import onnx

    version = next((entry.version for entry in model.opset_import if entry.domain in ("", "ai.onnx")), 0)
    if OPSET <= version <= MAX_OPSET:
        return model, []
    wanted = OPSET if version < OPSET else MAX_OPSET
    try:
        converted = onnx.version_converter.convert_version(model, wanted)
    except Exception as error:  # the converter's own, of several types
        reason = " ".join(str(error).split())[:200]
        raise ModelError(f"opset {version} cannot be converted to {wanted}: {reason}; export it with opset {OPSET}") from error
    return converted, [f"opset {version} becomes {wanted}"]


def to_float32(model: ir.Model) -> list[str]:
    """Makes a graph of float16 one of float32, which holds all its numbers, and gives a line that tells it.

    Integer kernels, TFLite's converter and CPUs know no float16; sums are not rounded to it any more.
    """
    halves = (ir.DataType.FLOAT16, ir.DataType.BFLOAT16)
    values = [entry for graph in model.graphs() for entry in (*graph.inputs, *graph.initializers.values())]
    changed = False
    for node in model.graph.all_nodes():
        values += node.outputs
        for name, attribute in list(node.attributes.items()):
            if node.op_type == "Cast" and name == "to" and attribute.as_int() in halves:
                node.attributes[name] = ir.AttrInt64(name, ir.DataType.FLOAT.value)
            elif attribute.type == ir.AttributeType.TENSOR and attribute.as_tensor().dtype in halves:
                node.attributes[name] = ir.AttrTensor(name, ir.tensor(attribute.as_tensor().numpy().astype(np.float32)))
    for value in values:
        if value.dtype in halves:
            changed = True
            value.dtype = ir.DataType.FLOAT
            if value.const_value is not None:
                value.const_value = ir.tensor(value.const_value.numpy().astype(np.float32), name=value.name)
    return ["float16 becomes float32, which holds its numbers"] if changed else []
