"""The base class of nets."""

from __future__ import annotations

from typing import ClassVar

from torch import Tensor, nn


class Net(nn.Module):
    """A net of the registry: a feature map, and a head that makes logits of it.

    A net of your own derives from it, or has the same members. It is built as `(bands, classes, patch, **options)`, positional
    or by these names; the default of `patch` is its own patch.

    Attributes:
        min_patch: the least patch that it takes.
        epochs: passes over the training pixels that it takes by default.
        classifier: the last layer, whose outputs are the logits: pruning leaves them alone.

    `widths` is also an option of the constructor: pruned, the net is built anew with the widths that are left. A net whose
    first layer is a 1x1 convolution over the bands calls it `spectral`, and is trained behind principal axes
    (`hsiedge.training.conditioning`).
    """

    min_patch: ClassVar[int] = 1
    epochs: ClassVar[int] = 60
    classifier: nn.Linear

    @property
    def widths(self) -> tuple[int, ...]:
        """The output channels of all layers but the last as they stand, after pruning: not those that it was built with."""
        raise NotImplementedError

    def features(self, spectra: Tensor) -> Tensor:
        """The last feature map of float32 spectra `(N, B, p, p)`.

        `(N, channels, h, w)`; of a 3-D net `(N, channels, depth, h, w)`, of a 1-D one `(N, channels)`.
        """
        raise NotImplementedError

    def head(self, features: Tensor) -> Tensor:
        """Logits `(N, C)` of a feature map."""
        raise NotImplementedError

    def forward(self, spectra: Tensor) -> Tensor:
        """Logits `(N, C)` of float32 spectra `(N, B, p, p)`."""
        return self.head(self.features(spectra))


def outputs(*layers: nn.Module) -> tuple[int, ...]:
    """Output channels (or units) of layers with weights."""
    return tuple(next(layer.parameters()).shape[0] for layer in layers)
