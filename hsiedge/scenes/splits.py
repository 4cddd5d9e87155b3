"""Splits: which labelled pixels train, validate and test.

A split is drawn from a hash of (seed, class, pixel index), never from a library's random generator, so that any device
with any version of numpy draws the same one.

`random` is what most papers use. It leaks: patches of neighbouring training and test pixels overlap (Liang et al. 2016,
"On the sampling strategy for evaluation of spectral-spatial methods in hyperspectral image classification"; Nalepa et
al. 2019, "Validating hyperspectral image segmentation"). `blocks` does not: test pixels lie farther than `guard` from
every training and validation pixel.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import NDArray

from hsiedge import notebook
from hsiedge.card import SplitFacts
from hsiedge.errors import OptionError, SplitError
from hsiedge.scenes.scene import Scene

TRAIN, VALIDATION, TEST = 1, 2, 3
DEFAULT_FRACTION = 0.1
DEFAULT_GUARD = 6
NODATA_GUARD = 6  # pixels: what lies nearer to nodata is in no part, so that no patch of 13 holds any
MIN_TRAIN = 3  # of each class: what the smallest classes of Indian Pines can spare
VALIDATION_SHARE = 0.5  # validation pixels for each training pixel

_BLOCK_SIDES = (8, 12, 16, 20, 24, 32)
_BLOCK_DRAWS = 24  # grids tried for each side
_BLOCK_MINIMUM = {TRAIN: 3, VALIDATION: 1, TEST: 5}  # fewer pixels of a class than that in a part say nothing


@dataclass(frozen=True, eq=False)
class Split:
    """A division of a scene's labelled pixels.

    Attributes:
        kind: "random", "blocks", "lists" or "masks".
        parts: uint8 `(height, width)`: 0 for pixels in no part, else TRAIN, VALIDATION or TEST.
        fraction: the share of each class's pixels that trains; None for masks.
        guard: Chebyshev distance, in pixels, that test pixels keep from all others; None but for `blocks`.
        dropped: label ids of classes that could not be in every part; they have no pixel in any, and AA leaves them out.
    """

    kind: str
    parts: NDArray[np.uint8]
    seed: int = 0
    fraction: float | None = None
    guard: int | None = None
    dropped: tuple[int, ...] = ()

    @staticmethod
    def draw(kind: str, scene: Scene, seed: int = 0, fraction: float = DEFAULT_FRACTION, guard: int = DEFAULT_GUARD) -> Split:
        """A `random` or `blocks` split of a scene. See `draw`."""
        return draw(kind, scene, seed, fraction, guard)

    def pixels(self, part: int) -> NDArray[np.intp]:
        """Flat indices (row * width + column) of the pixels of a part, ascending."""
        return np.flatnonzero(self.parts.ravel() == part)

    @cached_property
    def digest(self) -> str:
        """SHA-256 of size and parts: two splits with the same digest are the same pixels."""
        return hashlib.sha256(f"{self.parts.shape}".encode() + np.ascontiguousarray(self.parts).tobytes()).hexdigest()

    @property
    def facts(self) -> SplitFacts:
        """Facts of the split that a Card keeps."""
        counts = np.bincount(self.parts.ravel(), minlength=4)
        return SplitFacts(
            kind=self.kind,
            fraction=self.fraction,
            seed=self.seed,
            guard=self.guard,
            train=int(counts[TRAIN]),
            validation=int(counts[VALIDATION]),
            test=int(counts[TEST]),
            dropped=list(self.dropped),
            digest=self.digest,
        )

    def __repr__(self) -> str:
        facts = self.facts
        guard = f", guard {self.guard}" if self.guard is not None else ""
        parts = f"{facts.train} train, {facts.validation} validate, {facts.test} test"
        return f"Split({self.kind!r}, seed {self.seed}{guard}: {parts})"

    def _repr_html_(self) -> str:
        facts = self.facts
        return notebook.facts_html(
            {"seed": self.seed, "fraction": self.fraction, "guard": self.guard, "train": facts.train}
            | {"validation": facts.validation, "test": facts.test, "classes left out": ", ".join(map(str, self.dropped))},
            f"{self.kind} split",
        )

    def check_radius(self, radius: int) -> None:
        """Raises SplitError if a net that looks `radius` pixels around could see training pixels from test pixels."""
        if self.guard is not None and radius > self.guard:
            raise SplitError(
                f"patch {2 * radius + 1} looks {radius} pixels far, this split keeps only {self.guard} between test and "
                "training pixels",
                use={"patch": f"{2 * self.guard + 1} or less"},
            )


def draw(kind: str, scene: Scene, seed: int = 0, fraction: float = DEFAULT_FRACTION, guard: int = DEFAULT_GUARD) -> Split:
    """Draws a `random` or `blocks` split, or takes the scene's own `lists`.

    Raises:
        OptionError: no such kind, a fraction outside 0..1, or a scene without lists.
        SplitError: the scene's labels cannot be divided so.
    """
    if kind == "random":
        return random_split(scene, seed, fraction)
    if kind == "blocks":
        return blocks_split(scene, seed, fraction, guard)
    if kind == "lists":
        return lists_split(scene, seed)
    raise OptionError(
        f"split {kind!r}: choose random, blocks or (a mosaic's own) lists; or, for a published one",
        use={"train_mask": "FILE", "test_mask": "FILE"},
    )


def draw_all(scene: Scene, seed: int = 0) -> dict[str, Split | str]:
    """Each kind of split that the scene has, with its defaults; in the place of one that cannot be drawn, why."""
    if scene.labels is None:
        return {}
    drawn: dict[str, Split | str] = {}
    for kind in ("random", "blocks", *(["lists"] if scene.parts is not None else [])):
        try:
            drawn[kind] = draw(kind, scene, seed)
        except SplitError as error:
            drawn[kind] = str(error)
    return drawn


def leaked(split: Split, reach: int) -> float:
    """The share of test pixels within Chebyshev distance `reach` of a training or validation pixel."""
    test = split.parts == TEST
    near = dilate((split.parts == TRAIN) | (split.parts == VALIDATION), reach)
    return float((test & near).sum() / max(1, test.sum()))


def redraw(scene: Scene, facts: SplitFacts, masks: Split | None = None) -> Split:
    """The split that a Card tells of, drawn again on `scene`.

    Args:
        masks: for a split of kind `masks`, which cannot be drawn: the one made from the same files.

    Raises:
        SplitError: it does not come out the same, so the labels are not those the model was trained with.
    """
    if facts.kind == "masks" and masks is None:
        raise SplitError(
            "the model's split came from mask files; give the same ones", use={"train_mask": "FILE", "test_mask": "FILE"}
        )
    split = masks if masks is not None else draw(facts.kind, scene, facts.seed, facts.fraction or 0, facts.guard or 0)
    if split.digest != facts.digest:
        raise SplitError(
            f"{scene.name}: its labels give another {split.kind} split than the model's Card tells of "
            f"(test pixels {split.facts.test}, in the Card {facts.test}); these are not the labels it was trained with"
        )
    return split


def random_split(scene: Scene, seed: int, fraction: float) -> Split:
    """Draws `fraction` of each class (at least 3 pixels) to train, half as many (at least 1) to validate, the rest to test.

    Raises:
        OptionError: a fraction outside 0..1.
        SplitError: no class has enough pixels.
    """
    _check_fraction(fraction)
    labels = usable(scene)
    parts = np.zeros(labels.size, np.uint8)
    dropped = []
    for label in scene.classes:
        members = np.flatnonzero(labels.ravel() == label)
        train, validate = _sizes(len(members), fraction)
        if train + validate >= len(members):
            dropped.append(label)
            continue
        order = _ranked(seed, label, members)
        parts[order[:train]] = TRAIN
        parts[order[train : train + validate]] = VALIDATION
        parts[order[train + validate :]] = TEST
    _check_any(scene, parts, f"with a training fraction of {fraction:g}")
    return Split("random", parts.reshape(labels.shape), seed, fraction, None, tuple(dropped))


def lists_split(scene: Scene, seed: int = 0) -> Split:
    """The scene's own lists: whole tiles train, validate or test. The seed is that of training; it decides no pixel.

    Neighbouring tiles touch, so patches of test pixels may reach into training tiles (`leaked`).

    Raises:
        OptionError: a scene without lists.
        SplitError: fewer than two classes are in all three parts.
    """
    if scene.parts is None:
        raise OptionError(f"{scene.name} has no lists of its own", use={"split": "random"})
    labels = usable(scene)
    parts = np.where(labels != 0, scene.parts, 0).astype(np.uint8)
    kept = _kept(labels, scene, parts)
    dropped = tuple(label for label in scene.classes if label not in kept)
    parts[np.isin(labels, dropped)] = 0
    if len(kept) < 2:
        raise SplitError(f"{scene.name}: its lists keep fewer than two classes in all three parts")
    return Split("lists", parts, seed, None, None, dropped)


def usable(scene: Scene) -> NDArray[np.uint16]:
    """The label map without the pixels that lie within `NODATA_GUARD` of one that is nodata in all bands.

    A patch must hold no nodata, and which pixels are tested must not depend on the patch: so it is a property of the split.
    """
    labels = scene.labelled()
    if not scene.empty.any():
        return labels
    return np.where(dilate(scene.empty, NODATA_GUARD), 0, labels).astype(np.uint16)


def check_nodata(scene: Scene, radius: int) -> None:
    """Raises SplitError for a net that looks farther than splits keep from nodata, on a scene that has some."""
    if radius > NODATA_GUARD and scene.empty.any():
        raise SplitError(
            f"patch {2 * radius + 1} looks {radius} pixels far, splits of {scene.name} keep {NODATA_GUARD} from its nodata",
            use={"patch": f"{2 * NODATA_GUARD + 1} or less"},
        )


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
    _check_fraction(fraction)
    if guard < 0:
        raise OptionError(f"guard {guard}: it is a distance in pixels, 0 or more")
    labels = usable(scene)
    best: tuple[tuple[int, float], NDArray[np.uint8]] | None = None
    for side in _BLOCK_SIDES:
        for attempt in range(_BLOCK_DRAWS):
            blocks = _grid(labels.shape, side, seed, attempt)
            parts = _assign(labels, tuple(scene.classes), blocks, seed, fraction, guard)
            score = (len(_kept(labels, scene, parts)), _tested(labels, parts))
            if best is None or score > best[0]:
                best = (score, parts)
    assert best is not None
    parts = best[1]
    kept = _kept(labels, scene, parts)
    dropped = tuple(label for label in scene.classes if label not in kept)
    parts[np.isin(labels, dropped)] = 0
    if len(kept) < 2:
        raise SplitError(
            f"{scene.name}: no {guard}-pixel guard fits between its classes; a larger scene may have room",
            use={"split": "random"},
        )
    return Split("blocks", parts, seed, fraction, guard, dropped)


def masks_split(scene: Scene, train: NDArray[Any], test: NDArray[Any], seed: int = 0) -> Split:
    """A published split: two maps `(height, width)`, nonzero where a pixel trains or tests. A third of the former validates.

    A map with more than one value other than 0 is one of labels, which must be the scene's.

    Raises:
        SplitError: a map of another size; a pixel in both; a pixel without a label, or with another one than a map of
            labels gives it; a class that only one of them has.
    """
    labels = scene.labelled()
    for name, mask in (("training", train), ("test", test)):
        if mask.shape != labels.shape:
            raise SplitError(f"the {name} mask is {mask.shape}, the scene {labels.shape}")
        inside = mask != 0
        if (labels[inside] == 0).any():
            raise SplitError(f"the {name} mask has {int((labels[inside] == 0).sum())} pixels that the scene leaves unlabelled")
        if len(np.unique(mask[inside])) > 1 and (mask[inside] != labels[inside]).any():
            raise SplitError(f"the {name} mask gives pixels other labels than the scene does")
    both = int(((train != 0) & (test != 0)).sum())
    if both:
        raise SplitError(f"{both} pixels are in the training mask and in the test mask")
    parts = np.zeros(labels.shape, np.uint8)
    parts[train != 0], parts[test != 0] = TRAIN, TEST
    _take_validation(labels, tuple(scene.classes), parts, seed)
    for label, title in scene.classes.items():
        counts = np.bincount(parts[labels == label], minlength=4)
        if (counts[1:] > 0).any() and not (counts[1:] > 0).all():
            raise SplitError(
                f"class {label} ({title}): the masks leave {counts[TRAIN]} pixels to train, "
                f"{counts[VALIDATION]} to validate, {counts[TEST]} to test"
            )
    dropped = tuple(label for label in scene.classes if not (parts[labels == label] != 0).any())
    _check_any(scene, parts, "in the masks")
    return Split("masks", parts, seed, None, None, dropped)


def pixel_hash(seed: int, stream: int, indices: NDArray[np.integer]) -> NDArray[np.uint64]:
    """64-bit hashes of (seed, stream, index), one an index: SplitMix64 (Steele et al. 2014), chained over the three."""
    state = np.uint64(0)
    for value in (np.uint64(seed % 2**64), np.uint64(stream % 2**64)):
        state = _mix(np.atleast_1d(state ^ value))[0]
    return _mix(np.asarray(indices).astype(np.uint64) ^ state)


def scattered(shape: tuple[int, int], count: int, seed: int) -> NDArray[np.intp]:
    """Draws at most `count` different flat pixel indices evenly over an area; memory is that of `count`, not of the area."""
    area = shape[0] * shape[1]
    draws = pixel_hash(seed, 1 << 33, np.arange(2 * count)) % np.uint64(area)
    _, first = np.unique(draws, return_index=True)
    indices: NDArray[np.intp] = draws[np.sort(first)][:count].astype(np.intp)
    return indices


def balanced(labels: NDArray[np.uint16], pixels: NDArray[np.intp], count: int, seed: int) -> NDArray[np.intp]:
    """Draws at most `count` of `pixels`, as evenly over classes as there are pixels, in an order that mixes the classes."""
    flat = labels.ravel()
    place = np.empty(len(pixels), np.int64)
    for label in np.unique(flat[pixels]):
        members = np.flatnonzero(flat[pixels] == label)
        place[members[np.argsort(pixel_hash(seed, int(label), pixels[members]), kind="stable")]] = np.arange(len(members))
    return pixels[np.argsort(place, kind="stable")[:count]]


def _mix(values: NDArray[np.uint64]) -> NDArray[np.uint64]:
    values = values + np.uint64(0x9E3779B97F4A7C15)
    values = (values ^ (values >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    values = (values ^ (values >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return values ^ (values >> np.uint64(31))


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
        needed = sum(_sizes(len(members[label]), fraction))
        for block in _ranked(seed, label, np.flatnonzero(held)):
            if held[opened].sum() >= needed:
                break
            opened[block] = True
    parts = np.zeros(labels.size, np.uint8)
    for label in classes:
        train, validate = _sizes(len(members[label]), fraction)
        order = _ranked(seed, label, members[label][opened[block_of[members[label]]]])
        parts[order[:train]] = TRAIN
        parts[order[train : train + validate]] = VALIDATION
    drawn = parts.reshape(labels.shape)
    drawn[(labels != 0) & ~dilate(drawn != 0, guard)] = TEST
    return drawn


def _sizes(count: int, fraction: float) -> tuple[int, int]:
    """Numbers of a class's `count` pixels that train and validate."""
    return max(MIN_TRAIN, _round(fraction * count)), max(1, _round(VALIDATION_SHARE * fraction * count))


def _ranked(seed: int, label: int, members: NDArray[np.intp]) -> NDArray[np.intp]:
    """`members` in the order of their hashes."""
    return members[np.argsort(pixel_hash(seed, label, members), kind="stable")]


def _take_validation(labels: NDArray[np.uint16], classes: tuple[int, ...], parts: NDArray[np.uint8], seed: int) -> None:
    """Moves a third of each class's training pixels to validation, in place."""
    for label in classes:
        members = np.flatnonzero((parts.ravel() == TRAIN) & (labels.ravel() == label))
        order = _ranked(seed, label, members)
        parts.reshape(-1)[order[: _round(len(order) * VALIDATION_SHARE / (1 + VALIDATION_SHARE))]] = VALIDATION


def _kept(labels: NDArray[np.uint16], scene: Scene, parts: NDArray[np.uint8]) -> set[int]:
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


def dilate(mask: NDArray[np.bool_], reach: int) -> NDArray[np.bool_]:
    """Every pixel within Chebyshev distance `reach` of a pixel of `mask`."""
    grown = mask
    for axis in (0, 1):
        length = grown.shape[axis]
        reach = min(reach, length)  # a Card may ask for more than an integer holds
        sums = np.concatenate(
            [np.zeros_like(np.take(grown, [0], axis), np.int64), np.cumsum(grown, axis, dtype=np.int64)], axis
        )
        upper = np.minimum(np.arange(length) + reach + 1, length)
        lower = np.maximum(np.arange(length) - reach, 0)
        grown = np.take(sums, upper, axis) > np.take(sums, lower, axis)
    return grown


def _round(value: float) -> int:
    return int(np.floor(value + 0.5))


def _check_fraction(fraction: float) -> None:
    if not 0 < fraction < 1 / (1 + VALIDATION_SHARE):
        raise OptionError(
            f"training fraction {fraction:g}: it must lie between 0 and 0.66, for validation takes half as much again"
        )


def _check_any(scene: Scene, parts: NDArray[np.uint8], how: str) -> None:
    if not all((parts == part).any() for part in (TRAIN, VALIDATION, TEST)):
        raise SplitError(f"{scene.name}: no class has enough pixels to train, validate and test {how}")
