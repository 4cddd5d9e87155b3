"""Accuracy of a labelling. Label 0, unlabelled, is never counted.

Definitions: Congalton and Green, Assessing the Accuracy of Remotely Sensed Data, 3rd ed. 2019, chapter 5.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray


@dataclass(frozen=True)
class ClassAccuracy:
    """One class: producer's accuracy (recall), user's accuracy (precision) and F1 in percent, and its number of pixels.

    A figure with nothing to count (a class with no pixels, or never predicted) is NaN.
    """

    pa: float
    ua: float
    f1: float
    n: int


@dataclass(frozen=True)
class Accuracy:
    """Accuracy from a confusion matrix. Percent throughout, kappa too.

    Attributes:
        n: pixels counted.
        oa: overall accuracy; `oa_interval` its 95 % Wilson score interval (Wilson 1927). Neighbouring pixels are
            correlated, so on scenes the interval is a lower bound of the true uncertainty.
        aa: mean of the producer's accuracies of the classes that have pixels.
        kappa: Cohen's kappa (Cohen 1960), times 100.
        per_class: in the order of the confusion matrix.
        confusion: int64 `(classes, classes)`, rows the truth, columns the prediction.
    """

    n: int
    oa: float
    oa_interval: tuple[float, float]
    aa: float
    kappa: float
    per_class: tuple[ClassAccuracy, ...]
    confusion: NDArray[np.int64]


def confusion_matrix(truth: NDArray[np.integer], predicted: NDArray[np.integer], ids: Sequence[int]) -> NDArray[np.int64]:
    """Counts `(classes, classes)` over label ids; rows truth, columns prediction. Pixels whose truth is 0 are skipped.

    Args:
        truth: label ids, any shape.
        predicted: label ids, of the same shape.
        ids: the label ids of the classes, in the order of rows and columns.

    Raises:
        ValueError: a labelled pixel has a truth or a prediction that is not in `ids`.
    """
    keep = truth.ravel() != 0
    lookup = {int(label): index for index, label in enumerate(ids)}
    present = np.unique(np.concatenate([truth.ravel()[keep], predicted.ravel()[keep]]))
    unknown = [int(label) for label in present if int(label) not in lookup]
    if unknown:
        raise ValueError(f"labels {unknown} are not among the classes {list(ids)}")
    table = np.zeros(max(lookup, default=0) + 1, np.int64)
    table[list(lookup)] = list(lookup.values())
    rows, columns = table[truth.ravel()[keep]], table[predicted.ravel()[keep]]
    size = len(ids)
    return np.bincount(rows * size + columns, minlength=size * size).reshape(size, size).astype(np.int64)


def accuracy(confusion: NDArray[np.int64]) -> Accuracy:
    """Computes the figures of a confusion matrix (rows truth, columns prediction)."""
    total = int(confusion.sum())
    hits, rows, columns = np.diag(confusion), confusion.sum(1), confusion.sum(0)
    per_class = tuple(_class_accuracy(int(h), int(r), int(c)) for h, r, c in zip(hits, rows, columns))
    recalls = [entry.pa for entry in per_class if entry.n]
    observed = hits.sum() / total if total else math.nan
    expected = float((rows / total * (columns / total)).sum()) if total else math.nan
    return Accuracy(
        n=total,
        oa=100 * float(observed),
        oa_interval=wilson(int(hits.sum()), total),
        aa=float(np.mean(recalls)) if recalls else math.nan,
        kappa=100 * float((observed - expected) / (1 - expected)) if expected < 1 else (100.0 if total else math.nan),
        per_class=per_class,
        confusion=confusion,
    )


def wilson(hits: int, total: int, z: float = 1.959964) -> tuple[float, float]:
    """Wilson score interval of a proportion, in percent; NaN where there is nothing to count."""
    if total == 0:
        return (math.nan, math.nan)
    share, spread = hits / total, z * z / total
    centre = (share + spread / 2) / (1 + spread)
    half = z / (1 + spread) * math.sqrt(share * (1 - share) / total + spread / (4 * total))
    return (100 * max(0.0, centre - half), 100 * min(1.0, centre + half))


def _class_accuracy(hits: int, true: int, predicted: int) -> ClassAccuracy:
    def percent(part: int, whole: int) -> float:
        return 100 * part / whole if whole else math.nan

    return ClassAccuracy(percent(hits, true), percent(hits, predicted), percent(2 * hits, true + predicted), true)
