"""The scan of an ONNX file: the same metadata as the runtime reads, and weights in other files are never followed."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from hsiedge.errors import HsiedgeError, ModelError
from hsiedge.runtimes import load
from hsiedge.runtimes.onnx_file import read_onnx_file
from hsiedge.runtimes.onnx_graph import read_graph
from hsiedge.runtimes.ort import read_metadata
from hsiedge.shipped import shipped

STORED = Path(__file__).parents[1] / "benchmark" / "data"


@pytest.mark.parametrize("name", ["float.onnx", "int8.onnx", "stranger.onnx", "hungry.onnx"])
def test_it_reads_what_the_runtime_reads(name: str) -> None:
    file = read_onnx_file(STORED / name)
    assert file.metadata == read_metadata(STORED / name)
    assert not file.external


def test_of_a_real_model() -> None:
    assert read_onnx_file(shipped(".onnx")).metadata == read_metadata(shipped(".onnx"))


@pytest.mark.parametrize("where", ["initializer", "constant", "subgraph"])
def test_weights_in_other_files_are_seen_wherever_they_are(where: str, tmp_path: Path) -> None:
    onnx = pytest.importorskip("onnx", reason="onnx makes the files")
    helper = onnx.helper
    tensor = onnx.TensorProto(name="w", data_type=onnx.TensorProto.FLOAT, dims=[4], data_location=onnx.TensorProto.EXTERNAL)
    tensor.external_data.add(key="location", value="w.bin")
    constant = helper.make_node("Constant", [], ["w"])
    constant.attribute.append(onnx.AttributeProto(name="value", type=onnx.AttributeProto.TENSOR, t=tensor))
    add = helper.make_node("Add", ["x", "w"], ["y"])
    nodes = [constant, add] if where == "constant" else [add]
    x, y = (helper.make_tensor_value_info(name, onnx.TensorProto.FLOAT, [4]) for name in ("x", "y"))
    if where == "subgraph":
        body = helper.make_graph([constant, helper.make_node("Add", ["x", "w"], ["z"])], "body", [], [y])
        body.output[0].name = "z"
        nodes = [
            helper.make_node("Constant", [], ["yes"], value=helper.make_tensor("yes", onnx.TensorProto.BOOL, [], [True])),
            helper.make_node("If", ["yes"], ["y"], then_branch=body, else_branch=body),
        ]
    graph = helper.make_graph(nodes, "g", [x], [y], [tensor] if where == "initializer" else [])
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=9)
    (tmp_path / "m.onnx").write_bytes(model.SerializeToString())
    (tmp_path / "w.bin").write_bytes(np.ones(4, np.float32).tobytes())
    assert read_onnx_file(tmp_path / "m.onnx").external
    with pytest.raises(ModelError, match="in other files"):
        load(tmp_path / "m.onnx")


def varint(number: int) -> bytes:
    data = b""
    while number > 127:
        data, number = data + bytes([number & 127 | 128]), number >> 7
    return data + bytes([number])


def field(number: int, value: bytes | int) -> bytes:
    """A field of protobuf, of bytes or an integer."""
    if isinstance(value, int):
        return varint(number << 3) + varint(value)
    return varint(number << 3 | 2) + varint(len(value)) + value


# TensorProto: dims, data_type, name, external_data of location and the file; what says that it is external comes behind.
OUTSIDE = field(1, 4) + field(2, 1) + field(8, b"w") + field(13, field(1, b"location") + field(2, b"w.bin"))
EXTERNAL = field(14, 1)
NODE = field(1, b"x") + field(2, b"y") + field(4, b"Identity")
GRAPH = field(1, NODE) + field(2, b"g")
MODEL = field(1, 9) + field(8, field(1, b"") + field(2, 18))
WHOLE = MODEL + field(7, GRAPH)


@pytest.mark.parametrize(
    "data",
    [
        MODEL + field(7, GRAPH + field(5, OUTSIDE + EXTERNAL)),
        WHOLE + field(7, field(5, OUTSIDE + EXTERNAL)),  # the graph in two pieces, which readers merge
        MODEL + field(7, GRAPH + field(5, OUTSIDE + EXTERNAL)) + field(7, field(10, b"x")),
        MODEL + field(7, GRAPH + field(5, OUTSIDE + EXTERNAL + field(14, 0))),
        MODEL + field(7, GRAPH + field(5, OUTSIDE + b"\x70\x81\x00")),  # 1 in two bytes
        MODEL + field(7, GRAPH + field(5, OUTSIDE + b"\x70\x81\x80\x80\x80\x10")),  # 1 in the lower 32 bits
        MODEL + field(7, GRAPH + field(5, OUTSIDE + b"\xf0\x00\x01")),  # the field's number in two bytes
        MODEL + field(7, GRAPH + field(15, field(1, OUTSIDE + EXTERNAL))),  # a sparse initializer
        MODEL + field(7, GRAPH + field(15, field(2, OUTSIDE + EXTERNAL))),
        MODEL + field(7, field(1, NODE + field(5, field(1, b"value") + field(5, OUTSIDE + EXTERNAL)))),
        MODEL + field(7, field(1, NODE + field(5, field(10, OUTSIDE + EXTERNAL)))),
        MODEL + field(7, field(1, NODE + field(5, field(5, OUTSIDE) + field(5, EXTERNAL)))),  # a tensor in two pieces
        MODEL + field(7, field(1, NODE + field(5, field(23, field(1, OUTSIDE + EXTERNAL))))),
        MODEL + field(7, field(1, NODE + field(5, field(6, field(5, OUTSIDE + EXTERNAL))))),  # an inner graph
        MODEL + field(7, field(1, NODE + field(5, field(11, field(5, OUTSIDE + EXTERNAL))))),
        WHOLE + field(25, field(1, b"f") + field(7, NODE + field(5, field(5, OUTSIDE + EXTERNAL)))),  # a function
        WHOLE + field(25, field(1, b"f") + field(11, field(5, OUTSIDE + EXTERNAL))),
        WHOLE + field(20, field(1, field(5, OUTSIDE + EXTERNAL))),  # what it is trained with
        MODEL + field(7, field(1, field(1, b"x") + field(2, b"y") + field(4, b"EPContext"))),  # a compiled engine elsewhere
    ],
)
def test_however_they_are_written(data: bytes, tmp_path: Path) -> None:
    (tmp_path / "m.onnx").write_bytes(data)
    assert read_onnx_file(tmp_path / "m.onnx").external
    with pytest.raises(ModelError, match=r"in other files.* onnx.save\(onnx.load\('m.onnx'\), 'm-whole.onnx'\)"):
        load(tmp_path / "m.onnx")


def test_a_whole_file_is_none_of_these(tmp_path: Path) -> None:
    for data in (WHOLE, MODEL + field(7, GRAPH + field(5, OUTSIDE + field(14, 0))), WHOLE + field(7, GRAPH)):
        (tmp_path / "m.onnx").write_bytes(data)
        assert not read_onnx_file(tmp_path / "m.onnx").external


def test_keys_whose_upper_bits_readers_would_drop(tmp_path: Path) -> None:
    """(1 << 32) + a graph's key is a graph to some readers, and no field that is known to others."""
    graph = GRAPH + field(5, OUTSIDE + EXTERNAL)
    (tmp_path / "m.onnx").write_bytes(WHOLE + varint((1 << 32) + (7 << 3 | 2)) + varint(len(graph)) + graph)
    with pytest.raises(ModelError, match="a broken field"):
        read_onnx_file(tmp_path / "m.onnx")


def test_any_damage_is_an_error_of_ours(tmp_path: Path) -> None:
    """Cut at every length, and with every byte spoilt: read, or refused, and never anything else."""
    whole = (STORED / "stranger.onnx").read_bytes()
    path = tmp_path / "m.onnx"
    outcomes = set()
    damaged = [whole[:length] for length in range(0, len(whole), 3)]
    damaged += [whole[:at] + bytes([whole[at] ^ 0xFF]) + whole[at + 1 :] for at in range(0, len(whole), 3)]
    for data in damaged:
        path.write_bytes(data)
        try:
            read_onnx_file(path)
            outcomes.add("read")
        except HsiedgeError:
            outcomes.add("refused")
    assert outcomes == {"read", "refused"}


@pytest.mark.parametrize(
    "graph",
    [
        field(1, field(4, b"Elu") + field(5, field(1, b"alpha") + field(2, b"12345"))),
        field(5, varint(1 << 3) + varint(1) + varint(2 << 3) + varint(7) + varint(7 << 3) + varint((1 << 69) - 1)),
    ],
    ids=["a float of five bytes", "an integer beyond 64 bits"],
)
def test_a_value_that_is_none(graph: bytes, tmp_path: Path) -> None:
    (tmp_path / "m.onnx").write_bytes(field(7, graph))
    with pytest.raises(ModelError, match="not an ONNX file, or cut short"):
        read_graph(tmp_path / "m.onnx")


def test_nested_without_end(tmp_path: Path) -> None:
    """graph -> node -> attribute -> graph -> ..., each inside the other: refused before Python's stack is full."""
    inner = b""
    for tag in (b"\x32", b"\x2a", b"\x0a") * 200:  # attribute.g, node.attribute, graph.node
        size, length = len(inner), b""
        while size > 127:
            length += bytes([size & 127 | 128])
            size >>= 7
        inner = tag + length + bytes([size]) + inner
    size, length = len(inner), b""
    while size > 127:
        length += bytes([size & 127 | 128])
        size >>= 7
    (tmp_path / "m.onnx").write_bytes(b"\x3a" + length + bytes([size]) + inner)
    with pytest.raises(ModelError, match="nested too deep"):
        read_onnx_file(tmp_path / "m.onnx")
