"""Deferred operations: the mean over a window, before which a linear layer may come, and gates, which commute with it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from hsiedge.graphs.operator_view import Kernel, UnfitError
from hsiedge.graphs.scene_graph.layout import Builder, Factor, Layout, Window, X, Y, count
from hsiedge.graphs.scene_graph.node import Node, Sliding


def settled(node: Node, layout: Layout) -> Layout:
    """The value with nothing left to be done to it: means taken, gates applied."""
    if layout.mean is not None:
        layout = mean_taken(node.build, layout)
    if layout.gate is None:
        return layout
    node.allow("what stands before it weighs a whole patch by what all of it shows, as squeeze-and-excitation does")
    gate = settled(node, layout.gate)
    gate = gate.with_windows(_centred(gate.y, layout.y), _centred(gate.x, layout.x))
    return joined(node.build, "Mul", replace(layout, gate=None), gate)


def _centred(gate: Window, window: Window) -> Window:
    """A window that is one for all positions of another, as if each position had it from the patch around itself."""
    shift = (window.size - 1) // 2 * window.step
    return Window(window.size, window.step, gate.start - shift, gate.extra)


def mean_taken(build: Builder, layout: Layout) -> Layout:
    """The value whose mean was put off, pooled."""
    assert layout.mean is not None
    y, x = layout.mean
    pooled = averaged(build, replace(layout, mean=None, y=y, x=x), Kernel(y.size), Kernel(x.size))
    return replace(pooled, y=replace(pooled.y, size=1), x=replace(pooled.x, size=1))


def averaged(build: Builder, layout: Layout, y: Kernel, x: Kernel) -> Layout:
    """Means over windows. Dilated ones are convolutions, which more runtimes have in older opsets."""
    sliding = Sliding(y, x)
    windows = sliding.windows(layout)
    if sliding.stays:
        return layout.with_windows(*windows)
    layout = build.as_maps(layout)
    if sliding.dilations(layout) == [1, 1]:
        value = build.op("AveragePool", [layout.value], kernel_shape=[y.size, x.size])
    else:
        channels = count(layout.channels)
        dilations = [y.dilation * layout.y.step, x.dilation * layout.x.step]
        weights = np.full((channels, 1, y.size, x.size), 1 / (y.size * x.size), np.float32)
        value = build.op("Conv", [layout.value, weights], kernel_shape=[y.size, x.size], dilations=dilations, group=channels)
    return replace(layout, value=value).with_windows(*windows)


def joined(build: Builder, kind: str, one: Layout, two: Layout) -> Layout:
    """One value of two that stand at the same places."""
    for ours, theirs in ((one.y, two.y), (one.x, two.x)):
        if ours.size > 1 and ours.step != theirs.step:
            raise UnfitError("its inputs were strided differently")
    first, second = {*one.depth, *one.channels}, {*two.depth, *two.channels}
    if not (first <= second or second <= first):
        raise UnfitError("its inputs are broadcast over each other")
    fuller, other = (one, two) if second <= first else (two, one)
    shared = {*other.depth, *other.channels}
    if shared != {*fuller.depth, *fuller.channels}:
        missing = [factor for factor in (*fuller.depth, *fuller.channels) if factor not in shared]
        fuller = build.arranged(fuller, missing, list(shared))
        other = build.arranged(other, [], fuller.channels, ordered=True)
    else:
        other = build.like(other, fuller)
    fuller, other = build.together([fuller, other])
    one, two = (fuller, other) if second <= first else (other, fuller)
    return replace(fuller, value=build.op(kind, [one.value, two.value]))


def renamed(layout: Layout, other: Layout) -> Layout:
    """The layout with another's factors, axis by axis, where sizes are equal: they were made by different nodes."""
    names: dict[Factor, Factor] = {}
    for axis, (ours, theirs) in enumerate(zip(layout.axes, other.axes)):
        if not ours or not theirs:
            continue
        if [layout.size(factor) for factor in ours] != [other.size(factor) for factor in theirs]:
            raise UnfitError(f"its inputs' axes {axis} are made up differently")
        names |= dict(zip(ours, theirs))
    if any((ours in (Y, X)) != (theirs in (Y, X)) for ours, theirs in names.items()):
        raise UnfitError("it joins places with channels")

    def named(factors: Sequence[Factor]) -> tuple[Factor, ...]:
        return tuple(names.get(factor, factor) for factor in factors)

    return replace(layout, axes=tuple(map(named, layout.axes)), depth=named(layout.depth), channels=named(layout.channels))


def all_windows(layout: Layout) -> set[Factor]:
    """Y and X, where the value has more than one of their positions."""
    return layout.windows(range(len(layout.axes)))
