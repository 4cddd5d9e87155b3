"""A tensor for each use of 8-bit weights: by onnx, and on the wire."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

onnx = pytest.importorskip("onnx", reason="onnx makes the graphs of this test, and is not installed")
import onnxruntime  # noqa: E402
from onnx import TensorProto, helper, numpy_helper  # noqa: E402

from hsiedge.graphs.passes import apply  # noqa: E402
from hsiedge.graphs.passes.separate_int8_tensors import SeparateInt8Tensors  # noqa: E402
from hsiedge.runtimes.int8_weights import for_exact_mode, has_wide_weights, reaches_inward  # noqa: E402
from hsiedge.shipped import shipped  # noqa: E402
from tests.graphs.shared_weights import shared_by, sharing  # noqa: E402


def inner_graphs() -> Any:
    """An If whose branch, and whose surrounding graph, take one and the same 8-bit tensor, twice each."""

    def layer(out: str) -> list[Any]:
        nodes = [helper.make_node("DequantizeLinear", ["w", "s", "zero"], [f"{out}_{n}"]) for n in "ab"]
        return [*nodes, helper.make_node("Add", [f"{out}_a", f"{out}_b"], [out])]

    def branch(name: str) -> Any:
        return helper.make_graph(layer(name), name, [], [helper.make_tensor_value_info(name, TensorProto.FLOAT, [2, 3])])

    nodes = [
        helper.make_node("If", ["flag"], ["inside"], then_branch=branch("then"), else_branch=branch("else")),
        *layer("outside"),
        helper.make_node("Add", ["inside", "outside"], ["y"]),
    ]
    graph = helper.make_graph(
        nodes,
        "inner",
        [helper.make_tensor_value_info("flag", TensorProto.BOOL, [])],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, [2, 3])],
        [
            numpy_helper.from_array(np.arange(-100, 200, 50, dtype=np.int8).reshape(2, 3), "w"),
            numpy_helper.from_array(np.float32(0.5), "s"),
            numpy_helper.from_array(np.int8(0), "zero"),
        ],
    )
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)


@pytest.mark.parametrize("suffix", ["-int8.onnx", "-int8-scene.onnx"])
def test_both_separate_what_an_older_version_shared(suffix: str) -> None:
    model = sharing(onnx.load(shipped(suffix)))
    before, kept = shared_by(model), model.SerializeToString()
    assert before
    on_the_wire, by_onnx = onnx.load_from_string(for_exact_mode(kept)), apply(model, SeparateInt8Tensors())
    assert model.SerializeToString() == kept
    for make in (on_the_wire, by_onnx):
        onnx.checker.check_model(make, full_check=True)
        assert not shared_by(make)
        feeds = {
            "counts": np.random.default_rng(0).integers(0, 255, (1, 24, 24, 200) if "scene" in suffix else (1, 200, 13, 13))
        }
        feeds = {model.graph.input[0].name: next(iter(feeds.values())).astype(np.uint8)}
        output, expected = (onnxruntime.InferenceSession(entry.SerializeToString()).run(None, feeds) for entry in (make, model))
        np.testing.assert_array_equal(output[0], expected[0])
    assert on_the_wire.metadata_props == model.metadata_props


def test_the_shipped_ones_share_nothing() -> None:
    for suffix in ("-int8.onnx", "-int8-scene.onnx", ".onnx"):
        model = onnx.load(shipped(suffix))
        assert apply(model, SeparateInt8Tensors()) is model


def test_weights_get_their_zero_points() -> None:
    """One for each scale; what has them, or needs none, stays the same bytes."""
    float_data = shipped(".onnx").read_bytes()
    assert for_exact_mode(float_data) is float_data
    before = onnx.load(shipped("-int8-scene.onnx"))
    data = for_exact_mode(before.SerializeToString())
    assert for_exact_mode(data) is data
    after = onnx.load_from_string(data)
    onnx.checker.check_model(after, full_check=True)
    tensors = {entry.name: numpy_helper.to_array(entry) for entry in after.graph.initializer}
    weights = [node for node in after.graph.node if node.op_type == "DequantizeLinear" and node.input[0] in tensors]
    weights = [node for node in weights if tensors[node.input[0]].dtype == np.int8]
    assert len(weights) >= 5
    for node in weights:
        zeros, scales = tensors[node.input[2]], tensors[node.input[1]]
        assert (zeros.dtype, zeros.shape, zeros.any()) == (np.int8, scales.shape, False)
    assert {entry.name for entry in before.graph.initializer} <= set(tensors)


def test_a_file_does_not_grow_without_bounds() -> None:
    """A tensor that a small file shares a thousand times, and scales that say they are more than there are."""
    model = inner_graphs()
    weights = numpy_helper.from_array(np.full(5000, 99, np.int8), "w")
    scales = numpy_helper.from_array(np.ones(1, np.float32), "s")
    del model.graph.node[:], model.graph.initializer[:]
    model.graph.initializer.extend([weights, scales])
    model.graph.node.extend(helper.make_node("DequantizeLinear", ["w", "s"], [f"y{n}"], axis=0) for n in range(100))
    with pytest.raises(ValueError, match="over 16 times its size"):
        for_exact_mode(model.SerializeToString())
    del model.graph.node[1:]
    assert len(for_exact_mode(model.SerializeToString())) < model.ByteSize() + 50
    model.graph.initializer[1].dims[0] = 1 << 40
    data = model.SerializeToString()
    assert for_exact_mode(data) is data


def test_inner_graphs_are_done_by_onnx() -> None:
    model = inner_graphs()
    separated = apply(model, SeparateInt8Tensors())
    onnx.checker.check_model(separated, full_check=True)
    for graph in (separated.graph, *(entry.g for entry in separated.graph.node[0].attribute)):
        taken = [name for node in graph.node if node.op_type == "DequantizeLinear" for name in (node.input[0], node.input[2])]
        assert len(set(taken)) == 4
        assert set(taken) <= {tensor.name for tensor in graph.initializer}
    feeds = {"flag": np.array(True)}
    output, expected = (
        onnxruntime.InferenceSession(entry.SerializeToString()).run(None, feeds) for entry in (separated, model)
    )
    np.testing.assert_array_equal(output[0], expected[0])


def test_what_reaches_inward_is_found(tmp_path: Path) -> None:
    model, path = inner_graphs(), tmp_path / "inner.onnx"
    for graph, inward in ((model, True), (apply(model, SeparateInt8Tensors()), False)):
        onnx.save(graph, path)
        assert reaches_inward(path) is inward
    assert not reaches_inward(shipped("-int8.onnx"))


def test_a_tensor_that_may_be_fed_stays() -> None:
    model = sharing(onnx.load(shipped("-int8.onnx")))
    name = shared_by(model)[0]
    model.graph.input.append(helper.make_tensor_value_info(name, TensorProto.INT8, None))
    assert shared_by(onnx.load_from_string(for_exact_mode(model.SerializeToString()))) == [name]
    assert shared_by(apply(model, SeparateInt8Tensors())) == [name]


@pytest.mark.parametrize(("low", "high", "wide"), [(-64, 64, False), (-65, 0, True), (0, 65, True)])
def test_wide_weights(tmp_path: Path, low: int, high: int, wide: bool) -> None:
    """Wherever they lie: as an initializer, and in the attribute of a Constant in an inner graph."""
    tensor = numpy_helper.from_array(np.array([low, high, 0, 1, 2, 3], np.int8).reshape(2, 3), "w")
    stored, inside = inner_graphs(), inner_graphs()
    stored.graph.initializer[0].CopyFrom(tensor)
    inside.graph.initializer[0].CopyFrom(numpy_helper.from_array(np.zeros((2, 3), np.int8), "w"))
    inside.graph.node[0].attribute[0].g.node.insert(0, helper.make_node("Constant", [], ["unused"], value=tensor))
    for number, model in enumerate((stored, inside)):
        path = tmp_path / f"{number}.onnx"
        onnx.save(model, path)
        assert has_wide_weights(path) is wide


def test_damaged_files_are_refused_or_read() -> None:
    data = sharing(onnx.load(shipped("-int8.onnx"))).SerializeToString()
    rng = np.random.default_rng(0)
    read = 0
    for _ in range(300):
        hurt = bytearray(data[: int(rng.integers(1, len(data)))] if rng.random() < 0.3 else data)
        for place in rng.integers(0, len(hurt), 4):
            hurt[place] = rng.integers(0, 256)
        try:
            for_exact_mode(bytes(hurt))
            read += 1
        except ValueError:
            pass
    assert 0 < read < 300
