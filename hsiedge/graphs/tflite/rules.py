"""Which operator becomes what. A rule takes a node and gives what its first output is held as."""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import tensorflow as tf
from numpy.typing import NDArray

from hsiedge.graphs.tflite.held import Held, Size, UnfitError, resolved

Entry = Held | NDArray[Any] | None
_MAPS = (0, 2, 3, 1)  # (N, channels, y, x) as (N, y, x, channels)
_VOLUMES = (0, 2, 3, 4, 1)
_SMALLEST = 1e-12  # of a range: one of weights that are all 0


@dataclass(frozen=True)
class Node:
    """A node of the ONNX graph, what it takes already lowered.

    Attributes:
        integer: whether the graph is going to be an integer one: weights are rounded then, and means are convolutions.
    """

    kind: str
    inputs: list[Entry]
    attributes: dict[str, Any]
    integer: bool

    def held(self, place: int = 0) -> Held:
        """An input that is computed."""
        entry = self.inputs[place] if place < len(self.inputs) else None
        if not isinstance(entry, Held):
            raise UnfitError(f"input {place} is not computed from the graph's input")
        return entry

    def constant(self, place: int) -> NDArray[Any]:
        """An input that is known."""
        entry = self.optional(place)
        if entry is None:
            raise UnfitError(f"input {place} is not constant")
        return entry

    def optional(self, place: int) -> NDArray[Any] | None:
        """An input that is known, or left out."""
        entry = self.inputs[place] if place < len(self.inputs) else None
        if isinstance(entry, Held):
            raise UnfitError(f"input {place} is not constant")
        return entry

    def ints(self, name: str, default: Sequence[int]) -> list[int]:
        return [int(value) for value in self.attributes.get(name, default)]

    def numbers(self, place: int, name: str) -> list[int] | None:
        """Integers that are an input in newer opsets, and an attribute in older ones."""
        if name in self.attributes:
            return self.ints(name, ())
        entry = self.optional(place)
        return None if entry is None else [int(value) for value in np.ravel(entry)]


Rule = Callable[[Node], Held]


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
    return _pad(value, [(0, 0), (0, 0), *zip(pads[:axes], pads[axes:])])


def _pad(value: Held, pads: Sequence[tuple[int, int]]) -> Held:
    if not any(any(pair) for pair in pads):
        return value
    sizes = [Size(size.count + sum(pair), size.batched) for size, pair in zip(value.sizes, pads)]
    return Held(tf.pad(value.tensor, [list(pads[axis]) for axis in value.order]), value.order, tuple(sizes))


def pad(node: Node) -> Held:
    """Zeros around."""
    pads = node.numbers(1, "pads")
    fill = node.optional(2)
    if (
        node.attributes.get("mode", b"constant") != b"constant"
        or (fill is not None and np.any(fill))
        or node.optional(3) is not None
    ):
        raise UnfitError("pads with other than zeros, or along axes that are named")
    value = node.held()
    assert pads is not None
    return _pad(value, list(zip(pads[: value.rank], pads[value.rank :])))


def linear(node: Node) -> Held:
    """Gemm and MatMul, as convolutions of one value: their weights have a scale a channel then."""
    value, weight, attributes = node.held(), node.constant(1), node.attributes
    if weight.ndim != 2 or attributes.get("transA", 0) or value.rank not in (2, 3):
        raise UnfitError("a product of other than (N, inputs) with a matrix of weights")
    outputs_first = weight if attributes.get("transB", 0) else weight.T
    bias = node.optional(2)
    scaled = outputs_first * np.float32(attributes.get("alpha", 1.0))
    shift = None if bias is None else np.broadcast_to(np.ravel(bias * np.float32(attributes.get("beta", 1.0))), len(scaled))
    *outer, inputs = value.sizes
    points = value.reshaped([*outer, inputs, Size(1), Size(1)][-4:]) if value.rank == 2 else _pointwise(value)
    made = convolved(points, scaled[:, :, None, None], shift, (1, 1), (1, 1), 1, node.integer)
    if value.rank == 2:
        return made.reshaped([outer[0], Size(len(scaled))])
    return made.relabelled((0, 2, 3, 1)).reshaped([*outer, Size(len(scaled))])


def _pointwise(value: Held) -> Held:
    """`(N, points, inputs)` as maps `(N, inputs, points, 1)`."""
    batch, points, inputs = value.sizes
    return value.reshaped([batch, points, Size(1), inputs]).relabelled((0, 3, 1, 2))


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


def mean(node: Node) -> Held:
    """GlobalAveragePool, and ReduceMean over both axes of maps."""
    value = node.held()
    axes = node.numbers(1, "axes") if node.kind == "ReduceMean" else [2, 3]
    if value.rank != 4 or axes is None or sorted(axis % 4 for axis in axes) != [2, 3]:
        raise UnfitError("a mean over other than the two axes of maps")
    whole = [size.count for size in value.sizes[2:]]
    made = averaged(value, whole, (1, 1), (1, 1), node.integer)
    return made if node.attributes.get("keepdims", 1) else made.reshaped(made.sizes[:2])


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


_BINARY: dict[str, Callable[[Any, Any], Any]] = {
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
    operation = _BINARY[node.kind]
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


def _cast(node: Node, tensor: Any) -> Any:
    if node.attributes["to"] != 1:  # TensorProto.FLOAT
        raise UnfitError("casts to other than float32")
    return tf.cast(tensor, tf.float32)


_POINTWISE: dict[str, Callable[[Node, Any], Any]] = {
    "Cast": _cast,
    "Clip": _clip,
    "Elu": lambda node, tensor: tf.nn.elu(tensor),
    "HardSwish": lambda node, tensor: tensor * tf.nn.relu6(tensor + 3.0) * np.float32(1 / 6),
    "LeakyRelu": _leaky,
    "Relu": lambda node, tensor: tf.nn.relu(tensor),
    "Sigmoid": lambda node, tensor: tf.sigmoid(tensor),
    "Tanh": lambda node, tensor: tf.tanh(tensor),
}


def pointwise(node: Node) -> Held:
    """Value by value."""
    return node.held().of(_POINTWISE[node.kind](node, node.held().tensor))


def softmax(node: Node) -> Held:
    """Over one axis."""
    value = node.held()
    axis = int(node.attributes.get("axis", -1)) % value.rank
    last = [entry for entry in value.order if entry != axis] + [axis]
    arranged = value.arranged(last)
    return arranged.of(tf.nn.softmax(arranged.tensor, axis=-1))


def identity(node: Node) -> Held:
    return node.held()


def reshape(node: Node) -> Held:
    """Reshape and Flatten."""
    value = node.held()
    if node.kind == "Flatten":
        axis = int(node.attributes.get("axis", 1))
        if axis % value.rank != 1:
            raise UnfitError("flattens other axes than those behind the batch")
        return value.reshaped([value.sizes[0], Size(math.prod(size.count for size in value.sizes[1:]))])
    target = [int(size) for size in np.ravel(node.constant(1))]
    return value.reshaped(resolved(value.sizes, target, not node.attributes.get("allowzero", 0)))


def squeeze(node: Node) -> Held:
    """Axes of one value, taken away."""
    value, axes = node.held(), node.numbers(1, "axes")
    gone = (
        [axis % value.rank for axis in axes] if axes is not None else [n for n, size in enumerate(value.sizes) if size.trivial]
    )
    if not all(value.sizes[axis].trivial for axis in gone):
        raise UnfitError("squeezes an axis of more than one value")
    return value.reshaped([size for axis, size in enumerate(value.sizes) if axis not in gone])


def unsqueeze(node: Node) -> Held:
    """Axes of one value, put between."""
    value, axes = node.held(), node.numbers(1, "axes") or []
    rank = value.rank + len(axes)
    new, sizes = {axis % rank for axis in axes}, iter(value.sizes)
    return value.reshaped([Size(1) if axis in new else next(sizes) for axis in range(rank)])


def transpose(node: Node) -> Held:
    """Another order of axes: nothing is moved until somebody needs it."""
    value = node.held()
    return value.relabelled(node.ints("perm", range(value.rank)[::-1]))


def concat(node: Node) -> Held:
    """Side by side."""
    values = [node.held(place) for place in range(len(node.inputs))]
    first = values[0]
    axis = int(node.attributes["axis"]) % first.rank
    tensor = tf.concat([value.arranged(first.order).tensor for value in values], first.order.index(axis))
    joined = Size(sum(value.sizes[axis].count for value in values), first.sizes[axis].batched)
    return Held(tensor, first.order, tuple(joined if place == axis else size for place, size in enumerate(first.sizes)))


def slices(node: Node) -> Held:
    """A part of some axes, in steps forward."""
    value = node.held()
    starts, ends = node.numbers(1, "starts") or [], node.numbers(2, "ends") or []
    axes = node.numbers(3, "axes") or list(range(len(starts)))
    steps = node.numbers(4, "steps") or [1] * len(starts)
    taken, sizes = [slice(None)] * value.rank, list(value.sizes)
    for start, end, axis, step in zip(starts, ends, (axis % value.rank for axis in axes), steps):
        whole = range(sizes[axis].count)[start:end:step]
        if step < 1 or sizes[axis].batched or not len(whole):
            raise UnfitError("slices the batch, backwards, or to nothing")
        taken[axis], sizes[axis] = slice(whole.start, whole.stop, step), Size(len(whole))
    return Held(value.tensor[tuple(taken[axis] for axis in value.order)], value.order, tuple(sizes))


def gather(node: Node) -> Held:
    """One position of an axis, which goes; or some in a list."""
    value, places = node.held(), node.constant(1)
    axis = int(node.attributes.get("axis", 0)) % value.rank
    size = value.sizes[axis]
    if places.ndim > 1 or size.batched:
        raise UnfitError("gathers by other than a number or a list of them")
    listed = [int(place) % size.count for place in np.ravel(places)]
    steps = set(np.diff(listed))
    at = value.order.index(axis)
    if steps <= {1}:
        tensor = value.tensor[tuple(slice(listed[0], listed[-1] + 1) if axis == n else slice(None) for n in value.order)]
    else:
        tensor = tf.gather(value.tensor, listed, axis=at)
    sizes = tuple(Size(len(listed)) if place == axis else entry for place, entry in enumerate(value.sizes))
    made = Held(tensor, value.order, sizes)
    return made if places.ndim else made.reshaped([entry for place, entry in enumerate(sizes) if place != axis])


RULES: dict[str, Rule] = {
    **dict.fromkeys(_POINTWISE, pointwise),
    **dict.fromkeys(_BINARY, binary),
    **dict.fromkeys(("Gemm", "MatMul"), linear),
    **dict.fromkeys(("Reshape", "Flatten"), reshape),
    **dict.fromkeys(("ReduceMean", "GlobalAveragePool"), mean),
    **dict.fromkeys(("Identity", "Dropout"), identity),
    "AveragePool": average_pool,
    "BatchNormalization": batch_normalization,
    "Concat": concat,
    "Conv": conv,
    "Gather": gather,
    "MaxPool": max_pool,
    "Pad": pad,
    "Slice": slices,
    "Softmax": softmax,
    "Squeeze": squeeze,
    "Transpose": transpose,
    "Unsqueeze": unsqueeze,
}
MOVES = frozenset(
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
"""Operators whose output has the values of their input: what an integer graph keeps the scale for."""
