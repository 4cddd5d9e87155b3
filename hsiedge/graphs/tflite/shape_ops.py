"""Operators that move values, or choose among them."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
import tensorflow as tf

from hsiedge.graphs.operator_view import UnfitError
from hsiedge.graphs.tflite.node import Node
from hsiedge.graphs.tflite.tensor_view import Size, TensorView, resolved

_ALL = 1 << 31  # x[:] ends there, or beyond


def identity(node: Node) -> TensorView:
    """The input itself."""
    return node.computed()


def reshape(node: Node) -> TensorView:
    """A reshape: values stay in their order."""
    value, target = node.computed(), [int(size) for size in node.required(1).ravel()]
    return value.reshaped(resolved(value.sizes, target, zero_copies=not node.flag("allowzero")))


def flatten(node: Node) -> TensorView:
    """All axes behind the batch as one."""
    value = node.computed()
    if node.axis(value.rank) != 1:
        raise UnfitError("flattens other axes than those behind the batch")
    return value.reshaped([value.sizes[0], Size(math.prod(size.count for size in value.sizes[1:]))])


def squeeze(node: Node) -> TensorView:
    """Axes of one value, taken away."""
    value = node.computed()
    axes, trivial = node.axes(value.rank), [axis for axis, size in enumerate(value.sizes) if size.trivial]
    gone = trivial if axes is None else axes
    if not {*gone} <= {*trivial}:
        raise UnfitError("squeezes an axis of more than one value")
    return value.reshaped([size for axis, size in enumerate(value.sizes) if axis not in gone])


def unsqueeze(node: Node) -> TensorView:
    """Axes of one value, put between."""
    value, count = node.computed(), len(node.integers("axes", 1) or [])
    new, sizes = node.axes(value.rank + count) or [], iter(value.sizes)
    return value.reshaped([Size(1) if axis in new else next(sizes) for axis in range(value.rank + count)])


def transpose(node: Node) -> TensorView:
    """A transpose: nothing is moved until somebody needs it."""
    value = node.computed()
    return value.transposed(node.permutation(value.rank))


def concat(node: Node) -> TensorView:
    """Values side by side, computed or constant."""
    first = next(operand for operand in node.operands if isinstance(operand, TensorView))
    axis = node.axis(first.rank)
    tensors, count = [], 0
    for place, operand in enumerate(node.operands):
        if isinstance(operand, TensorView) or first.batched:  # a constant has no batch
            operand = node.computed(place)
            tensors.append(operand.arranged(first.order).tensor)
            count += operand.sizes[axis].count
        else:
            array = node.required(place)
            tensors.append(tf.constant(array.transpose(first.order), first.tensor.dtype))
            count += array.shape[axis]
    joined = Size(count, first.sizes[axis].batched)
    tensor = tf.concat(tensors, first.order.index(axis))
    return TensorView(tensor, first.order, tuple(joined if place == axis else size for place, size in enumerate(first.sizes)))


def slices(node: Node) -> TensorView:
    """A part of some axes, in steps forward."""
    value = node.computed()
    parts, sizes = [slice(None)] * value.rank, list(value.sizes)
    for axis, part in node.slices(value.rank).items():
        if sizes[axis].batched and (part.start, part.step) == (0, 1) and part.stop >= _ALL:
            continue
        places = range(sizes[axis].count)[part]
        if places.step < 1 or sizes[axis].batched or not places:
            raise UnfitError("slices the batch, backwards, or to nothing")
        parts[axis], sizes[axis] = slice(places.start, places.stop, places.step), Size(len(places))
    return TensorView(value.tensor[tuple(parts[axis] for axis in value.order)], value.order, tuple(sizes))


def split(node: Node) -> list[TensorView]:
    """Parts of an axis that lie behind one another."""
    value, count = node.computed(), len(node.node.outputs)
    axis = node.axis(value.rank)
    size = value.sizes[axis].count
    each = -(-size // count)
    sizes = node.integers("split", 1) or [min(each, size - each * place) for place in range(count)]
    ends = np.cumsum(sizes)
    return [picked(value, axis, range(int(end) - part, int(end))) for end, part in zip(ends, sizes)]


def gather(node: Node) -> TensorView:
    """One position of an axis, which goes; or some in a list, or in a table, whose axes take its place."""
    value, indices = node.computed(), node.required(1)
    axis = node.axis(value.rank)
    gathered = picked(value, axis, [int(index) % value.sizes[axis].count for index in indices.ravel()])
    if indices.ndim == 1:
        return gathered
    sizes = gathered.sizes
    return gathered.reshaped([*sizes[:axis], *map(Size, indices.shape), *sizes[axis + 1 :]])


def picked(value: TensorView, axis: int, listed: Sequence[int]) -> TensorView:
    """Some positions of an axis."""
    if value.sizes[axis].batched:
        raise UnfitError("gathers along the batch")
    if {*np.diff(listed)} <= {1}:
        tensor = value.tensor[tuple(slice(listed[0], listed[-1] + 1) if axis == n else slice(None) for n in value.order)]
    else:
        tensor = tf.gather(value.tensor, listed, axis=value.order.index(axis))
    sizes = tuple(Size(len(listed)) if place == axis else entry for place, entry in enumerate(value.sizes))
    return TensorView(tensor, value.order, sizes)


def padded(value: TensorView, pads: Sequence[tuple[int, int]], filling: float = 0.0) -> TensorView:
    """A value with so many constants before and behind each axis."""
    if not any(any(pair) for pair in pads):
        return value
    sizes = [Size(size.count + sum(pair), size.batched) for size, pair in zip(value.sizes, pads)]
    tensor = tf.pad(value.tensor, [list(pads[axis]) for axis in value.order], constant_values=filling)
    return TensorView(tensor, value.order, tuple(sizes))


def pad(node: Node) -> TensorView:
    """Positions around, or some less; an integer graph has no constants but zeros, for its scale is its input's."""
    value, constants = node.computed(), list[tuple[int, int]]()
    for axis, (head, tail) in enumerate(node.pads(value.rank, zeros=False)):
        chosen = node.pad_places(value.sizes[axis].count, head, tail) if head or tail else None
        value = value if chosen is None else picked(value, axis, chosen)
        constants.append((head, tail) if chosen is None else (0, 0))
    filling = node.pad_value if any(map(any, constants)) else 0.0
    if any(number < 0 for pair in constants for number in pair) or (filling and node.quantized):
        raise UnfitError("pads and cuts one axis, or pads an integer graph with other than zeros")
    return padded(value, constants, filling)
