"""Nets: PyTorch architectures, one file each, in a registry.

Every net takes standardized spectra, float32 `(N, bands, p, p)`, and gives logits `(N, classes)`. Convolutions are
unpadded, so that a pixel's label depends on its patch alone, wherever in a scene the patch lies.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from hsiedge.errors import OptionError
from hsiedge.nets.base import Net
from hsiedge.nets.cnn1d import CNN1D
from hsiedge.nets.cnn2d import CNN2D
from hsiedge.nets.cnn3d import CNN3D
from hsiedge.nets.dscnn import DSCNN
from hsiedge.nets.hybridsn import HybridSN


@dataclass(frozen=True)
class NetSpec:
    """An architecture: its class, built with `(bands, classes, patch, **options)`, its default and least patch."""

    build: type[Net]
    patch: int
    min_patch: int
    title: str


NETS: dict[str, NetSpec] = {
    "cnn1d": NetSpec(CNN1D, 1, 1, "spectrum of one pixel (Hu et al. 2015)"),
    "cnn2d": NetSpec(CNN2D, 13, 1, "1x1 spectral convolution, then 3x3 convolutions"),
    "dscnn": NetSpec(DSCNN, 13, 1, "the same with depthwise-separable convolutions: a student (Zhang et al. 2017)"),
    "cnn3d": NetSpec(CNN3D, 5, 5, "3x3x3 convolutions (Hamida et al. 2018)"),
    "hybridsn": NetSpec(HybridSN, 13, 9, "3-D, then 2-D convolutions (Roy et al. 2020)"),
}
DEFAULT = "cnn2d"


def spec(name: str) -> NetSpec:
    """The registry's entry. Raises OptionError for an unknown name."""
    if name not in NETS:
        raise OptionError(f"no net is called {name!r}; there are {', '.join(NETS)}")
    return NETS[name]


def build(name: str, bands: int, classes: int, patch: int, **options: Any) -> Net:
    """A net with fresh weights; `options` are the architecture's own (widths).

    Raises:
        OptionError: unknown name or option, an even patch, or one too small for the net.
    """
    entry = spec(name)
    if patch % 2 == 0 or patch < entry.min_patch:
        raise OptionError(f"patch {patch}: {name} takes odd patches from {entry.min_patch} up")
    try:
        return entry.build(bands, classes, patch, **options)
    except (TypeError, RuntimeError) as error:  # torch's own, where nothing is left of the spectrum or the patch
        raise OptionError(f"{name} on {bands} bands, patch {patch}: {str(error).splitlines()[0]}") from error


def parameter_count(net: Net) -> int:
    """Trainable parameters."""
    return sum(parameter.numel() for parameter in net.parameters())
