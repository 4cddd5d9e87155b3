"""The statistics of a measurement. numpy alone: a board has no scipy."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from hsiedge.benchmark.results import Latency

# Two-sided 95 % points of Student's t for 1 to 30 degrees of freedom (NIST/SEMATECH e-Handbook, table 1.3.6.7.2).
_T = (
    *(12.706, 4.303, 3.182, 2.776, 2.571, 2.447, 2.365, 2.306, 2.262, 2.228),
    *(2.201, 2.179, 2.160, 2.145, 2.131, 2.120, 2.110, 2.101, 2.093, 2.086),
    *(2.080, 2.074, 2.069, 2.064, 2.060, 2.056, 2.052, 2.048, 2.045, 2.042),
)
_Z = 1.959964


def latency(milliseconds: NDArray[np.float64]) -> Latency:
    """Percentiles (linear between ranks), mean, sample standard deviation and extremes of the runs."""
    p50, p90, p99 = (float(value) for value in np.percentile(milliseconds, [50, 90, 99]))
    return Latency(
        p50=p50,
        p90=p90,
        p99=p99,
        mean=float(milliseconds.mean()),
        std=deviation(milliseconds),
        min=float(milliseconds.min()),
        max=float(milliseconds.max()),
        runs=len(milliseconds),
    )


def deviation(values: NDArray[np.float64]) -> float:
    """The sample standard deviation; 0 of a single value."""
    return float(values.std(ddof=1)) if len(values) > 1 else 0.0


def paired_ratio(
    numerator: Sequence[float] | NDArray[Any], denominator: Sequence[float] | NDArray[Any]
) -> tuple[float, float, float]:
    """The geometric mean of the pairs' ratios and its 95 % interval, low and high; NaN bounds for fewer than 2 pairs.

    A t interval of the logarithms: ratios are positive, and a half and a double lie equally far from 1.
    """
    logs = np.log(np.asarray(numerator, np.float64) / np.asarray(denominator, np.float64))
    centre = float(logs.mean())
    if len(logs) < 2:
        return math.exp(centre), math.nan, math.nan
    half = student_t(len(logs) - 1) * deviation(logs) / math.sqrt(len(logs))
    return math.exp(centre), math.exp(centre - half), math.exp(centre + half)


def student_t(freedom: int) -> float:
    """The two-sided 95 % point of Student's t: a table up to 30, then the expansion 26.7.5 of Abramowitz and Stegun (1964)."""
    if freedom <= len(_T):
        return _T[freedom - 1]
    first = (_Z**3 + _Z) / 4
    second = (5 * _Z**5 + 16 * _Z**3 + 3 * _Z) / 96
    return _Z + first / freedom + second / freedom**2


def drift(round_medians: Sequence[float]) -> float:
    """The median of the last third of the rounds over that of the first, minus 1; 0 for fewer than 3 rounds."""
    third = len(round_medians) // 3
    if third == 0:
        return 0.0
    return float(np.median(round_medians[-third:]) / np.median(round_medians[:third])) - 1
