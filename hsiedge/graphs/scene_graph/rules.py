"""The operators that a scene graph is made of, and the rule for each: it takes a node, and gives the layouts of its outputs."""

from __future__ import annotations

from hsiedge.graphs.operator_view import Rules
from hsiedge.graphs.scene_graph.conv import conv, gemm
from hsiedge.graphs.scene_graph.elementwise import batch_normalization, binary, pointwise, softmax
from hsiedge.graphs.scene_graph.layout import Layout
from hsiedge.graphs.scene_graph.node import Node
from hsiedge.graphs.scene_graph.pool import pool, reduce
from hsiedge.graphs.scene_graph.shape_ops import concat, gather, gather_nd, pad, reshape, slices, split, transpose

RULES = Rules[Node, list[Layout]](
    {
        "Abs": pointwise,
        "Add": binary,
        "AveragePool": pool,
        "BatchNormalization": batch_normalization,
        "Cast": pointwise,
        "Ceil": pointwise,
        "Celu": pointwise,
        "Clip": pointwise,
        "Concat": concat,
        "Conv": conv,
        "Div": binary,
        "Dropout": reshape,
        "Elu": pointwise,
        "Erf": pointwise,
        "Exp": pointwise,
        "Flatten": reshape,
        "Floor": pointwise,
        "Gather": gather,
        "GatherND": gather_nd,
        "Gelu": pointwise,
        "Gemm": gemm,
        "GlobalAveragePool": reduce,
        "GlobalMaxPool": reduce,
        "HardSigmoid": pointwise,
        "HardSwish": pointwise,
        "Identity": pointwise,
        "LeakyRelu": pointwise,
        "Log": pointwise,
        "LogSoftmax": softmax,
        "MatMul": gemm,
        "Max": binary,
        "MaxPool": pool,
        "Min": binary,
        "Mish": pointwise,
        "Mul": binary,
        "Neg": pointwise,
        "PRelu": binary,
        "Pad": pad,
        "Pow": binary,
        "Reciprocal": pointwise,
        "ReduceMax": reduce,
        "ReduceMean": reduce,
        "ReduceSum": reduce,
        "Relu": pointwise,
        "Reshape": reshape,
        "Round": pointwise,
        "Selu": pointwise,
        "Sigmoid": pointwise,
        "Sign": pointwise,
        "Slice": slices,
        "Softmax": softmax,
        "Softplus": pointwise,
        "Softsign": pointwise,
        "Split": split,
        "Sqrt": pointwise,
        "Squeeze": reshape,
        "Sub": binary,
        "Tanh": pointwise,
        "ThresholdedRelu": pointwise,
        "Transpose": transpose,
        "Unsqueeze": reshape,
    },
    unknown="no scene graph is known for this operator",
)
