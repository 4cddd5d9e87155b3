"""An ONNX file's own words, read without onnx and without making a session: its metadata, and whether it points elsewhere.

Only what is needed of the protobuf wire format (protobuf.dev, "Encoding"): fields are skipped by their length, so a large file
costs as many steps as it has nodes and tensors. Field numbers are those of onnx.proto3.
"""

from __future__ import annotations

import mmap
import struct
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from hsiedge.errors import CardError, ModelError

GRAPH, _METADATA = 7, 14  # of ModelProto
_LOCATION, _OP_TYPE = 14, 4  # of TensorProto (0 where its data are in it), and of NodeProto
_OPENS_FILES = b"EPContext"  # the operator that names the compiled engine of a provider
# The fields through which a tensor or a node can be reached: message -> field -> message.
_INSIDE = {
    "model": {7: "graph", 20: "training", 25: "function"},
    "training": {1: "graph", 2: "graph"},
    "function": {7: "node", 11: "attribute"},
    "graph": {1: "node", 5: "tensor", 15: "sparse"},
    "node": {5: "attribute"},
    "attribute": {5: "tensor", 6: "graph", 10: "tensor", 11: "graph", 22: "sparse", 23: "sparse"},
    "sparse": {1: "tensor", 2: "tensor"},
    "tensor": {},
}
DEEPEST = 64


@dataclass(frozen=True)
class OnnxFile:
    """Key-value metadata, and whether weights, or a compiled engine, lie in other files."""

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
    except (ValueError, OverflowError, struct.error) as error:
        raise ModelError(f"{path}: not an ONNX file, or cut short ({error})") from error
    except OSError as error:
        raise ModelError(f"{path}: cannot be read ({error.strerror})") from error


def check_whole(path: Path) -> None:
    """Raises ModelError where an ONNX file keeps its weights in other files: no path from inside a file is followed."""
    if read_onnx_file(path).external:
        raise ModelError(
            f"{path}: keeps its weights in other files, which are not followed; make one file of it: "
            f"onnx.save(onnx.load({path.name!r}), {path.stem + '-whole.onnx'!r}), or export with external_data=False"
        )


def _model(data: memoryview) -> OnnxFile:
    metadata: dict[str, str] = {}
    whole = False
    for number, start, end in fields(data, 0, len(data)):
        whole |= number == GRAPH and end > start
        if number == _METADATA and end > start:
            entry = {field: bytes(data[a:b]) for field, a, b in fields(data, start, end)}
            metadata[entry.get(1, b"").decode()] = entry.get(2, b"").decode()
    if not whole:
        raise ValueError("it has no graph")
    return OnnxFile(metadata, any(_points_elsewhere(data, *part) for part in _messages(data, 0, len(data), "model")))


def tensors(data: memoryview, start: int, end: int, message: str = "graph") -> Iterator[tuple[int, int]]:
    """(start, end) of each tensor of a graph, those in attributes, in sparse ones and in inner graphs, too."""
    return ((a, b) for kind, a, b in _messages(data, start, end, message) if kind == "tensor")


def _messages(data: memoryview, start: int, end: int, message: str, depth: int = 0) -> Iterator[tuple[str, int, int]]:
    """Kind, start and end of a message and each within it. One that is written twice is merged by readers: here it is two."""
    if depth > DEEPEST:
        raise ValueError("nested too deep")
    yield message, start, end
    inside = _INSIDE[message]
    for number, a, b in fields(data, start, end) if inside else ():
        if number in inside:
            yield from _messages(data, a, b, inside[number], depth + 1)


def _points_elsewhere(data: memoryview, message: str, start: int, end: int) -> bool:
    """Whether a message says that its data lie in another file, in whatever bytes, and even if it says otherwise, too."""
    if message == "tensor":
        return any(number == _LOCATION and varint(data, a, b)[0] for number, a, b in fields(data, start, end))
    if message == "node":
        return any(number == _OP_TYPE and data[a:b] == _OPENS_FILES for number, a, b in fields(data, start, end))
    return False


def fields(data: memoryview, start: int, end: int) -> Iterator[tuple[int, int, int]]:
    """(number, start, end) of each field's bytes. Raises ValueError where a field reaches beyond `end`."""
    at = start
    while at < end:
        key, at = varint(data, at, end)
        if key >> 32:  # of which readers would drop the upper bits
            raise ValueError(f"a broken field at byte {at}")
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
