"""Fine-tuning: a trained net is fitted further, with its active parametrizations (masks) or fewer channels."""

from __future__ import annotations

import copy
import functools
from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Any, ParamSpec

import numpy as np
import torch
from torch import nn

from hsiedge import nets
from hsiedge.card import Card, Step, now
from hsiedge.errors import ModelError
from hsiedge.nets.base import Net
from hsiedge.progress import Progress, silent
from hsiedge.scenes.preprocess import BandAffine
from hsiedge.scenes.scene import Scene
from hsiedge.scenes.splits import VALIDATION, Split
from hsiedge.training.checkpoint import Checkpoint
from hsiedge.training.classifier import Classifier, macs_per_pixel
from hsiedge.training.conditioning import conditioned
from hsiedge.training.dataset import TrainingSet, check_cube, prepare
from hsiedge.training.fit import AfterStep, FitSettings, Loss, fit
from hsiedge.training.run import current
from hsiedge.training.train import both_weights, checked, validated, versions

P = ParamSpec("P")
TUNING = FitSettings(epochs=20, rate=1e-3)
"""Half the peak rate of training: enough to mend what a cut has broken."""


def training_set_for(checkpoint: Checkpoint, scene: Scene, split: Split) -> TrainingSet:
    """Training set for further training of a checkpoint: its own scene, split and affine.

    Raises:
        ModelError: another cube or another split than the checkpoint's; test pixels would be trained on.

    A refitted checkpoint trains on validation pixels, too.
    """
    card = checkpoint.card
    check_own_split(card, scene, split)
    return prepare(scene, split, card.patch, affine_of(checkpoint.classifier), refit=card.refitted)


def check_own_split(card: Card, scene: Scene, split: Split) -> None:
    """Raises ModelError where a cube or a split is another than that which the checkpoint of a Card was trained on."""
    check_cube(card, scene)
    if card.split is None or card.split.digest != split.digest:
        raise ModelError("this is not the split that the checkpoint was trained on; its test pixels would be trained on")


def on_both_weights(step: Callable[P, Checkpoint]) -> Callable[P, Checkpoint]:
    """Applies a step that makes a checkpoint of another to a refitted one's weights from before, and to its own.

    Those from before are judged on validation pixels; the others train on them. The step's first argument is the checkpoint.
    """

    @functools.wraps(step)
    def run(*args: P.args, **kwargs: P.kwargs) -> Checkpoint:
        checkpoint = args[0]
        if not isinstance(checkpoint, Checkpoint) or checkpoint.before is None:
            return step(*args, **kwargs)
        before, after = (step(view, *args[1:], **kwargs) for view in checkpoint.views())  # type: ignore[arg-type]
        last = after.card.lineage[-1]
        widths = list(before.classifier.net.widths)
        noted = replace(last, options={**last.options, "before_widths": widths})
        return both_weights(
            before, Checkpoint(after.classifier, replace(after.card, lineage=[*after.card.lineage[:-1], noted]))
        )

    return run


def affine_of(classifier: Classifier) -> BandAffine:
    """Per-band affine inside a classifier."""
    return BandAffine(classifier.offset.ravel().numpy(), classifier.scale.ravel().numpy())


def finetune(
    net: nn.Module,
    dataset: TrainingSet,
    patch: int,
    settings: FitSettings,
    progress: Progress = silent,
    after_step: AfterStep | None = None,
    loss: Loss | None = None,
    *,
    title: str,
) -> None:
    """Fits a trained net further, in place, with its active parametrizations, such as those of `conditioned`.

    It is fitted on the device of the run (`run.running`), and on the CPU afterwards. `title`: of the fit, in the log.
    """
    checked(settings)
    torch.manual_seed(dataset.split.seed)  # of dropout
    pixels, classes, seed = dataset.pixels, dataset.targets, dataset.split.seed
    judging = dataset.labelled(VALIDATION)
    validation = None if np.isin(judging[0], pixels).any() else judging
    net.to(current().device)
    fit(
        net, dataset.image(patch), pixels, classes, settings, seed, progress, loss, after_step,
        validation=validation, title=title,
    )  # fmt: skip
    net.cpu()


@on_both_weights
def finetuned(
    checkpoint: Checkpoint, scene: Scene, split: Split, settings: FitSettings = TUNING, progress: Progress = silent
) -> Checkpoint:
    """A checkpoint after further training alone: the control of every compression with fine-tuning."""
    dataset = training_set_for(checkpoint, scene, split)
    net = copy.deepcopy(checkpoint.classifier.net)
    with conditioned(net, dataset.axes):
        finetune(net, dataset, checkpoint.card.patch, settings, progress, title="control")
    return derived(checkpoint, net, scene, split, "tune", vars(settings), None)


def derived(
    checkpoint: Checkpoint,
    net: Net,
    scene: Scene,
    split: Split,
    step: str,
    options: Mapping[str, Any],
    parent: str | None,
    **shape: Any,
) -> Checkpoint:
    """Makes a checkpoint with a net that was made of another checkpoint's.

    Args:
        options: of the step, for the lineage; parent: sha256 of the file that it started from.
        shape: what the architecture's options have become (widths).
    """
    card = checkpoint.card
    assert card.net is not None
    bands, patch = card.scene.bands, card.patch
    facts = replace(
        card.net,
        options={**card.net.options, **shape},
        parameters=nets.parameter_count(net),
        macs_per_pixel=macs_per_pixel(net, bands, patch),
    )
    lineage = [*card.lineage, Step(step, now(), {**options, **current().facts}, parent, versions())]
    classifier = Classifier(net, affine_of(checkpoint.classifier)).eval()
    new_card = replace(card, created=now(), net=facts, lineage=lineage, checks=[], accuracy=[])
    return validated(Checkpoint(classifier, new_card), scene, split)
