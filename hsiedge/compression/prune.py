"""Pruning of single weights by magnitude, or of whole channels, with further training."""

from __future__ import annotations

import copy
import math
from collections.abc import Mapping, Sequence
from dataclasses import replace
from itertools import pairwise
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn.utils import parametrize

from hsiedge import nets
from hsiedge.compression import channels
from hsiedge.compression.distill import softened
from hsiedge.errors import OptionError
from hsiedge.nets.base import Net
from hsiedge.progress import Progress, silent
from hsiedge.scenes.scene import Scene
from hsiedge.scenes.splits import Split
from hsiedge.training.checkpoint import Checkpoint
from hsiedge.training.conditioning import conditioned
from hsiedge.training.finetune import TUNING, derived, finetune, on_both_weights, training_set_for
from hsiedge.training.fit import FitSettings

SCOPES = ("global", "layer")
CRITERIA = ("l1", "l2", "taylor", "batchnorm")
_PRUNING = 0.6  # of the steps; the rest make up for what the last cut broke
_CUTS = 20
_JUDGING = 8192  # training pixels, evenly spaced where there are more, that say what a channel is worth
_LAYERS = (nn.Conv1d, nn.Conv2d, nn.Conv3d, nn.Linear)


@on_both_weights
def prune_magnitude(
    checkpoint: Checkpoint,
    scene: Scene,
    split: Split,
    ratio: float,
    scope: str = "global",
    settings: FitSettings | None = None,
    parent: str | None = None,
    progress: Progress = silent,
) -> Checkpoint:
    """Sets the smallest weights of convolutions and linear layers to 0, in steps, while training on.

    The share of zeros grows as ratio * (1 - (1 - t) ** 3) (Zhu and Gupta 2017, "To prune, or not to prune", equation 1)
    over the first 60 % of the steps; what is 0 once stays 0. A dense runtime is none the faster for it.

    Arguments and errors are those of `hsiedge.Checkpoint.prune`; `parent` is the sha256 of the checkpoint's file.
    """
    _check(ratio, scope)
    settings = settings or TUNING
    dataset = training_set_for(checkpoint, scene, split)
    net = copy.deepcopy(checkpoint.classifier.net)
    with conditioned(net, dataset.axes), _Masks(net, ratio, scope) as masks:
        finetune(net, dataset, checkpoint.card.patch, settings, progress, masks, title="prune")
        masks.cut(ratio)
    zeros, total = count_zeros(net)
    options = {"method": "magnitude", "ratio": ratio, "scope": scope, "zeros": zeros, "weights": total, **vars(settings)}
    return derived(checkpoint, net, scene, split, "prune", options, parent)


@on_both_weights
def prune_structured(
    checkpoint: Checkpoint,
    scene: Scene,
    split: Split,
    ratio: float,
    criterion: str = "l1",
    scope: str = "layer",
    settings: FitSettings | None = None,
    parent: str | None = None,
    progress: Progress = silent,
    *,
    rounds: int = 1,
    soft_labels: bool = False,
) -> Checkpoint:
    """Takes whole channels out, with all that depends on them, and trains on: a smaller net of the same architecture.

    Weights go about as the square of the ratio. Other arguments, and errors, are those of `hsiedge.Checkpoint.prune`.

    With `rounds`, it cuts and trains in turn, as many times: each cut takes the same share of what is left, and each training
    the same share of the epochs (Han et al. 2015, "Learning both weights and connections for efficient neural networks").

    Args:
        criterion: what a channel is worth: "l1" or "l2" norm of its weights (Li et al. 2017), "taylor": how much the loss
            on training pixels would change (Molchanov et al. 2019), "batchnorm": the scale of its BatchNorm (Liu et al.
            2017).
        parent: sha256 of the checkpoint's file.
        rounds: from 1 to as many as there are epochs.
        soft_labels: train after a cut on the unpruned net's soft outputs, too, as `distill` does with its defaults.
    """
    _check(ratio, scope)
    if criterion not in CRITERIA:
        raise OptionError(f"no criterion is called {criterion!r}; there are {', '.join(CRITERIA)}")
    settings = settings or TUNING
    card = checkpoint.card
    assert card.net is not None
    dataset = training_set_for(checkpoint, scene, split)
    if not 1 <= rounds <= max(1, settings.epochs):
        raise OptionError(f"must lie between 1 and the number of epochs, {settings.epochs}", option="rounds", value=rounds)
    some = np.unique(np.linspace(0, len(dataset.pixels) - 1, min(_JUDGING, len(dataset.pixels))).astype(np.intp))
    patches = dataset.image(card.patch).patches(torch.from_numpy(dataset.pixels[some]))
    targets = torch.from_numpy(dataset.targets[some])
    loss = softened(checkpoint, scene, split, settings.smoothing) if soft_labels else None
    net, before = checkpoint.classifier.net, sum(checkpoint.classifier.net.widths)
    asked = channels.asked(net.widths, ratio, scope)
    for place, epochs in enumerate(_shares(settings.epochs, rounds)):
        left = (before - asked) / sum(net.widths)  # of the channels that this round begins with, what the last one leaves
        piece = ratio if rounds == 1 else 1 - left ** (1 / (rounds - place))
        cut = channels.cut(net, patches, targets, piece, criterion, scope)
        shape = {**card.net.options, "widths": list(cut.net.widths)}
        net = nets.build(card.net.name, card.scene.bands, len(card.classes), card.patch, **shape)
        net.load_state_dict(cut.net.state_dict())
        with conditioned(net, dataset.axes):
            tick = _part(progress, place, rounds)
            finetune(net, dataset, card.patch, replace(settings, epochs=epochs), tick, loss=loss, title="prune")
    options = {
        "method": "structured",
        "ratio": ratio,
        "criterion": criterion,
        "scope": scope,
        "channels": before,
        "asked": asked,
        "removed": before - sum(net.widths),
        **({"rounds": rounds} if rounds > 1 else {}),
        **({"soft_labels": True} if soft_labels else {}),
        **vars(settings),
    }
    return derived(checkpoint, net, scene, split, "prune", options, parent, widths=list(net.widths))


def widths_after(widths: Sequence[int], ratio: float) -> tuple[int, ...]:
    """Widths that `prune_structured` leaves of a net's, with the scope "layer", where each layer's channels can be cut."""
    return tuple(max(1, width - channels.share(ratio, width)) for width in widths)


def _shares(epochs: int, rounds: int) -> list[int]:
    """Epochs of each round: as even as whole numbers are, and all of them."""
    ends = [math.floor(epochs * place / rounds + 0.5) for place in range(rounds + 1)]
    return [end - start for start, end in pairwise(ends)]


def _part(progress: Progress, place: int, rounds: int) -> Progress:
    """Progress of one of the rounds."""
    return lambda done: progress((place + done) / rounds)


def count_zeros(net: Net) -> tuple[int, int]:
    """Zeros among the weights of convolutions and linear layers, and how many weights those are."""
    weights = [layer.weight for layer in net.modules() if isinstance(layer, _LAYERS)]
    return sum(int((weight == 0).sum()) for weight in weights), sum(weight.numel() for weight in weights)


class _Mask(nn.Module):
    """Parametrization of weights: times 0 or 1."""

    mask: Tensor

    def __init__(self, weight: Tensor) -> None:
        super().__init__()
        self.register_buffer("mask", torch.ones_like(weight))

    def forward(self, weight: Tensor) -> Tensor:
        return weight * self.mask


class _Masks:
    """Masks that are active on a net inside the block; after it, weights are plain again, and what was masked is 0."""

    def __init__(self, net: Net, ratio: float, scope: str) -> None:
        self._layers: list[Any] = [layer for layer in net.modules() if isinstance(layer, _LAYERS)]
        self._ratio, self._scope = ratio, scope
        self._done = 0

    def __enter__(self) -> _Masks:
        self._masks = [_Mask(layer.weight.detach()) for layer in self._layers]
        for layer, mask in zip(self._layers, self._masks):
            parametrize.register_parametrization(layer, "weight", mask)
        return self

    def __exit__(self, *_: object) -> None:
        for layer in self._layers:
            parametrize.remove_parametrizations(layer, "weight", leave_parametrized=True)

    def __call__(self, share: float) -> None:
        """Cuts as deep as the schedule is by now: what is called after each step."""
        due = min(_CUTS, int(_CUTS * share / _PRUNING))
        if due > self._done:
            self._done = due
            self.cut(self._ratio * (1 - (1 - due / _CUTS) ** 3))

    def state_dict(self) -> dict[str, Tensor]:
        """Cuts that are done; the masks themselves are the net's."""
        return {"done": torch.tensor(self._done)}

    def load_state_dict(self, state: Mapping[str, Tensor]) -> None:
        """Goes on after so many."""
        self._done = int(state["done"])

    def cut(self, ratio: float) -> None:
        """Masks the smallest weights, exactly `ratio` of them."""
        with torch.no_grad():
            sizes = [layer.weight.abs() for layer in self._layers]
            groups = [list(range(len(sizes)))] if self._scope == "global" else [[place] for place in range(len(sizes))]
            for group in groups:
                flat = torch.cat([sizes[place].ravel() for place in group])
                kept = torch.ones_like(flat)
                kept[torch.argsort(flat, stable=True)[: int(np.floor(ratio * len(flat) + 0.5))]] = 0
                pieces = kept.split([sizes[place].numel() for place in group])
                for place, piece in zip(group, pieces):
                    self._masks[place].mask.copy_(piece.view_as(sizes[place]))


def _check(ratio: float, scope: str) -> None:
    if not 0 < ratio < 1:
        raise OptionError(f"ratio {ratio:g}: a share between 0 and 1 is expected")
    if scope not in SCOPES:
        raise OptionError(f"no scope is called {scope!r}; there are {', '.join(SCOPES)}")
