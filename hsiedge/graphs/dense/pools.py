"""Pools: over windows, over whole patches, along the spectrum."""

from __future__ import annotations

from dataclasses import replace
from math import prod
from typing import Any

import numpy as np

from hsiedge.graphs.dense.late import all_windows, averaged, joined, mean_taken, settled
from hsiedge.graphs.dense.layout import Builder, Factor, Layout, UnfitError, X, Y, fused, kept
from hsiedge.graphs.dense.linear import along_rows
from hsiedge.graphs.dense.node import Kernel, Moves, Node, kernels


def pool(node: Node) -> list[Layout]:
    """Sliding maximum or mean."""
    if node.outputs > 1:
        raise UnfitError("its second output, the indices, is not followed")
    layout = settled(node, node.layout())
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
    rank = len(layout.axes)
    given = node.constant(1, "axes") if not node.kind.startswith("Global") else np.arange(2, rank)
    axes = list(range(rank)) if given is None or not given.size else sorted(int(axis) % rank for axis in given)
    kind = {"GlobalAveragePool": "ReduceMean", "GlobalMaxPool": "ReduceMax"}.get(node.kind, node.kind)
    windows = layout.windows(axes)
    if layout.mean is not None or kind != "ReduceMean" or windows != all_windows(layout):
        layout = settled(node, layout)
    statics = layout.statics(axes)
    if statics:
        layout = settled(node, layout)
        rest = [factor for factor in (*layout.depth, *layout.channels) if factor not in statics]
        layout = node.build.arranged(layout, statics, rest)
        layout = replace(layout, value=node.build.op(kind, [layout.value, np.array([0])], keepdims=1), depth=())
    total = prod(layout.size(factor) for factor in windows)
    y, x = (Kernel(layout.size(factor)) if factor in windows else Kernel(1) for factor in (Y, X))
    if kind == "ReduceMax":
        layout = maximum(node.build, layout, y, x)
    elif windows:
        gate, plain = layout.gate, replace(layout, gate=None)
        if windows == all_windows(layout):
            layout = replace(plain, mean=(layout.y, layout.x)).moved(replace(layout.y, size=1), replace(layout.x, size=1))
        else:
            layout = averaged(node.build, plain, y, x)
        if gate is not None:
            layout = joined(node.build, "Mul", mean_taken(node.build, layout), settled(node, gate))
        if kind == "ReduceSum":
            layout = settled(node, layout)
            layout = replace(layout, value=node.build.op("Mul", [layout.value, np.array(total, np.float32)]))
    left = [
        tuple(f for f in factors if f not in windows) if axis in axes else factors for axis, factors in enumerate(layout.axes)
    ]
    left = [() if axis in axes else factors for axis, factors in enumerate(left)]
    keep = bool(node.attributes.get("keepdims", 1)) or node.kind.startswith("Global")
    return [replace(layout, axes=tuple(factors for axis, factors in enumerate(left) if keep or axis not in axes))]
