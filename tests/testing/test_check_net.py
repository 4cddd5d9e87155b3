"""The check of nets: ours pass, and each of a row of faulty ones is told what it lacks."""

from __future__ import annotations

from pathlib import Path

import pytest

torch = pytest.importorskip("torch", reason="nets need torch")

from hsiedge import nets  # noqa: E402
from hsiedge.errors import CheckError, OptionError  # noqa: E402
from hsiedge.testing import check_net  # noqa: E402

pytestmark = pytest.mark.slow
NET = """
import torch
from torch import nn
from hsiedge.nets.base import Net

class Mine(Net):
    def __init__(self, bands, classes, patch=3, widths=(8,)):
        super().__init__()
        self.conv = nn.Conv2d(bands, widths[0], 3)
        self.norm = nn.BatchNorm2d(widths[0])
        self.classifier = nn.Linear(widths[0] * (patch - 2) ** 2, classes)

    @property
    def widths(self):
        return (self.conv.out_channels,)

    def features(self, spectra):
        return self.norm(self.conv(spectra)).relu()

    def head(self, features):
        return self.classifier(features.flatten(1))
"""


@pytest.fixture(autouse=True)
def _no_nets_of_other_tests(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(nets.NETS, "_files", {})
    monkeypatch.setattr(nets.NETS, "_loaded", {})


def check(folder: Path, old: str = "", new: str = "") -> None:
    assert old in NET
    (folder / "mine.py").write_text(NET.replace(old, new) if old else NET)
    check_net(f"{folder}/mine.py:Mine", bands=10, classes=3)


@pytest.mark.parametrize("name", ["cnn1d", "cnn2d", "dscnn", "cnn3d", "hybridsn"])
def test_ours_pass(name: str) -> None:
    check_net(name, bands=40, classes=4)


def test_one_of_ones_own_passes_and_draws_nothing(tmp_path: Path) -> None:
    before = torch.get_rng_state()
    check(tmp_path)
    assert torch.equal(before, torch.get_rng_state())


def test_members_are_enough_whatever_class_it_derives_from(tmp_path: Path) -> None:
    forward = "class Mine(nn.Module):\n    def forward(self, spectra):\n        return self.head(self.features(spectra))\n"
    check(tmp_path, "class Mine(Net):\n", forward)


@pytest.mark.parametrize(
    ("old", "new", "reason"),
    [
        ("def features", "def other", "Running it on patches fails .NotImplementedError"),
        ("class Mine(Net)", "class Mine(nn.Module)", "Running it on patches fails .NotImplementedError"),
        ("self.classifier = nn.Linear", "self.last = nn.Linear", "it has no classifier; derive it from"),
        ("return (self.conv.out_channels,)", "return [8]", "its widths must be a tuple of whole numbers"),
        ("return (self.conv.out_channels,)", "return (8,)", r"built with widths=\(4,\) it tells of widths \(8,\)"),
        ("classes)", "classes + 1)", "its classifier must be the nn.Linear that makes the 3 logits"),
        ("self.classifier(features.flatten(1))", "self.classifier(features.flatten(1))[:, :2]", r"logits \(8, 3\) of patches"),
        ("self.classifier(features.flatten(1))", "self.classifier(features.flatten(1)) / 0", "its logits are not finite"),
        ("self.norm(self.conv(spectra))", "self.norm(self.conv(spectra.mul_(2)))", "it changes the patches"),
        ("features.flatten(1))", "features.flatten(1)) * torch.rand(())", "in evaluation mode it gives other logits"),
        ("def head", "def forward(self, x):\n        return 2 * self.head(self.features(x))\n\n    def head", "head.features"),
        ("features.flatten(1))", "(features - features.mean(0)).flatten(1))", "depend on the other patches of its batch"),
        ("self.norm =", "self.idle = nn.Parameter(torch.ones(3)); self.norm =", "its parameters idle have no gradient"),
        ("features.flatten(1))", "features.flatten(1).detach())", "its parameters conv.weight, conv.bias, .* have no gradient"),
        ("nn.BatchNorm2d(widths[0])", "nn.BatchNorm2d(8)", "Cutting half of its channels, .* fails .RuntimeError"),
        ("self.conv(spectra)", "nn.functional.conv2d(spectra, self.conv.weight.tanh(), self.conv.bias)", "conv cannot be told"),
    ],
)
def test_a_fault_is_told_in_one_line(old: str, new: str, reason: str, tmp_path: Path) -> None:
    with pytest.raises(CheckError, match=reason) as refused:
        check(tmp_path, old, new)
    assert str(refused.value).startswith("net Mine: ")
    assert "\n" not in str(refused.value)


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("class Mine:\n    pass\n", "a class or function that takes bands, classes and patch was expected"),
        ("Mine = 3\n", "a class or function that takes bands, classes and patch was expected"),
        ("def Mine(bands, classes, patch):\n    raise KeyError('x')\n", "Mine on 60 bands, patch 1: 'x'"),
        ("def Mine(bands, classes, patch):\n    return 3\n", "Mine gives int, a torch.nn.Module was expected"),
    ],
)
def test_what_is_no_net_cannot_be_built(text: str, reason: str, tmp_path: Path) -> None:
    (tmp_path / "mine.py").write_text(text)
    with pytest.raises(OptionError, match=reason):
        check_net(f"{tmp_path}/mine.py:Mine")


def test_the_registry_needs_no_torch_until_a_net_is_built(tmp_path: Path) -> None:
    import subprocess
    import sys

    code = "import sys, hsiedge.nets, hsiedge.testing; list(hsiedge.nets.NETS); 'cnn2d' in hsiedge.nets.NETS; "
    code += "sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
    assert list(nets.NETS)[:5] == ["cnn1d", "cnn2d", "dscnn", "cnn3d", "hybridsn"]
