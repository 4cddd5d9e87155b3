"""Convolutions, products and means: what has weights or windows."""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import tensorflow as tf
from numpy.typing import NDArray

from hsiedge.graphs.tflite.node import Node
from hsiedge.graphs.tflite.shape_ops import padded
from hsiedge.graphs.tflite.tensor_view import Held, Size, UnfitError

_MAPS = (0, 2, 3, 1)  # (N, channels, y, x) as (N, y, x, channels)
_VOLUMES = (0, 2, 3, 4, 1)
_SMALLEST = 1e-12  # of a range: one of weights that are all 0


def rounded(weight: NDArray[Any], integer: bool) -> Any:
    """Weights with output channels last; as an integer graph will have them: 8 bits, symmetric, a scale a channel."""
    values = np.ascontiguousarray(weight, np.float32)
    if not integer:
        return values
    limit = np.maximum(np.abs(values).max(tuple(range(values.ndim - 1))), _SMALLEST)
    return tf.quantization.fake_quant_with_min_max_vars_per_channel(values, -limit, limit, num_bits=8, narrow_range=True)


def conv(node: Node) -> Held:
    """Convolutions along one, two or three axes. One along one axis is a 2-D one on maps of one row."""
    value, weight, bias = node.held(), node.constant(1), node.optional(2)
    axes = weight.ndim - 2
    padded = _padded(node, value, axes)
    strides, dilations = node.ints("strides", [1] * axes), node.ints("dilations", [1] * axes)
    if axes == 1:
        padded = padded.reshaped([*padded.sizes[:2], Size(1), padded.sizes[2]])
        weight, strides, dilations = weight[:, :, None], [1, *strides], [1, *dilations]
    groups = int(node.attributes.get("group", 1))
    if axes == 3:
        if groups > 1 or node.integer:
            raise UnfitError("a 3-D convolution in groups, or in an integer graph; TFLite has none")
        made = tf.nn.conv3d(
            padded.arranged(_VOLUMES).tensor,
            weight.transpose(2, 3, 4, 1, 0),
            [1, *strides, 1],
            "VALID",
            dilations=[1, *dilations, 1],
        )
        return _maps(made if bias is None else tf.nn.bias_add(made, bias), padded.sizes[0], _VOLUMES)
    made = convolved(padded, weight, bias, strides, dilations, groups, node.integer)
    return made if axes == 2 else made.reshaped([*made.sizes[:2], made.sizes[3]])


def convolved(
    value: Held,
    weight: NDArray[Any],
    bias: NDArray[Any] | None,
    strides: Sequence[int],
    dilations: Sequence[int],
    groups: int,
    integer: bool,
) -> Held:
    """A 2-D convolution without padding, `weight` in ONNX's order `(outputs, inputs / groups, y, x)`."""
    maps = value.arranged(_MAPS).tensor
    channels = value.sizes[1].count
    if groups > 1 and groups == channels:
        outputs, _, rows, columns = weight.shape
        kernel = rounded(weight[:, 0].transpose(1, 2, 0), integer)
        kernel = tf.reshape(kernel, [rows, columns, channels, outputs // channels])
        made = tf.nn.depthwise_conv2d(maps, kernel, [1, *strides, 1], "VALID", dilations=list(dilations))
    else:
        made = tf.nn.conv2d(
            maps, rounded(weight.transpose(2, 3, 1, 0), integer), list(strides), "VALID", dilations=list(dilations)
        )
    return _maps(made if bias is None else tf.nn.bias_add(made, bias.astype(np.float32)), value.sizes[0], _MAPS)


def _maps(tensor: Any, batch: Size, order: tuple[int, ...]) -> Held:
    sizes = [batch if axis == 0 else Size(int(tensor.shape[order.index(axis)])) for axis in range(len(order))]
    return Held(tensor, order, tuple(sizes))


def _padded(node: Node, value: Held, axes: int) -> Held:
    if node.attributes.get("auto_pad", b"NOTSET") not in (b"NOTSET", b"VALID"):
        raise UnfitError("pads by auto_pad")
    pads = node.ints("pads", [0] * (2 * axes))
    return padded(value, [(0, 0), (0, 0), *zip(pads[:axes], pads[axes:])])


def linear(node: Node) -> Held:
    """Gemm and MatMul, as 1x1 convolutions: their weights have a scale a channel then."""
    value, weight, attributes = node.held(), node.constant(1), node.attributes
    if weight.ndim != 2 or attributes.get("transA", 0) or not 2 <= value.rank <= 4:
        raise UnfitError("a product of other than (N, ..., inputs) with a matrix of weights")
    outputs_first = weight if attributes.get("transB", 0) else weight.T
    scaled = (outputs_first * np.float32(attributes.get("alpha", 1.0)))[:, :, None, None]
    bias = node.optional(2)
    shift = None if bias is None else np.broadcast_to(np.ravel(bias * np.float32(attributes.get("beta", 1.0))), len(scaled))
    batch, *between, inputs = value.sizes
    points = value.reshaped([batch, *([Size(1)] * (4 - value.rank)), *between, inputs]).relabelled((0, 3, 1, 2))
    made = convolved(points, scaled, shift, (1, 1), (1, 1), 1, node.integer).relabelled((0, 2, 3, 1))
    return made.reshaped([batch, *between, Size(len(scaled))])


def max_pool(node: Node) -> Held:
    """The largest of a window. TFLite's own is not dilated: of those the largest of shifted maps is taken."""
    value, kernel, strides, dilations = _window(node)
    maps = value.arranged(_MAPS).tensor
    if set(dilations) == {1}:
        made = tf.nn.max_pool2d(maps, kernel, strides, "VALID")
    else:
        rows, columns = (
            int(maps.shape[axis]) - dilation * (size - 1) for axis, dilation, size in zip((1, 2), dilations, kernel)
        )
        shifted = [
            maps[:, y * dilations[0] :, x * dilations[1] :][:, : rows : strides[0], : columns : strides[1]]
            for y, x in itertools.product(range(kernel[0]), range(kernel[1]))
        ]
        made = shifted[0]
        for other in shifted[1:]:
            made = tf.maximum(made, other)
    return _spatial(node, _maps(made, value.sizes[0], _MAPS))


def average_pool(node: Node) -> Held:
    """The mean of a window."""
    value, kernel, strides, dilations = _window(node)
    return _spatial(node, averaged(value, kernel, strides, dilations, node.integer))


def averaged(value: Held, kernel: Sequence[int], strides: Sequence[int], dilations: Sequence[int], integer: bool) -> Held:
    """Means over windows. TFLite's integer means have the scale of what they are taken of; a convolution has its own."""
    if not integer and set(dilations) == {1}:
        return _maps(
            tf.nn.avg_pool2d(value.arranged(_MAPS).tensor, list(kernel), list(strides), "VALID"), value.sizes[0], _MAPS
        )
    channels = value.sizes[1].count
    weight = np.full((channels, 1, *kernel), 1 / math.prod(kernel), np.float32)
    return convolved(value, weight, None, strides, dilations, channels, integer)


def _window(node: Node) -> tuple[Held, list[int], list[int], list[int]]:
    """A pool's input with two axes in space, its kernel, strides and dilations."""
    value, kernel = node.held(), node.ints("kernel_shape", ())
    strides, dilations = node.ints("strides", [1] * len(kernel)), node.ints("dilations", [1] * len(kernel))
    if (
        any(node.ints("pads", ()))
        or node.attributes.get("ceil_mode", 0)
        or node.attributes.get("auto_pad", b"NOTSET") not in (b"NOTSET", b"VALID")
    ):
        raise UnfitError("a pool over padding")
    if len(kernel) == 1:
        value = value.reshaped([*value.sizes[:2], Size(1), value.sizes[2]])
        kernel, strides, dilations = [1, *kernel], [1, *strides], [1, *dilations]
    if len(kernel) != 2:
        raise UnfitError("a pool along three axes")
    return value, kernel, strides, dilations


def _spatial(node: Node, made: Held) -> Held:
    """A pool's output with as many axes as its input had."""
    return made if node.held().rank == 4 else made.reshaped([*made.sizes[:2], made.sizes[3]])


REDUCED: dict[str, Callable[..., Any]] = {
    "ReduceMax": tf.reduce_max,
    "ReduceMean": tf.reduce_mean,
    "ReduceSum": tf.reduce_sum,
    "GlobalAveragePool": tf.reduce_mean,
    "GlobalMaxPool": tf.reduce_max,
}


def reduce(node: Node) -> Held:
    """One value of all along some axes. Means of maps are windows as large as these."""
    value = node.held()
    given = list(range(2, value.rank)) if node.kind.startswith("Global") else node.numbers(1, "axes")
    if not given:
        raise UnfitError("reduces along axes that are not named")
    axes = sorted(axis % value.rank for axis in given)
    if any(value.sizes[axis].batched for axis in axes):
        raise UnfitError("reduces over the patches of a batch")
    sizes = [Size(1) if axis in axes else size for axis, size in enumerate(value.sizes)]
    if REDUCED[node.kind] is tf.reduce_mean and value.rank == 4 and axes == [2, 3]:
        made = averaged(value, [size.count for size in value.sizes[2:]], (1, 1), (1, 1), node.integer)
    else:
        places = [value.order.index(axis) for axis in axes]
        made = Held(REDUCED[node.kind](value.tensor, places, keepdims=True), value.order, tuple(sizes))
    return (
        made
        if node.attributes.get("keepdims", 1)
        else made.reshaped([size for axis, size in enumerate(sizes) if axis not in axes])
    )
