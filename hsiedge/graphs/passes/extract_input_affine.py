"""Pass: a quantized graph takes integers, and its Card the per-band affine that makes them.

In a patch graph the affine stands behind the cutting of patches, so each pixel of a 13 x 13 patch net is scaled and rounded
169 times, in float32. In the runtime adapter it is done once a pixel, before patches are cut, and the patches are bytes.
A net that looks at single pixels keeps it: there a graph's nodes take less time than the adapter's calls.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import onnx_ir as ir

from hsiedge.card import Affine
from hsiedge.graphs.edit import array_of, drop_unused, use_count
from hsiedge.graphs.passes.graph_pass import GraphPass

_KEY = "hsiedge.input_affine"


class ExtractInputAffine(GraphPass):
    """Takes the affine out of a graph; `input_affine` tells which it was.

    Requires: nothing; a graph that begins otherwise, or takes single pixels, stays as it is, without an affine.
    Does: where a QDQ graph begins input -> (Cast) -> Sub -> Mul -> QuantizeLinear, each with one consumer, with one offset
    and scale a band, and one scale for the whole tensor (`HoistQuantize` has gone before), removes those nodes, and gives the
    input the dtype of QuantizeLinear's output.
    Ensures: the graph, on integers made by the affine, does what it did on counts, but for values that lie within rounding
    error of a half.
    """

    def rewrite(self, model: ir.Model) -> str:
        """Works on the model itself, and leaves the affine in the model's `meta`."""
        value = model.graph.inputs[0]
        nodes, quantize = affine_nodes(model.graph), _quantizer(model.graph)
        if nodes is None or quantize is None or (value.shape is not None and all(size == 1 for size in value.shape[2:])):
            return ""
        step, zero_point = (array_of(entry) for entry in quantize.inputs[1:3])
        assert step is not None
        assert zero_point is not None
        affine = Affine(*affine_values(nodes), zero_point.dtype.name, int(zero_point), shortest(step.ravel()[0]))
        quantize.outputs[0].replace_all_uses_with(value)
        drop_unused(model)
        value.dtype = ir.DataType.from_numpy(zero_point.dtype)
        model.meta[_KEY] = affine
        return f"the input takes {affine.dtype}, made by an affine of {len(affine.scale)} bands in the Card"

    def fault(self, model: ir.Model) -> str:
        """Fault of an input that is not of the affine's dtype."""
        affine, dtype = input_affine(model), model.graph.inputs[0].dtype
        if affine is None or (dtype is not None and dtype.numpy() == np.dtype(affine.dtype)):
            return ""
        return f"the affine makes {affine.dtype}, and the graph takes {dtype}"


def input_affine(model: ir.Model) -> Affine | None:
    """The affine that makes a graph's input, once `ExtractInputAffine` has taken it out; None where it has not."""
    affine = model.meta.get(_KEY)
    return affine if isinstance(affine, Affine) else None


def affine_nodes(graph: ir.Graph) -> list[ir.Node] | None:
    """The nodes (Cast,) Sub, Mul that a graph begins with, with one offset and scale a band; None where it begins otherwise."""
    value, nodes = graph.inputs[0], list[ir.Node]()
    bands = value.shape[1] if value.shape is not None and len(value.shape) > 1 else None
    while len(value.uses()) == 1 and (not nodes or nodes[-1].op_type != "Mul"):
        ((node, place),) = value.uses()
        if place != 0:
            break
        nodes.append(node)
        value = node.outputs[0]
    if [node.op_type for node in nodes] not in (["Sub", "Mul"], ["Cast", "Sub", "Mul"]):
        return None
    factors = [array_of(node.inputs[1]) for node in nodes[-2:]]
    by_band = all(values is not None and values.shape[-3:] == (bands, 1, 1) for values in factors)
    return nodes if by_band else None


def affine_values(nodes: Sequence[ir.Node]) -> tuple[list[float], list[float]]:
    """Offset and scale of each band, of the nodes that `affine_nodes` gave."""
    offset, scale = (array_of(node.inputs[1]) for node in nodes[-2:])
    assert offset is not None
    assert scale is not None
    return [shortest(value) for value in offset.ravel()], [shortest(value) for value in scale.ravel()]


def shortest(value: np.generic) -> float:
    """The shortest decimal that is read as this float32: what a Card keeps, and the adapter applies."""
    return float(str(value))


def _quantizer(graph: ir.Graph) -> ir.Node | None:
    """The QuantizeLinear, of one scale and zero point, that alone takes what the affine makes."""
    nodes = affine_nodes(graph)
    if nodes is None or use_count(nodes[-1].outputs[0]) != 1:
        return None
    ((node, _),) = nodes[-1].outputs[0].uses()
    numbers = [array_of(value) for value in node.inputs[1:]]
    whole = len(numbers) == 2 and all(number is not None and not number.ndim for number in numbers)
    return node if node.op_type == "QuantizeLinear" and whole else None
