"""Training sets, made of a scene, a split and a set of classes. Nothing but training pixels is looked at."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from hsiedge.card import Card
from hsiedge.errors import ModelError, SceneError
from hsiedge.scenes import splits
from hsiedge.scenes.patches import check_patch, spectra_at
from hsiedge.scenes.preprocess import BandAffine, fit_affine
from hsiedge.scenes.scene import Scene
from hsiedge.scenes.splits import TRAIN, VALIDATION, Split
from hsiedge.training.conditioning import principal
from hsiedge.training.patch_image import PatchImage


@dataclass(frozen=True)
class TrainingSet:
    """Training pixels of a scene, their classes, and what standardizes them.

    Attributes:
        titles: name by label id of the classes that the split keeps; a class's index is its place.
        pixels: flat indices of the training pixels; `targets` their class indices.
        affine: standardizes the scene.
        axes: scaled principal axes `(k, bands)` of the standardized training pixels (`conditioning`).
    """

    scene: Scene
    split: Split
    titles: Mapping[int, str]
    pixels: NDArray[np.intp]
    targets: NDArray[np.int64]
    affine: BandAffine
    axes: Tensor

    def targets_at(self, pixels: NDArray[np.intp]) -> NDArray[np.int64]:
        """Class indices `(n,)` of the labels at flat `pixels`, which must be of the split's classes."""
        return _targets(self.titles, self.split.labels_on(self.scene), pixels)

    def labelled(self, part: int) -> tuple[NDArray[np.intp], NDArray[np.int64]]:
        """Flat pixel indices of a part of the split, and the class index of each."""
        pixels = self.split.pixels(part)
        return pixels, self.targets_at(pixels)

    def image(self, patch: int, projected: bool = False) -> PatchImage:
        """The standardized scene as an image to cut patches from; `projected` on the principal axes."""
        axes = self.axes.numpy().T

        def spectra(stored: NDArray[Any]) -> NDArray[np.float32]:
            standardized = self.affine(stored)
            return standardized @ axes if projected else standardized

        return PatchImage(self.scene.cube, patch, spectra, axes.shape[1] if projected else None)


def prepare(scene: Scene, split: Split, patch: int, affine: BandAffine | None = None, *, refit: bool = False) -> TrainingSet:
    """Makes the training set of a split.

    Args:
        affine: that of a net which has one already; left out, it is fitted to the training pixels.
        refit: take validation pixels for training pixels, too.

    Raises:
        SceneError: a patch wider than the scene, or training pixels that are all alike.
        SplitError: a split of another scene, or a patch that sees farther than its guard.
    """
    for flight in scene.flights or (scene,):
        check_patch(patch, flight.shape, flight.name)
    split.check_scene(scene)
    split.check_radius(patch // 2)
    splits.check_nodata(scene, patch // 2)
    titles = {label: title for label, title in scene.classes.items() if label not in split.dropped}
    pixels = np.flatnonzero(np.isin(split.parts.ravel(), (TRAIN, VALIDATION) if refit else (TRAIN,)))
    spectra = spectra_at(scene, pixels)
    affine = affine or fit_affine(spectra)
    if not affine.scale.any():
        raise SceneError(f"{scene.source or scene.name}: no band varies over its training pixels: there is nothing to learn")
    targets = _targets(titles, split.labels_on(scene), pixels)
    return TrainingSet(scene, split, titles, pixels, targets, affine, principal(affine(spectra)))


def _targets(titles: Mapping[int, str], labels: NDArray[np.uint16], pixels: NDArray[np.intp]) -> NDArray[np.int64]:
    table = np.full(1 << 16, -1, np.int64)
    table[list(titles)] = np.arange(len(titles))
    targets = table[labels.ravel()[pixels]]
    assert (targets >= 0).all()
    return targets


def own_split(card: Card, scene: Scene, masks: Split | None = None) -> Split:
    """Draws the split again that a checkpoint was trained on, to which further training must keep.

    Raises:
        ModelError: not the checkpoint's scene, or a Card without a split.
        SplitError: the labels give another split.
    """
    check_cube(card, scene)
    if card.split is None:
        raise ModelError("the checkpoint's Card has no split; without one, test pixels would be trained on")
    return splits.redraw(scene, card.split, masks)


def check_cube(card: Card, scene: Scene) -> None:
    """Raises ModelError unless a scene's cube is the one that a checkpoint was trained on."""
    if scene.sha256 != card.scene.sha256:
        raise ModelError(f"{scene.name} is not the cube that the checkpoint was trained on ({card.scene.name})")
