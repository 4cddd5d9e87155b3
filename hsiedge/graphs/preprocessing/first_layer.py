"""The layer that a graph begins with, as what it does to bands: its weights with an axis of bands, in float64."""

from __future__ import annotations

import copy
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from hsiedge.graphs import query
from hsiedge.graphs.preprocessing.band_map import Array, Linear
from hsiedge.graphs.preprocessing.operators import Path


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

    node: Any
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

    def written(self, weight: Array, bias: Array) -> tuple[Any, NDArray[np.float32], NDArray[np.float32]]:
        """The node without its inputs, and weight and bias as it stores them; a MatMul becomes a Gemm, for it has a bias."""
        from onnx import helper

        stored = np.moveaxis(weight.reshape(-1, weight.shape[2], *self.space), 1, self.along)
        node = copy.deepcopy(self.node)
        del node.input[:]
        if node.op_type != "Conv":
            node.op_type = "Gemm"
            del node.attribute[:]
            node.attribute.append(helper.make_attribute("transB", 1))
            stored = stored.reshape(len(stored), -1)
        return node, np.ascontiguousarray(stored, np.float32), bias.astype(np.float32)


def layer_of(node: Any, path: Path) -> Layer | None:
    """The layer that a node is to the value of a path; None where it is none, or has weights that are not constant."""
    if any(name and name not in path.constants for name in node.input[1:]):
        return None
    return _convolution(node, path) if node.op_type == "Conv" else _linear(node, path)


def _convolution(node: Any, path: Path) -> Layer | None:
    stored = path.constants[node.input[1]].astype(np.float64)
    axes, told = path.axes, query.attributes(node)
    if len(axes) != stored.ndim or ("b",) not in axes[1:] or axes[1] not in ((), ("b",)):
        return None
    along, groups, rank = axes.index(("b",)), told.get("group", 1), stored.ndim - 2
    weight = np.moveaxis(stored, along, 1)
    outputs, bands, *space = weight.shape
    pads = told.get("pads", [0] * 2 * rank)
    automatic = told.get("auto_pad", b"NOTSET") not in (b"NOTSET", b"VALID")
    if along > 1 and groups > 1:
        return None
    return Layer(
        node,
        weight.reshape(groups, outputs // groups, bands, -1),
        _bias(node, outputs, path),
        padded=automatic or any(pads),
        shared=along > 1 and (bands < path.sizes["b"] or automatic or any(pads[along - 2 :: rank])),
        pointwise=along == 1 and groups == 1 and not any(pads) and {*stored.shape[2:], *told.get("strides", ())} == {1},
        space=tuple(space),
        along=along,
    )


def _linear(node: Any, path: Path) -> Layer | None:
    stored = path.constants[node.input[1]].astype(np.float64)
    labels, told = path.axes[-1], query.attributes(node)
    sizes = [path.sizes[label] for label in labels]
    pointwise = labels == ("b",) and path.permuted
    if (
        stored.ndim != 2
        or "b" not in labels
        or min(sizes) < 1
        or told.get("transA", 0)
        or (len(path.axes) > 2 and not pointwise)
    ):
        return None
    weight = told.get("alpha", 1.0) * (stored if told.get("transB", 0) else stored.T)
    along = 1 + labels.index("b")
    weight = np.moveaxis(weight.reshape(len(weight), *sizes), along, 1)
    outputs, bands, *space = weight.shape
    bias = told.get("beta", 1.0) * _bias(node, outputs, path)
    return Layer(
        node,
        weight.reshape(1, outputs, bands, -1),
        bias,
        padded=False,
        shared=False,
        pointwise=pointwise,
        space=tuple(space),
        along=along,
    )


def _bias(node: Any, outputs: int, path: Path) -> Array:
    if len(node.input) < 3 or not node.input[2]:
        return np.zeros(outputs)
    return np.broadcast_to(path.constants[node.input[2]].astype(np.float64).ravel(), outputs)
