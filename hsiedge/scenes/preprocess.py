"""What is fitted to the spectra of training pixels, and of no others: the per-band affine, percentiles, PCA."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray


@dataclass(frozen=True)
class BandAffine:
    """`(x - offset) * scale`, band by band; float32 `(bands,)` each. Gives training pixels mean 0 and variance 1."""

    offset: NDArray[np.float32]
    scale: NDArray[np.float32]

    def __call__(self, spectra: NDArray[Any]) -> NDArray[np.float32]:
        """float32 of `spectra` `(..., bands)`."""
        return (spectra.astype(np.float32) - self.offset) * self.scale


def fit_affine(spectra: NDArray[Any]) -> BandAffine:
    """Standardizes each band over `spectra` `(n, bands)`. A band that does not vary becomes 0."""
    values = spectra.astype(np.float64)
    spread = values.std(0)
    scale = np.divide(1.0, spread, out=np.zeros_like(spread), where=spread > 1e-9 * np.maximum(1.0, np.abs(values).max(0)))
    return BandAffine(values.mean(0).astype(np.float32), scale.astype(np.float32))


def band_percentiles(spectra: NDArray[Any]) -> dict[str, list[float]]:
    """Percentiles 1, 50 and 99 of each band of `spectra` `(n, bands)`, in stored units."""
    values = np.percentile(spectra.astype(np.float64), [1, 50, 99], axis=0)
    return {name: [float(f"{value:.6g}") for value in row] for name, row in zip(("1", "50", "99"), values)}


def principal_axes(standardized: NDArray[np.float32], count: int, power: float) -> NDArray[np.float32]:
    """PCA of standardized spectra `(n, bands)`: float32 `(count, bands)`, axis i times eigenvalue_i ** -power.

    power 0.5 whitens, 0 only rotates; between them, weak but telling components are raised without drowning the rest
    in noise. `count` is cut to the rank. Signs are fixed (largest loading positive), so that a run repeats.
    """
    values = standardized.astype(np.float64)
    eigenvalues, vectors = np.linalg.eigh(values.T @ values / len(values))
    order = np.argsort(eigenvalues)[::-1]
    order = order[: min(count, int((eigenvalues > 1e-7 * eigenvalues.max()).sum()))]
    axes = vectors[:, order].T
    axes *= np.sign(axes[np.arange(len(axes)), np.abs(axes).argmax(1)])[:, None]
    return (axes * eigenvalues[order, None] ** -power).astype(np.float32)
