"""Operators on one value at a time, or on each with its partner."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence

import numpy as np
import tensorflow as tf
from onnx import TensorProto

from hsiedge.graphs.operator_view import Array, UnfitError
from hsiedge.graphs.tflite.node import Node
from hsiedge.graphs.tflite.tensor_view import Size, TensorView


def pointwise(operation: Callable[[tf.Tensor], tf.Tensor], node: Node) -> TensorView:
    """One operation on all values."""
    value = node.computed()
    return value.of(operation(value.tensor))


def batch_normalization(node: Node) -> TensorView:
    """A normalization behind anything but a convolution, with which it is merged."""
    value, (factor, shift) = node.computed(), node.normalization()
    column = (-1, *[1] * (value.rank - 2))
    scaled = value.tensor * broadcast(factor.reshape(column), value)
    return value.of(scaled + broadcast(shift.reshape(column), value))


def broadcast(constant: Array, value: TensorView) -> Array:
    """A constant, laid out as the tensor is."""
    if constant.ndim > value.rank:
        raise UnfitError("a constant of more axes than what it is put to")
    whole = constant.reshape((1,) * (value.rank - constant.ndim) + constant.shape)
    return whole.transpose(value.order).astype(np.float32)


def binary(operation: Callable[[tf.Tensor, tf.Tensor], tf.Tensor], node: Node) -> TensorView:
    """An operation on two values, or on a value and a constant."""
    if len(node.operands) != 2:
        raise UnfitError(f"it takes {len(node.operands)} values, where two are translated")
    first, second = node.operands
    if isinstance(first, TensorView) and isinstance(second, TensorView):
        return _both(operation, first, second)
    if isinstance(first, TensorView):
        first = repeated(first, node.required(1).shape)
        return first.of(operation(first.tensor, broadcast(node.required(1), first)))
    value = repeated(node.computed(1), node.required(0).shape)
    return value.of(operation(broadcast(node.required(0), value), value.tensor))


def _both(operation: Callable[[tf.Tensor, tf.Tensor], tf.Tensor], first: TensorView, second: TensorView) -> TensorView:
    """Two values, each of which may be broadcast over the other."""
    rank = max(first.rank, second.rank)
    first, second = first.of_rank(rank), second.of_rank(rank)
    wider = first if _volume(first) >= _volume(second) else second
    sizes = tuple(two if one.trivial else one for one, two in zip(first.sizes, second.sizes))
    result = operation(first.arranged(wider.order).tensor, second.arranged(wider.order).tensor)
    return TensorView(result, wider.order, sizes)


def repeated(value: TensorView, shape: Sequence[int]) -> TensorView:
    """A value broadcast to a shape, which may have more axes in front: repeated along axes of one position."""
    rank = max(value.rank, len(shape))
    value = value.of_rank(rank)
    wanted = [1] * (rank - len(shape)) + list(shape)
    sizes = [Size(size) if mine.trivial else mine for mine, size in zip(value.sizes, wanted)]
    if sizes == list(value.sizes):
        return value
    counts = [new.count if new != old else 1 for old, new in zip(value.sizes, sizes)]
    return TensorView(tf.tile(value.tensor, [counts[axis] for axis in value.order]), value.order, tuple(sizes))


def _volume(value: TensorView) -> int:
    return math.prod(size.count for size in value.sizes)


def elu(node: Node) -> TensorView:
    """Negative values x become `alpha` * (exp(x) - 1)."""
    value, alpha = node.computed(), np.float32(node.number("alpha"))
    if alpha == 1:
        return value.of(tf.nn.elu(value.tensor))
    return value.of(tf.nn.relu(value.tensor) + alpha * tf.nn.elu(-tf.nn.relu(-value.tensor)))


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
