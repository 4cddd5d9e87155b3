"""Classifier: a net with its preprocessing, from counts in stored units to logits."""

from __future__ import annotations

from math import prod

import numpy as np
import torch
from torch import Tensor, nn

from hsiedge.nets.base import Net
from hsiedge.scenes.preprocess import BandAffine


class Classifier(nn.Module):
    """Per-band affine, then a net: what is exported.

    Args:
        net: of the registry; takes standardized float32 `(N, bands, p, p)`.
        affine: fitted on training pixels.
    """

    net: Net
    offset: Tensor
    scale: Tensor

    def __init__(self, net: Net, affine: BandAffine) -> None:
        super().__init__()
        self.net = net
        self.register_buffer("offset", torch.from_numpy(affine.offset).reshape(-1, 1, 1))
        self.register_buffer("scale", torch.from_numpy(affine.scale).reshape(-1, 1, 1))

    def forward(self, counts: Tensor) -> Tensor:
        """Computes logits `(N, classes)` from counts `(N, bands, p, p)` in any numeric dtype."""
        logits: Tensor = self.net((counts.to(torch.float32) - self.offset) * self.scale)
        return logits


def macs_per_pixel(net: nn.Module, bands: int, patch: int) -> int:
    """Multiply-accumulates of convolutions and linear layers for one label."""
    total = 0

    def count(layer: nn.Module, inputs: tuple[Tensor, ...], output: Tensor) -> None:
        nonlocal total
        weight = layer.weight
        assert isinstance(weight, Tensor)
        positions = prod(output.shape[2:]) if output.ndim > 2 else 1
        total += weight.numel() * positions

    layers = [layer for layer in net.modules() if isinstance(layer, (nn.Conv1d, nn.Conv2d, nn.Conv3d, nn.Linear))]
    handles = [layer.register_forward_hook(count) for layer in layers]
    device = next(net.parameters()).device
    training = net.training
    with torch.no_grad():
        net.eval()(torch.zeros(1, bands, patch, patch, device=device))
    net.train(training)
    for handle in handles:
        handle.remove()
    return total


def predict_logits(classifier: nn.Module, patches: np.ndarray[tuple[int, ...], np.dtype[np.generic]]) -> Tensor:
    """float32 logits `(n, classes)` of patches in stored units, without gradients."""
    with torch.no_grad():
        logits: Tensor = classifier.eval()(torch.from_numpy(patches))
        return logits
