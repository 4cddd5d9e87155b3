"""Small CNN on the spectrum of one pixel, as flown in orbit."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from hsiedge.errors import OptionError
from hsiedge.nets.base import Net, outputs

_KERNEL, _POOL = 6, 2
_WIDTHS = (6, 12, 18, 24)


class LiuNet(Net):
    """Four convolutions along the spectrum of one pixel, each with a pool behind it: the shape of 1D-Justo-LiuNet.

    Justo, Garrett, Georgescu, Gonzalez-Llorente, Ionescu and Johansen 2023, "Sea-land-cloud segmentation in satellite
    hyperspectral imagery by deep learning", arXiv 2310.16210. On 112 bands and 3 classes it has their 4,563 parameters.
    A net of this kind, written in C by hand, labels images aboard the HYPSO-1 satellite.

    Kernels of 6, ReLU, maximum pools of 2, then one layer of classes. On a patch larger than one pixel it looks at the centre.

    Args:
        bands: B.
        classes: C.
        patch: p, odd.
        widths: filters of the convolutions; left out, 6, 12, 18 and 24, of which fewer than 91 bands take the first.
    """

    def __init__(self, bands: int, classes: int, patch: int = 1, widths: tuple[int, ...] | None = None) -> None:
        super().__init__()
        lengths = _lengths(bands)
        widths = _WIDTHS[: len(lengths)] if widths is None else tuple(widths)
        if not 1 <= len(widths) <= len(lengths):
            raise OptionError(f"liunet takes {len(lengths)} convolutions at most on {bands} bands, not {len(widths)}")
        length = lengths[len(widths) - 1]
        self.centre = patch // 2
        self.convs = nn.ModuleList(nn.Conv1d(a, b, _KERNEL) for a, b in zip((1, *widths), widths))
        self.pool = nn.MaxPool1d(_POOL)
        self.classifier = nn.Linear(widths[-1] * length, classes)

    @property
    def widths(self) -> tuple[int, ...]:
        return outputs(*self.convs)

    def features(self, spectra: Tensor) -> Tensor:
        values = spectra[:, :, self.centre, self.centre].unsqueeze(1)
        for conv in self.convs:
            values = self.pool(torch.relu(conv(values)))
        return values.flatten(1)

    def head(self, features: Tensor) -> Tensor:
        logits: Tensor = self.classifier(features)
        return logits


def _lengths(bands: int) -> list[int]:
    """Positions behind each convolution and its pool, as long as there are any."""
    lengths: list[int] = []
    while (bands := (bands - _KERNEL + 1) // _POOL) > 0:
        lengths.append(bands)
    return lengths
