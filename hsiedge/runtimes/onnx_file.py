"""An ONNX file's own words, read without onnx and without making a session: its metadata, and whether it points elsewhere.

Only what is needed of the protobuf wire format (protobuf.dev, "Encoding"): fields are skipped by their length, so a large file
costs as many steps as it has nodes and tensors. Field numbers are those of onnx.proto3.
"""

from __future__ import annotations

import mmap
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from hsiedge.errors import CardError, ModelError

GRAPH, _METADATA = 7, 14  # of ModelProto
_EXTERNAL = 14  # TensorProto.data_location
# The fields through which a tensor can be reached: message -> field -> message.
_INSIDE = {
    "graph": {1: "node", 5: "tensor", 15: "sparse"},
    "node": {5: "attribute"},
    "attribute": {5: "tensor", 6: "graph", 10: "tensor", 11: "graph", 22: "sparse", 23: "sparse"},
    "sparse": {1: "tensor", 2: "tensor"},
    "tensor": {},
}
DEEPEST = 64


@dataclass(frozen=True)
class OnnxFile:
    """Key-value metadata, and whether weights lie in other files."""

    metadata: dict[str, str]
    external: bool


def read_onnx_file(path: Path) -> OnnxFile:
    """Scans an ONNX file. Raises ModelError where it is not one, or is cut short; CardError where its metadata is no text."""
    try:
        with mapped(path) as view:
            return _model(view)
    except UnicodeDecodeError as error:
        raise CardError(f"{path}: its metadata is not text ({error})") from error


@contextmanager
def mapped(path: Path) -> Iterator[memoryview]:
    """The bytes of an ONNX file, not read before they are looked at. Raises ModelError where it is not one, or is cut short."""
    try:
        with path.open("rb") as file, mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as data, memoryview(data) as view:
            yield view
    except UnicodeDecodeError:
        raise
    except ValueError as error:
        raise ModelError(f"{path}: not an ONNX file, or cut short ({error})") from error
    except OSError as error:
        raise ModelError(f"{path}: cannot be read ({error.strerror})") from error


def check_whole(path: Path) -> None:
    """Raises ModelError where an ONNX file keeps its weights in other files: no path from inside a file is followed."""
    if read_onnx_file(path).external:
        raise ModelError(f"{path}: keeps its weights in other files, which are not followed; make one file of it")


def _model(data: memoryview) -> OnnxFile:
    metadata: dict[str, str] = {}
    external: bool | None = None
    for number, start, end in fields(data, 0, len(data)):
        if number == GRAPH and end > start:
            external = any(_is_external(data, tensor) for tensor in tensors(data, start, end))
        elif number == _METADATA and end > start:
            entry = {field: bytes(data[a:b]) for field, a, b in fields(data, start, end)}
            metadata[entry.get(1, b"").decode()] = entry.get(2, b"").decode()
    if external is None:
        raise ValueError("it has no graph")
    return OnnxFile(metadata, external)


def tensors(data: memoryview, start: int, end: int, message: str = "graph", depth: int = 0) -> Iterator[tuple[int, int]]:
    """(start, end) of each tensor of a graph, those in attributes, in sparse ones and in inner graphs, too."""
    if depth > DEEPEST:
        raise ValueError("nested too deep")
    if message == "tensor":
        yield start, end
    for number, a, b in fields(data, start, end):
        inner = _INSIDE[message].get(number)
        if inner is not None:
            yield from tensors(data, a, b, inner, depth + 1)


def _is_external(data: memoryview, tensor: tuple[int, int]) -> bool:
    return any(number == _EXTERNAL and data[start] == 1 for number, start, _ in fields(data, *tensor))


def fields(data: memoryview, start: int, end: int) -> Iterator[tuple[int, int, int]]:
    """(number, start, end) of each field's bytes. Raises ValueError where a field reaches beyond `end`."""
    at = start
    while at < end:
        key, at = varint(data, at, end)
        kind = key & 7
        if kind == 0:
            first = at
            _, at = varint(data, at, end)
            yield key >> 3, first, at
            continue
        size, at = varint(data, at, end) if kind == 2 else ({1: 8, 5: 4}.get(kind, -1), at)
        if size < 0 or at + size > end:
            raise ValueError(f"a broken field at byte {at}")
        yield key >> 3, at, at + size
        at += size


def varint(data: memoryview, at: int, end: int) -> tuple[int, int]:
    """Reads a varint of protobuf: its value, and the place behind it."""
    value = 0
    for shift in range(0, 70, 7):
        if at >= end:
            break
        byte = data[at]
        at += 1
        value |= (byte & 127) << shift
        if byte < 128:
            return value, at
    raise ValueError(f"a broken number at byte {at}")
