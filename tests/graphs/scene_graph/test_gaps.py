"""Scene graphs of padding along the bands, of kernels over a single position, and of pools along some axes only."""

from __future__ import annotations

import pytest

pytest.importorskip("torch", reason="the patch graphs are exported from torch")

import torch
from torch import Tensor, nn
from torch.nn import functional

from tests.graphs.scene_graph.test_densify import agree
from tests.graphs.strangers import BANDS, CLASSES, seeded
from tests.workstation import exported


class PaddedBands(nn.Module):
    """Bands padded before a convolution along them."""

    def __init__(self, mode: str, value: float, pads: tuple[int, int]) -> None:
        super().__init__()
        self.mode, self.value, self.pads = mode, value, pads
        self.first = nn.Conv3d(1, 3, (5, 3, 3), stride=(2, 1, 1))
        self.head = nn.Linear(3 * ((BANDS + sum(pads) - 5) // 2 + 1), CLASSES)

    def forward(self, x: Tensor) -> Tensor:
        more = {"value": self.value} if self.mode == "constant" else {}
        x = functional.pad(x.unsqueeze(1), (0, 0, 0, 0, *self.pads), mode=self.mode, **more)
        return self.head(torch.relu(self.first(x)).flatten(1))


@pytest.mark.parametrize(
    ("mode", "value", "pads"),
    [
        ("reflect", 0.0, (2, 3)),
        ("replicate", 0.0, (0, 9)),
        ("circular", 0.0, (2, 2)),
        ("constant", 1.5, (2, 1)),
        ("constant", 0.0, (-3, -1)),
    ],
)
def test_bands_are_padded_with_what_the_net_pads_with(mode: str, value: float, pads: tuple[int, int]) -> None:
    agree(exported(seeded(lambda: PaddedBands(mode, value, pads)), BANDS, 3), 3)


class OverOne(nn.Module):
    """Padded kernels over a spectrum, and over windows, of a single position."""

    def __init__(self, stride: int) -> None:
        super().__init__()
        self.first = nn.Conv3d(1, 4, (BANDS, 3, 3))
        self.second, self.third = nn.Conv3d(4, 4, 3, stride=stride, padding=1), nn.Conv3d(4, 6, (3, 1, 1), padding=(2, 0, 0),
                                                                                         dilation=(2, 1, 1))  # fmt: skip
        self.head = nn.Linear(6, CLASSES)

    def forward(self, x: Tensor) -> Tensor:
        x = torch.relu(self.second(torch.relu(self.first(x.unsqueeze(1)))))
        return self.head(torch.relu(self.third(x)).flatten(1))


@pytest.mark.parametrize("stride", [1, 2])
def test_of_a_kernel_over_one_position_the_centre_counts(stride: int) -> None:
    agree(exported(seeded(lambda: OverOne(stride)), BANDS, 3), 3)


def test_a_kernel_whose_centre_is_padding_runs_pixel_by_pixel() -> None:
    net = nn.Sequential(nn.Conv2d(BANDS, 4, 3), nn.Conv2d(4, 3, (1, 2), padding=(0, 1)), nn.Flatten(1))
    graph = agree(exported(seeded(lambda: net), BANDS, 3), 3)
    assert graph.hybrid is not None
    assert graph.hybrid.dense_macs == 9 * 4 * BANDS


class PooledInPart(nn.Module):
    """Pools along y and x of maps whose bands lie behind them, and pools of one position along merged axes."""

    def __init__(self) -> None:
        super().__init__()
        self.first, self.head = nn.Conv3d(1, 4, (3, 3, 5)), nn.Linear(4 * (BANDS - 4), CLASSES)

    def forward(self, x: Tensor) -> Tensor:
        x = torch.relu(self.first(x.permute(0, 2, 3, 1).unsqueeze(1)))
        x = functional.max_pool3d(functional.avg_pool3d(x, (2, 2, 1), 1), (2, 1, 1), 1)
        x = functional.max_pool2d(x.flatten(3), (1, 1)).unflatten(3, (2, -1))
        return self.head(functional.avg_pool3d(x, (1, 2, 1)).flatten(1))


def test_pools_along_some_axes() -> None:
    agree(exported(seeded(PooledInPart), BANDS, 5), 5)
