"""Operators that TensorFlow has not, or not for every shape, made of those that it has."""

from __future__ import annotations

import math

import numpy as np
import onnx
import onnx_ir as ir
import tensorflow as tf
from onnx_ir.passes import common

from hsiedge.graphs.edit import array_of, maker_of, operator, replace_value, sizes_of, taken
from hsiedge.graphs.operator_view import UnfitError
from hsiedge.graphs.tflite.elementwise import broadcast, repeated
from hsiedge.graphs.tflite.node import Node
from hsiedge.graphs.tflite.tensor_view import Size, TensorView

_ERF = (0.254829592, -0.284496736, 1.421413741, -1.453152027, 1.061405429)
"""Coefficients of formula 7.1.26 of Abramowitz and Stegun 1964, whose error is at most 1.5e-7."""


def prepared(model: onnx.ModelProto) -> ir.Graph:
    """The graph as it is lowered: Erf between its factors is Gelu, and what is expanded to sizes of the batch knows them."""
    whole = ir.from_proto(model)
    sizes = sizes_of(whole) if any(node.op_type == "Expand" for node in whole.graph) else {}
    for node in list(whole.graph):
        if node.op_type == "Erf":
            _fuse_gelu(node)
        elif node.op_type == "Expand" and array_of(node.inputs[1]) is None and node.outputs[0].name in sizes:
            node.outputs[0].shape = ir.Shape([size if size >= 0 else "N" for size in sizes[node.outputs[0].name]])
            node.replace_input_with(1, None)
    common.RemoveUnusedNodesPass()(whole)
    graph: ir.Graph = whole.graph
    return graph


def _fuse_gelu(erf: ir.Node) -> None:
    """Puts one Gelu in the place of x / 2 * (1 + erf(x / sqrt(2))), in whatever order it is multiplied."""
    scaled = erf.inputs[0]
    inner = maker_of(scaled, "Mul") or maker_of(scaled, "Div")
    factor = None if inner is None else array_of(inner.inputs[1])
    wanted = math.sqrt(2) if inner is not None and inner.op_type == "Div" else math.sqrt(0.5)
    if inner is None or factor is None or factor.size != 1 or abs(float(factor.item()) - wanted) > 1e-3:
        return
    value, last = taken(inner), _sole(erf.outputs[0], "Add", 1.0)
    if last is None:
        return
    halved, multiplied = False, False
    while not (halved and multiplied):
        half = None if halved else _sole(last, "Mul", 0.5)
        if half is not None:
            last, halved = half, True
            continue
        product = None if multiplied else _product(last, value)
        if product is None:
            return
        last, halved = product[0], halved or product[1]
        multiplied = True
    gelu = operator("Gelu", [value], f"{last.name}_gelu", f"{erf.name}_gelu", approximate="none")
    assert erf.graph is not None
    end = last.producer()
    assert end is not None
    erf.graph.insert_before(end, gelu)
    replace_value(last, gelu.outputs[0])


def _sole(value: ir.Value, kind: str, constant: float) -> ir.Value | None:
    """The output of the node that takes a value and a constant, where it alone takes the value."""
    for node in value.consumers():
        arrays = [array_of(entry) for entry in node.inputs]
        numbers = [float(array.item()) for array in arrays if array is not None and array.size == 1]
        if len(value.consumers()) == 1 and node.op_type == kind and numbers == [constant]:
            return node.outputs[0]
    return None


def _product(value: ir.Value, other: ir.Value) -> tuple[ir.Value, bool] | None:
    """The output of the node that multiplies a value with `other`, and True where it is with half of it."""
    users = list(value.consumers())
    if len(users) != 1 or users[0].op_type != "Mul":
        return None
    (partner,) = [entry for entry in users[0].inputs if entry is not value] or [None]
    if partner is other:
        return users[0].outputs[0], False
    half = maker_of(partner, "Mul")
    if half is not None and half.inputs[0] is other and _sole(other, "Mul", 0.5) is None:
        array = array_of(half.inputs[1])
        return (users[0].outputs[0], True) if array is not None and array.size == 1 and array.item() == 0.5 else None
    return None


def expand(node: Node) -> TensorView:
    """A value, or a constant for each patch of the batch, repeated along axes of one position."""
    if len(node.operands) > 1 and node.operands[1] is not None:
        return repeated(node.computed(), [int(size) for size in node.required(1).ravel()])
    shape = node.node.outputs[0].shape
    if shape is not None and isinstance(node.operands[0], TensorView):
        return repeated(node.computed(), [size if isinstance(size, int) else 1 for size in shape])
    if shape is None or node.rows is None:
        raise UnfitError("expands a constant to a size that is not known")
    own = node.required(0).shape
    own = (1,) * (len(shape) - len(own)) + own  # what is not known, but for the batch, is left as it is
    free = [Size(1, batched=True), *map(Size, own[1:])]
    sizes = [Size(size) if isinstance(size, int) else free[axis] for axis, size in enumerate(shape)]
    batch = tf.shape(node.rows)[0]
    counts = [batch if size.batched else size.count for size in sizes]
    tensor = tf.broadcast_to(node.required(0).astype(np.float32), counts)
    return TensorView(tensor, tuple(range(len(sizes))), tuple(sizes))


def where(node: Node) -> TensorView:
    """One of two values where a condition holds, else the other."""
    condition, sides = node.computed(), []
    for place, side in enumerate(node.operands[1:3], 1):
        if isinstance(side, TensorView) and side.sizes != condition.sizes:
            raise UnfitError("chooses among values of other sizes than its condition's")
        if isinstance(side, TensorView):
            sides.append(side.arranged(condition.order).tensor)
        else:
            sides.append(broadcast(node.required(place), condition))
    return condition.of(tf.where(condition.tensor, *sides))


def gelu(node: Node) -> TensorView:
    """Gelu, by erf or by tanh."""
    value, kind = node.computed(), node.node.attributes.get_string("approximate", "none")
    return value.of(tf.nn.gelu(value.tensor, approximate=kind == "tanh"))


def erf(node: Node) -> TensorView:
    """The error function, which LiteRT has not."""
    value = node.computed()
    size = tf.abs(value.tensor)
    place, total = 1.0 / (1.0 + 0.3275911 * size), tf.zeros_like(size)
    for factor in _ERF[::-1]:
        total = (total + factor) * place
    return value.of(tf.sign(value.tensor) * (1.0 - total * tf.exp(-size * size)))


def softplus(tensor: tf.Tensor) -> tf.Tensor:
    """log(1 + exp(x)), of large numbers too."""
    return tf.nn.relu(tensor) + tf.math.log(1.0 + tf.exp(-tf.abs(tensor)))


def mish(tensor: tf.Tensor) -> tf.Tensor:
    """X tanh(softplus(x))."""
    return tensor * tf.tanh(softplus(tensor))


def prelu(node: Node) -> TensorView:
    """Negative values are multiplied with a slope, one for all or one a channel."""
    value = node.computed()
    slope = broadcast(node.required(1), value)
    return value.of(tf.nn.relu(value.tensor) - slope * tf.nn.relu(-value.tensor))


def layer_normalization(node: Node) -> TensorView:
    """Mean 0 and variance 1 over the last axes, then a factor and a shift."""
    value, scale, shift = node.computed(), node.required(1), node.constant(2)
    places = [value.order.index(axis) for axis in range(node.axis(value.rank), value.rank)]
    centred = value.tensor - tf.reduce_mean(value.tensor, places, keepdims=True)
    variance = tf.reduce_mean(centred * centred, places, keepdims=True)
    normed = centred * tf.math.rsqrt(variance + np.float32(node.number("epsilon"))) * broadcast(scale, value)
    return value.of(normed if shift is None else normed + broadcast(shift, value))


def product(node: Node) -> TensorView:
    """A product of two values, or of stacks of matrices: over the last two axes, as matmul has it."""
    sides = [operand for operand in node.operands[:2] if operand is not None]
    rank = max(side.rank if isinstance(side, TensorView) else side.ndim for side in sides)
    tensors, shapes = [], []
    for side in sides:
        if isinstance(side, TensorView):
            whole = side.of_rank(rank)
            tensors.append(whole.in_onnx_order())
            shapes.append(whole.sizes)
        else:
            array = side.astype(np.float32).reshape((1,) * (rank - side.ndim) + side.shape)
            tensors.append(tf.constant(array))
            shapes.append(tuple(map(Size, array.shape)))
    if rank < 2 or min(side.rank if isinstance(side, TensorView) else side.ndim for side in sides) < 2:
        raise UnfitError("multiplies with a vector")
    batch = [wider(one, two) for one, two in zip(shapes[0][:-2], shapes[1][:-2])]
    return TensorView(tf.matmul(*tensors), tuple(range(rank)), (*batch, shapes[0][-2], shapes[1][-1]))


def wider(one: Size, two: Size) -> Size:
    """The size of an axis along which one of two values is broadcast."""
    return two if one.trivial else one


def norm(tensor: tf.Tensor, places: list[int], *, keepdims: bool) -> tf.Tensor:
    """The root of the sum of squares along some axes."""
    return tf.sqrt(tf.reduce_sum(tensor * tensor, places, keepdims=keepdims))
