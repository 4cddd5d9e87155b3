"""Split: which labelled pixels train, validate and test, as a map of parts."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass, replace
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from hsiedge import notebook
from hsiedge.card import PublishedFacts, SplitFacts
from hsiedge.errors import OptionError, SplitError
from hsiedge.scenes.scene import Scene

TRAIN, VALIDATION, TEST = 1, 2, 3
DEFAULT_FRACTION = 0.1
DEFAULT_GUARD = 6
NODATA_GUARD = 6  # pixels: what lies nearer to nodata is in no part, so that no patch of 13 holds any
MIN_TRAIN = 3  # of each class: what the smallest classes of Indian Pines can spare
_AGAIN = "draw the split on the scene that it is used with"
VALIDATION_SHARE = 0.5  # validation pixels for each training pixel


@dataclass(frozen=True, eq=False)
class Split:
    """A division of a scene's labelled pixels.

    Attributes:
        kind: "random", "blocks", "lists", "flights", "masks", or the name of a published split.
        parts: uint8 `(height, width)`: 0 for pixels in no part, else TRAIN, VALIDATION or TEST.
        fraction: the share of each class's pixels that trains; None for masks.
        guard: Chebyshev distance, in pixels, that test pixels keep from all others; None but for `blocks`.
        dropped: label ids of classes that could not be in every part; they have no pixel in any, and AA leaves them out.
        labels: uint16 `(height, width)`, the split's own labels, in ids of the scene; None where the scene's are taken.
        fold, folds: of `blocks` in folds, which of how many tests, from 1.
        published: maps of a published split.
        roles: of the flights, where whole flights train, validate or test.
        scene, labels_sha256: name and `Scene.labels_sha256` of the scene that it was drawn on; "" of a split made by hand.
    """

    kind: str
    parts: NDArray[np.uint8]
    seed: int = 0
    fraction: float | None = None
    guard: int | None = None
    dropped: tuple[int, ...] = ()
    labels: NDArray[np.uint16] | None = None
    fold: int | None = None
    folds: int | None = None
    published: PublishedFacts | None = None
    roles: tuple[str, ...] = ()
    scene: str = ""
    labels_sha256: str = ""

    def drawn_on(self, scene: Scene) -> Split:
        """The split with the mark of the scene that it was drawn on."""
        return replace(self, scene=scene.name, labels_sha256=scene.labels_sha256)

    def check_scene(self, scene: Scene) -> None:
        """Raises SplitError for another scene than its own: of another size, with other labels, or without labels in its parts.

        Of a split made by hand, whose scene is not known, only size and labelled pixels can tell.
        """
        whose = f"a split of {self.scene}" if self.scene else "this split"
        if self.parts.shape != scene.shape:
            sizes = " x ".join(map(str, self.parts.shape)), " x ".join(map(str, scene.shape))
            raise SplitError(f"{whose} has {sizes[0]} pixels, {scene.name} has {sizes[1]}: {_AGAIN}")
        if self.labels_sha256 and scene.labels_sha256 not in ("", self.labels_sha256):
            raise SplitError(f"{whose} was drawn on other labels than {scene.name} has: {_AGAIN}")
        known = np.zeros(1 << 16, bool)
        known[list(scene.classes)] = True
        unknown = int((~known[self.labels_on(scene)[self.parts != 0]]).sum())
        if unknown:
            raise SplitError(f"{whose} has {unknown} pixels in its parts that {scene.name} leaves unlabelled: {_AGAIN}")

    def labels_on(self, scene: Scene) -> NDArray[np.uint16]:
        """The label map that counts, `(height, width)`: the split's own, or else the scene's. Raises SceneError without any."""
        return scene.labelled() if self.labels is None else self.labels

    def pixels(self, part: int) -> NDArray[np.intp]:
        """Flat indices (row * width + column) of the pixels of a part, ascending."""
        return np.flatnonzero(self.parts.ravel() == part)

    @cached_property
    def digest(self) -> str:
        """SHA-256 of size, parts and own labels: two splits with the same digest are the same pixels."""
        sha = hashlib.sha256(f"{self.parts.shape}".encode() + np.ascontiguousarray(self.parts).tobytes())
        if self.labels is not None:
            sha.update(np.where(self.parts != 0, self.labels, 0).astype("<u2").tobytes())
        return sha.hexdigest()

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
            fold=self.fold,
            folds=self.folds,
            published=self.published,
            roles=list(self.roles),
        )

    def __repr__(self) -> str:
        facts = self.facts
        guard = f", guard {self.guard}" if self.guard is not None else ""
        parts = f"{facts.train} train, {facts.validation} validate, {facts.test} test"
        fold = f", fold {self.fold} of {self.folds}" if self.folds is not None else ""
        return f"Split({self.kind!r}, seed {self.seed}{guard}{fold}: {parts})"

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


def leaked(split: Split, reach: int) -> float:
    """The share of test pixels within Chebyshev distance `reach` of a training or validation pixel."""
    test = split.parts == TEST
    near = dilate((split.parts == TRAIN) | (split.parts == VALIDATION), reach)
    return float((test & near).sum() / max(1, test.sum()))


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


def sizes(count: int, fraction: float) -> tuple[int, int]:
    """Numbers of a class's `count` pixels that train and validate."""
    return max(MIN_TRAIN, rounded(fraction * count)), max(1, rounded(VALIDATION_SHARE * fraction * count))


def rounded(value: float) -> int:
    """The nearest whole number; halves go up."""
    return int(np.floor(value + 0.5))


def check_fraction(fraction: float) -> None:
    """Raises OptionError for a training fraction that leaves nothing to validate or test."""
    if not 0 < fraction < 1 / (1 + VALIDATION_SHARE):
        raise OptionError(
            f"training fraction {fraction:g}: it must lie between 0 and 0.66, since validation takes half as many pixels again"
        )


def check_any(scene: Scene, parts: NDArray[np.uint8], how: str) -> None:
    """Raises SplitError where a part is empty; `how` says in what words it was drawn."""
    if not all((parts == part).any() for part in (TRAIN, VALIDATION, TEST)):
        raise SplitError(f"{scene.name}: no class has enough pixels to train, validate and test {how}")
