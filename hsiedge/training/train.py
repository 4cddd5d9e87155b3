"""Training: makes a checkpoint of a scene and a split."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import torch

from hsiedge import __version__, nets
from hsiedge.card import AccuracyFacts, Card, ClassFacts, NetFacts, Step, now
from hsiedge.errors import OptionError
from hsiedge.metrics import accuracy, confusion_matrix
from hsiedge.progress import Progress, silent
from hsiedge.scenes.facts import scene_facts
from hsiedge.scenes.patches import batches
from hsiedge.scenes.scene import Scene
from hsiedge.scenes.splits import VALIDATION, Split
from hsiedge.training.checkpoint import Checkpoint
from hsiedge.training.classifier import Classifier, macs_per_pixel, predict_logits
from hsiedge.training.conditioning import condition, release
from hsiedge.training.dataset import prepare
from hsiedge.training.fit import FitSettings, Loss, fit


def train(
    scene: Scene,
    split: Split,
    net: str = nets.DEFAULT,
    patch: int | None = None,
    settings: FitSettings | None = None,
    progress: Progress = silent,
    loss: Loss | None = None,
    **options: Any,
) -> Checkpoint:
    """Trains a net of the registry on the training pixels of a split.

    Nothing but training pixels is looked at: not for scaling, not for principal axes, not for stopping. Validation
    pixels are read once, at the end, for the figures in the Card.

    Args:
        net: a name in the registry, or FILE.py:NAME of one's own.
        patch: p, odd; left out, the net's own default.
        loss: left out, the cross entropy of the labels.
        options: the architecture's (widths).

    Raises:
        OptionError: net, patch or options that do not go together.
        SceneError: a patch wider than the scene.
        SplitError: a net that sees farther than the split's guard.
    """
    settings = checked(settings or FitSettings())
    net = nets.NETS.name_of(net)
    patch = nets.spec(net).patch if patch is None else patch
    dataset = prepare(scene, split, patch)
    torch.manual_seed(split.seed)
    module = nets.build(net, scene.bands, len(dataset.titles), patch, **options)
    projected = condition(module, dataset.axes)
    image = dataset.image(patch, projected=projected)
    fit(module, image, dataset.pixels, dataset.targets, settings, split.seed, progress, loss)
    if projected:
        release(module, dataset.axes)
    classifier = Classifier(module, dataset.affine).eval()
    card = Card(
        kind="checkpoint",
        scene=scene_facts(scene, dataset.pixels),
        classes=[ClassFacts(label, title) for label, title in dataset.titles.items()],
        patch=patch,
        created=now(),
        preprocess="per-band affine fitted on training pixels, inside the graph",
        net=NetFacts(
            net, options, nets.parameter_count(module), macs_per_pixel(module, scene.bands, patch), nets.NETS.origin(net)
        ),
        split=split.facts,
        lineage=[Step("train", now(), {**vars(settings), "net": net}, None, versions())],
    )
    return validated(Checkpoint(classifier, card), scene, split)


def versions() -> dict[str, str]:
    """Versions of the packages that made a checkpoint."""
    return {"hsiedge": __version__, "torch": str(torch.__version__), "numpy": np.__version__}


def checked(settings: FitSettings) -> FitSettings:
    """Returns the settings. Raises OptionError where they make no sense."""
    if settings.epochs < 1 or settings.batch < 2 or settings.rate <= 0:
        raise OptionError(f"epochs {settings.epochs}, batch {settings.batch}, rate {settings.rate}: too small")
    return settings


def validated(checkpoint: Checkpoint, scene: Scene, split: Split) -> Checkpoint:
    """The checkpoint with its accuracy on validation pixels in the Card."""
    card, classifier = checkpoint.card, checkpoint.classifier
    pixels = split.pixels(VALIDATION)
    ids = np.array([entry.id for entry in card.classes])
    predicted = [
        ids[predict_logits(classifier, patches).argmax(1).numpy()] for _, patches in batches(scene.cube, pixels, card.patch)
    ]
    result = accuracy(confusion_matrix(split.labels_on(scene).ravel()[pixels], np.concatenate(predicted), list(ids)))
    facts = AccuracyFacts("validation", result.n, result.oa, result.aa, result.kappa, split.kind, [split.seed])
    return Checkpoint(classifier, replace(card, accuracy=[facts]))
