"""Nets: PyTorch architectures, one file each, in a registry that loads one when it is built.

Every net takes standardized spectra, float32 `(N, bands, p, p)`, and gives logits `(N, classes)`. Convolutions are
unpadded, so that a pixel's label depends on its patch alone, wherever in a scene the patch lies. What else a net has to do, so
that it takes part everywhere, `hsiedge.nets.base.Net` tells and `hsiedge.testing.check_net` checks.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from hsiedge.errors import HsiedgeError, OptionError
from hsiedge.registry import Registry

if TYPE_CHECKING:
    from hsiedge.nets.base import Net

DEFAULT = "cnn2d"


@dataclass(frozen=True)
class NetSpec:
    """An architecture: its class, built with `(bands, classes, patch, **options)`, its default patch and the least one.

    `epochs`: passes over the training pixels that it takes by default, with a shape of its own; `epochs_reshaped` with another.
    """

    build: Callable[..., Net]
    patch: int
    min_patch: int
    epochs: int = 60
    epochs_reshaped: int = 60

    def epochs_for(self, options: Mapping[str, Any]) -> int:
        """Default epochs of a net that is built with these options."""
        return self.epochs_reshaped if options else self.epochs


def _spec_of(build: Any) -> NetSpec:
    """The entry of a class or function that builds a net: the default of its parameter `patch`, and its `min_patch` or 1."""
    parameters = inspect.signature(build).parameters if callable(build) else {}
    if not {"bands", "classes", "patch"} <= set(parameters):
        raise TypeError("a class or function that takes bands, classes and patch was expected")
    default = parameters["patch"].default
    least = getattr(build, "min_patch", 1)
    epochs = getattr(build, "epochs", NetSpec.epochs)
    patch = default if isinstance(default, int) else max(1, least)
    return NetSpec(build, patch, least, epochs, getattr(build, "epochs_reshaped", epochs))


NETS: Registry[NetSpec] = Registry(
    "hsiedge.nets",
    "net",
    {
        "cnn1d": "hsiedge.nets.cnn1d:CNN1D",
        "cnn2d": "hsiedge.nets.cnn2d:CNN2D",
        "dscnn": "hsiedge.nets.dscnn:DSCNN",
        "cnn3d": "hsiedge.nets.cnn3d:CNN3D",
        "hybridsn": "hsiedge.nets.hybridsn:HybridSN",
        "mlp": "hsiedge.nets.mlp:MLP",
        "liunet": "hsiedge.nets.liunet:LiuNet",
    },
    _spec_of,
)


def spec(name: str) -> NetSpec:
    """The registry's entry. Raises OptionError for an unknown name, or one that cannot be loaded."""
    return NETS[name]


def build(name: str, bands: int, classes: int, patch: int, **options: Any) -> Net:
    """Builds a net with fresh weights; `options` are the architecture's own (widths).

    Raises:
        OptionError: unknown name or option, an even patch, or one too small for the net; a net that is not ours, and fails.
    """
    from torch import nn

    entry = spec(name)
    if patch % 2 == 0 or patch < 1:
        raise OptionError("an odd number of pixels, 1 or more, is expected", option="patch", value=patch)
    if patch < entry.min_patch:
        raise OptionError(f"patch {patch}: {name} takes odd patches from {entry.min_patch} up")
    # torch's own errors, where nothing is left of the spectrum or the patch; any, of a net whose author we are not
    expected = (TypeError, RuntimeError) if NETS.origin(name) is None else Exception
    try:
        net = entry.build(bands, classes, patch, **options)
    except HsiedgeError:
        raise
    except expected as error:
        reason = next(iter(str(error).splitlines()), type(error).__name__)
        raise OptionError(f"{name} on {bands} bands, patch {patch}: {reason}") from error
    if not isinstance(net, nn.Module):
        raise OptionError(f"{name} gives {type(net).__name__}, a torch.nn.Module was expected")
    return net


def parameter_count(net: Net) -> int:
    """Counts trainable parameters."""
    return sum(parameter.numel() for parameter in net.parameters())
