"""Pass: 3-D convolutions as 2-D ones, and 1-D ones too. Integer kernels are 2-D; onnxruntime's others are slower than float.

What a kernel sees along the spectrum is laid side by side, in the channels of as many maps as it has positions. (In scene
graphs `densify` does the same.)
"""

from __future__ import annotations

import copy
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from hsiedge.graphs import query
from hsiedge.graphs.query import put, sizes_of

_POINTWISE = ("Elu", "HardSigmoid", "HardSwish", "LeakyRelu", "Relu", "Sigmoid", "Softplus", "Tanh")
_LAST, _FIRST = [0, 2, 3, 1], [0, 3, 1, 2]  # maps (N, channels, y, x) to (N, y, x, channels), and back
_DEEP, _ORDERED = [0, 2, 3, 4, 1], [0, 4, 1, 2, 3]  # (N, channels, depth, y, x) to (N, depth, y, x, channels), and back


def conv3d_to_conv2d(model: Any) -> Any:
    """Rewrites each Conv over three axes, or over one.

    Requires: a patch graph `(N, bands, p, p)`, whose other sizes are known; the spectral axis is the first of the three.
    Does: where a kernel is 1 x 1 in space, makes both spatial axes one. Else cuts the spectral axis into as many slices as the
    kernel is deep, one position apart, and joins them in the channels. Weights are reordered, and keep their names. A line
    becomes a map of one row, and stays one through a MaxPool.
    Ensures: outputs are the same but for the rounding of sums. A convolution in groups is left as it is.
    """
    from onnx import numpy_helper

    weights = {tensor.name: tensor for tensor in model.graph.initializer}
    if not any(_is_lowered(node, weights) for node in model.graph.node):
        return model
    made = copy.deepcopy(model)
    shapes = sizes_of(made)
    weights = {tensor.name: tensor for tensor in made.graph.initializer}
    work = _Rewriter(shapes)
    for node in made.graph.node:
        if _is_lowered(node, weights):
            tensor = weights[node.input[1]]
            lowered = work.convolution(node, numpy_helper.to_array(tensor))
            tensor.CopyFrom(numpy_helper.from_array(np.ascontiguousarray(lowered), tensor.name))
        else:
            work.keep(node)
    made.graph.initializer.extend(numpy_helper.from_array(np.array(values), name) for name, values in work.constants.items())
    put(made.graph, work.nodes)
    return made


def raised(weight: NDArray[Any], shape: Sequence[int]) -> NDArray[Any]:
    """Lowered weights `(outputs, ...)` in the shape `(outputs, inputs, depth(, y, x))` that they had."""
    outputs, inputs, depth, *space = shape
    if space in ([], [1, 1]):
        return weight.reshape(tuple(shape))
    return weight.reshape(outputs, depth, inputs, *space).swapaxes(1, 2)


def _is_lowered(node: Any, weights: dict[str, Any]) -> bool:
    if node.op_type != "Conv" or node.input[1] not in weights or len(weights[node.input[1]].dims) not in (3, 5):
        return False
    return all(entry.i == 1 for entry in node.attribute if entry.name == "group")


@dataclass
class _Slide:
    """A convolution's attributes along each of its three axes."""

    strides: list[int]
    dilations: list[int]
    heads: list[int]
    tails: list[int]

    @classmethod
    def of(cls, node: Any) -> _Slide:
        given = query.attributes(node)
        pads = list(given.get("pads", [0] * 6))
        return cls(list(given.get("strides", [1] * 3)), list(given.get("dilations", [1] * 3)), pads[:3], pads[3:])

    def in_space(self, kernel: Sequence[int]) -> dict[str, list[int]]:
        """Attributes of the 2-D convolution along y and x."""
        pads = [*self.heads[1:], *self.tails[1:]]
        return {"kernel_shape": list(kernel), "strides": self.strides[1:], "dilations": self.dilations[1:], "pads": pads}

    @property
    def rests_in_space(self) -> bool:
        """Whether it moves along the spectrum alone, given a kernel of 1 x 1 in space."""
        return not any((*self.heads[1:], *self.tails[1:])) and self.strides[1:] == [1, 1]


class _Rewriter:
    """Writes nodes.

    What comes of a lowered convolution is maps, which are then put into the order that was before (`_ordered`). What works
    value by value is done to the maps themselves, so that a quantizer finds it right behind the convolution. The next
    convolution takes its input with channels last (`_deep`), as integer kernels keep their maps: onnxruntime cancels these
    transposes by its own. Orders that nobody takes are dropped at the end.
    """

    def __init__(self, shapes: dict[str, tuple[int, ...]]) -> None:
        self._shapes = shapes
        self._deep: dict[str, str] = {}
        self._ordered: dict[str, tuple[str, Callable[[str, str], None]]] = {}
        self._rows: dict[str, str] = {}  # the maps of one row that lines have become
        self.nodes: list[Any] = []
        self.constants: dict[str, list[int]] = {}

    def keep(self, node: Any) -> None:
        """A node that is no such convolution."""
        taken = node.input[0] if node.input else ""
        if node.op_type == "MaxPool" and taken in self._rows and len(node.output) == 1:
            self._pooled(node)
        elif node.op_type not in _POINTWISE or taken not in self._ordered:
            self.nodes.append(node)
        else:
            maps, order = self._ordered[taken]
            moved = copy.deepcopy(node)
            moved.input[0], moved.output[0] = maps, f"{node.output[0]}_maps"
            self.nodes.append(moved)
            if taken in self._rows:
                self._rows[node.output[0]] = moved.output[0]
            self._put(moved.output[0], node.output[0], order)

    def _pooled(self, node: Any) -> None:
        given = query.attributes(node)
        head, tail = given.pop("pads", [0, 0])
        along: dict[str, Any] = {name: [1, *given[name]] for name in ("kernel_shape", "strides", "dilations") if name in given}
        told = {**given, **along, "pads": [0, head, 0, tail]}
        maps = self._op("MaxPool", [self._rows[node.input[0]]], f"{node.output[0]}_maps", **told)
        self._put_rows(maps, node.output[0])

    def _put(self, maps: str, output: str, order: Callable[[str, str], None]) -> None:
        order(maps, output)
        self._ordered[output] = (maps, order)

    def convolution(self, node: Any, weight: NDArray[Any]) -> NDArray[Any]:
        """Writes one Conv; gives the weights that it takes now."""
        if weight.ndim == 3:
            return self._along_line(node, weight)
        slide = _Slide.of(node)
        if weight.shape[3:] == (1, 1) and slide.rests_in_space:
            return self._along_spectrum(node, weight, slide)
        return self._unfolded(node, weight, slide)

    def _along_line(self, node: Any, weight: NDArray[Any]) -> NDArray[Any]:
        _, channels, length = self._shapes[node.input[0]]
        given = query.attributes(node)
        head, tail = given.get("pads", [0, 0])
        row = self._row(node.input[0], channels, length, f"{node.output[0]}_row")
        attributes = {
            "kernel_shape": [1, weight.shape[2]],
            "strides": [1, *given.get("strides", [1])],
            "dilations": [1, *given.get("dilations", [1])],
            "pads": [0, head, 0, tail],
        }

        self._put_rows(self._conv(node, row, attributes), node.output[0])
        return weight[:, :, None]

    def _row(self, line: str, channels: int, length: int, output: str) -> str:
        """A line as a map of one row. One channel may as well be the last: so integer kernels take it as it is."""
        if channels > 1:
            return self._op("Reshape", [line, self._constant([0, channels, 1, length])], output)
        last = self._op("Reshape", [line, self._constant([-1, 1, length, 1])], f"{output}_last")
        return self._op("Transpose", [last], output, perm=[0, 3, 1, 2])

    def _put_rows(self, maps: str, output: str) -> None:
        """Maps of one row, of which lines are made."""
        _, channels, positions = self._shapes[output]

        def order(maps: str, output: str) -> None:
            self._op("Reshape", [maps, self._constant([0, channels, positions])], output)

        self._rows[output] = maps
        self._put(maps, output, order)

    def _along_spectrum(self, node: Any, weight: NDArray[Any], slide: _Slide) -> NDArray[Any]:
        _, channels, depth, height, width = self._shapes[node.input[0]]
        _, outputs, positions, *_ = self._shapes[node.output[0]]
        made = node.output[0]
        attributes = {
            "kernel_shape": [weight.shape[2], 1],
            "strides": [slide.strides[0], 1],
            "dilations": [slide.dilations[0], 1],
            "pads": [slide.heads[0], 0, slide.tails[0], 0],
        }

        def order(maps: str, output: str) -> None:
            self._put_deep(maps, output, [-1, positions, height, width, outputs])
            self._op("Reshape", [maps, self._constant([0, outputs, positions, height, width])], output)

        maps = self._maps(self._channels_last(node), [-1, depth, height * width, channels], made)
        self._put(self._conv(node, maps, attributes), made, order)
        return weight.reshape(weight.shape[:4])

    def _unfolded(self, node: Any, weight: NDArray[Any], slide: _Slide) -> NDArray[Any]:
        outputs, inputs, kernel, *space = weight.shape
        _, _, _, height, width = self._shapes[node.input[0]]
        _, _, positions, rows, columns = self._shapes[node.output[0]]
        value, made = self._channels_last(node), node.output[0]
        if slide.heads[0] or slide.tails[0]:
            pads = self._constant([0, slide.heads[0], 0, 0, 0, 0, slide.tails[0], 0, 0, 0])
            value = self._op("Pad", [value, pads], f"{made}_padded")
        pieces = []
        for place in range(kernel):
            first = place * slide.dilations[0]
            last = first + (positions - 1) * slide.strides[0] + 1
            limits = [self._constant([number]) for number in (first, last, 1, slide.strides[0])]
            pieces.append(self._op("Slice", [value, *limits], f"{made}_slice{place}"))
        joined = self._op("Concat", pieces, f"{made}_joined", axis=4) if kernel > 1 else pieces[0]

        def order(maps: str, output: str) -> None:
            self._put_deep(maps, output, [-1, positions, rows, columns, outputs])
            self._op("Transpose", [self._deep[output]], output, perm=_ORDERED)

        maps = self._maps(joined, [-1, height, width, kernel * inputs], made)
        self._put(self._conv(node, maps, slide.in_space(space)), made, order)
        return weight.swapaxes(1, 2).reshape(outputs, kernel * inputs, *space)

    def _channels_last(self, node: Any) -> str:
        """The convolution's input as `(N, depth, y, x, channels)`."""
        name = node.input[0]
        if name not in self._deep:
            _, channels, *space = self._shapes[name]
            output = f"{node.output[0]}_deep"
            if channels == 1:
                return self._op("Reshape", [name, self._constant([-1, *space, 1])], output)
            return self._op("Transpose", [name], output, perm=_DEEP)
        return self._deep[name]

    def _maps(self, value: str, sizes: list[int], made: str) -> str:
        """Maps `(N, channels, y, x)` of a value that has channels last; `sizes` are those of `(N, y, x, channels)`."""
        last = self._op("Reshape", [value, self._constant(sizes)], f"{made}_taken")
        return self._op("Transpose", [last], f"{made}_taken_maps", perm=_FIRST)

    def _put_deep(self, maps: str, output: str, sizes: list[int]) -> None:
        last = self._op("Transpose", [maps], f"{output}_last", perm=_LAST)
        self._deep[output] = self._op("Reshape", [last, self._constant(sizes)], f"{output}_deep_maps")

    def _conv(self, node: Any, value: str, attributes: dict[str, list[int]]) -> str:
        made = self._op("Conv", [value, *node.input[1:]], f"{node.output[0]}_maps", **attributes)
        self.nodes[-1].name = node.name
        return made

    def _op(self, kind: str, inputs: Sequence[str], output: str, **attributes: Any) -> str:
        from onnx import helper

        self.nodes.append(helper.make_node(kind, list(inputs), [output], name=f"{kind}_{output}", **attributes))
        return output

    def _constant(self, values: list[int]) -> str:
        name = "lower3d_" + "_".join(map(str, values)).replace("-", "m")
        self.constants[name] = values
        return name
