"""3-D and 1-D convolutions as 2-D ones: the same outputs, and none of them left in an INT8 model."""

from __future__ import annotations

import numpy as np
import pytest

pytest.importorskip("torch", reason="the patch graphs are exported from torch")

import onnx
import torch
from onnx import numpy_helper
from torch import Tensor, nn

from hsiedge import nets
from hsiedge.graphs.onnx_io import name_nodes, read_onnx
from hsiedge.graphs.passes import apply
from hsiedge.graphs.passes.conv3d_to_conv2d import Conv3dToConv2d, raised
from tests import workstation
from tests.graphs.strangers import BANDS, CLASSES, Pooled3d, SpectrumLast, exported, run, seeded


class Lines(nn.Module):
    """Convolutions along the spectrum of the centre, padded, strided and dilated."""

    def __init__(self) -> None:
        super().__init__()
        self.first, self.second = nn.Conv1d(1, 3, 5, padding=2, stride=2), nn.Conv1d(3, 4, 3, dilation=2)
        self.head = nn.LazyLinear(CLASSES)

    def forward(self, x: Tensor) -> Tensor:
        x = torch.tanh(self.first(x[:, :, 3, 3].unsqueeze(1)))
        return self.head(torch.relu(self.second(nn.functional.max_pool1d(x, 2))).flatten(1))


class Padded3d(nn.Module):
    """Padding, strides and dilation in all three directions, an activation that is used twice, and a net that ends in a map."""

    def __init__(self) -> None:
        super().__init__()
        self.first = nn.Conv3d(1, 3, (4, 3, 3), stride=(3, 2, 1), padding=(2, 1, 0), dilation=(2, 1, 1), bias=False)
        self.second = nn.Conv3d(3, 4, (1, 3, 3), padding=(0, 1, 1))
        self.third = nn.Conv3d(4, 4, (3, 1, 1), padding=(1, 0, 0))
        self.head = nn.LazyLinear(CLASSES)

    def forward(self, x: Tensor) -> Tensor:
        x = nn.functional.elu(self.first(x.unsqueeze(1)))
        y = torch.tanh(self.second(x))
        return self.head((y + self.third(y)).flatten(1))


def built(kind) -> nn.Module:
    if isinstance(kind, str):
        return seeded(lambda: nets.build(kind, BANDS, CLASSES, nets.spec(kind).patch))
    module = seeded(kind)
    with torch.no_grad():
        module(torch.zeros(1, BANDS, 7, 7))
    return module


@pytest.mark.parametrize(
    ("kind", "patch"),
    [("cnn1d", 1), ("cnn3d", 5), ("hybridsn", 13), (Lines, 7), (Pooled3d, 7), (SpectrumLast, 5), (Padded3d, 7)],
)
def test_outputs_are_the_same(kind, patch) -> None:
    model = name_nodes(exported(built(kind), BANDS, patch))
    lowered = apply(model, Conv3dToConv2d())
    onnx.checker.check_model(lowered, full_check=True)
    for batch in (1, 6):
        patches = np.random.default_rng(batch).normal(size=(batch, BANDS, patch, patch)).astype(np.float32)
        before, after = run(model, patches), run(lowered, patches)
        assert np.ptp(before) > 0
        assert np.abs(before - after).max() <= 1e-6 * np.ptp(before) + 1e-6
    weights = {tensor.name: tensor for tensor in lowered.graph.initializer}
    ranks = [len(weights[node.input[1]].dims) for node in lowered.graph.node if node.op_type == "Conv"]
    assert ranks.count(5) == (1 if kind is Pooled3d else 0)  # its convolution in groups stays
    assert ranks.count(4) >= (1 if kind == "cnn1d" else 2)
    assert ranks.count(3) == 0


def test_what_works_value_by_value_stands_right_behind_its_convolution() -> None:
    lowered = apply(read_onnx(workstation.float_file("hybridsn")), Conv3dToConv2d())
    before = {node.input[0]: node.op_type for node in lowered.graph.node}
    convolutions = [node for node in lowered.graph.node if node.op_type == "Conv" and node.name.startswith("conv")]
    assert [before[node.output[0]] for node in convolutions] == ["Relu"] * 4


def test_a_net_without_them_is_returned_as_it_is() -> None:
    model = exported(built("cnn2d"), BANDS, 13)
    assert apply(model, Conv3dToConv2d()) is model


@pytest.mark.parametrize("net", ["cnn3d", "hybridsn"])
def test_integer_models_have_2d_integer_convolutions(net) -> None:
    graph = onnx.load(workstation.integer_file(net)).graph
    arrays = {tensor.name: numpy_helper.to_array(tensor) for tensor in graph.initializer}
    assert max(array.ndim for array in arrays.values()) == 4
    makers = {name: node for node in graph.node for name in node.output}
    for node in graph.node:
        if node.op_type == "Conv":
            assert [makers[name].op_type for name in node.input[:2]] == ["DequantizeLinear"] * 2
            following = [other.op_type for other in graph.node if node.output[0] in other.input]
            assert following in (["QuantizeLinear"], ["Relu"]), node.name


@pytest.mark.parametrize("shape", [(4, 3, 5, 3, 2), (4, 3, 5, 1, 1), (4, 3, 5)])
def test_weights_can_be_put_back(shape) -> None:
    weight = np.arange(np.prod(shape)).reshape(shape)
    space = shape[3:]
    lowered = weight.reshape(4, 3, 5, 1) if space in ((), (1, 1)) else weight.swapaxes(1, 2).reshape(4, 15, *space)
    np.testing.assert_array_equal(raised(lowered, shape), weight)
