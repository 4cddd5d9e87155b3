"""Removal of whole channels from a net, and from all that depends on them, by the dependency graph of Torch-Pruning."""

from __future__ import annotations

import copy
import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
import torch_pruning
from torch import Tensor, nn

from hsiedge.errors import CheckError, OptionError
from hsiedge.nets.base import Net
from hsiedge.quiet import quiet

LIMIT = 1e-7  # of the logits' range, in double precision
_CHECKED = 64
_LAYERS = (nn.Conv1d, nn.Conv2d, nn.Conv3d, nn.Linear)
_NORMS = (nn.BatchNorm1d, nn.BatchNorm2d, nn.BatchNorm3d)


@dataclass(frozen=True)
class Cut:
    """A net with fewer channels, and sums over its layers but the last: channels before, after, and asked to go."""

    net: Net
    before: int
    after: int
    asked: int


def cut(net: Net, patches: Tensor, targets: Tensor, ratio: float, criterion: str, scope: str) -> Cut:
    """Copies `net` without its least important channels.

    Requires: training `patches` `(n, channels, p, p)`, standardized, and their class indices.
    Ensures: the cut net does what the whole one does with the same channels set to 0, checked on real patches.

    Raises:
        OptionError: see `prune_structured`.
        CheckError: it does not.
    """
    if criterion == "batchnorm" and not any(isinstance(layer, _NORMS) for layer in net.modules()):
        raise OptionError("the net has no BatchNorm, whose scales would be the importance of channels", use={"criterion": "l1"})
    small, zeroed = copy.deepcopy(net).eval(), copy.deepcopy(net).eval()
    if criterion == "taylor":
        _gradients(small, patches, targets)
    twins = dict(zip(small.modules(), zeroed.modules()))
    with quiet(prints=False):
        graph = torch_pruning.DependencyGraph().build_dependency(small, patches[:2])
        groups = list(graph.get_all_groups(ignored_layers=_kept_whole(small), root_module_types=_LAYERS))
        importance = _importance(criterion)
        worth = [importance(group) for group in groups]
        for group, places in zip(groups, _least(worth, ratio, scope)):
            if not places:
                continue
            root = group[0].dep
            whole = graph.get_pruning_group(root.target.module, root.handler, places)
            for dependency, indices in whole:
                twin = twins.get(dependency.target.module)  # operations without weights have none
                if twin is not None and graph.is_out_channel_pruning_fn(dependency.handler):
                    _set_to_zero(twin, indices)
            whole.prune()
    before, after = sum(net.widths), sum(small.widths)
    if after == before:
        raise OptionError(f"ratio {ratio:g} takes no channel out of layers of {', '.join(map(str, net.widths))} channels")
    _compare(small, zeroed, patches[:_CHECKED])
    small.zero_grad(set_to_none=True)
    return Cut(small, before, after, asked(net.widths, ratio, scope))


def asked(widths: Sequence[int], ratio: float, scope: str) -> int:
    """Channels that a ratio asks to go of layers of such widths."""
    return sum(share(ratio, width) for width in (widths if scope == "layer" else [sum(widths)]))


def share(ratio: float, count: int) -> int:
    """Rounded share `ratio` of `count`."""
    return math.floor(ratio * count + 0.5)


def _least(worth: Sequence[Tensor], ratio: float, scope: str) -> list[list[int]]:
    """Channels of each group that are worth least: `ratio` of them, or of all; one of each group stays."""
    spare = [torch.argsort(values, stable=True)[:-1] for values in worth]
    if scope == "layer":
        return [entry[: share(ratio, len(values))].tolist() for entry, values in zip(spare, worth)]
    ranked = sorted(
        (float(worth[place][channel]), place, int(channel)) for place, entry in enumerate(spare) for channel in entry
    )
    chosen = ranked[: share(ratio, sum(map(len, worth)))]
    return [[channel for _, group, channel in chosen if group == place] for place in range(len(worth))]


def _kept_whole(net: Net) -> list[nn.Module]:
    """Layers whose outputs are no channels to choose from: the logits, and what a 3-D convolution takes for depth."""
    spectral = getattr(net, "spectral", None)
    volume = any(isinstance(layer, nn.Conv3d) for layer in net.modules())
    return [net.classifier, spectral] if spectral is not None and volume else [net.classifier]


def _importance(criterion: str) -> Any:
    criteria = torch_pruning.importance
    if criterion == "taylor":
        return criteria.GroupTaylorImportance()
    if criterion == "batchnorm":
        return criteria.BNScaleImportance()
    return criteria.GroupMagnitudeImportance(p=1 if criterion == "l1" else 2)


def _gradients(net: Net, patches: Tensor, targets: Tensor) -> None:
    for start in range(0, len(patches), 256):
        piece = slice(start, start + 256)
        nn.functional.cross_entropy(net(patches[piece]), targets[piece], reduction="sum").backward()


def _set_to_zero(layer: nn.Module, places: list[int]) -> None:
    with torch.no_grad():
        for parameter in (getattr(layer, "weight", None), getattr(layer, "bias", None)):
            if isinstance(parameter, Tensor):
                parameter[places] = 0


def _compare(small: Net, zeroed: Net, patches: Tensor) -> None:
    with torch.no_grad():
        wide = patches.double()
        ours, theirs = copy.deepcopy(small).double()(wide), zeroed.double()(wide)
    difference = float((ours - theirs).abs().max() / (theirs.max() - theirs.min()).clamp_min(1e-12))
    if not difference <= LIMIT:
        raise CheckError(
            f"the cut net is not the net with those channels set to 0: logits differ by {difference:.1e} of their range"
        )
