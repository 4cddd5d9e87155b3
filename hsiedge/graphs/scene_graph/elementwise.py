"""Operators that take each value by itself, or each with its partner."""

from __future__ import annotations

from dataclasses import replace
from math import prod
from typing import Any

import numpy as np
from numpy.typing import NDArray

from hsiedge.graphs.scene_graph.deferred import all_windows, joined, renamed, settled
from hsiedge.graphs.scene_graph.layout import Layout, Operand, UnfitError, X, Y
from hsiedge.graphs.scene_graph.node import Node


def pointwise(node: Node) -> list[Layout]:
    """One value at a time."""
    layout = settled(node, node.layout())
    others = [node.constant(place) for place in range(1, len(node.inputs))]
    if any(other is not None and other.size > 1 for other in others):
        raise UnfitError("its limits are not single numbers")
    value = node.build.op(node.kind, [layout.value, *others], **node.attributes)
    return [replace(layout, value=value)]


def binary(node: Node) -> list[Layout]:
    """Two values, or a value and a constant, with numpy's broadcasting."""
    first, second = node.inputs[:2]
    if isinstance(first, Layout) and isinstance(second, Layout):
        return [_both(node, first, second)]
    layout = settled(node, first if isinstance(first, Layout) else node.layout(1))
    array = second if isinstance(first, Layout) else first
    assert isinstance(array, np.ndarray)
    if array.ndim > len(layout.axes):
        raise UnfitError("its constant has more axes than what it is put to")
    operand = _spread(layout, array)
    inputs: tuple[Operand, Operand] = (layout.value, operand)
    return [replace(layout, value=node.build.op(node.kind, inputs if isinstance(first, Layout) else inputs[::-1]))]


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


def _spread(layout: Layout, array: NDArray[Any]) -> NDArray[Any]:
    """A constant that is broadcast over a value's axes, as it is broadcast over the tensor that the value lies in."""
    array = array.reshape([1] * (len(layout.axes) - array.ndim) + list(array.shape))
    order = [factor for factors in layout.axes for factor in factors]
    varies = [array.shape[axis] > 1 for axis, factors in enumerate(layout.axes) for _ in factors]
    array = array.reshape([layout.size(factor) if given else 1 for factor, given in zip(order, varies)])
    for place, factor in enumerate(order):
        if factor in (Y, X):
            if (array != array.take([0], place)).any():
                raise UnfitError("it treats each place of a patch differently")
            array = array.take([0], place)
    stored = (*layout.depth, *layout.channels)
    places = [order.index(factor) for factor in (*stored, *(factor for factor in order if factor in (Y, X)))]
    array = array.transpose(places).reshape([array.shape[place] for place in places[: len(stored)]])
    given = {factor for factor, size in zip(stored, array.shape) if size > 1}
    sizes = [factor.size if given & {*group} else 1 for group in (layout.depth, layout.channels) for factor in group]
    flat = np.broadcast_to(array, sizes).reshape(prod(sizes[: len(layout.depth)]), -1)
    return flat.T[None, :, None, :] if layout.rows else flat[:, :, None, None]


def batch_normalization(node: Node) -> list[Layout]:
    """One that no convolution before it has taken in: a scale and an offset."""
    layout = settled(node, node.layout())
    scale, offset, mean, variance = (node.required(place).astype(np.float64) for place in range(1, 5))
    factor = scale / np.sqrt(variance + node.attributes.get("epsilon", 1e-5))
    shape = [-1] + [1] * (len(layout.axes) - 2)
    for kind, array in (("Mul", factor), ("Add", offset - mean * factor)):
        operand = _spread(layout, array.astype(np.float32).reshape(shape))
        layout = replace(layout, value=node.build.op(kind, [layout.value, operand]))
    return [layout]


def softmax(node: Node) -> list[Layout]:
    """Over channels; not over places."""
    layout = settled(node, node.layout())
    axis = node.axis(-1, len(layout.axes))
    if layout.windows([axis]):
        raise UnfitError("it looks at all of a patch at once")
    inside = layout.statics([axis])
    rest = [factor for factor in (*layout.depth, *layout.channels) if factor not in inside]
    layout = node.build.arranged(layout, rest, inside)
    return [replace(layout, value=node.build.op(node.kind, [layout.value], axis=1))]
