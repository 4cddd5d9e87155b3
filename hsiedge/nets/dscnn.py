"""The student: the default net with depthwise-separable convolutions, and a twentieth of its weights."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise

from torch import Tensor, nn

from hsiedge.errors import OptionError
from hsiedge.nets.base import Net, outputs


class DSCNN(Net):
    """A 1x1 convolution over the bands, unpadded depthwise 3x3 and pointwise 1x1 ones, global average pool, a linear layer.

    Depthwise-separable convolutions as in MobileNet (Howard et al. 2017) and, under this name, in Zhang, Suda, Lai and
    Chandra 2017, "Hello Edge: keyword spotting on microcontrollers". BatchNorm after each convolution; it is folded into
    the convolution at export.

    Args:
        bands: B.
        classes: C.
        patch: p, odd, at least 2 * len(widths) - 1.
        widths: channels of the 1x1 convolution over the bands, then of each pointwise one; left out, 20, 32, 32 and 32, or as
            many of them as the patch has room for.
    """

    def __init__(self, bands: int, classes: int, patch: int = 13, widths: Sequence[int] | None = None) -> None:
        super().__init__()
        widths = (20, 32, 32, 32)[: (patch + 1) // 2] if widths is None else widths
        if not widths or min(widths) < 1:
            raise OptionError(f"dscnn takes one width or more, each at least 1, not {tuple(widths)}")
        if patch < 2 * len(widths) - 1:
            raise OptionError(f"patch {patch} is too small for {len(widths) - 1} unpadded 3x3 convolutions")
        self.spectral = nn.Conv2d(bands, widths[0], 1, bias=False)
        self.spectral_norm = nn.BatchNorm2d(widths[0])
        self.depthwise = nn.ModuleList(nn.Conv2d(a, a, 3, groups=a, bias=False) for a in widths[:-1])
        self.depthwise_norm = nn.ModuleList(nn.BatchNorm2d(a) for a in widths[:-1])
        self.pointwise = nn.ModuleList(nn.Conv2d(a, b, 1, bias=False) for a, b in pairwise(widths))
        self.pointwise_norm = nn.ModuleList(nn.BatchNorm2d(b) for b in widths[1:])
        self.act = nn.ReLU()
        self.pool = nn.AdaptiveAvgPool2d(1)
        self.classifier = nn.Linear(widths[-1], classes)

    @property
    def widths(self) -> tuple[int, ...]:
        return outputs(self.spectral, *self.pointwise)

    def features(self, spectra: Tensor) -> Tensor:
        features: Tensor = self.act(self.spectral_norm(self.spectral(spectra)))
        stages = zip(self.depthwise, self.depthwise_norm, self.pointwise, self.pointwise_norm)
        for depthwise, depthwise_norm, pointwise, pointwise_norm in stages:
            features = depthwise_norm(depthwise(features))
            features = self.act(pointwise_norm(pointwise(features)))
        return features

    def head(self, features: Tensor) -> Tensor:
        logits: Tensor = self.classifier(self.pool(features).flatten(1))
        return logits
