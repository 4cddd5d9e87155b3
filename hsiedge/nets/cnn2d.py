"""The default net: a 1x1 convolution over the spectrum, then 3x3 convolutions over space."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise

from torch import Tensor, nn

from hsiedge.errors import OptionError
from hsiedge.nets.base import Net, outputs


class CNN2D(Net):
    """A 1x1 convolution over the bands, unpadded 3x3 convolutions, global average pool, one linear layer.

    The 1x1 convolution first is the network-in-network of Lin, Chen and Yan 2014 ("Network in network"), put to spectra
    as in Lee and Kwon 2017 ("Going deeper with contextual CNN for hyperspectral image classification"). BatchNorm after
    each convolution; it is folded into the convolution at export.

    Args:
        bands: B.
        classes: C.
        patch: p, odd, at least 2 * len(widths) - 1.
        widths: channels of the 1x1 convolution, then of each 3x3 one; left out, 64 five times, or as many as the patch has room
            for: four at patch 7.
    """

    epochs = 30  # with 60, five seeds of Indian Pines are no better (docs/benchmarks/accuracy.md),
    epochs_reshaped = 60  # but five layers of 16 are: on Hong's split, seed 0, 92.5 % OA in the place of 83.6

    def __init__(self, bands: int, classes: int, patch: int = 13, widths: Sequence[int] | None = None) -> None:
        super().__init__()
        widths = (64, 64, 64, 64, 64)[: (patch + 1) // 2] if widths is None else widths
        if not widths or min(widths) < 1:
            raise OptionError(f"cnn2d takes one width or more, each at least 1, not {tuple(widths)}")
        if patch < 2 * len(widths) - 1:
            raise OptionError(f"patch {patch} is too small for {len(widths) - 1} unpadded 3x3 convolutions")
        self.spectral = nn.Conv2d(bands, widths[0], 1, bias=False)
        self.spectral_norm = nn.BatchNorm2d(widths[0])
        self.spatial = nn.ModuleList(nn.Conv2d(a, b, 3, bias=False) for a, b in pairwise(widths))
        self.spatial_norm = nn.ModuleList(nn.BatchNorm2d(width) for width in widths[1:])
        self.act = nn.ReLU()
        self.pool = nn.AdaptiveAvgPool2d(1)
        self.classifier = nn.Linear(widths[-1], classes)

    @property
    def widths(self) -> tuple[int, ...]:
        return outputs(self.spectral, *self.spatial)

    def features(self, spectra: Tensor) -> Tensor:
        features: Tensor = self.act(self.spectral_norm(self.spectral(spectra)))
        for conv, norm in zip(self.spatial, self.spatial_norm):
            features = self.act(norm(conv(features)))
        return features

    def head(self, features: Tensor) -> Tensor:
        logits: Tensor = self.classifier(self.pool(features).flatten(1))
        return logits
