"""Which operator becomes what. A rule takes a node and gives what its first output is held as."""

from __future__ import annotations

from collections.abc import Callable

from hsiedge.graphs.tflite import conv, elementwise, shape_ops
from hsiedge.graphs.tflite.node import Node
from hsiedge.graphs.tflite.tensor_view import Held

Rule = Callable[[Node], Held]
RULES: dict[str, Rule] = {
    **dict.fromkeys(elementwise.POINTWISE, elementwise.pointwise),
    **dict.fromkeys(elementwise.BINARY, elementwise.binary),
    **dict.fromkeys(("Gemm", "MatMul"), conv.linear),
    **dict.fromkeys(("Reshape", "Flatten"), shape_ops.reshape),
    **dict.fromkeys(conv.REDUCED, conv.reduce),
    **dict.fromkeys(("Identity", "Dropout"), shape_ops.identity),
    "AveragePool": conv.average_pool,
    "BatchNormalization": elementwise.batch_normalization,
    "Concat": shape_ops.concat,
    "Conv": conv.conv,
    "Gather": shape_ops.gather,
    "MaxPool": conv.max_pool,
    "Pad": shape_ops.pad,
    "Slice": shape_ops.slices,
    "Softmax": elementwise.softmax,
    "Squeeze": shape_ops.squeeze,
    "Transpose": shape_ops.transpose,
    "Unsqueeze": shape_ops.unsqueeze,
}
MOVES = frozenset(
    (
        "Concat",
        "Dropout",
        "Flatten",
        "Gather",
        "Identity",
        "MaxPool",
        "Pad",
        "Reshape",
        "Slice",
        "Squeeze",
        "Transpose",
        "Unsqueeze",
    )
)
"""Operators whose output has the values of their input: what an integer graph keeps the scale for."""
