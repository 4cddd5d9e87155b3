"""Blocks of a hybrid scene graph: its per-pixel part in a Loop over some pixels at a time, so that memory stays bounded.

`unroll` undoes what `roll` does: quantization works on the graph without the Loop, whose layers it finds then. TFLite has tiles
of one size, for which `at_size` makes the pixels' indices constants: the tile is the block.

    ids = Range(0, count)  ->  windows  ->  ...  ->  logits (count, classes)
    Loop over count / 64 blocks: ids = Min(block * 64 + 0..63, count - 1)  ->  windows  ->  ...  ->  logits (64, classes)
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import onnx
import onnx_ir as ir
from onnx_ir.passes import common

from hsiedge.graphs.edit import constant, operator, taken
from hsiedge.graphs.normalize.fold import fold_sizes
from hsiedge.graphs.scene_graph.hybrid import LOGITS, PIXELS

_LOOP, _BLOCK_IDS, _STEP, _ALL = "pixel_blocks", "pixel_ids_of_block", "block", "logits_of_pixels"
_GOES_ON, _LAST = "goes_on", "last_pixel"
_BYTES = 16 << 20  # that the values of a block take, about
_FEWEST, _MOST = 8, 1024


def block_of(bytes_per_pixel: int) -> int:
    """Pixels of a block, so that its values take some 16 MiB."""
    return int(np.clip(_BYTES // max(1, bytes_per_pixel), _FEWEST, _MOST))


def rolled_block(model: ir.Model) -> int | None:
    """Pixels of a block of a hybrid graph; None for any other graph."""
    loop = _loop(model.graph)
    if loop is None:
        return None
    logits = loop.attributes["body"].as_graph().outputs[1]
    assert logits.shape is not None
    return int(logits.shape.numpy()[0])


def without_blocks(model: onnx.ModelProto) -> tuple[onnx.ModelProto, int | None]:
    """The graph with all pixels at once, whose layers a quantizer finds, and the pixels of a block; None where it has none."""
    graph = ir.from_proto(model)
    block = rolled_block(graph)
    if block is None:
        return model, None
    unroll(graph)
    return ir.to_proto(graph), block


def at_size(model: onnx.ModelProto, height: int, width: int) -> onnx.ModelProto:
    """The graph for strips of one size with their halo: whatever follows from sizes is a constant, and no Loop is left.

    A graph that asks for no sizes, as those that are dense to their end, stays as it is.
    """
    graph = ir.from_proto(without_blocks(model)[0])
    if not any(node.op_type == "Shape" for node in graph.graph):
        return model
    entry = graph.graph.inputs[0]
    assert entry.shape is not None
    assert entry.dtype is not None
    fold_sizes(graph, np.zeros((1, int(str(entry.shape[1])), height, width), entry.dtype.numpy()))
    return ir.to_proto(graph)


def roll(model: ir.Model, block: int) -> None:
    """Puts the nodes between the pixels' indices and their logits into the body of a Loop; works on the model itself."""
    graph = model.graph
    ids, logits, classes = _value(graph, PIXELS), _logits(graph), int(str(graph.outputs[0].shape[1]))  # type: ignore[index]
    span, inner, takers = ids.producer(), _between(graph, ids, logits), logits.uses()
    assert span is not None
    count = span.inputs[1]
    assert count is not None

    def number(name: str, values: int | Sequence[int]) -> ir.Value:
        return constant(graph, name, np.array(values, np.int64))

    up = operator("Add", [count, number("block_less_one", block - 1)], "pixels_rounded_up")
    trips = operator("Div", [up.outputs[0], number("block_size", block)], "block_count")
    last = operator("Sub", [count, number("one", 1)], _LAST)
    graph.insert_before(span, [up, trips, last])
    step = ir.Value(name=_STEP, shape=ir.Shape([]), type=ir.TensorType(ir.DataType.INT64))
    going = ir.Value(name="going", shape=ir.Shape([]), type=ir.TensorType(ir.DataType.BOOL))
    first = operator("Mul", [step, number("pixels_a_block", block)], "first_of_block")
    spread = operator("Add", [first.outputs[0], number("places_in_block", range(block))], "places_of_block")
    chosen = operator("Min", [spread.outputs[0], last.outputs[0]], _BLOCK_IDS)
    goes_on = operator("Identity", [going], _GOES_ON)
    ids.replace_all_uses_with(chosen.outputs[0])
    body = ir.Graph([step, going], [], nodes=[], name="pixels", opset_imports=graph.opset_imports)
    loop = ir.Node("", "Loop", [trips.outputs[0], None], [ir.AttrGraph("body", body)], num_outputs=1, name=_LOOP)
    loop.outputs[0].name = "logits_of_blocks"
    flat = operator("Reshape", [loop.outputs[0], number("rows_of_logits", [-1, classes])], "logits_of_all")
    ends = operator("Reshape", [count, number("as_list", [1])], "pixel_count")
    cut = operator("Slice", [flat.outputs[0], number("from_first", [0]), ends.outputs[0], number("of_pixels", [0])], _ALL)
    graph.insert_after(inner[-1], [loop, flat, ends, cut])
    for node, place in takers:
        node.replace_input_with(place, cut.outputs[0])
    graph.remove([*inner, span])
    body.extend([first, spread, chosen, *inner, goes_on])
    body.outputs.extend([goes_on.outputs[0], logits])
    logits.name, logits.type, logits.shape = LOGITS, ir.TensorType(_dtype(logits)), ir.Shape([block, classes])
    goes_on.outputs[0].type, goes_on.outputs[0].shape = going.type, going.shape
    _own(graph, body)


def unroll(model: ir.Model) -> bool:
    """Puts the body of the Loop back in its place, all pixels at once; whether there was one. Works on the model itself."""
    graph = model.graph
    loop = _loop(graph)
    if loop is None:
        return False
    body = loop.attributes["body"].as_graph()
    for name, value in list(body.initializers.items()):
        del body.initializers[name]
        graph.register_initializer(value)
    ids, logits = _value(body, _BLOCK_IDS), body.outputs[1]
    last = _value(graph, _LAST).producer()
    assert last is not None
    start, by = (constant(graph, name, np.array(value, np.int64)) for name, value in (("first_pixel", 0), ("one_by_one", 1)))
    span = ir.node("Range", [start, last.inputs[0], by], outputs=[ir.Value(name=PIXELS)], name=PIXELS)
    inner = _between(body, ids, logits)
    body.outputs[:] = []
    for node in [node for node in body if node not in inner]:
        for place in range(len(node.inputs)):  # so that what it takes is not used any more
            node.replace_input_with(place, None)
    body.remove(list(body))
    ids.replace_all_uses_with(span.outputs[0])
    graph.insert_before(loop, [span, *inner])
    logits.name, logits.shape = LOGITS, ir.Shape(["pixels", _classes(logits)])
    _value(graph, _ALL).replace_all_uses_with(logits)
    common.RemoveUnusedNodesPass()(model)
    return True


def _loop(graph: ir.Graph) -> ir.Node | None:
    return next((node for node in graph if node.name == _LOOP and node.op_type == "Loop"), None)


def _value(graph: ir.Graph, name: str) -> ir.Value:
    return next(value for node in graph for value in node.outputs if value.name == name)


def _logits(graph: ir.Graph) -> ir.Value:
    """The logits `(pixels, classes)`, which the last Reshape makes maps of; passes may have given them another name."""
    node = graph.outputs[0].producer()
    while node is not None and node.op_type != "Reshape":
        node = node.inputs[0].producer() if node.inputs and node.inputs[0] is not None else None
    assert node is not None
    return taken(node)


def _dtype(logits: ir.Value) -> ir.DataType:
    """Dtype of logits: integer where they are quantized last, else float32."""
    node = logits.producer()
    zero_point = node.inputs[2] if node is not None and node.op_type == "QuantizeLinear" and len(node.inputs) > 2 else None
    return ir.DataType.FLOAT if zero_point is None or zero_point.const_value is None else zero_point.const_value.dtype


def _classes(logits: ir.Value) -> int:
    assert logits.shape is not None
    return int(str(logits.shape[1]))


def _between(graph: ir.Graph, first: ir.Value, last: ir.Value) -> list[ir.Node]:
    """Nodes, in order, that take something of `first` and that `last` takes something of."""
    after: set[ir.Value] = {first}
    for node in graph:
        if any(value in after for value in node.inputs):
            after.update(node.outputs)
    before: set[ir.Node] = set()
    waiting = [last]
    while waiting:
        maker = waiting.pop().producer()
        if maker is not None and maker not in before and any(value in after for value in maker.inputs):
            before.add(maker)
            waiting += [value for value in maker.inputs if value is not None and value in after]
    return [node for node in graph if node in before]


def _own(graph: ir.Graph, body: ir.Graph) -> None:
    """Gives the body the constants that nobody else takes: onnxruntime's exact mode does not reach outside for them."""
    inside = set(body)
    for name, value in list(graph.initializers.items()):
        if value.uses() and all(node in inside for node, _ in value.uses()):
            del graph.initializers[name]
            body.register_initializer(value)
