"""`masks`: a split given as a map of its training pixels and one of its test pixels."""

from __future__ import annotations

import warnings
from typing import Any

import numpy as np
from numpy.typing import NDArray

from hsiedge.errors import SplitError
from hsiedge.scenes.io.cube import SceneWarning
from hsiedge.scenes.scene import Scene
from hsiedge.scenes.splits.hashing import ranked
from hsiedge.scenes.splits.split import TEST, TRAIN, VALIDATION, VALIDATION_SHARE, Split, check_any, rounded


def masks_split(scene: Scene, train: NDArray[Any], test: NDArray[Any], seed: int = 0, *, mask_labels: bool = False) -> Split:
    """Makes a split of two maps `(height, width)`, nonzero where a pixel trains or tests. A third of the former validates.

    Args:
        mask_labels: take the maps' values, label ids of the scene, for the labels, whatever the scene's own say. Without it,
            a map with more than one value other than 0 is one of labels, which must be the scene's.

    Raises:
        SplitError: a map of another size; a pixel in both; a pixel without a label, or with another one than a map of
            labels gives it; a value that is no label id of the scene; a class that only one of them has.
    """
    scene.labelled()
    _check_shapes(scene, train, test)
    if mask_labels:
        own = merged_labels(scene, train, test)
        _warn_of_another_order(scene, own)
        return divided(scene, "masks", own, train != 0, test != 0, seed, own=True).drawn_on(scene)
    labels = scene.labelled()
    for name, mask in (("training", train), ("test", test)):
        inside = mask != 0
        unlabelled = int((labels[inside] == 0).sum())
        if unlabelled:
            reason = f"the {name} mask has {unlabelled} pixels that the scene leaves unlabelled; its own labels are not taken"
            raise SplitError(reason, use={"mask_labels": True})
        if len(np.unique(mask[inside])) > 1 and (mask[inside] != labels[inside]).any():
            reason = f"the {name} mask gives pixels other labels than the scene does; its own are not taken"
            raise SplitError(reason, use={"mask_labels": True})
    return divided(scene, "masks", labels, train != 0, test != 0, seed, own=False).drawn_on(scene)


def merged_labels(scene: Scene, train: NDArray[Any], test: NDArray[Any]) -> NDArray[np.uint16]:
    """The labels of two maps of the scene's ids, as one. Raises SplitError for a value that is no id of the scene."""
    for name, mask in (("training", train), ("test", test)):
        unknown = [f"{value:g}" for value in np.unique(mask[mask != 0]) if value not in scene.classes]
        if unknown:
            raise SplitError(f"the {name} mask holds {', '.join(unknown[:5])}, which are no label ids of {scene.name}")
    return np.where(train != 0, train, test).astype(np.uint16)


def divided(
    scene: Scene,
    kind: str,
    labels: NDArray[np.uint16],
    train: NDArray[np.bool_],
    test: NDArray[np.bool_],
    seed: int,
    *,
    own: bool,
) -> Split:
    """A split of a map of training pixels and one of test pixels; a third of the former, class by class, validates.

    Args:
        labels: `(height, width)`, in ids of the scene.
        own: whether the labels are the split's own, and not the scene's.

    Raises:
        SplitError: a pixel in both; a class that only one of them has; no class in all three parts.
    """
    both = int((train & test).sum())
    if both:
        raise SplitError(f"{both} pixels are in the training mask and in the test mask")
    parts = np.zeros(labels.shape, np.uint8)
    parts[train], parts[test] = TRAIN, TEST
    take_validation(labels, tuple(scene.classes), parts, seed)
    dropped = []
    for label, title in scene.classes.items():
        counts = np.bincount(parts[labels == label], minlength=4)[1:]
        if not counts.any():
            dropped.append(label)
        elif not counts.all():
            raise SplitError(
                f"class {label} ({title}): the masks leave {counts[0]} pixels to train, {counts[1]} to validate, "
                f"{counts[2]} to test"
            )
    check_any(scene, parts, "in the masks")
    return Split(kind, parts, seed, None, None, tuple(dropped), labels if own else None)


def _warn_of_another_order(scene: Scene, own: NDArray[np.uint16]) -> None:
    """Warns where the labels of masks contradict the scene's on most pixels: their ids may stand for other classes."""
    labels = scene.labelled()
    both = (own != 0) & (labels != 0)
    other = int((own != labels)[both].sum())
    if 2 * other > int(both.sum()):
        note = f"the masks give {other} of {int(both.sum())} pixels other labels than the scene does"
        warnings.warn(f"{scene.name}: {note}: are their values its label ids?", SceneWarning, stacklevel=4)


def _check_shapes(scene: Scene, train: NDArray[Any], test: NDArray[Any]) -> None:
    for name, mask in (("training", train), ("test", test)):
        if mask.shape != scene.shape:
            raise SplitError(f"the {name} mask is {mask.shape}, the scene {scene.shape}")


def take_validation(labels: NDArray[np.uint16], classes: tuple[int, ...], parts: NDArray[np.uint8], seed: int) -> None:
    """Moves a third of each class's training pixels to validation, in place."""
    for label in classes:
        members = np.flatnonzero((parts.ravel() == TRAIN) & (labels.ravel() == label))
        order = ranked(seed, label, members)
        parts.reshape(-1)[order[: rounded(len(order) * VALIDATION_SHARE / (1 + VALIDATION_SHARE))]] = VALIDATION
