"""Where 8-bit sums overflow, models run in exact mode, or say that their labels may differ.

This machine is told that its sums overflow: onnxruntime then makes weights unsigned on any x86, whatever kernels it has.
What a processor answers whose sums do overflow is tested in tests/arm/test_x86_without_vnni.py.
"""

from __future__ import annotations

import copy
import platform
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest

onnx = pytest.importorskip("onnx", reason="onnx makes the files of this test, and is not installed")

from hsiedge.device import int8  # noqa: E402
from hsiedge.errors import OptionError  # noqa: E402
from hsiedge.graphs.export.attach_card import rewrite  # noqa: E402
from hsiedge.graphs.export.ort import ort_file  # noqa: E402
from hsiedge.graphs.onnx_io import read_onnx  # noqa: E402
from hsiedge.graphs.quantization.quantize import quantize  # noqa: E402
from hsiedge.runtimes import load, read_card  # noqa: E402
from hsiedge.scenes.scene import Scene  # noqa: E402
from hsiedge.shipped import shipped  # noqa: E402
from tests.graphs.shared_weights import sharing  # noqa: E402

PIXELS = np.arange(0, 21025, 211)


@pytest.fixture
def overflowing(monkeypatch: pytest.MonkeyPatch) -> None:
    if platform.machine() not in int8.X86_MACHINES:
        pytest.skip("onnxruntime has its exact mode on x86 alone")
    monkeypatch.setattr(int8, "overflows_here", lambda: True)


@pytest.fixture
def safe(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(int8, "overflows_here", lambda: False)


@pytest.fixture
def old(tmp_path: Path) -> Path:
    """The shipped INT8 model as hsiedge 0.1.0 wrote it."""
    path = tmp_path / "old.onnx"
    onnx.save(sharing(read_onnx(shipped("-int8.onnx"))), path)
    return path


def test_no_mode_where_none_is_needed(safe: None) -> None:
    session = load(shipped("-int8.onnx")).session
    assert (session.exact_mode, session.overflows) == (False, False)


@pytest.mark.parametrize("suffix", ["-int8.onnx", "-int8-scene.onnx"])
def test_int8_is_opened_in_exact_mode(overflowing: None, suffix: str) -> None:
    model = load(shipped(suffix))
    assert (model.session.exact_mode, model.session.overflows, model.warnings) == (True, False, [])


def test_float_needs_no_mode(overflowing: None) -> None:
    session = load(shipped(".onnx")).session
    assert (session.exact_mode, session.overflows) == (False, False)


def test_fast_int8_is_warned_of(overflowing: None) -> None:
    model = load(shipped("-int8.onnx"), fast_int8=True)
    assert (model.session.exact_mode, model.session.overflows, model.fast_int8) == (False, True, True)
    assert model.warnings == ["8-bit sums may overflow on this CPU: labels may differ from those of others"]
    assert load(shipped(".onnx"), fast_int8=True).warnings == []


def test_an_older_file_is_mended_as_it_is_opened(overflowing: None, old: Path, indian_pines: Scene) -> None:
    """onnxruntime refuses it in exact mode as it is."""
    import onnxruntime

    with pytest.raises(Exception, match="Attempt to replace the existing tensor"):
        onnxruntime.InferenceSession(str(old), _exactly())
    before, model = old.read_bytes(), load(old)
    assert model.session.exact_mode
    assert old.read_bytes() == before
    expected = load(shipped("-int8.onnx")).logits_at(indian_pines, PIXELS)
    np.testing.assert_array_equal(model.logits_at(indian_pines, PIXELS), expected)


def test_weights_without_zero_points_are_given_them(overflowing: None, tmp_path: Path) -> None:
    """Where a layer's logits stay float, onnxruntime's exact mode opens the file as it is, and fails as it runs."""
    import onnxruntime

    from tests.native.quantized_nets import wide_first

    path = wide_first(tmp_path / "net.onnx")
    model = load(path)
    rows = np.random.default_rng(0).integers(0, 256, (1, 30, 40, 37)).astype(np.uint8)
    with pytest.raises(Exception, match="x_zero_point must be null or 1D"):
        onnxruntime.InferenceSession(str(path), _exactly()).run(None, {"counts": rows})
    logits = model.session.run([rows])
    assert model.session.exact_mode
    expected = onnxruntime.InferenceSession(str(path), _unfused()).run(None, {"counts": rows})[0]
    assert np.mean(logits.argmax(1) == expected.argmax(1)) > 0.97


def test_layers_that_share_weights_are_given_their_own(overflowing: None, tmp_path: Path) -> None:
    """As the steps of a loop do that was unrolled: onnxruntime refuses them in exact mode as they are."""
    import onnx
    import onnxruntime
    from onnx import TensorProto, helper, numpy_helper

    rng, path = np.random.default_rng(0), tmp_path / "loop.onnx"
    tensors = {"w": rng.integers(-127, 128, (8, 8)).astype(np.int8), "ws": np.full(8, 0.01, np.float32)}
    tensors |= {"s": np.float32(0.02), "z": np.uint8(128)}
    nodes = [helper.make_node("DequantizeLinear", ["w", "ws"], ["weights"], axis=1)]
    for step in range(3):
        before = f"y{step}"
        nodes += [
            helper.make_node("QuantizeLinear", [before, "s", "z"], [f"q{step}"]),
            helper.make_node("DequantizeLinear", [f"q{step}", "s", "z"], [f"d{step}"]),
            helper.make_node("MatMul", [f"d{step}", "weights"], [f"y{step + 1}"]),
        ]
    shape = [helper.make_tensor_value_info(name, TensorProto.FLOAT, [5, 8]) for name in ("y0", "y3")]
    initializers = [numpy_helper.from_array(np.asarray(array), name) for name, array in tensors.items()]
    graph = helper.make_graph(nodes, "loop", shape[:1], shape[1:], initializers)
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8), path)
    rows = rng.normal(size=(5, 8)).astype(np.float32)
    with pytest.raises(Exception, match=r"Attempt to replace|AddInitializer"):
        onnxruntime.InferenceSession(str(path), _exactly())
    session = load(path).session
    assert session.exact_mode
    expected = onnxruntime.InferenceSession(str(path), _unfused()).run(None, {"y0": rows})[0]
    np.testing.assert_allclose(session.run([rows]), expected, atol=0.1)  # an integer may be rounded otherwise


def _exactly() -> Any:
    """Options of onnxruntime's exact mode, without a word on what it refuses."""
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.log_severity_level = 4
    options.add_session_config_entry("session.x64quantprecision", "1")
    return options


def _unfused() -> Any:
    """Options under which onnxruntime computes each node in float, as it stands."""
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_DISABLE_ALL
    return options


def inside_an_if(model: Any) -> Any:
    """The graph as a branch of an If, which is taken whenever there is an input."""
    from onnx import TensorProto, helper, numpy_helper

    def branch(nodes: list[Any]) -> Any:
        named = [copy.deepcopy(node) for node in nodes]
        named[-1].output[0] = "inside"
        return helper.make_graph(named, "branch", [], [helper.make_tensor_value_info("inside", TensorProto.FLOAT, None)])

    changed = copy.deepcopy(model)
    other = [helper.make_node("Constant", [], ["none"], value=numpy_helper.from_array(np.zeros((1, 16), np.float32)))]
    choice = helper.make_node(
        "If", ["some"], [changed.graph.output[0].name], then_branch=branch(model.graph.node), else_branch=branch(other)
    )
    nodes = [
        helper.make_node("Size", [changed.graph.input[0].name], ["size"]),
        helper.make_node("Cast", ["size"], ["some"], to=TensorProto.BOOL),
        choice,
    ]
    del changed.graph.node[:]
    changed.graph.node.extend(nodes)
    return changed


def test_what_cannot_be_mended_is_warned_of_and_rewritten(overflowing: None, tmp_path: Path, indian_pines: Scene) -> None:
    """Layers inside of an If take tensors from outside: exact mode would not reach them, and say nothing."""
    model = inside_an_if(sharing(read_onnx(shipped("-int8.onnx"))))
    path, rewritten = tmp_path / "inner.onnx", tmp_path / "rewritten.onnx"
    onnx.save(model, path)
    with pytest.warns(UserWarning, match=rf"labels may differ from those of others; hsiedge card {path} .* writes it anew"):
        opened = load(path)
    assert (opened.session.exact_mode, opened.session.overflows) == (False, True)
    assert opened.warnings
    assert rewrite(path, rewritten) == opened.card
    mended = load(rewritten)
    assert mended.session.exact_mode
    expected = load(shipped("-int8.onnx")).logits_at(indian_pines, PIXELS)
    np.testing.assert_array_equal(mended.logits_at(indian_pines, PIXELS), expected)


@pytest.mark.slow
def test_seven_bits_need_no_mode(overflowing: None, indian_pines: Scene, tmp_path: Path) -> None:
    path = tmp_path / "avx2.onnx"
    quantize(shipped(".onnx"), indian_pines, path, "avx2", patches=200)
    session = load(path).session
    assert (session.exact_mode, session.overflows) == (False, False)


@pytest.mark.slow
def test_an_ort_file_is_exact_if_it_was_made_here(
    overflowing: None, indian_pines: Scene, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    here, elsewhere, floating = tmp_path / "here.ort", tmp_path / "elsewhere.ort", tmp_path / "float.ort"
    exported = ort_file(shipped("-int8.onnx"), indian_pines, here)
    ort_file(shipped(".onnx"), indian_pines, floating)
    with monkeypatch.context() as patch:
        patch.setattr(int8, "overflows_here", lambda: False)
        ort_file(shipped("-int8.onnx"), indian_pines, elsewhere)
    assert exported.lineage[-1].options == {"exact_int8": True}
    assert exported.checks[-1].figures == {"labels_differ": 0, "logit_difference": 0}
    card = read_card(elsewhere)
    assert card is not None
    assert card.lineage[-1].options == {}
    assert load(here).warnings == load(floating).warnings == []
    with pytest.warns(UserWarning, match="export it anew from its ONNX here"):
        model = load(elsewhere)
    assert model.warnings
    assert load(elsewhere, fast_int8=True).warnings


def test_of_a_runtime_without_such_a_mode(tmp_path: Path) -> None:
    pytest.importorskip("ai_edge_litert", reason="LiteRT is not installed")
    path = tmp_path / "model.tflite"
    shutil.copy(shipped("-int8.tflite"), path)
    with pytest.raises(OptionError, match="fast_int8: LiteRT has no exact mode to do without"):
        load(path, fast_int8=True)


def test_openvino(overflowing: None, indian_pines: Scene) -> None:
    """In exact mode it computes rounded values in float32: labels are onnxruntime's, but for ties of roundings."""
    pytest.importorskip("openvino", reason="OpenVINO is not installed")
    exact, fast = (load(shipped("-int8.onnx"), runtime="openvino", fast_int8=fast) for fast in (False, True))
    assert (exact.session.exact_mode, exact.warnings) == (True, [])
    assert (fast.session.exact_mode, len(fast.warnings)) == (False, 1)
    expected = load(shipped("-int8.onnx")).logits_at(indian_pines, PIXELS)
    logits = exact.logits_at(indian_pines, PIXELS)
    limit = 0.01 * np.ptp(expected)
    assert np.abs(logits - expected).max() < limit
    sure = np.diff(np.sort(expected, axis=1)[:, -2:], axis=1)[:, 0] > limit
    assert sure.mean() > 0.9
    np.testing.assert_array_equal(logits.argmax(1)[sure], expected.argmax(1)[sure])
    assert load(shipped(".onnx"), runtime="openvino").session.exact_mode is False
