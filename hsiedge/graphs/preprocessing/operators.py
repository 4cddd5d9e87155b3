"""Steps: nodes that do to each pixel the same, and nothing that is not linear, between the input and the first layer."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from hsiedge.graphs import query
from hsiedge.graphs.preprocessing.band_map import Array, Linear

Axes = tuple[tuple[str, ...], ...]
START: Axes = (("n",), ("b",), ("y",), ("x",))


@dataclass
class Path:
    """A value, as what has become of the one that the path started from, `(N, bands, y, x)`.

    Attributes:
        value: its name.
        sizes: of each label: n, b (of bands, or what they were projected on), y, x; -1 where they are not known.
        constants: what nodes may be given beside it.
        axes: the labels of each axis, more than one where axes were merged, none where the size is 1.
        linear: what was done to the bands.
        moves: the nodes that rearranged axes, or cut pixels.
    """

    value: str
    sizes: dict[str, int]
    constants: Mapping[str, NDArray[Any]]
    linear: Linear
    axes: Axes = START
    moves: list[Any] = field(default_factory=list)

    @property
    def permuted(self) -> bool:
        """Whether all that the moves do is to put the axes into another order, or the same."""
        return sorted(self.axes) == sorted(START)

    @property
    def shaped(self) -> bool:
        """Whether a number of bands is said on the way, which may not become another then."""
        return any(node.op_type == "Reshape" for node in self.moves)

    def settle(self) -> None:
        """Writes moves that only permute as one, or none."""
        from onnx import helper

        if self.permuted:
            perm = [START.index(axis) for axis in self.axes]
            self.moves = [helper.make_node("Transpose", [""], [""], perm=perm)] if self.axes != START else []

    def take(self, node: Any) -> bool:
        """Goes one step on; False where that is no step."""
        return STEPS[node.op_type](self, node)

    def move(self, node: Any, axes: Axes) -> bool:
        """One step that rearranges axes."""
        self.axes = axes
        self.moves.append(node)
        self.settle()
        return True

    def scale(self, factor: Array, shift: Array) -> bool:
        """One step that scales bands; `(1,)` or `(bands,)` each."""
        if not (np.isfinite(factor).all() and np.isfinite(shift).all()):
            return False
        size = self.sizes["b"]
        self.linear = self.linear.scaled(np.broadcast_to(factor, size), np.broadcast_to(shift, size))
        return True

    def select(self, places: NDArray[np.intp]) -> bool:
        """One step that selects bands."""
        if self.shaped or not len(places) or len(set(places.tolist())) < len(places):
            return False
        self.linear = self.linear.chosen(places)
        self.sizes["b"] = len(places)
        return True

    def operand(self, node: Any) -> Array | None:
        """The constant of a node that takes two: one, or one a band. None where it is anything else."""
        stored = self.constants[next(name for name in node.input if name != self.value)]
        if stored.ndim > len(self.axes):
            return None
        shape = (1,) * (len(self.axes) - stored.ndim) + stored.shape
        by_band = all(size in (1, self.sizes["b"] if axis == ("b",) else 1) for size, axis in zip(shape, self.axes))
        return stored.astype(np.float64).ravel() if by_band else None


def _numbers(path: Path, node: Any, place: int, name: str) -> list[int] | None:
    """Whole numbers that are an input, or in older opsets an attribute."""
    if len(node.input) > place and node.input[place]:
        return [int(number) for number in path.constants[node.input[place]].ravel()]
    found = query.attributes(node).get(name)
    return None if found is None else list(found)


def _same(path: Path, node: Any) -> bool:
    return True


def _cast(path: Path, node: Any) -> bool:
    from onnx import TensorProto

    return bool(query.attributes(node)["to"] == TensorProto.FLOAT)  # from which it comes, for all on a path is float32


def _neg(path: Path, node: Any) -> bool:
    return path.scale(-np.ones(1), np.zeros(1))


def _add(path: Path, node: Any) -> bool:
    value = path.operand(node)
    return value is not None and path.scale(np.ones(1), value)


def _sub(path: Path, node: Any) -> bool:
    value = path.operand(node)
    sign = 1.0 if node.input[0] == path.value else -1.0
    return value is not None and path.scale(np.full(1, sign), -sign * value)


def _mul(path: Path, node: Any) -> bool:
    value = path.operand(node)
    return value is not None and path.scale(value, np.zeros(1))


def _div(path: Path, node: Any) -> bool:
    value = path.operand(node) if node.input[0] == path.value else None
    return value is not None and bool(value.all()) and path.scale(1 / value, np.zeros(1))


def _norm(path: Path, node: Any) -> bool:
    """BatchNormalization, with the statistics that it has."""
    gain, bias, mean, variance = (path.constants[name].astype(np.float64) for name in node.input[1:])
    if query.attributes(node).get("training_mode", 0) or path.axes[1] not in ((), ("b",)):
        return False
    factor = gain / np.sqrt(variance + query.attributes(node).get("epsilon", 1e-5))
    return path.scale(factor, bias - mean * factor)


def _transpose(path: Path, node: Any) -> bool:
    perm = query.attributes(node).get("perm", range(len(path.axes))[::-1])
    return path.move(node, tuple(path.axes[place] for place in perm))


def _unsqueeze(path: Path, node: Any) -> bool:
    new = _numbers(path, node, 1, "axes") or []
    rank = len(path.axes) + len(new)
    places, old = {axis % rank for axis in new}, iter(path.axes)
    return path.move(node, tuple(() if place in places else next(old) for place in range(rank)))


def _squeeze(path: Path, node: Any) -> bool:
    gone = {axis % len(path.axes) for axis in _numbers(path, node, 1, "axes") or []}
    axes = tuple(axis for place, axis in enumerate(path.axes) if place not in gone)
    return bool(gone) and ("b",) in axes and path.move(node, axes)


def _flatten(path: Path, node: Any) -> bool:
    labels = tuple(label for axis in path.axes[1:] for label in axis if path.sizes[label] != 1)
    return query.attributes(node).get("axis", 1) == 1 and path.axes[0] == ("n",) and path.move(node, (("n",), labels))


def _reshape(path: Path, node: Any) -> bool:
    """The batch stays in front; the other axes are merged, and split, at borders of their own."""
    first, *rest = _numbers(path, node, 1, "shape") or [1]
    labels = [label for axis in path.axes[1:] for label in axis if path.sizes[label] != 1]
    sizes = [path.sizes[label] for label in labels]
    unknown = [first, *rest].count(-1) > 1 or 0 in rest or min(sizes, default=-1) < 1
    if unknown or path.axes[0] != ("n",) or first not in (0, -1, path.sizes["n"]):
        return False
    known = int(np.prod([size for size in rest if size > 0]))
    axes = _split(labels, sizes, [size if size > 0 else int(np.prod(sizes)) // known for size in rest])
    return axes is not None and path.move(node, axes)


def _split(labels: list[str], sizes: list[int], wanted: list[int]) -> Axes | None:
    """Axes of the `wanted` sizes behind the batch, each of whole labels; None where a border falls within one."""
    axes: list[tuple[str, ...]] = [("n",)]
    left = list(zip(labels, sizes))
    for size in wanted:
        axis, product = [], 1
        while product < size and left:
            label, factor = left.pop(0)
            axis.append(label)
            product *= factor
        if product != size:
            return None
        axes.append(tuple(axis))
    return None if left else tuple(axes)


def _gather(path: Path, node: Any) -> bool:
    """Some bands; or one row or column, as nets do that look at the centre of a patch."""
    place = query.attributes(node).get("axis", 0) % len(path.axes)
    indices = path.constants[node.input[1]]
    if path.axes[place] == ("b",) and indices.ndim == 1:
        return path.select(indices.astype(np.intp) % path.sizes["b"])
    if indices.ndim or "b" in path.axes[place]:
        return False
    return path.move(node, path.axes[:place] + path.axes[place + 1 :])


def _gather_nd(path: Path, node: Any) -> bool:
    """As torch exports `x[:, [3, 1]]`, between two transposes."""
    indices = path.constants[node.input[1]]
    if path.axes[0] != ("b",) or indices.ndim != 2 or indices.shape[1] != 1 or query.attributes(node).get("batch_dims", 0):
        return False
    return path.select(indices[:, 0].astype(np.intp) % path.sizes["b"])


def _slice(path: Path, node: Any) -> bool:
    """Some bands; or a part of the patch."""
    starts, ends, axes, steps = (
        _numbers(path, node, place, name) for place, name in enumerate(("starts", "ends", "axes", "steps"), 1)
    )
    assert starts is not None
    assert ends is not None
    axes = [axis % len(path.axes) for axis in (axes or range(len(starts)))]
    if not any("b" in path.axes[axis] for axis in axes):
        return _cut(path, node)
    if [path.axes[axis] for axis in axes] != [("b",)]:
        return False
    return path.select(np.arange(path.sizes["b"])[slice(starts[0], ends[0], (steps or [1])[0])])


def _cut(path: Path, node: Any) -> bool:
    """Fewer pixels, under other labels: what comes now is not done before the cut, to pixels that nobody needs."""
    names = {label: f"{label}'" for label in path.sizes if label not in "nb"}
    path.sizes |= dict.fromkeys(names.values(), -1)
    return path.move(node, tuple(tuple(names.get(label, label) for label in axis) for axis in path.axes))


STEPS: dict[str, Callable[[Path, Any], bool]] = {
    "Add": _add,
    "BatchNormalization": _norm,
    "Cast": _cast,
    "Div": _div,
    "Flatten": _flatten,
    "Gather": _gather,
    "GatherND": _gather_nd,
    "Identity": _same,
    "Mul": _mul,
    "Neg": _neg,
    "Reshape": _reshape,
    "Slice": _slice,
    "Squeeze": _squeeze,
    "Sub": _sub,
    "Transpose": _transpose,
    "Unsqueeze": _unsqueeze,
}
"""By operator: takes a node in, or leaves the path as it is and says False."""
