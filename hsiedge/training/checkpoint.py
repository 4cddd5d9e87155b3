"""Checkpoints: weights as safetensors, the Card as metadata of the same file. Nothing is unpickled."""

from __future__ import annotations

import warnings
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save

from hsiedge import files, nets
from hsiedge.card import KEY, Card, NetFacts
from hsiedge.errors import HsiedgeError, ModelError
from hsiedge.runtimes import require_card, seal
from hsiedge.scenes.preprocess import BandAffine
from hsiedge.training.classifier import Classifier


@dataclass(frozen=True)
class Checkpoint:
    """A trained classifier with its Card. The classifier is in evaluation mode."""

    classifier: Classifier
    card: Card


def save_checkpoint(path: Path, checkpoint: Checkpoint) -> None:
    """Writes weights, Card and the file's digest, whole or not at all. Raises OutputError."""
    state = {name: tensor.detach().contiguous() for name, tensor in checkpoint.classifier.state_dict().items()}
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
    empty = BandAffine(np.zeros(0, np.float32), np.zeros(0, np.float32))
    try:
        with torch.device("meta"):
            module = nets.build(card.net.name, card.scene.bands, len(card.classes), card.patch, **card.net.options)
        classifier = Classifier(module, empty)
        classifier.offset = torch.empty(card.scene.bands, 1, 1, device="meta")
        classifier.scale = torch.empty(card.scene.bands, 1, 1, device="meta")
        classifier.load_state_dict(state, assign=True)
    except (RuntimeError, TypeError, ValueError, OverflowError, HsiedgeError) as error:
        reason = str(error).strip().split("\n")[-1].strip()
        raise ModelError(f"{path}: its weights are not those of the {card.net.name} in its Card ({reason})") from error
    return Checkpoint(classifier.eval(), card)


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
