"""The pass that makes a graph smaller: the same logits to the bit, the same kernels, and what it may not touch left alone."""

from __future__ import annotations

import copy
import dataclasses
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime
import pytest

onnx = pytest.importorskip("onnx", reason="graph passes need onnx")
from onnx import TensorProto, helper, numpy_helper  # noqa: E402

from hsiedge import files  # noqa: E402
from hsiedge.card import Step, now  # noqa: E402
from hsiedge.graphs.onnx_io import check_onnx, write_onnx  # noqa: E402
from hsiedge.graphs.passes import apply  # noqa: E402
from hsiedge.graphs.passes.minify import Minify  # noqa: E402
from hsiedge.graphs.passes.separate_int8_tensors import SeparateInt8Tensors  # noqa: E402
from hsiedge.runtimes import load  # noqa: E402

NETS = ["cnn1d", "cnn2d", "cnn3d", "hybridsn", "dscnn"]
SHIPPED = Path(__file__).parents[3] / "models" / "indian_pines-cnn2d-random-s0-int8.onnx"


def minified(model: Any) -> Any:
    """The graph as `quantize` writes it."""
    return apply(model, SeparateInt8Tensors(), Minify())


def run(model: Any, folder: Path, batch: int = 64) -> tuple[Any, list[str]]:
    """Logits of random integers, and the operators that onnxruntime runs in the end."""
    options = onnxruntime.SessionOptions()
    options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_ENABLE_EXTENDED
    options.optimized_model_filepath = str(folder / "optimized.onnx")
    options.log_severity_level = 4
    session = onnxruntime.InferenceSession(model.SerializeToString(), options, providers=["CPUExecutionProvider"])
    entry = model.graph.input[0]
    shape = [size.dim_value or batch for size in entry.type.tensor_type.shape.dim]
    values = np.random.default_rng(0).integers(0, 256, shape)
    feed = values.astype(helper.tensor_dtype_to_np_dtype(entry.type.tensor_type.elem_type))
    (logits,) = session.run([model.graph.output[0].name], {entry.name: feed})
    return logits, [node.op_type for node in onnx.load(folder / "optimized.onnx").graph.node]


def same(before: Any, after: Any, folder: Path) -> None:
    """Bit for bit, and with the same kernels."""
    check_onnx(after)
    theirs, kernels_before = run(before, folder)
    ours, kernels_after = run(after, folder)
    assert np.ptp(theirs) > 0
    np.testing.assert_array_equal(ours.view(np.uint32), theirs.view(np.uint32))
    assert sorted(kernels_after) == sorted(kernels_before)


def layer_names(model: Any) -> list[str]:
    return [node.name for node in model.graph.node if node.op_type in ("Conv", "Gemm", "MatMul")]


@pytest.mark.slow
class TestQuantizedNets:
    """As `hsiedge quantize` makes them, before and after the pass, on each architecture."""

    @staticmethod
    def candidate(net: str, recipe: str = "default") -> Any:
        pytest.importorskip("torch", reason="these tests train the nets that they quantize")
        pytest.importorskip("tensorly", reason="Indian Pines comes with tensorly")
        from hsiedge.graphs.passes.extract_input_affine import ExtractInputAffine
        from hsiedge.graphs.passes.float_logits import FloatLogits
        from hsiedge.graphs.quantization.recipes import RECIPES
        from hsiedge.graphs.quantization.session import calibrate, open_float, quantize_layers
        from tests import workstation

        source = open_float(workstation.float_file(net), workstation.scene(), count=64)
        qdq = quantize_layers(calibrate(source, RECIPES[recipe]))
        return apply(qdq.graph, FloatLogits(), ExtractInputAffine())

    @pytest.mark.parametrize("net", NETS)
    def test_they_say_the_same(self, net: str, tmp_path: Path) -> None:
        before = self.candidate(net)
        text = before.SerializeToString()
        after = minified(before)
        assert before.SerializeToString() == text
        same(before, after, tmp_path)
        assert layer_names(after) == layer_names(before)
        assert [after.graph.input[0].name, after.graph.output[0].name] == ["counts", "logits"]
        weights = sum(numpy_helper.to_array(tensor).nbytes for tensor in before.graph.initializer)
        assert after.ByteSize() < weights + 0.5 * (before.ByteSize() - weights)
        assert minified(after).SerializeToString() == after.SerializeToString()

    def test_symmetric_integers_and_float_biases(self, tmp_path: Path) -> None:
        before = self.candidate("cnn2d", "tensorrt")
        same(before, minified(before), tmp_path)

    def test_the_student_with_its_card_is_under_16_kib(self, tmp_path: Path) -> None:
        """As written: five steps of lineage, 200 bands, 16 classes."""
        from hsiedge.graphs.quantization.quantize import quantize
        from tests import workstation

        pytest.importorskip("torch", reason="this test trains the net that it quantizes")
        path = tmp_path / "dscnn-int8.onnx"
        card = quantize(workstation.float_file("dscnn"), workstation.scene(), path, max_drop=5)
        train, *rest = card.lineage
        options = {"method": "structured", "ratio": 0.5, "criterion": "l1", "scope": "layer", "reached": 0.4993}
        nodes = [
            Step(name, now(), train.options | options, files.digest(path)[::-1], train.versions)
            for name in ("distill", "prune")
        ]
        model = onnx.load(path)
        write_onnx(path, model, dataclasses.replace(card, lineage=[train, *nodes, *rest]))
        assert [step.step for step in load(path).known.lineage] == ["train", "distill", "prune", "export", "quantize"]
        print(f"{path.stat().st_size} bytes")
        assert path.stat().st_size <= 16384


def test_the_shipped_model_says_the_same(tmp_path: Path) -> None:
    before = onnx.load(SHIPPED)
    after = minified(before)
    same(before, after, tmp_path)
    assert [entry.key for entry in after.metadata_props] == ["hsiedge.card"]
    assert after.metadata_props[0] == next(entry for entry in before.metadata_props if entry.key == "hsiedge.card")


def stranger() -> Any:
    """counts -> Add -> Clip without a lower bound -> MatMul -> logits, with all that a file may say beside."""
    initializers = {
        "one": np.ones(4, np.float32),
        "another_one": np.ones(4, np.float32),
        "unused": np.zeros(9, np.float32),
        "top": np.float32(200),
        "weight": np.arange(12, dtype=np.float32).reshape(4, 3),
        "bias": np.array([-1, 5, 900], np.int32),
        "bias_scale": np.float32(0.25),
        "nought": np.int32(0),
    }
    nodes = [
        helper.make_node("Add", ["a", "one"], ["sum"], name="add", doc_string="adds"),
        helper.make_node("Mul", ["sum", "another_one"], ["product"], name="mul"),
        helper.make_node("Clip", ["product", "", "top"], ["clipped"], name="clip"),
        helper.make_node("DequantizeLinear", ["bias", "bias_scale", "nought"], ["b"], name="dq", axis=1),
        helper.make_node("Gemm", ["clipped", "weight", "b"], ["logits"], name="layer", alpha=1.0, beta=0.5, transA=0),
    ]
    body = helper.make_graph(
        nodes,
        "stranger",
        [helper.make_tensor_value_info("a", TensorProto.FLOAT, ["N", 4])],
        [helper.make_tensor_value_info("logits", TensorProto.FLOAT, ["N", 3])],
        [numpy_helper.from_array(np.asarray(values), name) for name, values in initializers.items()],
        doc_string="a graph",
        value_info=[helper.make_tensor_value_info("sum", TensorProto.FLOAT, ["N", 4])],
    )
    opsets = [helper.make_opsetid("", 18), helper.make_opsetid("com.microsoft", 1)]
    model = helper.make_model(body, opset_imports=opsets, ir_version=10, producer_name="me", doc_string="a model")
    helper.set_model_props(model, {"author": "me", "onnx.infer": "onnxruntime.quant"})
    return model


def test_what_is_left_out(tmp_path: Path) -> None:
    before = stranger()
    after = minified(before)
    same(before, after, tmp_path)
    graph = after.graph
    assert [node.name for node in graph.node] == ["", "", "", "", "layer"]
    assert [entry.name for entry in graph.node[4].attribute] == ["beta"]
    assert list(graph.node[2].input)[1] == ""
    assert graph.node[0].input[1] == graph.node[1].input[1]
    assert len(graph.node[3].input) == 2
    assert len(graph.initializer) == 5
    assert "a" not in {name for node in graph.node for name in node.output}  # the name of an input is taken
    assert {len(name) for node in graph.node for name in node.output} == {1, len("logits")}
    assert [entry.key for entry in after.metadata_props] == ["author"]
    assert [entry.domain for entry in after.opset_import] == [""]
    assert b"add" not in after.SerializeToString()
    assert [list(graph.value_info), graph.doc_string, after.doc_string] == [[], "", ""]


def test_zero_points_that_are_not_zero_stay(tmp_path: Path) -> None:
    before = stranger()
    tensor = next(entry for entry in before.graph.initializer if entry.name == "nought")
    tensor.CopyFrom(numpy_helper.from_array(np.int8(0), "nought"))
    bias = next(entry for entry in before.graph.initializer if entry.name == "bias")
    bias.CopyFrom(numpy_helper.from_array(np.array([1, 2, 3], np.int8), "bias"))
    after = minified(before)
    same(before, after, tmp_path)
    assert len(after.graph.node[3].input) == 3  # 8 bits: weights or activations


def test_more_values_than_short_names(tmp_path: Path) -> None:
    before = stranger()
    nodes = list(before.graph.node)
    chain = [helper.make_node("Neg", [f"c{place}"], [f"c{place + 1}"]) for place in range(4000)]
    nodes[4].input[0] = "c4000"
    chain[0].input[0] = "clipped"
    del before.graph.node[:]
    before.graph.node.extend([*nodes[:4], *chain, nodes[4]])
    after = minified(before)
    values = [name for node in after.graph.node for name in node.output]
    assert len(set(values)) == len(values) == 4005
    np.testing.assert_array_equal(run(after, tmp_path)[0], run(before, tmp_path)[0])


def inner_graph(model: Any) -> None:
    branch = helper.make_graph(
        [helper.make_node("Identity", ["sum"], ["out"])],
        "then",
        [],
        [helper.make_tensor_value_info("out", TensorProto.FLOAT, None)],
    )
    model.graph.initializer.append(numpy_helper.from_array(np.array(True), "yes"))
    model.graph.node.insert(
        1, helper.make_node("If", ["yes"], ["chosen"], then_branch=branch, else_branch=copy.deepcopy(branch))
    )


def function(model: Any) -> None:
    model.functions.append(
        helper.make_function("own", "F", ["x"], ["y"], [helper.make_node("Neg", ["x"], ["y"])], model.opset_import)
    )


@pytest.mark.parametrize("change", [inner_graph, function])
def test_graphs_within_graphs_are_left_alone(change: Any) -> None:
    model = stranger()
    change(model)
    text = model.SerializeToString()
    assert minified(model).SerializeToString() == text


def test_operators_of_other_domains_keep_what_they_say(tmp_path: Path) -> None:
    before = stranger()
    before.graph.node[1].CopyFrom(
        helper.make_node("FusedMatMul", ["sum", "square"], ["product"], domain="com.microsoft", alpha=1.0, name="fused")
    )
    before.graph.initializer.append(numpy_helper.from_array(np.eye(4, dtype=np.float32), "square"))
    after = minified(before)
    assert [entry.domain for entry in after.opset_import] == ["", "com.microsoft"]
    assert [entry.name for entry in after.graph.node[1].attribute] == ["alpha"]
    np.testing.assert_array_equal(run(after, tmp_path)[0], run(before, tmp_path)[0])


def test_weights_that_are_inputs_too_keep_their_names(tmp_path: Path) -> None:
    before = stranger()
    before.graph.input.append(helper.make_tensor_value_info("another_one", TensorProto.FLOAT, [4]))
    after = minified(before)
    same(before, after, tmp_path)
    assert after.graph.node[1].input[1] == "another_one" != after.graph.node[0].input[1]
