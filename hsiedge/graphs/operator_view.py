"""A typed view of an ONNX operator, and tables of rules on it, for scene graphs, TFLite and preprocessing.

A rule asks what an operator does (its axes, its kernels, the matrix of a linear layer), and not how this opset writes it down:
as an input or an attribute, left out where ONNX has a default, padded by numbers or by `auto_pad`.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Generic, Literal, TypeVar

import numpy as np
import onnx
import onnx_ir as ir
from numpy.typing import NDArray

from hsiedge.errors import HsiedgeError, ModelError

Array = NDArray[Any]
V = TypeVar("V", covariant=True)
Float = TypeVar("Float", np.float32, np.float64)


class UnfitError(HsiedgeError):
    """A node that is not translated, and why; `Rules.apply` names the node."""


@dataclass(frozen=True)
class Kernel:
    """A kernel, and how it slides along one axis."""

    size: int
    stride: int = 1
    dilation: int = 1
    head: int = 0
    tail: int = 0
    ceil: bool = False

    @property
    def reach(self) -> int:
        """The distance from the first position it looks at to the last."""
        return self.dilation * (self.size - 1)

    @property
    def stays(self) -> bool:
        """Looks at one position at a time."""
        return self.size == 1

    def positions(self, size: int) -> int:
        """The number of positions along an axis of `size`."""
        free = size + self.head + self.tail - self.reach - 1
        return (-(-free // self.stride) if self.ceil else free // self.stride) + 1


@dataclass
class Operator(Generic[V]):
    """A node of an ONNX graph, as a rule reads it.

    Attributes:
        node: the node itself.
        operands: its inputs: views of those that are computed, arrays of constants, None where one is left out or not known.
    """

    node: ir.Node
    operands: Sequence[V | Array | None]

    @property
    def kind(self) -> str:
        """The operator's name in ONNX."""
        return self.node.op_type

    @property
    def name(self) -> str:
        """The node's name, or that of its output where it has none."""
        return self.node.name or self.node.outputs[0].name or ""

    def computed(self, place: int = 0) -> V:
        """An input that is computed from the graph's. Raises UnfitError."""
        operand = self.operands[place] if place < len(self.operands) else None
        if operand is None or isinstance(operand, np.ndarray):
            raise UnfitError(f"input {place} is not computed from the graph's input")
        return operand

    def constant(self, place: int) -> Array | None:
        """An input that is constant; None where it is left out. Raises UnfitError where it is computed."""
        operand = self.operands[place] if place < len(self.operands) else None
        if isinstance(operand, np.ndarray):
            return operand
        if operand is not None or (place < len(self.operands) and self.node.inputs[place] is not None):
            raise UnfitError(f"input {place} is not constant")
        return None

    def required(self, place: int) -> Array:
        """A constant input that has to be there. Raises UnfitError."""
        array = self.constant(place)
        if array is None:
            raise UnfitError(f"input {place} is missing")
        return array

    def _attribute(self, name: str) -> ir.Attr | None:
        """An attribute, or ONNX's default for it in the graph's opset."""
        if name in self.node.attributes:
            return self.node.attributes[name]
        opsets = {} if self.node.graph is None else self.node.graph.opset_imports
        return _default(self.kind, opsets.get("", opsets.get("ai.onnx", onnx.defs.onnx_opset_version())), name)

    def _needed(self, name: str) -> ir.Attr:
        attribute = self._attribute(name)
        if attribute is None:
            raise UnfitError(f"its {name} is missing")
        return attribute

    def integer(self, name: str) -> int:
        """An attribute that is a whole number."""
        return self._needed(name).as_int()

    def number(self, name: str) -> float:
        """An attribute that is a number."""
        return self._needed(name).as_float()

    def flag(self, name: str) -> bool:
        """An attribute that is 0 or 1; False in opsets without it."""
        attribute = self._attribute(name)
        return attribute is not None and bool(attribute.as_int())

    def integers(self, name: str, place: int | None = None) -> list[int] | None:
        """Whole numbers that are an attribute, or in other opsets the input at `place`; None where they are left out."""
        attribute = self._attribute(name)
        if attribute is not None:
            return list(attribute.as_ints())
        array = None if place is None else self.constant(place)
        return None if array is None else [int(number) for number in array.ravel()]

    def scalar(self, name: str, place: int) -> float | None:
        """A number that is an input, or in other opsets an attribute; None where it is left out."""
        array, attribute = self.constant(place), self._attribute(name)
        if array is None:
            return None if attribute is None else attribute.as_float()
        if array.size > 1:
            raise UnfitError("its limits are not single numbers")
        return float(array.item())

    def axis(self, rank: int) -> int:
        """The attribute `axis`, counted from the front."""
        return self.integer("axis") % rank

    def axes(self, rank: int, place: int = 1) -> list[int] | None:
        """The attribute or input `axes`, counted from the front; None where it is left out."""
        axes = self.integers("axes", place)
        return None if axes is None else [axis % rank for axis in axes]

    def permutation(self, rank: int) -> list[int]:
        """The axes of a Transpose's input in the order of its output."""
        return self.integers("perm") or list(range(rank))[::-1]

    def reduced(self, rank: int) -> list[int]:
        """The axes that a reduction or a global pool takes together, in order."""
        if self.kind.startswith("Global"):
            return list(range(2, rank))
        axes = self.axes(rank) or ([] if self.flag("noop_with_empty_axes") else range(rank))
        return sorted(axes)

    def slices(self, rank: int) -> dict[int, slice]:
        """The part of each axis that a Slice takes."""
        starts, ends = self.integers("starts", 1) or [], self.integers("ends", 2) or []
        axes, steps = self.axes(rank, 3) or range(len(starts)), self.integers("steps", 4) or [1] * len(starts)
        return {axis: slice(*limits) for axis, *limits in zip(axes, starts, ends, steps)}

    @property
    def pad_mode(self) -> str:
        """The kind of values that a Pad puts around: "constant", "edge", "reflect" or "wrap"."""
        attribute = self._attribute("mode")
        return "constant" if attribute is None else attribute.as_string()

    @property
    def pad_value(self) -> float:
        """The number that a Pad in mode constant puts around."""
        return self.scalar("value", 2) or 0.0

    def pads(self, rank: int, *, zeros: bool = True) -> list[tuple[int, int]]:
        """The positions that a Pad puts before and behind each axis; below 0, those that it cuts off.

        Args:
            zeros: raise UnfitError where it puts in other than zeros.
        """
        if zeros and (self.pad_mode != "constant" or self.pad_value):
            raise UnfitError("it pads with other than zeros")
        numbers, axes = self.integers("pads", 1) or [], self.axes(rank, 3)
        pairs = dict(zip(range(rank) if axes is None else axes, zip(numbers, numbers[len(numbers) // 2 :])))
        return [pairs.get(axis, (0, 0)) for axis in range(rank)]

    def pad_places(self, size: int, head: int, tail: int) -> list[int] | None:
        """The places in a Pad's input, along an axis of `size`, of what it gives; None where it puts in constants."""
        places = np.arange(size)[max(0, -head) : size - max(0, -tail)]
        around = max(0, head), max(0, tail)
        if self.pad_mode == "constant":
            return None if any(around) else places.tolist()
        if not len(places) or (self.pad_mode == "reflect" and max(around) >= len(places)):
            raise UnfitError("it pads with more than there is")
        modes: dict[str, Literal["edge", "reflect", "wrap"]] = {"edge": "edge", "reflect": "reflect", "wrap": "wrap"}
        return [int(place) for place in np.pad(places, around, mode=modes[self.pad_mode])]

    @property
    def pads_itself(self) -> bool:
        """Pads by `auto_pad`, as much as its input's size asks for."""
        attribute = self._attribute("auto_pad")
        return attribute is not None and attribute.as_string().startswith("SAME")

    def kernels(self, sizes: Sequence[int], shape: Sequence[int]) -> list[Kernel]:
        """The kernels of a convolution or pool of these sizes along the spatial axes of an input of that shape."""
        rank = len(sizes)
        strides, dilations = self.integers("strides") or [1] * rank, self.integers("dilations") or [1] * rank
        pads, ceil = self.integers("pads") or [0] * 2 * rank, self.flag("ceil_mode")
        kernels = [Kernel(*numbers, ceil) for numbers in zip(sizes, strides, dilations, pads, pads[rank:])]
        if not self.pads_itself:
            return kernels
        upper = self._needed("auto_pad").as_string() == "SAME_UPPER"
        return [_same(kernel, size, upper) for kernel, size in zip(kernels, shape)]

    def linear(self, dtype: type[Float]) -> tuple[NDArray[Float], NDArray[Float] | None]:
        """The matrix `(outputs, inputs)` of a Gemm or MatMul, and its bias `(outputs,)` or None, both times their factors.

        Raises:
            UnfitError: the input is transposed, or the weights are no matrix.
        """
        weight, bias = self.required(1), self.constant(2)
        if self.flag("transA"):
            raise UnfitError("it multiplies a transposed input")
        if weight.ndim != 2:
            raise UnfitError("it multiplies with more than one matrix")
        matrix = (weight if self.flag("transB") else weight.T).astype(dtype)
        if self.kind == "Gemm":
            matrix = matrix * dtype(self.number("alpha"))
        if bias is None:
            return matrix, None
        return matrix, np.broadcast_to(bias.astype(dtype).ravel() * dtype(self.number("beta")), len(matrix))

    def normalization(self) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        """The factor and shift of each channel that a BatchNormalization is with the statistics that it has."""
        if self.flag("training_mode"):
            raise UnfitError("it takes the statistics of each batch")
        scale, offset, mean, variance = (self.required(place).astype(np.float64) for place in range(1, 5))
        factor = scale / np.sqrt(variance + self.number("epsilon"))
        return factor, offset - mean * factor


@functools.cache
def _default(kind: str, opset: int, name: str) -> ir.Attr | None:
    """ONNX's own default of an attribute; None where it has none."""
    attributes = onnx.defs.get_schema(kind, opset, "").attributes
    if name not in attributes or not attributes[name].default_value.type:
        return None
    return ir.serde.deserialize_attribute(attributes[name].default_value)


def _same(kernel: Kernel, size: int, upper: bool) -> Kernel:
    """A kernel, padded so that an axis of `size` gets one position a stride; the odd zero stands behind where `upper`."""
    outputs = -(-size // kernel.stride)
    total = max(0, (outputs - 1) * kernel.stride + kernel.reach + 1 - size)
    head = total // 2 if upper else total - total // 2
    return replace(kernel, head=head, tail=total - head)


Op = TypeVar("Op", bound=Operator[object])
R = TypeVar("R")


@dataclass(frozen=True)
class Rules(Generic[Op, R]):
    """A table of rules, a line an operator.

    Attributes:
        unknown: what is said of an operator that has no rule.
    """

    table: Mapping[str, Callable[[Op], R]]
    unknown: str

    def __contains__(self, node: ir.Node) -> bool:
        return node.domain == "" and node.op_type in self.table

    def apply(self, operator: Op) -> R:
        """Does what the operator's rule says. Raises ModelError where there is none, or it does not fit; the node is named."""
        where = f"node {operator.name} ({operator.kind})"
        if operator.node not in self:
            raise ModelError(f"{where}: {self.unknown}")
        try:
            return self.table[operator.kind](operator)
        except UnfitError as error:
            raise ModelError(f"{where}: {error.reason}", use=error.use) from error


def constant_of(value: ir.Value) -> Array | None:
    """The array of an initializer, or of what a Constant node gives; None of a value that is computed."""
    tensor = ir.convenience.get_const_tensor(value)
    return None if tensor is None else tensor.numpy()


def operands_of(node: ir.Node, computed: Mapping[ir.Value, V]) -> list[V | Array | None]:
    """A node's inputs as `Operator` takes them, of the values that are computed so far."""
    return [None if value is None else computed[value] if value in computed else constant_of(value) for value in node.inputs]
