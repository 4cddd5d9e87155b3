"""The native engine against onnxruntime in exact mode: each integer of each tensor, and labels of whole scenes."""

from __future__ import annotations

import re
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

onnx = pytest.importorskip("onnx", reason="onnx makes the nets of this test, and is not installed")
onnxruntime = pytest.importorskip("onnxruntime", reason="onnxruntime is what the engine is compared with")

from hsiedge.card import Card  # noqa: E402
from hsiedge.device import int8  # noqa: E402
from hsiedge.errors import ModelError, OptionError  # noqa: E402
from hsiedge.mapping.line_classifier import LineClassifier  # noqa: E402
from hsiedge.native import library  # noqa: E402
from hsiedge.native.library import KERNELS, LibraryMissingError, Network, Stream, is_available, kernel_sets  # noqa: E402
from hsiedge.native.program import Kind, Op, Tensor  # noqa: E402
from hsiedge.runtimes import load, require_card  # noqa: E402
from hsiedge.runtimes.input_affine import InputAffine  # noqa: E402
from hsiedge.runtimes.int8_weights import for_exact_mode  # noqa: E402
from hsiedge.runtimes.native_graph import lower  # noqa: E402
from hsiedge.runtimes.native_lowering import UnsupportedNodeError  # noqa: E402
from hsiedge.scenes.scene import Scene  # noqa: E402
from hsiedge.shipped import shipped  # noqa: E402
from tests.native.programs import small  # noqa: E402
from tests.native.quantized_nets import BANDS, CLASSES, NETS, NetBuilder, with_outputs  # noqa: E402

pytestmark = pytest.mark.skipif(not is_available(), reason="the native library was not built: there was no C compiler")
SETS = kernel_sets() if is_available() else []
REAL = (shipped("-int8-scene.onnx"), Path(__file__).with_name("data") / "student-int8-scene.onnx")


AXES = {
    "spectral": lambda shape: (0, 2, 3, 1),  # (rows, channels, columns, positions)
    "cubic": lambda shape: (2, 3, 0, 1),  # (positions, channels, rows, columns)
}
"""Order of the axes of onnxruntime's tensors that is the engine's, of nets that have their own."""


@pytest.fixture(scope="module")
def nets(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    folder = tmp_path_factory.mktemp("nets")
    return {name: make(folder / f"{name}.onnx") for name, make in NETS.items()}


def rows_for(card: Card, height: int, width: int, seed: int = 0) -> NDArray[np.uint16]:
    return np.random.default_rng(seed).integers(400, 800, (height, width, BANDS)).astype(np.uint16)


def exact_session(path: Path) -> onnxruntime.InferenceSession:
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    if int8.overflows_here():
        options.add_session_config_entry("session.x64quantprecision", "1")
    return onnxruntime.InferenceSession(for_exact_mode(path.read_bytes()), options, providers=["CPUExecutionProvider"])


@pytest.mark.parametrize("kernels", SETS)
@pytest.mark.parametrize("name", NETS)
def test_each_integer_is_that_of_onnxruntime(nets: dict[str, Path], tmp_path: Path, name: str, kernels: str) -> None:
    path, card = nets[name], require_card(nets[name])
    outputs = with_outputs(path, tmp_path / "outputs.onnx")
    height, width = card.patch + 6, card.patch + 22
    assert card.input_affine is not None
    rows = InputAffine(card.input_affine).of_rows(rows_for(card, height, width))
    logits, *tensors = exact_session(tmp_path / "outputs.onnx").run(None, {"counts": rows[None]})
    for output, expected in zip(outputs, tensors):
        program = lower(path, card, output=output).program
        network, halo = Network(program, kernels), program.radius
        stream = Stream(network, width - 2 * halo, left=halo, right=halo, above=0)
        integers = stream.push(rows, values=True)
        theirs = expected.transpose(AXES.get(name, lambda shape: (0, 2, 3, 1))(expected.shape))
        theirs = theirs.reshape(*integers.shape[:2], -1)
        offset = 128 if expected.dtype == np.int8 else 0
        assert np.array_equal(integers, theirs.astype(np.int32) + offset), output
    lowered = lower(path, card)
    stream = Stream(Network(lowered.program, kernels), width - 2 * card.radius, left=card.radius, right=card.radius, above=0)
    ours = lowered.logits(stream.push(rows, values=True)).transpose(2, 0, 1)
    assert np.allclose(ours, logits[0], rtol=1e-5, atol=1e-5 * np.abs(logits).max())
    assert np.array_equal(ours.argmax(0), logits[0].argmax(0))


@pytest.mark.parametrize("kernels", SETS)
@pytest.mark.parametrize("name", NETS)
@pytest.mark.parametrize("threads", [1, 2])
def test_any_cut_of_a_stream_gives_the_same_labels(
    nets: dict[str, Path], name: str, kernels: str, threads: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    path, card = nets[name], require_card(nets[name])
    monkeypatch.setenv(KERNELS, kernels)
    monkeypatch.setattr("hsiedge.runtimes.native._SMALLEST", 0)
    width = 2 * max(48, 4 * card.radius) + 5
    rows, rng = rows_for(card, card.patch + 5, width), np.random.default_rng(1)
    expected = LineClassifier(load(path, 1), width)
    model, theirs = load(path, threads, "native"), [expected.push(rows), expected.finish()]
    assert model.session.provider == kernels
    for pushes in ([1] * len(rows), [len(rows)], rng.integers(0, 6, 9).tolist()):
        ours, at = LineClassifier(model, width), 0
        labels = []
        for count in [*pushes, len(rows)]:
            labels.append(ours.push(rows[at : at + count]))
            at += len(rows[at : at + count])
        labels.append(ours.finish())
        assert np.array_equal(np.concatenate(labels), np.concatenate(theirs))


@pytest.mark.parametrize("kernels", SETS[:2])
@pytest.mark.parametrize("path", REAL, ids=("cnn2d", "student"))
def test_the_real_scene_is_labelled_alike(
    indian_pines: Scene, path: Path, kernels: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(KERNELS, kernels)
    cube = np.ascontiguousarray(indian_pines.cube)
    maps = []
    for runtime in ("ort", "native"):
        classifier = LineClassifier(load(path, 1, runtime), cube.shape[1])
        maps.append(np.concatenate([classifier.push(cube), classifier.finish()]))
    assert np.array_equal(*maps)
    assert (maps[0] == indian_pines.labels)[indian_pines.labels > 0].mean() > (0.9 if path == REAL[0] else 0.45)


def test_confidence_is_that_of_onnxruntime(nets: dict[str, Path]) -> None:
    path, card = nets["chain"], require_card(nets["chain"])
    rows = rows_for(card, 20, 40)
    theirs, ours = (LineClassifier(load(path, 1, runtime), 40, confident=True) for runtime in ("ort", "native"))
    assert np.array_equal(theirs.push(rows), ours.push(rows))
    assert theirs.confidence is not None
    assert ours.confidence is not None
    assert np.allclose(theirs.confidence, ours.confidence, atol=1e-6)


def test_the_narrowest_rows(nets: dict[str, Path]) -> None:
    card = require_card(nets["chain"])
    rows = rows_for(card, card.patch, card.patch)
    maps = []
    for runtime in ("ort", "native"):
        classifier = LineClassifier(load(nets["chain"], 1, runtime), card.patch)
        maps.append(np.concatenate([classifier.push(rows), classifier.finish()]))
    assert np.array_equal(*maps)


def test_what_no_kernel_computes_is_named(tmp_path: Path) -> None:
    net = NetBuilder(1).conv(8)
    net.function("Erf", 0.01, 100)
    path = net.finished(tmp_path / "erf.onnx")
    with pytest.raises(UnsupportedNodeError, match=r"does not compute Erf 'v\d+' \(no kernel for it\); onnxruntime does"):
        load(path, 1, "native")
    assert load(path, 1).session.runtime.startswith("onnxruntime")


@pytest.mark.parametrize("op", ["Shape", "Constant"])
def test_a_node_that_is_called_as_a_step_of_ours_is_refused(nets: dict[str, Path], tmp_path: Path, op: str) -> None:
    model = onnx.load(nets["chain"])
    node = next(node for node in model.graph.node if node.op_type == "Transpose")
    node.op_type = op
    del node.attribute[:]
    onnx.save(model, tmp_path / "odd.onnx")
    with pytest.raises(UnsupportedNodeError, match=rf"does not compute {op} .*\(no kernel for it\)"):
        lower(tmp_path / "odd.onnx", require_card(nets["chain"]))


def test_a_float_layer_is_named(tmp_path: Path) -> None:
    net = NetBuilder(1).conv(8)
    value = net.node("Conv", [net.real(), net.constant(np.ones((CLASSES, 8, 1, 1), np.float32))])
    with pytest.raises(UnsupportedNodeError, match=r"Conv 'v\d+' \(weights that are left in float\)"):
        load(net.saved(value, tmp_path / "float.onnx"), 1, "native")


@pytest.mark.parametrize("op", ["Conv", "QuantizeLinear", "Transpose", "AveragePool", "DequantizeLinear"])
def test_a_malformed_graph_is_refused_in_a_line(nets: dict[str, Path], tmp_path: Path, op: str) -> None:
    model = onnx.load(nets["chain"])
    node = next(node for node in reversed(model.graph.node) if node.op_type == op)
    del node.attribute[:]
    del node.input[1:]
    onnx.save(model, tmp_path / "broken.onnx")
    with pytest.raises(UnsupportedNodeError, match="native engine does not compute"):
        load(tmp_path / "broken.onnx", 1, "native")


def test_float_models_are_refused_in_a_line() -> None:
    with pytest.raises(UnsupportedNodeError, match="runs INT8 scene graphs that take integers"):
        load(shipped(".onnx"), 1, "native")


def test_rows_of_another_kind_are_refused(nets: dict[str, Path]) -> None:
    stream = Stream(Network(lower(nets["chain"], require_card(nets["chain"]), np.dtype(np.uint16)).program), 30)
    with pytest.raises(ModelError, match=re.escape("rows are (4, 29, 37), the network takes (n, 30, 37)")):
        stream.push(np.zeros((4, 29, BANDS), np.uint16))
    with pytest.raises(ModelError, match="takes no rows of complex64"):
        stream.push(np.zeros((4, 30, BANDS), np.complex64))
    with pytest.raises(ModelError, match="takes no rows of 3 pixels"):
        Stream(Network(lower(nets["chain"], require_card(nets["chain"])).program), 3)


def test_a_tensor_that_nobody_reads_does_not_look_far_back() -> None:
    """Its circle would be longer than 32 bits count."""
    program = small()
    table = Op(Kind.TABLE, 4, (1,), rows=(4096,), channels=6, table=np.arange(256, dtype=np.uint8))
    far = replace(program, tensors=[*program.tensors, Tensor(1, 6)], ops=[program.ops[0], table, *program.ops[1:]])
    Network(program)
    with pytest.raises(ModelError, match="looks back beyond the halo"):
        Network(far)


def test_numbers_beyond_32_bits_are_refused_in_a_line(nets: dict[str, Path], tmp_path: Path) -> None:
    model = onnx.load(nets["chain"])
    conv = next(node for node in model.graph.node if node.op_type == "Conv" and _sides(node) != [1, 1])
    for attribute in [entry for entry in conv.attribute if entry.name == "dilations"]:
        conv.attribute.remove(attribute)
    conv.attribute.append(onnx.helper.make_attribute("dilations", [1 << 40] * 2))
    onnx.save(model, tmp_path / "far.onnx")
    with pytest.raises(ModelError, match="32 bits"):
        load(tmp_path / "far.onnx", 1, "native")


def _sides(node: onnx.NodeProto) -> list[int]:
    return next((list(entry.ints) for entry in node.attribute if entry.name == "kernel_shape"), [])


def test_rows_wherever_they_lie(nets: dict[str, Path]) -> None:
    """Those of a buffer that begins at an odd byte are copied: C may not read them there."""
    card = require_card(nets["chain"])
    network = Network(lower(nets["chain"], card, np.dtype(np.uint16)).program)
    rows = rows_for(card, card.patch, 30)
    odd = np.ndarray(rows.shape, rows.dtype, bytearray(rows.nbytes + 1), 1)
    odd[:] = rows
    assert not odd.flags.aligned
    labels = [Stream(network, 30).push(values) for values in (rows, odd)]
    np.testing.assert_array_equal(*labels)


def test_a_stream_ends_once(nets: dict[str, Path]) -> None:
    card = require_card(nets["chain"])
    stream = Stream(Network(lower(nets["chain"], card, np.dtype(np.uint16)).program), 30)
    rows = rows_for(card, card.patch, 30)
    assert len(stream.push(rows)) + len(stream.finish()) == card.patch
    assert len(stream.finish()) == 0
    with pytest.raises(ModelError, match="rows after the end"):
        stream.push(rows)


def test_an_unknown_kernel_set(nets: dict[str, Path], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(KERNELS, "sse9")
    with pytest.raises(OptionError, match=r"this processor runs .*plain"):
        load(nets["chain"], 1, "native")


def test_without_the_library(nets: dict[str, Path], monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(library, "LIBRARY", tmp_path / "none.so")
    library.load_library.cache_clear()
    try:
        with pytest.raises(LibraryMissingError, match="was not built here"):
            load(nets["chain"], 1, "native")
        rows = rows_for(require_card(nets["chain"]), 3, 5)
        assert load(nets["chain"], 1).prepare(rows).shape == rows.shape  # numpy's pass
    finally:
        library.load_library.cache_clear()


@pytest.mark.parametrize(
    "dtype", ["uint8", "int8", "uint16", "int16", "uint32", "int32", "float32", "float64", "uint64", "int64"]
)
@pytest.mark.parametrize("signed", [False, True])
@pytest.mark.parametrize("step", [0.25, 0.2501])
def test_the_compiled_input_step_is_that_of_numpy(nets: dict[str, Path], dtype: str, signed: bool, step: float) -> None:
    card = require_card(nets["signed" if signed else "chain"])
    assert card.input_affine is not None
    affine = InputAffine(type(card.input_affine)(**{**vars(card.input_affine), "step": step}))
    rng, kind = np.random.default_rng(0), np.dtype(dtype)
    rows = rng.normal(500, 900, (5, 31, BANDS))
    if kind.kind == "f":
        rows = rows.astype(kind)
        rows[0, :3, 0] = np.nan, np.inf, -np.inf
    else:
        rows = np.clip(rows, *(float(v) for v in (np.iinfo(kind).min, np.iinfo(kind).max))).astype(kind)
    expected = np.empty(rows.shape, card.input_affine.dtype)
    with np.errstate(invalid="ignore"):
        affine.write_blocks(rows, expected)
    assert np.array_equal(affine.of_rows(rows), expected)
