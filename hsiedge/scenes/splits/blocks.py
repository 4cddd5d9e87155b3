"""`blocks`: test pixels lie farther than a guard from every training and validation pixel; once, or in folds."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from hsiedge.errors import OptionError, SplitError
from hsiedge.scenes.scene import Scene
from hsiedge.scenes.splits.hashing import pixel_hash, ranked
from hsiedge.scenes.splits.split import (
    DEFAULT_GUARD,
    MIN_TRAIN,
    TEST,
    TRAIN,
    VALIDATION,
    VALIDATION_SHARE,
    Split,
    check_fraction,
    dilate,
    rounded,
    sizes,
    usable,
)

_BLOCK_SIDES = (8, 12, 16, 20, 24, 32)
_BLOCK_DRAWS = 24  # grids tried for each side
_FOLD_SIDES = (16, 8, 4)  # pixels; the first that has room in every fold
_FOLD_DRAWS = 8
_BLOCK_MINIMUM = {TRAIN: 3, VALIDATION: 1, TEST: 5}  # fewer pixels of a class than that in a part say nothing


def blocks_split(scene: Scene, seed: int, fraction: float, guard: int = DEFAULT_GUARD) -> Split:
    """Pixels of a few blocks of the scene train and validate, and all that lie farther than `guard` from those test.

    Seeded grids of several block sides are drawn. In each, class by class from the rarest, blocks are opened until they
    hold what the class needs: `fraction` of its pixels (at least 3) to train, half as many to validate. Of all grids
    the one that keeps most classes in all three parts wins, then the one that tests the largest share of each class, on
    average. Only the label map is looked at.

    Raises:
        OptionError: a fraction outside 0..1, or a negative guard.
        SplitError: no grid keeps two classes.
    """
    _check_blocks(fraction, guard)
    labels = usable(scene)
    best: tuple[tuple[int, float], NDArray[np.uint8]] | None = None
    for side in _BLOCK_SIDES:
        for attempt in range(_BLOCK_DRAWS):
            blocks = _grid(labels.shape, side, seed, attempt)
            parts = _assign(labels, tuple(scene.classes), blocks, seed, fraction, guard)
            score = (len(classes_in_all_parts(labels, scene, parts)), _tested(labels, parts))
            if best is None or score > best[0]:
                best = (score, parts)
    assert best is not None
    parts = best[1]
    kept = classes_in_all_parts(labels, scene, parts)
    dropped = tuple(label for label in scene.classes if label not in kept)
    parts[np.isin(labels, dropped)] = 0
    if len(kept) < 2:
        raise SplitError(
            f"{scene.name}: no {guard}-pixel guard fits between its classes; a larger scene may have room",
            use={"split": "random"},
        )
    return Split("blocks", parts, seed, fraction, guard, dropped)


def _grid(shape: tuple[int, ...], side: int, seed: int, attempt: int) -> NDArray[np.int64]:
    """Block numbers `(height, width)` of a grid of squares, shifted by the seed."""
    shift = pixel_hash(seed, 1 << 32 | side, np.array([2 * attempt, 2 * attempt + 1])) % np.uint64(side)
    rows = (np.arange(shape[0]) + int(shift[0])) // side
    columns = (np.arange(shape[1]) + int(shift[1])) // side
    return rows[:, None] * (int(columns[-1]) + 1) + columns[None, :]


def _assign(
    labels: NDArray[np.uint16], classes: tuple[int, ...], blocks: NDArray[np.int64], seed: int, fraction: float, guard: int
) -> NDArray[np.uint8]:
    """The parts that a grid gives."""
    flat, block_of = labels.ravel(), blocks.ravel()
    members = {label: np.flatnonzero(flat == label) for label in classes}
    opened = np.zeros(int(blocks.max()) + 1, bool)
    for label in sorted(classes, key=lambda entry: (len(members[entry]), entry)):
        held = np.bincount(block_of[members[label]], minlength=len(opened))
        needed = sum(sizes(len(members[label]), fraction))
        for block in ranked(seed, label, np.flatnonzero(held)):
            if held[opened].sum() >= needed:
                break
            opened[block] = True
    parts = np.zeros(labels.size, np.uint8)
    for label in classes:
        train, validate = sizes(len(members[label]), fraction)
        order = ranked(seed, label, members[label][opened[block_of[members[label]]]])
        parts[order[:train]] = TRAIN
        parts[order[train : train + validate]] = VALIDATION
    drawn = parts.reshape(labels.shape)
    drawn[(labels != 0) & ~dilate(drawn != 0, guard)] = TEST
    return drawn


def classes_in_all_parts(labels: NDArray[np.uint16], scene: Scene, parts: NDArray[np.uint8]) -> set[int]:
    """The classes that have enough pixels in every part."""
    size = max(scene.classes) + 1
    enough = np.ones(size, bool)
    for part, minimum in _BLOCK_MINIMUM.items():
        enough &= np.bincount(labels[parts == part], minlength=size) >= minimum
    return {label for label in scene.classes if enough[label]}


def _tested(labels: NDArray[np.uint16], parts: NDArray[np.uint8]) -> float:
    """The share of a class's pixels that test, averaged over the classes."""
    counts = np.bincount(labels.ravel())[1:]
    tested = np.bincount(labels[parts == TEST], minlength=len(counts) + 1)[1:]
    return float((tested[counts > 0] / counts[counts > 0]).mean())


def folds_split(scene: Scene, seed: int, fraction: float, guard: int, folds: int) -> tuple[Split, ...]:
    """Deals the scene's blocks into folds, each of which tests once; training pixels lie farther than `guard` from its pixels.

    In each fold, `fraction` of each class's pixels (at least 3) is drawn to train from what lies far enough, half as many to
    validate; fewer where there are fewer. A class with less than 4 pixels there is dropped: it is not tested in this fold.
    Of a few seeded grids, the one with most tested pixels is taken. Only the label map is looked at.

    Args:
        folds: how many, from 2 up.

    Raises:
        OptionError: a fraction outside 0..1, a negative guard, or fewer than two folds.
        SplitError: a fold trains fewer than two classes, or tests no pixel.
    """
    _check_blocks(fraction, guard)
    if folds < 2:
        raise OptionError("at least 2, for one tests while the others train", option="folds", value=folds)
    drawn: tuple[Split, ...] = ()
    for side in _FOLD_SIDES:
        drawn = _best_deal(scene, seed, fraction, guard, folds, side)
        if all(len(scene.classes) - len(split.dropped) >= 2 and (split.parts == TEST).any() for split in drawn):
            return drawn
    raise SplitError(
        f"{scene.name}: in {folds} folds, one trains fewer than two classes or tests no pixel; no {guard}-pixel guard fits "
        "between its classes",
        use={"folds": "fewer", "guard": "less"},
    )


def _best_deal(scene: Scene, seed: int, fraction: float, guard: int, folds: int, side: int) -> tuple[Split, ...]:
    """The folds of that grid, among a few of this side, whose blocks are dealt so that most pixels are tested."""
    labels = usable(scene)
    best: list[tuple[NDArray[np.uint8], tuple[int, ...]]] = []
    most = -1
    for attempt in range(_FOLD_DRAWS):
        fold_of = _dealt(labels, tuple(scene.classes), _grid(labels.shape, side, seed, attempt), seed, folds)
        drawn = [_fold(labels, scene, fold_of == fold, seed, fraction, guard) for fold in range(folds)]
        tested = sum(int((parts == TEST).sum()) for parts, _ in drawn)
        if tested > most:
            best, most = drawn, tested
    return tuple(
        Split("blocks", parts, seed, fraction, guard, dropped, fold=place + 1, folds=folds)
        for place, (parts, dropped) in enumerate(best)
    )


def _dealt(
    labels: NDArray[np.uint16], classes: tuple[int, ...], blocks: NDArray[np.int64], seed: int, folds: int
) -> NDArray[np.intp]:
    """The fold `(height, width)` that each pixel's block is dealt to: classes from the rarest, each evenly over the folds."""
    held = np.zeros((int(blocks.max()) + 1, max(classes) + 1), np.int64)
    np.add.at(held, (blocks.ravel(), labels.ravel()), 1)
    sums = np.zeros((folds, held.shape[1]), np.int64)
    fold_of = np.full(len(held), -1, np.intp)
    for label in sorted(classes, key=lambda entry: (held[:, entry].sum(), entry)):
        order = ranked(seed, label, np.flatnonzero((fold_of < 0) & (held[:, label] > 0)))
        for block in order[np.argsort(-held[order, label], kind="stable")]:
            place = min(range(folds), key=lambda fold: (sums[fold, label], sums[fold, 1:].sum(), fold))
            fold_of[block] = place
            sums[place] += held[block]
    return fold_of[blocks]


def _fold(
    labels: NDArray[np.uint16], scene: Scene, tests: NDArray[np.bool_], seed: int, fraction: float, guard: int
) -> tuple[NDArray[np.uint8], tuple[int, ...]]:
    """The parts of a fold that tests the pixels `tests`, and the classes that it drops."""
    parts = np.where(tests & (labels != 0), TEST, 0).astype(np.uint8)
    free = (labels != 0) & ~dilate(parts != 0, guard)
    dropped = []
    for label in scene.classes:
        members = np.flatnonzero(free & (labels == label))
        train, validate = sizes(int((labels == label).sum()), fraction)
        if len(members) < train + validate:
            validate = max(1, rounded(len(members) * VALIDATION_SHARE / (1 + VALIDATION_SHARE)))
            train = len(members) - validate
        if train < MIN_TRAIN:
            dropped.append(label)
            parts[labels == label] = 0
            continue
        order = ranked(seed, label, members)
        parts.reshape(-1)[order[:train]] = TRAIN
        parts.reshape(-1)[order[train : train + validate]] = VALIDATION
    return parts, tuple(dropped)


def _check_blocks(fraction: float, guard: int) -> None:
    """Raises OptionError for a fraction outside 0..1, or a negative guard."""
    check_fraction(fraction)
    if guard < 0:
        raise OptionError(f"guard {guard}: it is a distance in pixels, 0 or more")
