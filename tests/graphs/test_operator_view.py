"""Operators as rules read them: attributes and inputs of any opset, kernels, linear layers, tables that name what is unfit."""

from __future__ import annotations

import numpy as np
import pytest

pytest.importorskip("onnx_ir", reason="graphs are read with onnx-ir")

import onnx_ir as ir

from hsiedge.errors import ModelError
from hsiedge.graphs.operator_view import Kernel, Operator, Rules, UnfitError, constant_of, operands_of


def operator(kind: str, *inputs, opset: int = 18, domain: str = "", **attributes) -> Operator:
    """An operator on a value that is computed, unless an input is an array or None."""
    value = ir.Value(name="x")
    tensors = [
        ir.tensor(entry, name=f"c{place}") if isinstance(entry, np.ndarray) else entry for place, entry in enumerate(inputs)
    ]
    values = [
        value if tensor == "x" else None if tensor is None else ir.Value(name=tensor.name, const_value=tensor)
        for tensor in tensors
    ]
    node = ir.node(kind, values, attributes, domain=domain, name="the node")
    ir.Graph([value], node.outputs, nodes=[node], opset_imports={"": opset})
    return Operator(node, operands_of(node, {value: "computed"}))


def test_operands() -> None:
    clip = operator("Clip", "x", None, np.float32([6]))
    assert clip.computed() == "computed"
    assert clip.constant(1) is None
    assert clip.constant(7) is None
    assert (clip.scalar("min", 1), clip.scalar("max", 2)) == (None, 6.0)
    with pytest.raises(UnfitError, match="input 2 is not computed"):
        clip.computed(2)
    with pytest.raises(UnfitError, match="input 0 is not constant"):
        clip.constant(0)
    with pytest.raises(UnfitError, match="input 1 is missing"):
        clip.required(1)


def test_a_value_that_nobody_knows_is_not_taken_for_one_that_is_left_out() -> None:
    node = ir.node("Conv", [ir.Value(name="x"), ir.Value(name="computed elsewhere")])
    with pytest.raises(UnfitError, match="input 1 is not constant"):
        Operator(node, operands_of(node, {})).constant(1)


def test_constants_of_nodes() -> None:
    node = ir.node("Constant", [], {"value_ints": [1, 2]})
    np.testing.assert_array_equal(constant_of(node.outputs[0]), [1, 2])


@pytest.mark.parametrize(("opset", "axis"), [(11, 1), (13, 3)])
def test_defaults_are_those_of_the_opset(opset: int, axis: int) -> None:
    assert operator("Softmax", "x", opset=opset).axis(4) == axis
    assert operator("LeakyRelu", "x", opset=opset).number("alpha") == np.float32(0.01)
    with pytest.raises(UnfitError, match="its to is missing"):
        operator("Cast", "x", opset=opset).integer("to")


def test_axes_are_an_attribute_or_an_input() -> None:
    for squeeze in (operator("Squeeze", "x", opset=11, axes=[-1, 0]), operator("Squeeze", "x", np.array([-1, 0]), opset=13)):
        assert squeeze.axes(4) == [3, 0]
    assert operator("Squeeze", "x").axes(4) is None


def test_reductions() -> None:
    assert operator("ReduceSum", "x", np.array([3, -3])).reduced(4) == [1, 3]
    assert operator("ReduceSum", "x").reduced(3) == [0, 1, 2]
    assert operator("ReduceSum", "x", noop_with_empty_axes=1).reduced(3) == []
    assert operator("GlobalMaxPool", "x").reduced(5) == [2, 3, 4]


def test_pads() -> None:
    assert operator("Pad", "x", np.array([1, 2, 3, 4]), None, np.array([-1, 0])).pads(3) == [(2, 4), (0, 0), (1, 3)]
    assert operator("Pad", "x", opset=9, pads=[1, 0, 0, 2], value=0.0).pads(2) == [(1, 0), (0, 2)]
    for unfit in (
        operator("Pad", "x", opset=9, pads=[1, 0, 0, 2], value=1.0),
        operator("Pad", "x", np.array([1, 1]), np.float32([2])),
        operator("Pad", "x", np.array([1, 1]), mode="edge"),
    ):
        with pytest.raises(UnfitError, match="other than zeros"):
            unfit.pads(1)


def test_places_of_what_is_padded() -> None:
    edge, reflect, wrap = (operator("Pad", "x", np.array([1, 1]), mode=mode) for mode in ("edge", "reflect", "wrap"))
    assert edge.pads(1, zeros=False) == [(1, 1)]
    assert edge.pad_places(3, 2, 1) == [0, 0, 0, 1, 2, 2]
    assert reflect.pad_places(3, 2, 1) == [2, 1, 0, 1, 2, 1]
    assert wrap.pad_places(3, 2, 1) == [1, 2, 0, 1, 2, 0]
    assert edge.pad_places(4, -1, 2) == [1, 2, 3, 3, 3]
    with pytest.raises(UnfitError, match="more than there is"):
        reflect.pad_places(3, 3, 0)
    zeros = operator("Pad", "x", np.array([1, 1]))
    assert zeros.pad_places(3, 1, 1) is None
    assert zeros.pad_places(4, -1, -2) == [1]


def test_kernels_that_pad_themselves() -> None:
    same = operator("Conv", "x", auto_pad="SAME_UPPER", strides=[2, 1])
    assert same.kernels([3, 2], [5, 5]) == [Kernel(3, 2, 1, 1, 1), Kernel(2, 1, 1, 0, 1)]
    lower = operator("MaxPool", "x", auto_pad="SAME_LOWER", ceil_mode=1)
    assert lower.kernels([2], [5]) == [Kernel(2, 1, 1, 1, 0, ceil=True)]
    assert operator("Conv", "x", pads=[1, 2], dilations=[3]).kernels([3], [9]) == [Kernel(3, 1, 3, 1, 2)]
    assert [kernel.positions(5) for kernel in same.kernels([3, 2], [5, 5])] == [3, 5]


def test_linear_layers() -> None:
    weight, bias = np.arange(6, dtype=np.float32).reshape(2, 3), np.float32([[1, 2, 3]])
    gemm = operator("Gemm", "x", weight, bias, alpha=0.5, beta=2.0)
    np.testing.assert_array_equal(gemm.linear(np.float64)[0], weight.T / 2)
    np.testing.assert_array_equal(gemm.linear(np.float64)[1], [2, 4, 6])
    matrix, shift = operator("MatMul", "x", weight).linear(np.float32)
    assert (matrix.shape, matrix.dtype, shift) == ((3, 2), np.float32, None)
    assert operator("Gemm", "x", weight, transB=1).linear(np.float32)[0].shape == (2, 3)
    for unfit in (operator("Gemm", "x", weight, transA=1), operator("MatMul", "x", weight[None])):
        with pytest.raises(UnfitError, match="it multiplies"):
            unfit.linear(np.float32)


def test_a_table_names_the_node_that_it_cannot_do() -> None:
    def refuse(_: Operator) -> int:
        raise UnfitError("it is too large")

    rules = Rules({"Relu": lambda operator: 1, "Exp": refuse}, unknown="nobody knows it")
    assert rules.apply(operator("Relu", "x")) == 1
    for unfit, words in (
        (operator("Exp", "x"), r"node the node \(Exp\): it is too large"),
        (operator("Tan", "x"), r"node the node \(Tan\): nobody knows it"),
        (operator("Relu", "x", domain="com.example"), r"node the node \(Relu\): nobody knows it"),
    ):
        with pytest.raises(ModelError, match=words):
            rules.apply(unfit)
