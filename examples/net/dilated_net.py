"""A net for hsiedge: a convolution over the bands, then three over space whose taps lie 1, 2 and 3 pixels apart."""

from collections.abc import Sequence

import torch
from torch import nn

from hsiedge.nets.base import Net


class Dilated(Net):
    """Three dilated 3x3 convolutions see 13 x 13 pixels, for which plain ones would need six (Yu and Koltun 2016).

    Args:
        bands: of the camera.
        classes: of the scene.
        patch: odd; 13 or more.
        widths: channels of the convolution over the bands, then of each one over space.
    """

    min_patch = 13

    def __init__(self, bands: int, classes: int, patch: int = 13, widths: Sequence[int] = (32, 48, 48, 48)) -> None:
        super().__init__()
        first, *others = widths
        self.spectral = nn.Conv2d(bands, first, 1, bias=False)
        self.spectral_norm = nn.BatchNorm2d(first)
        inputs = [first, *others[:-1]]
        self.spatial = nn.ModuleList(nn.Conv2d(a, b, 3, dilation=1 + n) for n, (a, b) in enumerate(zip(inputs, others)))
        self.classifier = nn.Linear(others[-1], classes)

    @property
    def widths(self) -> tuple[int, ...]:
        """Output channels of each layer as it stands: pruning makes them fewer."""
        return self.spectral.out_channels, *(layer.out_channels for layer in self.spatial)

    def features(self, spectra: torch.Tensor) -> torch.Tensor:
        """The last feature map `(N, channels, h, w)` of float32 spectra `(N, bands, patch, patch)`."""
        maps = self.spectral_norm(self.spectral(spectra)).relu()
        for layer in self.spatial:
            maps = layer(maps).relu()
        return maps

    def head(self, features: torch.Tensor) -> torch.Tensor:
        """Logits `(N, classes)` of a feature map."""
        return self.classifier(features.mean((2, 3)))
