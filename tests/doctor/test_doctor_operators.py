"""Operators and types of models, against what the graphs themselves hold."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from hsiedge.doctor import Operators, operators_of
from hsiedge.doctor.operators import write_config
from hsiedge.errors import MissingExtraError, ModelError, OptionError
from hsiedge.runtimes.tflite_file import graph_of, with_card
from hsiedge.shipped import shipped

DATA = Path(__file__).parents[1] / "benchmark" / "data"


def kinds(operators: Operators) -> tuple[set[str], set[str]]:
    is_, runs = ({f"{entry.domain}.{entry.name}" for entry in part} for part in (operators.as_it_is, operators.as_it_runs))
    return is_, runs


def test_as_it_is_are_the_files_own() -> None:
    onnx = pytest.importorskip("onnx", reason="onnx reads the graph to compare with, and is not installed")
    for suffix in (".onnx", "-int8.onnx", "-int8-scene.onnx"):
        path = shipped(suffix)
        wanted = {node.op_type for node in onnx.load(path).graph.node}
        operators = kinds(operators_of(path))[0]
        # onnxruntime always replaces Constant nodes and drops Identity: they need no kernel.
        assert {name.removeprefix("ai.onnx.") for name in operators} == wanted - {"Constant", "Identity"}, suffix


def test_integer_layers_are_fused_into_onnxruntimes_own() -> None:
    plain, fused = kinds(operators_of(shipped("-int8.onnx")))
    assert "ai.onnx.Conv" in plain
    assert "com.microsoft.QLinearConv" in fused - plain
    assert "ai.onnx.Conv" not in fused


def test_types() -> None:
    operators = {entry.name: entry for entry in operators_of(shipped("-int8.onnx")).as_it_runs}
    assert operators["QLinearConv"].types == {"inputs": {"0": ["uint8_t"]}}
    assert operators["QuantizeLinear"].types == {"outputs": {"0": ["uint8_t"]}}
    cast = {entry.name: entry for entry in operators_of(shipped(".onnx")).as_it_is}["Cast"]
    assert cast.types == {"inputs": {"0": ["uint16_t"]}, "outputs": {"0": ["float"]}}


def test_ort_format(tmp_path: Path) -> None:
    """A file in ORT format is itself what a reduced build loads: the same operators as those of its ONNX, optimized."""
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.optimized_model_filepath = str(tmp_path / "int8.ort")
    options.add_session_config_entry("session.save_model_format", "ORT")
    source = shipped("-int8.onnx")
    onnxruntime.InferenceSession(
        str(source), options, providers=["CPUExecutionProvider"], disabled_optimizers=["NchwcTransformer"]
    )
    operators = operators_of(tmp_path / "int8.ort")
    assert operators.as_it_is == operators.as_it_runs == operators_of(source).as_it_runs
    (tmp_path / "broken.ort").write_bytes((tmp_path / "int8.ort").read_bytes()[:300])
    with pytest.raises(ModelError, match="ORT format"):
        operators_of(tmp_path / "broken.ort")


def test_onnxruntimes_own_parser_takes_the_config(tmp_path: Path) -> None:
    from onnxruntime.tools.reduced_build_config_parser import parse_config

    operators = operators_of(shipped("-int8.onnx"))
    write_config(operators, tmp_path / "ops.config")
    required, types = parse_config(str(tmp_path / "ops.config"), enable_type_reduction=True)
    assert "QLinearConv" in required["com.microsoft"][1]
    assert {"Conv", "ReduceMean"} <= {name for version in required["ai.onnx"].values() for name in version}
    assert types is not None


def test_tflite() -> None:
    pytest.importorskip("ai_edge_litert", reason="LiteRT is not installed")
    operators = operators_of(shipped("-int8.tflite"))
    convolution = next(entry for entry in operators.as_it_is if entry.name == "CONV_2D")
    assert convolution.builtin
    assert convolution.types["inputs"] == {"0": ["int8"], "1": ["int8"], "2": ["int32"]}
    assert operators.as_it_is == operators.as_it_runs
    with pytest.raises(OptionError, match="no model of onnxruntime"):
        write_config(operators, Path("ops.config"))


def test_tflite_operators_are_those_that_litert_runs() -> None:
    pytest.importorskip("ai_edge_litert", reason="LiteRT is not installed")
    from ai_edge_litert.interpreter import Interpreter, OpResolverType

    path = shipped("-int8-scene.tflite")
    plain = Interpreter(str(path), experimental_op_resolver_type=OpResolverType.BUILTIN_WITHOUT_DEFAULT_DELEGATES)
    runs = {entry["op_name"] for entry in plain._get_ops_details()}
    used = {entry.name for entry in operators_of(path).as_it_is if entry.types}
    assert used == runs


def test_broken_files(tmp_path: Path) -> None:
    for name, content in (("a.onnx", b"nothing"), ("b.txt", b""), ("c.ort", b"xxxxORTMxxxxxxxx")):
        (tmp_path / name).write_bytes(content)
        with pytest.raises(ModelError, match=name):
            operators_of(tmp_path / name)
    with pytest.raises(ModelError, match="no such file"):
        operators_of(tmp_path / "none.onnx")


def test_broken_tflite(tmp_path: Path) -> None:
    pytest.importorskip("ai_edge_litert", reason="LiteRT is not installed")
    graph = graph_of(shipped("-int8.tflite"))
    for content in (b"", b"\x10\0\0\0TFL3", graph[:400], b"\xff" * 4 + graph[4:], with_card(graph[:64], "{}")):
        (tmp_path / "broken.tflite").write_bytes(content)
        with pytest.raises(ModelError, match=r"broken\.tflite"):
            operators_of(tmp_path / "broken.tflite")


def test_without_litert(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "ai_edge_litert", None)
    with pytest.raises(MissingExtraError, match=r"hsiedge\[litert\]"):
        operators_of(shipped("-int8.tflite"))


def test_without_flatbuffers() -> None:
    program = (
        "import sys; sys.modules['flatbuffers'] = None\n"
        "from hsiedge.doctor import operators_of\n"
        "from hsiedge.errors import ModelError\n"
        f"try: operators_of({str(DATA / 'float.onnx')!r})\n"
        "except ModelError as error: print(error)\n"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert "flatbuffers" in done.stdout
    assert "pip install" in done.stdout
