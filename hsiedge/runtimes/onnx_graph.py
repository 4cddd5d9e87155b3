"""An ONNX file's graph, read without onnx: nodes, their attributes, and initializers as arrays. A board has no onnx.

Only a plain graph: no inner graphs, no functions, no sparse tensors. Field numbers are those of onnx.proto3.
"""

from __future__ import annotations

import math
import struct
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from hsiedge.errors import ModelError
from hsiedge.runtimes.onnx_file import GRAPH, check_whole, fields, mapped, varint

Attribute = float | int | str | list[float] | list[int] | NDArray[Any]
Span = tuple[int, int]
# TensorProto.DataType
_DTYPES = {
    1: "<f4",
    2: "u1",
    3: "i1",
    4: "<u2",
    5: "<i2",
    6: "<i4",
    7: "<i8",
    9: "?",
    10: "<f2",
    11: "<f8",
    12: "<u4",
    13: "<u8",
}


@dataclass(frozen=True)
class Node:
    """A node of a graph."""

    op: str
    name: str
    inputs: list[str]
    outputs: list[str]
    attributes: dict[str, Attribute]

    def number(self, name: str, default: float) -> float:
        """An attribute that is one number."""
        value = self.attributes.get(name, default)
        return float(value) if isinstance(value, int | float) else default

    def integer(self, name: str, default: int) -> int:
        """An attribute that is one whole number."""
        return int(self.number(name, default))

    def integers(self, name: str, default: list[int]) -> list[int]:
        """An attribute that is a list of whole numbers."""
        value = self.attributes.get(name, default)
        return [int(entry) for entry in value] if isinstance(value, list) else default

    @property
    def title(self) -> str:
        """Title in errors: its operator, and the name of the node, or else of its output."""
        return f"{self.op} {self.name or next(iter(self.outputs), '')!r}"


@dataclass(frozen=True)
class Graph:
    """A graph: nodes in order, initializers by name, and the names of its inputs and outputs."""

    nodes: list[Node] = field(default_factory=list)
    initializers: dict[str, NDArray[Any]] = field(default_factory=dict)
    inputs: list[str] = field(default_factory=list)
    outputs: list[str] = field(default_factory=list)


def read_graph(path: Path) -> Graph:
    """Reads a file's graph.

    Raises:
        ModelError: not an ONNX file, cut short, with weights in other files, or with graphs inside nodes.
    """
    check_whole(path)
    with mapped(path) as view:
        graph = Graph()
        for number, start, end in fields(view, 0, len(view)):
            if number == GRAPH:
                _read_graph(view, (start, end), graph)
        return graph


def _read_graph(view: memoryview, span: Span, graph: Graph) -> None:
    for number, start, end in fields(view, *span):
        if number == 1:
            graph.nodes.append(_node(view, (start, end)))
        elif number == 5:
            name, array = _tensor(view, (start, end))
            graph.initializers[name] = array
        elif number in (11, 12):
            (graph.inputs if number == 11 else graph.outputs).append(_text(view, (start, end), 1))
        elif number == 15:
            raise ModelError("sparse initializers")
    graph.inputs[:] = [name for name in graph.inputs if name not in graph.initializers]


def _text(view: memoryview, span: Span, wanted: int) -> str:
    texts = [bytes(view[a:b]).decode("utf-8", "replace") for number, a, b in fields(view, *span) if number == wanted]
    return texts[-1] if texts else ""


def _node(view: memoryview, span: Span) -> Node:
    texts: dict[int, list[str]] = {1: [], 2: [], 3: [], 4: [], 7: []}
    attributes: dict[str, Attribute] = {}
    for number, start, end in fields(view, *span):
        if number in texts:
            texts[number].append(bytes(view[start:end]).decode("utf-8", "replace"))
        elif number == 5:
            name, value = _attribute(view, (start, end))
            attributes[name] = value
    op, domain = (texts[4] or [""])[-1], (texts[7] or [""])[-1]
    return Node(op if domain in ("", "ai.onnx") else f"{domain}.{op}", (texts[3] or [""])[-1], texts[1], texts[2], attributes)


def _attribute(view: memoryview, span: Span) -> tuple[str, Attribute]:
    name, value = "", None
    floats: list[float] = []
    ints: list[int] = []
    for number, start, end in fields(view, *span):
        if number == 1:
            name = bytes(view[start:end]).decode("utf-8", "replace")
        elif number == 2:
            value = struct.unpack("<f", view[start:end])[0]
        elif number == 3:
            value = _signed(varint(view, start, end)[0])
        elif number == 4:
            value = bytes(view[start:end]).decode("utf-8", "replace")
        elif number == 5:
            value = _tensor(view, (start, end))[1]
        elif number == 7:
            floats += np.frombuffer(view[start:end], "<f4").tolist()
        elif number == 8:
            ints += _varints(view, start, end)
        elif number in (6, 10, 11):
            raise ModelError("a graph inside a node")
    return name, value if value is not None else floats or ints


def _varints(view: memoryview, start: int, end: int) -> list[int]:
    """Numbers of a packed field; of one that is not, the one."""
    values = []
    while start < end:
        value, start = varint(view, start, end)
        values.append(_signed(value))
    return values


def _signed(value: int) -> int:
    return value - (1 << 64) if value >> 63 else value


def _tensor(view: memoryview, span: Span) -> tuple[str, NDArray[Any]]:
    """Name and values of a tensor. Raises ModelError where these are not as many as its sizes say."""
    dims: list[int] = []
    kind, name = 0, ""
    raw, numbers, floats = bytearray(), list[int](), bytearray()
    for number, start, end in fields(view, *span):
        if number == 1:
            dims += _varints(view, start, end)
        elif number == 2:
            kind = varint(view, start, end)[0]
        elif number in (5, 7, 11):
            numbers += _varints(view, start, end)
        elif number in (4, 10):
            floats += view[start:end]
        elif number == 8:
            name = bytes(view[start:end]).decode("utf-8", "replace")
        elif number == 9:
            raw += view[start:end]
    if kind not in _DTYPES:
        raise ModelError(f"tensor {name!r} of type {kind}")
    array = _values(np.dtype(_DTYPES[kind]), bytes(raw or floats), numbers)
    if any(size < 0 for size in dims) or array.size != math.prod(dims):
        raise ModelError(f"tensor {name!r} has {array.size} elements, and says {dims}")
    return name, array.reshape(dims)


def _values(dtype: np.dtype[Any], content: bytes, numbers: list[int]) -> NDArray[Any]:
    """Elements, one behind the other: of bytes, or of numbers that were written one by one."""
    if content:
        return np.frombuffer(content[: len(content) // dtype.itemsize * dtype.itemsize], dtype)
    if dtype == np.float16:
        return np.array(numbers, np.int64).astype(np.uint16).view(np.float16)
    return np.array(numbers, np.int64).astype(dtype)
