"""What all nets have in common."""

from __future__ import annotations

from torch import Tensor, nn


class Net(nn.Module):
    """A net of the registry: a feature map, and a head that makes logits of it."""

    classifier: nn.Linear

    @property
    def widths(self) -> tuple[int, ...]:
        """The widths as they stand: after pruning, not those that the net was first built with."""
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
    """The output channels (or units) of layers with weights."""
    return tuple(next(layer.parameters()).shape[0] for layer in layers)
