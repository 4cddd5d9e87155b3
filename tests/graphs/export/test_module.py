"""Anyone's PyTorch net, from a factory in a file and a file of weights."""

from __future__ import annotations

import subprocess
import sys
import textwrap
from pathlib import Path

import numpy as np
import pytest

torch = pytest.importorskip("torch", reason="the nets are PyTorch's")

from hsiedge.errors import HsiedgeError, ModelError, OptionError  # noqa: E402
from hsiedge.graphs.export.module import export_module  # noqa: E402
from hsiedge.runtimes import load  # noqa: E402

SOURCE = """
    import torch
    from torch import nn
    from widths import WIDTH


    class Mine(nn.Module):
        def __init__(self, bands, classes, depth=1):
            super().__init__()
            self.first, self.head = nn.Conv2d(bands, WIDTH, 3), nn.Linear(WIDTH, classes)

        def forward(self, x):
            return self.head(torch.relu(self.first(x)).mean((2, 3)))


    def net(classes):
        return Mine(7, classes)


    def broken(bands):
        raise ValueError("no such thing")


    def number():
        return 3


    VALUE = 5
"""


@pytest.fixture
def source(tmp_path: Path) -> Path:
    (tmp_path / "widths.py").write_text("WIDTH = 6\n")
    (tmp_path / "my_nets.py").write_text(textwrap.dedent(SOURCE))
    return tmp_path / "my_nets.py"


def state(seed: int = 3) -> dict[str, torch.Tensor]:
    draw = torch.Generator().manual_seed(seed)
    shapes = {"first.weight": (6, 7, 3, 3), "first.bias": (6,), "head.weight": (4, 6), "head.bias": (4,)}
    return {name: torch.randn(shape, generator=draw) for name, shape in shapes.items()}


def expected(patches: np.ndarray, weights: dict[str, torch.Tensor]) -> np.ndarray:
    maps = torch.conv2d(torch.from_numpy(patches), weights["first.weight"], weights["first.bias"]).relu().mean((2, 3))
    return (maps @ weights["head.weight"].T + weights["head.bias"]).numpy()


@pytest.mark.parametrize("kind", ["plain", "wrapped", "parallel", "safetensors"])
@pytest.mark.parametrize("name", ["Mine", "net"])
def test_it_is_exported_with_its_weights(source: Path, tmp_path: Path, kind: str, name: str) -> None:
    weights, path = state(), tmp_path / ("w.safetensors" if kind == "safetensors" else "w.pt")
    if kind == "safetensors":
        from safetensors.torch import save_file

        save_file(weights, path)
    else:
        stored = {f"module.{key}": value for key, value in weights.items()} if kind == "parallel" else weights
        torch.save({"epoch": 3, "state_dict": stored} if kind == "wrapped" else stored, path)
    check = export_module(f"{source}:{name}", path, 7, 5, 4, tmp_path / "out.onnx")
    assert check.figures["logit_difference"] <= 1e-4
    patches = np.random.default_rng(1).normal(size=(9, 7, 5, 5)).astype(np.float32)
    np.testing.assert_allclose(load(tmp_path / "out.onnx").session.run([patches]), expected(patches, weights), atol=1e-4)


def test_what_is_refused(source: Path, tmp_path: Path) -> None:
    torch.save(state(), tmp_path / "w.pt")
    torch.save({**state(), "head.bias": torch.zeros(9)}, tmp_path / "other.pt")
    torch.save({"net": torch.nn.Linear(2, 2)}, tmp_path / "pickled.pt")
    torch.save([1, 2], tmp_path / "list.pt")
    (tmp_path / "text.pt").write_text("weights")
    (tmp_path / "bad.py").write_text("1 / 0")

    def refused(
        name: str, message: str, weights: str = "w.pt", error: type[HsiedgeError] = ModelError, sizes=(7, 5, 4)
    ) -> None:
        with pytest.raises(error, match=message):
            export_module(name if ".py" in name else f"{source}:{name}", tmp_path / weights, *sizes, tmp_path / "out.onnx")

    refused("absent", "has no function or class absent")
    refused("VALUE", "has no function or class VALUE")
    refused("broken", "fails .ValueError: no such thing")
    refused("number", "gives int, an nn.Module was expected")
    refused(f"{tmp_path}/none.py:net", "no such file")
    refused(f"{tmp_path}/bad.py:net", "cannot be run .ZeroDivisionError")
    refused("Mine", "its weights are not those of the net", "other.pt")
    refused("Mine", "no weights can be read from it", "pickled.pt")
    refused("Mine", "no weights can be read from it", "text.pt")
    refused("Mine", "holds no state_dict", "list.pt")
    refused("Mine", "no such file", "none.pt")
    refused("net", "does not take", sizes=(8, 5, 4))
    refused("Mine", "the patch odd", error=OptionError, sizes=(7, 4, 4))
    (tmp_path / "wide.py").write_text("from my_nets import Mine\ndef net():\n    return Mine(7, 5)\n")
    with pytest.raises(ModelError, match=r"gives \(64, 5\) for 64 patches"):
        export_module(f"{tmp_path}/wide.py:net", None, 7, 5, 4, tmp_path / "out.onnx")
    assert not (tmp_path / "out.onnx").exists()


def test_the_command_goes_on_to_a_scene_graph(source: Path, tmp_path: Path) -> None:
    torch.save(state(), tmp_path / "w.pt")
    np.save(tmp_path / "cube.npy", np.random.default_rng(0).normal(size=(30, 20, 7)).astype(np.float32))
    labels = np.zeros((30, 20), np.uint8)
    labels[::3, ::2] = np.arange(100).reshape(10, 10) % 4 + 1
    np.save(tmp_path / "labels.npy", labels)
    cube_words = ["--cube", "cube.npy", "--labels", "labels.npy"]
    for arguments in (
        ["export", "my_nets.py:Mine", "--weights", "w.pt", "--bands", "7", "--patch", "5", "--classes", "4"],
        ["card", "my_nets-Mine.onnx", *cube_words, "--patch", "5", "-o", "mine.onnx"],
        ["export", "mine.onnx", "--scene-graph", *cube_words, "-o", "mine-scene.onnx"],
        ["classify", "mine-scene.onnx", "cube.npy", "-o", "map.npy"],
    ):
        done = subprocess.run(
            [sys.executable, "-m", "hsiedge", *arguments], cwd=tmp_path, capture_output=True, text=True, check=False
        )
        assert done.returncode == 0, done.stderr
    assert set(np.unique(np.load(tmp_path / "map.npy"))) <= {1, 2, 3, 4}
    command = [sys.executable, "-m", "hsiedge", "export", "my_nets.py:Mine", "--bands", "7"]
    failed = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=False)
    assert (failed.returncode, failed.stderr) == (2, "hsiedge: error: my_nets.py:Mine: say --bands, --patch and --classes\n")
