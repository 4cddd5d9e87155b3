"""Traits of published nets' files, several to a net: through card, quantize, TFLite, scene graph and bench, beside PyTorch."""

from __future__ import annotations

import io
import logging
import warnings
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest

torch = pytest.importorskip("torch", reason="the nets are PyTorch's")
pytest.importorskip("tensorflow", reason="TFLite files are made with TensorFlow")

import onnx  # noqa: E402
from onnx import helper  # noqa: E402
from torch import Tensor, nn  # noqa: E402
from torch.nn import functional  # noqa: E402

from hsiedge.benchmark import bench  # noqa: E402
from hsiedge.errors import ModelError  # noqa: E402
from hsiedge.graphs.export.attach_card import attach_card  # noqa: E402
from hsiedge.graphs.onnx_io import read_onnx  # noqa: E402
from hsiedge.graphs.quantization.quantize import quantize  # noqa: E402
from hsiedge.graphs.scene_graph.build import scene_graph  # noqa: E402
from hsiedge.graphs.tflite.convert import tflite  # noqa: E402
from hsiedge.runtimes import load  # noqa: E402
from hsiedge.scenes.patches import extract  # noqa: E402
from hsiedge.scenes.scene import Scene  # noqa: E402
from tests.graphs.strangers import seeded  # noqa: E402
from tests.strangers.conftest import BANDS, CLASSES  # noqa: E402

PIXELS = np.arange(24 * 22)


class Viewed(nn.Module):
    """x.view(x.size(0), -1), and a softmax at the end."""

    def __init__(self) -> None:
        super().__init__()
        self.first, self.norm, self.head = nn.Conv2d(BANDS, 8, 2), nn.BatchNorm2d(8), nn.Linear(32, CLASSES)

    def forward(self, x: Tensor) -> Tensor:
        x = torch.relu(self.norm(self.first(x)))
        return torch.softmax(self.head(x.view(x.size(0), -1)), 1)


class Partitioned(nn.Module):
    """Bands padded by repetition, squeezed by an If, in groups with a residual block, as SPRN has them; then 3-D kernels."""

    def __init__(self) -> None:
        super().__init__()
        self.pad, self.first = nn.ReplicationPad3d((0, 0, 0, 0, 0, 4)), nn.Conv2d(BANDS + 4, 16, 3, groups=4)
        self.block, self.norm = nn.Conv2d(16, 16, 1, groups=4), nn.BatchNorm2d(16)
        self.cube, self.head = nn.Conv3d(1, 2, 3), nn.Linear(2 * 14, CLASSES)

    def forward(self, x: Tensor) -> Tensor:
        x = torch.relu(self.first(self.pad(x).squeeze(1)))
        x = torch.relu(x + self.norm(self.block(x)))
        x = x.reshape(x.shape[0], -1, 3, 3).unsqueeze(1)
        return self.head(torch.relu(self.cube(x)).flatten(1))


class OverOne(nn.Module):
    """Reflection along the bands, and a padded kernel over an axis of size 1; bands last."""

    def __init__(self) -> None:
        super().__init__()
        self.first, self.second = nn.Conv3d(1, 4, (BANDS + 4, 3, 3)), nn.Conv3d(4, 8, (3, 1, 1), padding=(1, 0, 0))
        self.head = nn.Linear(8, CLASSES)

    def forward(self, x: Tensor) -> Tensor:
        x = functional.pad(x.permute(0, 1, 4, 2, 3), (0, 0, 0, 0, 2, 2), mode="reflect")
        return self.head(torch.relu(self.second(torch.relu(self.first(x)))).flatten(1))


class Pooled(nn.Module):
    """Padding inside the patch, then a pool and a flatten, which is exported as x.squeeze()."""

    def __init__(self) -> None:
        super().__init__()
        self.first, self.second = nn.Conv2d(BANDS, 8, 3, padding=1), nn.Conv2d(8, 8, 3, padding=1)
        self.head = nn.Linear(8, CLASSES)

    def forward(self, x: Tensor) -> Tensor:
        x = functional.elu(self.second(functional.leaky_relu(self.first(x), 0.1)))
        return self.head(functional.adaptive_avg_pool2d(x, 1).flatten(1))


class Spectra(nn.Module):
    """Takes (N, bands), and gives its features before its logits."""

    def __init__(self) -> None:
        super().__init__()
        self.first, self.head = nn.Linear(BANDS, 16), nn.Linear(16, CLASSES)

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        x = torch.relu(self.first(x))
        return x, self.head(x)


class Groupwise(nn.Module):
    """A spectral transformer over groups of neighbouring bands with a skip from layer to layer, as SpectralFormer has them."""

    def __init__(self) -> None:
        super().__init__()
        self.embed, self.token = nn.Linear(27, 8), nn.Parameter(torch.randn(1, 1, 8))
        self.place, self.skip = nn.Parameter(torch.randn(1, BANDS + 1, 8)), nn.Conv2d(BANDS + 1, BANDS + 1, (1, 2))
        self.layers = nn.ModuleList(nn.TransformerEncoderLayer(8, 2, 12, 0.0, "gelu", batch_first=True) for _ in range(2))
        self.head = nn.Sequential(nn.LayerNorm(8), nn.Linear(8, CLASSES))

    def forward(self, x: Tensor) -> Tensor:
        x = functional.pad(x.flatten(2).transpose(1, 2), (1, 1), mode="circular").transpose(1, 2)
        x = torch.cat([x[:, :-2], x[:, 1:-1], x[:, 2:]], 2)
        x = torch.cat([self.token.expand(x.shape[0], -1, -1), self.embed(x)], 1) + self.place
        one = self.layers[0](x)
        x = self.skip(torch.stack([self.layers[1](one), one], 3)).squeeze(3)
        return self.head(x[:, 0])


def walked(x: Tensor, weight: Tensor) -> Tensor:
    state = torch.zeros([x.size(0), 4])
    states: list[Tensor] = []
    for band in range(x.size(1)):
        state = torch.tanh(x[:, band] + state @ weight)
        if band % 3 == 0:
            states.append(state)
    return torch.stack(states, 1)


class Looped(nn.Module):
    """A scripted walk along the bands, which is exported as a Loop with a list."""

    def __init__(self) -> None:
        super().__init__()
        self.embed, self.weight = nn.Linear(1, 4), nn.Parameter(torch.randn(4, 4))
        self.head = nn.Linear(4 * BANDS // 3, CLASSES)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # published code has it, deprecated as it is
            self.walked = torch.jit.script(walked)

    def forward(self, x: Tensor) -> Tensor:
        return self.head(self.walked(self.embed(x.flatten(1).unsqueeze(2)), self.weight).flatten(1))


@dataclass(frozen=True)
class Trait:
    """A net, how its authors export it, and what its file is made to be afterwards."""

    kind: type
    patch: int
    opset: int = 17
    shaped: Callable[[Tensor], Tensor] = lambda x: x
    dynamic: bool = True
    after: Callable[[onnx.ModelProto], onnx.ModelProto] = lambda model: model
    outputs: tuple[str, ...] = ("logits",)


def halved(model: onnx.ModelProto) -> onnx.ModelProto:
    from onnxruntime.transformers.float16 import convert_float_to_float16

    return convert_float_to_float16(model, keep_io_types=True)


def squeezed(model: onnx.ModelProto) -> onnx.ModelProto:
    node = next(node for node in model.graph.node if node.op_type == "Flatten")
    node.CopyFrom(helper.make_node("Squeeze", [node.input[0]], [node.output[0]]))
    return model


TRAITS = {
    "opset 7, batch of 1, a view of the size, softmax": Trait(Viewed, 3, 9, dynamic=False),
    "opset 11, float16 inside": Trait(Viewed, 3, 11, after=halved),
    "(N, 1, bands, p, p), bands padded and in groups, an If": Trait(Partitioned, 5, shaped=lambda x: x.unsqueeze(1)),
    "(N, 1, p, p, bands), a kernel over one": Trait(OverOne, 3, shaped=lambda x: x.permute(0, 2, 3, 1).unsqueeze(1)),
    "padding inside, squeeze of everything": Trait(Pooled, 3, after=squeezed),
    "(N, bands), two outputs": Trait(Spectra, 1, shaped=lambda x: x.flatten(1), outputs=("features", "logits")),
    "a transformer of groups of bands": Trait(Groupwise, 3),
    "a scripted loop along the bands": Trait(Looped, 1),
}


def written(trait: Trait, module: nn.Module, path: Path) -> None:
    """The file as the older exporter writes it, which most published code uses."""
    example, buffer = trait.shaped(torch.randn(2 if trait.dynamic else 1, BANDS, trait.patch, trait.patch)), io.BytesIO()
    axes = {name: {0: "n"} for name in ("x", *trait.outputs)} if trait.dynamic else None
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        logging.disable(logging.WARNING)
        torch.onnx.export(module, (example,), buffer, dynamo=False, opset_version=trait.opset, input_names=["x"],
                          output_names=list(trait.outputs), dynamic_axes=axes)  # fmt: skip
        logging.disable(logging.NOTSET)
    path.write_bytes(trait.after(onnx.load_model_from_string(buffer.getvalue())).SerializeToString())


@pytest.mark.slow
@pytest.mark.parametrize("name", TRAITS)
def test_a_net_with_these_traits(name: str, scene: Scene, tmp_path: Path) -> None:
    trait, module = TRAITS[name], seeded(TRAITS[name].kind)
    net, card, int8, whole, lite, tiles = (
        tmp_path / file for file in ("n.onnx", "m.onnx", "q.onnx", "s.onnx", "m.tflite", "s.tflite")
    )
    written(trait, module, net)
    attach_card(net, scene, trait.patch, None, card, logits="logits" if len(trait.outputs) > 1 else None)
    with torch.no_grad():
        outputs = module(trait.shaped(torch.from_numpy(extract(scene.cube, PIXELS, trait.patch))))
    truth = 1 + (outputs[-1] if isinstance(outputs, tuple) else outputs).argmax(1).numpy()
    least = 0.99 if trait.after is halved else 1.0  # its authors' float16 rounds what the net's own float32 does not
    assert (load(card).predict(scene, PIXELS) == truth).mean() >= least
    truth = load(card).predict(scene, PIXELS)
    quantize(card, scene, int8, patches=64)
    assert (load(int8).predict(scene, PIXELS) == truth).mean() >= 0.9
    assert not {"If", "Loop"} & {node.op_type for node in read_onnx(card).graph.node}
    scene_graph(card, scene, whole)
    tflite(card, scene, lite)
    tflite(whole, scene, tiles)
    for file in (whole, lite, tiles):
        np.testing.assert_array_equal(load(file).predict(scene, PIXELS), truth)
    assert len(bench([tiles], runs=1, seconds=0.05).rows()) == 1


def test_a_graph_is_left_as_it_is_where_that_is_asked_for(scene: Scene, tmp_path: Path) -> None:
    """Node by node and number by number; and what then does not fit is refused, since nothing may be put in front."""
    net, card = tmp_path / "net.onnx", tmp_path / "m.onnx"
    written(Trait(Viewed, 3), seeded(Viewed), net)
    attach_card(net, scene, 3, None, card, keep_graph=True)
    before, after = read_onnx(net).graph, read_onnx(card).graph
    assert [(node.op_type, node.input, node.output) for node in after.node] == [
        (node.op_type, node.input, node.output) for node in before.node
    ]
    assert {tensor.name: tensor for tensor in after.initializer} == {tensor.name: tensor for tensor in before.initializer}
    assert load(card).known.lineage[-1].options["changes"] == []
    written(Trait(OverOne, 3, shaped=lambda x: x.permute(0, 2, 3, 1).unsqueeze(1)), seeded(OverOne), net)
    with pytest.raises(ModelError, match=r"takes \(None, 1, 3, 3, 12\), .* with patch 3 gives \(N, 12, 3, 3\)"):
        attach_card(net, scene, 3, None, tmp_path / "other.onnx", keep_graph=True)
    assert not (tmp_path / "other.onnx").exists()
