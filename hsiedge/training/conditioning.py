"""Conditioning of the bands: training behind scaled principal axes, at no cost when the net runs.

Neighbouring bands of a spectrometer say nearly the same, and a gradient step on them is slow in all directions but a few.
Let A `(k, bands)` be the principal axes of the training pixels, axis i times eigenvalue_i ** -power. A net whose first
layer is a 1x1 convolution W over bands is trained as W = V A, on A x in the place of x; afterwards V A is written out, which
is exact. power 0 would be plain PCA, 0.5 whitening; in between, at 0.25, both extremes are beaten on Indian Pines
(benchmarks/accuracy.py).
"""

from __future__ import annotations

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from hsiedge.scenes.preprocess import principal_axes

COMPONENTS = 48
POWER = 0.25


def condition(net: nn.Module, spectra: NDArray[np.float32]) -> Tensor | None:
    """Puts `net.spectral` behind the principal axes of standardized training `spectra` `(n, bands)`.

    The layer's weights are drawn anew. A net without a 1x1 convolution `spectral` is left as it is.

    Returns:
        The axes, float32 `(k, bands)`, by which spectra are to be projected in training; None where nothing was done.
    """
    layer = getattr(net, "spectral", None)
    if not isinstance(layer, nn.Conv2d):
        return None
    axes = torch.from_numpy(principal_axes(spectra, COMPONENTS, POWER))
    net.spectral = nn.Conv2d(len(axes), layer.out_channels, 1, bias=layer.bias is not None)
    return axes


def release(net: nn.Module, axes: Tensor | None) -> None:
    """Writes the projection into `net.spectral`, which takes bands again. Undoes `condition`, exactly."""
    layer = getattr(net, "spectral", None)
    if axes is None or not isinstance(layer, nn.Conv2d):
        return
    folded = nn.Conv2d(axes.shape[1], layer.out_channels, 1, bias=layer.bias is not None)
    with torch.no_grad():
        folded.weight.copy_((layer.weight[:, :, 0, 0].double() @ axes.double())[:, :, None, None])
        if layer.bias is not None and folded.bias is not None:
            folded.bias.copy_(layer.bias)
    net.spectral = folded
