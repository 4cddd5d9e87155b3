from __future__ import annotations

import math

import numpy as np
import pytest

from hsiedge.metrics import Accuracy, accuracy, confusion_matrix, wilson

IDS = (1, 10, 11, 14)


def same(first: float, second: float) -> bool:
    return (math.isnan(first) and math.isnan(second)) or first == pytest.approx(second)


def pixel_by_pixel(truth: list[int], predicted: list[int], ids: tuple[int, ...]) -> Accuracy:
    """All figures from the pairs themselves, with no matrix between."""
    pairs = [(t, p) for t, p in zip(truth, predicted) if t != 0]
    n = len(pairs)
    hits = sum(t == p for t, p in pairs)
    chance = sum(sum(t == i for t, _ in pairs) * sum(p == i for _, p in pairs) for i in ids) / n**2
    recalls = []
    for i in ids:
        mine = [p for t, p in pairs if t == i]
        if mine:
            recalls.append(sum(p == i for p in mine) / len(mine))
    return Accuracy(
        n, 100 * hits / n, (0, 0), 100 * sum(recalls) / len(recalls), 100 * (hits / n - chance) / (1 - chance), (), np.zeros(0)
    )


def test_by_hand() -> None:
    # Congalton's way of writing it, transposed: rows truth, columns prediction.
    result = accuracy(np.array([[65, 6, 0], [4, 81, 11], [22, 5, 85]]))
    assert result.n == 279
    assert result.oa == pytest.approx(100 * 231 / 279)
    assert result.aa == pytest.approx(100 * (65 / 71 + 81 / 96 + 85 / 112) / 3)
    chance = (71 * 91 + 96 * 92 + 112 * 96) / 279**2
    assert result.kappa == pytest.approx(100 * (231 / 279 - chance) / (1 - chance))
    water = result.per_class[0]
    assert (water.pa, water.ua, water.n) == (pytest.approx(100 * 65 / 71), pytest.approx(100 * 65 / 91), 71)
    assert water.f1 == pytest.approx(2 * water.pa * water.ua / (water.pa + water.ua))


@pytest.mark.parametrize("seed", range(5))
def test_against_the_pairs(seed: int) -> None:
    dice = np.random.default_rng(seed)
    truth = dice.choice([0, *IDS], (30, 20), p=[0.4, 0.3, 0.2, 0.05, 0.05])
    predicted = np.where(dice.random((30, 20)) < 0.7, np.where(truth == 0, 1, truth), dice.choice(IDS, (30, 20)))
    result = accuracy(confusion_matrix(truth.astype(np.uint16), predicted.astype(np.uint16), IDS))
    expected = pixel_by_pixel(truth.ravel().tolist(), predicted.ravel().tolist(), IDS)
    for name in ("n", "oa", "aa", "kappa"):
        assert getattr(result, name) == pytest.approx(getattr(expected, name))


def test_rows_are_the_truth() -> None:
    matrix = confusion_matrix(np.array([1, 1, 10, 14]), np.array([10, 1, 10, 11]), IDS)
    assert matrix.tolist() == [[1, 1, 0, 0], [0, 1, 0, 0], [0, 0, 0, 0], [0, 0, 1, 0]]
    assert matrix.dtype == np.int64
    reordered = confusion_matrix(np.array([1, 1, 10, 14]), np.array([10, 1, 10, 11]), (14, 10, 1, 11))
    assert reordered.tolist() == [[0, 0, 0, 1], [0, 1, 0, 0], [0, 1, 1, 0], [0, 0, 0, 0]]


def test_label_0_is_never_counted() -> None:
    truth, predicted = np.array([[0, 1], [10, 0]]), np.array([[1, 1], [1, 999]])
    matrix = confusion_matrix(truth, predicted, (1, 10))
    assert matrix.tolist() == [[1, 0], [1, 0]]
    assert accuracy(confusion_matrix(np.zeros(9, int), np.ones(9, int), (1, 10))).n == 0


@pytest.mark.parametrize(("truth", "predicted"), [([1, 2], [1, 1]), ([1, 1], [1, 2]), ([1, 10], [1, 0]), ([1, 10], [70000, 1])])
def test_unknown_labels(truth: list[int], predicted: list[int]) -> None:
    with pytest.raises(ValueError, match="are not among the classes"):
        confusion_matrix(np.array(truth), np.array(predicted), (1, 10))


def test_classes_with_nothing_to_count() -> None:
    result = accuracy(np.array([[5, 0, 0], [5, 0, 0], [0, 0, 0]]))
    assert same(result.per_class[0].ua, 50)
    assert [same(entry.pa, pa) for entry, pa in zip(result.per_class, (100, 0, math.nan))] == [True] * 3
    assert math.isnan(result.per_class[1].ua)
    assert math.isnan(result.per_class[2].f1)
    assert result.per_class[1].f1 == 0
    assert result.aa == 50  # of the two classes that have pixels


def test_nothing_at_all() -> None:
    result = accuracy(np.zeros((3, 3), np.int64))
    assert result.n == 0
    assert all(math.isnan(value) for value in (result.oa, result.aa, result.kappa, *result.oa_interval))


def test_kappa_at_its_ends() -> None:
    assert accuracy(np.diag([5, 7])).kappa == pytest.approx(100)
    assert accuracy(np.array([[5, 5], [5, 5]])).kappa == pytest.approx(0)
    assert accuracy(np.array([[0, 5], [5, 0]])).kappa == pytest.approx(-100)
    assert accuracy(np.array([[9, 0], [0, 0]])).kappa == 100  # one class, all of it right


@pytest.mark.parametrize(
    ("hits", "total", "low", "high"),
    [
        (81, 263, 0.2553, 0.3662),  # Newcombe 1998, table I, method 3
        (15, 148, 0.0624, 0.1605),
        (0, 20, 0, 0.1611),
        (1, 29, 0.0061, 0.1718),
    ],
)
def test_wilson_against_newcombe(hits: int, total: int, low: float, high: float) -> None:
    assert wilson(hits, total) == (pytest.approx(100 * low, abs=0.006), pytest.approx(100 * high, abs=0.006))
    mirrored = wilson(total - hits, total)
    assert mirrored == (pytest.approx(100 * (1 - high), abs=0.006), pytest.approx(100 * (1 - low), abs=0.006))


def test_wilson_stays_inside() -> None:
    assert 0 <= wilson(0, 5)[0] < 1e-9
    assert 100 - 1e-9 < wilson(5, 5)[1] <= 100
    result = accuracy(np.array([[8, 2], [0, 10]]))
    assert result.oa_interval == wilson(18, 20)
    assert result.oa_interval[0] < result.oa < result.oa_interval[1]
