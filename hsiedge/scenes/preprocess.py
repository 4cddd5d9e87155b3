"""Statistics fitted to the spectra of training pixels, and of no others: the per-band affine, percentiles, PCA."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

_LARGE = 1 << 24  # numbers that are taken to float64 at a time


@dataclass(frozen=True)
class BandAffine:
    """`(x - offset) * scale`, band by band; float32 `(bands,)` each. Gives training pixels mean 0 and variance 1, about."""

    offset: NDArray[np.float32]
    scale: NDArray[np.float32]

    def __call__(self, spectra: NDArray[Any]) -> NDArray[np.float32]:
        """float32 of `spectra` `(..., bands)`."""
        return (spectra.astype(np.float32) - self.offset) * self.scale


def fit_affine(spectra: NDArray[Any]) -> BandAffine:
    """Standardizes each band over `spectra` `(n, bands)`. A band that does not vary becomes 0.

    Offsets and scales are rounded, which a net that is trained with them does not notice and a Card that carries them
    does: scales to 1 % of the smallest, offsets to 5 % of the smallest deviation or, of whole numbers, to whole numbers.
    """
    moments = [(values.mean(0), values.std(0), np.abs(values).max(0)) for values in _some_bands(spectra)]
    mean, spread, largest = (np.concatenate(parts) for parts in zip(*moments))
    varies = spread > 1e-9 * np.maximum(1.0, largest)
    scale = np.divide(1.0, spread, out=np.zeros_like(spread), where=varies)
    if varies.any():
        scale = _rounded(scale, scale[varies].min() / 50)
    finest = spread[varies].min() / 10 if varies.any() else 1.0
    offset = _rounded(mean, max(finest, 1.0) if _whole(spectra) else finest)
    return BandAffine(offset.astype(np.float32), scale.astype(np.float32))


def band_percentiles(spectra: NDArray[Any]) -> dict[str, list[float]]:
    """Percentiles 1, 50 and 99 of each band of `spectra` `(n, bands)`, in stored units; of whole numbers, rounded to such."""
    values = np.concatenate([np.percentile(part, [1, 50, 99], axis=0) for part in _some_bands(spectra)], axis=1)
    values = np.rint(values) if _whole(spectra) else values
    return {name: [float(f"{value:.6g}") for value in row] for name, row in zip(("1", "50", "99"), values)}


def _some_bands(spectra: NDArray[Any]) -> Iterator[NDArray[np.float64]]:
    """Spectra `(n, bands)` in float64: all bands of some thousand spectra, and few at a time of more."""
    step = spectra.shape[1] if spectra.size <= _LARGE else max(8, _LARGE // len(spectra))
    for first in range(0, spectra.shape[1], step):
        yield spectra[:, first : first + step].astype(np.float64)


def _whole(spectra: NDArray[Any]) -> bool:
    """Whether these are counts, be they stored as floats."""
    return spectra.dtype.kind in "iu" or all(np.array_equal(part, np.rint(part)) for part in _some_bands(spectra))


def _rounded(values: NDArray[np.float64], step: float) -> NDArray[np.float64]:
    """Rounds to the next lower power of ten of `step`: decimals, so that they are as short in text as they are coarse."""
    places: int = -int(np.floor(np.log10(step)))
    return np.round(values, places)


def principal_axes(standardized: NDArray[np.float32], count: int, power: float) -> NDArray[np.float32]:
    """PCA of standardized spectra `(n, bands)`: float32 `(count, bands)`, axis i times eigenvalue_i ** -power.

    power 0.5 whitens, 0 only rotates; between them, weak but telling components are raised without drowning the rest
    in noise. `count` is cut to the rank. Signs are fixed (largest loading positive), so that a run repeats.
    """
    step = max(1, _LARGE // standardized.shape[1])
    products = np.zeros((standardized.shape[1],) * 2)
    for first in range(0, len(standardized), step):
        values = standardized[first : first + step].astype(np.float64)
        products += values.T @ values
    eigenvalues, vectors = np.linalg.eigh(products / len(standardized))
    order = np.argsort(eigenvalues)[::-1]
    order = order[: min(count, int((eigenvalues > 1e-7 * eigenvalues.max()).sum()))]
    axes = vectors[:, order].T
    axes *= np.sign(axes[np.arange(len(axes)), np.abs(axes).argmax(1)])[:, None]
    return (axes * eigenvalues[order, None] ** -power).astype(np.float32)
