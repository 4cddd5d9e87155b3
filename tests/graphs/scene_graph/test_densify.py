"""Scene graphs: the labels of patch by patch, of our nets and of anyone's."""

from __future__ import annotations

import re

import numpy as np
import pytest

pytest.importorskip("torch", reason="the patch graphs are exported from torch")

import onnx
import onnx_ir as ir
import torch
from onnx import TensorProto, helper
from torch import nn

from hsiedge import nets
from hsiedge.errors import ModelError
from hsiedge.graphs.scene_graph import blocks
from hsiedge.graphs.scene_graph.densify import densify
from tests.graphs.strangers import (
    BANDS,
    CLASSES,
    Attention,
    Branches,
    ChannelsLast,
    FoundSecond,
    Normed,
    Padded,
    Placed,
    Pooled3d,
    Residual,
    Sideways,
    Spectral,
    SpectrumLast,
    Summed,
    Weighed,
    patches_of,
    run,
    scene,
    seeded,
    stranger,
)
from tests.workstation import exported

LIMIT = 1e-4  # of the logits' range


def agree(model, patch: int, size: tuple[int, int] = (6, 9), bands: int = BANDS):
    """The scene graph, once its logits are those of the patch graph."""
    graph = densify(model)
    assert graph.approximations == []
    assert graph.patch == patch
    strip = scene(patch, *size, bands)
    theirs = run(model, patches_of(strip, patch, *size))
    ours = run(graph.model, strip)
    assert ours.shape == (1, theirs.shape[1], *size)
    ours = ours[0].reshape(theirs.shape[1], -1).T
    assert np.ptp(theirs) > 0
    assert np.abs(ours - theirs).max() <= LIMIT * np.ptp(theirs)
    np.testing.assert_array_equal(ours.argmax(1), theirs.argmax(1))
    return graph


@pytest.mark.parametrize("net", list(nets.NETS))
def test_our_nets(net) -> None:
    patch = nets.spec(net).patch
    graph = agree(exported(seeded(lambda: nets.build(net, BANDS, CLASSES, patch)), BANDS, patch), patch)
    kinds = {node.op_type for node in graph.model.graph.node}
    assert all(len(weight.dims) == 4 for weight in graph.model.graph.initializer if weight.name and len(weight.dims) > 2), kinds


@pytest.mark.parametrize(
    ("kind", "patch"),
    [
        (Residual, 9),
        (Branches, 9),
        (Weighed, 5),
        (ChannelsLast, 9),
        (Pooled3d, 7),
        (SpectrumLast, 5),
        (Spectral, 5),
        (Summed, 7),
    ],
)
def test_anyones_nets(kind, patch) -> None:
    agree(stranger(kind, patch), patch)


@pytest.mark.parametrize("size", [(1, 1), (1, 40), (31, 2)])
def test_any_height_and_width(size) -> None:
    agree(stranger(Branches, 9), 9, size)
    agree(stranger(Pooled3d, 7), 7, size)


@pytest.mark.parametrize(
    ("kind", "patch", "dense", "reason"),
    [
        (FoundSecond, 7, True, r"node \w*conv\w*2?\w* \(Conv\): .*squeeze-and-excitation"),
        (Padded, 7, False, r"node .*conv.* \(Conv\): it pads its patches"),
        (Placed, 5, False, r"node .*add.* \(Add\): it treats each place of a patch differently"),
        (Normed, 5, True, r"node .*LayerNormalization"),
        (Attention, 5, True, r"node .*\(MatMul\)"),
        (Sideways, 5, False, r"node .*\(Conv\): it takes places of a patch as channels"),
    ],
)
def test_what_has_no_dense_equivalent_runs_pixel_by_pixel(kind, patch, dense, reason, caplog) -> None:
    """The logits are those of the patch graph, and what stood in the way is said by name."""
    with caplog.at_level("INFO", "hsiedge"):
        graph = agree(stranger(kind, patch), patch)
    assert graph.hybrid is not None
    assert (graph.hybrid.dense_macs > 0) == dense
    assert graph.macs_per_pixel == graph.hybrid.dense_macs + graph.hybrid.pixel_macs
    assert kind is FoundSecond or re.search(reason, caplog.text)
    for size in ((1, 1), (1, 40), (23, 2)):
        agree(stranger(kind, patch), patch, size)


def test_a_block_smaller_than_the_strip_gives_the_same(monkeypatch) -> None:
    """60 pixels in blocks of 7: the last block is not whole."""
    monkeypatch.setattr(blocks, "_FEWEST", 7)
    monkeypatch.setattr(blocks, "_BYTES", 1)
    for size in ((6, 10), (1, 3), (7, 1)):
        assert agree(stranger(Attention, 5), 5, size).hybrid.block == 7


def test_blocks_and_back() -> None:
    """Without its Loop a hybrid graph gives the same to the bit, and with it again, of another size, too."""
    strip = scene(5, 6, 9)
    rolled = ir.from_proto(densify(stranger(Attention, 5)).model)
    block, expected = blocks.rolled_block(rolled), run(ir.to_proto(rolled), strip)
    assert block == 1024
    assert blocks.unroll(rolled)
    assert blocks.rolled_block(rolled) is None
    assert not blocks.unroll(rolled)
    np.testing.assert_array_equal(run(ir.to_proto(rolled), strip), expected)
    blocks.roll(rolled, 5)
    assert blocks.rolled_block(rolled) == 5
    onnx.checker.check_model(ir.to_proto(rolled), full_check=True)
    np.testing.assert_allclose(run(ir.to_proto(rolled), strip), expected, atol=1e-6)


def test_a_gate_is_cut_before_what_it_weighs() -> None:
    """Squeeze-and-excitation: the maps and the gates are dense, each pixel's product is not."""
    graph = agree(stranger(FoundSecond, 7), 7)
    assert len(graph.hybrid.cut) == 2
    whole = 2 * sum(np.prod(tensor.dims) for tensor in stranger(FoundSecond, 7).graph.initializer)
    assert graph.hybrid.dense_macs < whole


def test_a_padded_net_is_approximated_when_asked_for() -> None:
    """It is the net without padding, on a patch that is larger by what was padded: inside a scene, nothing else is meant."""
    graph = densify(stranger(Padded, 7), approximate=True)
    assert graph.patch == 11
    assert [line.split(": ")[1] for line in graph.approximations] == ["it pads its patches"] * 2
    module = seeded(Padded)
    for conv in module.convs:
        conv.padding = (0, 0)
    strip = scene(11, 5, 6)
    # the map of 7 x 7 is pooled as 3 x 3 windows, the last row and column left out
    with torch.no_grad():
        maps = torch.from_numpy(patches_of(strip, 11, 5, 6))
        theirs = module(maps).numpy()
    ours = run(graph.model, strip)[0].reshape(CLASSES, -1).T
    np.testing.assert_allclose(ours, theirs, atol=1e-5)


def test_a_gate_between_convolutions_is_approximated_by_the_gate_of_the_patch_around_each_place() -> None:
    graph = densify(stranger(FoundSecond, 7), approximate=True)
    assert graph.patch > 7
    flat = np.full((1, BANDS, graph.patch + 3, graph.patch + 4), 0.7, np.float32)  # where all is alike, so are all gates
    ours = run(graph.model, flat)
    theirs = run(stranger(FoundSecond, 7), flat[:, :, :7, :7])
    np.testing.assert_allclose(ours, np.broadcast_to(theirs[:, :, None, None], (1, CLASSES, 4, 5)), atol=1e-5)


def test_macs_are_those_of_a_large_scene() -> None:
    graph = densify(exported(seeded(lambda: nets.build("cnn2d", BANDS, CLASSES, 5, widths=(8, 6, 4))), BANDS, 5))
    assert graph.macs_per_pixel == BANDS * 8 + 9 * 8 * 6 + 9 * 6 * 4 + 4 * CLASSES


def test_a_head_goes_before_the_pool_only_where_it_narrows() -> None:
    def kinds(classes: int) -> list[str]:
        model = exported(seeded(lambda: nets.build("cnn2d", BANDS, classes, 5, widths=(8, 6))), BANDS, 5)
        return [node.op_type for node in agree(model, 5).model.graph.node][-2:]

    assert kinds(3) == ["Conv", "AveragePool"]
    assert kinds(9) == ["AveragePool", "Conv"]


def test_an_operator_of_a_later_opset_keeps_its_opset() -> None:
    """Gelu is one of opset 20, and a graph of 18 that has it does not load."""
    model = exported(
        seeded(lambda: nn.Sequential(nn.Conv2d(BANDS, 4, 3), nn.ReLU(), nn.Conv2d(4, CLASSES, 3), nn.Flatten())), BANDS, 5
    )
    (relu,) = (node for node in model.graph.node if node.op_type == "Relu")
    relu.op_type = "Gelu"
    model.opset_import[0].version = 20
    assert agree(model, 5).model.opset_import[0].version == 20


@pytest.mark.parametrize("count", [1, 3])
def test_other_than_two_values_run_pixel_by_pixel(count: int) -> None:
    """Of three, the third must not be left out."""
    model = exported(
        seeded(lambda: nn.Sequential(nn.Conv2d(BANDS, 4, 3), nn.ReLU(), nn.Conv2d(4, CLASSES, 3), nn.Flatten())), BANDS, 5
    )
    (relu,) = (node for node in model.graph.node if node.op_type == "Relu")
    value, place = relu.input[0], list(model.graph.node).index(relu)
    model.graph.node.insert(place, helper.make_node("Mul", [value, value], ["squared"], "squared"))
    model.graph.node.insert(place, helper.make_node("Neg", [value], ["turned"], "turned"))
    relu.op_type = "Max"
    relu.input[:] = [value, "turned", "squared"][:count]
    agree(model, 5)


def test_an_even_patch_is_refused() -> None:
    with pytest.raises(ModelError, match="takes patches of 6 x 6"):
        densify(exported(nn.Sequential(nn.Conv2d(BANDS, 4, 6), nn.Flatten()), BANDS, 6))


def test_foreign_operators_are_named() -> None:
    node = helper.make_node("Mystery", ["x"], ["y"], "strange", domain="com.example")
    graph = helper.make_graph(
        [node],
        "g",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, ["N", 3, 5, 5])],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, ["N", 2])],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18), helper.make_opsetid("com.example", 1)])
    with pytest.raises(ModelError, match=r"cannot be followed|Mystery"):
        densify(model)
