"""Pass: what is only moved moves as integers. A quarter of the bytes, and no rounding to and fro around each cut and join."""

from __future__ import annotations

import logging

import onnx_ir as ir
from onnx_ir.passes import InPlacePass, PassResult, PostconditionError, PreconditionError

from hsiedge.graphs.edit import (
    MOVES,
    array_of,
    forget_type,
    maker_of,
    name_of,
    operator,
    replace_value,
    taken,
    use_count,
)

_LOG = logging.getLogger(__name__)
_MOVES = (*MOVES, "Concat", "Gather", "Pad", "Slice")


class HoistQuantize(InPlacePass):
    """Quantizes before values are moved, not after.

    Requires: one scale for each tensor that QuantizeLinear rounds.
    Does: takes each QuantizeLinear through the nodes that only move values, up to what computes them; two that do the same
    to one value become one, and one that undoes what DequantizeLinear just did goes, with it.
    Ensures: each integer is the same as before: rounding value by value, then moving, is moving, then rounding. No
    QuantizeLinear stands behind a move whose values it alone takes.
    """

    def requires(self, model: ir.Model) -> None:
        """Raises PreconditionError for a scale a channel: a move may take channels to other places."""
        scales = (array_of(node.inputs[1]) for node in model.graph if node.op_type == "QuantizeLinear")
        if any(scale is not None and scale.ndim for scale in scales):
            raise PreconditionError("a tensor is rounded with more than one scale")

    def call(self, model: ir.Model) -> PassResult:
        """Works on the model itself."""
        graph = model.graph
        _share_scales(graph)
        count = 0
        while _merge(graph) or _cancel(graph) or _lift(graph):
            count += 1
        if count:
            _LOG.info("values are moved as integers, in %d steps", count)
        return PassResult(model, True)

    def ensures(self, model: ir.Model) -> None:
        """Raises PostconditionError where values that are moved could still be rounded before."""
        if any(_mover(node) for node in model.graph):
            raise PostconditionError("values are moved as floats, and then rounded")


def _quantizers(graph: ir.Graph) -> list[ir.Node]:
    return [node for node in graph if node.op_type == "QuantizeLinear"]


def _share_scales(graph: ir.Graph) -> None:
    """One value for scales and zero points that are equal, so that the same input is the same number."""
    first: dict[tuple[str, bytes], ir.Value] = {}
    for value in list(graph.initializers.values()):
        number = array_of(value)
        if number is not None and not number.ndim:
            shared = first.setdefault((number.dtype.name, number.tobytes()), value)
            if shared is not value and not value.is_graph_output():
                value.replace_all_uses_with(shared)


def _merge(graph: ir.Graph) -> bool:
    """Merges the first two QuantizeLinear that do the same to one value; tells whether there were any."""
    seen: dict[tuple[ir.Value | None, ...], ir.Value] = {}
    for node in _quantizers(graph):
        first = seen.setdefault(tuple(node.inputs), node.outputs[0])
        if first is not node.outputs[0]:
            node.outputs[0].replace_all_uses_with(first, replace_graph_outputs=True)
            graph.remove(node, safe=True)
            return True
    return False


def _cancel(graph: ir.Graph) -> bool:
    """Removes a QuantizeLinear that undoes a DequantizeLinear; tells whether there was any."""
    for node in _quantizers(graph):
        before = maker_of(node.inputs[0], "DequantizeLinear")
        if before is not None and tuple(before.inputs[1:]) == tuple(node.inputs[1:]):
            node.outputs[0].replace_all_uses_with(taken(before), replace_graph_outputs=True)
            graph.remove(node, safe=True)
            if not use_count(before.outputs[0]):
                graph.remove(before, safe=True)
            return True
    return False


def _mover(quantize: ir.Node) -> ir.Node | None:
    """The node that only moves values, of which a QuantizeLinear with a zero point alone takes the result."""
    mover = taken(quantize).producer() if quantize.op_type == "QuantizeLinear" and len(quantize.inputs) > 2 else None
    if mover is None or mover.op_type not in _MOVES or use_count(mover.outputs[0]) > 1:
        return None
    pads_with_another = mover.op_type == "Pad" and len(mover.inputs) > 2 and mover.inputs[2] is not None
    return None if pads_with_another else mover


def _lift(graph: ir.Graph) -> bool:
    """Takes a QuantizeLinear up through a node that only moves values; tells whether there was any to take."""
    for node in _quantizers(graph):
        mover = _mover(node)
        if mover is None:
            continue
        scale, zero_point = node.inputs[1:3]
        assert scale is not None
        assert zero_point is not None
        name, moved = name_of(node.outputs[0]), mover.outputs[0]
        for number in range(len(mover.inputs) if mover.op_type == "Concat" else 1):
            lifted = operator("QuantizeLinear", [taken(mover, number), scale, zero_point], f"{name}_{name_of(moved)}_{number}")
            graph.insert_before(mover, lifted)
            mover.replace_input_with(number, lifted.outputs[0])
        if mover.op_type == "Pad":
            _pad_with(mover, zero_point)
        replace_value(node.outputs[0], moved)
        forget_type(moved)
        graph.remove(node, safe=True)
        return True
    return False


def _pad_with(mover: ir.Node, zero_point: ir.Value) -> None:
    """Pads integers with the zero point, which stands for 0."""
    if len(mover.inputs) < 3:
        mover.resize_inputs(3)
    mover.replace_input_with(2, zero_point)
