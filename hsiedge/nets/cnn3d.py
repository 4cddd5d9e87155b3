"""3-D convolutions over spectrum and space."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from hsiedge.errors import OptionError
from hsiedge.nets.base import Net, outputs


class CNN3D(Net):
    """3-D convolutions over patch and spectrum, after Hamida, Benoit, Lambert and Ben Amar 2018.

    "3-D deep learning approach for remote sensing image classification", IEEE TGRS 56(8): 4420-4434; the net for 5x5 patches.

    3x3x3 convolutions, and strided convolutions along the spectrum in the place of pooling.

    Args:
        bands: B.
        classes: C.
        patch: p, odd, at least 5; a larger one leaves more positions to the classifier.
        widths: channels of the six convolutions; or two, of the first two and of the others.
    """

    min_patch = 5

    def __init__(self, bands: int, classes: int, patch: int = 5, widths: Sequence[int] = (20, 35)) -> None:
        super().__init__()
        if len(widths) not in (2, 6) or min(widths) < 1:
            raise OptionError(f"cnn3d takes two widths or six, each at least 1, not {tuple(widths)}")
        w = tuple(widths) if len(widths) == 6 else (widths[0],) * 2 + (widths[1],) * 4
        self.layers = nn.ModuleList(
            [
                nn.Conv3d(1, w[0], (3, 3, 3)),
                nn.Conv3d(w[0], w[1], (3, 1, 1), stride=(2, 1, 1), padding=(1, 0, 0)),
                nn.Conv3d(w[1], w[2], (3, 3, 3), padding=(1, 0, 0)),
                nn.Conv3d(w[2], w[3], (3, 1, 1), stride=(2, 1, 1), padding=(1, 0, 0)),
                nn.Conv3d(w[3], w[4], (3, 1, 1), padding=(1, 0, 0)),
                nn.Conv3d(w[4], w[5], (2, 1, 1), stride=(2, 1, 1), padding=(1, 0, 0)),
            ]
        )
        self.act = nn.ReLU()
        with torch.no_grad():
            size = self.features(torch.zeros(1, bands, patch, patch)).flatten(1).shape[1]
        self.classifier = nn.Linear(size, classes)

    @property
    def widths(self) -> tuple[int, ...]:
        return outputs(*self.layers)

    def features(self, spectra: Tensor) -> Tensor:
        features = spectra.unsqueeze(1)
        for layer in self.layers:
            features = self.act(layer(features))
        return features

    def head(self, features: Tensor) -> Tensor:
        logits: Tensor = self.classifier(features.flatten(1))
        return logits
