"""A node of a patch graph, and how it slides over windows."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from hsiedge.graphs.scene_graph.layout import Builder, Factor, Layout, UnfitError, Window, X, Y

Entry = Layout | NDArray[Any]


@dataclass
class Node:
    """A node of the patch graph, and where what becomes of it is written.

    Attributes:
        inputs: layouts and constants; None where one is left out.
        shape: of its first output, for one patch.
        outputs: how many it has.
        approximations: what was not done as in the patch graph, one line each.
    """

    build: Builder
    kind: str
    name: str
    inputs: list[Entry | None]
    attributes: Mapping[str, Any]
    shape: tuple[int, ...]
    outputs: int
    approximate: bool
    approximations: list[str] = field(default_factory=list)

    def allow(self, reason: str) -> None:
        """Goes on, and says so, where an approximation was asked for; else raises UnfitError."""
        if not self.approximate:
            raise UnfitError(f"{reason}; --approximate lets it see what lies around the patch instead")
        line = f"{self.name} ({self.kind}): {reason}"
        if line not in self.approximations:
            self.approximations.append(line)

    def layout(self, place: int = 0) -> Layout:
        """An input that is computed."""
        entry = self.inputs[place] if place < len(self.inputs) else None
        if not isinstance(entry, Layout):
            raise UnfitError("its first input is a constant")
        return entry

    def constant(self, place: int, attribute: str = "") -> NDArray[Any] | None:
        """An input that is constant (or the attribute that it was in older opsets); None where it is left out."""
        entry = self.inputs[place] if place < len(self.inputs) else None
        if isinstance(entry, Layout):
            raise UnfitError("what it is done with depends on the input")
        if entry is None and attribute in self.attributes:
            return np.asarray(self.attributes[attribute])
        return entry

    def required(self, place: int, attribute: str = "") -> NDArray[Any]:
        """A constant that has to be there."""
        found = self.constant(place, attribute)
        if found is None:
            raise UnfitError(f"its input {place} is missing")
        return found

    def axis(self, default: int, rank: int) -> int:
        """The attribute `axis`, counted from the front."""
        return int(self.attributes.get("axis", default)) % rank


@dataclass(frozen=True)
class Kernel:
    """How an operator slides along one axis."""

    size: int
    stride: int = 1
    dilation: int = 1
    head: int = 0
    tail: int = 0
    ceil: bool = False

    @property
    def reach(self) -> int:
        """From the first position it looks at to the last."""
        return self.dilation * (self.size - 1)

    def positions(self, size: int) -> int:
        """How many there are along an axis of `size`."""
        free = size + self.head + self.tail - self.reach - 1
        return (-(-free // self.stride) if self.ceil else free // self.stride) + 1

    def over(self, window: Window) -> Window:
        """The window that comes of sliding over one."""
        return Window(
            self.positions(window.size),
            window.step * self.stride,
            window.start - self.head * window.step,
            window.extra - self.reach * window.step,
        )

    @property
    def stays(self) -> bool:
        """Whether it looks at one position at a time."""
        return self.size == 1


def kernels(node: Node, sizes: Sequence[int], shape: Sequence[int]) -> list[Kernel]:
    """One for each spatial axis of a convolution or pool."""
    rank = len(sizes)
    strides, dilations = (node.attributes.get(name, [1] * rank) for name in ("strides", "dilations"))
    pads = list(node.attributes.get("pads", [0] * 2 * rank))
    auto = node.attributes.get("auto_pad", b"NOTSET")
    if auto in (b"SAME_UPPER", b"SAME_LOWER", "SAME_UPPER", "SAME_LOWER"):
        for axis in range(rank):
            outputs = -(-shape[axis] // strides[axis])
            total = max(0, (outputs - 1) * strides[axis] + dilations[axis] * (sizes[axis] - 1) + 1 - shape[axis])
            small, large = total // 2, total - total // 2
            upper = auto in (b"SAME_UPPER", "SAME_UPPER")
            pads[axis], pads[rank + axis] = (small, large) if upper else (large, small)
    ceil = bool(node.attributes.get("ceil_mode", 0))
    return [Kernel(sizes[axis], strides[axis], dilations[axis], pads[axis], pads[rank + axis], ceil) for axis in range(rank)]


@dataclass(frozen=True)
class Moves:
    """What an operator does along the windows, and which of its spatial axes are theirs."""

    y: Kernel
    x: Kernel
    transposed: bool = False

    @classmethod
    def of(cls, node: Node, layout: Layout, along: Mapping[int, Kernel]) -> Moves:
        found: dict[Factor, int] = {}
        for axis in along:
            for factor in layout.axes[axis]:
                if factor in (Y, X):
                    found[factor] = axis
                    if len(layout.axes[axis]) > 1:
                        raise UnfitError("it slides along an axis that y or x was merged into")
        for axis, slide in along.items():
            if not layout.axes[axis] and slide.size > 1:
                raise UnfitError("it slides over a single position, which it pads")
        moves = {factor: along[found[factor]] if factor in found else Kernel(1) for factor in (Y, X)}
        for factor, slide in moves.items():
            if slide.head or slide.tail:
                node.allow("it pads its patches")
            if slide.ceil and slide.positions(layout.size(factor)) != replace(slide, ceil=False).positions(layout.size(factor)):
                node.allow("it counts positions that reach beyond the patch")
        return cls(moves[Y], moves[X], Y in found and X in found and found[X] < found[Y])

    def windows(self, layout: Layout) -> tuple[Window, Window]:
        """After the operator."""
        return self.y.over(layout.y), self.x.over(layout.x)

    def dilations(self, layout: Layout) -> list[int]:
        """In pixels; 1 where there is nothing to dilate."""
        pairs = ((self.y, layout.y), (self.x, layout.x))
        return [kernel.dilation * window.step if kernel.size > 1 else 1 for kernel, window in pairs]

    def weights(self, weight: NDArray[Any]) -> NDArray[Any]:
        """`(outputs, inputs, ...)` as `(outputs, inputs, y, x)`."""
        spatial = weight.reshape(*weight.shape[:2], -1)
        sizes = (self.x.size, self.y.size) if self.transposed else (self.y.size, self.x.size)
        shaped = spatial.reshape(*weight.shape[:2], *sizes)
        return shaped.swapaxes(2, 3) if self.transposed else shaped
