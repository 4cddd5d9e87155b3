"""Checkpoints: weights as safetensors, the Card as metadata of the same file. Nothing is unpickled."""

from __future__ import annotations

import warnings
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save
from torch import Tensor

from hsiedge import files, nets
from hsiedge.card import KEY, Card, NetFacts
from hsiedge.errors import HsiedgeError, ModelError
from hsiedge.runtimes import require_card, seal
from hsiedge.scenes.preprocess import BandAffine
from hsiedge.training.classifier import Classifier

_BEFORE = "before."  # of a refitted checkpoint: names of the weights from before


@dataclass(frozen=True)
class Checkpoint:
    """A trained classifier with its Card. The classifier is in evaluation mode.

    Attributes:
        before: of a net that was refitted on training and validation pixels together, the weights from before: fitted on
            training pixels alone, so that validation pixels can judge what is chosen with them.
    """

    classifier: Classifier
    card: Card
    before: Classifier | None = None

    def views(self) -> tuple[Checkpoint, Checkpoint]:
        """A refitted checkpoint as two: one of the weights from before, whose Card tells of no refit, and one of its own."""
        assert self.before is not None
        assert self.card.net is not None
        lineage = [step for step in self.card.lineage if step.step != "refit"]
        net = replace(self.card.net, options=_options_before(self.card))
        return Checkpoint(self.before, replace(self.card, lineage=lineage, net=net)), Checkpoint(self.classifier, self.card)

    def __post_init__(self) -> None:
        if self.before is not None and not self.card.refitted:
            raise ValueError("weights from before a refit, and a Card that tells of none")


def save_checkpoint(path: Path, checkpoint: Checkpoint) -> None:
    """Writes weights, Card and the file's digest, whole or not at all. Raises OutputError."""
    state = dict(checkpoint.classifier.state_dict())
    if checkpoint.before is not None:
        state |= {f"{_BEFORE}{name}": tensor for name, tensor in checkpoint.before.state_dict().items()}
    state = {name: tensor.detach().contiguous() for name, tensor in state.items()}
    place = seal.new_place()
    files.write_bytes(path, seal.sealed(save(state, {KEY: checkpoint.card.encode(), seal.KEY: place}), place))


def load_checkpoint(path: Path, *, net: str | None = None) -> Checkpoint:
    """Builds the net that a checkpoint's Card names, and gives it the file's weights.

    The net is first built without memory (device "meta"), so that a Card with absurd widths costs nothing. No code is run that
    only the file names: the net is ours, an installed package's, or one that the user names.

    Args:
        net: FILE.py:NAME of the net, where it is the user's own and was not named before in this process.

    Raises:
        ModelError: not a safetensors file, a net that is not here, or weights that are not those of the Card's net.
        CardError: no Card, or one that cannot be read.
        OptionError: `net` cannot be loaded.
    """
    if net is not None:
        nets.NETS.name_of(net)
    card = require_card(path)
    if card.kind != "checkpoint" or card.net is None:
        raise ModelError(f"{path}: its Card is that of a {card.kind} model, not of a checkpoint")
    _check_net(path, card.net)
    try:
        state = load_file(path)
    except (SafetensorError, OSError, ValueError) as error:
        raise ModelError(f"{path}: not a whole safetensors file ({error})") from error
    before = {name.removeprefix(_BEFORE): state.pop(name) for name in list(state) if name.startswith(_BEFORE)}
    earlier = _built(path, card, before, _options_before(card)) if before and card.refitted else None
    return Checkpoint(_built(path, card, state, card.net.options), card, earlier)


def _options_before(card: Card) -> dict[str, Any]:
    """Options of the net before the refit: its own widths, where pruning left it others than the refitted one."""
    assert card.net is not None
    widths = next((step.options["before_widths"] for step in reversed(card.lineage) if "before_widths" in step.options), None)
    return card.net.options if widths is None else {**card.net.options, "widths": widths}


def _built(path: Path, card: Card, state: dict[str, Tensor], options: dict[str, Any]) -> Classifier:
    """The classifier of a Card with the weights of a file. Raises ModelError where they are not those of the Card's net."""
    assert card.net is not None
    empty = BandAffine(np.zeros(0, np.float32), np.zeros(0, np.float32))
    try:
        with torch.device("meta"):
            module = nets.build(card.net.name, card.scene.bands, len(card.classes), card.patch, **options)
        classifier = Classifier(module, empty)
        classifier.offset = torch.empty(card.scene.bands, 1, 1, device="meta")
        classifier.scale = torch.empty(card.scene.bands, 1, 1, device="meta")
        classifier.load_state_dict(state, assign=True)
    except (RuntimeError, TypeError, ValueError, OverflowError, HsiedgeError) as error:
        reason = str(error).strip().split("\n")[-1].strip()
        raise ModelError(f"{path}: its weights are not those of the {card.net.name} in its Card ({reason})") from error
    return classifier.eval()


def _check_net(path: Path, facts: NetFacts) -> None:
    """Raises ModelError where the net is not here, and warns where its file is another than it was trained with."""
    origin = facts.origin
    if facts.name not in nets.NETS:
        place = f" of {origin}" if origin is not None else ""
        if origin is not None and origin.distribution:
            raise ModelError(f"{path}: its net, {facts.name}{place}, is not here; install {origin}")
        raise ModelError(f"{path}: its net, {facts.name}{place}, is not here", use={"net": f"FILE.py:{facts.name}"})
    here = nets.NETS.origin(facts.name)
    if here != origin:
        theirs, ours = origin or "hsiedge", here or "hsiedge"
        changed = f"{ours} has changed since" if str(theirs) == str(ours) else f"it is built by that of {ours}"
        warnings.warn(f"{path} was trained with the {facts.name} of {theirs}; {changed}", stacklevel=3)
