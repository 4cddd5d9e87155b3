from __future__ import annotations

import math

import numpy as np
import pytest

from hsiedge.benchmark.statistics import drift, latency, paired_ratio, student_t


def test_latency_of_known_values() -> None:
    spread = latency(np.arange(1.0, 102.0)[::-1])  # 1..101, so that percentile q is 1 + q
    assert (spread.p50, spread.p90, spread.p99) == pytest.approx((51, 91, 100))
    assert (spread.mean, spread.min, spread.max, spread.runs) == pytest.approx((51, 1, 101, 101))
    assert spread.std == pytest.approx(math.sqrt(101 * 102 / 12))  # sample variance of 1..n is n (n + 1) / 12
    assert latency(np.array([2.5])).std == 0


# Two-sided 95 %, scipy.stats.t.ppf(0.975, df)
@pytest.mark.parametrize(
    ("freedom", "point"),
    [(1, 12.7062), (2, 4.30265), (5, 2.57058), (9, 2.26216), (30, 2.04227), (31, 2.03951), (60, 2.0003), (119, 1.9801)],
)
def test_student_t(freedom: int, point: float) -> None:
    assert student_t(freedom) == pytest.approx(point, abs=6e-4)


def test_paired_ratio_of_known_values() -> None:
    ratio, low, high = paired_ratio([2.0, 8.0, 4.0], [1.0, 1.0, 1.0])
    half = 4.303 * math.log(2) / math.sqrt(3)  # logs are 1, 3 and 2 times log 2: standard deviation log 2
    assert ratio == pytest.approx(4.0)
    assert (low, high) == pytest.approx((4 * math.exp(-half), 4 * math.exp(half)))


def test_paired_ratio_cancels_what_slows_both() -> None:
    slow = np.array([1.0, 5.0, 2.0, 9.0])
    ratio, low, high = paired_ratio(2.5 * slow, slow)
    assert (ratio, low, high) == pytest.approx((2.5, 2.5, 2.5))


def test_paired_ratio_covers_the_truth_in_95_of_100() -> None:
    rng = np.random.default_rng(0)
    hits = 0
    for _ in range(2000):
        _, low, high = paired_ratio(np.exp(rng.normal(0.5, 0.2, 10)), np.exp(rng.normal(0, 0.2, 10)))
        hits += low <= math.exp(0.5) <= high
    assert hits / 2000 == pytest.approx(0.95, abs=0.015)


def test_paired_ratio_of_one_pair_has_no_interval() -> None:
    ratio, low, high = paired_ratio([3.0], [2.0])
    assert ratio == pytest.approx(1.5)
    assert math.isnan(low)
    assert math.isnan(high)


def test_drift() -> None:
    assert drift([1, 1, 1, 5, 5, 5, 5, 1.2, 1.2, 1.2]) == pytest.approx(0.2)
    assert drift([1.0, 2.0]) == 0
