"""A node of a patch graph on its way into a scene graph, and how it slides over windows."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace

from hsiedge.graphs.operator_view import Array, Kernel, Operator, UnfitError
from hsiedge.graphs.scene_graph.layout import Builder, Layout, Window, X, Y


@dataclass
class Node(Operator[Layout]):
    """A node of the patch graph, and where what becomes of it is written.

    Attributes:
        operands: layouts and constants; None where one is left out.
        approximate: go on where the scene graph is not the patch graph, and say so.
        approximations: what was not done as in the patch graph, one line each.
    """

    build: Builder
    approximate: bool
    approximations: list[str] = field(default_factory=list)

    @property
    def shape(self) -> tuple[int, ...]:
        """The shape of its first output, for one patch."""
        shape = self.node.outputs[0].shape
        return tuple(shape.numpy()) if shape is not None and shape.is_static() else ()

    def allow(self, reason: str) -> None:
        """Goes on, and says so, where an approximation was asked for; else raises UnfitError."""
        if not self.approximate:
            raise UnfitError(
                f"{reason}; an approximation lets it see what lies around the patch instead", use={"approximate": ""}
            )
        line = f"{self.name} ({self.kind}): {reason}"
        if line not in self.approximations:
            self.approximations.append(line)


def slid(kernel: Kernel, window: Window) -> Window:
    """The window that comes of sliding a kernel over one."""
    return Window(
        kernel.positions(window.size),
        window.step * kernel.stride,
        window.start - kernel.head * window.step,
        window.extra - kernel.reach * window.step,
    )


@dataclass(frozen=True)
class Sliding:
    """The kernels with which an operator slides along y and x.

    Attributes:
        transposed: its own spatial axes are x, then y.
    """

    y: Kernel
    x: Kernel
    transposed: bool = False

    @classmethod
    def of(cls, node: Node, layout: Layout, along: Mapping[int, Kernel]) -> Sliding:
        """The part along the windows of what an operator does along some axes. Raises UnfitError."""
        axes = {factor: axis for axis in along for factor in layout.axes[axis] if factor in (Y, X)}
        if any(len(layout.axes[axis]) > 1 for axis in axes.values()):
            raise UnfitError("it slides along an axis that y or x was merged into")
        if any(not layout.axes[axis] and kernel.size > 1 for axis, kernel in along.items()):
            raise UnfitError("it slides over a single position, which it pads")
        kernels = {factor: along[axes[factor]] if factor in axes else Kernel(1) for factor in (Y, X)}
        for factor, kernel in kernels.items():
            if kernel.head or kernel.tail:
                node.allow("it pads its patches")
            if counts_beyond(kernel, layout.size(factor)):
                node.allow("it counts positions that reach beyond the patch")
        return cls(kernels[Y], kernels[X], Y in axes and X in axes and axes[X] < axes[Y])

    @property
    def stays(self) -> bool:
        """Looks at one place at a time."""
        return self.y.stays and self.x.stays

    def windows(self, layout: Layout) -> tuple[Window, Window]:
        """A value's windows after the operator."""
        return slid(self.y, layout.y), slid(self.x, layout.x)

    def dilations(self, layout: Layout) -> list[int]:
        """Dilations in pixels; 1 where there is nothing to dilate."""
        pairs: list[tuple[Kernel, Window]] = [(self.y, layout.y), (self.x, layout.x)]
        return [kernel.dilation * window.step if kernel.size > 1 else 1 for kernel, window in pairs]

    def weights(self, weight: Array) -> Array:
        """Weights `(outputs, inputs, ...)` as `(outputs, inputs, y, x)`."""
        sizes = (self.x.size, self.y.size) if self.transposed else (self.y.size, self.x.size)
        shaped = weight.reshape(*weight.shape[:2], *sizes)
        return shaped.swapaxes(2, 3) if self.transposed else shaped


def counts_beyond(kernel: Kernel, size: int) -> bool:
    """Tells a kernel that counts positions beyond the end of an axis of `size`, as `ceil_mode` makes it."""
    return kernel.positions(size) != replace(kernel, ceil=False).positions(size)
