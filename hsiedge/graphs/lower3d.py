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

_POINTWISE = ("Elu", "HardSigmoid", "HardSwish", "LeakyRelu", "Relu", "Sigmoid", "Softplus", "Tanh")
_SWAP = [0, 2, 1, 3, 4]  # (N, channels, depth, y, x) to (N, depth, channels, y, x), and back


def lower3d(model: Any) -> Any:
    """Rewrites each Conv over three axes, or over one.

    Requires: a patch graph `(N, bands, p, p)`, whose other sizes are known; the spectral axis is the first of the three.
    Does: where a kernel is 1 x 1 in space, makes both spatial axes one. Else cuts the spectral axis into as many slices as the
    kernel is deep, one position apart, and joins them in the channels. Weights are reordered, and keep their names. A line
    becomes a map of one row.
    Ensures: outputs are the same but for the rounding of sums. A convolution in groups is left as it is.
    """
    from onnx import numpy_helper

    weights = {tensor.name: tensor for tensor in model.graph.initializer}
    if not any(_is_lowered(node, weights) for node in model.graph.node):
        return model
    made = copy.deepcopy(model)
    shapes = _shapes(made)
    weights = {tensor.name: tensor for tensor in made.graph.initializer}
    work = _Rewriter(shapes)
    for node in made.graph.node:
        if _is_lowered(node, weights):
            tensor = weights[node.input[1]]
            lowered = work.convolution(node, numpy_helper.to_array(tensor))
            tensor.CopyFrom(numpy_helper.from_array(np.ascontiguousarray(lowered), tensor.name))
        else:
            work.keep(node)
    del made.graph.node[:], made.graph.value_info[:]
    made.graph.node.extend(work.used(made.graph))
    needed = {name for node in made.graph.node for name in node.input}
    constants = [numpy_helper.from_array(np.array(values), name) for name, values in work.constants.items() if name in needed]
    made.graph.initializer.extend(constants)
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


def _shapes(model: Any) -> dict[str, tuple[int, ...]]:
    """Sizes of all values; -1 where they are free, as the batch is."""
    import onnx

    inferred = onnx.shape_inference.infer_shapes(model, data_prop=True)
    entries = (*inferred.graph.input, *inferred.graph.value_info, *inferred.graph.output)
    return {
        entry.name: tuple(size.dim_value if size.HasField("dim_value") else -1 for size in entry.type.tensor_type.shape.dim)
        for entry in entries
    }


@dataclass
class _Slide:
    """A convolution's attributes along each of its three axes."""

    strides: list[int]
    dilations: list[int]
    heads: list[int]
    tails: list[int]

    @classmethod
    def of(cls, node: Any) -> _Slide:
        from onnx import helper

        given = {entry.name: helper.get_attribute_value(entry) for entry in node.attribute}
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
    value by value is done to the maps themselves, so that a quantizer finds it right behind the convolution; and the next
    convolution may take its input with depth before channels (`_swapped`). Orders that nobody takes are dropped at the end.
    """

    def __init__(self, shapes: dict[str, tuple[int, ...]]) -> None:
        self._shapes = shapes
        self._swapped: dict[str, str] = {}
        self._ordered: dict[str, tuple[str, Callable[[str, str], None]]] = {}
        self._nodes: list[Any] = []
        self.constants: dict[str, list[int]] = {}

    def used(self, graph: Any) -> list[Any]:
        """The nodes whose output somebody takes."""
        needed = {entry.name for entry in graph.output}
        kept = []
        for node in reversed(self._nodes):
            if needed & {*node.output}:
                needed |= {*node.input}
                kept.append(node)
        return kept[::-1]

    def keep(self, node: Any) -> None:
        """A node that is no such convolution."""
        if node.op_type not in _POINTWISE or node.input[0] not in self._ordered:
            self._nodes.append(node)
            return
        maps, order = self._ordered[node.input[0]]
        moved = copy.deepcopy(node)
        moved.input[0], moved.output[0] = maps, f"{node.output[0]}_maps"
        self._nodes.append(moved)
        self._put(moved.output[0], node.output[0], order)

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
        from onnx import helper

        _, channels, length = self._shapes[node.input[0]]
        _, outputs, positions = self._shapes[node.output[0]]
        given = {entry.name: helper.get_attribute_value(entry) for entry in node.attribute}
        head, tail = given.get("pads", [0, 0])
        row = self._op("Reshape", [node.input[0], self._constant([0, channels, 1, length])], f"{node.output[0]}_row")
        attributes = {
            "kernel_shape": [1, weight.shape[2]],
            "strides": [1, *given.get("strides", [1])],
            "dilations": [1, *given.get("dilations", [1])],
            "pads": [0, head, 0, tail],
        }

        def order(maps: str, output: str) -> None:
            self._op("Reshape", [maps, self._constant([0, outputs, positions])], output)

        self._put(self._conv(node, row, attributes), node.output[0], order)
        return weight[:, :, None]

    def _along_spectrum(self, node: Any, weight: NDArray[Any], slide: _Slide) -> NDArray[Any]:
        _, channels, depth, height, width = self._shapes[node.input[0]]
        _, outputs, positions, *_ = self._shapes[node.output[0]]
        flat = self._op(
            "Reshape", [node.input[0], self._constant([0, channels, depth, height * width])], f"{node.output[0]}_flat"
        )
        attributes = {
            "kernel_shape": [weight.shape[2], 1],
            "strides": [slide.strides[0], 1],
            "dilations": [slide.dilations[0], 1],
            "pads": [slide.heads[0], 0, slide.tails[0], 0],
        }

        def order(maps: str, output: str) -> None:
            self._op("Reshape", [maps, self._constant([0, outputs, positions, height, width])], output)

        self._put(self._conv(node, flat, attributes), node.output[0], order)
        return weight.reshape(weight.shape[:4])

    def _unfolded(self, node: Any, weight: NDArray[Any], slide: _Slide) -> NDArray[Any]:
        outputs, inputs, kernel, *space = weight.shape
        _, _, _, height, width = self._shapes[node.input[0]]
        _, _, positions, rows, columns = self._shapes[node.output[0]]
        value, made = self._depth_first(node), node.output[0]
        if slide.heads[0] or slide.tails[0]:
            pads = self._constant([0, slide.heads[0], 0, 0, 0, 0, slide.tails[0], 0, 0, 0])
            value = self._op("Pad", [value, pads], f"{made}_padded")
        pieces = []
        for place in range(kernel):
            first = place * slide.dilations[0]
            last = first + (positions - 1) * slide.strides[0] + 1
            limits = [self._constant([number]) for number in (first, last, 1, slide.strides[0])]
            pieces.append(self._op("Slice", [value, *limits], f"{made}_slice{place}"))
        joined = self._op("Concat", pieces, f"{made}_joined", axis=2) if kernel > 1 else pieces[0]
        maps = self._op("Reshape", [joined, self._constant([-1, kernel * inputs, height, width])], f"{made}_unfolded")

        def order(maps: str, output: str) -> None:
            shape = self._constant([-1, positions, outputs, rows, columns])
            self._swapped[output] = self._op("Reshape", [maps, shape], f"{output}_swapped")
            self._op("Transpose", [self._swapped[output]], output, perm=_SWAP)

        self._put(self._conv(node, maps, slide.in_space(space)), made, order)
        return weight.swapaxes(1, 2).reshape(outputs, kernel * inputs, *space)

    def _depth_first(self, node: Any) -> str:
        """The convolution's input as `(N, depth, channels, y, x)`."""
        name = node.input[0]
        _, channels, depth, height, width = self._shapes[name]
        if name in self._swapped:
            return self._swapped[name]
        output = f"{node.output[0]}_deep"
        if channels == 1:
            return self._op("Reshape", [name, self._constant([-1, depth, 1, height, width])], output)
        return self._op("Transpose", [name], output, perm=_SWAP)

    def _conv(self, node: Any, value: str, attributes: dict[str, list[int]]) -> str:
        made = self._op("Conv", [value, *node.input[1:]], f"{node.output[0]}_maps", **attributes)
        self._nodes[-1].name = node.name
        return made

    def _op(self, kind: str, inputs: Sequence[str], output: str, **attributes: Any) -> str:
        from onnx import helper

        self._nodes.append(helper.make_node(kind, list(inputs), [output], name=f"{kind}_{output}", **attributes))
        return output

    def _constant(self, values: list[int]) -> str:
        name = "lower3d_" + "_".join(map(str, values)).replace("-", "m")
        self.constants[name] = values
        return name
