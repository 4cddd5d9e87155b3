"""Operators that move values, or choose among them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from hsiedge.graphs.operator_view import Array, UnfitError
from hsiedge.graphs.scene_graph.deferred import renamed, settled
from hsiedge.graphs.scene_graph.layout import Builder, Factor, Layout, Window, Y, fused, kept, regrouped
from hsiedge.graphs.scene_graph.node import Node


def reshape(node: Node) -> list[Layout]:
    """A reshape: axes are merged, split, added and taken away, and nothing moves."""
    return [regrouped(node.computed(), node.shape)]


def transpose(node: Node) -> list[Layout]:
    """A transpose: axes are swapped, and nothing moves."""
    layout = node.computed()
    return [replace(layout, axes=tuple(layout.axes[axis] for axis in node.permutation(len(layout.axes))))]


def concat(node: Node) -> list[Layout]:
    """Values joined along channels or spectrum."""
    if any(not isinstance(operand, Layout) for operand in node.operands):
        raise UnfitError("it puts constants beside what is computed")
    layouts = [settled(node, node.computed(place)) for place in range(len(node.operands))]
    axis = node.axis(len(layouts[0].axes))
    if any(layout.windows([axis]) for layout in layouts):
        raise UnfitError("it puts patches beside one another")
    first = layouts[0]
    layouts = [renamed(layout.with_axis(axis), first.with_axis(axis)).with_axis(axis, *layout.axes[axis]) for layout in layouts]
    rest = [factor for factor in (*first.depth, *first.channels) if factor not in first.axes[axis]]
    layouts = node.build.together([node.build.arranged(layout, rest, layout.axes[axis], ordered=True) for layout in layouts])
    outputs = Factor(sum(layout.shape[axis] for layout in layouts))
    value = node.build.op("Concat", [layout.value for layout in layouts], axis=1)
    return [replace(layouts[0], value=value, channels=kept(outputs)).with_axis(axis, outputs)]


def slices(node: Node) -> list[Layout]:
    """A cut out of a window costs nothing; one out of channels or spectrum is cut."""
    layout = settled(node, node.computed())
    for axis, part in node.slices(len(layout.axes)).items():
        layout = picked(node.build, layout, axis, range(layout.shape[axis])[part])
    return [layout]


def gather(node: Node) -> list[Layout]:
    """One position of an axis, or some."""
    layout = settled(node, node.computed())
    return [_gathered(node, layout, node.axis(len(layout.axes)), node.required(1))]


def gather_nd(node: Node) -> list[Layout]:
    """Some positions of the first axis."""
    indices = node.required(1)
    if indices.shape[-1:] != (1,) or node.integer("batch_dims"):
        raise UnfitError("it gathers along several axes at once")
    return [_gathered(node, settled(node, node.computed()), 0, indices[..., 0])]


def _gathered(node: Node, layout: Layout, axis: int, indices: Array) -> Layout:
    if indices.ndim > 1:
        raise UnfitError("it gathers with more than one axis of places")
    size = layout.shape[axis]
    chosen = [int(index) % size for index in indices.reshape(-1)]
    layout = picked(node.build, layout, axis, chosen)
    if indices.ndim == 0:
        layout = replace(layout, axes=layout.axes[:axis] + layout.axes[axis + 1 :])
    return layout


def split(node: Node) -> list[Layout]:
    """Slices that lie behind one another."""
    layout = settled(node, node.computed())
    axis, count = node.axis(len(layout.axes)), len(node.node.outputs)
    size = layout.shape[axis]
    each = -(-size // count)
    sizes = node.integers("split", 1) or [min(each, size - each * place) for place in range(count)]
    ends = np.cumsum(sizes)
    return [picked(node.build, layout, axis, range(end - size, end)) for end, size in zip(ends, sizes)]


def picked(build: Builder, layout: Layout, axis: int, chosen: Sequence[int]) -> Layout:
    """Some positions of an axis."""
    if list(chosen) == list(range(layout.shape[axis])):
        return layout
    if layout.windows([axis]):
        return _picked_window(build, layout, axis, chosen)
    layout = fused(build, layout, axis)
    inside = layout.statics([axis])
    rest = [factor for factor in (*layout.depth, *layout.channels) if factor not in inside]
    alone = not rest or tuple(rest) == layout.depth
    layout = build.arranged(layout, rest, inside) if alone else build.arranged(layout, inside, rest)
    value = build.op("Gather", [layout.value, np.array(chosen)], axis=1 if alone else 0)
    outputs = Factor(len(chosen))
    layout = replace(layout, channels=kept(outputs)) if alone else replace(layout, depth=kept(outputs))
    return replace(layout, value=value).with_axis(axis, outputs)


def _picked_window(build: Builder, layout: Layout, axis: int, chosen: Sequence[int]) -> Layout:
    if len(layout.axes[axis]) > 1:
        raise UnfitError("it cuts an axis that y or x was merged into")
    (factor,) = layout.axes[axis]
    strides = set(np.diff(chosen))
    if len(strides) > 1 or min(strides, default=1) < 1:
        raise UnfitError("it takes places of a patch out of their order")
    window = layout.window(factor)
    stride = int(strides.pop()) if strides else 1
    start = window.start + chosen[0] * window.step
    layout = layout.with_window(factor, Window(len(chosen), window.step * stride, start, window.extra))
    if len(chosen) > 1:
        return layout
    cut = (max(start, 0), max(window.extra - start, 0))  # nobody will look at the rest
    return build.cropped(layout, *((cut, (0, 0)) if factor is Y else ((0, 0), cut))).with_axis(axis)


def pad(node: Node) -> list[Layout]:
    """Positions around the spectrum, or some of it less; around patches only as an approximation."""
    layout = settled(node, node.computed())
    for axis, (head, tail) in enumerate(node.pads(len(layout.axes), zeros=False)):
        if not head and not tail:
            continue
        if layout.windows([axis]) and max(head, tail) > 0:
            layout = _padded_window(node, layout, axis, head, tail)
            continue
        chosen = node.pad_places(layout.shape[axis], head, tail)
        layout = _padded_along(node, layout, axis, head, tail) if chosen is None else picked(node.build, layout, axis, chosen)
    return [layout]


def _padded_window(node: Node, layout: Layout, axis: int, head: int, tail: int) -> Layout:
    node.allow("it pads its patches")
    if len(layout.axes[axis]) > 1:
        raise UnfitError("it pads an axis that y or x was merged into")
    (factor,) = layout.axes[axis]
    window = layout.window(factor)
    wider = Window(window.size + head + tail, window.step, window.start - head * window.step, window.extra)
    return layout.with_window(factor, wider)


def _padded_along(node: Node, layout: Layout, axis: int, head: int, tail: int) -> Layout:
    """A constant before and behind the spectrum or the channels."""
    layout = fused(node.build, layout, axis)
    inside = layout.statics([axis])
    rest = [factor for factor in (*layout.depth, *layout.channels) if factor not in inside]
    layout = node.build.arranged(layout, inside, rest)
    outputs, filling = Factor(layout.shape[axis] + head + tail), np.array(node.pad_value, np.float32)
    pads = np.array([head, 0, 0, 0, tail, 0, 0, 0])
    padded = node.build.op("Pad", [layout.value, pads, filling if filling else None])
    return replace(layout, value=padded, depth=kept(outputs)).with_axis(axis, outputs)
