"""What a scene's cube may be: an array, or something like one whose rows are read when they are asked for.

A cube has spans: rows that lie side by side on the ground. One scene is one span; flights that were put one below the other
(`hsiedge.scenes.flights`) are one each, and a patch at the edge of a flight is reflected there.
"""

from __future__ import annotations

from typing import Any, NamedTuple, Protocol

import numpy as np
from numpy.typing import NDArray


class Span(NamedTuple):
    """Rows of a cube that belong together: the first, how many, and how many of the cube's columns they fill."""

    top: int
    height: int
    width: int


class CubeLike(Protocol):
    """Stored values `(height, width, bands)`: an ndarray, a mapped file, or a `StackedCube`.

    It is indexed by a row, by a slice of rows, or by two arrays of rows and columns that are broadcast together; `np.asarray`
    reads all of it.
    """

    @property
    def shape(self) -> tuple[int, ...]:
        """Height, width, bands."""

    @property
    def dtype(self) -> np.dtype[Any]:
        """As stored."""

    def __getitem__(self, index: Any, /) -> Any:
        """Rows `(n, width, bands)`, or spectra `(..., bands)`."""

    def __array__(self) -> NDArray[Any]:
        """All of it, in memory."""


def spans_of(cube: CubeLike) -> tuple[Span, ...]:
    """Spans of a cube: one, unless it is a stack of flights."""
    spans: tuple[Span, ...] | None = getattr(cube, "spans", None)
    return spans or (Span(0, cube.shape[0], cube.shape[1]),)
