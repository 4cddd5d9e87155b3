"""Layouts: how a value of a patch graph lies in a scene graph.

In a patch graph a value has axes such as (batch, channels, spectrum, y, x), which its operators merge, split and swap. In a
scene graph the same value lies in a tensor of rank 4, for that is what integer kernels are made for:

    maps  (depth, channels, H', W')    depth is the spectral axis of 3-D nets, in the place of the batch
    rows  (H', channels, W', depth)    for convolutions along the spectrum alone

and each logical axis is a list of factors, which are found again in `depth` and `channels`, in whatever order cost least; or
the window `Y` or `X`. Consumers permute their weights, not the data.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from math import prod

import numpy as np
import onnx_ir as ir
from numpy.typing import NDArray

from hsiedge.graphs.operator_view import Array, UnfitError


@dataclass(frozen=True, eq=False)
class Factor:
    """A static axis, or a part of one. Two of the same size are not the same."""

    size: int


Y, X = Factor(0), Factor(0)
"""Stand for the window's axes among an axis' factors; their sizes are in the layout."""


@dataclass(frozen=True)
class Window:
    """The place of a patch in a map, along one axis.

    Position i of the patch around pixel P lies at `P + start + i * step` in a map of `pixels + extra`.
    """

    size: int
    step: int = 1
    start: int = 0
    extra: int = 0


Operand = ir.Value | Array | None
AttributeValue = int | float | str | Sequence[int]
Axes = tuple[tuple[Factor, ...], ...]


@dataclass(frozen=True)
class Layout:
    """A value of the patch graph of one patch, axis by axis, and the tensor that it lies in.

    Attributes:
        axes: the factors of each axis; none where its size is 1.
        mean: windows whose mean the value is, of what the tensor holds: taken late, for linear layers may come first.
        gate: what the value is to be multiplied with, one for a whole window.
    """

    value: ir.Value
    axes: Axes
    depth: tuple[Factor, ...]
    channels: tuple[Factor, ...]
    y: Window
    x: Window
    rows: bool = False
    mean: tuple[Window, Window] | None = None
    gate: Layout | None = None

    @property
    def shape(self) -> tuple[int, ...]:
        """The sizes of the axes that the value has in the patch graph."""
        return tuple(prod(self.size(factor) for factor in axis) for axis in self.axes)

    def size(self, factor: Factor) -> int:
        """The size of a factor, or of the window that Y or X stands for."""
        return self.y.size if factor is Y else self.x.size if factor is X else factor.size

    def statics(self, axes: Iterable[int]) -> tuple[Factor, ...]:
        """The factors of some axes, windows apart."""
        return tuple(factor for axis in axes for factor in self.axes[axis] if factor is not Y and factor is not X)

    def windows(self, axes: Iterable[int]) -> set[Factor]:
        """Y and X, where these axes hold more than one of their positions."""
        return {factor for axis in axes for factor in self.axes[axis] if factor in (Y, X) and self.size(factor) > 1}

    def window(self, factor: Factor) -> Window:
        """The window that Y or X stands for."""
        return self.y if factor is Y else self.x

    def with_window(self, factor: Factor, window: Window) -> Layout:
        """The layout with another window in the place of Y's or X's."""
        return replace(self, y=window) if factor is Y else replace(self, x=window)

    def with_windows(self, y: Window, x: Window) -> Layout:
        """The layout with other windows."""
        return replace(self, y=y, x=x)

    def with_axis(self, axis: int, *factors: Factor) -> Layout:
        """The layout with other factors on one axis; those of size 1 are left out."""
        kept = tuple(factor for factor in factors if self.size(factor) > 1)
        return replace(self, axes=(*self.axes[:axis], kept, *self.axes[axis + 1 :]))


def count(factors: Iterable[Factor]) -> int:
    """The number of values that factors tell apart."""
    return prod(factor.size for factor in factors)


class Builder:
    """Writes nodes, and moves values from one layout to another."""

    def __init__(self) -> None:
        self.nodes: list[ir.Node] = []
        self.initializers: list[ir.Value] = []
        self.macs = 0  # a pixel, once per output pixel of the scene

    def mark(self) -> tuple[int, int, int]:
        """The present state, for `reset`."""
        return len(self.nodes), len(self.initializers), self.macs

    def reset(self, mark: tuple[int, int, int]) -> None:
        """Takes back what was written since a `mark`."""
        nodes, initializers, self.macs = mark
        for node in reversed(self.nodes[nodes:]):
            for place in range(len(node.inputs)):
                node.replace_input_with(place, None)
        del self.nodes[nodes:], self.initializers[initializers:]

    def op(
        self,
        kind: str,
        inputs: Sequence[Operand],
        name: str = "",
        copied: Iterable[ir.Attr] = (),
        /,
        **attributes: AttributeValue,
    ) -> ir.Value:
        """The output of a new node; arrays become initializers, what is None is left out, `copied` attributes are added."""
        values = [self.constant(entry) if isinstance(entry, np.ndarray) else entry for entry in inputs]
        while values and values[-1] is None:
            values.pop()
        node = ir.Node("", kind, values, [*copied, *ir.convenience.convert_attributes(attributes)], name=name or None)
        self.nodes.append(node)
        node.outputs[0].name = f"v{len(self.nodes)}"
        return node.outputs[0]

    def constant(self, array: Array) -> ir.Value:
        """A new initializer."""
        name = f"c{len(self.initializers)}"
        tensor = ir.tensor(np.asarray(array, order="C"), name=name)
        value = ir.Value(name=name, shape=ir.Shape(array.shape), type=ir.TensorType(tensor.dtype), const_value=tensor)
        self.initializers.append(value)
        return value

    def reshaped(self, value: ir.Value, depth: int, channels: int) -> ir.Value:
        """Maps whose first two dimensions are divided otherwise: no value moves."""
        return self.op("Reshape", [value, np.array([depth, channels, 0, 0])])

    def as_maps(self, layout: Layout) -> Layout:
        """The value in maps, whether it lies in rows or not."""
        if not layout.rows:
            return layout
        return replace(layout, value=self.op("Transpose", [layout.value], perm=[3, 1, 0, 2]), rows=False)

    def as_rows(self, layout: Layout) -> Layout:
        """The value in rows, whether it lies in maps or not."""
        if layout.rows:
            return layout
        return replace(layout, value=self.op("Transpose", [layout.value], perm=[2, 1, 3, 0]), rows=True)

    def arranged(
        self, layout: Layout, depth: Sequence[Factor], channels: Sequence[Factor], ordered: bool = False, rows: bool = False
    ) -> Layout:
        """The value with these factors in depth and those in the channels, the latter in any order unless `ordered`."""
        in_rows = layout.rows and rows and tuple(depth) == layout.depth and set(channels) == set(layout.channels)
        if in_rows and (not ordered or tuple(channels) == layout.channels):
            return layout
        layout = self.as_maps(layout)
        stored = (*layout.depth, *layout.channels)
        if not ordered:
            channels = [factor for factor in stored if factor in channels]
        wanted = (*depth, *channels)
        if set(stored) != set(wanted):
            raise UnfitError("its axes are mixed in a way that is not followed")
        sizes = count(depth), count(channels)
        value = layout.value
        if wanted != stored:
            if layout.depth:
                value = self.reshaped(value, 1, count(stored))
            value = self.op("Gather", [value, places(stored, wanted)], axis=1)
            if depth:
                value = self.reshaped(value, *sizes)
        elif sizes != (count(layout.depth), count(layout.channels)):
            value = self.reshaped(value, *sizes)
        layout = replace(layout, value=value, depth=tuple(depth), channels=tuple(channels))
        return self.as_rows(layout) if rows else layout

    def like(self, layout: Layout, other: Layout) -> Layout:
        """The value, arranged as another of the same factors is."""
        return self.arranged(layout, other.depth, other.channels, ordered=True, rows=other.rows)

    def cropped(self, layout: Layout, y: tuple[int, int], x: tuple[int, int]) -> Layout:
        """The value without so many positions at the start and the end of each axis."""
        if not any((*y, *x)):
            return layout
        axes = np.array([0, 2] if layout.rows else [2, 3])
        starts, ends = np.array([y[0], x[0]]), np.array([-y[1] or 2**31 - 1, -x[1] or 2**31 - 1])
        value = self.op("Slice", [layout.value, starts, ends, axes])
        windows = [
            replace(window, start=window.start - cut[0], extra=window.extra - sum(cut))
            for window, cut in ((layout.y, y), (layout.x, x))
        ]
        return replace(layout, value=value).with_windows(*windows)

    def together(self, layouts: Sequence[Layout]) -> list[Layout]:
        """The values, cropped to what all of them cover, so that each pixel lies at one place."""
        cuts: list[list[tuple[int, int]]] = [[] for _ in layouts]
        for axis in ("y", "x"):
            windows: list[Window] = [getattr(layout, axis) for layout in layouts]
            start = min(window.start for window in windows)
            extra = min(window.extra - window.start for window in windows) + start
            for place, window in enumerate(windows):
                head = window.start - start
                cuts[place].append((head, window.extra - head - extra))
        return [self.cropped(layout, *cut) for layout, cut in zip(layouts, cuts)]


def places(stored: Sequence[Factor], wanted: Sequence[Factor]) -> NDArray[np.int64]:
    """The place in `stored` order of each value of `wanted` order."""
    indices = np.arange(count(stored)).reshape([factor.size for factor in stored])
    return indices.transpose([stored.index(factor) for factor in wanted]).ravel()


def regrouped(layout: Layout, shape: Sequence[int]) -> Layout:
    """The layout with the axes of a Reshape to `shape`; static factors are split where that is needed.

    Raises:
        UnfitError: a window would be split, or an axis that does not divide.
    """
    left = [factor for axis in layout.axes for factor in axis if layout.size(factor) > 1]
    depth, channels = list(layout.depth), list(layout.channels)
    axes: list[tuple[Factor, ...]] = []
    for size in shape:
        axis: list[Factor] = []
        missing = size
        while missing > 1:
            factor = left.pop(0) if left else None
            whole = layout.size(factor) if factor is not None else 0
            if factor is None or (missing % whole and (whole % missing or factor in (Y, X))):
                raise UnfitError("it splits or merges axes in a way that is not followed")
            if missing % whole:
                parts = (Factor(missing), Factor(whole // missing))
                for stored in (depth, channels):
                    if factor in stored:
                        place = stored.index(factor)
                        stored[place : place + 1] = parts
                left.insert(0, parts[1])
                factor, whole = parts[0], missing
            axis.append(factor)
            missing //= whole
        axes.append(tuple(axis))
    if left:
        raise UnfitError("it splits or merges axes in a way that is not followed")
    return replace(layout, axes=tuple(axes), depth=tuple(depth), channels=tuple(channels))


def fused(build: Builder, layout: Layout, axis: int) -> Layout:
    """The value with the static factors of one axis as a single one."""
    factors = layout.statics([axis])
    if len(factors) == 1:
        return layout
    rest = [factor for factor in (*layout.depth, *layout.channels) if factor not in factors]
    layout = build.arranged(layout, factors, rest)
    whole = Factor(count(factors))
    return replace(layout, depth=(whole,)).with_axis(axis, whole)


def kept(*factors: Factor) -> tuple[Factor, ...]:
    """The factors that tell values apart."""
    return tuple(factor for factor in factors if factor.size > 1)
