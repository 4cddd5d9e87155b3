"""3-D convolutions over spectrum and space."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from hsiedge.errors import OptionError


class CNN3D(nn.Module):
    """Hamida, Benoit, Lambert and Ben Amar 2018, "3-D deep learning approach for remote sensing image classification",
    IEEE TGRS 56(8): 4420-4434; the net for 5x5 patches.

    3x3x3 convolutions, and strided convolutions along the spectrum in the place of pooling.

    Args:
        bands: B.
        classes: C.
        patch: p, odd, at least 5; a larger one leaves more positions to the classifier.
        widths: channels of the first convolution, and of all that follow the second.
    """

    def __init__(self, bands: int, classes: int, patch: int = 5, widths: Sequence[int] = (20, 35)) -> None:
        super().__init__()
        if len(widths) != 2 or min(widths) < 1:
            raise OptionError(f"cnn3d takes two widths, each at least 1, not {tuple(widths)}")
        first, second = widths
        self.layers = nn.ModuleList(
            [
                nn.Conv3d(1, first, (3, 3, 3)),
                nn.Conv3d(first, first, (3, 1, 1), stride=(2, 1, 1), padding=(1, 0, 0)),
                nn.Conv3d(first, second, (3, 3, 3), padding=(1, 0, 0)),
                nn.Conv3d(second, second, (3, 1, 1), stride=(2, 1, 1), padding=(1, 0, 0)),
                nn.Conv3d(second, second, (3, 1, 1), padding=(1, 0, 0)),
                nn.Conv3d(second, second, (2, 1, 1), stride=(2, 1, 1), padding=(1, 0, 0)),
            ]
        )
        self.act = nn.ReLU()
        with torch.no_grad():
            size = self._features(torch.zeros(1, bands, patch, patch)).shape[1]
        self.classifier = nn.Linear(size, classes)

    def _features(self, spectra: Tensor) -> Tensor:
        features = spectra.unsqueeze(1)
        for layer in self.layers:
            features = self.act(layer(features))
        return features.flatten(1)

    def forward(self, spectra: Tensor) -> Tensor:
        """Logits `(N, C)` of float32 `(N, B, p, p)`."""
        logits: Tensor = self.classifier(self._features(spectra))
        return logits
