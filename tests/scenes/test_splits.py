from __future__ import annotations

import dataclasses
import pickle
import re

import numpy as np
import pytest

from hsiedge.card import SplitFacts
from hsiedge.errors import OptionError, SceneError, SplitError
from hsiedge.scenes import splits
from hsiedge.scenes.scene import Scene
from hsiedge.scenes.splits import TEST, TRAIN, VALIDATION, Split

MASK64 = 2**64 - 1


def scene_of(labels: np.ndarray) -> Scene:
    present = [int(label) for label in np.unique(labels) if label]
    return Scene("made", np.zeros((*labels.shape, 1), np.uint16), labels.astype(np.uint16), {i: f"class {i}" for i in present})


def guard_of(kind: str) -> int | None:
    """The guard that blocks of a small scene have room for; no other kind keeps one."""
    return 2 if kind == "blocks" else None


def nearest(split: Split) -> float:
    """The least Chebyshev distance between a test pixel and a training or validation pixel: each pair is looked at."""
    test = np.argwhere(split.parts == TEST)
    others = np.argwhere((split.parts == TRAIN) | (split.parts == VALIDATION))
    return min((int(np.abs(others - pixel).max(1).min()) for pixel in test), default=np.inf)


def splitmix64(state: int) -> int:
    """As Steele et al. 2014 print it, over whole numbers that do not overflow."""
    z = (state + 0x9E3779B97F4A7C15) & MASK64
    z = ((z ^ (z >> 30)) * 0xBF58476D1CE4E5B9) & MASK64
    z = ((z ^ (z >> 27)) * 0x94D049BB133111EB) & MASK64
    return z ^ (z >> 31)


def test_reference_splitmix64_is_the_published_one() -> None:
    assert splitmix64(0) == 0xE220A8397B1DCDAF
    assert splitmix64(1234567) == 6457827717110365317


@pytest.mark.parametrize("seed", [0, 1, 42, 2**40, -1])
@pytest.mark.parametrize("stream", [0, 7, 1 << 32 | 8])
def test_pixel_hash_is_splitmix64(seed: int, stream: int) -> None:
    indices = [0, 1, 2, 20_000, 2**31 + 5]
    state = splitmix64(splitmix64(seed & MASK64) ^ stream)
    expected = [splitmix64(index ^ state) for index in indices]
    assert splits.pixel_hash(seed, stream, np.array(indices)).tolist() == expected


def test_pixel_hash_golden() -> None:
    assert splits.pixel_hash(0, 1, np.arange(3)).tolist() == GOLDEN_HASHES


@pytest.mark.parametrize("dtype", [np.int32, np.int64, np.uint16, np.uint64, np.intp])
def test_pixel_hash_does_not_depend_on_the_dtype_of_the_indices(dtype: type) -> None:
    indices = np.array([0, 3, 500])
    assert (splits.pixel_hash(5, 2, indices.astype(dtype)) == splits.pixel_hash(5, 2, indices)).all()


# The figures below are what a device derives from a Card: if one of them changes, no model that is out there can be
# evaluated any more.
GOLDEN_HASHES = [4964578127960768432, 5067554077270220563, 6768782832058643234]
GOLDEN_TINY = {
    ("random", 0): "a875bc0224f22bdfb580a256d6c743a84a0e0c2801d20b802645edb8eb9b51fa",
    ("random", 3): "e9b6875ac5b0143964a01847b7b965d75d5ab0069d4a4224d93ad288b2809b11",
    ("blocks", 0): "3f336cef18669a45fc02997ebd399b87166dd3f6738bb240b6e8d40807543f87",
    ("blocks", 3): "d2b935e51c8e041a2f63de4efbad5aaa9bdfffa220e5e0778749788f20e1700e",
}
GOLDEN_INDIAN_PINES = {
    "random": "ad476835205df895d1bb3ccdeb13c73ac0163a39a764d7387444c7e98f57033f",
    "blocks": "c887ba4da65f24bc9d9006a17923783f0277279b4263f154a1ce498d8df422b0",
}


@pytest.mark.parametrize(("kind", "seed"), GOLDEN_TINY)
def test_golden_digests(tiny_scene: Scene, kind: str, seed: int) -> None:
    assert splits.draw(kind, tiny_scene, seed, guard=guard_of(kind)).digest == GOLDEN_TINY[kind, seed]


@pytest.mark.parametrize("kind", GOLDEN_INDIAN_PINES)
def test_golden_digests_of_indian_pines(indian_pines: Scene, kind: str) -> None:
    assert splits.draw(kind, indian_pines).digest == GOLDEN_INDIAN_PINES[kind]


@pytest.mark.parametrize("seed", [0, 1])
def test_blocks_of_indian_pines(indian_pines: Scene, seed: int) -> None:
    split = splits.draw("blocks", indian_pines, seed)
    labels = indian_pines.labelled()
    assert nearest(split) > 6
    assert len(indian_pines.classes) - len(split.dropped) >= 13
    for label in indian_pines.classes:
        counts = np.bincount(split.parts[labels == label], minlength=4)[1:]
        assert (counts == 0).all() if label in split.dropped else (counts > 0).all()
    assert splits.leaked(split, 6) == 0


def test_leaked_counts_by_distance(indian_pines: Scene) -> None:
    split = splits.draw("random", indian_pines)
    near = np.argwhere((split.parts == TRAIN) | (split.parts == VALIDATION))
    test = np.argwhere(split.parts == TEST)[::50]
    share = np.mean([np.abs(near - pixel).max(1).min() <= 3 for pixel in test])
    assert splits.leaked(split, 3) == pytest.approx(share, abs=0.05)
    assert splits.leaked(split, 3) > 0.9  # the reason why `blocks` exists


@pytest.mark.parametrize("guard", [0, 1, 2, 4])
@pytest.mark.parametrize("seed", [0, 1, 2])
def test_blocks_keep_their_distance(tiny_scene: Scene, seed: int, guard: int) -> None:
    split = splits.draw("blocks", tiny_scene, seed, guard=guard)
    assert guard < nearest(split) < np.inf
    assert (split.parts[tiny_scene.labelled() == 0] == 0).all()
    assert len(split.dropped) <= 2
    kept = set(tiny_scene.classes) - set(split.dropped)
    for part, least in ((TRAIN, 3), (VALIDATION, 1), (TEST, 5)):
        counts = np.bincount(tiny_scene.labelled()[split.parts == part], minlength=15)
        assert {int(label) for label in np.flatnonzero(counts)} == kept
        assert min(counts[sorted(kept)]) >= least


def test_blocks_that_cannot_be() -> None:
    labels = np.ones((7, 7), np.uint16)
    labels[:, 4:] = 2
    with pytest.raises(SplitError, match="no 6-pixel guard fits"):
        splits.draw("blocks", scene_of(labels))
    with pytest.raises(OptionError, match="guard -1"):
        splits.draw("blocks", scene_of(labels), guard=-1)
    with pytest.raises(SplitError, match="guard fits"):
        splits.draw("blocks", scene_of(labels), guard=10**30)


@pytest.mark.parametrize("fraction", [0.02, 0.1, 0.3, 0.6])
def test_random_counts(fraction: float) -> None:
    counts = {2: 6, 3: 7, 9: 20, 10: 333, 40: 1000}
    labels = np.zeros(1400, np.uint16)
    labels[: sum(counts.values())] = np.repeat(list(counts), list(counts.values()))
    labels = labels[np.random.default_rng(0).permutation(1400)].reshape(35, 40)
    scene = scene_of(labels)
    split = splits.draw("random", scene, 5, fraction)
    for label, count in counts.items():
        train, validate = max(3, int(fraction * count + 0.5)), max(1, int(fraction / 2 * count + 0.5))
        expected = [0, train, validate, count - train - validate]
        if train + validate >= count:
            assert label in split.dropped
            expected = [count, 0, 0, 0]
        assert np.bincount(split.parts[labels == label], minlength=4).tolist() == expected
    assert (split.parts[labels == 0] == 0).all()
    pixels = np.concatenate([split.pixels(part) for part in (TRAIN, VALIDATION, TEST)])
    assert len(np.unique(pixels)) == len(pixels) == np.isin(labels, list(set(counts) - set(split.dropped))).sum()


def test_random_drops_what_is_too_small() -> None:
    labels = np.ones((10, 10), np.uint16)
    labels[0, :4] = 2
    assert splits.draw("random", scene_of(labels)).dropped == (2,)
    labels[0, 4] = 2
    assert splits.draw("random", scene_of(labels)).dropped == ()
    with pytest.raises(SplitError, match="no class has enough pixels"):
        splits.draw("random", scene_of(np.eye(3)))


@pytest.mark.parametrize("kind", ["random", "blocks"])
def test_digest_knows_the_pixels(tiny_scene: Scene, kind: str) -> None:
    drawn = [splits.draw(kind, tiny_scene, seed, guard=guard_of(kind)) for seed in (0, 0, 1)]
    assert drawn[0].digest == drawn[1].digest != drawn[2].digest
    assert (drawn[0].parts == drawn[1].parts).all()
    reshaped = dataclasses.replace(drawn[0], parts=drawn[0].parts.reshape(30, 40))
    assert reshaped.digest != drawn[0].digest


@pytest.mark.parametrize("fraction", [0, -0.1, 0.7, 1, float("nan")])
@pytest.mark.parametrize("kind", ["random", "blocks"])
def test_fractions_that_cannot_be(tiny_scene: Scene, kind: str, fraction: float) -> None:
    with pytest.raises(OptionError, match="training fraction"):
        splits.draw(kind, tiny_scene, fraction=fraction)


def test_unknown_kind_and_unlabelled_scene(tiny_scene: Scene) -> None:
    with pytest.raises(OptionError, match="choose random, blocks, lists"):
        splits.draw("stripes", tiny_scene)
    bare = dataclasses.replace(tiny_scene, labels=None)
    with pytest.raises(SceneError, match="has no labels"):
        splits.draw("random", bare)
    assert splits.draw_all(bare) == {}


def test_draw_all_tells_why_one_is_missing() -> None:
    labels = np.ones((7, 7), np.uint16)
    labels[:, 4:] = 2
    drawn = splits.draw_all(scene_of(labels))
    assert isinstance(drawn["random"], Split)
    assert "guard" in str(drawn["blocks"])


def test_facts_count_the_parts(tiny_scene: Scene) -> None:
    split = splits.draw("blocks", tiny_scene, 3, 0.2, 2)
    facts = split.facts
    assert (facts.kind, facts.seed, facts.fraction, facts.guard) == ("blocks", 3, 0.2, 2)
    assert (facts.train, facts.validation, facts.test) == tuple(len(split.pixels(part)) for part in (TRAIN, VALIDATION, TEST))
    assert (facts.dropped, facts.digest) == (list(split.dropped), split.digest)


@pytest.mark.parametrize("kind", ["random", "blocks"])
def test_redraw(tiny_scene: Scene, kind: str) -> None:
    split = splits.draw(kind, tiny_scene, 4, 0.2, guard_of(kind))
    assert (splits.redraw(tiny_scene, split.facts).parts == split.parts).all()
    labels = tiny_scene.labelled().copy()
    row, column = np.argwhere(split.parts == TEST)[0]
    labels[row, column] = 0
    with pytest.raises(SplitError, match="not the labels it was trained with"):
        splits.redraw(dataclasses.replace(tiny_scene, labels=labels), split.facts)


@pytest.mark.parametrize(
    "change", [{"guard": 10**30}, {"guard": -1}, {"guard": None}, {"fraction": None}, {"kind": "x"}, {"seed": 10**30}]
)
def test_redraw_of_facts_that_were_tampered_with(tiny_scene: Scene, change: dict[str, object]) -> None:
    facts = dataclasses.replace(splits.draw("blocks", tiny_scene, guard=2).facts, **change)
    with pytest.raises((SplitError, OptionError)):
        splits.redraw(tiny_scene, facts)


def test_redraw_of_masks(tiny_scene: Scene) -> None:
    train, test = halves(tiny_scene)
    split = splits.masks_split(tiny_scene, train, test, 1)
    assert splits.redraw(tiny_scene, split.facts, split) is split
    with pytest.raises(SplitError, match="give the same ones; use train_mask=FILE and test_mask=FILE"):
        splits.redraw(tiny_scene, split.facts)
    other = splits.masks_split(tiny_scene, test, train, 1)
    with pytest.raises(SplitError, match="another masks split"):
        splits.redraw(tiny_scene, split.facts, other)


def test_check_radius(tiny_scene: Scene) -> None:
    split = splits.draw("blocks", tiny_scene, guard=2)
    split.check_radius(2)
    with pytest.raises(SplitError, match=re.escape("use patch=5 or less")):
        split.check_radius(3)
    splits.draw("random", tiny_scene).check_radius(30)


def halves(scene: Scene) -> tuple[np.ndarray, np.ndarray]:
    """Training and test masks: odd and even labelled pixels."""
    labelled = np.flatnonzero(scene.labelled())
    train, test = np.zeros(scene.labelled().shape, np.uint8), np.zeros(scene.labelled().shape, np.uint8)
    train.ravel()[labelled[1::2]] = 1
    test.ravel()[labelled[::2]] = 1
    return train, test


@pytest.mark.parametrize("as_labels", [False, True])
def test_masks(tiny_scene: Scene, as_labels: bool) -> None:
    train, test = halves(tiny_scene)
    masks = (train * tiny_scene.labelled(), test * tiny_scene.labelled()) if as_labels else (train, test)
    split = splits.masks_split(tiny_scene, *masks, seed=2)
    assert ((split.parts == TEST) == (test == 1)).all()
    assert (((split.parts == TRAIN) | (split.parts == VALIDATION)) == (train == 1)).all()
    for label in tiny_scene.classes:
        members = (tiny_scene.labelled() == label) & (train == 1)
        assert (split.parts[members] == VALIDATION).sum() == round(members.sum() / 3)
    assert (split.kind, split.dropped, split.guard, split.fraction) == ("masks", (), None, None)


def test_masks_without_a_class_drop_it(tiny_scene: Scene) -> None:
    train, test = halves(tiny_scene)
    gone = tiny_scene.labelled() == 10
    train[gone] = test[gone] = 0
    assert splits.masks_split(tiny_scene, train, test).dropped == (10,)


def test_masks_that_cannot_be(tiny_scene: Scene) -> None:
    train, test = halves(tiny_scene)
    labels = tiny_scene.labelled()

    def refused(match: str, train: np.ndarray, test: np.ndarray) -> None:
        with pytest.raises(SplitError, match=match):
            splits.masks_split(tiny_scene, train, test)

    refused("training mask is .*, the scene", train[1:], test)
    refused("test mask is .*, the scene", train, test.T)
    refused("unlabelled", np.where(labels == 0, 1, train), test)
    refused("unlabelled", train, np.where(labels == 0, 1, test))
    refused("other labels", train * np.where(labels == 1, 10, labels), test)
    assert splits.masks_split(tiny_scene, train * 255, test).digest == splits.masks_split(tiny_scene, train, test).digest
    refused("in the training mask and in the test mask", train, test | train)
    refused("class 10 .* 0 pixels to train", np.where(labels == 10, 0, train), test)
    refused("class 11 .* 0 to test", train, np.where(labels == 11, 0, test))
    single = np.where(labels == 14, 0, train)
    single.ravel()[np.flatnonzero((labels == 14) & (train == 1))[0]] = 1
    refused("class 14 .*1 pixels to train, 0 to validate", single, test)
    refused("no class has enough pixels", np.zeros_like(train), np.zeros_like(test))


def test_balanced_takes_evenly_and_mixes() -> None:
    labels = np.repeat(np.array([1, 2, 5], np.uint16), (400, 30, 5))
    pixels = np.arange(len(labels))
    taken = splits.balanced(labels, pixels, 60, seed=0)
    assert len(np.unique(taken)) == 60
    assert np.bincount(labels[taken], minlength=6)[[1, 2, 5]].tolist() == [28, 27, 5]
    assert np.bincount(labels[taken[:9]], minlength=6)[[1, 2, 5]].tolist() == [3, 3, 3]
    assert (splits.balanced(labels, pixels, 60, seed=0) == taken).all()
    assert (splits.balanced(labels, pixels, 60, seed=1) != taken).any()
    assert sorted(splits.balanced(labels, pixels, 10_000, seed=0)) == pixels.tolist()
    only = splits.balanced(labels, pixels[::2], 7, seed=0)
    assert (only % 2 == 0).all()


def test_balanced_over_an_unlabelled_cube_spreads_over_its_area() -> None:
    taken = splits.balanced(np.zeros((100, 10), np.uint16), np.arange(1000), 200, seed=0)
    assert np.histogram(taken, 4, (0, 1000))[0].min() > 30


def test_dilate_is_chebyshev() -> None:
    mask = np.zeros((9, 12), bool)
    mask[4, 1] = mask[0, 11] = True
    rows, columns = np.mgrid[0:9, 0:12]
    for reach in range(14):
        near = [np.maximum(abs(rows - row), abs(columns - column)) <= reach for row, column in np.argwhere(mask)]
        assert (splits.dilate(mask, reach) == np.any(near, axis=0)).all()


def test_facts_are_what_a_card_keeps(tiny_scene: Scene) -> None:
    assert isinstance(splits.draw("random", tiny_scene).facts, SplitFacts)


def test_a_split_is_known_on_its_own_scene_alone() -> None:
    labels = np.repeat(np.arange(1, 5), 25)[None, :].repeat(40, 0)
    scene, other = scene_of(labels), dataclasses.replace(scene_of(labels[::-1, ::-1]), name="other")
    wide = dataclasses.replace(scene_of(np.repeat(labels, 2, axis=1)), name="wide")
    masks = [np.where(np.arange(40)[:, None] % 2 == odd, labels, 0) for odd in (0, 1)]
    drawn = [scene.split("random"), scene.split("blocks", guard=2), scene.split("blocks", guard=1, folds=2, fold=1)]
    drawn += [scene.split(train_mask=masks[0], test_mask=masks[1], mask_labels=own) for own in (False, True)]
    for split in [*drawn, pickle.loads(pickle.dumps(drawn[0]))]:
        split.check_scene(scene)
        split.check_scene(dataclasses.replace(scene, name="renamed"))
        with pytest.raises(SplitError, match="a split of made was drawn on other labels than other has"):
            split.check_scene(other)
        with pytest.raises(SplitError, match="a split of made has 40 x 100 pixels, wide has 40 x 200"):
            split.check_scene(wide)
        assert "labels_sha256" not in dataclasses.asdict(split.facts)


def test_a_split_made_by_hand_is_taken_where_its_pixels_are_labelled() -> None:
    scene = scene_of(np.repeat(np.arange(0, 4), 25)[None, :].repeat(40, 0))
    drawn = scene.split("random")
    by_hand = Split("random", drawn.parts)
    by_hand.check_scene(scene)
    by_hand.check_scene(dataclasses.replace(scene, labels=(4 - scene.labelled()) * (scene.labelled() > 0)))
    old = pickle.loads(pickle.dumps(drawn))
    for name in ("scene", "labels_sha256"):
        vars(old).pop(name)
    old.check_scene(scene)
    with pytest.raises(SplitError, match="this split has 1000 pixels in its parts that made leaves unlabelled"):
        Split("random", np.full(scene.shape, TEST, np.uint8)).check_scene(scene)


@pytest.mark.parametrize("guard", [6, -5, 1000])
@pytest.mark.parametrize("kind", ["random", "lists", "flights", "hong", "masks"])
def test_only_blocks_keep_a_guard(tiny_scene: Scene, kind: str, guard: int) -> None:
    masks = {"train_mask": tiny_scene.labelled(), "test_mask": tiny_scene.labelled()} if kind == "masks" else {}
    with pytest.raises(OptionError, match=f"guard={guard}: a {kind} split keeps no guard; use split=blocks"):
        tiny_scene.split(kind, guard=guard, **masks)  # type: ignore[arg-type]


def test_blocks_keep_the_default_guard() -> None:
    scene = scene_of(np.kron(np.arange(1, 5).reshape(2, 2), np.ones((60, 60), int)))
    assert scene.split("blocks").guard == splits.DEFAULT_GUARD
    assert scene.split("random").guard is None


@pytest.mark.parametrize(
    ("options", "says"),
    [
        ({"seed": 1.5}, "seed=1.5: a whole number is expected"),
        ({"seed": "a"}, "seed='a': a whole number is expected"),
        ({"seed": None}, "seed: a whole number is expected, not NoneType"),
        ({"train": "x"}, "train='x': a number is expected"),
        ({"kind": "blocks", "guard": "a"}, "guard='a': a whole number is expected"),
        ({"kind": "blocks", "folds": 2.5, "fold": 1}, "folds=2.5: a whole number is expected"),
        ({"kind": 3}, "kind: the name of a kind of split is expected, not int"),
    ],
)
def test_arguments_of_another_type(tiny_scene: Scene, options: dict[str, object], says: str) -> None:
    with pytest.raises(OptionError, match=re.escape(says)):
        tiny_scene.split(**options)  # type: ignore[arg-type]


def test_seeds_of_numpy_are_whole_numbers(tiny_scene: Scene) -> None:
    assert tiny_scene.split(seed=np.int64(3)).facts == tiny_scene.split(seed=3).facts  # type: ignore[arg-type]
