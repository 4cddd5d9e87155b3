"""Axes that are relabelled, split and joined without being moved: always the values that numpy has there."""

from __future__ import annotations

import math

import numpy as np
import pytest

pytest.importorskip("tensorflow", reason="TFLite files are made with TensorFlow")
pytest.importorskip("hypothesis", reason="the cases are drawn by hypothesis")

from hypothesis import given
from hypothesis import strategies as st

from hsiedge.graphs.operator_view import UnfitError
from hsiedge.graphs.tflite.tensor_view import Size, TensorView, resolved

SIZES = st.lists(st.sampled_from([1, 1, 2, 3, 4]), min_size=1, max_size=5)


def view(values: np.ndarray, order: tuple[int, ...]) -> TensorView:
    import tensorflow as tf

    return TensorView(tf.constant(values.transpose(order)), order, tuple(map(Size, values.shape)))


def shapes_of(count: int) -> st.SearchStrategy[list[int]]:
    """Ways to write so many values."""
    factors = [factor for factor in range(2, count + 1) if count % factor == 0]

    @st.composite
    def draw(sample: st.DrawFn) -> list[int]:
        shape, rest = [], count
        while rest > 1:
            shape.append(sample(st.sampled_from([factor for factor in factors if rest % factor == 0])))
            rest //= shape[-1]
        for _ in range(sample(st.integers(0, 2))):
            shape.insert(sample(st.integers(0, len(shape))), 1)
        return shape or [1]

    return draw()


@given(st.data())
def test_reshape_and_transpose(data: st.DataObject) -> None:
    shape = data.draw(SIZES)
    values = np.arange(math.prod(shape), dtype=np.float32).reshape(shape)
    ours = view(values, tuple(data.draw(st.permutations(range(len(shape))))))
    for _ in range(3):
        target = data.draw(shapes_of(values.size))
        ours, values = ours.reshaped([Size(size) for size in target]), values.reshape(target)
        np.testing.assert_array_equal(ours.in_onnx_order().numpy(), values)
        permutation = data.draw(st.permutations(range(values.ndim)))
        ours, values = ours.transposed(permutation), values.transpose(permutation)
        np.testing.assert_array_equal(ours.in_onnx_order().numpy(), values)
        order = data.draw(st.permutations(range(values.ndim)))
        np.testing.assert_array_equal(ours.arranged(order).tensor.numpy(), values.transpose(order))
    assert [size.count for size in ours.sizes] == list(values.shape)


def test_nothing_is_moved_that_need_not_be() -> None:
    values = np.arange(2 * 12 * 3 * 5, dtype=np.float32).reshape(2, 12, 3, 5)
    ours = view(values, (0, 2, 3, 1))
    split = ours.reshaped([Size(2), Size(4), Size(3), Size(3), Size(5)])
    assert split.order == (0, 3, 4, 1, 2)  # channels stay last
    np.testing.assert_array_equal(split.tensor.numpy().ravel(), ours.tensor.numpy().ravel())
    np.testing.assert_array_equal(split.in_onnx_order().numpy(), values.reshape(2, 4, 3, 3, 5))


def test_the_batch_goes_with_the_axis_that_carries_it() -> None:
    sizes = (Size(1, True), Size(6), Size(1), Size(4))
    assert resolved(sizes, [-1, 2, 4]) == (Size(3, True), Size(2), Size(4))
    assert resolved(sizes, [0, -1]) == (Size(1, True), Size(24))
    assert resolved(sizes, [6, 1, 4]) == (Size(6, True), Size(1), Size(4))
    assert resolved((Size(6), Size(0)), [0, 6], zero_copies=False) == (Size(0), Size(6))
    with pytest.raises(UnfitError, match="reshapes"):
        resolved(sizes, [0, 5])
