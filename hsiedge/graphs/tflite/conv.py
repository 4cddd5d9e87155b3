"""Convolutions, products and means: operators with weights or windows."""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable, Sequence
from functools import partial

import numpy as np
import tensorflow as tf

from hsiedge.graphs.operator_view import Array, Kernel, UnfitError
from hsiedge.graphs.tflite.composed import product
from hsiedge.graphs.tflite.node import Node
from hsiedge.graphs.tflite.shape_ops import padded
from hsiedge.graphs.tflite.tensor_view import Size, TensorView

_MAPS = (0, 2, 3, 1)  # (N, channels, y, x) as (N, y, x, channels)
_VOLUMES = (0, 2, 3, 4, 1)
_SMALLEST = 1e-12  # of a range: one of weights that are all 0
Operation = Callable[..., tf.Tensor]
Pooled = Callable[[TensorView, Sequence[Kernel]], TensorView]


def rounded(weight: Array, integer: bool) -> tf.Tensor:
    """Weights with output channels last; as an integer graph will have them: 8 bits, symmetric, a scale a channel."""
    values = np.ascontiguousarray(weight, np.float32)
    if not integer:
        return values
    limit = np.maximum(np.abs(values).max(tuple(range(values.ndim - 1))), _SMALLEST)
    return tf.quantization.fake_quant_with_min_max_vars_per_channel(values, -limit, limit, num_bits=8, narrow_range=True)


def conv(node: Node) -> TensorView:
    """A convolution along one, two or three axes. One along one axis is a 2-D one on maps of one row."""
    value, weight, bias = node.computed(), node.required(1), node.constant(2)
    kernels = node.kernels(weight.shape[2:], [size.count for size in value.sizes[2:]])
    groups = node.integer("group")
    value = padded(value, [(0, 0), (0, 0), *((kernel.head, kernel.tail) for kernel in kernels)])
    if len(kernels) == 3:
        if groups > 1 or node.quantized:
            raise UnfitError("a 3-D convolution in groups, or in an integer graph; TFLite has none")
        return _convolved_3d(value, weight, bias, kernels)
    if len(kernels) == 2:
        return convolved(value, weight, bias, kernels, groups, node.quantized)
    return _without_row(convolved(_with_row(value), weight[:, :, None], bias, [Kernel(1), *kernels], groups, node.quantized))


def convolved(
    value: TensorView, weight: Array, bias: Array | None, kernels: Sequence[Kernel], groups: int, integer: bool
) -> TensorView:
    """A 2-D convolution without padding, `weight` in ONNX's order `(outputs, inputs / groups, y, x)`."""
    maps, channels = value.arranged(_MAPS).tensor, value.sizes[1].count
    strides, dilations = [kernel.stride for kernel in kernels], [kernel.dilation for kernel in kernels]
    if groups > 1 and groups == channels:
        outputs, _, rows, columns = weight.shape
        kernel = rounded(weight[:, 0].transpose(1, 2, 0), integer)
        kernel = tf.reshape(kernel, [rows, columns, channels, outputs // channels])
        tensor = tf.nn.depthwise_conv2d(maps, kernel, [1, *strides, 1], "VALID", dilations=dilations)
    else:
        tensor = tf.nn.conv2d(maps, rounded(weight.transpose(2, 3, 1, 0), integer), strides, "VALID", dilations=dilations)
    return _view(tensor if bias is None else tf.nn.bias_add(tensor, bias.astype(np.float32)), value.sizes[0], _MAPS)


def _convolved_3d(value: TensorView, weight: Array, bias: Array | None, kernels: Sequence[Kernel]) -> TensorView:
    tensor = tf.nn.conv3d(
        value.arranged(_VOLUMES).tensor,
        weight.transpose(2, 3, 4, 1, 0),
        [1, *(kernel.stride for kernel in kernels), 1],
        "VALID",
        dilations=[1, *(kernel.dilation for kernel in kernels), 1],
    )
    return _view(tensor if bias is None else tf.nn.bias_add(tensor, bias), value.sizes[0], _VOLUMES)


def _view(tensor: tf.Tensor, batch: Size, order: tuple[int, ...]) -> TensorView:
    sizes = [batch if axis == 0 else Size(int(tensor.shape[order.index(axis)])) for axis in range(len(order))]
    return TensorView(tensor, order, tuple(sizes))


def _with_row(value: TensorView) -> TensorView:
    """A value `(N, channels, x)` as maps of one row."""
    return value.reshaped([*value.sizes[:2], Size(1), value.sizes[2]])


def _without_row(value: TensorView) -> TensorView:
    """Maps of one row as `(N, channels, x)`."""
    return value.reshaped([*value.sizes[:2], value.sizes[3]])


def linear(node: Node) -> TensorView:
    """Gemm and MatMul, as 1x1 convolutions: their weights have a scale a channel then."""
    weights = node.operands[1]
    if node.kind == "MatMul" and not (isinstance(weights, np.ndarray) and weights.ndim == 2):
        return product(node)
    value, (weight, bias) = node.computed(), node.linear(np.float32)
    if value.rank < 2:
        raise UnfitError("a product of other than (N, ..., inputs) with a matrix of weights")
    batch_axis = next((axis for axis, size in enumerate(value.sizes) if size.batched), 0)
    if batch_axis:  # as torch's attention has it, (tokens, N, inputs); nothing is moved
        order = [batch_axis, *(axis for axis in range(value.rank) if axis != batch_axis)]
        back = [order.index(axis) for axis in range(value.rank)]
        return _linear(value.transposed(order), weight, bias, node.quantized).transposed(back)
    return _linear(value, weight, bias, node.quantized)


def _linear(value: TensorView, weight: Array, bias: Array | None, integer: bool) -> TensorView:
    """A value `(N, ..., inputs)` times a matrix `(outputs, inputs)`."""
    if value.rank > 4:
        batch, *middle, _ = value.sizes
        flat = [batch, Size(math.prod(size.count for size in middle)), value.sizes[-1]]
        return _multiplied(value.reshaped(flat), weight, bias, integer).reshaped([batch, *middle, Size(len(weight))])
    return _multiplied(value, weight, bias, integer)


def _multiplied(value: TensorView, weight: Array, bias: Array | None, integer: bool) -> TensorView:
    """A value of two to four axes, the last of them times a matrix `(outputs, inputs)`."""
    batch, *between, inputs = value.sizes
    points = value.reshaped([batch, *([Size(1)] * (4 - value.rank)), *between, inputs]).transposed((0, 3, 1, 2))
    maps = convolved(points, weight[:, :, None, None], bias, [Kernel(1), Kernel(1)], 1, integer)
    return maps.transposed((0, 2, 3, 1)).reshaped([batch, *between, Size(len(weight))])


def pool(node: Node) -> TensorView:
    """The largest, or the mean, of windows along one, two or three axes."""
    value = node.computed()
    kernels = node.kernels(node.integers("kernel_shape") or [], [size.count for size in value.sizes[2:]])
    if any(kernel.head or kernel.tail or kernel.ceil for kernel in kernels):
        raise UnfitError("a pool over padding")
    pooled = partial(averaged, integer=node.quantized) if node.kind == "AveragePool" else _maxima
    if len(kernels) == 1:
        return _without_row(pooled(_with_row(value), [Kernel(1), *kernels]))
    if len(kernels) == 2:
        return pooled(value, kernels)
    if len(kernels) > 3:
        raise UnfitError("a pool along more than three axes")
    return _pooled_3d(value, kernels, pooled)


def _pooled_3d(value: TensorView, kernels: Sequence[Kernel], pooled: Pooled) -> TensorView:
    """A pool along three axes: the last two, then the first, for the largest and means may be taken axis by axis."""
    batch, channels, depth, *_ = value.sizes
    if any(kernel != Kernel(1) for kernel in kernels[1:]):
        maps = value.reshaped([batch, Size(channels.count * depth.count), *value.sizes[3:]])
        maps = pooled(maps, kernels[1:])
        value = maps.reshaped([batch, channels, depth, *maps.sizes[2:]])
    if kernels[0] == Kernel(1):
        return value
    rows, columns = value.sizes[3:]
    maps = pooled(value.reshaped([batch, channels, depth, Size(rows.count * columns.count)]), [kernels[0], Kernel(1)])
    return maps.reshaped([batch, channels, maps.sizes[2], rows, columns])


def _maxima(value: TensorView, kernels: Sequence[Kernel]) -> TensorView:
    """Maxima over windows. TFLite's own is not dilated: of those the largest of shifted maps is taken."""
    maps, strides = value.arranged(_MAPS).tensor, [kernel.stride for kernel in kernels]
    if all(kernel.dilation == 1 for kernel in kernels):
        tensor = tf.nn.max_pool2d(maps, [kernel.size for kernel in kernels], strides, "VALID")
    else:
        rows, columns = (int(maps.shape[axis]) - kernel.reach for axis, kernel in enumerate(kernels, 1))
        starts = itertools.product(*(range(0, kernel.reach + 1, kernel.dilation) for kernel in kernels))
        shifted = [maps[:, y:, x:][:, : rows : strides[0], : columns : strides[1]] for y, x in starts]
        tensor = shifted[0]
        for other in shifted[1:]:
            tensor = tf.maximum(tensor, other)
    return _view(tensor, value.sizes[0], _MAPS)


def averaged(value: TensorView, kernels: Sequence[Kernel], integer: bool) -> TensorView:
    """Means over windows. TFLite's integer means have the scale of what they are taken of; a convolution has its own."""
    sizes = [kernel.size for kernel in kernels]
    if not integer and all(kernel.dilation == 1 for kernel in kernels):
        strides = [kernel.stride for kernel in kernels]
        return _view(tf.nn.avg_pool2d(value.arranged(_MAPS).tensor, sizes, strides, "VALID"), value.sizes[0], _MAPS)
    channels = value.sizes[1].count
    weight = np.full((channels, 1, *sizes), 1 / math.prod(sizes), np.float32)
    return convolved(value, weight, None, kernels, channels, integer)


def reduce(operation: Operation, node: Node) -> TensorView:
    """One value of all along some axes. Means of maps are windows as large as these."""
    value = node.computed()
    axes = node.reduced(value.rank)
    if any(value.sizes[axis].batched for axis in axes):
        raise UnfitError("reduces over the patches of a batch")
    sizes = [Size(1) if axis in axes else size for axis, size in enumerate(value.sizes)]
    if operation is tf.reduce_mean and value.rank == 4 and axes == [2, 3]:
        reduced = averaged(value, [Kernel(size.count) for size in value.sizes[2:]], node.quantized)
    else:
        places = [value.order.index(axis) for axis in axes]
        reduced = TensorView(operation(value.tensor, places, keepdims=True), value.order, tuple(sizes))
    if node.kind.startswith("Global") or node.flag("keepdims"):
        return reduced
    return reduced.reshaped([size for axis, size in enumerate(sizes) if axis not in axes])
