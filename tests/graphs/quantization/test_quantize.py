"""Quantization: every net and recipe, on real pixels; who calibrates, who judges, and layers given back to float."""

from __future__ import annotations

import dataclasses
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime
import pytest

onnx = pytest.importorskip("onnx", reason="quantizing needs onnx")
pytest.importorskip("torch", reason="these tests train the nets that they quantize")
pytest.importorskip("tensorly", reason="Indian Pines comes with tensorly")

import onnx_ir as ir  # noqa: E402
from onnx_ir.passes import PassResult  # noqa: E402

from hsiedge import files  # noqa: E402
from hsiedge.errors import CheckError, ModelError, OptionError, SceneError, SplitError  # noqa: E402
from hsiedge.evaluation import evaluate, split_for  # noqa: E402
from hsiedge.graphs.edit import LAYERS  # noqa: E402
from hsiedge.graphs.onnx_io import read_onnx, write_onnx  # noqa: E402
from hsiedge.graphs.passes.float16_weights import Float16Weights  # noqa: E402
from hsiedge.graphs.quantization.calibration import choose_pixels  # noqa: E402
from hsiedge.graphs.quantization.judge import Judgement  # noqa: E402
from hsiedge.graphs.quantization.quantize import quantize  # noqa: E402
from hsiedge.graphs.quantization.recipes import RECIPES  # noqa: E402
from hsiedge.runtimes import load  # noqa: E402
from hsiedge.scenes.splits import TEST, TRAIN, VALIDATION  # noqa: E402
from tests import workstation  # noqa: E402

NETS = list(workstation.SMALL)


def initializers(path: Path) -> dict[str, np.ndarray[Any, Any]]:
    return {tensor.name: onnx.numpy_helper.to_array(tensor) for tensor in onnx.load(path).graph.initializer}


def layer_values(path: Path, layer: str) -> list[np.ndarray[Any, Any]]:
    """What is stored of a layer's weights in a QDQ graph: integers, scales, zero points."""
    graph, values = onnx.load(path).graph, initializers(path)
    weight = next(node for node in graph.node if node.name == layer).input[1]
    made_by = next(node for node in graph.node if weight in node.output)
    return [values[name] for name in made_by.input]


def kernels(path: Path, folder: Path) -> list[str]:
    """The operators that onnxruntime runs in the end."""
    options = onnxruntime.SessionOptions()
    options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_ENABLE_EXTENDED
    options.optimized_model_filepath = str(folder / "optimized.onnx")
    onnxruntime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])
    return [node.op_type for node in onnx.load(folder / "optimized.onnx").graph.node]


@pytest.mark.parametrize("net", NETS)
def test_int8_scores_what_float_scores(net: str) -> None:
    """Bar of the project: at most 0.3 points of OA on test pixels."""
    scene = workstation.scene()
    scores = []
    for path in (workstation.float_file(net), workstation.integer_file(net)):
        model = load(path)
        scores.append(evaluate(model.predict, scene, split_for(model.known, scene)).accuracy)
    assert scores[0].oa - scores[1].oa <= 0.3
    assert scores[0].kappa > 5  # the net has learnt something that could be lost


@pytest.mark.parametrize("net", NETS)
def test_every_layer_runs_in_integers(net: str, tmp_path: Path) -> None:
    path = workstation.integer_file(net)
    assert load(path).known.quantization.float_layers == []  # type: ignore[union-attr]
    names = kernels(path, tmp_path)
    assert not {"Conv", "FusedConv", "Gemm", "MatMul"} & set(names)
    count = sum(node.op_type in LAYERS for node in read_onnx(workstation.float_file(net)).graph.node)
    assert sum(kernel in ("QLinearConv", "QGemm", "QLinearMatMul", "MatMulIntegerToFloat") for kernel in names) == count


def test_weights_are_int8_by_channel_and_bands_are_scaled_first() -> None:
    path = workstation.integer_file("cnn2d")
    affine = load(path).known.input_affine
    spectral, scales = layer_values(path, "spectral")
    assert spectral.dtype == np.int8
    assert scales.shape == (spectral.shape[0],)
    assert affine is not None
    assert len(set(affine.scale)) > workstation.scene().bands / 10
    spread = np.asarray(workstation.scene().cube).reshape(-1, workstation.scene().bands).std(0)
    spread *= np.array(affine.scale) / affine.step
    assert spread.min() > 4  # steps of its own that the quietest band varies by; one scale over raw counts leaves it 0.4


@pytest.mark.parametrize("net", NETS)
def test_logits_are_float_and_hidden_layers_hand_on_integers(net: str) -> None:
    graph = onnx.load(workstation.integer_file(net)).graph
    makers = {output: node for node in graph.node for output in node.output}
    last = makers[graph.output[0].name]
    assert last.op_type == "Gemm"
    layers_in_it = [node for node in graph.node if node.op_type in ("Conv", "Gemm")]
    assert all(makers[node.input[0]].op_type == "DequantizeLinear" for node in layers_in_it)


def test_a_strangers_graph_that_ends_in_a_convolution_and_names_nothing(tmp_path: Path) -> None:
    """A fully convolutional head: every convolution but the last still hands on integers, and each is a layer of its own."""
    source = onnx.load(workstation.float_file("cnn2d"))
    graph = source.graph
    for name in ("mean", "view", "logits"):
        node = next(entry for entry in graph.node if name in entry.output)
        graph.node.remove(node)
    classifier = next(tensor for tensor in graph.initializer if tensor.name == "net.classifier.weight")
    values = onnx.numpy_helper.to_array(classifier)[:, :, None, None]
    classifier.CopyFrom(onnx.numpy_helper.from_array(np.ascontiguousarray(values), classifier.name))
    last = graph.node[-1].output[0]
    graph.node.append(onnx.helper.make_node("Conv", [last, "net.classifier.weight", "net.classifier.bias"], ["map"]))
    graph.node.append(onnx.helper.make_node("GlobalAveragePool", ["map"], ["pooled"]))
    graph.node.append(onnx.helper.make_node("Flatten", ["pooled"], ["logits"]))
    del graph.value_info[:]
    for node in graph.node:
        node.name = ""
    path = tmp_path / "stranger.onnx"
    write_onnx(path, source, load(workstation.float_file("cnn2d")).known)
    card = quantize(path, workstation.scene(), tmp_path / "int8.onnx", max_drop=5)
    assert card.quantization is not None
    assert card.quantization.float_layers == []
    assert kernels(tmp_path / "int8.onnx", tmp_path).count("QLinearConv") == 4


def test_avx2_keeps_weights_in_seven_bits() -> None:
    full, seven = (layer_values(workstation.integer_file("cnn2d", recipe), "spatial.0")[0] for recipe in ("default", "avx2"))
    assert np.abs(full.astype(int)).max() > 64
    assert np.abs(seven.astype(int)).max() <= 64


def test_tensorrt_is_symmetric_without_integer_biases() -> None:
    path = workstation.integer_file("cnn2d", "tensorrt")
    values = initializers(path)
    affine = load(path).known.input_affine
    assert affine is not None
    assert (affine.dtype, affine.zero_point) == ("int8", 0)
    nodes = [node for node in onnx.load(path).graph.node if node.op_type in ("QuantizeLinear", "DequantizeLinear")]
    assert all(len(node.input) == 3 for node in nodes if node.input[0] not in values)  # those of activations are all said
    points = [values[node.input[2]] for node in nodes if len(node.input) == 3]
    assert points
    assert all(value.dtype == np.int8 and not value.any() for value in points)
    assert not [name for name, value in values.items() if value.dtype == np.int32]


def test_float16_halves_the_file_and_keeps_the_labels() -> None:
    before, after = workstation.float_file("hybridsn"), workstation.integer_file("hybridsn", "float16")
    weights = sum(values.nbytes for name, values in initializers(before).items() if name.startswith("net."))
    assert before.stat().st_size - after.stat().st_size > 0.4 * weights  # the Casts take some bytes too
    card = load(after).known
    assert card.precision == "float16"
    assert card.quantization.agreement > 99  # type: ignore[union-attr]
    multiply = next(node for node in onnx.load(after).graph.node if node.op_type == "Mul")  # by each band's scale
    assert initializers(after)[multiply.input[1]].dtype == np.float32


def test_training_pixels_calibrate_and_validation_pixels_judge() -> None:
    scene, split = workstation.scene(), workstation.split()
    card = load(workstation.float_file("cnn2d")).known
    pixels = choose_pixels(scene, card, 160, 0)
    parts = split.parts.ravel()
    assert (parts[pixels.calibration] == TRAIN).all()
    assert set(pixels.judging) == set(split.pixels(VALIDATION))
    counts = np.bincount(scene.labelled().ravel()[pixels.calibration], minlength=17)[1:]
    assert counts.max() - counts[counts > 3].min() <= 12  # tiny classes give all they have, the others share evenly
    assert counts.min() == 3
    assert len(pixels.calibration) == 160
    assert not np.array_equal(pixels.calibration, choose_pixels(scene, card, 160, 1).calibration)
    np.testing.assert_array_equal(pixels.calibration, choose_pixels(scene, card, 160, 0).calibration)


def test_an_unlabelled_cube_is_judged_by_agreement(tmp_path: Path) -> None:
    flight = dataclasses.replace(workstation.corner(), name="flight", labels=None, classes={})
    card = quantize(workstation.float_file("cnn2d"), flight, tmp_path / "a.onnx", max_drop=5)
    quantization = card.quantization
    assert quantization is not None
    assert quantization.oa_float is None
    assert quantization.oa_int8 is None
    assert 95 < quantization.agreement <= 100
    pixels = choose_pixels(flight, load(workstation.float_file("cnn2d")).known, 500, 0)
    assert not set(pixels.calibration) & set(pixels.judging)
    assert pixels.truth is None


def test_pixels_near_nodata_neither_calibrate_nor_judge() -> None:
    cube = np.array(workstation.corner().cube)
    cube[:, 20:] = 65535
    flight = dataclasses.replace(workstation.corner(), name="flight", cube=cube, labels=None, classes={}, nodata=65535.0)
    card = load(workstation.float_file("cnn2d")).known
    pixels = choose_pixels(flight, card, 300, 0)
    everything = np.concatenate([pixels.calibration, pixels.judging])
    assert len(everything) > 200
    assert (everything % 48 < 20 - card.radius).all()


def test_fewer_patches_than_are_held_out(tmp_path: Path) -> None:
    flight = dataclasses.replace(workstation.corner(), name="flight", labels=None, classes={})
    pixels = choose_pixels(flight, load(workstation.float_file("cnn2d")).known, 60, 0)
    assert len(pixels.calibration) == 60


def test_the_models_own_cube_without_its_labels_is_refused(tmp_path: Path) -> None:
    bare = dataclasses.replace(workstation.scene(), labels=None, classes={})
    with pytest.raises(SceneError, match="give its labels"):
        quantize(workstation.float_file("cnn2d"), bare, tmp_path / "a.onnx")


def test_a_model_none_of_whose_layers_can_be_integer_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Judgement, "holds", lambda self, max_drop: False)
    with pytest.raises(CheckError, match="no layer can be integer"):
        quantize(workstation.float_file("cnn1d"), workstation.scene(), tmp_path / "a.onnx")
    assert list(tmp_path.iterdir()) == []


def test_sensitive_layers_go_back_to_float(tmp_path: Path) -> None:
    """One channel of a layer is blown up and the next layer shrunk to match: exact in float, ruin for one scale a tensor."""
    scene = workstation.scene()
    source = workstation.float_file("cnn2d")
    graph = read_onnx(source)
    factor = np.float32(3000)
    for name, where in (
        ("net.spectral.weight", np.s_[0]),
        ("net.spectral.weight_bias", np.s_[0]),
        ("net.spatial.0.weight", np.s_[:, 0]),
    ):
        tensor = next(entry for entry in graph.graph.initializer if entry.name == name)
        values = onnx.numpy_helper.to_array(tensor).copy()
        values[where] = values[where] / factor if "spatial" in name else values[where] * factor
        tensor.CopyFrom(onnx.numpy_helper.from_array(values, name))
    hurt = tmp_path / "hurt.onnx"
    write_onnx(hurt, graph, load(source).known)
    card = quantize(hurt, scene, tmp_path / "int8.onnx", max_drop=0.5, explain=True)
    quantization = card.quantization
    assert quantization is not None
    assert "spatial.0" in quantization.float_layers or "spectral" in quantization.float_layers
    assert len(quantization.float_layers) < 4
    assert quantization.oa_float is not None
    assert quantization.oa_int8 is not None
    assert quantization.oa_float - quantization.oa_int8 <= 0.5
    assert min(quantization.layer_snr_db, key=lambda name: quantization.layer_snr_db[name]) in quantization.float_layers
    names = kernels(tmp_path / "int8.onnx", tmp_path)
    assert "QLinearConv" in names or "QGemm" in names
    assert {"Conv", "FusedConv"} & set(names)


def test_a_result_that_loses_too_much_is_not_written(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Float16Weights, "call", _without_classifier)
    with pytest.raises(CheckError, match="nothing was written"):
        quantize(workstation.float_file("cnn2d"), workstation.scene(), tmp_path / "a.onnx", "float16")
    assert list(tmp_path.iterdir()) == []


def _without_classifier(_: Float16Weights, model: Any) -> PassResult:
    weight = model.graph.initializers["net.classifier.weight"]
    weight.const_value = ir.tensor(weight.const_value.numpy() * 0, name=weight.name)
    return PassResult(model, True)


def test_it_repeats(tmp_path: Path) -> None:
    """Same file but for the times in the Card."""
    paths = [tmp_path / f"again-{turn}.onnx" for turn in (0, 1)]
    for path in paths:
        quantize(workstation.float_file("cnn1d"), workstation.scene(), path, max_drop=5)
    ours, theirs = (onnx.load(path) for path in paths)
    assert ours.graph == theirs.graph


def test_lineage() -> None:
    card = load(workstation.integer_file("cnn2d")).known
    assert [step.step for step in card.lineage] == ["train", "export", "quantize"]
    assert card.lineage[-1].parent == files.digest(workstation.float_file("cnn2d"))
    assert card.quantization.options == vars(RECIPES["default"])  # type: ignore[union-attr]


def test_errors(tmp_path: Path) -> None:
    scene, path, out = workstation.scene(), workstation.float_file("cnn2d"), tmp_path / "a.onnx"
    with pytest.raises(OptionError, match="no recipe"):
        quantize(path, scene, out, "nope")
    with pytest.raises(OptionError):
        quantize(path, scene, out, patches=0)
    with pytest.raises(ModelError, match="quantized already"):
        quantize(workstation.integer_file("cnn2d"), scene, out)
    narrow = dataclasses.replace(scene, cube=scene.cube[:, :, :100])
    with pytest.raises(ModelError, match="takes 200 bands"):
        quantize(path, narrow, out)
    shuffled = dataclasses.replace(scene, labels=scene.labelled()[::-1])
    with pytest.raises(SplitError, match="not the labels"):
        quantize(path, shuffled, out)
    altered = dataclasses.replace(scene, cube=np.asarray(scene.cube) + np.uint16(1))
    with pytest.raises(ModelError, match="not the cube"):
        quantize(path, altered, out)
    assert list(tmp_path.iterdir()) == []
    assert (workstation.split().parts == TEST).any()


MEASURE = """
import sys, warnings
from pathlib import Path
import onnxruntime.quantization
from hsiedge.graphs.quantization.quantize import quantize
from hsiedge.scenes.open import open_scene

def peak():
    return int(next(line for line in open("/proc/self/status") if line.startswith("VmHWM")).split()[1])

model, cube, output, count = sys.argv[1:]
scene = open_scene(cube)
quantize(model, scene, output, patches=200, max_drop=100)
before = peak()
card = quantize(model, scene, output, patches=int(count), max_drop=100)
print(card.quantization.calibration["patches"], peak() - before)
"""


def test_memory_does_not_grow_with_the_number_of_patches(shared: Path, tmp_path: Path) -> None:
    """200 and 20,000 patches of 103 bands, 7 x 7: 20,000 of them at once would be 390 MiB as float32."""
    from hsiedge.graphs.export.checkpoint import export
    from hsiedge.scenes.io.cube import SceneWarning
    from hsiedge.scenes.open import open_scene
    from hsiedge.scenes.splits import draw
    from hsiedge.training.fit import FitSettings
    from hsiedge.training.train import train

    with pytest.warns(SceneWarning):
        pavia = open_scene("pavia", data_dir=shared / "data" / "pavia_simulated")
    trained = train(pavia, draw("random", pavia, 0, 0.01), "cnn2d", 7, FitSettings(epochs=6), widths=(8, 8))
    export(trained, pavia, tmp_path / "pavia.onnx")
    np.save(tmp_path / "flight.npy", pavia.cube[1:])  # another cube, so that no labels are asked for
    arguments = [str(tmp_path / name) for name in ("pavia.onnx", "flight.npy", "int8.onnx")]
    done = subprocess.run(
        [sys.executable, "-c", MEASURE, *arguments, "20000"], capture_output=True, text=True, check=True, timeout=120
    )
    patches, growth = map(int, done.stdout.split())
    assert patches == 20000
    print(f"20,000 patches: {growth} KiB more than 200")
    assert growth < 60 * 1024
