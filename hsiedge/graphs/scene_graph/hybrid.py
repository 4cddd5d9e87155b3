"""Hybrid scene graphs: dense as far as a net goes, and from there the rest of the net, pixel by pixel.

Attention, gates over a patch and padding inside it have no dense equivalent: what they give at a place depends on the patch
that it is seen in. Whatever stands before them does not. So the maps that exist at the cut are computed once for the whole
strip; each pixel's window is gathered from them, as the patch graph would have had it, and the rest of the patch graph runs
with pixels as the batch: exact for every net.

    strip -> dense maps (1, 24, H + 6, W + 6) -> windows (pixels, 24, 7, 7) -> attention ... -> logits (pixels, classes)

Where nothing is dense, as in a net that pads in its first layer, the windows are the patches: one file and one interface, and
no gain.
"""

from __future__ import annotations

import copy
from collections.abc import Sequence
from dataclasses import dataclass
from math import prod

import numpy as np
import onnx
import onnx_ir as ir
from onnx import helper

from hsiedge.errors import ModelError
from hsiedge.graphs.edit import MOVES, RESHAPES, array_of
from hsiedge.graphs.normalize.compare import session
from hsiedge.graphs.onnx_io import inputs_of
from hsiedge.graphs.scene_graph.layout import Builder, Factor, Layout, X, Y

PIXELS, LOGITS = "pixel_ids", "pixel_logits"
"""Values of a hybrid graph: the index of each pixel of a strip, and the logits `(pixels, classes)`."""
_BATCHES = (3, 5)
_GATES = {"RNN": 1, "GRU": 3, "LSTM": 4}


class BackError(Exception):
    """A value that the cut cannot go through; its maker has to be run pixel by pixel, too."""

    def __init__(self, value: str) -> None:
        super().__init__(value)
        self.value = value


@dataclass(frozen=True)
class HybridFacts:
    """Facts of a hybrid graph.

    Attributes:
        dense_macs, pixel_macs: multiply-accumulates a pixel of its two parts.
        cut: values of the patch graph whose windows are gathered for each pixel.
        block: pixels that the second part runs on at a time.
        first: node that the second part begins with.
        block_bytes: of the values of a block, at most; an engine takes up to 1.7 times as much (onnxruntime, measured).
    """

    dense_macs: int
    pixel_macs: int
    cut: tuple[str, ...]
    block: int
    first: str
    block_bytes: int


@dataclass(frozen=True)
class Rest:
    """The part of a patch graph behind a cut.

    Attributes:
        nodes: in order.
        cut: values that it takes, by name, and which of their axes is the batch.
        sizes: of values at the cut whose sizes it takes, by name; None stands for the batch.
        macs: multiply-accumulates a pixel.
        bytes: of the values that are made for a pixel, about.
    """

    nodes: tuple[ir.Node, ...]
    output: ir.Value
    cut: dict[str, int]
    sizes: dict[str, list[int | None]]
    macs: int
    bytes: int

    @property
    def first(self) -> str:
        """Name of the first node that computes something of the cut, or moves it where none does."""
        after, names = {*self.cut}, dict[bool, str]()
        for node in self.nodes:
            if any(value is not None and value.name in after for value in _all_inputs(node)):
                after.update(value.name or "" for value in node.outputs)
                names.setdefault(node.op_type in MOVES, node.name or "")
        return names.get(False, names.get(True, ""))


def rest_of(model: onnx.ModelProto, cut: Sequence[str], start: str) -> Rest:
    """Finds what of a patch graph with a free batch stands behind a cut.

    Args:
        cut: names of the values that it may take.
        start: name of the graph's input, which is taken, too, where it is needed.

    Raises:
        BackError: a value at the cut that the graph does not have under this name, or whose batch is merged with other axes.
        ModelError: a graph whose batch is not free.
    """
    graph = ir.from_proto(copy.deepcopy(model)).graph
    values = {value.name: value for node in graph for value in node.outputs} | {value.name: value for value in graph.inputs}
    for name in cut:
        if name not in values:
            raise _back(name, start)
    needed: set[ir.Node] = set()
    taken, sized = dict[str, None](), list[str]()
    waiting = [graph.outputs[0]]
    while waiting:
        value = waiting.pop()
        node = value.producer()
        if value.name in cut or (node is None and value.name not in graph.initializers):
            taken[value.name or ""] = None
        elif node is not None and node not in needed:
            needed.add(node)
            inputs = [entry for entry in _all_inputs(node) if entry is not None]
            if node.op_type == "Shape" and inputs[0].name in (*cut, start):
                sized.append(inputs[0].name or "")  # its windows are not needed
            else:
                waiting += inputs
    nodes = tuple(node for node in graph if node in needed)
    shapes = _shapes(
        model, [*taken, *(value.name or "" for node in nodes for value in (*node.inputs[:2], *node.outputs) if value)]
    )
    axes = {name: _batch_axis(name, start, shapes) for name in (*taken, *sized)}
    macs = sum(_macs(node, shapes[0]) for node in nodes)
    return Rest(
        nodes,
        graph.outputs[0],
        {name: axes[name] for name in taken},
        {name: [None if axis == axes[name] else size for axis, size in enumerate(shapes[0][name])] for name in sized},
        macs // _BATCHES[0],
        4 * _most_alive(nodes, {name: prod(shapes[0][name]) for name in taken}, shapes[0]) // _BATCHES[0],
    )


def _most_alive(nodes: Sequence[ir.Node], windows: dict[str, int], shapes: dict[str, tuple[int, ...]]) -> int:
    """The most numbers that are alive at a time, from the gathering of the windows to the last node."""
    alive, most = dict(windows), 2 * sum(windows.values())  # gathered, and in the order of the patch graph
    last = {value.name: node for node in nodes for value in _all_inputs(node) if value is not None}
    for node in nodes:
        source = node.inputs[0].name or "" if node.inputs and node.inputs[0] is not None else ""
        for value in node.outputs:
            moved = node.op_type in RESHAPES and last.get(source) is node  # it lies where its input lay
            alive[value.name or ""] = alive.pop(source, 0) if moved else prod(shapes.get(value.name or "", (0,)))
        most = max(most, sum(alive.values()))
        alive = {name: size for name, size in alive.items() if last.get(name) is not node}
    return most


def _batch_axis(name: str, start: str, shapes: Sequence[dict[str, tuple[int, ...]]]) -> int:
    """The axis of a value that is the batch, alone. Raises the error of `_back` where there is none."""
    one, other = (shape[name] for shape in shapes)
    varying = [axis for axis, sizes in enumerate(zip(one, other)) if sizes[0] != sizes[1]]
    if len(one) != len(other) or len(varying) != 1 or (one[varying[0]], other[varying[0]]) != _BATCHES:
        raise _back(name, start)
    return varying[0]


def _back(name: str, start: str) -> Exception:
    """The error of a value that cannot be cut: its maker goes pixel by pixel, too; the input has none."""
    return ModelError(f"its input {name} has no free first dimension") if name == start else BackError(name)


def _all_inputs(node: ir.Node) -> list[ir.Value | None]:
    """Inputs of a node, those that its inner graphs take from outside among them."""
    values = list(node.inputs)
    for attribute in node.attributes.values():
        if attribute.type == ir.AttributeType.GRAPH:
            inner = attribute.as_graph()
            own = {value for child in inner for value in child.outputs} | set(inner.inputs) | set(inner.initializers.values())
            values += [entry for child in inner for entry in _all_inputs(child) if entry not in own]
    return values


def _shapes(model: onnx.ModelProto, names: Sequence[str]) -> list[dict[str, tuple[int, ...]]]:
    """Sizes of values for two batches."""
    probed = copy.deepcopy(model)
    known = {value for node in probed.graph.node for value in node.output} | {entry.name for entry in probed.graph.input}
    wanted = [name for name in dict.fromkeys(names) if name in known]
    for name in wanted:
        probed.graph.node.append(helper.make_node("Shape", [name], [f"{name}__sizes"]))
    del probed.graph.output[:]
    probed.graph.output.extend(helper.make_tensor_value_info(f"{name}__sizes", onnx.TensorProto.INT64, None) for name in wanted)
    entry = inputs_of(model)[0]
    dtype = helper.tensor_dtype_to_np_dtype(entry.type.tensor_type.elem_type)
    rest = [size.dim_value for size in entry.type.tensor_type.shape.dim][1:]
    opened, shapes = session(probed, optimized=False), []
    for batch in _BATCHES:
        try:
            values = opened.run(None, {entry.name: np.ones((batch, *rest), dtype)})
        except Exception as error:  # onnxruntime's own have no common base
            reason = " ".join(str(error).split())[:120]
            raise ModelError(f"its batch is not free ({reason}); write its Card anew: hsiedge card") from error
        shapes.append({name: tuple(map(int, value)) for name, value in zip(wanted, values)})
    return shapes


def _macs(node: ir.Node, shapes: dict[str, tuple[int, ...]]) -> int:
    """Multiply-accumulates of a node, for the batch that shapes are of."""
    taken, weight = (
        shapes.get(value.name or "", ()) if value is not None else () for value in (*node.inputs[:2], None, None)[:2]
    )
    array = array_of(node.inputs[1]) if len(node.inputs) > 1 else None
    weight = weight or (() if array is None else array.shape)
    outputs = prod(shapes.get(node.outputs[0].name or "", (0,)))
    if node.op_type in ("Conv", "ConvTranspose") and weight:
        return outputs * prod(weight[1:])
    if node.op_type == "Gemm" and weight:
        return outputs * weight[1 if node.attributes.get_int("transB", 0) else 0]
    if node.op_type == "MatMul" and taken:
        return outputs * taken[-1]
    if node.op_type in _GATES and taken and weight:
        return prod(taken[:2]) * weight[0] * weight[1] * (weight[2] + weight[1] // _GATES[node.op_type])
    return 0


class PixelPart:
    """Writes the part that runs pixel by pixel behind the dense one.

    Args:
        maps: of the dense part, whose sizes tell how many pixels there are: nobody but its first node takes the input.
    """

    def __init__(self, build: Builder, maps: Layout) -> None:
        self._build = build
        shape = build.op("Shape", [maps.value])
        self.height, self._width = (
            build.op("Sub", [build.op("Gather", [shape, np.array(axis)], axis=0), np.array(window.extra)])
            for axis, window in ((2, maps.y), (3, maps.x))
        )
        count = build.op("Mul", [self.height, self._width])
        ids = build.op("Range", [np.array(0), count, np.array(1)])
        ids.name = PIXELS
        self._ids = ids
        self._row = build.op("Div", [ids, self._width])
        self._column = build.op("Sub", [ids, build.op("Mul", [self._row, self._width])])

    def windows(self, layout: Layout, batch: int) -> ir.Value:
        """A value of the patch graph for each pixel, its batch on the axis `batch`: the pixel's window of dense maps."""
        build, y, x = self._build, layout.y, layout.x
        inner = prod(factor.size for factor in (*layout.depth, *layout.channels))
        table = build.op("Reshape", [build.op("Transpose", [layout.value], perm=[2, 3, 0, 1]), np.array([-1, inner])])
        width = build.op("Add", [self._width, np.array(x.extra)])
        corner = build.op("Add", [build.op("Mul", [np.array(y.start), width]), np.array(x.start)])
        first = build.op("Add", [build.op("Add", [build.op("Mul", [self._row, width]), self._column]), corner])
        down = np.repeat(np.arange(y.size) * y.step, x.size)
        across = np.tile(np.arange(x.size) * x.step, y.size)
        offsets = build.op("Add", [build.op("Mul", [down, width]), across])
        one, other = build.op("Unsqueeze", [first, np.array([1])]), build.op("Unsqueeze", [offsets, np.array([0])])
        gathered = build.op("Gather", [table, build.op("Add", [one, other])], axis=0)
        return self._shaped(gathered, layout, batch)

    def _shaped(self, gathered: ir.Value, layout: Layout, batch: int) -> ir.Value:
        """Windows `(n, y * x, depth * channels)` with the axes that the value has in the patch graph."""
        build = self._build
        stored: list[Factor] = [Y, X, *layout.depth, *layout.channels]
        wanted = [factor for axis in layout.axes for factor in axis]
        rest = [factor for factor in stored if factor not in wanted]  # of size 1
        order = [1 + stored.index(factor) for factor in (*rest, *wanted)]
        value = build.op("Reshape", [gathered, np.array([-1, *(layout.size(factor) for factor in stored)])])
        if order != sorted(order):
            value = build.op("Transpose", [value], perm=[0, *order])
        others = [size for axis, size in enumerate(layout.shape) if axis != batch]
        value = build.op("Reshape", [value, np.array([-1, *others])])
        if batch:
            axes = list(range(1, len(layout.shape)))
            axes.insert(batch, 0)
            value = build.op("Transpose", [value], perm=axes)
        return value

    def run(self, rest: Rest, windows: dict[str, ir.Value]) -> ir.Value:
        """The rest of the patch graph on the windows; gives logits `(1, classes, H, W)`."""
        build, values = self._build, dict[ir.Value, ir.Value]()

        def mapped(value: ir.Value | None) -> ir.Value | None:
            if value is None or value.name in windows:
                return None if value is None else windows[value.name or ""]
            if value not in values:
                array = array_of(value)
                assert array is not None
                values[value] = build.constant(array)
            return values[value]

        for node in rest.nodes:
            if node.op_type == "Shape" and node.inputs[0] is not None and node.inputs[0].name in rest.sizes:
                values[node.outputs[0]] = self._sizes(node, rest)
                continue
            if any(attribute.type == ir.AttributeType.GRAPH for attribute in node.attributes.values()):
                raise ModelError(f"node {node.name} ({node.op_type}): a branch or loop has no scene graph")
            copied = ir.Node(
                node.domain,
                node.op_type,
                [mapped(value) for value in node.inputs],
                list(node.attributes.values()),
                num_outputs=len(node.outputs),
                name=node.name,
            )
            build.nodes.append(copied)
            for place, (old, new) in enumerate(zip(node.outputs, copied.outputs)):
                values[old] = new
                new.name = f"p{len(build.nodes)}_{place}"
        logits = windows[rest.output.name or ""] if rest.output.name in windows else values[rest.output]
        logits.name = LOGITS
        sizes = [build.op("Unsqueeze", [size, np.array([0])]) for size in (self.height, self._width)]
        shape = build.op("Concat", [*sizes, np.array([-1])], axis=0)
        maps = build.op("Transpose", [build.op("Reshape", [logits, shape])], perm=[2, 0, 1])
        return build.op("Unsqueeze", [maps, np.array([0])])

    def _sizes(self, node: ir.Node, rest: Rest) -> ir.Value:
        """Result of a Shape, with the pixels of a block as the batch."""
        value = node.inputs[0]
        assert value is not None
        sizes = rest.sizes[value.name or ""]
        part = sizes[node.attributes.get_int("start", 0) : node.attributes.get_int("end", len(sizes))]
        count = self._build.op("Shape", [self._ids])
        return self._build.op("Concat", [count if size is None else np.array([size]) for size in part], axis=0)
