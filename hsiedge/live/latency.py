"""Latencies in bounded memory: a histogram of bins one percent apart."""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray

_SHORTEST, _RATIO = 1e-6, 1.01
_BINS = int(math.log(1e6 / _SHORTEST) / math.log(_RATIO))


class Latencies:
    """Times from a line's arrival to its labels: quantiles within one percent, and the longest."""

    def __init__(self) -> None:
        self._counts = np.zeros(_BINS, np.int64)
        self.longest = 0.0

    def add(self, seconds: NDArray[np.float64]) -> None:
        """Counts some."""
        if len(seconds):
            places = np.log(np.maximum(seconds, _SHORTEST) / _SHORTEST) / math.log(_RATIO)
            np.add.at(self._counts, np.minimum(places.astype(int), _BINS - 1), 1)
            self.longest = max(self.longest, float(seconds.max()))

    def quantile(self, share: float) -> float | None:
        """Seconds that a share of them, 0 to 1, did not exceed; None where there are none."""
        total = int(self._counts.sum())
        if not total:
            return None
        place = int(np.searchsorted(self._counts.cumsum(), max(1, math.ceil(share * total))))
        return min(self.longest, _SHORTEST * _RATIO ** (place + 1))

    @property
    def in_ms(self) -> dict[str, float | None]:
        """Milliseconds: p50, p99 and max."""
        figures = {"p50": self.quantile(0.5), "p99": self.quantile(0.99), "max": self.longest or None}
        return {name: None if value is None else 1e3 * value for name, value in figures.items()}
