"""Paired comparison of models that took turns."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from hsiedge.benchmark.measure import Sample
from hsiedge.benchmark.results import Comparison
from hsiedge.benchmark.statistics import paired_ratio


def paired_comparisons(samples: Sequence[Sample]) -> list[Comparison]:
    """Each sample of a group against its baseline: the first float32 model, or else the first model.

    Round by round the baseline's median time a pixel over the other's: what slows both in a round cancels out.
    """
    baseline = next((sample for sample in samples if sample.opened["precision"] == "float32"), None) or next(
        iter(samples), None
    )
    return [compared(sample, baseline) for sample in samples if baseline is not None and _comparable(sample, baseline)]


def _comparable(sample: Sample, baseline: Sample) -> bool:
    return sample is not baseline and sample.opened["batch"] == baseline.opened["batch"]


def compared(sample: Sample, baseline: Sample) -> Comparison:
    """One sample against another of its group."""
    ratio, low, high = paired_ratio(_per_pixel(baseline), _per_pixel(sample))
    return Comparison(
        model=sample.model.name,
        precision=sample.opened["precision"],
        baseline=baseline.model.name,
        baseline_precision=baseline.opened["precision"],
        batch=sample.opened["batch"],
        ratio=ratio,
        low=low,
        high=high,
        rounds=len(sample.rounds),
    )


def _per_pixel(sample: Sample) -> NDArray[np.float64]:
    return sample.medians / float(sample.opened["pixels_per_run"])
