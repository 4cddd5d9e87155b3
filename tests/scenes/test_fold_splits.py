from __future__ import annotations

import dataclasses

import numpy as np
import pytest

from hsiedge.errors import OptionError, SplitError
from hsiedge.evaluation import Evaluation, evaluate, pooled
from hsiedge.scenes import splits
from hsiedge.scenes.scene import Scene
from hsiedge.scenes.splits import TEST, TRAIN, VALIDATION, Split, folds_split
from tests.scenes.test_splits import nearest

FOLDS = 5


@pytest.fixture(scope="module")
def dealt(indian_pines: Scene) -> tuple[Split, ...]:
    return folds_split(indian_pines, 1, 0.1, 6, FOLDS)


def test_each_pixel_tests_at_most_once_and_nearly_all_do(indian_pines: Scene, dealt: tuple[Split, ...]) -> None:
    times = sum((split.parts == TEST).astype(int) for split in dealt)
    assert times.max() == 1
    assert times.sum() > 0.98 * (indian_pines.labelled() != 0).sum()
    missing = (times == 0) & (indian_pines.labelled() != 0)
    for label in np.unique(indian_pines.labelled()[missing]):
        assert any(label in split.dropped for split in dealt)


def test_test_pixels_keep_the_guard(dealt: tuple[Split, ...]) -> None:
    assert min(nearest(split) for split in dealt) > 6


def test_a_class_that_training_lacks_is_not_tested(indian_pines: Scene, dealt: tuple[Split, ...]) -> None:
    labels = indian_pines.labelled()
    for split in dealt:
        trained, tested = (set(np.unique(labels[split.parts == part])) for part in (TRAIN, TEST))
        assert tested <= trained
        assert trained == set(indian_pines.classes) - set(split.dropped)
        assert set(np.unique(labels[split.parts == VALIDATION])) == trained
        counts = np.bincount(labels[split.parts == TRAIN], minlength=17)[1:]
        sizes = np.bincount(labels.ravel(), minlength=17)[1:]
        assert (counts <= np.maximum(3, np.round(0.1 * sizes) + 1)).all()


def test_seeds_deal_otherwise_and_again_the_same(indian_pines: Scene, dealt: tuple[Split, ...]) -> None:
    again = folds_split(indian_pines, 1, 0.1, 6, FOLDS)
    assert [split.digest for split in again] == [split.digest for split in dealt]
    assert folds_split(indian_pines, 2, 0.1, 6, FOLDS)[0].digest != dealt[0].digest
    one = indian_pines.split("blocks", seed=1, folds=FOLDS, fold=3)
    assert (one.digest, one.fold, one.folds) == (dealt[2].digest, 3, FOLDS)
    assert splits.redraw(indian_pines, one.facts).digest == one.digest
    other = dataclasses.replace(one.facts, fold=4)
    with pytest.raises(SplitError, match="another blocks split"):
        splits.redraw(indian_pines, other)


def test_bad_folds(tiny_scene: Scene) -> None:
    for fold in (0, 4):
        with pytest.raises(OptionError, match="must lie between 1 and 3"):
            tiny_scene.split("blocks", folds=3, fold=fold)
    with pytest.raises(OptionError, match="a random split has no folds"):
        tiny_scene.split("random", folds=3, fold=1)
    with pytest.raises(OptionError, match="go together"):
        tiny_scene.split("blocks", folds=3)
    with pytest.raises(OptionError, match="folds=1: at least 2"):
        tiny_scene.split("blocks", folds=1, fold=1)
    with pytest.raises(SplitError, match="no 40-pixel guard fits"):
        tiny_scene.split("blocks", folds=2, fold=1, guard=40)


def judged(scene: Scene, folds: tuple[Split, ...]) -> list[Evaluation]:
    """Each fold with a predictor that is wrong on the pixels of odd columns: it says the first class that the fold trains."""

    def predict(where: Scene, pixels: np.ndarray) -> np.ndarray:
        truth = where.labelled().ravel()[pixels]
        return np.where(pixels % where.shape[1] % 2 == 1, 10, truth).astype(np.uint16)

    return [evaluate(predict, scene, split) for split in folds]


def test_pooled_adds_the_folds_up(tiny_scene: Scene) -> None:
    folds = folds_split(tiny_scene, 0, 0.1, 2, 3)
    evaluations = judged(tiny_scene, folds)
    whole = pooled(evaluations)
    assert whole.n == sum(split.facts.test for split in folds)
    hits = sum(entry.oa * entry.n for entry in evaluations) / whole.n
    assert whole.oa == pytest.approx(hits)
    assert whole.split is not None
    assert (whole.split.fold, whole.split.folds, whole.split.test) == (0, 3, whole.n)
    assert pooled(evaluations[::-1]).oa == whole.oa


def test_pooled_takes_whole_deals_only(tiny_scene: Scene) -> None:
    evaluations = judged(tiny_scene, folds_split(tiny_scene, 0, 0.1, 2, 3))
    other = judged(tiny_scene, folds_split(tiny_scene, 1, 0.1, 2, 3))
    once = judged(tiny_scene, (splits.draw("blocks", tiny_scene, guard=2),))
    for wrong in (evaluations[:2], [*evaluations, evaluations[0]], [*evaluations[:2], other[2]], once, []):
        with pytest.raises(SplitError, match="each of them once"):
            pooled(wrong)
