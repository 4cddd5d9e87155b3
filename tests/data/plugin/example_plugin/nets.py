"""A net of the package's own: two unpadded 3x3 convolutions with BatchNorm under names that no net of hsiedge has."""

from __future__ import annotations

from collections.abc import Sequence

from torch import Tensor, nn

from hsiedge.nets.base import Net


class TwoBlocks(Net):
    """A bottleneck over the bands, and two blocks of convolution, BatchNorm and ReLU."""

    min_patch = 5

    def __init__(self, bands: int, classes: int, patch: int = 5, widths: Sequence[int] = (16, 12)) -> None:
        super().__init__()
        first, second = widths
        self.body = nn.Sequential(
            nn.Conv2d(bands, first, 3), nn.BatchNorm2d(first), nn.ReLU(), nn.Conv2d(first, second, 3, bias=False),
            nn.BatchNorm2d(second), nn.ReLU(),
        )  # fmt: skip
        self.pool = nn.AdaptiveAvgPool2d(1)
        self.classifier = nn.Linear(second, classes)

    @property
    def widths(self) -> tuple[int, ...]:
        return self.body[0].out_channels, self.body[3].out_channels

    def features(self, spectra: Tensor) -> Tensor:
        return self.body(spectra)

    def head(self, features: Tensor) -> Tensor:
        return self.classifier(self.pool(features).flatten(1))
