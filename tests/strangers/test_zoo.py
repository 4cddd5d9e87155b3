"""A zoo of the field's traits, tiny and seeded: each through card, quantize, TFLite, classify and bench, beside PyTorch."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

torch = pytest.importorskip("torch", reason="the nets are PyTorch's")
pytest.importorskip("tensorflow", reason="TFLite files are made with TensorFlow")

from torch import Tensor, nn  # noqa: E402
from torch.nn import functional  # noqa: E402

from hsiedge.benchmark import bench  # noqa: E402
from hsiedge.errors import ModelError  # noqa: E402
from hsiedge.graphs.export.attach_card import attach_card  # noqa: E402
from hsiedge.graphs.quantization.quantize import quantize  # noqa: E402
from hsiedge.graphs.tflite.convert import tflite  # noqa: E402
from hsiedge.graphs.trial import try_net  # noqa: E402
from hsiedge.runtimes import load  # noqa: E402
from hsiedge.scenes.open import open_scene  # noqa: E402
from hsiedge.scenes.patches import extract  # noqa: E402
from hsiedge.scenes.scene import Scene  # noqa: E402
from tests.graphs.strangers import seeded  # noqa: E402
from tests.workstation import exported  # noqa: E402

BANDS, CLASSES, PATCH = 12, 4, 5


class ResidualCubes(nn.Module):
    """Residual blocks along bands, then along y and x, as SSRN has them; PReLU, a pool of maps whose third axis is 1."""

    def __init__(self) -> None:
        super().__init__()
        self.first, self.norm = nn.Conv3d(1, 4, (3, 1, 1), stride=(2, 1, 1)), nn.BatchNorm3d(4)
        self.band, self.mix = nn.Conv3d(4, 4, (3, 1, 1), padding=(1, 0, 0)), nn.Conv3d(4, 6, (5, 1, 1))
        self.place, self.act, self.head = nn.Conv3d(6, 6, (1, 3, 3), padding=(0, 1, 1)), nn.PReLU(6), nn.Linear(6, CLASSES)

    def forward(self, x: Tensor) -> Tensor:
        x = torch.relu(self.norm(self.first(x.unsqueeze(1))))
        x = self.mix(x + self.band(x))
        x = self.act(x + self.place(x)).permute(0, 1, 3, 4, 2)
        return self.head(functional.avg_pool3d(x, (5, 5, 1)).flatten(1))


class Tokens(nn.Module):
    """Tokens by attention over places, a class token, LayerNorm and GELU, as SSFTT and spectral transformers have them."""

    def __init__(self) -> None:
        super().__init__()
        self.embed, self.score, self.token = nn.Conv2d(BANDS, 8, 3), nn.Linear(8, 3), nn.Parameter(torch.randn(1, 1, 8))
        self.norm, self.qkv, self.out = nn.LayerNorm(8), nn.Linear(8, 24), nn.Linear(8, 8)
        self.mlp, self.head = (
            nn.Sequential(nn.LayerNorm(8), nn.Linear(8, 12), nn.GELU(), nn.Linear(12, 8)),
            nn.Linear(8, CLASSES),
        )

    def forward(self, x: Tensor) -> Tensor:
        x = functional.mish(self.embed(x)).flatten(2).transpose(1, 2)
        tokens = torch.einsum("npt,npc->ntc", torch.softmax(self.score(x), 1), x)
        x = torch.cat([self.token.expand(x.size(0), -1, -1), tokens], 1)
        q, k, v = self.qkv(self.norm(x)).chunk(3, -1)
        x = x + self.out(torch.softmax(q @ k.transpose(1, 2) / 8**0.5, -1) @ v)
        return self.head((x + self.mlp(x))[:, 0])


class Branches(nn.Module):
    """Two branches that weigh channels by one another and places by one another, as DBDA has them."""

    def __init__(self) -> None:
        super().__init__()
        self.bands, self.places = nn.Conv2d(BANDS, 6, 1), nn.Conv2d(BANDS, 6, 3)
        self.head = nn.Linear(12, CLASSES)

    def forward(self, x: Tensor) -> Tensor:
        one, two = torch.relu(self.bands(x)).flatten(2), functional.silu(self.places(x)).flatten(2)
        channels = torch.softmax(one @ one.transpose(1, 2) / 25, -1) @ one + one
        spots = two @ torch.softmax(two.transpose(1, 2) @ two / 6, -1) + two
        return self.head(torch.cat([channels.mean(2), spots.mean(2)], 1))


class Gated(nn.Module):
    """Squeeze and excitation of groups of bands that are padded by reflection, as SPRN pads; softplus, an L2 norm."""

    def __init__(self) -> None:
        super().__init__()
        self.first, self.gate = nn.Conv2d(16, 8, 3, groups=4), nn.Sequential(nn.Linear(8, 4), nn.ELU(), nn.Linear(4, 8))
        self.head = nn.Linear(72, CLASSES)

    def forward(self, x: Tensor) -> Tensor:
        x = functional.pad(x.unsqueeze(1), (0, 0, 0, 0, 2, 2), mode="reflect").squeeze(1)
        x = functional.softplus(self.first(x))
        x = x * torch.sigmoid(self.gate(x.mean((2, 3))))[:, :, None, None]
        return self.head(functional.normalize(x.view(x.size(0), -1), dim=1))


class Recurrent(nn.Module):
    """A bidirectional GRU over the bands of one pixel."""

    def __init__(self) -> None:
        super().__init__()
        self.gru, self.head = nn.GRU(1, 4, batch_first=True, bidirectional=True), nn.Linear(8 * BANDS, CLASSES)

    def forward(self, x: Tensor) -> Tensor:
        return self.head(self.gru(x.flatten(1).unsqueeze(2))[0].flatten(1))


@pytest.fixture(scope="module")
def scene(tmp_path_factory: pytest.TempPathFactory) -> Scene:
    folder, rng = tmp_path_factory.mktemp("scene"), np.random.default_rng(0)
    np.save(folder / "cube.npy", rng.normal(size=(24, 22, BANDS)).astype(np.float32))
    np.save(folder / "labels.npy", (np.arange(24 * 22).reshape(24, 22) % (CLASSES + 1)).astype(np.uint8))
    return open_scene(folder / "cube.npy", labels=folder / "labels.npy")


@pytest.mark.slow
@pytest.mark.parametrize(
    ("kind", "patch"), [(ResidualCubes, PATCH), (Tokens, PATCH), (Branches, PATCH), (Gated, PATCH), (Recurrent, 1)]
)
def test_through_the_whole_tool(kind: type, patch: int, scene: Scene, tmp_path: Path) -> None:
    module, (card, int8, lite) = seeded(kind), (tmp_path / name for name in ("m.onnx", "q.onnx", "m.tflite"))
    (tmp_path / "net.onnx").write_bytes(exported(module, BANDS, patch).SerializeToString())
    attach_card(tmp_path / "net.onnx", scene, patch, None, card)
    pixels = np.arange(24 * 22)
    with torch.no_grad():
        logits = module(torch.from_numpy(extract(scene.cube, pixels, patch)))
    truth = 1 + logits.argmax(1).numpy()
    np.testing.assert_array_equal(load(card).predict(scene, pixels), truth)
    quantized = quantize(card, scene, int8, patches=64).quantization
    assert quantized is not None
    assert quantized.agreement >= 90
    assert (load(int8).predict(scene, pixels) == truth).mean() >= 0.9
    if kind is Recurrent:
        with pytest.raises(ModelError, match=r"\(GRU\): not among the operators"):
            tflite(card, scene, lite)
    else:
        tflite(card, scene, lite)
        np.testing.assert_array_equal(load(lite).predict(scene, pixels), truth)
    files = [path for path in (card, int8, lite) if path.exists()]
    report = bench(files, batches=[16], runs=1, seconds=0.05)
    assert len(report.rows()) == len(files)


@pytest.mark.slow
def test_a_trial_tells_where_a_net_stops(scene: Scene, tmp_path: Path) -> None:
    path = tmp_path / "net.onnx"
    path.write_bytes(exported(seeded(Recurrent), BANDS, 1).SerializeToString())
    steps = {step.name: step for step in try_net(str(path), scene, 1)}
    assert list(steps) == ["card", "classify", "quantize", "scene graph", "tflite", "tflite int8"]
    assert steps["card"].works
    assert steps["classify"].text.startswith("256 pixels in")
    assert not steps["tflite"].works
    assert "(GRU): not among the operators that are converted to TFLite" in steps["tflite"].text
    assert list(tmp_path.iterdir()) == [path]
    refused = try_net(str(path), scene, 3)
    assert [step.text for step in refused[1:]] == ["not reached"] * 5
    assert "with 12 bands and patch 3, one of" in refused[0].text


def test_the_command_ends_with_3_where_a_step_stops(scene: Scene, tmp_path: Path) -> None:
    (tmp_path / "net.onnx").write_bytes(exported(seeded(Recurrent), BANDS, 1).SerializeToString())
    cube = Path(scene.source)
    words = ["net.onnx", "--cube", str(cube), "--labels", str(cube.parent / "labels.npy"), "--patch", "3", "--json", "-"]
    ended = subprocess.run(
        [sys.executable, "-m", "hsiedge", "try", *words], cwd=tmp_path, capture_output=True, text=True, check=False
    )
    assert ended.returncode == 3, ended.stderr
    steps = json.loads(ended.stdout)["steps"]
    assert [step["works"] for step in steps] == [False] * 6
    assert "with 12 bands and patch 3, one of" in steps[0]["text"]
    assert [path.name for path in tmp_path.iterdir()] == ["net.onnx"]
