"""Perceptron on the spectrum of one pixel: what small boards can afford."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from hsiedge.errors import OptionError
from hsiedge.nets.base import Net, outputs


class MLP(Net):
    """A 1x1 convolution over the bands of one pixel, tanh, one linear layer: 27,792 parameters on 200 bands and 16 classes.

    No BatchNorm, no dropout, and bands that are standardized but not put behind principal axes: trained for long, it then fits
    the directions of much variance first, as a support vector machine does. On Indian Pines, five-fold cross-validation on the
    695 training pixels of Hong's split, in OA percent: 72.5 after 60 epochs, 77.0 after 200, 80.6 after 600; a support vector
    machine 78.0; behind scaled principal axes 69.9 after 60; with BatchNorm and dropout, whatever the depth, 74 at most.

    On a patch larger than one pixel it looks at the centre.

    Args:
        bands: B.
        classes: C.
        patch: p, odd.
        widths: units of the hidden layer, one number.
    """

    epochs = 600

    def __init__(self, bands: int, classes: int, patch: int = 1, widths: tuple[int] = (128,)) -> None:
        super().__init__()
        if len(widths) != 1 or widths[0] < 1:
            raise OptionError(f"mlp takes one width, at least 1, not {tuple(widths)}")
        self.centre = patch // 2
        self.hidden = nn.Conv2d(bands, widths[0], 1)
        self.classifier = nn.Linear(widths[0], classes)

    @property
    def widths(self) -> tuple[int, ...]:
        return outputs(self.hidden)

    def features(self, spectra: Tensor) -> Tensor:
        pixel = spectra[:, :, self.centre : self.centre + 1, self.centre : self.centre + 1]
        return torch.tanh(self.hidden(pixel)).flatten(1)

    def head(self, features: Tensor) -> Tensor:
        logits: Tensor = self.classifier(features)
        return logits
