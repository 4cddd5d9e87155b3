"""8-bit weights of an ONNX file, read and separated on the wire: a board has no onnx to do it with.

onnxruntime's exact mode (`hsiedge.device.int8`) puts an unsigned tensor in the place of each signed 8-bit initializer that a
layer takes, by its name, and fails where two take the same one: "Attempt to replace the existing tensor". Files of hsiedge
0.1.0 shared the zero points of layers that are equally wide. `separated` gives each input of a node a tensor of its own:

    DequantizeLinear(w1, s1, zeros)        DequantizeLinear(w1, s1, zeros)
    DequantizeLinear(w2, s2, zeros)   ->   DequantizeLinear(w2, s2, zeros_1), zeros_1 a copy of zeros

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
_NODE_INPUT, _NODE_OUTPUT, _NODE_ATTRIBUTE = 1, 2, 5
_ATTRIBUTE_GRAPHS = (6, 11)
_VALUE_NAME = 1
_TENSOR_TYPE, _TENSOR_INT32, _TENSOR_NAME, _TENSOR_RAW = 2, 5, 8, 9
_INT8 = 3  # TensorProto.DataType
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
                yield from _names(view, inner)
                yield from _inner_names(view, inner, depth + 1)


def separated(data: bytes) -> bytes:
    """An ONNX file in which no two inputs of nodes take the same signed 8-bit initializer; itself where none did.

    Raises:
        ValueError: it is no ONNX file.
    """
    view = memoryview(data)
    graphs = list(_graphs(view))
    if len(graphs) != 1:
        return data
    graph = _separated_graph(view, graphs[0])
    if graph is None:
        return data
    content, at = bytearray(), 0
    for number, _, end in fields(view, 0, len(view)):
        content += _field(GRAPH, graph) if number == GRAPH else view[at:end]
        at = end
    return bytes(content)


def _separated_graph(view: memoryview, graph: Span) -> bytes | None:
    """The graph's bytes, tensors copied and nodes renamed; None where no tensor is shared."""
    inputs = {_text(view, _find(view, (a, b), _VALUE_NAME)) for number, a, b in fields(view, *graph) if number == _INPUT}
    tensors = {name: span for name, span in _int8_initializers(view, graph).items() if name not in inputs}
    taken = Counter(name for node in _spans(view, graph, _NODE) for name in _names(view, node))
    if not any(taken[name] > 1 for name in tensors):
        return None
    known, seen, copies = set(taken), Counter[str](), bytearray()

    def own(name: str) -> str:
        """The name under which a node takes a tensor; each but the first gets a copy."""
        seen[name] += 1
        if name not in tensors or seen[name] == 1:
            return name
        fresh = next(text for number in range(seen[name] - 1, len(known) + 3) if (text := f"{name}_{number}") not in known)
        known.add(fresh)
        copies.extend(_field(_INITIALIZER, _renamed(view, tensors[name], fresh)))
        return fresh

    content, at = bytearray(), graph[0]
    for number, start, end in fields(view, *graph):
        content += _field(_NODE, _with_own_inputs(view, (start, end), own)) if number == _NODE else view[at:end]
        at = end
    return bytes(content + copies)


def _with_own_inputs(view: memoryview, node: Span, own: Callable[[str], str]) -> bytes:
    content, at = bytearray(), node[0]
    for number, start, end in fields(view, *node):
        content += _field(_NODE_INPUT, _encoded_text(own(_text(view, (start, end))))) if number == _NODE_INPUT else view[at:end]
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


def _names(view: memoryview, node: Span) -> Iterator[str]:
    return (_text(view, (a, b)) for number, a, b in fields(view, *node) if number in (_NODE_INPUT, _NODE_OUTPUT))


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
