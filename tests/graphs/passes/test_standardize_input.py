"""Graphs of strangers, quantized: counts, reflectances and components instead of standardized bands go into the first layer."""

from __future__ import annotations

import functools

import numpy as np
import pytest

pytest.importorskip("torch", reason="some of the graphs are exported from torch")
pytest.importorskip("tensorly", reason="Indian Pines comes with tensorly")

import onnx
from onnx import helper, numpy_helper
from onnx_ir.passes import PassResult
from torch import Tensor, nn

from hsiedge.card import Card
from hsiedge.graphs.export.attach_card import take_dtype
from hsiedge.graphs.onnx_io import read_onnx, write_onnx
from hsiedge.graphs.passes import apply, read
from hsiedge.graphs.passes.extract_input_affine import affine_nodes
from hsiedge.graphs.passes.standardize_input import StandardizeInput
from hsiedge.graphs.quantization.quantize import quantize
from hsiedge.graphs.scene_graph.densify import densify
from hsiedge.runtimes import load
from hsiedge.scenes.patches import extract
from hsiedge.scenes.preprocess import fit_affine
from hsiedge.scenes.splits import TRAIN
from hsiedge.shipped import shipped
from tests import workstation
from tests.graphs.preprocessing.merge import merged
from tests.graphs.strangers import conv, exported, run, seeded

BANDS, PATCH = 200, 7
AXES = Tensor(np.random.default_rng(1).normal(size=(BANDS, 90)))


@functools.cache
def spectra() -> np.ndarray:
    return workstation.scene().cube.reshape(-1, BANDS)[workstation.split().pixels(TRAIN)]


def patches(side: int = PATCH) -> np.ndarray:
    return extract(workstation.scene().cube, np.arange(0, 21025, 131), side)


def changed(model: onnx.ModelProto, front: list[onnx.NodeProto], arrays: dict[str, np.ndarray]) -> onnx.ModelProto:
    """The shipped model with another front, behind the cast, that ends in `ready`, and other arrays."""
    graph = model.graph
    nodes = [onnx.NodeProto.FromString(node.SerializeToString()) for node in graph.node]
    first = next(node for node in nodes if node.op_type == "Conv")
    first.input[0] = "ready"
    del graph.node[:], graph.value_info[:]
    graph.node.extend([nodes[0], *front, *nodes[nodes.index(first) :]])
    kept = [onnx.TensorProto.FromString(entry.SerializeToString()) for entry in graph.initializer if entry.name not in arrays]
    del graph.initializer[:]
    graph.initializer.extend([*kept, *(numpy_helper.from_array(np.float32(value), name) for name, value in arrays.items())])
    return model


def step(kind: str, value: str, *rest: str, output: str, **attributes) -> onnx.NodeProto:
    return helper.make_node(kind, [value, *rest], [output], name=f"before_{output}", **attributes)


def counts_as_they_are() -> onnx.ModelProto:
    return merged(read_onnx(shipped(".onnx")))


def reflectances() -> onnx.ModelProto:
    """Counts / 10000 into the first convolution."""
    model = counts_as_they_are()
    weight = numpy_helper.to_array(next(entry for entry in model.graph.initializer if entry.name == "net.spectral.weight"))
    arrays = {"net.spectral.weight": weight * 1e4, "ten_thousand": np.array(1e4)}
    return changed(model, [step("Div", "_to_copy", "ten_thousand", output="ready")], arrays)


def components() -> onnx.ModelProto:
    """Counts / 10000, BatchNorm, and a product that the first convolution was split into."""
    model = read_onnx(shipped(".onnx"))
    stored = {entry.name: numpy_helper.to_array(entry).astype(np.float64) for entry in model.graph.initializer}
    left, strengths, axes = np.linalg.svd(stored["net.spectral.weight"][:, :, 0, 0], full_matrices=False)
    arrays = {
        "net.spectral.weight": left[:, :, None, None],
        "ten_thousand": np.array(1e4),
        "gain": np.ones(BANDS),
        "bias": np.zeros(BANDS),
        "mean": stored["offset"].ravel() / 1e4,
        "variance": (1e4 * stored["scale"].ravel()) ** -2.0,
        "axes": (strengths[:, None] * axes).T,
    }
    arrays["centre"] = arrays.pop("mean")
    front = [
        step("Div", "_to_copy", "ten_thousand", output="reflectances"),
        step("BatchNormalization", "reflectances", "gain", "bias", "centre", "variance", output="bands", epsilon=0.0),
        step("Transpose", "bands", output="last", perm=[0, 2, 3, 1]),
        step("MatMul", "last", "axes", output="projected"),
        step("Transpose", "projected", output="ready", perm=[0, 3, 1, 2]),
    ]
    return changed(model, front, arrays)


STRANGERS = {"counts": counts_as_they_are, "reflectances": reflectances, "components": components}


def begins_with_bands(model: onnx.ModelProto) -> bool:
    front = affine_nodes(read(model).graph)
    return front is not None and [node.op_type for node in front] == ["Cast", "Sub", "Mul"]


@pytest.mark.parametrize("stranger", STRANGERS)
def test_the_same_logits_behind_standardized_bands(stranger: str) -> None:
    model = STRANGERS[stranger]()
    text = model.SerializeToString()
    standardized = apply(model, StandardizeInput(spectra()))
    assert model.SerializeToString() == text
    onnx.checker.check_model(standardized, full_check=True)
    assert not begins_with_bands(model)
    assert begins_with_bands(standardized)
    assert [node.op_type for node in standardized.graph.node][3] == "Conv"
    theirs, ours = run(model, patches(13)), run(standardized, patches(13))
    assert np.abs(ours - theirs).max() <= 2e-5 * np.ptp(theirs)
    np.testing.assert_array_equal(ours.argmax(1), theirs.argmax(1))
    offset, scale = (node.inputs[1].const_value.numpy().ravel() for node in affine_nodes(read(standardized).graph)[-2:])
    fitted = fit_affine(spectra())
    np.testing.assert_array_equal([offset, scale], [fitted.offset, fitted.scale])


@pytest.mark.parametrize(("stranger", "ruined"), [("counts", 50.0), ("reflectances", 50.0), ("components", 99.9)])
def test_what_int8_gains(stranger: str, ruined: float, tmp_path, monkeypatch) -> None:
    """Label agreement with float on validation pixels, with one step for all bands and with one for each."""
    source, card = tmp_path / "stranger.onnx", load(shipped(".onnx")).known
    write_onnx(source, STRANGERS[stranger](), card)
    after = quantize(source, workstation.scene(), tmp_path / "after.onnx", patches=200, max_drop=100)
    monkeypatch.setattr(StandardizeInput, "call", lambda self, model: PassResult(model, False))
    before = quantize(source, workstation.scene(), tmp_path / "before.onnx", patches=200, max_drop=100)
    print(f"{stranger}: {agreement(before):.2f} -> {agreement(after):.2f} %")
    assert agreement(before) < ruined
    assert agreement(after) > 99.5
    assert before.input_affine is None
    assert after.input_affine is not None


def agreement(card: Card) -> float:
    assert card.quantization is not None
    assert card.quantization.float_layers == []
    return card.quantization.agreement


def test_the_shipped_model_is_quantized_as_before(tmp_path, monkeypatch) -> None:
    """To the byte: it begins with its own affine, and the pass has nothing to do."""
    graphs = []
    for name in ("with", "without"):
        quantize(shipped(".onnx"), workstation.scene(), tmp_path / name)
        graphs.append(onnx.load(tmp_path / name).graph.SerializeToString(deterministic=True))
        monkeypatch.setattr(StandardizeInput, "call", lambda self, model: PassResult(model, False))
    assert graphs[0] == graphs[1]


@pytest.mark.parametrize("net", list(workstation.SMALL))
def test_ours_begin_so_already(net: str) -> None:
    model = read_onnx(workstation.float_file(net))
    assert apply(model, StandardizeInput(spectra())) is model
    whole = densify(model).model
    assert apply(whole, StandardizeInput(spectra())) is whole


def test_a_scene_graph_of_a_stranger() -> None:
    whole = densify(counts_as_they_are()).model
    standardized = apply(whole, StandardizeInput(spectra()))
    assert begins_with_bands(standardized)
    strip = workstation.scene().cube[40:60, 30:60].transpose(2, 0, 1)[None]
    theirs, ours = run(whole, strip), run(standardized, strip)
    assert np.abs(ours - theirs).max() <= 2e-5 * np.ptp(theirs)


class Small(nn.Module):
    """`before`, a first layer and a head."""

    def __init__(self, before, first: nn.Module) -> None:
        super().__init__()
        self.before, self.first, self.head = before, first, nn.LazyLinear(5)

    def forward(self, x: Tensor) -> Tensor:
        return self.head(self.first(self.before(x)).relu().flatten(2).mean(2))


def exported_small(before, first) -> onnx.ModelProto:
    net = seeded(lambda: Small(before, first()))
    net(nn.functional.pad(Tensor(1, BANDS, 1, 1).zero_(), (0, PATCH - 1, 0, PATCH - 1)))
    return take_dtype(exported(net, BANDS, PATCH), np.dtype(np.uint16))


@pytest.mark.parametrize(
    ("before", "first", "moved"),
    [
        (lambda x: x / 5000, lambda: conv(BANDS, padding=1), False),
        (lambda x: x / 5000 - 0.5, lambda: conv(BANDS, padding=1), True),
        (lambda x: (x / 5000).permute(0, 2, 3, 1).matmul(AXES).permute(0, 3, 1, 2), lambda: conv(90, padding=1), False),
        (lambda x: x[:, None], lambda: nn.Conv3d(1, 4, 3), True),
        (lambda x: (x / 5000 - 0.5)[:, None], lambda: nn.Conv3d(1, 4, 3, padding=1), True),
        (lambda x: x[:, 20:60] / 5000, lambda: conv(40), True),
    ],
    ids=["padded", "padded, moved", "projected, padded", "3-D", "3-D, padded", "some bands"],
)
def test_where_the_first_layer_leaves_less_freedom(before, first, moved: bool) -> None:
    model = exported_small(before, first)
    standardized = apply(model, StandardizeInput(spectra()))
    onnx.checker.check_model(standardized, full_check=True)
    assert begins_with_bands(standardized)
    theirs, ours = run(model, patches()), run(standardized, patches())
    assert np.ptp(theirs) > 0
    assert np.abs(ours - theirs).max() <= 2e-5 * np.ptp(theirs)
    offset, scale = (node.inputs[1].const_value.numpy().ravel() for node in affine_nodes(read(standardized).graph)[-2:])
    assert offset.any() == moved
    values = (spectra() - offset) * scale
    assert 0.3 < np.sqrt(np.square(values).mean()) < 3


def test_a_band_that_does_not_vary_is_still_looked_at() -> None:
    model = counts_as_they_are()
    flat = spectra().copy()
    flat[:, 7] = 1200
    standardized = apply(model, StandardizeInput(flat))
    theirs, ours = run(model, patches(13)), run(standardized, patches(13))
    assert np.abs(ours - theirs).max() <= 2e-5 * np.ptp(theirs)


@pytest.mark.parametrize("before", [lambda x: (x / 10000).clamp(0.1, 0.6) - 0.3, lambda x: (x + 1).log()])
def test_what_is_not_linear_is_left_alone(before) -> None:
    model = exported_small(before, lambda: conv(BANDS))
    assert apply(model, StandardizeInput(spectra())) is model


def test_an_input_that_somebody_else_takes_is_left_alone() -> None:
    model = exported_small(lambda x: x / 5000, lambda: conv(BANDS))
    model.graph.node.append(helper.make_node("Shape", [model.graph.input[0].name], ["sizes"]))
    model.graph.output.append(helper.make_tensor_value_info("sizes", onnx.TensorProto.INT64, [4]))
    assert apply(model, StandardizeInput(spectra())) is model
