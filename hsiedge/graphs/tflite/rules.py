"""The operators that are lowered, and the rule for each: it takes a node, and gives a view of its output, or one of each."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

import tensorflow as tf

from hsiedge.graphs.operator_view import Rules
from hsiedge.graphs.tflite import composed, conv, elementwise, shape_ops
from hsiedge.graphs.tflite.node import Node
from hsiedge.graphs.tflite.tensor_view import TensorView

Views = TensorView | list[TensorView]
SHAPE_OPS: dict[str, Callable[[Node], Views]] = {
    "Concat": shape_ops.concat,
    "Dropout": shape_ops.identity,
    "Flatten": shape_ops.flatten,
    "Gather": shape_ops.gather,
    "Identity": shape_ops.identity,
    "MaxPool": conv.pool,
    "Pad": shape_ops.pad,
    "Reshape": shape_ops.reshape,
    "Slice": shape_ops.slices,
    "Split": shape_ops.split,
    "Squeeze": shape_ops.squeeze,
    "Transpose": shape_ops.transpose,
    "Unsqueeze": shape_ops.unsqueeze,
}
"""Operators whose output has the values of their input: an integer graph keeps the scale for them."""
RULES = Rules[Node, Views](
    {
        **SHAPE_OPS,
        "Abs": partial(elementwise.pointwise, tf.abs),
        "Add": partial(elementwise.binary, tf.add),
        "AveragePool": conv.pool,
        "BatchNormalization": elementwise.batch_normalization,
        "Cast": elementwise.cast,
        "Clip": elementwise.clip,
        "Conv": conv.conv,
        "Div": partial(elementwise.binary, tf.divide),
        "Elu": elementwise.elu,
        "Erf": composed.erf,
        "Exp": partial(elementwise.pointwise, tf.exp),
        "Expand": composed.expand,
        "Gelu": composed.gelu,
        "Gemm": conv.linear,
        "GlobalAveragePool": partial(conv.reduce, tf.reduce_mean),
        "GlobalMaxPool": partial(conv.reduce, tf.reduce_max),
        "Greater": partial(elementwise.binary, tf.greater),
        "HardSigmoid": elementwise.hard_sigmoid,
        "HardSwish": elementwise.hard_swish,
        "LayerNormalization": composed.layer_normalization,
        "LeakyRelu": elementwise.leaky_relu,
        "Less": partial(elementwise.binary, tf.less),
        "Log": partial(elementwise.pointwise, tf.math.log),
        "MatMul": conv.linear,
        "Max": partial(elementwise.binary, tf.maximum),
        "Min": partial(elementwise.binary, tf.minimum),
        "Mish": partial(elementwise.pointwise, composed.mish),
        "Mul": partial(elementwise.binary, tf.multiply),
        "Neg": partial(elementwise.pointwise, tf.negative),
        "PRelu": composed.prelu,
        "Pow": partial(elementwise.binary, tf.pow),
        "Reciprocal": partial(elementwise.pointwise, tf.math.reciprocal),
        "ReduceL2": partial(conv.reduce, composed.norm),
        "ReduceMax": partial(conv.reduce, tf.reduce_max),
        "ReduceMean": partial(conv.reduce, tf.reduce_mean),
        "ReduceSum": partial(conv.reduce, tf.reduce_sum),
        "Relu": partial(elementwise.pointwise, tf.nn.relu),
        "Sigmoid": partial(elementwise.pointwise, tf.sigmoid),
        "Softmax": elementwise.softmax,
        "Softplus": partial(elementwise.pointwise, composed.softplus),
        "Sqrt": partial(elementwise.pointwise, tf.sqrt),
        "Sub": partial(elementwise.binary, tf.subtract),
        "Tanh": partial(elementwise.pointwise, tf.tanh),
        "Where": composed.where,
    },
    unknown="not among the operators that are converted to TFLite",
)
