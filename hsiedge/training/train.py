"""From a scene and a split to a checkpoint."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from hsiedge import __version__, nets
from hsiedge.card import AccuracyFacts, Card, ClassFacts, NetFacts, SceneFacts, Step, now
from hsiedge.errors import OptionError
from hsiedge.metrics import accuracy, confusion_matrix
from hsiedge.progress import Progress, silent
from hsiedge.scenes.patches import batches, check_patch
from hsiedge.scenes.preprocess import band_percentiles, fit_affine
from hsiedge.scenes.scene import Scene
from hsiedge.scenes.splits import TRAIN, VALIDATION, Split
from hsiedge.training.checkpoint import Checkpoint
from hsiedge.training.classifier import Classifier, macs_per_pixel, predict_logits
from hsiedge.training.conditioning import condition, release
from hsiedge.training.fit import FitSettings, PatchImage, fit


def train(
    scene: Scene,
    split: Split,
    net: str = nets.DEFAULT,
    patch: int | None = None,
    settings: FitSettings | None = None,
    progress: Progress = silent,
    **options: Any,
) -> Checkpoint:
    """Trains a net of the registry on the training pixels of a split.

    Nothing but training pixels is looked at: not for scaling, not for principal axes, not for stopping. Validation
    pixels are read once, at the end, for the figures in the Card.

    Args:
        patch: p, odd; left out, the net's own default.
        options: the architecture's (widths).

    Raises:
        OptionError: net, patch or options that do not go together.
        SceneError: a patch wider than the scene.
        SplitError: a net that sees farther than the split's guard.
    """
    settings = settings or FitSettings()
    if settings.epochs < 1 or settings.batch < 2 or settings.rate <= 0:
        raise OptionError(f"epochs {settings.epochs}, batch {settings.batch}, rate {settings.rate}: too small")
    patch = nets.spec(net).patch if patch is None else patch
    check_patch(patch, scene.shape)
    split.check_radius(patch // 2)
    titles = {label: title for label, title in scene.classes.items() if label not in split.dropped}
    torch.manual_seed(split.seed)
    module = nets.build(net, scene.bands, len(titles), patch, **options)
    pixels = split.pixels(TRAIN)
    affine = fit_affine(_spectra(scene, pixels))
    axes = condition(module, affine(_spectra(scene, pixels)))
    image = affine(np.asarray(scene.cube))
    image = image if axes is None else image @ axes.numpy().T
    index = {label: place for place, label in enumerate(titles)}
    targets = np.array([index[int(label)] for label in scene.labelled().ravel()[pixels]], np.int64)
    fit(module, PatchImage(image, patch), pixels, targets, settings, split.seed, progress)
    release(module, axes)
    classifier = Classifier(module, affine).eval()
    card = Card(
        kind="checkpoint",
        scene=scene_facts(scene, pixels),
        classes=[ClassFacts(label, title) for label, title in titles.items()],
        patch=patch,
        created=now(),
        preprocess="per-band affine fitted on training pixels, inside the graph",
        net=NetFacts(net, options, nets.parameter_count(module), macs_per_pixel(module, scene.bands, patch)),
        split=split.facts,
        lineage=[Step("train", now(), {**vars(settings), "net": net}, None, versions())],
    )
    return Checkpoint(classifier, _with_validation(card, classifier, scene, split))


def scene_facts(scene: Scene, pixels: NDArray[np.intp]) -> SceneFacts:
    """What a Card keeps of a scene; percentiles are of the spectra at flat `pixels`."""
    return SceneFacts(
        name=scene.name,
        sha256=scene.sha256,
        official=scene.official,
        bands=scene.bands,
        dtype=scene.cube.dtype.name,
        units=scene.units,
        wavelengths=list(scene.wavelengths),
        percentiles=band_percentiles(_spectra(scene, pixels)),
    )


def versions() -> dict[str, str]:
    """Of what made a checkpoint."""
    return {"hsiedge": __version__, "torch": str(torch.__version__), "numpy": np.__version__}


def _spectra(scene: Scene, pixels: NDArray[np.intp]) -> NDArray[Any]:
    return np.asarray(scene.cube[pixels // scene.shape[1], pixels % scene.shape[1]])


def _with_validation(card: Card, classifier: Classifier, scene: Scene, split: Split) -> Card:
    pixels = split.pixels(VALIDATION)
    ids = np.array([entry.id for entry in card.classes])
    predicted = [
        ids[predict_logits(classifier, patches).argmax(1).numpy()] for _, patches in batches(scene.cube, pixels, card.patch)
    ]
    result = accuracy(confusion_matrix(scene.labelled().ravel()[pixels], np.concatenate(predicted), list(ids)))
    facts = AccuracyFacts("validation", result.n, result.oa, result.aa, result.kappa, split.kind, [split.seed])
    return replace(card, accuracy=[facts])
