"""Conditioning of the bands: training behind scaled principal axes, at no cost when the net runs.

Neighbouring bands of a spectrometer say nearly the same, and a gradient step on them is slow in all directions but a few.
Let A `(k, bands)` be the principal axes of the training pixels, axis i times eigenvalue_i ** -power. A net whose first
layer is a 1x1 convolution W over bands is trained as W = V A; afterwards V A is written out, which is exact. power 0 would
be plain PCA, 0.5 whitening; in between, at 0.25, both extremes are beaten on Indian Pines (benchmarks/accuracy.py).

A net that is trained from nothing (`condition`) takes A x in the place of x, which is quicker. One that is trained on
(`conditioned`) keeps taking bands, for its weights on bands may have further parametrizations: masks, or few bits.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn.utils import parametrize

from hsiedge.scenes.preprocess import principal_axes

COMPONENTS = 48
POWER = 0.25
_EXACT = 1e-3  # of the largest weight


def principal(spectra: NDArray[np.float32]) -> Tensor:
    """Axes A, float32 `(k, bands)`, of standardized training `spectra` `(n, bands)`."""
    return torch.from_numpy(principal_axes(spectra, COMPONENTS, POWER))


def condition(net: nn.Module, axes: Tensor) -> bool:
    """Puts `net.spectral` behind the axes, with weights drawn anew. False for a net without a 1x1 convolution `spectral`."""
    layer = getattr(net, "spectral", None)
    if not isinstance(layer, nn.Conv2d):
        return False
    net.spectral = nn.Conv2d(len(axes), layer.out_channels, 1, bias=layer.bias is not None)
    return True


def release(net: nn.Module, axes: Tensor) -> None:
    """Writes the axes into `net.spectral`, which takes bands again: undoes `condition`, exactly."""
    layer = net.spectral
    assert isinstance(layer, nn.Conv2d)
    folded = nn.Conv2d(axes.shape[1], layer.out_channels, 1, bias=layer.bias is not None)
    with torch.no_grad():
        folded.weight.copy_((layer.weight[:, :, 0, 0].double() @ axes.double())[:, :, None, None])
        if layer.bias is not None and folded.bias is not None:
            folded.bias.copy_(layer.bias)
    net.spectral = folded


class Conditioned(nn.Module):
    """A parametrization of weights on bands, `(out, bands, 1, 1)`: V `(out, k)` is what is trained, V A what is used.

    Weights that were trained behind the same axes lie in their span, and V = W A+ is exact.
    """

    axes: Tensor
    inverse: Tensor

    def __init__(self, axes: Tensor) -> None:
        super().__init__()
        self.register_buffer("axes", axes)
        self.register_buffer("inverse", torch.linalg.pinv(axes.double()).float())

    def spans(self, weight: Tensor) -> bool:
        """Whether weights are on these bands, and V A for some V."""
        if weight.shape[1:] != (self.axes.shape[1], 1, 1):
            return False
        with torch.no_grad():
            return bool((self(self.right_inverse(weight)) - weight).abs().max() <= _EXACT * weight.abs().max())

    def forward(self, coordinates: Tensor) -> Tensor:
        """Weights W = V A from the trained V."""
        return (coordinates @ self.axes)[:, :, None, None]

    def right_inverse(self, weight: Tensor) -> Tensor:
        """Trained V from weights W."""
        return (weight[:, :, 0, 0].double() @ self.inverse.double()).float()


@contextmanager
def conditioned(net: nn.Module, axes: Tensor) -> Iterator[None]:
    """Trains `net.spectral`, where it is a 1x1 convolution over bands, as V A inside the block; afterwards W is plain.

    Weights that do not lie in the axes' span, for some were set to 0 or rounded, stay as they are and are trained as W.
    """
    layer = getattr(net, "spectral", None)
    weight = getattr(layer, "weight", None)
    parametrization = Conditioned(axes)
    if not (isinstance(layer, nn.Module) and isinstance(weight, Tensor) and parametrization.spans(weight)):
        yield
        return
    parametrize.register_parametrization(layer, "weight", parametrization)
    try:
        yield
    finally:
        if parametrize.is_parametrized(layer, "weight"):  # not if it had masks too: they go together
            parametrize.remove_parametrizations(layer, "weight", leave_parametrized=True)
