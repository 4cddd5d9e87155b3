"""A zoo of the field's traits, tiny and seeded: each through card, quantize, TFLite, classify and bench, beside PyTorch."""

from __future__ import annotations

import functools
import json
import re
import subprocess
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest

torch = pytest.importorskip("torch", reason="the nets are PyTorch's")
pytest.importorskip("tensorflow", reason="TFLite files are made with TensorFlow")

from torch import Tensor, nn  # noqa: E402
from torch.nn import functional  # noqa: E402

from hsiedge.benchmark import bench  # noqa: E402
from hsiedge.graphs.export.attach_card import attach_card  # noqa: E402
from hsiedge.graphs.export.checkpoint import to_onnx  # noqa: E402
from hsiedge.graphs.quantization.quantize import quantize  # noqa: E402
from hsiedge.graphs.scene_graph.build import scene_graph  # noqa: E402
from hsiedge.graphs.tflite.convert import tflite  # noqa: E402
from hsiedge.graphs.trial import try_net  # noqa: E402
from hsiedge.mapping import classify  # noqa: E402
from hsiedge.runtimes import load  # noqa: E402
from hsiedge.scenes.patches import surrounded  # noqa: E402
from hsiedge.scenes.scene import Scene  # noqa: E402
from tests import workstation  # noqa: E402
from tests.graphs.strangers import seeded  # noqa: E402
from tests.strangers.conftest import BANDS, CLASSES  # noqa: E402
from tests.workstation import exported  # noqa: E402

PATCH = 5


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


NETS = [(ResidualCubes, PATCH), (Tokens, PATCH), (Branches, PATCH), (Gated, PATCH), (Recurrent, 1)]
MACS = {  # a pixel: on the maps (a place of each map costs its layers once), and in each window
    Tokens: (9 * BANDS * 8 + 8 * 3, 3 * 9 * 8 + 4 * (8 * 24 + 4 * 8 + 4 * 8 + 8 * 8 + 2 * 8 * 12) + 8 * CLASSES),
    Branches: (BANDS * 6 + 9 * BANDS * 6, 2 * 6 * 6 * 25 + 2 * 6 * 9 * 9 + 12 * CLASSES),
}


@dataclass(frozen=True)
class Made:
    """A net with seeded weights, and its file with a Card."""

    module: nn.Module
    card: Path
    patch: int

    def logits(self, rows: np.ndarray) -> np.ndarray:
        """PyTorch's logits `(classes, height, width)` of a strip with its halo, patch by patch."""
        windows = np.lib.stride_tricks.sliding_window_view(rows, (self.patch, self.patch), (0, 1))
        with torch.no_grad():
            logits = self.module(torch.from_numpy(windows.reshape(-1, *windows.shape[2:]).copy())).numpy()
        return logits.T.reshape(CLASSES, *windows.shape[:2])


@pytest.fixture(scope="module")
def make(scene: Scene, tmp_path_factory: pytest.TempPathFactory) -> Callable[[type, int], Made]:
    @functools.cache
    def one(kind: type, patch: int) -> Made:
        folder, module = tmp_path_factory.mktemp(kind.__name__), seeded(kind)
        (folder / "net.onnx").write_bytes(exported(module, BANDS, patch).SerializeToString())
        attach_card(folder / "net.onnx", scene, patch, None, folder / "m.onnx")
        return Made(module, folder / "m.onnx", patch)

    return one


@pytest.mark.slow
@pytest.mark.parametrize(("kind", "patch"), NETS)
def test_through_the_whole_tool(kind: type, patch: int, make: Callable, scene: Scene, tmp_path: Path) -> None:
    net, int8, lite = make(kind, patch), tmp_path / "q.onnx", tmp_path / "m.tflite"
    pixels = np.arange(24 * 22)
    truth = 1 + net.logits(surrounded(scene.cube, 0, 24, patch // 2)).argmax(0).ravel()
    np.testing.assert_array_equal(load(net.card).predict(scene, pixels), truth)
    quantized = quantize(net.card, scene, int8, patches=64).quantization
    assert quantized is not None
    assert quantized.agreement >= 90
    assert (load(int8).predict(scene, pixels) == truth).mean() >= 0.9
    tflite(net.card, scene, lite)
    np.testing.assert_array_equal(load(lite).predict(scene, pixels), truth)
    files = [net.card, int8, lite]
    report = bench(files, batches=[16], runs=1, seconds=0.05)
    assert len(report.rows()) == len(files)


@pytest.mark.slow
@pytest.mark.parametrize(("kind", "patch"), NETS)
def test_as_a_scene_graph(kind: type, patch: int, make: Callable, scene: Scene, tmp_path: Path) -> None:
    """Logits are PyTorch's at the scene's edges, on real spectra and on random ones; in LiteRT labels are, float and INT8."""
    net, whole, lite, int8 = make(kind, patch), *(tmp_path / name for name in ("s.onnx", "s.tflite", "q.tflite"))
    facts = scene_graph(net.card, scene, whole).hybrid
    assert facts is not None
    assert MACS.get(kind, (facts["dense_macs"], facts["pixel_macs"])) == (facts["dense_macs"], facts["pixel_macs"])
    corner, rng = workstation.corner(24).cube[:, :22, :BANDS].astype(np.float32), np.random.default_rng(7)
    for cube in (scene.cube, (corner - corner.mean((0, 1))) / corner.std((0, 1)), rng.normal(size=(9, 70, BANDS)) * 3):
        rows = surrounded(cube.astype(np.float32), 0, len(cube), patch // 2)
        ours, theirs = load(whole).strip(rows), net.logits(rows)
        assert np.abs(ours - theirs).max() <= 1e-5 * np.ptp(theirs)
        np.testing.assert_array_equal(ours.argmax(0), theirs.argmax(0))
    tflite(whole, scene, lite, tile=(5, 7))
    truth = classify(load(net.card), scene.cube)
    assert load(lite).tile == (5, 7)
    np.testing.assert_array_equal(classify(load(lite), scene.cube), truth)
    if kind in (Tokens, Gated):
        quantize(whole, scene, int8, patches=64)
        assert (classify(load(int8), scene.cube) == truth).mean() >= 0.9
        assert load(int8).tile == (24, 22)
        assert len(bench([whole, int8], runs=1, seconds=0.05).rows()) == 2


class Running(nn.Module):
    """Running sums over channels: an operator that TFLite files are not made of."""

    def __init__(self) -> None:
        super().__init__()
        self.first, self.head = nn.Conv2d(BANDS, 4, 3), nn.Linear(36, CLASSES)

    def forward(self, x: Tensor) -> Tensor:
        x = torch.cumsum(self.first(x), 1)
        return self.head(x.flatten(1))


@pytest.mark.slow
def test_a_trial_tells_where_a_net_stops(scene: Scene, tmp_path: Path) -> None:
    path = tmp_path / "net.onnx"
    path.write_bytes(to_onnx(seeded(Running), BANDS, PATCH, stacks=True).SerializeToString())
    steps = {step.name: step for step in try_net(str(path), scene, PATCH)}
    assert list(steps) == ["card", "classify", "quantize", "scene graph", "tflite", "tflite int8"]
    assert [step.works for step in steps.values()] == [True] * 4 + [False] * 2
    assert steps["classify"].text.startswith("256 pixels in")
    line = r"node node_cumsum \(CumSum\).* \(test_zoo.py, line \d+: x = torch.cumsum\(self.first\(x\), 1\)\)$"
    assert re.search(line.replace(".*", ": not among the operators that are converted to TFLite"), steps["tflite"].text)
    assert re.search(
        line.replace(r"node node_cumsum \(CumSum\).*", "from node_cumsum on pixel by pixel"), steps["scene graph"].text
    )
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
