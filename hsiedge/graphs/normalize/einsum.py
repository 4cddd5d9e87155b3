"""Einsum of two values as MatMul, which quantizers, scene graphs and TFLite know."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from math import prod

import numpy as np
import onnx_ir as ir

from hsiedge.graphs.edit import Attribute, array_of, constant, insert_before, name_of, operator, replace_value, sizes_of, taken


def einsums_to_products(model: ir.Model) -> list[str]:
    """Makes each Einsum of two values a MatMul, with Transposes and Reshapes where they are needed; a line tells how many.

    One that sums a letter of one value alone, repeats a letter, or leaves some out ("...") stays.
    """
    nodes = [node for node in model.graph if node.op_type == "Einsum" and len(node.inputs) == 2]
    sizes = sizes_of(model) if nodes else {}
    count = sum(_written(model.graph, node, sizes) for node in nodes)
    return [f"{count} Einsum become MatMul"] if count else []


def _written(graph: ir.Graph, node: ir.Node, sizes: Mapping[str, tuple[int, ...]]) -> bool:
    """Writes the MatMul of one Einsum; False where it has to stay."""
    first, second, output = _terms(node.attributes["equation"].as_string())
    one, two = taken(node), taken(node, 1)
    if array_of(one) is not None:  # weights stand second
        (first, one), (second, two) = (second, two), (first, one)
    shared = [letter for letter in first if letter in second]
    batch, summed = ([letter for letter in shared if (letter in output) == kept] for kept in (True, False))
    left, right = ([letter for letter in term if letter not in shared] for term in (first, second))
    known = name_of(one) in sizes and name_of(two) in sizes
    if not output or not known or {*left, *right, *batch} != {*output} or any(len({*t}) < len(t) for t in (first, second)):
        return False
    size = dict(zip(second, sizes[name_of(two)])) | dict(zip(first, sizes[name_of(one)]))
    rows = [[letter] for letter in left] if not batch else [left]
    full, name = [size[letter] for letter in (*batch, *left, *right)], name_of(node.outputs[0])
    groups = [[[letter] for letter in batch] + rest for rest in ([*rows, summed], [summed, right], [*rows, right])]
    shapes = [_shape(size, group) for group in groups]
    if any(shape is not None and shape.count(-1) > 1 for shape in (*shapes, full)):
        return False
    one = _arranged(graph, node, one, first, (*batch, *left, *summed), f"{name}_left", after=shapes[0])
    two = _arranged(graph, node, two, second, (*batch, *summed, *right), f"{name}_right", after=shapes[1])
    product = operator("MatMul", [one, two], f"{name}_product", node.name or name)
    node.name = f"{node.name}_einsum"
    insert_before(node, [product])
    before = full if shapes[2] is not None else None
    letters = "".join((*batch, *left, *right))
    replace_value(node.outputs[0], _arranged(graph, node, product.outputs[0], letters, output, name, before=before))
    graph.remove(node, safe=True)
    return True


def _shape(size: Mapping[str, int], groups: Sequence[Sequence[str]]) -> list[int] | None:
    """The sizes of letters that are taken together; None where each stands alone."""
    if all(len(group) == 1 for group in groups):
        return None
    return [-1 if any(size[letter] == -1 for letter in group) else prod(size[letter] for letter in group) for group in groups]


def _terms(equation: str) -> tuple[str, str, str]:
    """The letters of both inputs and of the output; the last is empty where the equation is not written out."""
    inputs, _, output = equation.replace(" ", "").partition("->")
    first, _, second = inputs.partition(",")
    return (first, second, output) if "." not in equation and second else ("", "", "")


def _arranged(
    graph: ir.Graph,
    place: ir.Node,
    value: ir.Value,
    letters: str,
    order: Sequence[str],
    name: str,
    *,
    before: Sequence[int] | None = None,
    after: Sequence[int] | None = None,
) -> ir.Value:
    """A value reshaped to `before`, its axes put in another order, then reshaped to `after`; a constant is so at once."""
    permutation, array = [letters.index(letter) for letter in order], array_of(value)
    if array is not None:
        moved = array.transpose(permutation)
        return constant(graph, name, moved if after is None else moved.reshape(after))
    steps: list[ir.Node] = []

    def add(kind: str, *inputs: ir.Value, **attributes: Attribute) -> None:
        source, output = steps[-1].outputs[0] if steps else value, f"{name}_{kind.lower()}_{len(steps)}"
        steps.append(operator(kind, [source, *inputs], output, output, **attributes))

    if before is not None:
        add("Reshape", constant(graph, f"{name}_sizes", np.array(before, np.int64)))
    if permutation != sorted(permutation):
        add("Transpose", perm=permutation)
    if after is not None:
        add("Reshape", constant(graph, f"{name}_sizes", np.array(after, np.int64)))
    insert_before(place, steps)
    return steps[-1].outputs[0] if steps else value
