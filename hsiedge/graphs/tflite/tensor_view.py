"""Values on their way from ONNX to TensorFlow: the axes of one are in another order than those of the other."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import tensorflow as tf

from hsiedge.graphs.operator_view import UnfitError


@dataclass(frozen=True)
class Size:
    """An axis: so many values, for each patch of a batch where `batched`."""

    count: int
    batched: bool = False

    @property
    def static(self) -> int:
        """The count as TensorFlow takes it: -1 where it follows from the batch."""
        return -1 if self.batched else self.count

    @property
    def trivial(self) -> bool:
        """Tells an axis of one value, which may stand anywhere."""
        return self.count == 1 and not self.batched


@dataclass(frozen=True)
class TensorView:
    """A TensorFlow tensor in the place of an ONNX value.

    Attributes:
        tensor: symbolic.
        order: for each axis of the tensor, which axis of the ONNX value it is.
        sizes: of the ONNX value.
    """

    tensor: tf.Tensor
    order: tuple[int, ...]
    sizes: tuple[Size, ...]

    @property
    def rank(self) -> int:
        """The number of axes of the ONNX value."""
        return len(self.sizes)

    @property
    def batched(self) -> bool:
        """Has an axis that follows from the batch."""
        return any(size.batched for size in self.sizes)

    def of(self, tensor: tf.Tensor) -> TensorView:
        """A view of what was computed of this one value by value."""
        return TensorView(tensor, self.order, self.sizes)

    def of_rank(self, rank: int) -> TensorView:
        """A view with so many axes: those that it lacks stand in front."""
        return self if rank == self.rank else self.reshaped([Size(1)] * (rank - self.rank) + list(self.sizes))

    def arranged(self, order: Sequence[int]) -> TensorView:
        """A view with its axes in this order; nothing is moved where only axes of one value stand elsewhere."""
        order = tuple(order)
        if order == self.order:
            return self
        if [axis for axis in self.order if not self.sizes[axis].trivial] == [
            axis for axis in order if not self.sizes[axis].trivial
        ]:
            tensor = tf.reshape(self.tensor, [self.sizes[axis].static for axis in order])
        else:
            tensor = tf.transpose(self.tensor, [self.order.index(axis) for axis in order])
        return TensorView(tensor, order, self.sizes)

    def in_onnx_order(self) -> tf.Tensor:
        """The tensor with ONNX's own order of axes."""
        return self.arranged(range(self.rank)).tensor

    def transposed(self, permutation: Sequence[int]) -> TensorView:
        """The output of ONNX's Transpose: nothing is moved."""
        place = {axis: number for number, axis in enumerate(permutation)}
        return TensorView(
            self.tensor, tuple(place[axis] for axis in self.order), tuple(self.sizes[axis] for axis in permutation)
        )

    def reshaped(self, sizes: Sequence[Size]) -> TensorView:
        """The output of ONNX's Reshape. Axes that are split, or joined and lie side by side, stay where they are."""
        groups = _groups(self.sizes, sizes)
        source = self if all(self._together(before) for before, _ in groups) else self.arranged(range(self.rank))
        order: list[int] = []
        by_axis = {axis: after for before, after in groups for axis in before}
        for axis in source.order:
            if not self.sizes[axis].trivial:
                order += [entry for entry in by_axis[axis] if entry not in order]
        order += [entry for entry in range(len(sizes)) if entry not in order]
        return TensorView(tf.reshape(source.tensor, [sizes[axis].static for axis in order]), tuple(order), tuple(sizes))

    def _together(self, axes: Sequence[int]) -> bool:
        """Tells ONNX's axes that lie side by side and in order in the tensor, axes of one value left aside."""
        wide = [axis for axis in axes if not self.sizes[axis].trivial]
        order = [axis for axis in self.order if not self.sizes[axis].trivial]
        return not wide or order[order.index(wide[0]) :][: len(wide)] == wide


def resolved(sizes: Sequence[Size], target: Sequence[int], zero_copies: bool = True) -> tuple[Size, ...]:
    """The sizes that a Reshape to `target` (0: as before; -1: what is left) gives.

    The batch goes to the axis that is left, else to the first. Raises UnfitError where the counts do not fit.
    """
    reshaped = [sizes[place] if size == 0 and zero_copies else Size(int(size)) for place, size in enumerate(target)]
    total, batched = math.prod(size.count for size in sizes), any(size.batched for size in sizes)
    if -1 in target:
        free = list(target).index(-1)
        rest = math.prod(size.count for place, size in enumerate(reshaped) if place != free)
        lacks = batched and not any(size.batched for place, size in enumerate(reshaped) if place != free)
        reshaped[free] = Size(total // max(1, rest), lacks)
    elif batched and not any(size.batched for size in reshaped):
        reshaped[0] = Size(reshaped[0].count, True)
    if math.prod(size.count for size in reshaped) != total:
        raise UnfitError(f"reshapes {[size.count for size in sizes]} to {list(target)}")
    return tuple(reshaped)


def _groups(before: Sequence[Size], after: Sequence[Size]) -> list[tuple[list[int], list[int]]]:
    """The axes of two shapes, in the smallest groups that hold the same values."""
    groups: list[tuple[list[int], list[int]]] = []
    left, right = 0, 0
    while left < len(before) or right < len(after):
        ours, theirs = [left] if left < len(before) else [], [right] if right < len(after) else []
        left, right = left + len(ours), right + len(theirs)
        while _values(before, ours) != _values(after, theirs):
            smaller = left < len(before) and (_values(before, ours) < _values(after, theirs) or right >= len(after))
            if smaller:
                ours.append(left)
                left += 1
            elif right < len(after):
                theirs.append(right)
                right += 1
            else:
                raise UnfitError(f"reshapes {[size.count for size in before]} to {[size.count for size in after]}")
        groups.append((ours, theirs))
    return groups


def _values(sizes: Sequence[Size], axes: Sequence[int]) -> tuple[bool, int]:
    return any(sizes[axis].batched for axis in axes), math.prod(sizes[axis].count for axis in axes)
