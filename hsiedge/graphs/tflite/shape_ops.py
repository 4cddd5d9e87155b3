"""What only moves values."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
import tensorflow as tf

from hsiedge.graphs.tflite.node import Node
from hsiedge.graphs.tflite.tensor_view import Held, Size, UnfitError, resolved


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


def padded(value: Held, pads: Sequence[tuple[int, int]]) -> Held:
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
    return padded(value, list(zip(pads[: value.rank], pads[value.rank :])))
