"""Convolutions and linear layers."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import onnx_ir as ir
from numpy.typing import NDArray

from hsiedge.graphs.dense.late import mean_taken, settled
from hsiedge.graphs.dense.layout import Builder, Factor, Layout, UnfitError, X, Y, count, fused, kept
from hsiedge.graphs.dense.node import Kernel, Moves, Node, kernels


def conv(node: Node) -> list[Layout]:
    """Unpadded along the windows, and dilated by the strides before it; along the spectrum as it stands."""
    weight, bias = node.required(1), node.constant(2)
    group = int(node.attributes.get("group", 1))
    layout = node.layout()
    slides = kernels(node, weight.shape[2:], layout.shape[2:])
    if layout.mean is not None and not (all(slide.stays for slide in slides) and group == 1 and _narrows(layout, len(weight))):
        layout = mean_taken(node.build, layout)
    layout = settled(node, layout) if layout.gate is not None else layout
    along = {2 + axis: slide for axis, slide in enumerate(slides)}
    spectral = [axis for axis in along if layout.statics([axis])]
    if len(spectral) > 1 or (spectral and layout.statics([0])):
        raise UnfitError("it slides along more than one axis beside y and x")
    moves = Moves.of(node, layout, along)
    if not spectral:
        return [_conv_maps(node, layout, moves, weight, bias, group)]
    (axis,) = spectral
    slide = along[axis]
    weight = np.moveaxis(weight, axis, 2)  # (outputs, inputs, spectral, ...)
    if slide.positions(layout.shape[axis]) == 1 and slide.size == layout.shape[axis] and not layout.rows and group == 1:
        return [_conv_full(node, layout, moves, weight, bias, axis)]
    layout = fused(node.build, layout, axis)
    if moves.y.stays and moves.x.stays:
        return [_conv_rows(node, layout, moves, weight, bias, group, axis, slide)]
    return [_conv_unfolded(node, layout, moves, weight, bias, group, axis, slide)]


def _narrows(layout: Layout, outputs: int) -> bool:
    """Whether a linear layer leaves fewer channels than it takes: then its outputs are pooled, not its inputs."""
    return outputs < count((*layout.depth, *layout.channels))


def _conv_maps(node: Node, layout: Layout, moves: Moves, weight: NDArray[Any], bias: NDArray[Any] | None, group: int) -> Layout:
    """A convolution along the windows alone."""
    logical = layout.statics([1])
    layout = node.build.arranged(layout, layout.statics([0]), logical, ordered=group > 1)
    weight = moves.weights(_by_inputs(weight, logical, layout.channels) if group == 1 else weight)
    outputs = Factor(len(weight))
    node.build.macs += weight.size * count(layout.depth)
    made = replace(layout, value=_convolved(node, layout, weight, bias, moves, group), channels=kept(outputs))
    return made.moved(*moves.windows(layout)).with_axis(1, outputs)


def _conv_full(node: Node, layout: Layout, moves: Moves, weight: NDArray[Any], bias: NDArray[Any] | None, axis: int) -> Layout:
    """A convolution that takes in the whole spectral axis at once."""
    logical = layout.statics([1, axis])
    layout = node.build.arranged(layout, [], logical)
    merged = weight.reshape(len(weight), -1, *weight.shape[3:])
    weight = moves.weights(_by_inputs(merged, logical, layout.channels))
    outputs = Factor(len(weight))
    node.build.macs += weight.size
    made = replace(layout, value=_convolved(node, layout, weight, bias, moves), channels=kept(outputs))
    return made.moved(*moves.windows(layout)).with_axis(1, outputs).with_axis(axis)


def _conv_rows(
    node: Node,
    layout: Layout,
    moves: Moves,
    weight: NDArray[Any],
    bias: NDArray[Any] | None,
    group: int,
    axis: int,
    slide: Kernel,
) -> Layout:
    """A convolution along the spectrum alone."""
    logical = layout.statics([1])
    layout = node.build.arranged(layout, layout.statics([axis]), logical, ordered=group > 1, rows=True)
    weight = weight.reshape(*weight.shape[:3])
    weight = (_by_inputs(weight, logical, layout.channels) if group == 1 else weight)[:, :, None, :]
    outputs, depth = Factor(len(weight)), Factor(slide.positions(layout.shape[axis]))
    node.build.macs += weight.size * depth.size
    value = node.build.op(
        "Conv", [layout.value, weight, bias], node.name, **along_rows(slide), **({"group": group} if group > 1 else {})
    )
    made = replace(layout, value=value, depth=kept(depth), channels=kept(outputs)).moved(*moves.windows(layout))
    return made.with_axis(1, outputs).with_axis(axis, depth)


def _conv_unfolded(
    node: Node,
    layout: Layout,
    moves: Moves,
    weight: NDArray[Any],
    bias: NDArray[Any] | None,
    group: int,
    axis: int,
    slide: Kernel,
) -> Layout:
    """A 3-D convolution as a 2-D one: what it sees along the spectrum lies side by side in the channels."""
    logical = layout.statics([1])
    layout = node.build.arranged(layout, layout.statics([axis]), logical, ordered=group > 1)
    inputs = count(logical)
    depth = Factor(slide.positions(layout.shape[axis]))
    value = unfolded(node.build, layout.value, slide, depth.size)
    weight = _by_inputs(weight, logical, layout.channels) if group == 1 else weight
    if group == 1:  # the slices lie behind one another, each with all channels
        weight = weight.swapaxes(1, 2)
    else:
        order = np.arange(slide.size * inputs).reshape(slide.size, inputs).T.ravel()
        value = node.build.op("Gather", [value, order], axis=1)
    weight = moves.weights(weight.reshape(len(weight), -1, *weight.shape[3:]))
    outputs = Factor(len(weight))
    node.build.macs += weight.size * depth.size
    found = replace(layout, value=value)
    value = _convolved(node, found, weight, bias, moves, group)
    made = replace(layout, value=value, depth=kept(depth), channels=kept(outputs)).moved(*moves.windows(layout))
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


def _convolved(
    node: Node, layout: Layout, weight: NDArray[Any], bias: NDArray[Any] | None, moves: Moves, group: int = 1
) -> ir.Value:
    attributes: dict[str, Any] = {"kernel_shape": list(weight.shape[2:])}
    if moves.dilations(layout) != [1, 1]:
        attributes["dilations"] = moves.dilations(layout)
    if group > 1:
        attributes["group"] = group
    return node.build.op("Conv", [layout.value, weight, bias], node.name, **attributes)


def _by_inputs(weight: NDArray[Any], logical: Sequence[Factor], stored: Sequence[Factor]) -> NDArray[Any]:
    """Weights `(outputs, inputs, ...)` for inputs that are stored in another order."""
    if tuple(logical) == tuple(stored):
        return weight
    split = weight.reshape(len(weight), *(factor.size for factor in logical), *weight.shape[2:])
    order = [1 + list(logical).index(factor) for factor in stored]
    rest = range(1 + len(logical), split.ndim)
    return split.transpose(0, *order, *rest).reshape(weight.shape)


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
    if layout.mean is not None and not (_narrows(layout, len(weight)) and not layout.statics(range(last))):
        layout = mean_taken(node.build, layout)
    layout = settled(node, layout) if layout.gate is not None else layout
    return [_contracted(node, layout, weight, bias, last)]


def _contracted(node: Node, layout: Layout, weight: NDArray[Any], bias: NDArray[Any] | None, last: int) -> Layout:
    factors = layout.axes[last]
    windows = layout.windows([last])
    statics = layout.statics([last])
    if layout.rows and not windows and not layout.statics(range(last)):
        return _contracted_rows(node, layout, weight, bias, last)
    layout = node.build.arranged(layout, layout.statics(range(last)), statics)
    split = weight.reshape(len(weight), *(layout.size(factor) for factor in factors))
    order = [1 + factors.index(factor) for factor in (*layout.channels, *(w for w in (Y, X) if w in windows))]
    sizes = [layout.size(factor) if factor in windows else 1 for factor in (Y, X)]
    shaped = split.transpose(0, *order).reshape(len(weight), count(statics), *sizes)
    moves = Moves(Kernel(sizes[0]), Kernel(sizes[1]), False)
    outputs = Factor(len(weight))
    node.build.macs += weight.size * count(layout.depth)
    value = _convolved(node, layout, np.ascontiguousarray(shaped), bias, moves)
    made = replace(layout, value=value, channels=kept(outputs)).moved(*moves.windows(layout))
    return made.with_axis(last, outputs)


def _contracted_rows(node: Node, layout: Layout, weight: NDArray[Any], bias: NDArray[Any] | None, last: int) -> Layout:
    factors, stored = layout.axes[last], (*layout.channels, *layout.depth)
    ordered = _by_inputs(weight[:, :, None], factors, stored).reshape(
        len(weight), count(layout.channels), 1, count(layout.depth)
    )
    node.build.macs += weight.size
    outputs = Factor(len(weight))
    value = node.build.op("Conv", [layout.value, ordered, bias], node.name, kernel_shape=list(ordered.shape[2:]))
    return replace(layout, value=value, depth=(), channels=kept(outputs)).with_axis(last, outputs)
