"""The layer that a graph begins with, as what it does to bands: its weights with an axis of bands, in float64."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
import onnx_ir as ir
from numpy.typing import NDArray

from hsiedge.graphs.operator_view import Array as Constant
from hsiedge.graphs.operator_view import Rules, UnfitError
from hsiedge.graphs.preprocessing.band_map import Array, Linear
from hsiedge.graphs.preprocessing.operators import Step


@dataclass(frozen=True)
class Layer:
    """A convolution or linear layer.

    Attributes:
        node: as it is in the graph.
        weight: `(groups, outputs of a group, bands of a group, everything else)`; of a kernel that moves along the spectrum,
            its own positions stand in the place of the bands.
        bias: `(outputs,)`.
        padded: whether it puts zeros around what it takes.
        shared: whether it does the same to several bands.
        pointwise: whether it takes one pixel of all bands for each that it gives.
        space: the sizes that were merged into "everything else".
        along: where the bands lie among the axes of the stored weight, those of a flattened map apart.
    """

    node: ir.Node
    weight: Array
    bias: Array
    padded: bool
    shared: bool
    pointwise: bool
    space: tuple[int, ...]
    along: int

    def taking(self, linear: Linear) -> tuple[Array, Array]:
        """Weight and bias with which it does what `linear` does, and then what it did."""
        groups, _, bands, _ = self.weight.shape
        factor, shift = linear.matrix, linear.shift
        if self.shared:  # one for all bands, and so at each position of the kernel
            factor, shift = np.full(bands, factor[0]), np.full(bands, shift[0])
        if linear.mixes:
            weight = np.einsum("goir,ib->gobr", self.weight, factor)
        else:
            weight = self.weight * factor.reshape(groups, 1, bands, 1)
        return weight, self.bias + (self.weight * shift.reshape(groups, 1, bands, 1)).sum((2, 3)).ravel()

    def stored(self, weight: Array) -> NDArray[np.float32]:
        """A weight such as `taking` gives, in the shape in which the node has it."""
        stored = np.moveaxis(weight.reshape(-1, weight.shape[2], *self.space), 1, self.along)
        if self.node.op_type != "Conv":
            stored = stored.reshape(len(stored), -1)
        return np.ascontiguousarray(stored, np.float32)

    def node_of(self, value: ir.Value, weight: ir.Value, bias: ir.Value) -> ir.Node:
        """The layer on another value with another weight; a MatMul becomes a Gemm, for it has a bias."""
        old, inputs = self.node, [value, weight, bias]
        if old.op_type == "Conv":
            return ir.Node("", "Conv", inputs, old.attributes.values(), name=old.name)
        return ir.node("Gemm", inputs, {"transB": 1}, name=old.name)


def _convolution(step: Step) -> Layer:
    stored, path = step.required(1).astype(np.float64), step.path
    axes, rank, groups = path.axes, stored.ndim - 2, step.integer("group")
    if len(axes) != stored.ndim or ("b",) not in axes[1:] or axes[1] not in ((), ("b",)):
        raise UnfitError("it takes other axes than bands as channels")
    along = axes.index(("b",))
    if along > 1 and groups > 1:
        raise UnfitError("it slides along bands in groups")
    kernels = step.kernels(stored.shape[2:], [1] * rank)
    padded = [step.pads_itself or bool(kernel.head or kernel.tail) for kernel in kernels]
    stays = all(kernel.stays and kernel.stride == 1 and not (kernel.head or kernel.tail) for kernel in kernels)
    layer = _layer(step.node, stored, step.constant(2), along, groups)
    shared = along > 1 and (stored.shape[along] < path.sizes["b"] or padded[along - 2])
    return replace(layer, padded=any(padded), shared=shared, pointwise=along == 1 and groups == 1 and stays)


def _linear(step: Step) -> Layer:
    path = step.path
    weight, bias = step.linear(np.float64)
    labels = path.axes[-1]
    sizes = [path.sizes[label] for label in labels]
    pointwise = labels == ("b",) and path.permuted
    if "b" not in labels or min(sizes) < 1 or (len(path.axes) > 2 and not pointwise):
        raise UnfitError("it multiplies other axes than bands")
    layer = _layer(step.node, weight.reshape(len(weight), *sizes), bias, 1 + labels.index("b"))
    return replace(layer, pointwise=pointwise)


def _layer(node: ir.Node, stored: Array, bias: Constant | None, along: int, groups: int = 1) -> Layer:
    """A layer of weights whose bands lie `along` an axis, neither padded nor shared."""
    weight = np.moveaxis(stored, along, 1)
    outputs, bands, *space = weight.shape
    shift = np.zeros(outputs) if bias is None else bias.astype(np.float64)
    weight = weight.reshape(groups, outputs // groups, bands, -1)
    return Layer(node, weight, shift, False, False, False, tuple(space), along)


LAYERS = Rules[Step, Layer]({"Conv": _convolution, "Gemm": _linear, "MatMul": _linear}, unknown="not a layer")
"""Layers by operator. A rule raises UnfitError where a layer does not take bands, or its weights are not constant."""
