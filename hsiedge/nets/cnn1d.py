"""CNN on the spectrum of one pixel."""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn

from hsiedge.errors import OptionError
from hsiedge.nets.base import Net, outputs


class CNN1D(Net):
    """Convolution along the spectrum of one pixel, after Hu, Huang, Wei, Zhang and Li 2015.

    "Deep convolutional neural networks for hyperspectral image classification", Journal of Sensors 2015: 258619.

    One convolution along the spectrum (kernel: a ninth of the bands), max pooling (a fifth of the kernel), a hidden layer
    of 100, tanh throughout. On a patch larger than one pixel it looks at the centre.

    Args:
        bands: B.
        classes: C.
        patch: p, odd.
        widths: filters of the convolution, and units of the hidden layer.
    """

    def __init__(self, bands: int, classes: int, patch: int = 1, widths: tuple[int, int] = (20, 100)) -> None:
        super().__init__()
        kernel = math.ceil(bands / 9)
        pool = math.ceil(kernel / 5)
        length = (bands - kernel + 1) // pool
        if bands < 9 or len(widths) != 2:
            raise OptionError(f"cnn1d takes at least 9 bands and two widths, not {bands} and {tuple(widths)}")
        self.centre = patch // 2
        self.conv = nn.Conv1d(1, widths[0], kernel)
        self.pool = nn.MaxPool1d(pool)
        self.hidden = nn.Linear(widths[0] * length, widths[1])
        self.classifier = nn.Linear(widths[1], classes)

    @property
    def widths(self) -> tuple[int, ...]:
        return outputs(self.conv, self.hidden)

    def features(self, spectra: Tensor) -> Tensor:
        pixel = spectra[:, :, self.centre, self.centre].unsqueeze(1)
        features = self.pool(torch.tanh(self.conv(pixel))).flatten(1)
        return torch.tanh(self.hidden(features))

    def head(self, features: Tensor) -> Tensor:
        logits: Tensor = self.classifier(features)
        return logits
