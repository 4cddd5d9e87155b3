"""Pools: over windows, over whole patches, along the spectrum."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import numpy as np

from hsiedge.graphs.scene_graph.conv import along_rows
from hsiedge.graphs.scene_graph.deferred import all_windows, averaged, joined, mean_taken, settled
from hsiedge.graphs.scene_graph.layout import Builder, Factor, Layout, UnfitError, X, Y, fused, kept
from hsiedge.graphs.scene_graph.node import Kernel, Moves, Node, kernels


def pool(node: Node) -> list[Layout]:
    """Sliding maximum or mean."""
    if node.outputs > 1:
        raise UnfitError("its second output, the indices, is not followed")
    layout = settled(node, node.layout())
    if layout.windows([0, 1]):
        raise UnfitError("it takes places of a patch as channels")
    slides = kernels(node, node.attributes["kernel_shape"], layout.shape[2:])
    along = {2 + axis: slide for axis, slide in enumerate(slides)}
    moves = Moves.of(node, layout, along)
    for axis in along:
        if layout.statics([axis]) and not (along[axis].stays and along[axis].stride == 1):
            layout = _pooled_along(node, layout, axis, along[axis])
    if node.kind == "AveragePool":
        return [averaged(node.build, layout, moves.y, moves.x)]
    return [maximum(node.build, layout, moves.y, moves.x)]


def maximum(build: Builder, layout: Layout, y: Kernel, x: Kernel) -> Layout:
    moves = Moves(y, x)
    if y.stays and x.stays:
        return layout.moved(*moves.windows(layout))
    layout = build.maps(layout)
    attributes: dict[str, Any] = {"kernel_shape": [y.size, x.size]}
    dilations = moves.dilations(layout)
    if dilations != [1, 1]:
        attributes["dilations"] = dilations
    return replace(layout, value=build.op("MaxPool", [layout.value], **attributes)).moved(*moves.windows(layout))


def _pooled_along(node: Node, layout: Layout, axis: int, slide: Kernel) -> Layout:
    """Along the spectrum, before it is done along y and x: maxima and means may be taken axis by axis."""
    if slide.ceil and slide.positions(layout.shape[axis]) != replace(slide, ceil=False).positions(layout.shape[axis]):
        raise UnfitError("it counts positions that reach beyond the spectrum")
    if node.kind == "AveragePool" and (slide.head or slide.tail or slide.dilation > 1):
        raise UnfitError("a padded or dilated mean along the spectrum")
    layout = fused(node.build, layout, axis)
    rest = [factor for factor in (*layout.depth, *layout.channels) if factor not in layout.axes[axis]]
    layout = node.build.arranged(layout, layout.statics([axis]), rest, rows=True)
    depth = Factor(slide.positions(layout.shape[axis]))
    value = node.build.op(node.kind, [layout.value], node.name, **along_rows(slide))
    return replace(layout, value=value, depth=kept(depth)).with_axis(axis, depth)


def reduce(node: Node) -> list[Layout]:
    """Over whole axes: those of the window become windows of a pool."""
    layout = node.layout()
    rank, whole = len(layout.axes), node.kind.startswith("Global")
    given = np.arange(2, rank) if whole else node.constant(1, "axes")
    axes = list(range(rank)) if given is None or not given.size else sorted(int(axis) % rank for axis in given)
    kind = {"GlobalAveragePool": "ReduceMean", "GlobalMaxPool": "ReduceMax"}.get(node.kind, node.kind)
    layout = _over_windows(node, _over_statics(node, layout, kind, axes), kind, layout.windows(axes))
    keep = whole or bool(node.attributes.get("keepdims", 1))
    left = ((axis, () if axis in axes else factors) for axis, factors in enumerate(layout.axes))
    return [replace(layout, axes=tuple(factors for axis, factors in left if keep or axis not in axes))]


def _over_statics(node: Node, layout: Layout, kind: str, axes: Sequence[int]) -> Layout:
    """Over channels or spectrum."""
    statics = layout.statics(axes)
    if not statics:
        return layout
    layout = settled(node, layout)
    rest = [factor for factor in (*layout.depth, *layout.channels) if factor not in statics]
    layout = node.build.arranged(layout, statics, rest)
    return replace(layout, value=node.build.op(kind, [layout.value, np.array([0])], keepdims=1), depth=())


def _over_windows(node: Node, layout: Layout, kind: str, windows: set[Factor]) -> Layout:
    """Over all places of a patch, or all of one axis. A mean over all of them is put off, and gates are applied behind it."""
    if not windows:
        return layout
    y, x = (Kernel(layout.size(factor)) if factor in windows else Kernel(1) for factor in (Y, X))
    if kind == "ReduceMax":
        return maximum(node.build, settled(node, layout), y, x)
    if windows != all_windows(layout):
        layout = averaged(node.build, settled(node, layout), y, x)
    else:
        gate, single = layout.gate, (replace(layout.y, size=1), replace(layout.x, size=1))
        layout = replace(layout, gate=None, mean=(layout.y, layout.x)).moved(*single)
        if gate is not None:
            layout = joined(node.build, "Mul", mean_taken(node.build, layout), settled(node, gate))
    if kind == "ReduceSum":
        layout = settled(node, layout)
        total = np.array(y.size * x.size, np.float32)
        layout = replace(layout, value=node.build.op("Mul", [layout.value, total]))
    return layout
