"""Steps: nodes that do to each pixel one linear thing, between the input and the first layer."""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np
import onnx_ir as ir
from numpy.typing import NDArray

from hsiedge.graphs.operator_view import Operator, Rules, UnfitError, operands_of
from hsiedge.graphs.preprocessing.band_map import Array, Linear

Axes = tuple[tuple[str, ...], ...]
START: Axes = (("n",), ("b",), ("y",), ("x",))


@dataclass
class Path:
    """A value, as what has become of the one that the path started from, `(N, bands, y, x)`.

    Attributes:
        value: the value itself.
        sizes: of each label: n, b (of bands, or what they were projected on), y, x; -1 where they are not known.
        linear: what was done to the bands.
        axes: the labels of each axis, more than one where axes were merged, none where the size is 1.
        shape_ops: the nodes that rearranged axes, or cut pixels; only their operator, attributes and constants count.
    """

    value: ir.Value
    sizes: dict[str, int]
    linear: Linear
    axes: Axes = START
    shape_ops: list[ir.Node] = field(default_factory=list)

    @property
    def permuted(self) -> bool:
        """Tells a path whose axes have at most been put into another order."""
        return sorted(self.axes) == sorted(START)

    @property
    def shaped(self) -> bool:
        """Tells a path on which a number of bands is said, which may not become another then."""
        return any(node.op_type == "Reshape" for node in self.shape_ops)

    def step(self, node: ir.Node) -> Step:
        """The node that takes the path's value, as a rule reads it."""
        return Step(node, operands_of(node, {self.value: self.value}), self)

    def rearrange(self, node: ir.Node, axes: Axes) -> None:
        """Goes on by a node that rearranges axes; those that only permute become one, or none."""
        self.axes = axes
        self.shape_ops.append(node)
        if self.permuted:
            perm = [START.index(axis) for axis in self.axes]
            self.shape_ops = [ir.node("Transpose", [None], {"perm": perm})] if self.axes != START else []

    def scale(self, factor: Array, shift: Array) -> None:
        """Goes on by a factor and a shift of bands; `(1,)` or `(bands,)` each. Raises UnfitError where they are not finite."""
        if not (np.isfinite(factor).all() and np.isfinite(shift).all()):
            raise UnfitError("it scales bands by what is not finite")
        size = self.sizes["b"]
        self.linear = self.linear.scaled(np.broadcast_to(factor, size), np.broadcast_to(shift, size))

    def select(self, places: NDArray[np.intp]) -> None:
        """Goes on by a selection of bands. Raises UnfitError where there is none, or one band is taken twice."""
        if self.shaped or not len(places) or len(set(places.tolist())) < len(places):
            raise UnfitError("it takes bands twice, or none, or behind a reshape")
        self.linear = self.linear.chosen(places)
        self.sizes["b"] = len(places)


@dataclass
class Step(Operator[ir.Value]):
    """A node that takes a path's value; what else it takes is constant."""

    path: Path

    def operand(self, place: int) -> Array:
        """The constant of a node that takes two operands: one number, or one a band. Raises UnfitError."""
        array, axes = self.required(place), self.path.axes
        if array.ndim > len(axes):
            raise UnfitError("its constant has more axes than what it is put to")
        shape = (1,) * (len(axes) - array.ndim) + array.shape
        if not all(size in (1, self.path.sizes["b"] if axis == ("b",) else 1) for size, axis in zip(shape, axes)):
            raise UnfitError("its constant is neither one number nor one a band")
        return array.astype(np.float64).ravel()

    @property
    def place(self) -> int:
        """The input that is the path's value: 0 or 1."""
        return 1 if isinstance(self.operands[0], np.ndarray) else 0


def _identity(step: Step) -> None:
    pass


def _cast(step: Step) -> None:
    if step.integer("to") != ir.DataType.FLOAT:  # from which it comes, for all on a path is float32
        raise UnfitError("casts to other than float32")


def _neg(step: Step) -> None:
    step.path.scale(-np.ones(1), np.zeros(1))


def _add(step: Step) -> None:
    step.path.scale(np.ones(1), step.operand(1 - step.place))


def _sub(step: Step) -> None:
    sign = -1.0 if step.place else 1.0
    step.path.scale(np.full(1, sign), -sign * step.operand(1 - step.place))


def _mul(step: Step) -> None:
    step.path.scale(step.operand(1 - step.place), np.zeros(1))


def _div(step: Step) -> None:
    if step.place:
        raise UnfitError("it divides by bands")
    divisor = step.operand(1)
    if not divisor.all():
        raise UnfitError("it divides by zero")
    step.path.scale(1 / divisor, np.zeros(1))


def _batch_normalization(step: Step) -> None:
    if step.path.axes[1] not in ((), ("b",)):
        raise UnfitError("it normalizes other axes than bands")
    step.path.scale(*step.normalization())


def _transpose(step: Step) -> None:
    axes = step.path.axes
    step.path.rearrange(step.node, tuple(axes[place] for place in step.permutation(len(axes))))


def _unsqueeze(step: Step) -> None:
    rank = len(step.path.axes) + len(step.integers("axes", 1) or [])
    places, old = step.axes(rank) or [], iter(step.path.axes)
    step.path.rearrange(step.node, tuple(() if place in places else next(old) for place in range(rank)))


def _squeeze(step: Step) -> None:
    gone = step.axes(len(step.path.axes))
    axes = tuple(axis for place, axis in enumerate(step.path.axes) if place not in (gone or ()))
    if not gone or ("b",) not in axes:
        raise UnfitError("it takes away axes that are not named, or bands")
    step.path.rearrange(step.node, axes)


def _flatten(step: Step) -> None:
    path = step.path
    if step.axis(len(path.axes)) != 1 or path.axes[0] != ("n",):
        raise UnfitError("it flattens other axes than those behind the batch")
    path.rearrange(step.node, (("n",), tuple(_labels(path))))


def _labels(path: Path) -> list[str]:
    """The labels behind the batch that tell values apart."""
    return [label for axis in path.axes[1:] for label in axis if path.sizes[label] != 1]


def _reshape(step: Step) -> None:
    """The batch stays in front; the other axes are merged, and split, at borders of their own."""
    path = step.path
    first, *rest = step.integers("shape", 1) or [1]
    labels = _labels(path)
    sizes = [path.sizes[label] for label in labels]
    unknown = [first, *rest].count(-1) > 1 or 0 in rest or min(sizes, default=-1) < 1
    if unknown or path.axes[0] != ("n",) or first not in (0, -1, path.sizes["n"]):
        raise UnfitError("it reshapes the batch, or to sizes that are not followed")
    known = int(np.prod([size for size in rest if size > 0]))
    path.rearrange(step.node, _split(labels, sizes, [size if size > 0 else int(np.prod(sizes)) // known for size in rest]))


def _split(labels: list[str], sizes: list[int], wanted: list[int]) -> Axes:
    """Axes of the `wanted` sizes behind the batch, each of whole labels. Raises UnfitError where a border falls within one."""
    axes: list[tuple[str, ...]] = [("n",)]
    left = list(zip(labels, sizes))
    for size in wanted:
        axis, product = [], 1
        while product < size and left:
            label, factor = left.pop(0)
            axis.append(label)
            product *= factor
        if product != size:
            raise UnfitError("it splits bands, rows or columns")
        axes.append(tuple(axis))
    if left:
        raise UnfitError("it splits bands, rows or columns")
    return tuple(axes)


def _gather(step: Step) -> None:
    """Some bands; or one row or column, as nets do that look at the centre of a patch."""
    path, indices = step.path, step.required(1)
    axis = step.axis(len(path.axes))
    if path.axes[axis] == ("b",) and indices.ndim == 1:
        return path.select(indices.astype(np.intp) % path.sizes["b"])
    if indices.ndim or "b" in path.axes[axis]:
        raise UnfitError("it gathers other than bands, a row or a column")
    return path.rearrange(step.node, path.axes[:axis] + path.axes[axis + 1 :])


def _gather_nd(step: Step) -> None:
    """Some bands, as torch exports `x[:, [3, 1]]`, between two transposes."""
    path, indices = step.path, step.required(1)
    if path.axes[0] != ("b",) or indices.ndim != 2 or indices.shape[1] != 1 or step.integer("batch_dims"):
        raise UnfitError("it gathers other than bands")
    path.select(indices[:, 0].astype(np.intp) % path.sizes["b"])


def _slice(step: Step) -> None:
    """Some bands; or a part of the patch."""
    path = step.path
    parts = step.slices(len(path.axes))
    if not any("b" in path.axes[axis] for axis in parts):
        return _cut(step)
    if [path.axes[axis] for axis in parts] != [("b",)]:
        raise UnfitError("it slices bands and pixels at once")
    (part,) = parts.values()
    return path.select(np.arange(path.sizes["b"])[part])


def _cut(step: Step) -> None:
    """Fewer pixels, under other labels: what comes now is not done before the cut, to pixels that nobody needs."""
    path = step.path
    names = {label: f"{label}'" for label in path.sizes if label not in "nb"}
    path.sizes |= dict.fromkeys(names.values(), -1)
    path.rearrange(step.node, tuple(tuple(names.get(label, label) for label in axis) for axis in path.axes))


STEPS = Rules[Step, None](
    {
        "Add": _add,
        "BatchNormalization": _batch_normalization,
        "Cast": _cast,
        "Div": _div,
        "Flatten": _flatten,
        "Gather": _gather,
        "GatherND": _gather_nd,
        "Identity": _identity,
        "Mul": _mul,
        "Neg": _neg,
        "Reshape": _reshape,
        "Slice": _slice,
        "Squeeze": _squeeze,
        "Sub": _sub,
        "Transpose": _transpose,
        "Unsqueeze": _unsqueeze,
    },
    unknown="not linear in the bands",
)
"""Steps by operator: a rule takes its step's path on, or leaves it as it is and raises UnfitError."""
