"""What is done to bands before the first layer goes into its weights: as strangers do it, and where it must stay."""

from __future__ import annotations

import numpy as np
import pytest

pytest.importorskip("torch", reason="the graphs are exported from torch")

import onnx
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from onnx import TensorProto, helper, numpy_helper
from torch import Tensor, nn

from hsiedge.graphs.export.attach_card import take_dtype
from hsiedge.graphs.onnx_io import read_onnx
from hsiedge.graphs.scene_graph.densify import densify
from hsiedge.scenes.patches import extract, surrounded
from hsiedge.shipped import shipped
from tests import workstation
from tests.graphs.preprocessing.merge import merged
from tests.graphs.strangers import conv, exported, run, seeded

BANDS, CLASSES, PATCH = 24, 5, 7
LIMIT = 1e-5  # of the logits' range


class Net(nn.Module):
    """`before`, the first layer, and a head."""

    def __init__(self, before, first: nn.Module, *modules: nn.Module) -> None:
        super().__init__()
        self.before, self.first, self.used = before, first, nn.ModuleList(modules)
        self.head = nn.LazyLinear(CLASSES)

    def forward(self, x: Tensor) -> Tensor:
        x = torch.relu(self.first(self.before(x, *self.used)))
        return self.head(x.flatten(2).mean(2) if x.ndim > 2 else x)


_RNG = np.random.default_rng(4)
MEAN = torch.from_numpy(_RNG.uniform(0.5, 1.5, (BANDS, 1, 1)).astype(np.float32))
DEVIATION = torch.from_numpy(_RNG.uniform(0.5, 1.5, (1, BANDS, 1, 1)).astype(np.float32))
AXES = torch.from_numpy(_RNG.normal(size=(BANDS, 9)).astype(np.float32))


def divided(x: Tensor) -> Tensor:
    return (x / 5000 - MEAN) / DEVIATION


def product(x: Tensor, count: int = 6) -> Tensor:
    return ((x / 5000).permute(0, 2, 3, 1) @ AXES[:, :count]).permute(0, 3, 1, 2)


def clipped(x: Tensor) -> Tensor:
    return (torch.clamp(x / 10000, 0.1, 0.6) - MEAN) * 3


def centre(x: Tensor) -> Tensor:
    return divided(x)[:, :, 3, 3].unsqueeze(1)


LAST = ["Conv", "Transpose", "Reshape", "Gemm"]
FEW, MANY = [3, 1, 20, 7], [0, 1, 2, 4, 5, 6, 7, 9, 8, 11, 10, 12, 13, 14, 15, 17, 18, 19, 21, 22]
CASES = {
    "constants": (lambda: Net(divided, conv()), ["Conv"]),
    "one constant for all": (lambda: Net(lambda x: 2 - 3 * (x / 5000), conv(bias=False)), ["Conv"]),
    "batch norm": (lambda: Net(lambda x, norm: norm(x / 5000), conv(), nn.BatchNorm2d(BANDS)), ["Conv"]),
    "in groups": (lambda: Net(divided, conv(groups=BANDS)), ["Conv"]),
    "many bands": (lambda: Net(lambda x: divided(x)[:, MANY], conv(20)), ["Conv"]),
    "many bands in a row": (lambda: Net(lambda x: divided(x)[:, 2:22], conv(20)), ["Conv"]),
    "all bands, turned round": (lambda: Net(lambda x: divided(x.flip(1)), conv(size=1)), ["Conv"]),
    "few bands": (lambda: Net(lambda x: divided(x)[:, FEW], conv(4)), ["Gather", "Conv"]),
    "many bands of groups": (lambda: Net(lambda x: divided(x)[:, MANY], conv(20, groups=20)), ["Gather", "Conv"]),
    "PCA as a product": (lambda: Net(product, conv(6, 1)), ["Conv"]),
    "PCA as a convolution": (lambda: Net(lambda x, p: p(divided(x)), conv(6, 1), nn.Conv2d(BANDS, 6, 1)), ["Conv"]),
    "PCA, whitened": (
        lambda: Net(lambda x, p, n: n(p(divided(x))), conv(6, 1), nn.Conv2d(BANDS, 6, 1), nn.BatchNorm2d(6)),
        ["Conv"],
    ),
    "PCA before a large kernel": (lambda: Net(product, conv(6)), ["Conv", "Conv"]),
    "PCA before padding": (
        lambda: Net(lambda x, p: p(divided(x)), conv(20, padding=1), nn.Conv2d(BANDS, 20, 1)),
        ["Conv", "Conv"],
    ),
    "PCA before 3-D": (
        lambda: Net(lambda x: product(divided(x), 9)[:, None], nn.Conv3d(1, 4, (3, 3, 3))),
        ["Conv", "Unsqueeze", "Conv"],
    ),
    "PCA of some bands": (
        lambda: Net(lambda x, p: p(divided(x)[:, FEW]), conv(3, 1), nn.Conv2d(4, 3, 1)),
        ["Gather", "Conv"],
    ),
    "one constant before 3-D": (lambda: Net(lambda x: (x / 5000 - 1)[:, None], nn.Conv3d(1, 4, 3)), ["Unsqueeze", "Conv"]),
    "constants before 3-D": (
        lambda: Net(lambda x: divided(x)[:, None], nn.Conv3d(1, 4, 3)),
        ["Sub", "Mul", "Unsqueeze", "Conv"],
    ),
    "means before 3-D": (
        lambda: Net(lambda x: ((x / 5000 - MEAN) / 3)[:, None], nn.Conv3d(1, 4, 3)),
        ["Sub", "Unsqueeze", "Conv"],
    ),
    "3-D over all bands": (lambda: Net(lambda x: divided(x)[:, None], nn.Conv3d(1, 4, (BANDS, 3, 3))), ["Unsqueeze", "Conv"]),
    "3-D, normed there": (
        lambda: Net(lambda x, n: n((x / 5000)[:, None]), nn.Conv3d(1, 4, 3), nn.BatchNorm3d(1)),
        ["Unsqueeze", "Conv"],
    ),
    "a spectrum": (lambda: Net(centre, nn.Conv1d(1, 4, 5)), ["Sub", "Mul", "Gather", "Gather", "Unsqueeze", "Conv"]),
    "a spectrum, linear": (lambda: Net(lambda x: divided(x)[:, :, 3, 3], nn.Linear(BANDS, 8)), ["Gather", "Gather", "Gemm"]),
    "channels last": (lambda: Net(lambda x: product(x).permute(0, 2, 3, 1).flatten(1), nn.Linear(6 * 49, 8)), LAST),
    "flat": (lambda: Net(lambda x: divided(x).flatten(1), nn.Linear(BANDS * 49, 8)), ["Reshape", "Gemm"]),
    "padded, scaled": (lambda: Net(lambda x: x / 5000 * MEAN, conv(padding=1)), ["Conv"]),
    "padded, moved": (lambda: Net(divided, conv(padding=1)), ["Sub", "Conv"]),
    "not linear first": (lambda: Net(clipped, conv()), ["Div", "Clip", "Conv"]),
    "cropped": (lambda: Net(lambda x: divided(x)[:, :, 1:-1, 1:-1], conv(size=1)), ["Slice", "Slice", "Conv"]),
}


def built(make) -> onnx.ModelProto:
    module = seeded(make).eval()
    with torch.no_grad():
        module(torch.rand(2, BANDS, PATCH, PATCH))
    return exported(module, BANDS, PATCH)


def counts(batch: int = 64) -> np.ndarray:
    return np.random.default_rng(2).uniform(500, 9500, (batch, BANDS, PATCH, PATCH)).astype(np.float32)


def operators(model: onnx.ModelProto) -> list[str]:
    """Up to the first activation."""
    kinds = [node.op_type for node in model.graph.node]
    return kinds[: kinds.index("Relu")]


def same(before: onnx.ModelProto, after: onnx.ModelProto, tensor: np.ndarray) -> None:
    onnx.checker.check_model(after, full_check=True)
    theirs, ours = run(before, tensor), run(after, tensor)
    assert np.ptp(theirs) > 0.1
    assert np.abs(ours - theirs).max() <= LIMIT * np.ptp(theirs)


@pytest.mark.parametrize("case", CASES)
def test_it_does_what_it_did_in_fewer_nodes(case: str) -> None:
    make, expected = CASES[case]
    model = built(make)
    text = model.SerializeToString()
    rewritten = merged(model)
    assert model.SerializeToString() == text
    same(model, rewritten, counts())
    assert operators(rewritten) == expected
    assert merged(rewritten) is rewritten


def test_counts_are_cast_first() -> None:
    model = take_dtype(built(CASES["constants"][0]), np.dtype(np.uint16))
    rewritten = merged(model)
    same(model, rewritten, counts().astype(np.uint16))
    assert operators(rewritten) == ["Cast", "Conv"]


@pytest.mark.parametrize("net", list(workstation.SMALL))
def test_our_nets_on_real_patches(net: str) -> None:
    model = read_onnx(workstation.float_file(net))
    rewritten = merged(model)
    if net in ("cnn1d", "cnn3d"):  # whose first kernel moves along the spectrum
        assert rewritten is model
        return
    same(model, rewritten, extract(workstation.scene().cube, np.arange(0, 21025, 101), workstation.PATCH[net]))
    assert operators(rewritten)[:2] == ["Cast", "Conv"]
    assert len(rewritten.graph.node) == len(model.graph.node) - 2
    names = [[node.name for node in graph.graph.node if node.op_type == "Conv"] for graph in (model, rewritten)]
    assert names[0] == names[1]


def test_the_shipped_model_and_its_scene_graph() -> None:
    model, cube = read_onnx(shipped(".onnx")), workstation.scene().cube
    rewritten = merged(model)
    same(model, rewritten, extract(cube, np.arange(0, 21025, 53), 13))
    whole = densify(model).model
    small = merged(whole)
    same(whole, small, surrounded(cube, 60, 72, 6).transpose(2, 0, 1)[None])
    assert [operators(graph) for graph in (rewritten, small)] == [["Cast", "Conv"]] * 2


def other_use(model: onnx.ModelProto) -> onnx.ModelProto:
    """The value before the last step is an output too."""
    name = model.graph.node[1].output[0]
    model.graph.output.append(helper.make_tensor_value_info(name, TensorProto.FLOAT, ["batch", BANDS, PATCH, PATCH]))
    return model


def inner_graph(model: onnx.ModelProto) -> onnx.ModelProto:
    """A branch, within a node, takes a value of the front."""
    name = model.graph.node[2].output[0]
    branches = {
        f"{branch}_branch": helper.make_graph(
            [helper.make_node("Identity", [name], [f"{branch}_out"])],
            branch,
            [],
            [helper.make_tensor_value_info(f"{branch}_out", TensorProto.FLOAT, ["batch", BANDS, PATCH, PATCH])],
        )
        for branch in ("then", "else")
    }
    model.graph.initializer.append(numpy_helper.from_array(np.array(True), "truth"))
    model.graph.node.append(helper.make_node("If", ["truth"], ["chosen"], **branches))
    model.graph.output.append(helper.make_tensor_value_info("chosen", TensorProto.FLOAT, ["batch", BANDS, PATCH, PATCH]))
    return model


def computed_weights(model: onnx.ModelProto) -> onnx.ModelProto:
    node = next(node for node in model.graph.node if node.op_type == "Conv")
    model.graph.node.insert(0, helper.make_node("Relu", [node.input[1]], ["positive"]))
    node = next(node for node in model.graph.node if node.op_type == "Conv")
    node.input[1] = "positive"
    return model


def by_pixel(model: onnx.ModelProto) -> onnx.ModelProto:
    """The last division is by another number at each pixel."""
    scale = numpy_helper.from_array(np.full((1, PATCH, PATCH), 1.5, np.float32), "by_pixel")
    model.graph.initializer.append(scale)
    model.graph.node[2].input[1] = "by_pixel"
    return model


def divides(model: onnx.ModelProto) -> onnx.ModelProto:
    """The last division is of the constants by the bands."""
    node = model.graph.node[2]
    node.input[:] = list(node.input)[::-1]
    return model


@pytest.mark.parametrize("change", [inner_graph, computed_weights, by_pixel, divides])
def test_what_it_cannot_merge_is_left_alone(change) -> None:
    model = change(built(CASES["constants"][0]))
    onnx.checker.check_model(model, full_check=True)
    assert merged(model) is model


def test_what_is_used_elsewhere_stays_and_what_follows_is_merged() -> None:
    model = other_use(built(CASES["constants"][0]))
    rewritten = merged(model)
    same(model, rewritten, counts())
    assert operators(rewritten) == ["Div", "Sub", "Conv"]


def test_two_layers_that_take_the_same_value() -> None:
    class Two(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.one, self.two, self.head = conv(), conv(), nn.Linear(8, CLASSES)

        def forward(self, x: Tensor) -> Tensor:
            x = divided(x)
            return self.head((torch.relu(self.one(x)) + torch.relu(self.two(x))).mean((2, 3)))

    model = built(Two)
    assert merged(model) is model


def test_a_band_times_zero_before_padding() -> None:
    """What it became is no band's value: the zeros beyond the border cannot be told from it."""
    zero = MEAN.clone()
    zero[3] = 0
    model = built(lambda: Net(lambda x: x / 5000 * zero + 1, conv(padding=1)))
    assert merged(model) is model
    unpadded = built(lambda: Net(lambda x: x / 5000 * zero + 1, conv()))
    rewritten = merged(unpadded)
    same(unpadded, rewritten, counts())
    assert operators(rewritten) == ["Conv"]


def test_weights_that_another_layer_uses_too() -> None:
    class Twice(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.conv, self.head = nn.Conv2d(BANDS, BANDS, 1), nn.Linear(BANDS, CLASSES)

        def forward(self, x: Tensor) -> Tensor:
            return self.head(self.conv(torch.relu(self.conv(divided(x)))).mean((2, 3)))

    model = built(Twice)
    rewritten = merged(model)
    same(model, rewritten, counts())
    assert operators(rewritten) == ["Conv"]


def test_weights_that_are_listed_as_inputs() -> None:
    """As in files of before 2019."""
    model = built(CASES["many bands"][0])
    for tensor in model.graph.initializer:
        model.graph.input.append(helper.make_tensor_value_info(tensor.name, tensor.data_type, list(tensor.dims)))
    rewritten = merged(model)
    same(model, rewritten, counts())
    assert operators(rewritten) == ["Conv"]


STEPS = st.sampled_from(["add", "sub", "from", "mul", "div", "neg", "norm", "pick", "last"])


@settings(max_examples=40)
@given(st.lists(STEPS, min_size=1, max_size=6), st.sampled_from([0, 1]), st.integers(0, 2**16))
def test_any_steps_in_any_order(steps: list[str], padding: int, seed: int) -> None:
    """Written as ONNX, for an exporter takes seconds."""
    model = written(steps, padding, np.random.default_rng(seed))
    rewritten = merged(model)
    tensor = np.random.default_rng(seed).normal(size=(5, 6, 5, 5)).astype(np.float32)
    theirs, ours = run(model, tensor), run(rewritten, tensor)
    onnx.checker.check_model(rewritten, full_check=True)
    assert np.abs(ours - theirs).max() <= LIMIT * np.abs(theirs).max()
    allowed = {"Add", "Sub", "Gather", "Conv"} if padding else {"Conv", "Gather"}
    assert {node.op_type for node in rewritten.graph.node} <= allowed
    assert merged(rewritten) is rewritten


def written(steps: list[str], padding: int, rng: np.random.Generator) -> onnx.ModelProto:
    bands, channels, nodes, tensors, value = 6, 1, [], {}, "x"

    def constant(*shape: int) -> str:
        name = f"c{len(tensors)}"
        tensors[name] = rng.choice([-1, 1], shape).astype(np.float32) * rng.uniform(0.5, 2, shape).astype(np.float32)
        return name

    def add(kind: str, *inputs: str, **attributes) -> None:
        nonlocal value
        nodes.append(helper.make_node(kind, list(inputs), [f"v{len(nodes)}"], **attributes))
        value = nodes[-1].output[0]

    for step in steps:
        shape = [bands if axis == channels else 1 for axis in range(4)] if rng.random() < 0.7 else []
        if step in ("add", "sub", "mul", "div"):
            add(step.capitalize(), value, constant(*shape))
        elif step == "from":
            add("Sub", constant(*shape), value)
        elif step == "neg":
            add("Neg", value)
        elif step == "norm" and channels == 1:
            add("BatchNormalization", value, *(constant(bands) for _ in range(4)))
            tensors[nodes[-1].input[4]] = np.abs(tensors[nodes[-1].input[4]])
        elif step == "pick" and bands > 2:
            bands -= 1
            tensors[f"i{len(nodes)}"] = rng.permutation(bands + 1)[:bands]
            add("Gather", value, f"i{len(nodes)}", axis=channels)
        elif step == "last":
            perm = [0, 2, 3, 1] if channels == 1 else [0, 3, 1, 2]
            channels = 4 - channels
            add("Transpose", value, perm=perm)
    if channels == 3:
        add("Transpose", value, perm=[0, 3, 1, 2])
    add("Conv", value, constant(4, bands, 3, 3), constant(4), pads=[padding] * 4)
    graph = helper.make_graph(
        nodes,
        "steps",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, ["N", 6, 5, 5])],
        [helper.make_tensor_value_info(value, TensorProto.FLOAT, ["N", 4, 3 + 2 * padding, 3 + 2 * padding])],
        [numpy_helper.from_array(array, name) for name, array in tensors.items()],
    )
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=10)
