"""A linear map of the bands of a pixel."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float64]


@dataclass(frozen=True)
class Linear:
    """`matrix @ x[bands] + shift` of the bands x of a pixel.

    Attributes:
        bands: which are taken, `(s,)`.
        matrix: `(s,)`, a factor for each, as long as bands are not mixed; else `(k, s)`.
        shift: `(s,)` or `(k,)`.
    """

    bands: NDArray[np.intp]
    matrix: Array
    shift: Array

    @classmethod
    def identity(cls, count: int) -> Linear:
        """The map that leaves all bands as they are."""
        return cls(np.arange(count), np.ones(count), np.zeros(count))

    @property
    def mixes(self) -> bool:
        """Tells a map that gives anything else than bands."""
        return self.matrix.ndim == 2

    def takes_all(self, count: int) -> bool:
        """Tells a map that takes all of `count` bands, in their order."""
        return np.array_equal(self.bands, np.arange(count))

    def scaled(self, factor: Array, shift: Array) -> Linear:
        """The map followed by a factor and a shift for each of what it gives."""
        return Linear(self.bands, (self.matrix.T * factor).T, self.shift * factor + shift)

    def chosen(self, places: NDArray[np.intp]) -> Linear:
        """The map followed by a selection."""
        return Linear(self.bands if self.mixes else self.bands[places], self.matrix[places], self.shift[places])

    def projected(self, weight: Array, bias: Array) -> Linear:
        """The map followed by a matrix `(k, size)`."""
        matrix = weight @ self.matrix if self.mixes else weight * self.matrix
        return Linear(self.bands, matrix, weight @ self.shift + bias)

    def behind(self, offset: Array, scale: Array) -> Linear:
        """The map that does to `(x - offset) * scale` what this one does to x; `(bands,)` each."""
        moved = offset[self.bands]
        shift = self.matrix @ moved if self.mixes else self.matrix * moved
        return Linear(self.bands, self.matrix / scale[self.bands], shift + self.shift)

    def spread(self, count: int) -> Linear:
        """The map written as one of all bands, those that it does not take times 0."""
        matrix = self.matrix if self.mixes else np.diag(self.matrix)
        whole = np.zeros((len(matrix), count))
        whole[:, self.bands] = matrix
        return Linear(np.arange(count), whole, self.shift)

    def zeros(self) -> Array | None:
        """The value of each band that is taken for which a map that does not mix bands gives 0.

        None where there is none: a band whose factor is 0 has become a constant.
        """
        return -self.shift / self.matrix if self.matrix.all() else None
