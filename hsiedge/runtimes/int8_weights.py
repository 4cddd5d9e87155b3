"""8-bit weights of an ONNX file, read and made ready on the wire: a board has no onnx to do it with.

onnxruntime's exact mode (`hsiedge.device.int8`) puts an unsigned tensor in the place of each signed 8-bit initializer that a
layer takes, by its name, and fails where two take the same one: "Attempt to replace the existing tensor". Files of hsiedge
0.1.0 shared the zero points of layers that are equally wide. Where weights have a scale a channel and no zero point, the mode
gives them a single one, and the session fails as it runs: "x_zero_point must be null or 1D tensor". `for_exact_mode` gives each
input of a node a tensor of its own, such weights their zero points, which are zeros, and layers that take the same weights, as
the steps of a loop do, weights of their own:

    DequantizeLinear(w1, s1, zeros)        DequantizeLinear(w1, s1, zeros)
    DequantizeLinear(w2, s2, zeros)   ->   DequantizeLinear(w2, s2, zeros_1), zeros_1 a copy of zeros
    DequantizeLinear(w3, s3)               DequantizeLinear(w3, s3, w3_zeros), as many as s3 has scales

Layers of a graph inside of a node (If, Loop) that take a tensor from outside of it are not reached by the mode, without a word;
`reaches_inward` finds them, and `hsiedge.graphs.passes.separate_int8_tensors`, which has onnx, gives them tensors of their own.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np

from hsiedge.device.int8 import SEVEN_BITS
from hsiedge.runtimes.onnx_file import DEEPEST, GRAPH, fields, mapped, tensors, varint

# Field numbers of onnx.proto3, by message.
_NODE, _INITIALIZER, _INPUT = 1, 5, 11
_NODE_INPUT, _NODE_OUTPUT, _NODE_OP_TYPE, _NODE_ATTRIBUTE = 1, 2, 4, 5
_ATTRIBUTE_GRAPHS = (6, 11)
_VALUE_NAME = 1
_TENSOR_DIMS, _TENSOR_TYPE, _TENSOR_INT32, _TENSOR_NAME, _TENSOR_RAW = 1, 2, 5, 8, 9
_INT8 = 3  # TensorProto.DataType
_MOST_TIMES = 16  # a file may grow
_BYTES = 2  # wire type: length, then that many bytes
Span = tuple[int, int]


def has_wide_weights(path: Path) -> bool:
    """Whether a signed 8-bit tensor of an ONNX file, wherever in it, holds more than 7 bits.

    Raises:
        ModelError: not an ONNX file, or cut short.
    """
    with mapped(path) as view:
        return any(_is_wide(view, tensor) for graph in _graphs(view) for tensor in tensors(view, *graph))


def reaches_inward(path: Path) -> bool:
    """Whether nodes of an inner graph take a signed 8-bit initializer of the graph around. Raises ModelError: see above."""
    with mapped(path) as view:
        for graph in _graphs(view):
            names = set(_int8_initializers(view, graph))
            inner = (_inner_names(view, node, 0) for node in _spans(view, graph, _NODE))
            if any(not names.isdisjoint(taken) for taken in inner):
                return True
    return False


def _inner_names(view: memoryview, node: Span, depth: int) -> Iterator[str]:
    """Names that the nodes of graphs inside of a node take."""
    if depth > DEEPEST:
        raise ValueError("nested too deep")
    for attribute in _spans(view, node, _NODE_ATTRIBUTE):
        for graph in (span for number in _ATTRIBUTE_GRAPHS for span in _spans(view, attribute, number)):
            for inner in _spans(view, graph, _NODE):
                yield from (*_names(view, inner, _NODE_INPUT), *_names(view, inner, _NODE_OUTPUT))
                yield from _inner_names(view, inner, depth + 1)


def for_exact_mode(data: bytes) -> bytes:
    """An ONNX file as onnxruntime's exact mode takes it: see above; itself where nothing is to be done.

    Raises:
        ValueError: it is no ONNX file, or would grow to many times its size: a small one can share a tensor ever so often.
    """
    view = memoryview(data)
    graphs = list(_graphs(view))
    if len(graphs) != 1:
        return data
    graph = _Graph(view, graphs[0])
    if graph.is_ready:
        return data
    content, at = bytearray(), 0
    for number, _, end in fields(view, 0, len(view)):
        content += _field(GRAPH, graph.rewritten()) if number == GRAPH else view[at:end]
        at = end
    return bytes(content)


class _Graph:
    """The outer graph of a file, and its signed 8-bit tensors.

    Attributes:
        is_ready: whether the exact mode takes it as it is: no two inputs of nodes take the same tensor, no two layers the same
            weights, and zero points are there where weights have a scale a channel.
    """

    def __init__(self, view: memoryview, span: Span) -> None:
        self._view, self._span = view, span
        inputs = {_text(view, _find(view, (a, b), _VALUE_NAME)) for number, a, b in fields(view, *span) if number == _INPUT}
        self._bytes = {name: place for name, place in _int8_initializers(view, span).items() if name not in inputs}
        initializers = {_text(view, _find(view, place, _TENSOR_NAME)): place for place in _spans(view, span, _INITIALIZER)}
        self._scales = {name: _length(view, place) for name, place in initializers.items() if name not in inputs}
        nodes = [*_spans(view, span, _NODE)]
        taken = Counter(name for node in nodes for name in _names(view, node, _NODE_INPUT))
        self._known = set(taken).union(initializers, *(_names(view, node, _NODE_OUTPUT) for node in nodes))
        weights = [node for node in nodes if self._is_weights(node)]
        self._uses = {name: taken[name] for node in weights for name in _names(view, node, _NODE_OUTPUT)}
        shared = any(taken[name] > 1 for name in self._bytes) or any(count > 1 for count in self._uses.values())
        self.is_ready = not shared and not any(self._missing(node) for node in nodes)

    def rewritten(self) -> bytes:
        """The graph's bytes, as the exact mode takes them."""
        view, seen, added = self._view, Counter[str](), bytearray()
        names: dict[str, list[str]] = {}  # of weights that several layers take, one for each that is still to come

        def own(name: str) -> str:
            """The name under which a node takes a tensor."""
            if name in names:
                return names[name].pop(0)
            seen[name] += 1
            if name not in self._bytes or seen[name] == 1:
                return name
            fresh = self._fresh(name, seen[name] - 1)
            add(_renamed(view, self._bytes[name], fresh))
            return fresh

        def add(tensor: bytes) -> None:
            added.extend(_field(_INITIALIZER, tensor))
            if len(added) > _MOST_TIMES * len(view):
                raise ValueError(f"copies of its 8-bit tensors would take over {_MOST_TIMES} times its size")

        def written(node: Span, output: str | None = None) -> bytes:
            """A node with tensors of its own; `output` in the place of its output's name."""
            content, zeros = _with_names(view, node, own, output), self._missing(node)
            if zeros:
                name = self._fresh(f"{_names(view, node, _NODE_INPUT)[0]}_zeros", 0)
                content += _field(_NODE_INPUT, _encoded_text(name))
                add(_zeros(name, zeros))
            return _field(_NODE, content)

        content, at = bytearray(), self._span[0]
        for number, start, end in fields(view, *self._span):
            node = (start, end)
            content += written(node) if number == _NODE else view[at:end]
            for output in _names(view, node, _NODE_OUTPUT) if number == _NODE and self._is_weights(node) else []:
                copies = [self._fresh(output, count) for count in range(1, self._uses[output])]
                content += b"".join(written(node, copy) for copy in copies)
                names[output] = [output, *copies]
            at = end
        return bytes(content + added)

    def _is_weights(self, node: Span) -> bool:
        """Whether a node makes 8-bit weights floats."""
        if _text(self._view, _find(self._view, node, _NODE_OP_TYPE)) != "DequantizeLinear":
            return False
        inputs = _names(self._view, node, _NODE_INPUT)
        return bool(inputs) and inputs[0] in self._bytes

    def _missing(self, node: Span) -> int:
        """Zero points that a node's weights lack: as many as there are scales; 0 for any other node."""
        inputs = _names(self._view, node, _NODE_INPUT)
        return self._scales.get(inputs[1], 0) if len(inputs) == 2 and self._is_weights(node) else 0

    def _fresh(self, name: str, first: int) -> str:
        fresh = next(text for number in range(first, len(self._known) + 3) if (text := f"{name}_{number}") not in self._known)
        self._known.add(fresh)
        return fresh


def _length(view: memoryview, tensor: Span) -> int:
    """Entries of a tensor of one dimension; 0 for any other, and for one that says it has more than its bytes."""
    dims = [size for span in _spans(view, tensor, _TENSOR_DIMS) for size in _numbers(view, *span)]
    return dims[0] if len(dims) == 1 and dims[0] <= tensor[1] - tensor[0] else 0


def _numbers(view: memoryview, at: int, end: int) -> list[int]:
    """Varints that lie side by side: one, or several that are packed."""
    values = []
    while at < end:
        value, at = varint(view, at, end)
        values.append(value)
    return values


def _zeros(name: str, count: int) -> bytes:
    """A tensor of `count` signed bytes of 0."""
    head = b"".join(_encoded(number << 3) + _encoded(value) for number, value in ((_TENSOR_DIMS, count), (_TENSOR_TYPE, _INT8)))
    return head + _field(_TENSOR_NAME, _encoded_text(name)) + _field(_TENSOR_RAW, bytes(count))


def _with_names(view: memoryview, node: Span, own: Callable[[str], str], output: str | None) -> bytes:
    """A node whose inputs have names that `own` gives, and its output one's own where there is one."""
    content, at = bytearray(), node[0]
    for number, start, end in fields(view, *node):
        if number == _NODE_INPUT:
            content += _field(number, _encoded_text(own(_text(view, (start, end)))))
        elif number == _NODE_OUTPUT and output is not None:
            content += _field(number, _encoded_text(output))
        else:
            content += view[at:end]
        at = end
    return bytes(content)


def _graphs(view: memoryview) -> Iterator[Span]:
    return _spans(view, (0, len(view)), GRAPH)


def _spans(view: memoryview, message: Span, wanted: int) -> Iterator[Span]:
    return ((start, end) for number, start, end in fields(view, *message) if number == wanted)


def _find(view: memoryview, message: Span, wanted: int) -> Span | None:
    """Place of a field's bytes; of several the last, which counts."""
    last = None
    for span in _spans(view, message, wanted):
        last = span
    return last


def _text(view: memoryview, span: Span | None) -> str:
    return bytes(view[span[0] : span[1]]).decode("utf-8", "surrogateescape") if span is not None else ""


def _names(view: memoryview, node: Span, which: int) -> list[str]:
    """Names of a node's inputs, or outputs."""
    return [_text(view, span) for span in _spans(view, node, which)]


def _int8_initializers(view: memoryview, graph: Span) -> dict[str, Span]:
    spans = (span for span in _spans(view, graph, _INITIALIZER) if _is_int8(view, span))
    return {_text(view, _find(view, span, _TENSOR_NAME)): span for span in spans}


def _is_int8(view: memoryview, tensor: Span) -> bool:
    kind = _find(view, tensor, _TENSOR_TYPE)
    return kind is not None and varint(view, *kind)[0] == _INT8


def _is_wide(view: memoryview, tensor: Span) -> bool:
    if not _is_int8(view, tensor):
        return False
    raw = _find(view, tensor, _TENSOR_RAW)
    if raw is None:  # as a list of numbers, which is not looked through: as good as wide
        return _find(view, tensor, _TENSOR_INT32) is not None
    values = np.frombuffer(view[raw[0] : raw[1]], np.int8)
    return bool(values.size) and bool(values.max() > SEVEN_BITS or values.min() < -SEVEN_BITS)


def _renamed(view: memoryview, tensor: Span, name: str) -> bytes:
    content, at = bytearray(), tensor[0]
    for number, _, end in fields(view, *tensor):
        content += b"" if number == _TENSOR_NAME else view[at:end]
        at = end
    return bytes(content) + _field(_TENSOR_NAME, _encoded_text(name))


def _encoded_text(text: str) -> bytes:
    return text.encode("utf-8", "surrogateescape")


def _field(number: int, content: bytes) -> bytes:
    return _encoded(number << 3 | _BYTES) + _encoded(len(content)) + content


def _encoded(value: int) -> bytes:
    """A whole number as a varint: seven bits a byte, the lowest first."""
    content = bytearray()
    while value > 127:
        content.append(value & 127 | 128)
        value >>= 7
    content.append(value)
    return bytes(content)
