"""Pools: over windows, over whole patches, along the spectrum."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from hsiedge.graphs.operator_view import Kernel, UnfitError
from hsiedge.graphs.scene_graph.conv import along_rows
from hsiedge.graphs.scene_graph.deferred import all_windows, averaged, joined, mean_taken, settled
from hsiedge.graphs.scene_graph.layout import AttributeValue, Builder, Factor, Layout, X, Y, fused, kept
from hsiedge.graphs.scene_graph.node import Node, Sliding, counts_beyond


def pool(node: Node) -> list[Layout]:
    """A sliding maximum or mean."""
    if len(node.node.outputs) > 1:
        raise UnfitError("its second output, the indices, is not followed")
    layout = settled(node, node.computed())
    if layout.windows([0, 1]):
        raise UnfitError("it takes places of a patch as channels")
    kernels = enumerate(node.kernels(node.integers("kernel_shape") or [], layout.shape[2:]), 2)
    along = {axis: kernel for axis, kernel in kernels if kernel != Kernel(1, ceil=kernel.ceil)}
    sliding = Sliding.of(node, layout, along)
    for axis in along:
        if layout.statics([axis]):
            layout = _pooled_along(node, layout, axis, along[axis])
    if node.kind == "AveragePool":
        return [averaged(node.build, layout, sliding.y, sliding.x)]
    return [maximum(node.build, layout, sliding.y, sliding.x)]


def maximum(build: Builder, layout: Layout, y: Kernel, x: Kernel) -> Layout:
    """Maxima over windows."""
    sliding = Sliding(y, x)
    if sliding.stays:
        return layout.with_windows(*sliding.windows(layout))
    layout = build.as_maps(layout)
    attributes: dict[str, AttributeValue] = {"kernel_shape": [y.size, x.size]}
    if sliding.dilations(layout) != [1, 1]:
        attributes["dilations"] = sliding.dilations(layout)
    return replace(layout, value=build.op("MaxPool", [layout.value], **attributes)).with_windows(*sliding.windows(layout))


def _pooled_along(node: Node, layout: Layout, axis: int, kernel: Kernel) -> Layout:
    """The value pooled along the spectrum, before it is along y and x: maxima and means may be taken axis by axis."""
    if counts_beyond(kernel, layout.shape[axis]):
        raise UnfitError("it counts positions that reach beyond the spectrum")
    if node.kind == "AveragePool" and (kernel.head or kernel.tail or kernel.dilation > 1):
        raise UnfitError("a padded or dilated mean along the spectrum")
    layout = fused(node.build, layout, axis)
    rest = [factor for factor in (*layout.depth, *layout.channels) if factor not in layout.axes[axis]]
    layout = node.build.arranged(layout, layout.statics([axis]), rest, rows=True)
    depth = Factor(kernel.positions(layout.shape[axis]))
    value = node.build.op(node.kind, [layout.value], node.name, **along_rows(kernel))
    return replace(layout, value=value, depth=kept(depth)).with_axis(axis, depth)


def reduce(node: Node) -> list[Layout]:
    """A reduction over whole axes: those of the window become windows of a pool."""
    layout = node.computed()
    axes = node.reduced(len(layout.axes))
    kind = {"GlobalAveragePool": "ReduceMean", "GlobalMaxPool": "ReduceMax"}.get(node.kind, node.kind)
    layout = _over_windows(node, _over_statics(node, layout, kind, axes), kind, layout.windows(axes))
    keep = node.kind.startswith("Global") or node.flag("keepdims")
    left = ((axis, () if axis in axes else factors) for axis, factors in enumerate(layout.axes))
    return [replace(layout, axes=tuple(factors for axis, factors in left if keep or axis not in axes))]


def _over_statics(node: Node, layout: Layout, kind: str, axes: Sequence[int]) -> Layout:
    """The value reduced over channels or spectrum."""
    statics = layout.statics(axes)
    if not statics:
        return layout
    layout = settled(node, layout)
    rest = [factor for factor in (*layout.depth, *layout.channels) if factor not in statics]
    layout = node.build.arranged(layout, statics, rest)
    return replace(layout, value=node.build.op(kind, [layout.value, np.array([0])], keepdims=1), depth=())


def _over_windows(node: Node, layout: Layout, kind: str, windows: set[Factor]) -> Layout:
    """The value reduced over all places of a patch, or all of one axis.

    A mean over all of them is put off, and gates are applied behind it.
    """
    if not windows:
        return layout
    y, x = (Kernel(layout.size(factor)) if factor in windows else Kernel(1) for factor in (Y, X))
    if kind == "ReduceMax":
        return maximum(node.build, settled(node, layout), y, x)
    if windows != all_windows(layout):
        layout = averaged(node.build, settled(node, layout), y, x)
    else:
        gate, single = layout.gate, (replace(layout.y, size=1), replace(layout.x, size=1))
        layout = replace(layout, gate=None, mean=(layout.y, layout.x)).with_windows(*single)
        if gate is not None:
            layout = joined(node.build, "Mul", mean_taken(node.build, layout), settled(node, gate))
    if kind == "ReduceSum":
        layout = settled(node, layout)
        total = np.array(y.size * x.size, np.float32)
        layout = replace(layout, value=node.build.op("Mul", [layout.value, total]))
    return layout
