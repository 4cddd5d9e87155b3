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


PUBLISHED = """
    import torch
    from torch import nn


    class Cube(nn.Module):
        \"\"\"(N, 1, p, p, bands), parameters called as others do, two outputs, a squeeze that takes the batch along.\"\"\"

        def __init__(self, in_channels=1, n_bands=103, num_classes=9, patch_size=9, wide=True, *, width: int):
            super().__init__()
            assert wide is False
            self.first = nn.Conv3d(in_channels, width, (patch_size, patch_size, n_bands))
            self.head = nn.Linear(width, num_classes)

        def forward(self, x):
            features = torch.relu(self.first(x)).squeeze()
            return self.head(features).view(x.size(0), -1), features


    class Line(nn.Module):
        def __init__(self, in_channels, classes):
            super().__init__()
            self.body = nn.Sequential(nn.Linear(in_channels, 6), nn.ReLU(), nn.Linear(6, classes))

        def forward(self, x):
            return self.body(x)
"""


def test_factories_as_they_are_published(tmp_path: Path) -> None:
    (tmp_path / "published.py").write_text(textwrap.dedent(PUBLISHED))
    source, lines = f"{tmp_path}/published.py", list[str]()
    export_module(
        f"{source}:Cube", None, 7, 5, 4, tmp_path / "cube.onnx", arguments={"wide": False, "width": 6}, say=lines.append
    )
    assert lines[:3] == [
        "n_bands=7 is its number of bands",
        "num_classes=4 is its number of classes",
        "patch_size=5 is its patch",
    ]
    assert any(line.startswith("it takes (N, 1, p, p, bands)") for line in lines)
    assert "of its 2 outputs the one of 4 classes counts, number 1" in lines
    session = load(tmp_path / "cube.onnx").session
    patches = np.random.default_rng(1).normal(size=(9, 7, 5, 5)).astype(np.float32)
    together = session.run([patches])
    assert together.shape == (9, 4)
    np.testing.assert_allclose(np.concatenate([session.run([patch[None]]) for patch in patches]), together, atol=1e-5)
    export_module(f"{source}:Line", None, 7, 1, 4, tmp_path / "line.onnx", say=lines.append)
    assert load(tmp_path / "line.onnx").session.run([patches[:, :, 2:3, 2:3]]).shape == (9, 4)
    for name, arguments, words in (
        ("Cube", {"wide": False}, "needs width beside bands, classes and patch; use arg=width=VALUE"),
        ("Cube", {"width": 6, "depth": 2}, "has no parameter depth; it has in_channels, n_bands, num_classes"),
    ):
        with pytest.raises(OptionError, match=words):
            export_module(f"{source}:{name}", None, 7, 5, 4, tmp_path / "out.onnx", arguments=arguments)
    with pytest.raises(ModelError, match=r"Cube\(width=6.*\): fails \(AssertionError"):
        export_module(f"{source}:Cube", None, 7, 5, 4, tmp_path / "out.onnx", arguments={"width": 6})
    with pytest.raises(ModelError, match=r"gives \(64, 5, 5, 4\) for 64 patches, \(64, 4\) was expected; 6 layouts were"):
        export_module(f"{source}:Line", None, 7, 5, 4, tmp_path / "out.onnx")


@pytest.mark.parametrize("wrap", ["module.model.", "_orig_mod.module."])
def test_weights_inside_of_a_checkpoint(source: Path, tmp_path: Path, wrap: str) -> None:
    weights = state()
    stored = {"epoch": 3, "optimizer": {"lr": 0.1}, "best_weights": {f"{wrap}{key}": value for key, value in weights.items()}}
    torch.save(stored, tmp_path / "w.pt")
    export_module(f"{source}:Mine", tmp_path / "w.pt", 7, 5, 4, tmp_path / "out.onnx")
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
    words = ["my_nets.py:Mine", "--bands", "7", "--patch", "5", "--classes", "4", "--arg", "depth=2", "-o", "deep.onnx"]
    done = subprocess.run([sys.executable, "-m", "hsiedge", "export", *words], cwd=tmp_path, capture_output=True, check=False)
    assert done.returncode == 0, done.stderr
    for wrong in ("depth", "depth=1", "no such=1"):
        command = [sys.executable, "-m", "hsiedge", "export", *words[:-2], "--arg", wrong]
        failed = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=False)
        assert (failed.returncode, failed.stderr) == (
            2, f"hsiedge: error: --arg {wrong}: NAME=VALUE is expected, each name once\n")  # fmt: skip
    command = [sys.executable, "-m", "hsiedge", "export", "my_nets.py:Mine", "--bands", "7"]
    failed = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=False)
    assert (failed.returncode, failed.stderr) == (2, "hsiedge: error: my_nets.py:Mine: say --bands, --patch and --classes\n")
