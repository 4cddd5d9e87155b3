"""Splits: which labelled pixels train, validate and test.

A split is drawn from a hash of (seed, class, pixel index), never from a library's random generator, so that any device
with any version of numpy draws the same one.

`random` is what most papers use. It leaks: patches of neighbouring training and test pixels overlap (Liang et al. 2016,
"On the sampling strategy for evaluation of spectral-spatial methods in hyperspectral image classification"; Nalepa et
al. 2019, "Validating hyperspectral image segmentation"). So do published splits, which are there by name (`published`).
`blocks` does not: test pixels lie farther than `guard` from every training and validation pixel. One draw of it tests a part
of the scene; in folds, all of it. Nor does `flights`, where whole flights test.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from hsiedge.arguments import number, whole_number, wrong_type
from hsiedge.card import SplitFacts
from hsiedge.errors import OptionError, SplitError
from hsiedge.scenes.scene import Scene
from hsiedge.scenes.splits.blocks import blocks_split, folds_split
from hsiedge.scenes.splits.flights import flights_split
from hsiedge.scenes.splits.hashing import balanced, pixel_hash, scattered
from hsiedge.scenes.splits.lists import lists_split
from hsiedge.scenes.splits.masks import masks_split
from hsiedge.scenes.splits.published import PUBLISHED, PublishedMaps, PublishedSplit, published_split
from hsiedge.scenes.splits.random import random_split
from hsiedge.scenes.splits.split import (
    DEFAULT_FRACTION,
    DEFAULT_GUARD,
    NODATA_GUARD,
    TEST,
    TRAIN,
    VALIDATION,
    Split,
    check_nodata,
    dilate,
    leaked,
    usable,
)

KINDS = ("random", "blocks", "lists", "flights")
"""Kinds of split that are drawn, or are the scene's own."""

__all__ = [
    "DEFAULT_FRACTION",
    "DEFAULT_GUARD",
    "KINDS",
    "NODATA_GUARD",
    "PUBLISHED",
    "TEST",
    "TRAIN",
    "VALIDATION",
    "PublishedMaps",
    "PublishedSplit",
    "Split",
    "balanced",
    "blocks_split",
    "check_drawn",
    "check_nodata",
    "dilate",
    "draw",
    "draw_all",
    "drawable",
    "flights_split",
    "folds_split",
    "leaked",
    "lists_split",
    "masks_split",
    "pixel_hash",
    "published_split",
    "random_split",
    "redraw",
    "scattered",
    "usable",
]


def draw(
    kind: str,
    scene: Scene,
    seed: int = 0,
    fraction: float = DEFAULT_FRACTION,
    guard: int | None = None,
    *,
    folds: int | None = None,
    fold: int | None = None,
    roles: Sequence[str] = (),
) -> Split:
    """Draws a `random` or `blocks` split, or takes the scene's own `lists`, the roles of its `flights`, or a published one.

    Args:
        guard: pixels that test pixels keep from all others; left out, DEFAULT_GUARD. For `blocks` only.
        folds: parts into which the blocks of the scene are dealt; fold: the one that tests, from 1. For `blocks` only.
        roles: of the flights, for `flights`; left out, the scene's own.

    Raises:
        OptionError: no such kind, a fraction outside 0..1, a scene without lists, a guard or folds of another kind, or an
            argument of another type.
        SplitError: the scene's labels cannot be divided so.
    """
    seed = check_drawn(kind, seed, fraction, guard)
    guard = DEFAULT_GUARD if guard is None else guard
    split = _drawn(kind, scene, seed, fraction, guard, folds, fold, roles)
    return split.drawn_on(scene)


def check_drawn(kind: str, seed: int, fraction: float, guard: int | None) -> int:
    """The seed, where it is one. Raises OptionError for arguments of another type, or a guard of a kind that keeps none."""
    if not isinstance(kind, str):
        raise wrong_type("kind", kind, "the name of a kind of split")
    number(fraction, "train")
    if guard is not None:
        whole_number(guard, "guard")
    if guard is not None and (kind in {"masks", *KINDS, *PUBLISHED} - {"blocks"} or ".py:" in kind):
        raise OptionError(f"a {kind} split keeps no guard", option="guard", value=guard, use={"split": "blocks"})
    return whole_number(seed, "seed")


def _drawn(
    kind: str,
    scene: Scene,
    seed: int,
    fraction: float,
    guard: int,
    folds: int | None,
    fold: int | None,
    roles: Sequence[str],
) -> Split:
    """The split, of arguments that are what they must be."""
    if (folds is None) != (fold is None):
        raise OptionError("folds, and which of them tests, go together", use={"folds": "K", "fold": "1 to K"})
    if folds is not None and fold is not None:
        if kind != "blocks":
            raise OptionError(f"a {kind} split has no folds", use={"split": "blocks"})
        if not 1 <= whole_number(fold, "fold") <= whole_number(folds, "folds"):
            raise OptionError(f"it must lie between 1 and {folds}", option="fold", value=fold)
        return folds_split(scene, seed, fraction, guard, folds)[fold - 1]
    if kind == "flights":
        return flights_split(scene, seed, roles or scene.roles)
    if any(scene.roles) and not roles:
        raise OptionError(f"a {kind} split knows no roles, and flights have some", use={"split": "flights"})
    if kind == "random":
        return random_split(scene, seed, fraction)
    if kind == "blocks":
        return blocks_split(scene, seed, fraction, guard)
    if kind == "lists":
        return lists_split(scene, seed)
    if kind in PUBLISHED or ".py:" in kind:
        return published_split(kind, scene, seed)
    raise OptionError(
        f"split {kind!r}: choose random, blocks, lists (of a mosaic), flights, or one that papers use, {', '.join(PUBLISHED)}"
        "; one that has no name here is given as two maps",
        use={"train_mask": "FILE", "test_mask": "FILE"},
    )


def draw_all(scene: Scene, seed: int = 0) -> dict[str, Split | str]:
    """Each kind of split that the scene has, with its defaults; in the place of one that cannot be drawn, why."""
    if scene.labels is None:
        return {}
    drawn: dict[str, Split | str] = {}
    plain = ("flights",) if any(scene.roles) else ("random", "blocks", *(["lists"] if scene.parts is not None else []))
    for kind in plain:
        try:
            drawn[kind] = draw(kind, scene, seed)
        except SplitError as error:
            drawn[kind] = str(error)
    return drawn


def drawable(facts: SplitFacts) -> bool:
    """True where a Card tells enough to draw its split: not of masks, nor of a split in a file of one's own."""
    return facts.kind != "masks" and facts.kind in (*KINDS, *PUBLISHED)


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
    if masks is None and not drawable(facts):  # a Card's word runs no file
        raise SplitError(
            f"the model's split {facts.kind!r} is not known here; if it is one of yours, give it again",
            use={"split": "FILE.py:NAME"},
        )
    if masks is not None:
        masks.check_scene(scene)
    split = masks or draw(
        facts.kind,
        replace(scene, roles=()),
        facts.seed,
        facts.fraction or 0,
        (facts.guard or 0) if facts.kind == "blocks" else None,
        folds=facts.folds,
        fold=facts.fold,
        roles=facts.roles,
    )
    if split.digest != facts.digest:
        raise SplitError(
            f"{scene.name}: its labels give another {split.kind} split than the model's Card tells of "
            f"(test pixels {split.facts.test}, in the Card {facts.test}); these are not the labels it was trained with"
        )
    return split
