"""Which operator becomes what. A rule takes a node and gives what its first output is held as."""

from __future__ import annotations

from collections.abc import Callable

from hsiedge.graphs.tflite import maps, moves, values
from hsiedge.graphs.tflite.held import Held
from hsiedge.graphs.tflite.node import Node

Rule = Callable[[Node], Held]
RULES: dict[str, Rule] = {
    **dict.fromkeys(values.POINTWISE, values.pointwise),
    **dict.fromkeys(values.BINARY, values.binary),
    **dict.fromkeys(("Gemm", "MatMul"), maps.linear),
    **dict.fromkeys(("Reshape", "Flatten"), moves.reshape),
    **dict.fromkeys(maps.REDUCED, maps.reduce),
    **dict.fromkeys(("Identity", "Dropout"), moves.identity),
    "AveragePool": maps.average_pool,
    "BatchNormalization": values.batch_normalization,
    "Concat": moves.concat,
    "Conv": maps.conv,
    "Gather": moves.gather,
    "MaxPool": maps.max_pool,
    "Pad": moves.pad,
    "Slice": moves.slices,
    "Softmax": values.softmax,
    "Squeeze": moves.squeeze,
    "Transpose": moves.transpose,
    "Unsqueeze": moves.unsqueeze,
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
