"""The operators that are lowered, and the rule for each: it takes a node, and gives a view of its first output."""

from __future__ import annotations

from functools import partial

import tensorflow as tf

from hsiedge.graphs.operator_view import Rules
from hsiedge.graphs.tflite.conv import average_pool, conv, linear, max_pool, reduce
from hsiedge.graphs.tflite.elementwise import (
    batch_normalization,
    binary,
    cast,
    clip,
    hard_sigmoid,
    hard_swish,
    leaky_relu,
    pointwise,
    softmax,
)
from hsiedge.graphs.tflite.node import Node
from hsiedge.graphs.tflite.shape_ops import (
    concat,
    flatten,
    gather,
    identity,
    pad,
    reshape,
    slices,
    squeeze,
    transpose,
    unsqueeze,
)
from hsiedge.graphs.tflite.tensor_view import TensorView

RULES = Rules[Node, TensorView](
    {
        "Abs": partial(pointwise, tf.abs),
        "Add": partial(binary, tf.add),
        "AveragePool": average_pool,
        "BatchNormalization": batch_normalization,
        "Cast": cast,
        "Clip": clip,
        "Concat": concat,
        "Conv": conv,
        "Div": partial(binary, tf.divide),
        "Dropout": identity,
        "Elu": partial(pointwise, tf.nn.elu),
        "Exp": partial(pointwise, tf.exp),
        "Flatten": flatten,
        "Gather": gather,
        "Gemm": linear,
        "GlobalAveragePool": partial(reduce, tf.reduce_mean),
        "GlobalMaxPool": partial(reduce, tf.reduce_max),
        "HardSigmoid": hard_sigmoid,
        "HardSwish": hard_swish,
        "Identity": identity,
        "LeakyRelu": leaky_relu,
        "MatMul": linear,
        "Max": partial(binary, tf.maximum),
        "MaxPool": max_pool,
        "Min": partial(binary, tf.minimum),
        "Mul": partial(binary, tf.multiply),
        "Pad": pad,
        "ReduceMax": partial(reduce, tf.reduce_max),
        "ReduceMean": partial(reduce, tf.reduce_mean),
        "ReduceSum": partial(reduce, tf.reduce_sum),
        "Relu": partial(pointwise, tf.nn.relu),
        "Reshape": reshape,
        "Sigmoid": partial(pointwise, tf.sigmoid),
        "Slice": slices,
        "Softmax": softmax,
        "Sqrt": partial(pointwise, tf.sqrt),
        "Squeeze": squeeze,
        "Sub": partial(binary, tf.subtract),
        "Tanh": partial(pointwise, tf.tanh),
        "Transpose": transpose,
        "Unsqueeze": unsqueeze,
    },
    unknown="not among the operators that are converted to TFLite",
)
KEEPS_SCALE = frozenset(
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
"""Operators whose output has the values of their input: an integer graph keeps the scale for them."""
