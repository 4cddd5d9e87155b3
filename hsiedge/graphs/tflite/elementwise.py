"""What is done value by value."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import numpy as np
import tensorflow as tf
from numpy.typing import NDArray

from hsiedge.graphs.tflite.node import Node
from hsiedge.graphs.tflite.tensor_view import Held, UnfitError


def batch_normalization(node: Node) -> Held:
    """Behind anything but a convolution, with which it is merged."""
    value = node.held()
    scale, shift, average, variance = (node.constant(place).astype(np.float64) for place in range(1, 5))
    factor = scale / np.sqrt(variance + node.attributes.get("epsilon", 1e-5))
    column = (-1, *[1] * (value.rank - 2))
    scaled = value.tensor * _broadcast(factor.reshape(column), value)
    return value.of(scaled + _broadcast((shift - average * factor).reshape(column), value))


def _broadcast(constant: NDArray[Any], value: Held) -> NDArray[Any]:
    """A constant, laid out as the tensor is."""
    if constant.ndim > value.rank:
        raise UnfitError("a constant of more axes than what it is put to")
    whole = constant.reshape((1,) * (value.rank - constant.ndim) + constant.shape)
    return whole.transpose(value.order).astype(np.float32)


BINARY: dict[str, Callable[[Any, Any], Any]] = {
    "Add": tf.add,
    "Sub": tf.subtract,
    "Mul": tf.multiply,
    "Div": tf.divide,
    "Max": tf.maximum,
    "Min": tf.minimum,
}


def binary(node: Node) -> Held:
    """Two values, or a value and a constant."""
    first, second = node.inputs[:2]
    operation = BINARY[node.kind]
    if isinstance(first, Held) and isinstance(second, Held):
        if first.rank != second.rank:
            raise UnfitError("values of different numbers of axes")
        wider, other = (
            (first, second.arranged(first.order))
            if _volume(first) >= _volume(second)
            else (second, first.arranged(second.order))
        )
        return wider.of(operation(wider.tensor, other.tensor) if wider is first else operation(other.tensor, wider.tensor))
    if isinstance(first, Held) and second is not None:
        return first.of(operation(first.tensor, _broadcast(np.asarray(second), first)))
    value = node.held(1)
    return value.of(operation(_broadcast(node.constant(0), value), value.tensor))


def _volume(value: Held) -> int:
    return math.prod(size.count for size in value.sizes)


def _leaky(node: Node, tensor: Any) -> Any:
    return tf.nn.leaky_relu(tensor, node.attributes.get("alpha", 0.01))


def _clip(node: Node, tensor: Any) -> Any:
    low, high = (node.optional(place) for place in (1, 2))
    limits = float(-np.inf if low is None else low), float(np.inf if high is None else high)
    if limits == (0.0, 6.0):
        return tf.nn.relu6(tensor)
    return tf.minimum(tf.maximum(tensor, limits[0]), limits[1])


def _hard_sigmoid(node: Node, tensor: Any) -> Any:
    slope, shift = np.float32(node.attributes.get("alpha", 0.2)), np.float32(node.attributes.get("beta", 0.5))
    return tf.minimum(tf.nn.relu(tensor * slope + shift), 1.0)


def _cast(node: Node, tensor: Any) -> Any:
    if node.attributes["to"] != 1:  # TensorProto.FLOAT
        raise UnfitError("casts to other than float32")
    return tf.cast(tensor, tf.float32)


POINTWISE: dict[str, Callable[[Node, Any], Any]] = {
    "Cast": _cast,
    "Clip": _clip,
    "Abs": lambda node, tensor: tf.abs(tensor),
    "Elu": lambda node, tensor: tf.nn.elu(tensor),
    "Exp": lambda node, tensor: tf.exp(tensor),
    "HardSigmoid": _hard_sigmoid,
    "HardSwish": lambda node, tensor: tensor * tf.nn.relu6(tensor + 3.0) * np.float32(1 / 6),
    "LeakyRelu": _leaky,
    "Relu": lambda node, tensor: tf.nn.relu(tensor),
    "Sigmoid": lambda node, tensor: tf.sigmoid(tensor),
    "Sqrt": lambda node, tensor: tf.sqrt(tensor),
    "Tanh": lambda node, tensor: tf.tanh(tensor),
}


def pointwise(node: Node) -> Held:
    """Value by value."""
    return node.held().of(POINTWISE[node.kind](node, node.held().tensor))


def softmax(node: Node) -> Held:
    """Over one axis."""
    value = node.held()
    axis = int(node.attributes.get("axis", -1)) % value.rank
    last = [entry for entry in value.order if entry != axis] + [axis]
    arranged = value.arranged(last)
    return arranged.of(tf.nn.softmax(arranged.tensor, axis=-1))
