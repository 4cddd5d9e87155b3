"""Operators on one value at a time, or on each with its partner."""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np
import tensorflow as tf
from onnx import TensorProto

from hsiedge.graphs.operator_view import Array, UnfitError
from hsiedge.graphs.tflite.node import Node
from hsiedge.graphs.tflite.tensor_view import TensorView


def pointwise(operation: Callable[[tf.Tensor], tf.Tensor], node: Node) -> TensorView:
    """One operation on all values."""
    value = node.computed()
    return value.of(operation(value.tensor))


def batch_normalization(node: Node) -> TensorView:
    """A normalization behind anything but a convolution, with which it is merged."""
    value, (factor, shift) = node.computed(), node.normalization()
    column = (-1, *[1] * (value.rank - 2))
    scaled = value.tensor * _broadcast(factor.reshape(column), value)
    return value.of(scaled + _broadcast(shift.reshape(column), value))


def _broadcast(constant: Array, value: TensorView) -> Array:
    """A constant, laid out as the tensor is."""
    if constant.ndim > value.rank:
        raise UnfitError("a constant of more axes than what it is put to")
    whole = constant.reshape((1,) * (value.rank - constant.ndim) + constant.shape)
    return whole.transpose(value.order).astype(np.float32)


def binary(operation: Callable[[tf.Tensor, tf.Tensor], tf.Tensor], node: Node) -> TensorView:
    """An operation on two values, or on a value and a constant."""
    first, second = node.operands[:2]
    if isinstance(first, TensorView) and isinstance(second, TensorView):
        if first.rank != second.rank:
            raise UnfitError("values of different numbers of axes")
        wider = first if _volume(first) >= _volume(second) else second
        return wider.of(operation(first.arranged(wider.order).tensor, second.arranged(wider.order).tensor))
    if isinstance(first, TensorView):
        return first.of(operation(first.tensor, _broadcast(node.required(1), first)))
    value = node.computed(1)
    return value.of(operation(_broadcast(node.required(0), value), value.tensor))


def _volume(value: TensorView) -> int:
    return math.prod(size.count for size in value.sizes)


def leaky_relu(node: Node) -> TensorView:
    """Negative values are multiplied with `alpha`."""
    value = node.computed()
    return value.of(tf.nn.leaky_relu(value.tensor, node.number("alpha")))


def clip(node: Node) -> TensorView:
    """Values are kept between two limits."""
    value, low, high = node.computed(), node.scalar("min", 1), node.scalar("max", 2)
    if (low, high) == (0.0, 6.0):
        return value.of(tf.nn.relu6(value.tensor))
    above = tf.maximum(value.tensor, -np.inf if low is None else low)
    return value.of(tf.minimum(above, np.inf if high is None else high))


def hard_sigmoid(node: Node) -> TensorView:
    """A line that is cut off at 0 and at 1."""
    value, slope, shift = node.computed(), np.float32(node.number("alpha")), np.float32(node.number("beta"))
    return value.of(tf.minimum(tf.nn.relu(value.tensor * slope + shift), 1.0))


def hard_swish(node: Node) -> TensorView:
    """Values times a line that is cut off at 0 and at 1."""
    value = node.computed()
    return value.of(value.tensor * tf.nn.relu6(value.tensor + 3.0) * np.float32(1 / 6))


def cast(node: Node) -> TensorView:
    """Other numbers as float32."""
    value = node.computed()
    if node.integer("to") != TensorProto.FLOAT:
        raise UnfitError("casts to other than float32")
    return value.of(tf.cast(value.tensor, tf.float32))


def softmax(node: Node) -> TensorView:
    """A softmax over one axis."""
    value = node.computed()
    axis = node.axis(value.rank)
    arranged = value.arranged([entry for entry in value.order if entry != axis] + [axis])
    return arranged.of(tf.nn.softmax(arranged.tensor, axis=-1))
