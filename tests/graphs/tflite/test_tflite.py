"""TFLite files: the labels of the ONNX model, float and as integers all through, of our nets and of anyone's."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import numpy as np
import pytest

pytest.importorskip("torch", reason="the nets are trained with torch")
pytest.importorskip("tensorflow", reason="TFLite files are made with TensorFlow")

from onnx import TensorProto, helper, numpy_helper

from hsiedge.errors import CheckError, ModelError, OptionError
from hsiedge.graphs.onnx_io import name_nodes, read_onnx
from hsiedge.graphs.passes import apply
from hsiedge.graphs.passes.conv3d_to_conv2d import Conv3dToConv2d
from hsiedge.graphs.quantization.quantize import quantize
from hsiedge.graphs.scene_graph.densify import densify
from hsiedge.graphs.tflite import convert
from hsiedge.graphs.tflite.convert import tflite
from hsiedge.graphs.tflite.lower import Start, converted, lowered
from hsiedge.runtimes import load
from hsiedge.runtimes.litert import LitertSession
from tests import workstation
from tests.graphs import strangers

EVERYWHERE = np.arange(0, 145 * 145, 5)


def file_of(net: str, kind: str) -> Path:
    return workstation.float_file(net) if kind == "patch" else workstation.scene_file(net)


@pytest.mark.parametrize("kind", ["patch", "scene"])
@pytest.mark.parametrize("net", list(workstation.SMALL))
def test_float_files_give_the_same_labels(net: str, kind: str, tmp_path: Path) -> None:
    source, path = load(file_of(net, kind)), tmp_path / "a.tflite"
    card = tflite(source.path, workstation.scene(), path)
    lite = load(path)
    assert lite.known == card
    assert lite.takes_rows
    check = card.checks[-1]
    assert (check.step, check.against, check.patches) == ("tflite", "ONNX", 512)
    assert check.figures["labels_differ"] == 0
    assert check.figures["logit_difference"] < 1e-5
    corner = workstation.corner(20)  # of another width than the tile
    ours, theirs = (model.logits_at(corner, np.arange(400)) for model in (lite, source))
    assert np.abs(ours - theirs).max() < 1e-5 * np.ptp(theirs)
    np.testing.assert_array_equal(ours.argmax(1), theirs.argmax(1))


@pytest.mark.parametrize("kind", ["patch", "scene"])
@pytest.mark.parametrize("net", list(workstation.SMALL))
def test_integer_files_are_integer_all_through(net: str, kind: str, tmp_path: Path) -> None:
    source, path = load(file_of(net, kind)), tmp_path / "a-int8.tflite"
    card = quantize(source.path, workstation.scene(), path, max_drop=5)
    lite = load(path)
    session = lite.session
    assert isinstance(session, LitertSession)
    assert session.inputs[0].dtype == np.int8
    tensors = {str(np.dtype(entry["dtype"])) for entry in session._interpreter.get_tensor_details()}
    assert tensors <= {"int8", "int32"}, tensors  # biases, and shapes
    affine = card.input_affine
    assert affine is not None
    assert (np.float32(affine.step), affine.zero_point) == session.scales[0]
    assert card.precision == "int8"
    assert card.quantization is not None
    assert card.quantization.options["activations"] == "int8"
    scene = workstation.scene()
    agreement = float((lite.predict(scene, EVERYWHERE) == source.predict(scene, EVERYWHERE)).mean())
    assert agreement > 0.95
    assert path.stat().st_size < source.path.stat().st_size


def test_halves_of_weights(tmp_path: Path) -> None:
    source, path = workstation.float_file("cnn2d"), tmp_path / "a-float16.tflite"
    card = quantize(source, workstation.scene(), path, "float16")
    assert card.precision == "float16"
    assert path.stat().st_size < 0.6 * source.stat().st_size
    scene = workstation.scene()
    agreement = float((load(path).predict(scene, EVERYWHERE) == load(source).predict(scene, EVERYWHERE)).mean())
    assert agreement >= 0.999  # 0.996 where offsets, too, have 11 bits


@pytest.mark.parametrize("tile", [(1, 1), (7, 33), (200, 160)])
def test_a_tile_of_any_size_gives_the_same_labels(tile: tuple[int, int], tmp_path: Path) -> None:
    path = tmp_path / "a.tflite"
    tflite(workstation.scene_file("cnn2d"), workstation.scene(), path, tile)
    lite, corner = load(path), workstation.corner(20)
    assert lite.tile == tile
    np.testing.assert_array_equal(
        lite.predict(corner, np.arange(400)), load(workstation.scene_file("cnn2d")).predict(corner, np.arange(400))
    )


def test_what_is_made_twice_is_the_same(tmp_path: Path) -> None:
    paths = [tmp_path / "a.tflite", tmp_path / "b.tflite"]
    for path in paths:
        quantize(workstation.scene_file("dscnn"), workstation.scene(), path, max_drop=5)
    graphs = [path.read_bytes()[: path.read_bytes().rindex(b"PK\x03\x04")] for path in paths]
    assert graphs[0] == graphs[1]


@pytest.mark.parametrize(
    ("kind", "patch", "as_patches"),
    [
        (strangers.Residual, 9, True),
        (strangers.Branches, 9, True),
        (strangers.Weighed, 5, True),
        (strangers.ChannelsLast, 9, True),
        (strangers.Pooled3d, 7, False),
        (strangers.SpectrumLast, 5, True),
        (strangers.Spectral, 5, False),
        (strangers.FoundSecond, 5, True),
        (strangers.Summed, 7, True),
        (strangers.Padded, 5, True),
    ],
)
def test_anyones_nets(kind: type, patch: int, as_patches: bool, tmp_path: Path) -> None:
    model, size = strangers.stranger(kind, patch), (6, 9)
    if as_patches:
        tensor = strangers.patches_of(strangers.scene(patch, *size), patch, *size)
        agree(apply(name_nodes(model), Conv3dToConv2d()), model, tensor, True, tmp_path)
    if kind not in (strangers.FoundSecond, strangers.Padded):  # which have no scene graph
        graph = densify(model)
        agree(graph.model, graph.model, strangers.scene(graph.patch, *size), False, tmp_path)


def agree(graph, model, tensor: np.ndarray, batched: bool, folder: Path) -> None:
    start = Start(graph.graph.input[0].name, tensor.shape[1], *tensor.shape[2:], batched)
    path = folder / "stranger.tflite"
    path.write_bytes(converted(lowered(graph, start, None), "float32"))
    ours = LitertSession(path, 1).run([np.ascontiguousarray(tensor.transpose(0, 2, 3, 1))])
    theirs = strangers.run(model, tensor)
    assert ours.shape == theirs.shape
    assert np.abs(ours - theirs).max() < 1e-5 * np.ptp(theirs)


def small(*nodes, constants: dict[str, np.ndarray] | None = None, name: str = "y"):
    """A graph of `(N, 4, 5, 5)` that ends in a convolution's place; its output is `name`."""
    graph = helper.make_graph(
        list(nodes),
        "g",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, ["N", 4, 5, 5])],
        [helper.make_tensor_value_info(name, TensorProto.FLOAT, None)],
        [numpy_helper.from_array(value, key) for key, value in (constants or {}).items()],
    )
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=10)


@pytest.mark.parametrize(
    ("node", "constants"),
    [
        (helper.make_node("MaxPool", ["x"], ["y"], kernel_shape=[2, 2], dilations=[2, 1], strides=[1, 2]), {}),
        (helper.make_node("AveragePool", ["x"], ["y"], kernel_shape=[2, 3], strides=[2, 1]), {}),
        (
            helper.make_node("Conv", ["x", "w"], ["y"], group=2, pads=[1, 0, 0, 2], strides=[2, 1], dilations=[1, 2]),
            {"w": (6, 2, 2, 2)},
        ),
        (helper.make_node("Conv", ["x", "w"], ["y"], group=4), {"w": (8, 1, 3, 3)}),
        (helper.make_node("Conv", ["x", "w"], ["y"], auto_pad="SAME_UPPER", strides=[2, 1]), {"w": (6, 4, 2, 3)}),
        (helper.make_node("Conv", ["x", "w"], ["y"], auto_pad="SAME_LOWER"), {"w": (6, 4, 2, 2)}),
        (helper.make_node("Pad", ["x", "a", "", "b"], ["y"]), {"a": [1, 0, 2, 3], "b": [-1, 1]}),
        (helper.make_node("Clip", ["x", "", "w"], ["y"]), {"w": ()}),
        (helper.make_node("Slice", ["x", "a", "b", "c", "d"], ["y"]), {"a": [-4], "b": [99], "c": [3], "d": [2]}),
        (helper.make_node("Gather", ["x", "a"], ["y"], axis=1), {"a": [3, 0, 0]}),
        (helper.make_node("Softmax", ["x"], ["y"], axis=1), {}),
        (helper.make_node("ReduceMax", ["x", "a"], ["y"], keepdims=0), {"a": [1, -1]}),
        (helper.make_node("Sub", ["w", "x"], ["y"]), {"w": (4, 1, 5)}),
        (helper.make_node("Transpose", ["x"], ["y"], perm=[0, 3, 1, 2]), {}),
    ],
    ids=lambda entry: getattr(entry, "op_type", ""),
)
def test_operators_of_others(node, constants, tmp_path: Path) -> None:
    rng = np.random.default_rng(2)
    values = {
        key: np.array(shape, np.int64) if isinstance(shape, list) else rng.normal(size=shape).astype(np.float32)
        for key, shape in constants.items()
    }
    model = small(node, constants=values)
    agree(model, model, rng.normal(size=(3, 4, 5, 5)).astype(np.float32), True, tmp_path)


@pytest.mark.parametrize(
    ("node", "opset"),
    [
        (helper.make_node("Clip", ["x"], ["y"], min=-0.5, max=0.25), 7),
        (helper.make_node("ReduceMean", ["x"], ["y"], axes=[-1, 1], keepdims=0), 11),
        (helper.make_node("Slice", ["x"], ["y"], starts=[1], ends=[-1], axes=[2]), 9),
        (helper.make_node("Unsqueeze", ["x"], ["y"], axes=[-1]), 11),
        (helper.make_node("Pad", ["x"], ["y"], pads=[0, 0, 1, 0, 0, 2, 0, 1]), 10),
    ],
    ids=lambda entry: getattr(entry, "op_type", ""),
)
def test_operators_of_older_opsets(node, opset: int, tmp_path: Path) -> None:
    model = small(node)
    model.opset_import[0].version = opset
    agree(model, model, np.random.default_rng(2).normal(size=(3, 4, 5, 5)).astype(np.float32), True, tmp_path)


def test_a_scene_graph_with_limits(tmp_path: Path) -> None:
    """Limits are numbers without axes: ONNX has them so, and TensorFlow takes them so."""
    tail = [helper.make_node("Conv", ["c", "w"], ["z"]), helper.make_node("Flatten", ["z"], ["y"])]
    constants = {"low": np.float32(0), "high": np.float32(6), "w": np.ones((3, 4, 5, 5), np.float32)}
    graph = densify(small(helper.make_node("Clip", ["x", "low", "high"], ["c"]), *tail, constants=constants))
    assert [list(tensor.dims) for tensor in graph.model.graph.initializer if not tensor.dims] == [[], []]
    strip = np.random.default_rng(2).normal(size=(1, 4, 8, 9)).astype(np.float32)
    agree(graph.model, graph.model, strip, False, tmp_path)


@pytest.mark.parametrize(
    ("nodes", "constants", "words"),
    [
        ([helper.make_node("LRN", ["x"], ["y"], name="odd", size=3)], {}, r"node odd \(LRN\): not among the operators"),
        (
            [helper.make_node("MaxPool", ["x"], ["y"], name="p", kernel_shape=[3, 3], pads=[1, 1, 1, 1])],
            {},
            r"node p .*padding",
        ),
        ([helper.make_node("Reshape", ["x", "s"], ["y"], name="r")], {"s": np.array([-1, 7])}, r"node r \(Reshape\): reshapes"),
        ([helper.make_node("ReduceMean", ["x", "s"], ["y"], name="m")], {"s": np.array([0])}, r"node m .*over the patches"),
        ([helper.make_node("Cast", ["x"], ["y"], name="c", to=TensorProto.INT32)], {}, r"node c \(Cast\): casts"),
    ],
)
def test_what_is_not_lowered_is_named(nodes, constants, words: str) -> None:
    with pytest.raises(ModelError, match=words):
        converted(lowered(small(*nodes, constants=constants), Start("x", 4, 5, 5, True), None), "float32")


def test_a_graph_that_is_another_is_not_written(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    source, path = workstation.float_file("cnn2d"), tmp_path / "a.tflite"
    whole = convert.float_graph

    def broken(graph, *rest):
        bias = next(tensor for tensor in graph.graph.initializer if tensor.name.endswith("classifier.bias"))
        values = numpy_helper.to_array(bias).copy()
        values[3] += 5
        bias.CopyFrom(numpy_helper.from_array(values, bias.name))
        return whole(graph, *rest)

    monkeypatch.setattr(convert, "float_graph", broken)
    with pytest.raises(CheckError, match=r"the \.tflite file is not the net: \d+ of 512 labels differ"):
        tflite(source, workstation.scene(), path)
    assert not path.exists()


def test_too_great_a_loss_is_not_written(tmp_path: Path) -> None:
    """Half of the channels are 1e8 times as large as the others, and what takes them as much smaller; float32 has no loss."""
    path = tmp_path / "a-int8.tflite"
    source = tmp_path / "worse.onnx"
    large = np.where(np.arange(24) < 12, 1e8, 1)
    changes = {
        "spatial.0.weight": large[:, None, None, None],
        "spatial.0.weight_bias": large,
        "spatial.1.weight": 1 / large[:, None, None],
    }
    worsened(changes, source)
    with pytest.raises(CheckError, match="float16: too much is lost"):
        quantize(source, workstation.scene(), path, max_drop=0.5)
    assert not path.exists()


def test_float16_where_integers_lose_too_much(tmp_path: Path) -> None:
    """One weight takes all steps of its channel."""
    one = np.ones((24, 24, 3, 3))
    one[:, 0, 0, 0] = 3000
    worsened({"spatial.0.weight": one}, tmp_path / "worse.onnx")
    card = quantize(tmp_path / "worse.onnx", workstation.scene(), tmp_path / "a.tflite", max_drop=0.5)
    assert card.precision == "float16"
    assert card.lineage[-1].options["integers"].startswith("too much is lost (OA ")
    assert load(tmp_path / "a.tflite").session.inputs[0].dtype == np.float32


def worsened(factors: dict[str, np.ndarray], path: Path) -> None:
    """The net `cnn2d` with some of its weights multiplied."""
    graph = read_onnx(workstation.float_file("cnn2d"))
    for tensor in graph.graph.initializer:
        if tensor.name.removeprefix("net.") in factors:
            values = numpy_helper.to_array(tensor) * factors[tensor.name.removeprefix("net.")]
            tensor.CopyFrom(numpy_helper.from_array(values.astype(np.float32), tensor.name))
    path.write_bytes(graph.SerializeToString())


def test_wrong_options(tmp_path: Path) -> None:
    scene, patch, path = workstation.scene(), workstation.float_file("cnn2d"), tmp_path / "a.tflite"
    integer = workstation.integer_file("cnn2d")
    for act, error, words in (
        (lambda: tflite(patch, scene, path, (3, 3)), OptionError, "this is a patch graph"),
        (lambda: tflite(integer, scene, path), ModelError, "takes a float graph"),
        (lambda: tflite(workstation.scene_file("cnn2d"), scene, path, (0, 3)), OptionError, "at least one pixel"),
        (lambda: quantize(patch, scene, path, "avx2"), OptionError, "recipe=avx2: is for onnxruntime"),
        (lambda: quantize(patch, scene, path, explain=True), OptionError, "explain: shows single layers"),
        (lambda: quantize(patch, scene, tmp_path / "a.onnx", tile=(3, 3)), OptionError, "TFLite scene graphs only"),
        (lambda: tflite(patch, dataclasses.replace(scene, cube=scene.cube[..., :9]), path), ModelError, "takes 200 bands"),
    ):
        with pytest.raises(error, match=words):
            act()
    assert not list(tmp_path.iterdir())
