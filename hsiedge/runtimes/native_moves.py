"""Nodes of an INT8 graph that move integers and compute none: most become another view of a tensor, and no op.

(1, c, r, x) -> Reshape (c, 1, r, x) -> (p, c, r, x): the channels of a pixel are positions along its spectrum
"""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np

from hsiedge.native.program import Filters, Kind, Op, Tensor
from hsiedge.runtimes.native_lowering import Lowering
from hsiedge.runtimes.native_values import Joined, Real, Stored, Sums
from hsiedge.runtimes.onnx_graph import Node

_FAR = 1 << 31


class Moves(Lowering):
    """Identity, Transpose, Reshape, Slice, Concat and Pad."""

    def _on_identity(self, node: Node) -> Any:
        return self._value(node.inputs[0], object)

    def _on_transpose(self, node: Node) -> Any:
        value = self._value(node.inputs[0], Stored, Real, Sums)
        axes = value.stored.axes if isinstance(value, Real) else value.axes
        order = node.integers("perm", list(range(len(axes)))[::-1])
        if sorted(order) != list(range(len(axes))):
            raise self._refused("an order of other axes")
        moved = tuple(axes[i] for i in order)
        return (
            replace(value, stored=replace(value.stored, axes=moved)) if isinstance(value, Real) else replace(value, axes=moved)
        )

    def _on_reshape(self, node: Node) -> Stored:
        stored: Stored = self._value(node.inputs[0], Stored)
        target, axes = self._constant(node.inputs[1]).astype(int).tolist(), stored.axes
        tensor = self._tensors[stored.tensor]
        if len(target) == 4 and not any(target[2:]) and axes[2:] == ("r", "x"):
            if axes[:2] == ("1", "c") and target[:2] == [tensor.channels, 1]:
                return self._as_positions(stored)
            if axes[:2] == ("p", "c") and target[:2] == [1, tensor.positions * tensor.channels]:
                plain = self._plain(stored)
                return replace(plain, axes=("1", "c", "r", "x"), window=tensor.positions)
        if (
            axes[2:] == ("p", "c")
            and len(target) == 4
            and target[:2] in ([0, 0],)
            and target[2] == -1
            and tensor.channels % target[3] == 0
        ):
            return self._unrolled(stored, target[3])
        raise self._refused(f"from axes {axes} to {target}")

    def _as_positions(self, stored: Stored) -> Stored:
        """Channels that become positions, as where a net of the spectrum begins, or goes on after principal axes."""
        source = self._plain(stored)
        channels = self._tensors[source.tensor].channels
        if source.tensor == 0 and not self._ops:
            self._tensors[0] = Tensor(channels, 1)
            return replace(source, axes=("p", "c", "r", "x"))
        shape = Tensor(channels, 1, source.shrink)
        op = Op(Kind.EXTEND, -1, (source.tensor,), rows=(source.row,), columns=(source.column,), channels=1)
        return self._added(op, shape, ("p", "c", "r", "x"), source.signed)

    def _unrolled(self, stored: Stored, channels: int) -> Stored:
        """Undoes steps along the spectrum that one convolution takes at once: their parts of its channels are positions.

        A pool of 5 behind a convolution is computed so: its 5 steps are 5 times the channels, with weights that are shifted.
        """
        op = next(op for op in self._ops if op.out == stored.tensor)
        filters, shape = op.filters, self._tensors[stored.tensor]
        steps = shape.channels // channels
        if op.kind is not Kind.DENSE or filters is None or op.stride % steps or self._ops[-1] is not op:
            raise self._refused("channels that become positions")
        step = op.stride // steps
        parts = filters.weights.reshape(steps, channels, *filters.weights.shape[1:])
        length = parts.shape[4] - step * (steps - 1)
        first = parts[0][..., :length, :]
        for index, part in enumerate(parts):
            begin = index * step
            if not (part[..., begin : begin + length, :] == first).all() or np.count_nonzero(part) != np.count_nonzero(first):
                raise self._refused("channels that become positions")
        same = [entry.reshape(steps, channels) for entry in (filters.bias, filters.scale)]
        if any((entry != entry[0]).any() for entry in same):
            raise self._refused("channels that become positions")
        one = Filters(np.ascontiguousarray(first), same[0][0], same[1][0], filters.input_zero)
        kernel = (*op.kernel[:2], length)
        self._ops[-1] = replace(op, kernel=kernel, stride=step, channels=channels, filters=one)
        self._tensors[stored.tensor] = replace(shape, positions=shape.positions * steps, channels=channels)
        return stored

    def _on_slice(self, node: Node) -> Any:
        value = self._value(node.inputs[0], Stored, Real)
        if isinstance(value, Real):
            return replace(value, stored=self._sliced(node, value.stored))
        return self._sliced(node, value)

    def _sliced(self, node: Node, stored: Stored) -> Stored:
        """Part of the rows, columns or positions."""
        starts, ends, axes = (self._constant(name).ravel().astype(int).tolist() for name in node.inputs[1:4])
        steps = self._constant(node.inputs[4]).ravel().tolist() if len(node.inputs) > 4 else [1] * len(starts)
        if any(step != 1 for step in steps):
            raise self._refused("a step")
        cuts: dict[str, tuple[int, int]] = {}
        for start, end, axis in zip(starts, ends, axes):
            name = stored.axes[axis]
            if name == "p":
                stored = self._some_positions(stored, start, end)
            elif name in "rx" and start >= 0 and (end >= _FAR or end < 0):
                cuts[name] = (start, 0 if end >= _FAR else -end)
            else:
                raise self._refused("part of the channels")
        if not cuts:
            return stored
        (top, bottom), (left, right) = cuts.get("r", (0, 0)), cuts.get("x", (0, 0))
        if top + bottom and left + right and top + bottom != left + right:
            raise self._refused("other rows than columns")
        return replace(stored, row=stored.row + top, column=stored.column + left, shrink=stored.shrink + left + right)

    def _some_positions(self, stored: Stored, start: int, end: int) -> Stored:
        all_of_them = self._tensors[stored.tensor].positions
        if start < 0 or end < 0 or stored.first or stored.last is not None:
            raise self._refused("positions from behind")
        return replace(stored, first=start, last=min(end, all_of_them))

    def _on_concat(self, node: Node) -> Any:
        values = [self._value(name, Stored, Real) for name in node.inputs]
        axes = values[0].axes if isinstance(values[0], Stored) else values[0].stored.axes
        if axes[node.integer("axis", 0)] != "c" or any(type(value) is not type(values[0]) for value in values):
            raise self._refused("along other than channels")
        if isinstance(values[0], Real):
            return Joined(tuple(values), axes, False)
        if all(value.tensor == values[0].tensor and value.last is not None for value in values):
            return self._window(values)
        parts = tuple(Real(value, np.float32(1), 0) for value in values)
        if len({value.signed for value in values}) > 1:
            raise self._refused("signed and unsigned integers")
        return self._join(Joined(parts, axes, False), np.float32(1), 0, values[0].signed)

    def _window(self, values: list[Stored]) -> Stored:
        """Neighbouring positions as channels: what a kernel over positions sees."""
        count, positions = len(values), self._tensors[values[0].tensor].positions
        if any((value.first, value.last) != (k, positions - count + 1 + k) for k, value in enumerate(values)):
            raise self._refused("positions that are no window")
        return replace(values[0], first=0, last=None, window=count)

    def _on_pad(self, node: Node) -> Stored:
        stored: Stored = self._value(node.inputs[0], Stored)
        pads = self._constant(node.inputs[1]).ravel().astype(int).tolist()
        fill = int(self._constant(node.inputs[2]).ravel()[0]) if len(node.inputs) > 2 and node.inputs[2] else 0
        count = len(stored.axes)
        sizes = {axis: (pads[i], pads[i + count]) for i, axis in enumerate(stored.axes) if pads[i] or pads[i + count]}
        if node.attributes.get("mode", "constant") != "constant" or set(sizes) - {"p"} or min(pads) < 0:
            raise self._refused("a pad around pixels")
        return self._extended(stored, *sizes["p"], fill + 128 * stored.signed) if sizes else stored
