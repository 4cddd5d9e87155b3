"""Operators that take each value by itself, or each with its partner."""

from __future__ import annotations

from dataclasses import replace
from math import prod

import numpy as np

from hsiedge.graphs.operator_view import Array, UnfitError
from hsiedge.graphs.scene_graph.deferred import all_windows, joined, renamed, settled
from hsiedge.graphs.scene_graph.layout import Layout, Operand, X, Y
from hsiedge.graphs.scene_graph.node import Node


def pointwise(node: Node) -> list[Layout]:
    """An operator on one value at a time."""
    layout = settled(node, node.computed())
    others = [node.constant(place) for place in range(1, len(node.operands))]
    if any(other is not None and other.size > 1 for other in others):
        raise UnfitError("its limits are not single numbers")
    value = node.build.op(node.kind, [layout.value, *others], "", node.node.attributes.values())
    return [replace(layout, value=value)]


def binary(node: Node) -> list[Layout]:
    """An operator on two values, or a value and a constant, with numpy's broadcasting."""
    if len(node.operands) != 2:
        raise UnfitError(f"it takes {len(node.operands)} values, where two are translated")
    first, second = node.operands
    if isinstance(first, Layout) and isinstance(second, Layout):
        return [_both(node, first, second)]
    place = 0 if isinstance(first, Layout) else 1
    layout, array = settled(node, node.computed(place)), node.required(1 - place)
    if array.ndim > len(layout.axes):
        raise UnfitError("its constant has more axes than what it is put to")
    operand = _spread(layout, array)
    inputs: list[Operand] = [operand, layout.value] if place else [layout.value, operand]
    return [replace(layout, value=node.build.op(node.kind, inputs))]


def _both(node: Node, first: Layout, second: Layout) -> Layout:
    layouts = [settled(node, layout) for layout in (first, second)]
    rank = max(len(layout.axes) for layout in layouts)
    layouts = [replace(layout, axes=((),) * (rank - len(layout.axes)) + layout.axes) for layout in layouts]
    one, two = layouts
    two = renamed(two, one)
    if all_windows(one) == all_windows(two):
        return joined(node.build, node.kind, one, two)
    wide, narrow = (one, two) if len(all_windows(one)) > len(all_windows(two)) else (two, one)
    if node.kind != "Mul" or all_windows(narrow):
        raise UnfitError("it joins what is seen at a place with what is seen in all of a patch")
    return replace(wide, gate=narrow)


def _spread(layout: Layout, array: Array) -> Array:
    """A constant that is broadcast over a value's axes, as it is broadcast over the tensor that the value lies in."""
    array = array.reshape([1] * (len(layout.axes) - array.ndim) + list(array.shape))
    if any(size not in (1, own) for size, own in zip(array.shape, layout.shape)):
        raise UnfitError("its input is broadcast over a constant")
    order = [factor for factors in layout.axes for factor in factors]
    varies = [array.shape[axis] > 1 for axis, factors in enumerate(layout.axes) for _ in factors]
    array = array.reshape([layout.size(factor) if several else 1 for factor, several in zip(order, varies)])
    for place, factor in enumerate(order):
        if factor in (Y, X):
            if (array != array.take([0], place)).any():
                raise UnfitError("it treats each place of a patch differently")
            array = array.take([0], place)
    stored = (*layout.depth, *layout.channels)
    places = [order.index(factor) for factor in (*stored, *(factor for factor in order if factor in (Y, X)))]
    array = array.transpose(places).reshape([array.shape[place] for place in places[: len(stored)]])
    varied = {factor for factor, size in zip(stored, array.shape) if size > 1}
    sizes = [factor.size if varied & {*group} else 1 for group in (layout.depth, layout.channels) for factor in group]
    flat = np.broadcast_to(array, sizes).reshape(prod(sizes[: len(layout.depth)]), -1)
    return flat.T[None, :, None, :] if layout.rows else flat[:, :, None, None]


def batch_normalization(node: Node) -> list[Layout]:
    """A normalization that no convolution before it has taken in: a factor and a shift."""
    layout = settled(node, node.computed())
    factor, shift = node.normalization()
    shape = [-1] + [1] * (len(layout.axes) - 2)
    for kind, array in (("Mul", factor), ("Add", shift)):
        operand = _spread(layout, array.astype(np.float32).reshape(shape))
        layout = replace(layout, value=node.build.op(kind, [layout.value, operand]))
    return [layout]


def softmax(node: Node) -> list[Layout]:
    """A softmax over channels; not over places."""
    layout = settled(node, node.computed())
    axis = node.axis(len(layout.axes))
    if layout.windows([axis]):
        raise UnfitError("it looks at all of a patch at once")
    inside = layout.statics([axis])
    rest = [factor for factor in (*layout.depth, *layout.channels) if factor not in inside]
    layout = node.build.arranged(layout, rest, inside)
    return [replace(layout, value=node.build.op(node.kind, [layout.value], axis=1))]
