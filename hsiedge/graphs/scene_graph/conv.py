"""Convolutions and linear layers."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import onnx_ir as ir
from numpy.typing import NDArray

from hsiedge.graphs.scene_graph.deferred import mean_taken, settled
from hsiedge.graphs.scene_graph.layout import Builder, Factor, Layout, UnfitError, X, Y, count, fused, kept
from hsiedge.graphs.scene_graph.node import Kernel, Moves, Node, kernels


@dataclass(frozen=True)
class Filters:
    """Weights `(outputs, inputs / group, ...)`, and a bias `(outputs,)` or None."""

    weight: NDArray[Any]
    bias: NDArray[Any] | None
    group: int = 1

    @property
    def outputs(self) -> int:
        return len(self.weight)

    def ordered(self, logical: Sequence[Factor], stored: Sequence[Factor]) -> Filters:
        """For inputs that are stored in another order than the logical one; with groups they never are."""
        if self.group > 1 or tuple(logical) == tuple(stored):
            return self
        split = self.weight.reshape(self.outputs, *(factor.size for factor in logical), *self.weight.shape[2:])
        order = [1 + list(logical).index(factor) for factor in stored]
        rest = range(1 + len(logical), split.ndim)
        return self.with_weight(split.transpose(0, *order, *rest).reshape(self.weight.shape))

    def with_weight(self, weight: NDArray[Any]) -> Filters:
        """The same with weights in another shape or order."""
        return replace(self, weight=np.ascontiguousarray(weight))


def conv(node: Node) -> list[Layout]:
    """Unpadded along the windows, and dilated by the strides before it; along the spectrum as it stands."""
    filters = Filters(node.required(1), node.constant(2), int(node.attributes.get("group", 1)))
    layout = node.layout()
    if layout.windows([0, 1]):
        raise UnfitError("it takes places of a patch as channels")
    slides = kernels(node, filters.weight.shape[2:], layout.shape[2:])
    pointwise = all(slide.stays for slide in slides) and filters.group == 1
    layout = _ready(node, layout, pointwise and _narrows(layout, filters.outputs))
    along = {2 + axis: slide for axis, slide in enumerate(slides)}
    spectral = [axis for axis in along if layout.statics([axis])]
    if len(spectral) > 1 or (spectral and layout.statics([0])):
        raise UnfitError("it slides along more than one axis beside y and x")
    moves = Moves.of(node, layout, along)
    if not spectral:
        return [_conv_maps(node, layout, moves, filters)]
    (axis,) = spectral
    slide = along[axis]
    filters = filters.with_weight(np.moveaxis(filters.weight, axis, 2))  # (outputs, inputs, spectral, ...)
    if slide.positions(layout.shape[axis]) == 1 and slide.size == layout.shape[axis] and not layout.rows and filters.group == 1:
        return [_conv_full(node, layout, moves, filters, axis)]
    layout = fused(node.build, layout, axis)
    if moves.y.stays and moves.x.stays:
        return [_conv_rows(node, layout, moves, filters, axis, slide)]
    return [_conv_unfolded(node, layout, moves, filters, axis, slide)]


def _ready(node: Node, layout: Layout, before_mean: bool) -> Layout:
    """With nothing put off, but for a mean before which a linear layer may come."""
    if layout.mean is not None and not before_mean:
        layout = mean_taken(node.build, layout)
    return layout if layout.gate is None else settled(node, layout)


def _narrows(layout: Layout, outputs: int) -> bool:
    """Whether a linear layer leaves fewer channels than it takes: then its outputs are pooled, not its inputs."""
    return outputs < count((*layout.depth, *layout.channels))


def _conv_maps(node: Node, layout: Layout, moves: Moves, filters: Filters) -> Layout:
    """A convolution along the windows alone."""
    logical = layout.statics([1])
    layout = node.build.arranged(layout, layout.statics([0]), logical, ordered=filters.group > 1)
    filters = filters.ordered(logical, layout.channels)
    value = _convolved(node, layout, filters.with_weight(moves.weights(filters.weight)), moves)
    outputs = Factor(filters.outputs)
    made = replace(layout, value=value, channels=kept(outputs)).moved(*moves.windows(layout))
    return made.with_axis(1, outputs)


def _conv_full(node: Node, layout: Layout, moves: Moves, filters: Filters, axis: int) -> Layout:
    """A convolution that takes in the whole spectral axis at once."""
    logical = layout.statics([1, axis])
    layout = node.build.arranged(layout, [], logical)
    merged = filters.weight.reshape(filters.outputs, -1, *filters.weight.shape[3:])
    filters = filters.with_weight(merged).ordered(logical, layout.channels)
    value = _convolved(node, layout, filters.with_weight(moves.weights(filters.weight)), moves)
    outputs = Factor(filters.outputs)
    made = replace(layout, value=value, channels=kept(outputs)).moved(*moves.windows(layout))
    return made.with_axis(1, outputs).with_axis(axis)


def _conv_rows(node: Node, layout: Layout, moves: Moves, filters: Filters, axis: int, slide: Kernel) -> Layout:
    """A convolution along the spectrum alone."""
    logical = layout.statics([1])
    layout = node.build.arranged(layout, layout.statics([axis]), logical, ordered=filters.group > 1, rows=True)
    weight = filters.ordered(logical, layout.channels).weight.reshape(*filters.weight.shape[:3])[:, :, None, :]
    outputs, depth = Factor(filters.outputs), Factor(slide.positions(layout.shape[axis]))
    node.build.macs += weight.size * depth.size
    groups = {"group": filters.group} if filters.group > 1 else {}
    value = node.build.op("Conv", [layout.value, weight, filters.bias], node.name, **along_rows(slide), **groups)
    made = replace(layout, value=value, depth=kept(depth), channels=kept(outputs)).moved(*moves.windows(layout))
    return made.with_axis(1, outputs).with_axis(axis, depth)


def _conv_unfolded(node: Node, layout: Layout, moves: Moves, filters: Filters, axis: int, slide: Kernel) -> Layout:
    """A 3-D convolution as a 2-D one: what it sees along the spectrum lies side by side in the channels."""
    logical = layout.statics([1])
    layout = node.build.arranged(layout, layout.statics([axis]), logical, ordered=filters.group > 1)
    depth = Factor(slide.positions(layout.shape[axis]))
    value = unfolded(node.build, layout.value, slide, depth.size)
    weight = filters.ordered(logical, layout.channels).weight
    if filters.group == 1:  # the slices lie behind one another, each with all channels
        weight = weight.swapaxes(1, 2)
    else:
        order = np.arange(slide.size * count(logical)).reshape(slide.size, -1).T.ravel()
        value = node.build.op("Gather", [value, order], axis=1)
    weight = moves.weights(weight.reshape(filters.outputs, -1, *weight.shape[3:]))
    maps = replace(layout, value=value, depth=kept(depth))
    outputs = Factor(filters.outputs)
    value = _convolved(node, maps, filters.with_weight(weight), moves)
    made = replace(maps, value=value, channels=kept(outputs)).moved(*moves.windows(layout))
    return made.with_axis(1, outputs).with_axis(axis, depth)


def unfolded(build: Builder, value: ir.Value, slide: Kernel, positions: int) -> ir.Value:
    """Maps whose channels are those of all the depths that a kernel sees, kernel-major."""
    if slide.head or slide.tail:
        pads = np.array([slide.head, 0, 0, 0, slide.tail, 0, 0, 0])
        value = build.op("Pad", [value, pads])
    if slide.size == 1 and slide.stride == 1:
        return value
    pieces = []
    for place in range(slide.size):
        start = place * slide.dilation
        end = start + (positions - 1) * slide.stride + 1
        limits = [np.array([number]) for number in (start, end, 0, slide.stride)]
        pieces.append(build.op("Slice", [value, *limits]))
    return pieces[0] if len(pieces) == 1 else build.op("Concat", pieces, axis=1)


def _convolved(node: Node, layout: Layout, filters: Filters, moves: Moves) -> ir.Value:
    """Filters `(outputs, inputs, y, x)` over maps."""
    attributes: dict[str, Any] = {"kernel_shape": list(filters.weight.shape[2:])}
    if moves.dilations(layout) != [1, 1]:
        attributes["dilations"] = moves.dilations(layout)
    if filters.group > 1:
        attributes["group"] = filters.group
    node.build.macs += filters.weight.size * count(layout.depth)
    return node.build.op("Conv", [layout.value, filters.weight, filters.bias], node.name, **attributes)


def along_rows(slide: Kernel) -> dict[str, Any]:
    """Attributes of a convolution or pool along the last axis of rows."""
    found: dict[str, Any] = {"kernel_shape": [1, slide.size], "strides": [1, slide.stride]}
    if slide.dilation > 1:
        found["dilations"] = [1, slide.dilation]
    if slide.head or slide.tail:
        found["pads"] = [0, slide.head, 0, slide.tail]
    return found


def gemm(node: Node) -> list[Layout]:
    """A linear layer on a flattened map is a convolution as large as the map."""
    weight, bias = node.required(1), node.constant(2)
    if node.attributes.get("transA", 0):
        raise UnfitError("it multiplies a transposed input")
    if weight.ndim != 2:
        raise UnfitError("it multiplies with more than one matrix")
    weight = weight if node.attributes.get("transB", 0) else weight.T  # (outputs, inputs)
    weight = weight * np.asarray(node.attributes.get("alpha", 1.0), weight.dtype)
    if bias is not None:
        bias = np.broadcast_to(bias * np.asarray(node.attributes.get("beta", 1.0), bias.dtype), (1, len(weight)))[0]
    layout = node.layout()
    last = len(layout.axes) - 1
    layout = _ready(node, layout, _narrows(layout, len(weight)) and not layout.statics(range(last)))
    return [_contracted(node, layout, Filters(weight, bias), last)]


def _contracted(node: Node, layout: Layout, filters: Filters, last: int) -> Layout:
    """The last axis, windows and all, against a matrix `(outputs, inputs)`."""
    factors, windows, statics = layout.axes[last], layout.windows([last]), layout.statics([last])
    if layout.rows and not windows and not layout.statics(range(last)):
        return _contracted_rows(node, layout, filters, last)
    layout = node.build.arranged(layout, layout.statics(range(last)), statics)
    split = filters.weight.reshape(filters.outputs, *(layout.size(factor) for factor in factors))
    order = [1 + factors.index(factor) for factor in (*layout.channels, *(w for w in (Y, X) if w in windows))]
    sizes = [layout.size(factor) if factor in windows else 1 for factor in (Y, X)]
    shaped = split.transpose(0, *order).reshape(filters.outputs, count(statics), *sizes)
    moves = Moves(Kernel(sizes[0]), Kernel(sizes[1]))
    outputs = Factor(filters.outputs)
    value = _convolved(node, layout, filters.with_weight(shaped), moves)
    made = replace(layout, value=value, channels=kept(outputs)).moved(*moves.windows(layout))
    return made.with_axis(last, outputs)


def _contracted_rows(node: Node, layout: Layout, filters: Filters, last: int) -> Layout:
    ordered = filters.ordered(layout.axes[last], (*layout.channels, *layout.depth)).weight
    weight = ordered.reshape(filters.outputs, count(layout.channels), 1, count(layout.depth))
    node.build.macs += weight.size
    outputs = Factor(filters.outputs)
    value = node.build.op("Conv", [layout.value, weight, filters.bias], node.name, kernel_shape=list(weight.shape[2:]))
    return replace(layout, value=value, depth=(), channels=kept(outputs)).with_axis(last, outputs)
