"""The operators that are lowered, and the rule for each: it takes a node, and gives a view of its first output."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

import tensorflow as tf

from hsiedge.graphs.operator_view import Rules
from hsiedge.graphs.tflite import conv, elementwise, shape_ops
from hsiedge.graphs.tflite.node import Node
from hsiedge.graphs.tflite.tensor_view import TensorView

SHAPE_OPS: dict[str, Callable[[Node], TensorView]] = {
    "Concat": shape_ops.concat,
    "Dropout": shape_ops.identity,
    "Flatten": shape_ops.flatten,
    "Gather": shape_ops.gather,
    "Identity": shape_ops.identity,
    "MaxPool": conv.max_pool,
    "Pad": shape_ops.pad,
    "Reshape": shape_ops.reshape,
    "Slice": shape_ops.slices,
    "Squeeze": shape_ops.squeeze,
    "Transpose": shape_ops.transpose,
    "Unsqueeze": shape_ops.unsqueeze,
}
"""Operators whose output has the values of their input: an integer graph keeps the scale for them."""
RULES = Rules[Node, TensorView](
    {
        **SHAPE_OPS,
        "Abs": partial(elementwise.pointwise, tf.abs),
        "Add": partial(elementwise.binary, tf.add),
        "AveragePool": conv.average_pool,
        "BatchNormalization": elementwise.batch_normalization,
        "Cast": elementwise.cast,
        "Clip": elementwise.clip,
        "Conv": conv.conv,
        "Div": partial(elementwise.binary, tf.divide),
        "Elu": partial(elementwise.pointwise, tf.nn.elu),
        "Exp": partial(elementwise.pointwise, tf.exp),
        "Gemm": conv.linear,
        "GlobalAveragePool": partial(conv.reduce, tf.reduce_mean),
        "GlobalMaxPool": partial(conv.reduce, tf.reduce_max),
        "HardSigmoid": elementwise.hard_sigmoid,
        "HardSwish": elementwise.hard_swish,
        "LeakyRelu": elementwise.leaky_relu,
        "MatMul": conv.linear,
        "Max": partial(elementwise.binary, tf.maximum),
        "Min": partial(elementwise.binary, tf.minimum),
        "Mul": partial(elementwise.binary, tf.multiply),
        "ReduceMax": partial(conv.reduce, tf.reduce_max),
        "ReduceMean": partial(conv.reduce, tf.reduce_mean),
        "ReduceSum": partial(conv.reduce, tf.reduce_sum),
        "Relu": partial(elementwise.pointwise, tf.nn.relu),
        "Sigmoid": partial(elementwise.pointwise, tf.sigmoid),
        "Softmax": elementwise.softmax,
        "Sqrt": partial(elementwise.pointwise, tf.sqrt),
        "Sub": partial(elementwise.binary, tf.subtract),
        "Tanh": partial(elementwise.pointwise, tf.tanh),
    },
    unknown="not among the operators that are converted to TFLite",
)
