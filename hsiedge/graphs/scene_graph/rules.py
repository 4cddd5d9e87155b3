"""Which operator becomes what."""

from __future__ import annotations

from collections.abc import Callable

from hsiedge.graphs.scene_graph.conv import conv, gemm
from hsiedge.graphs.scene_graph.elementwise import batch_normalization, binary, pointwise, softmax
from hsiedge.graphs.scene_graph.layout import Layout
from hsiedge.graphs.scene_graph.node import Node
from hsiedge.graphs.scene_graph.pool import pool, reduce
from hsiedge.graphs.scene_graph.shape_ops import concat, gather, pad, reshape, slices, split, transpose

POINTWISE = (
    "Abs",
    "Cast",
    "Ceil",
    "Celu",
    "Clip",
    "Elu",
    "Erf",
    "Exp",
    "Floor",
    "Gelu",
    "HardSigmoid",
    "HardSwish",
    "Identity",
    "LeakyRelu",
    "Log",
    "Mish",
    "Neg",
    "Reciprocal",
    "Relu",
    "Round",
    "Selu",
    "Sigmoid",
    "Sign",
    "Softplus",
    "Softsign",
    "Sqrt",
    "Tanh",
    "ThresholdedRelu",
)
Rule = Callable[[Node], list[Layout]]
RULES: dict[str, Rule] = {
    **dict.fromkeys(POINTWISE, pointwise),
    **dict.fromkeys(("Add", "Sub", "Mul", "Div", "Max", "Min", "Pow", "PRelu"), binary),
    **dict.fromkeys(("Reshape", "Flatten", "Squeeze", "Unsqueeze", "Dropout"), reshape),
    **dict.fromkeys(("MaxPool", "AveragePool"), pool),
    **dict.fromkeys(("GlobalAveragePool", "GlobalMaxPool", "ReduceMean", "ReduceMax", "ReduceSum"), reduce),
    **dict.fromkeys(("Gemm", "MatMul"), gemm),
    **dict.fromkeys(("Softmax", "LogSoftmax"), softmax),
    "BatchNormalization": batch_normalization,
    "Concat": concat,
    "Conv": conv,
    "Gather": gather,
    "GatherND": gather,
    "Pad": pad,
    "Slice": slices,
    "Split": split,
    "Transpose": transpose,
}
