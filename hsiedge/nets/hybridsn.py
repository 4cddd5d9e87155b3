"""3-D convolutions, then 2-D ones."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from hsiedge.errors import OptionError
from hsiedge.nets.base import Net, outputs


class HybridSN(Net):
    """3-D convolutions, then a 2-D one, after Roy, Krishna, Dubey and Chaudhuri 2020.

    "HybridSN: exploring 3-D-2-D CNN feature hierarchy for hyperspectral image classification", IEEE GRSL 17(2): 277-281.

    The paper reduces the bands by PCA; here that is the 1x1 convolution `spectral`, which training starts from the
    principal components of the training pixels, so that the exported graph takes the sensor's bands. The published
    patch is 25; the default of 13 keeps within the guard of a `blocks` split.

    Args:
        bands: B.
        classes: C.
        patch: p, odd, at least 9.
        components: what `spectral` reduces the bands to, at least 13 (30 in the paper for Indian Pines).
        widths: channels of the three 3-D convolutions and the 2-D one, units of the two hidden layers.
    """

    min_patch = 9

    def __init__(
        self,
        bands: int,
        classes: int,
        patch: int = 13,
        components: int = 30,
        widths: Sequence[int] = (8, 16, 32, 64, 256, 128),
    ) -> None:
        super().__init__()
        if components < 13 or len(widths) != 6 or min(widths) < 1:
            raise OptionError(f"hybridsn takes 13 components or more and six widths, not {components} and {tuple(widths)}")
        self.spectral = nn.Conv2d(bands, components, 1)
        self.conv3d = nn.ModuleList(
            [
                nn.Conv3d(1, widths[0], (7, 3, 3)),
                nn.Conv3d(widths[0], widths[1], (5, 3, 3)),
                nn.Conv3d(widths[1], widths[2], (3, 3, 3)),
            ]
        )
        self.conv2d = nn.Conv2d(widths[2] * (components - 12), widths[3], 3)
        self.act = nn.ReLU()
        with torch.no_grad():
            size = self.features(torch.zeros(1, bands, patch, patch)).flatten(1).shape[1]
        self.hidden = nn.ModuleList([nn.Linear(size, widths[4]), nn.Linear(widths[4], widths[5])])
        self.dropout = nn.Dropout(0.4)
        self.classifier = nn.Linear(widths[5], classes)

    @property
    def widths(self) -> tuple[int, ...]:
        return outputs(*self.conv3d, self.conv2d, *self.hidden)

    def features(self, spectra: Tensor) -> Tensor:
        features = self.spectral(spectra).unsqueeze(1)
        for conv in self.conv3d:
            features = self.act(conv(features))
        # channel-major: a pruned 3-D channel takes whole runs of the 2-D convolution's inputs with it
        merged: Tensor = self.act(self.conv2d(features.flatten(1, 2)))
        return merged

    def head(self, features: Tensor) -> Tensor:
        features = features.flatten(1)
        for layer in self.hidden:
            features = self.dropout(self.act(layer(features)))
        logits: Tensor = self.classifier(features)
        return logits
