"""Convolutions and linear layers."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
import onnx_ir as ir

from hsiedge.graphs.operator_view import Array, Kernel, UnfitError
from hsiedge.graphs.scene_graph.deferred import mean_taken, settled
from hsiedge.graphs.scene_graph.layout import AttributeValue, Builder, Factor, Layout, X, Y, count, fused, kept
from hsiedge.graphs.scene_graph.node import Node, Sliding


@dataclass(frozen=True)
class Filters:
    """Weights `(outputs, inputs / group, ...)`, and a bias `(outputs,)` or None."""

    weight: Array
    bias: Array | None
    group: int = 1

    @property
    def outputs(self) -> int:
        """The number of channels that they give."""
        return len(self.weight)

    def ordered(self, logical: Sequence[Factor], stored: Sequence[Factor]) -> Filters:
        """The filters for inputs that are stored in another order than the logical one; with groups they never are."""
        if self.group > 1 or tuple(logical) == tuple(stored):
            return self
        split = self.weight.reshape(self.outputs, *(factor.size for factor in logical), *self.weight.shape[2:])
        order = [1 + list(logical).index(factor) for factor in stored]
        rest = range(1 + len(logical), split.ndim)
        return self.with_weight(split.transpose(0, *order, *rest).reshape(self.weight.shape))

    def with_weight(self, weight: Array) -> Filters:
        """The filters with weights in another shape or order."""
        return replace(self, weight=np.ascontiguousarray(weight))


def conv(node: Node) -> list[Layout]:
    """A convolution: unpadded along the windows, and dilated by the strides before it; along the spectrum as it stands."""
    filters = Filters(node.required(1), node.constant(2), node.integer("group"))
    layout = node.computed()
    if layout.windows([0, 1]):
        raise UnfitError("it takes places of a patch as channels")
    kernels, filters = _taps(node.kernels(filters.weight.shape[2:], layout.shape[2:]), filters, layout)
    pointwise = all(kernel.stays for kernel in kernels) and filters.group == 1
    layout = _ready(node, layout, pointwise and _narrows(layout, filters.outputs))
    along = dict(enumerate(kernels, 2))
    spectral = [axis for axis in along if layout.statics([axis])]
    if len(spectral) > 1 or (spectral and layout.statics([0])):
        raise UnfitError("it slides along more than one axis beside y and x")
    sliding = Sliding.of(node, layout, along)
    if not spectral:
        return [_conv_maps(node, layout, sliding, filters)]
    (axis,) = spectral
    kernel = along[axis]
    filters = filters.with_weight(np.moveaxis(filters.weight, axis, 2))  # (outputs, inputs, spectral, ...)
    whole = kernel.positions(layout.shape[axis]) == 1 and kernel.size == layout.shape[axis]
    if whole and not layout.rows and filters.group == 1:
        return [_conv_maps(node, layout, sliding, filters, spectral)]
    layout = fused(node.build, layout, axis)
    if sliding.stays:
        return [_conv_rows(node, layout, sliding, filters, axis, kernel)]
    return [_conv_unfolded(node, layout, sliding, filters, axis, kernel)]


def _taps(kernels: Sequence[Kernel], filters: Filters, layout: Layout) -> tuple[list[Kernel], Filters]:
    """Kernels and filters, of which those that slide over a single position, all others being padding, are one tap."""
    ours = list(kernels)
    for axis, kernel in enumerate(kernels, 2):
        tap, between = divmod(kernel.head, kernel.dilation)
        if layout.shape[axis] == 1 and not kernel.stays and not between and tap < kernel.size and kernel.positions(1) == 1:
            ours[axis - 2] = Kernel(1)
            filters = filters.with_weight(filters.weight.take([tap], axis))
    return ours, filters


def _ready(node: Node, layout: Layout, before_mean: bool) -> Layout:
    """The input with nothing put off, but for a mean before which a linear layer may come."""
    if layout.mean is not None and not before_mean:
        layout = mean_taken(node.build, layout)
    return layout if layout.gate is None else settled(node, layout)


def _narrows(layout: Layout, outputs: int) -> bool:
    """Tells a linear layer that leaves fewer channels than it takes: its outputs are pooled then, not its inputs."""
    return outputs < count((*layout.depth, *layout.channels))


def _conv_maps(node: Node, layout: Layout, sliding: Sliding, filters: Filters, spectral: Sequence[int] = ()) -> Layout:
    """A convolution along the windows, which takes in the whole spectral axis at once where there is one."""
    logical = layout.statics([1, *spectral])
    layout = node.build.arranged(layout, layout.statics([0]), logical, ordered=filters.group > 1)
    if spectral:
        filters = filters.with_weight(filters.weight.reshape(filters.outputs, -1, *filters.weight.shape[3:]))
    filters = filters.ordered(logical, layout.channels)
    layout = _convolved(node, layout, filters.with_weight(sliding.weights(filters.weight)), sliding, 1)
    return layout.with_axis(spectral[0]) if spectral else layout


def _conv_rows(node: Node, layout: Layout, sliding: Sliding, filters: Filters, axis: int, kernel: Kernel) -> Layout:
    """A convolution along the spectrum alone."""
    logical = layout.statics([1])
    layout = node.build.arranged(layout, layout.statics([axis]), logical, ordered=filters.group > 1, rows=True)
    weight = filters.ordered(logical, layout.channels).weight.reshape(*filters.weight.shape[:3])[:, :, None, :]
    outputs, depth = Factor(filters.outputs), Factor(kernel.positions(layout.shape[axis]))
    node.build.macs += weight.size * depth.size
    groups = {"group": filters.group} if filters.group > 1 else {}
    value = node.build.op("Conv", [layout.value, weight, filters.bias], node.name, **along_rows(kernel), **groups)
    layout = replace(layout, value=value, depth=kept(depth), channels=kept(outputs))
    return layout.with_windows(*sliding.windows(layout)).with_axis(1, outputs).with_axis(axis, depth)


def _conv_unfolded(node: Node, layout: Layout, sliding: Sliding, filters: Filters, axis: int, kernel: Kernel) -> Layout:
    """A 3-D convolution as a 2-D one: what it sees along the spectrum lies side by side in the channels."""
    logical = layout.statics([1])
    layout = node.build.arranged(layout, layout.statics([axis]), logical, ordered=filters.group > 1)
    depth = Factor(kernel.positions(layout.shape[axis]))
    value = unfolded(node.build, layout.value, kernel, depth.size)
    weight = filters.ordered(logical, layout.channels).weight
    if filters.group == 1:  # the slices lie behind one another, each with all channels
        weight = weight.swapaxes(1, 2)
    else:
        order = np.arange(kernel.size * count(logical)).reshape(kernel.size, -1).T.ravel()
        value = node.build.op("Gather", [value, order], axis=1)
    weight = sliding.weights(weight.reshape(filters.outputs, -1, *weight.shape[3:]))
    maps = replace(layout, value=value, depth=kept(depth))
    return _convolved(node, maps, filters.with_weight(weight), sliding, 1).with_axis(axis, depth)


def unfolded(build: Builder, value: ir.Value, kernel: Kernel, positions: int) -> ir.Value:
    """Maps whose channels are those of all the depths that a kernel sees, kernel-major."""
    if kernel.head or kernel.tail:
        pads = np.array([kernel.head, 0, 0, 0, kernel.tail, 0, 0, 0])
        value = build.op("Pad", [value, pads])
    if kernel.size == 1 and kernel.stride == 1:
        return value
    pieces = []
    for place in range(kernel.size):
        start = place * kernel.dilation
        end = start + (positions - 1) * kernel.stride + 1
        limits = [np.array([number]) for number in (start, end, 0, kernel.stride)]
        pieces.append(build.op("Slice", [value, *limits]))
    return pieces[0] if len(pieces) == 1 else build.op("Concat", pieces, axis=1)


def _convolved(node: Node, layout: Layout, filters: Filters, sliding: Sliding, axis: int) -> Layout:
    """Maps under filters `(outputs, inputs, y, x)`, whose outputs become the channels and one axis of the value."""
    attributes: dict[str, AttributeValue] = {"kernel_shape": list(filters.weight.shape[2:])}
    if sliding.dilations(layout) != [1, 1]:
        attributes["dilations"] = sliding.dilations(layout)
    if filters.group > 1:
        attributes["group"] = filters.group
    node.build.macs += filters.weight.size * count(layout.depth)
    value = node.build.op("Conv", [layout.value, filters.weight, filters.bias], node.name, **attributes)
    outputs = Factor(filters.outputs)
    layout = replace(layout, value=value, channels=kept(outputs)).with_windows(*sliding.windows(layout))
    return layout.with_axis(axis, outputs)


def along_rows(kernel: Kernel) -> dict[str, AttributeValue]:
    """Attributes of a convolution or pool along the last axis of rows."""
    attributes: dict[str, AttributeValue] = {"kernel_shape": [1, kernel.size], "strides": [1, kernel.stride]}
    if kernel.dilation > 1:
        attributes["dilations"] = [1, kernel.dilation]
    if kernel.head or kernel.tail:
        attributes["pads"] = [0, kernel.head, 0, kernel.tail]
    return attributes


def gemm(node: Node) -> list[Layout]:
    """A linear layer on a flattened map is a convolution as large as the map."""
    weight, bias = node.linear(np.float32)
    layout = node.computed()
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
    sliding = Sliding(Kernel(sizes[0]), Kernel(sizes[1]))
    return _convolved(node, layout, filters.with_weight(shaped), sliding, last)


def _contracted_rows(node: Node, layout: Layout, filters: Filters, last: int) -> Layout:
    ordered = filters.ordered(layout.axes[last], (*layout.channels, *layout.depth)).weight
    weight = ordered.reshape(filters.outputs, count(layout.channels), 1, count(layout.depth))
    node.build.macs += weight.size
    outputs = Factor(filters.outputs)
    value = node.build.op("Conv", [layout.value, weight, filters.bias], node.name, kernel_shape=list(weight.shape[2:]))
    return replace(layout, value=value, depth=(), channels=kept(outputs)).with_axis(last, outputs)
