"""An INT8 graph, made a program of the native engine: DequantizeLinear -> Conv -> QuantizeLinear is one op.

Values are followed by what their axes stand for, not by where they stand, so a transpose costs nothing:

    counts (1, r, x, c) -> Transpose -> (1, c, r, x) -> DequantizeLinear -> Conv 3 x 3 -> QuantizeLinear
    is one Op(DENSE, kernel (3, 3, 1))

A float value between DequantizeLinear and QuantizeLinear is kept as what it is made of (`Real` and those after it), and
becomes an op when it is quantized. What no op computes is an error that names the node.
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from hsiedge.card import Card
from hsiedge.native.program import Filters, Input, InputKind, Kind, Op, Program, Tensor
from hsiedge.runtimes.input_affine import InputAffine
from hsiedge.runtimes.native_lowering import UnsupportedNodeError
from hsiedge.runtimes.native_moves import Moves
from hsiedge.runtimes.native_values import (
    FUNCTIONS,
    Axes,
    Function,
    Joined,
    Largest,
    Pooled,
    Real,
    Sizes,
    Stored,
    Sums,
    relu,
    table_of,
)
from hsiedge.runtimes.onnx_graph import Node, read_graph

_MOST_WEIGHTS = 1 << 26  # of a convolution in groups, with the zeros between them
_SCALES = 1e-4  # that the bias's scale may be off the product of the others, relatively


@dataclass(frozen=True)
class Lowered:
    """A program, and what turns its sums into the graph's logits: `(sum - taken) * rate`, then * factor, float32 each.

    Attributes:
        taken, rate: `(classes,)` or one number. divisor: of means; factor: behind them.
        names: of tensors of the graph that are the program's, by index; with what their axes stand for.
    """

    program: Program
    taken: int
    rate: NDArray[np.float32]
    divisor: int
    factor: np.float32
    names: dict[int, tuple[str, Axes]] = field(default_factory=dict)

    def for_rows(self, card: Card, dtype: np.dtype[Any]) -> Lowered:
        """Program for rows of counts of a dtype, in place of the integers that they become."""
        return replace(self, program=replace(self.program, input=_input(card, self.program.input.signed, dtype)))

    def logits(self, sums: NDArray[np.int32]) -> NDArray[np.float32]:
        """float32 logits of `(..., classes)` sums."""
        values = (sums - np.int32(self.taken)).astype(np.float32) * self.rate
        if self.divisor > 1:
            values /= np.float32(self.divisor)
        values *= self.factor
        return values


def lower(path: Path, card: Card, dtype: np.dtype[Any] | None = None, *, output: str | None = None) -> Lowered:
    """Makes a file's graph a program.

    Args:
        card: its Card.
        dtype: of the rows that come; None for integers that are prepared already.
        output: a tensor of the graph whose integers are the program's output, in place of its logits.

    Raises:
        UnsupportedNodeError: a node that no op computes, or a graph that is not a chain of integers; it names the node.
        ModelError: the file cannot be read.
    """
    graph = read_graph(path)
    walk = _Walk(graph, card, path)
    for node in graph.nodes:
        walk.take(node)
        if output is not None and output in node.outputs:
            return walk.tapped(output, dtype)
    return walk.finished(dtype)


class _Walk(Moves):
    """A graph on its way to a program, node by node."""

    def take(self, node: Node) -> None:
        """Takes the next node."""
        self._node = node
        handler = getattr(self, f"_on_{node.op.lower()}", None)
        if len(node.outputs) != 1 or (handler is None and node.op not in FUNCTIONS):
            raise self._refused("no kernel for it")
        try:
            value = handler(node) if handler is not None else self._function(node, FUNCTIONS[node.op](node))
        except (LookupError, ValueError, TypeError, ArithmeticError) as error:  # of a graph that is not well formed
            raise self._refused(f"not well formed: {error}") from error
        self.values[node.outputs[0]] = value

    # ---- integers <-> floats ----

    def _on_dequantizelinear(self, node: Node) -> Any:
        scale = self._constant(node.inputs[1])
        if node.inputs[0] in self._graph.initializers:
            zero = self._constant(node.inputs[2]) if len(node.inputs) > 2 else np.zeros((), np.int8)
            if zero.any():
                raise self._refused("weights with a zero point")
            return self._graph.initializers[node.inputs[0]], scale.astype(np.float32)
        stored: Stored = self._value(node.inputs[0], Stored)
        zero = self._constant(node.inputs[2]) if len(node.inputs) > 2 else np.zeros(1, np.uint8)
        if scale.size != 1 or zero.size != 1:
            raise self._refused("a scale for each channel")
        return Real(stored, np.float32(scale.ravel()[0]), int(zero.ravel()[0]) + 128 * stored.signed)

    def _on_quantizelinear(self, node: Node) -> Stored:
        scale = np.float32(self._constant(node.inputs[1]).ravel()[0])
        zero = self._constant(node.inputs[2]) if len(node.inputs) > 2 else np.zeros((), np.uint8)
        if zero.size != 1 or zero.dtype not in (np.uint8, np.int8):
            raise self._refused("other than 8-bit integers")
        signed = zero.dtype == np.int8
        offset = int(zero.ravel()[0]) + 128 * signed
        value = self._value(node.inputs[0], Real, Sums, Largest, Joined)
        if isinstance(value, Sums):
            filters = value.op.filters
            assert filters is not None
            scales = (value.scale / scale).astype(np.float32)
            op = replace(value.op, zero=offset, filters=replace(filters, scale=scales))
            return self._added(op, value.shape, value.axes, signed)
        if isinstance(value, Largest):
            stored = self._added(value.op, value.shape, value.axes, value.source.stored.signed)
            return self._looked_up(replace(value.source, stored=stored), scale, offset, signed)
        if isinstance(value, Joined):
            stored = self._join(value, scale, offset, signed)
            return self._looked_up(Real(stored, scale, offset, (relu,)), scale, offset, signed) if value.is_positive else stored
        return self._looked_up(value, scale, offset, signed)

    def _looked_up(self, value: Real, scale: np.float32, zero: int, signed: bool) -> Stored:
        """A function of each integer: a table, or nothing where it changes none."""
        table = table_of(value, scale, zero)
        if (table == np.arange(256)).all():
            return replace(value.stored, signed=signed)
        source = self._plain(value.stored)
        shape = self._shape(source)
        return self._added(self._table_op(source, shape, table), shape, source.axes, signed)

    # ---- floats ----

    def _on_conv(self, node: Node) -> Sums:
        source: Real = self._value(node.inputs[0], Real)
        weights, weight_scale = self._pair(node.inputs[1])
        outputs = len(weights)
        bias = self._bias(node, source, weight_scale, outputs)
        if source.functions or weights.dtype != np.int8 or node.attributes.get("auto_pad", "NOTSET") != "NOTSET":
            raise self._refused("weights that are not 8-bit integers, or an automatic pad")
        axes = source.stored.axes
        spatial, group = axes[2:], node.integer("group", 1)
        if axes[1] != "c" or weights.ndim != len(axes) or set(spatial) & {"c"}:
            raise self._refused("axes in an order of their own")
        geometry = _geometry(node, len(spatial))
        source = self._padded(source, spatial, geometry["pads"])
        stored = source.stored
        kernel, dilation, stride = self._kernel(spatial, weights.shape[2:], geometry)
        inputs = self._shape(stored)
        if stored.window > 1:
            if kernel[2] > 1 or group > 1:
                raise self._refused("a window over positions under another")
            kernel = (*kernel[:2], stored.window)
        channels = inputs.channels
        filters, depthwise = self._filters(weights, spatial, group, channels, stored.window)
        positions = (inputs.positions - (kernel[2] - 1) * dilation[2] - 1) // stride + 1
        if positions < 1 or (kernel[2] > 1 and dilation[2] > 1):
            raise self._refused("a kernel wider than the spectrum, or dilated along it")
        shrink = stored.shrink + (kernel[1] - 1) * dilation[1]
        if stored.shrink + (kernel[0] - 1) * dilation[0] != shrink:
            raise self._refused("a kernel that is not square")
        kind = Kind.DEPTHWISE if depthwise else Kind.DENSE
        scale = np.broadcast_to(np.float32(source.scale) * weight_scale, outputs).astype(np.float32)
        op = Op(
            kind,
            -1,
            (stored.tensor,),
            kernel,
            dilation,
            stride,
            (stored.row,),
            (stored.column,),
            channels=outputs,
            filters=Filters(filters, bias, scale, source.zero),
        )
        return Sums(source, op, Tensor(positions, outputs, shrink), axes, scale)

    def _pair(self, name: str) -> tuple[NDArray[Any], NDArray[np.float32]]:
        value = self.values.get(name)
        if not isinstance(value, tuple):
            raise self._refused("weights that are left in float")
        return value

    def _bias(self, node: Node, source: Real, weight_scale: NDArray[np.float32], outputs: int) -> NDArray[np.int32]:
        if len(node.inputs) < 3 or not node.inputs[2]:
            return np.zeros(outputs, np.int32)
        bias, scale = self._pair(node.inputs[2])
        if bias.dtype != np.int32 or not np.allclose(scale, source.scale * weight_scale, rtol=_SCALES, atol=0):
            raise self._refused("a bias in steps of its own")
        return bias.astype(np.int32)

    def _kernel(self, spatial: Axes, sizes: tuple[int, ...], geometry: dict[str, list[int]]) -> tuple[Sizes, Sizes, int]:
        """Kernel and dilation in rows, columns and positions, and the stride in positions."""
        kernel, dilation, stride = {}, {}, {}
        for axis, size, *numbers in zip(spatial, sizes, geometry["dilations"], geometry["strides"]):
            kernel[axis], dilation[axis], stride[axis] = size, numbers[0] if size > 1 else 1, numbers[1]
        if stride.get("r", 1) != 1 or stride.get("x", 1) != 1 or kernel.get("1", 1) != 1:
            raise self._refused("a stride over pixels")
        sizes_of, steps = ([entry.get(axis, 1) for axis in "rxp"] for entry in (kernel, dilation))
        return (sizes_of[0], sizes_of[1], sizes_of[2]), (steps[0], steps[1], steps[2]), stride.get("p", 1)

    def _padded(self, source: Real, spatial: Axes, pads: list[int]) -> Real:
        before, behind = pads[: len(spatial)], pads[len(spatial) :]
        for axis, first, last in zip(spatial, before, behind):
            if (first or last) and axis != "p":
                raise self._refused("a pad around pixels")
            if first or last:
                source = replace(source, stored=self._extended(source.stored, first, last, source.zero))
        return source

    def _filters(
        self, weights: NDArray[Any], spatial: Axes, group: int, channels: int, window: int
    ) -> tuple[NDArray[np.int8], bool]:
        """Weights as (outputs, rows, columns, positions, channels), and whether each output has a channel of its own."""
        outputs = len(weights)
        if weights.shape[1] * group != channels * window:
            raise self._refused(f"weights for {weights.shape[1] * group} channels, where there are {channels * window}")
        places = [spatial.index(axis) + 2 if axis in spatial else None for axis in "rxp"]
        ordered = weights.transpose(
            0, *(place for place in places if place is not None), *(i + 2 for i, axis in enumerate(spatial) if axis == "1"), 1
        )
        ordered = ordered.reshape(
            outputs, *(1 if place is None else weights.shape[place] for place in places), weights.shape[1]
        )
        if window > 1:  # neighbouring positions, side by side as channels
            return ordered.reshape(*ordered.shape[:3], window, channels), False
        if group == 1:
            return ordered, False
        if group == channels == outputs and ordered.shape[3] == 1 and channels > 1 and "p" not in spatial:
            return ordered, True
        if ordered.size * group > _MOST_WEIGHTS:
            raise self._refused("too many groups")
        full = np.zeros((*ordered.shape[:4], channels), np.int8)
        each, own = channels // group, outputs // group
        for index in range(outputs):
            first = index // own * each
            full[index, ..., first : first + each] = ordered[index]
        return full, False

    def _on_maxpool(self, node: Node) -> Largest:
        source: Real = self._value(node.inputs[0], Real)
        stored = self._plain(source.stored)
        spatial = stored.axes[2:]
        if source.functions or stored.axes[1] != "c" or "c" in spatial or node.integer("ceil_mode", 0):
            raise self._refused("a pool in an order of its own")
        geometry = _geometry(node, len(spatial))
        sizes = node.integers("kernel_shape", [])
        if any(geometry["pads"]):
            raise self._refused("a pad")
        kernel, dilation, stride = self._kernel(spatial, tuple(sizes), geometry)
        shape = self._shape(stored)
        positions = (shape.positions - (kernel[2] - 1) * dilation[2] - 1) // stride + 1
        wide = (kernel[1] - 1) * dilation[1]
        if positions < 1 or wide != (kernel[0] - 1) * dilation[0]:
            raise self._refused("a pool that is not square, or wider than the spectrum")
        op = Op(
            Kind.MAX, -1, (stored.tensor,), kernel, dilation, stride, (stored.row,), (stored.column,), channels=shape.channels
        )
        return Largest(source, op, Tensor(positions, shape.channels, stored.shrink + wide), stored.axes)

    def _on_averagepool(self, node: Node) -> Pooled:
        source: Real = self._value(node.inputs[0], Real)
        sizes = node.integers("kernel_shape", [])
        geometry = _geometry(node, 2)
        if source.functions or source.stored.axes != ("1", "c", "r", "x") or sizes[0] != sizes[-1] or len(sizes) != 2:
            raise self._refused("a pool that is not the last, over as many rows as columns")
        if (
            any(geometry["pads"])
            or geometry["strides"] != [1, 1]
            or geometry["dilations"] != [1, 1]
            or node.integer("ceil_mode", 0)
        ):
            raise self._refused("a pad or a stride")
        return Pooled(source, sizes[0], np.float32(1))

    def _on_mul(self, node: Node) -> Pooled:
        value, factor = self._value(node.inputs[0], Pooled), self._constant(node.inputs[1])
        if factor.size != 1:
            raise self._refused("a factor for each channel")
        pooled: Pooled = replace(value, factor=np.float32(factor.ravel()[0]))
        return pooled

    def _on_add(self, node: Node) -> Joined:
        parts = tuple(self._value(name, Real) for name in node.inputs)
        if any(part.functions for part in parts) or parts[0].stored.axes != parts[1].stored.axes:
            raise self._refused("a sum of other than integers")
        return Joined(parts, parts[0].stored.axes, True)

    def _function(self, node: Node, function: Function) -> Any:
        value = self._value(node.inputs[0], Real, Largest, Joined)
        if isinstance(value, Joined):
            if node.op != "Relu":
                raise self._refused("behind a sum")
            return replace(value, is_positive=True)
        if isinstance(value, Largest):
            return replace(value, source=self._with(value.source, function))
        return self._with(value, function)

    def _with(self, value: Real, function: Function) -> Real:
        def rounded(values: NDArray[np.float32]) -> NDArray[np.float32]:
            with np.errstate(over="ignore"):
                return function(values.astype(np.float64)).astype(np.float32)

        return replace(value, functions=(*value.functions, rounded))

    # ---- the end ----

    def finished(self, dtype: np.dtype[Any] | None) -> Lowered:
        """The program whose sums are the graph's logits."""
        if len(self._graph.outputs) != 1:
            raise UnsupportedNodeError(f"{self._path}: the native engine takes graphs of one output")
        value = self.values.get(self._graph.outputs[0])
        if isinstance(value, Pooled):
            pool, real, factor = value.pool, value.source, value.factor
        elif isinstance(value, Real) and not value.functions:
            pool, real, factor = 1, value, np.float32(1)
        elif isinstance(value, Sums):
            return self._float_logits(value, dtype)
        else:
            raise self._refused("as the last node")
        stored = self._plain(real.stored)
        if stored.row or stored.column or self._tensors[stored.tensor].shrink != stored.shrink:
            raise self._refused("part of the logits")
        rate = np.full(len(self._card.classes), real.scale, np.float32)
        return Lowered(
            self._program(stored.tensor, pool, dtype), real.zero * pool * pool, rate, pool * pool, factor, self._names()
        )

    def _names(self) -> dict[int, tuple[str, Axes]]:
        """Tensors of the graph that are the program's as they stand: neither cut nor viewed otherwise."""
        whole = {}
        for name, value in self.values.items():
            if isinstance(value, Stored) and value == Stored(
                value.tensor, value.axes, value.signed, shrink=self._tensors[value.tensor].shrink
            ):
                whole[value.tensor] = name, value.axes
        return whole

    def _float_logits(self, value: Sums, dtype: np.dtype[Any] | None) -> Lowered:
        if value.op.kind is not Kind.DENSE or value.shape.positions != 1:
            raise self._refused("as the last node")
        stored = self._added(replace(value.op, kind=Kind.DENSE_SUMS), value.shape, value.axes, False)
        return Lowered(self._program(stored.tensor, 1, dtype), 0, value.scale, 1, np.float32(1), self._names())

    def tapped(self, name: str, dtype: np.dtype[Any] | None) -> Lowered:
        """The program whose output is one of the graph's integer tensors."""
        stored = self._plain(self._value(name, Stored))
        shape = self._tensors[stored.tensor]
        program = self._program(
            stored.tensor, 1, dtype, radius=shape.shrink // 2, ids=np.zeros(shape.positions * shape.channels, np.uint16)
        )
        return Lowered(program, 0, np.ones(1, np.float32), 1, np.float32(1))

    def _program(
        self,
        output: int,
        pool: int,
        dtype: np.dtype[Any] | None,
        *,
        radius: int | None = None,
        ids: NDArray[np.uint16] | None = None,
    ) -> Program:
        card = self._card
        ids = np.array([entry.id for entry in card.classes], np.uint16) if ids is None else ids
        radius = card.radius if radius is None else radius
        return Program(self._tensors, self._ops, card.scene.bands, radius, output, pool, ids, _input(card, self._signed, dtype))


def _geometry(node: Node, axes: int) -> dict[str, list[int]]:
    defaults = {"strides": [1] * axes, "dilations": [1] * axes, "pads": [0] * (2 * axes)}
    return {name: node.integers(name, default) for name, default in defaults.items()}


def _input(card: Card, signed: bool, dtype: np.dtype[Any] | None) -> Input:
    if dtype is None:
        return Input(InputKind.INTEGERS, signed)
    assert card.input_affine is not None
    return InputAffine(card.input_affine).native(dtype)
