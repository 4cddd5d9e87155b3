"""Pass: 3-D convolutions as 2-D ones, and 1-D ones too. Integer kernels are 2-D; onnxruntime's others are slower than float.

What a kernel sees along the spectrum is laid side by side, in the channels of as many maps as it has positions. (In scene
graphs `densify` does the same.)
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import onnx_ir as ir
from numpy.typing import NDArray

from hsiedge.graphs.edit import (
    Attribute,
    array_of,
    constant,
    drop_unused,
    insert_before,
    name_of,
    operator,
    replace_value,
    sizes_of,
    taken,
)
from hsiedge.graphs.passes.graph_pass import GraphPass

_POINTWISE = ("Elu", "HardSigmoid", "HardSwish", "LeakyRelu", "Relu", "Sigmoid", "Softplus", "Tanh")
_LAST, _FIRST = [0, 2, 3, 1], [0, 3, 1, 2]  # maps (N, channels, y, x) to (N, y, x, channels), and back
_DEEP, _ORDERED = [0, 2, 3, 4, 1], [0, 4, 1, 2, 3]  # (N, channels, depth, y, x) to (N, depth, y, x, channels), and back
_Order = Callable[[ir.Value, str], ir.Value]


class Conv3dToConv2d(GraphPass):
    """Rewrites each Conv over three axes, or over one.

    Requires: nothing; in a patch graph `(N, bands, p, p)`, the other sizes of what such a Conv takes and gives are known, and
    the spectral axis is the first of the three.
    Does: where a kernel is 1 x 1 in space, makes both spatial axes one. Else cuts the spectral axis into as many slices as the
    kernel is deep, one position apart, and joins them in the channels. Weights are reordered, and keep their names. A line
    becomes a map of one row, and stays one through a MaxPool.
    Ensures: outputs are the same but for the rounding of sums. No such Conv is left but those in groups.
    """

    def rewrite(self, model: ir.Model) -> str:
        count = sum(map(_is_lowered, model.graph))
        if not count:
            return ""
        work = _Rewriter(model.graph, sizes_of(model))
        for node in list(model.graph):
            work.write(node)
        drop_unused(model)
        return f"{count} convolutions over three axes, or one, are 2-D"

    def fault(self, model: ir.Model) -> str:
        return "a convolution over three axes, or one, is left" if any(map(_is_lowered, model.graph)) else ""


def raised(weight: NDArray[Any], shape: Sequence[int]) -> NDArray[Any]:
    """Lowered weights `(outputs, ...)` in the shape `(outputs, inputs, depth(, y, x))` that they had."""
    outputs, inputs, depth, *space = shape
    if space in ([], [1, 1]):
        return weight.reshape(tuple(shape))
    return weight.reshape(outputs, depth, inputs, *space).swapaxes(1, 2)


def _is_lowered(node: ir.Node) -> bool:
    weight = array_of(node.inputs[1]) if node.op_type == "Conv" else None
    return weight is not None and weight.ndim in (3, 5) and node.attributes.get_int("group", 1) == 1


@dataclass
class _Slide:
    """A convolution's attributes along each of its axes."""

    strides: list[int]
    dilations: list[int]
    heads: list[int]
    tails: list[int]

    @classmethod
    def of(cls, node: ir.Node, rank: int) -> _Slide:
        strides, dilations = (list(node.attributes.get_ints(name, [1] * rank)) for name in ("strides", "dilations"))
        pads = list(node.attributes.get_ints("pads", [0] * 2 * rank))
        return cls(strides, dilations, pads[:rank], pads[rank:])

    def in_space(self, kernel: Sequence[int]) -> dict[str, list[int]]:
        """Attributes of the 2-D convolution along y and x."""
        pads = [*self.heads[1:], *self.tails[1:]]
        return {"kernel_shape": list(kernel), "strides": self.strides[1:], "dilations": self.dilations[1:], "pads": pads}

    @property
    def rests_in_space(self) -> bool:
        """Tells whether a kernel of 1 x 1 in space moves along the spectrum alone."""
        return not any((*self.heads[1:], *self.tails[1:])) and self.strides[1:] == [1, 1]


class _Rewriter:
    """Writes nodes before those that they replace.

    What comes of a lowered convolution is maps, which are then put into the order that was before (`_ordered`). What works
    value by value is done to the maps themselves, so that a quantizer finds it right behind the convolution. The next
    convolution takes its input with channels last (`_deep`), as integer kernels keep their maps: onnxruntime cancels these
    transposes by its own. Orders that nobody takes are dropped at the end.
    """

    def __init__(self, graph: ir.Graph, sizes: Mapping[str, tuple[int, ...]]) -> None:
        self._graph, self._sizes = graph, sizes
        self._deep: dict[ir.Value, ir.Value] = {}
        self._ordered: dict[ir.Value, tuple[ir.Value, _Order]] = {}
        self._rows: dict[ir.Value, ir.Value] = {}  # the maps of one row that lines have become
        self._constants: dict[str, ir.Value] = {}
        self._place = graph[0]

    def write(self, node: ir.Node) -> None:
        """Writes what replaces a node, which is left for nobody; or leaves the node as it is."""
        self._place = node
        value = node.inputs[0] if node.inputs else None
        if _is_lowered(node):
            self._convolution(node)
        elif value is None:
            return
        elif node.op_type == "MaxPool" and value in self._rows and len(node.outputs) == 1:
            self._pooled(node)
        elif node.op_type in _POINTWISE and value in self._ordered:
            self._pointwise(node, value)

    def _pointwise(self, node: ir.Node, value: ir.Value) -> None:
        maps, order = self._ordered[value]
        output = node.outputs[0]
        copied = ir.node(node.op_type, [maps], outputs=[ir.Value(name=f"{name_of(output)}_maps")], name=node.name)
        copied.attributes.update(node.attributes)
        insert_before(self._place, [copied])
        ordered = self._put(copied.outputs[0], output, order)
        if value in self._rows:
            self._rows[ordered] = copied.outputs[0]

    def _pooled(self, node: ir.Node) -> None:
        head, tail = node.attributes.get_ints("pads", (0, 0))
        along = {
            name: [1, *node.attributes.get_ints(name, ())]
            for name in ("kernel_shape", "strides", "dilations")
            if name in node.attributes
        }
        rest: dict[str, Attribute] = {
            name: entry.value for name, entry in node.attributes.items() if name not in (*along, "pads")
        }
        output = node.outputs[0]
        maps = self._op(
            "MaxPool", [self._rows[taken(node)]], f"{name_of(output)}_maps", **rest, **along, pads=[0, head, 0, tail]
        )
        self._put_rows(maps, output)

    def _put(self, maps: ir.Value, output: ir.Value, order: _Order) -> ir.Value:
        """Puts ordered maps in the place of what a node gave."""
        ordered = order(maps, name_of(output))
        replace_value(output, ordered)
        self._ordered[ordered] = (maps, order)
        return ordered

    def _convolution(self, node: ir.Node) -> None:
        """Writes one Conv, and the weights that it takes now."""
        value = taken(node, 1)
        weight = array_of(value)
        assert weight is not None
        if weight.ndim == 3:
            lowered = self._along_line(node, weight)
        elif weight.shape[3:] == (1, 1) and (slide := _Slide.of(node, 3)).rests_in_space:
            lowered = self._along_spectrum(node, weight, slide)
        else:
            lowered = self._unfolded(node, weight, _Slide.of(node, 3))
        value.const_value = ir.tensor(np.ascontiguousarray(lowered), name=value.name)
        value.shape = ir.Shape(lowered.shape)

    def _along_line(self, node: ir.Node, weight: NDArray[Any]) -> NDArray[Any]:
        _, channels, length = self._sizes[name_of(taken(node))]
        slide, output = _Slide.of(node, 1), node.outputs[0]
        row = self._row(taken(node), channels, length, f"{name_of(output)}_row")
        attributes = {
            "kernel_shape": [1, weight.shape[2]],
            "strides": [1, *slide.strides],
            "dilations": [1, *slide.dilations],
            "pads": [0, *slide.heads, 0, *slide.tails],
        }
        self._put_rows(self._conv(node, row, attributes), output)
        return weight[:, :, None]

    def _row(self, line: ir.Value, channels: int, length: int, output: str) -> ir.Value:
        """A line as a map of one row. One channel may as well be the last: so integer kernels take it as it is."""
        if channels > 1:
            return self._op("Reshape", [line, self._constant([0, channels, 1, length])], output)
        last = self._op("Reshape", [line, self._constant([-1, 1, length, 1])], f"{output}_last")
        return self._op("Transpose", [last], output, perm=_FIRST)

    def _put_rows(self, maps: ir.Value, output: ir.Value) -> None:
        """Maps of one row, of which lines are made."""
        _, channels, positions = self._sizes[name_of(output)]

        def order(maps: ir.Value, output: str) -> ir.Value:
            return self._op("Reshape", [maps, self._constant([0, channels, positions])], output)

        self._rows[self._put(maps, output, order)] = maps

    def _along_spectrum(self, node: ir.Node, weight: NDArray[Any], slide: _Slide) -> NDArray[Any]:
        output = name_of(node.outputs[0])
        _, channels, depth, height, width = self._sizes[name_of(taken(node))]
        _, outputs, positions, *_ = self._sizes[output]
        attributes = {
            "kernel_shape": [weight.shape[2], 1],
            "strides": [slide.strides[0], 1],
            "dilations": [slide.dilations[0], 1],
            "pads": [slide.heads[0], 0, slide.tails[0], 0],
        }

        def order(maps: ir.Value, output: str) -> ir.Value:
            deep = self._deepened(maps, output, [-1, positions, height, width, outputs])
            ordered = self._op("Reshape", [maps, self._constant([0, outputs, positions, height, width])], output)
            self._deep[ordered] = deep
            return ordered

        maps = self._maps(self._channels_last(node), [-1, depth, height * width, channels], output)
        self._put(self._conv(node, maps, attributes), node.outputs[0], order)
        return weight.reshape(weight.shape[:4])

    def _unfolded(self, node: ir.Node, weight: NDArray[Any], slide: _Slide) -> NDArray[Any]:
        output, (outputs, inputs, kernel, *space) = name_of(node.outputs[0]), weight.shape
        _, _, _, height, width = self._sizes[name_of(taken(node))]
        _, _, positions, rows, columns = self._sizes[output]
        joined = self._side_by_side(self._padded(self._channels_last(node), slide, output), slide, kernel, positions, output)

        def order(maps: ir.Value, output: str) -> ir.Value:
            deep = self._deepened(maps, output, [-1, positions, rows, columns, outputs])
            ordered = self._op("Transpose", [deep], output, perm=_ORDERED)
            self._deep[ordered] = deep
            return ordered

        maps = self._maps(joined, [-1, height, width, kernel * inputs], output)
        self._put(self._conv(node, maps, slide.in_space(space)), node.outputs[0], order)
        return weight.swapaxes(1, 2).reshape(outputs, kernel * inputs, *space)

    def _padded(self, value: ir.Value, slide: _Slide, output: str) -> ir.Value:
        """Zeros at both ends of the spectrum of `(N, depth, y, x, channels)`, as many as a convolution pads."""
        if not slide.heads[0] and not slide.tails[0]:
            return value
        pads = self._constant([0, slide.heads[0], 0, 0, 0, 0, slide.tails[0], 0, 0, 0])
        return self._op("Pad", [value, pads], f"{output}_padded")

    def _side_by_side(self, value: ir.Value, slide: _Slide, kernel: int, positions: int, output: str) -> ir.Value:
        """The slices of the spectrum that each place of a kernel sees, joined in the channels."""
        pieces = []
        for place in range(kernel):
            first = place * slide.dilations[0]
            last = first + (positions - 1) * slide.strides[0] + 1
            limits = [self._constant([number]) for number in (first, last, 1, slide.strides[0])]
            pieces.append(self._op("Slice", [value, *limits], f"{output}_slice{place}"))
        return self._op("Concat", pieces, f"{output}_joined", axis=4) if kernel > 1 else pieces[0]

    def _channels_last(self, node: ir.Node) -> ir.Value:
        """The convolution's input as `(N, depth, y, x, channels)`."""
        value, output = taken(node), f"{name_of(node.outputs[0])}_deep"
        if value in self._deep:
            return self._deep[value]
        _, channels, *space = self._sizes[name_of(value)]
        if channels == 1:
            return self._op("Reshape", [value, self._constant([-1, *space, 1])], output)
        return self._op("Transpose", [value], output, perm=_DEEP)

    def _maps(self, value: ir.Value, sizes: list[int], output: str) -> ir.Value:
        """Maps `(N, channels, y, x)` of a value that has channels last; `sizes` are those of `(N, y, x, channels)`."""
        last = self._op("Reshape", [value, self._constant(sizes)], f"{output}_taken")
        return self._op("Transpose", [last], f"{output}_taken_maps", perm=_FIRST)

    def _deepened(self, maps: ir.Value, output: str, sizes: list[int]) -> ir.Value:
        """Maps as `(N, depth, y, x, channels)`."""
        last = self._op("Transpose", [maps], f"{output}_last", perm=_LAST)
        return self._op("Reshape", [last, self._constant(sizes)], f"{output}_deep_maps")

    def _conv(self, node: ir.Node, value: ir.Value, attributes: dict[str, list[int]]) -> ir.Value:
        inputs = [value, *(entry for entry in node.inputs[1:] if entry is not None)]
        conv = operator("Conv", inputs, f"{name_of(node.outputs[0])}_maps", node.name or "", **attributes)
        insert_before(self._place, [conv])
        return conv.outputs[0]

    def _op(self, kind: str, inputs: Sequence[ir.Value], output: str, **attributes: Attribute) -> ir.Value:
        node = operator(kind, inputs, output, f"{kind}_{output}", **attributes)
        insert_before(self._place, [node])
        return node.outputs[0]

    def _constant(self, values: list[int]) -> ir.Value:
        name = "lower3d_" + "_".join(map(str, values)).replace("-", "m")
        if name not in self._constants:
            self._constants[name] = constant(self._graph, name, np.array(values, np.int64))
        return self._constants[name]
